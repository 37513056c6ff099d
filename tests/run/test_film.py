"""Episodes side by side: which frame is shown when, how large, how fast."""

import numpy as np
import pytest

from mbrl_agent.run.film import CAPTION_HEIGHT, MAX_PIXELS, FilmedEpisode, TiledFilm


def made(steps, every=1, shape=(20, 200), value=0):
    """An episode whose image at step t has the colour value + t."""
    frames = [np.full((*shape, 3), value + step, np.uint8) for step in range(0, steps + 1, every)]
    return FilmedEpisode("trial 1", frames, every, [float(step) for step in range(steps + 1)])


def colours(film):
    """The colour in the middle of each tile's image, frame by frame."""
    width, height = film.tile
    places = [divmod(index, film.columns) for index in range(len(film.episodes))]
    return [
        [int(frame[row * height + CAPTION_HEIGHT + 5, column * width + width // 2 - 5, 0])
         for row, column in places]
        for frame in film.frames()
    ]  # fmt: skip


def test_a_shorter_episode_stands_still_at_its_end():
    film = TiledFilm([made(2), made(4, value=100)], 0.1)
    assert colours(film) == [[0, 100], [1, 101], [2, 102], [2, 103], [2, 104]]


def test_a_film_with_every_second_frame_sets_the_pace():
    film = TiledFilm([made(6, every=2), made(6, value=100)], 0.1)
    assert colours(film) == [[0, 100], [2, 102], [4, 104], [6, 106]]
    assert film.frame_seconds == pytest.approx(0.2)


def test_the_last_frame_is_the_end_of_all_episodes():
    assert colours(TiledFilm([made(5, every=2), made(5, value=100)], 0.1))[-1] == [4, 105]


@pytest.mark.parametrize(("count", "columns"), [(1, 1), (2, 2), (3, 3), (4, 2), (5, 3), (9, 3), (16, 4)])
def test_tiles_make_a_grid(count, columns):
    film = TiledFilm([made(1, value=10 * index) for index in range(count)], 0.1)
    assert film.columns == columns
    assert colours(film)[0] == [10 * index for index in range(count)]


def test_fast_steps_are_shown_in_real_time():
    film = TiledFilm([made(100)], 0.002)
    assert film.every == 16
    assert len(list(film.frames())) == 8  # steps 0, 16, ..., 96, and the end
    assert film.frame_seconds == pytest.approx(0.032)


def test_a_long_film_of_many_tiles_is_thinned_out():
    film = TiledFilm([made(250, shape=(400, 600)) for _ in range(4)], 0.1)
    assert film.every > 1
    assert 250 // film.every * film.size[0] * film.size[1] <= MAX_PIXELS


@pytest.mark.parametrize("shape", [(1, 1), (33, 171)])
def test_the_size_is_even_and_the_caption_has_room(shape):
    film = TiledFilm([made(1, shape=shape)], None)
    frame = next(iter(film.frames()))
    assert frame.shape == (film.size[1], film.size[0], 3)
    assert film.size[0] % 2 == film.size[1] % 2 == 0
    assert (frame[:CAPTION_HEIGHT] < 100).any()


def test_the_caption_follows_the_episode():
    film = TiledFilm([made(30)], 0.1)
    first, *_, last = film.frames()
    assert (first[:CAPTION_HEIGHT] != last[:CAPTION_HEIGHT]).any()
