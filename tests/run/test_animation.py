"""Renderers as people write them: a film or one warning, never the end of the run."""

import io
import warnings
from typing import ClassVar

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from PIL import Image

from mbrl_agent.agent.replay import Episode
from mbrl_agent.run import callbacks as run_callbacks
from mbrl_agent.run.animation import (
    MAX_FRAMES,
    MAX_HEIGHT,
    MAX_WIDTH,
    Film,
    encode_gif,
    metadata_of,
    render_mode,
    replay,
)
from tests.support.tiny_run import tiny

STEPS = 8
PIXELS = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)


def film_of(*renderings) -> Film:
    film = Film()
    for rendering in renderings:
        film.add(rendering)
    return film


# images ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rendering", "expected"),
    [
        (PIXELS, PIXELS),
        (PIXELS.astype(np.int64), PIXELS),
        (PIXELS.tolist(), PIXELS),
        (PIXELS.astype(np.float64), PIXELS),
        (PIXELS / 255, PIXELS),
        (PIXELS[:, ::-1], PIXELS[:, ::-1]),
        (np.dstack([PIXELS, np.full((4, 6), 255, np.uint8)]), PIXELS),
        (np.dstack([PIXELS, np.zeros((4, 6), np.uint8)]), np.full_like(PIXELS, 255)),
        (PIXELS[:, :, 0], PIXELS[:, :, [0, 0, 0]]),
        (PIXELS[:, :, :1], PIXELS[:, :, [0, 0, 0]]),
        (PIXELS[:, :, 0] > 20, 255 * (PIXELS[:, :, [0, 0, 0]] > 20)),
        ([np.zeros_like(PIXELS), PIXELS], PIXELS),
        ((PIXELS,), PIXELS),
        (Image.fromarray(PIXELS), PIXELS),
        (np.where(PIXELS > 50, np.nan, PIXELS), np.where(PIXELS > 50, 0, PIXELS)),
        (np.where(PIXELS > 50, 1e9, -1e9), np.where(PIXELS > 50, 255, 0)),
        (np.full((1, 1, 3), 7, np.uint8), np.full((1, 1, 3), 7)),
    ],
)
def test_what_is_an_image(rendering, expected):
    (frame,) = film_of(rendering).images()
    assert frame.dtype == np.uint8
    np.testing.assert_array_equal(frame, expected)


@pytest.mark.parametrize(
    "rendering",
    [
        None,
        [],
        (),
        "an image",
        3,
        {},
        np.zeros((0, 6, 3)),
        np.zeros((4, 0, 3)),
        np.zeros(6),
        np.zeros((4, 6, 2)),
        np.zeros((2, 2, 4, 6, 3)),
        np.full((4, 6, 3), "x"),
        np.zeros((4, 6), complex),
    ],
)
def test_what_is_none(rendering):
    with pytest.raises(ValueError, match=r"^render\(\) returned .* instead of an image"):
        film_of(rendering)


def test_a_film_of_fractions_that_gets_brighter_than_one():
    dark, bright = np.ones((4, 6, 3)), np.full((4, 6, 3), 200.0)
    first, second = film_of(dark, bright).images()
    assert (first.max(), second.max()) == (1, 200)


def test_a_buffer_that_is_used_again_is_copied():
    buffer = np.zeros((4, 6, 3), np.uint8)
    film = Film()
    for value in (1, 2, 3):
        buffer[:] = value
        film.add(buffer)
    assert [int(frame.max()) for frame in film.images()] == [1, 2, 3]


@pytest.mark.parametrize("shape", [(10_000, 10_000), (3, 20_000), (20_000, 3), (700, 300)])
def test_frames_are_small_when_they_arrive(shape):
    image = np.broadcast_to(np.uint8(9), (*shape, 3))  # takes no memory
    (frame,) = film_of(image).frames
    assert frame.shape[0] <= MAX_HEIGHT
    assert frame.shape[1] <= MAX_WIDTH
    assert (frame == 9).all()


def test_frames_of_changing_size_have_that_of_the_first():
    film = film_of(np.zeros((40, 60, 3)), np.zeros((80, 30)), np.zeros((1, 1, 4)))
    assert {frame.shape for frame in film.images()} == {(40, 60, 3)}
    encode_gif(film.images())


def test_of_a_long_episode_some_frames_are_kept():
    film = film_of(*(np.full((2, 2), step % 256, np.uint8) for step in range(MAX_FRAMES + 10)))
    assert film.every == 2
    assert len(film.images()) == MAX_FRAMES // 2 + 5
    assert [int(frame[0, 0, 0]) for frame in film.images()[:4]] == [0, 2, 4, 6]


@pytest.mark.parametrize("time_step", [1e-9, 1e9])
def test_absurd_time_steps(time_step):
    with Image.open(io.BytesIO(encode_gif(film_of(PIXELS, PIXELS + 1).images(), time_step))) as image:
        assert 20 <= image.info["duration"] <= 10_000


# environments ----------------------------------------------------------------------------------------------


class Mass(gymnasium.Env):
    """A point on a line; what else it does depends on the case."""

    metadata: ClassVar = {"render_modes": ["rgb_array"]}
    observation_space = spaces.Box(-np.inf, np.inf, (1,), np.float64)
    action_space = spaces.Box(-1, 1, (1,), np.float32)
    cost = staticmethod(lambda state, action: state[..., 0] ** 2)

    def __init__(self, render_mode=None):
        self.render_mode = render_mode
        self.x = 0.0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps, self.x = 0, self.np_random.normal()
        return np.array([self.x]), {}

    def step(self, action):
        self.steps += 1
        self.x += float(action[0])
        return np.array([self.x]), -(self.x**2), False, False, {}

    def render(self):
        return np.full((40, 60, 3), 25 * self.steps, np.uint8)


class Buffered(Mass):
    buffer = np.zeros(1)

    def reset(self, **options):
        return self._kept(super().reset(**options))

    def step(self, action):
        return self._kept(super().step(action))

    def _kept(self, result):
        self.buffer[:] = result[0]
        return self.buffer, *result[1:]


class Warns(Mass):
    def render(self):
        warnings.warn("slow", stacklevel=2)
        return super().render()


class NoMode(Mass):
    def __init__(self):
        super().__init__()


class FailsInTheConstructor(Mass):
    def __init__(self, render_mode=None):
        if render_mode is not None:
            raise RuntimeError("no display")
        super().__init__()


class FailsAtReset(Mass):
    def reset(self, **options):
        if self.render_mode is not None:
            raise RuntimeError("no display")
        return super().reset(**options)


class FailsLate(Mass):
    def render(self):
        if self.steps == STEPS:
            raise RuntimeError("lost the display")
        return super().render()


class FailsWhenClosed(Mass):
    def render(self):
        return None

    def close(self):
        raise RuntimeError("closed twice")


class Moves(Mass):
    def render(self):
        self.x += 1
        return super().render()


class Nothing(Mass):
    def render(self):
        return None


class Lists(Mass):
    metadata: ClassVar = {"render_modes": ["rgb_array_list"]}

    def render(self):
        return [super().render()]


FILMED = (Mass, Buffered, Warns, Lists)
UNFILMED = (NoMode, FailsInTheConstructor, FailsAtReset, FailsLate, FailsWhenClosed, Moves, Nothing)


@pytest.fixture
def run_of(tmp_path, monkeypatch):
    """Runs an environment, and returns the run's directory and the warnings."""
    monkeypatch.setattr(run_callbacks, "prediction_figure", lambda *args: None)
    monkeypatch.setattr(run_callbacks, "encode_png", lambda figure: None)

    def run(cls, **changes):
        gymnasium.register("TestRenderer-v0", entry_point=cls, max_episode_steps=STEPS)
        options = {"env": "TestRenderer-v0", "trials": 2, "eval_episodes": 0, "gradient_probe": 0, **changes}
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                experiment = tiny(tmp_path / cls.__name__, **options)
                experiment.run()
        finally:
            del gymnasium.registry["TestRenderer-v0"]
        return experiment.directory, [str(warning.message) for warning in caught]

    return run


@pytest.mark.parametrize("cls", FILMED)
def test_a_film_a_trial(cls, run_of):
    directory, caught = run_of(cls)
    films = sorted(directory.glob("figures/*.gif"))
    assert [path.name for path in films] == ["episode_trial_001.gif", "episode_trial_002.gif"]
    assert [text for text in caught if "animation" in text or "slow" in text] == []
    with Image.open(films[0]) as image:
        assert image.n_frames == STEPS + 1


@pytest.mark.parametrize("cls", UNFILMED)
def test_a_film_less_and_one_warning(cls, run_of):
    directory, caught = run_of(cls)
    assert (directory / "agent.zip").exists()
    assert list(directory.glob("figures/*.gif")) == []
    told = [text for text in caught if "animation" in text]
    assert len(told) == 1
    assert told[0].startswith("no animation: ")


def test_the_films_do_not_change_the_run(run_of):
    filmed, _ = run_of(Mass)
    unfilmed, _ = run_of(FailsLate)
    assert (filmed / "agent.zip").read_bytes() == (unfilmed / "agent.zip").read_bytes()


def test_an_interrupt_in_a_renderer_ends_the_run(run_of):
    class Interrupts(Mass):
        def render(self):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_of(Interrupts)


def test_a_style_that_cannot_be_drawn_costs_the_figure(run_of, monkeypatch):
    def fail(figure):
        raise RuntimeError("latex could not be found")

    monkeypatch.setattr(run_callbacks, "encode_png", fail)
    directory, caught = run_of(Mass, trials=3)
    assert (directory / "agent.zip").exists()
    assert [text for text in caught if "figure" in text] == [
        "no figure of prediction and reality: RuntimeError: latex could not be found"
    ]


@pytest.mark.parametrize("metadata", [None, {}, 3, {"render_modes": None}, {"render_modes": 3}, []])
def test_metadata_that_say_nothing(metadata):
    env = Mass()
    env.metadata = metadata
    assert render_mode(env) is None
    assert metadata_of(env).get("render_fps") is None


@pytest.mark.parametrize("modes", [["human", "rgb_array"], ("rgb_array",), {"rgb_array"}, "rgb_array"])
def test_render_modes_of_every_type(modes):
    env = Mass()
    env.metadata = {"render_modes": modes}
    assert render_mode(env) == "rgb_array"


def test_an_episode_that_ends_early_is_another(run_of):
    class Short(Mass):
        def step(self, action):
            observation, reward, _, truncated, info = super().step(action)
            return observation, reward, self.steps == 2, truncated, info

    env = Short("rgb_array")
    first, _ = env.reset(seed=0)
    episode = Episode(np.full((4, 1), first), np.zeros((3, 1)), np.zeros(3))
    assert replay(env, episode, np.zeros((3, 1)), seed=0) is None
