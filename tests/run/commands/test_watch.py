"""The command watch: films of one and of several trials, the window, and environments without images."""

import io
import shutil
import sys
import types

import numpy as np
import pytest
from PIL import Image

from mbrl_agent.run.commands import watch
from tests.support.programs import Slope, error_line, run

WORDS = ["--env", "Slope-v0"]


@pytest.fixture(autouse=True)
def _without_a_display(monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)


def frames_of(path):
    image = Image.open(path)
    found = []
    for index in range(image.n_frames):
        image.seek(index)
        found.append(np.array(image.convert("RGB")))
    return found, image.info["duration"]


def test_a_film_of_an_agent_file(agent_file, tmp_path, capsys):
    path = tmp_path / "new" / "film.gif"
    output = run(capsys, "watch", agent_file, *WORDS, "--gif", path)
    assert output.endswith(f"wrote {path}\n")
    assert "in 6 steps" in output
    frames, _ = frames_of(path)
    assert len(frames) == 7  # the reset and six steps
    brightness = [frame[-12:-8, frame.shape[1] // 2].mean() for frame in frames]
    assert brightness == sorted(brightness)
    assert brightness[0] < 20 < 100 < brightness[-1]


def test_without_a_display_a_film_is_written(agent_file, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(capsys, "watch", agent_file, *WORDS).endswith("wrote watch_mine.gif\n")
    assert (tmp_path / "watch_mine.gif").is_file()


def test_the_film_of_a_run_lies_beside_its_figures(undisturbed, tmp_path, capsys):
    directory = shutil.copytree(undisturbed, tmp_path / "X")
    run(capsys, "watch", directory, "--trial", 2)
    assert (directory / "figures" / "watch_trial_002.gif").is_file()
    run(capsys, "watch", directory, "--best")
    assert (directory / "figures" / "watch_best.gif").is_file()


@pytest.mark.parametrize(("trials", "tiles"), [("1,3", 2), ("all", 3)])
def test_several_trials_are_side_by_side(trials, tiles, undisturbed, tmp_path, capsys):
    path = tmp_path / "film.gif"
    output = run(capsys, "watch", undisturbed, "--trials", trials, "--gif", path)
    assert output.count(": return ") == tiles
    frames, _ = frames_of(path)
    assert len(frames) == 31
    width = frames[0].shape[1] / tiles
    assert 300 <= width < 320
    first, last = (frames[-1][:, int(index * width) : int(index * width) + 300] for index in (0, tiles - 1))
    assert (first[60:] != last[60:]).any()  # the carts of the first and the last trial end elsewhere
    begin = [frames[0][60:, int(index * width) : int(index * width) + 290] for index in (0, tiles - 1)]
    assert np.abs(begin[0].astype(int) - begin[1]).mean() < 2  # and begin in the same state


def test_too_many_trials_are_thinned_out_aloud(capsys):
    many = types.SimpleNamespace(trials=lambda: list(range(1, 41)), path="X")
    chosen = watch._trials("all", many)
    assert (len(chosen), chosen[0], chosen[-1]) == (watch.MAX_TILES, 1, 40)
    assert len(set(chosen)) == watch.MAX_TILES
    assert "16 of the 40 trials" in capsys.readouterr().out


def test_a_window_where_there_is_a_display(undisturbed, capsys, monkeypatch):
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    output = run(capsys, "watch", undisturbed, "--max-episode-steps", 2)
    assert "in 2 steps" in output
    assert "wrote" not in output


@pytest.mark.parametrize(
    ("env", "message"),
    [
        ("Blind-v0", "Blind-v0 cannot be filmed: the render modes that it declares in its metadata are none"),
        ("Broken-v0", "render() returned nothing instead of an image"),
    ],
)
def test_an_environment_without_images_is_one_line(env, message, agent_file, tmp_path, capsys):
    path = tmp_path / "film.gif"
    assert message in error_line(capsys, "watch", agent_file, "--env", env, "--gif", path)
    assert not path.exists()


def test_an_environment_that_fails_is_one_line(agent_file, tmp_path, capsys, monkeypatch):
    def fail(self, action):
        raise RuntimeError("the motor is hot")

    monkeypatch.setattr(Slope, "step", fail)
    words = ["watch", agent_file, *WORDS, "--gif", tmp_path / "film.gif"]
    assert "the environment raised RuntimeError: the motor is hot" in error_line(capsys, *words)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--trials", "1,9"], "no checkpoint after trial 9: it has checkpoints after trials 1-3"),
        (["--trials", "1,x"], "--trials: expected a whole number, got 'x'"),
        (["--trials", ""], "--trials: must be 1 to 16 trials or all, got ''"),
        (["--trials", "1", "--best"], "--trials: excludes --trial and --best"),
        (["--trials", "all", "--trial", "2"], "--trials: excludes --trial and --best"),
        (["--gif", "film.mp4"], "--gif: must end with .gif, got 'film.mp4'"),
        (["--gfi", "film.gif"], "unknown option --gfi; did you mean --gif?"),
    ],
)
def test_a_mistake_is_one_line(words, message, undisturbed, capsys):
    assert message in error_line(capsys, "watch", undisturbed, *words)


def test_trials_of_a_file_are_refused(agent_file, capsys):
    line = error_line(capsys, "watch", agent_file, *WORDS, "--trials", "1")
    assert line.startswith("--trials belongs to the directory of a run")


def test_an_mp4_without_ffmpeg_says_what_to_install(agent_file, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    line = error_line(capsys, "watch", agent_file, *WORDS, "--mp4", tmp_path / "film.mp4")
    assert "pip install imageio-ffmpeg" in line
    assert list(tmp_path.iterdir()) == []


def test_an_mp4_has_every_frame(agent_file, tmp_path, capsys):
    ffmpeg = pytest.importorskip("imageio_ffmpeg")
    path = tmp_path / "film.mp4"
    run(capsys, "watch", agent_file, *WORDS, "--mp4", path)
    count, seconds = ffmpeg.count_frames_and_secs(str(path))
    assert count == 7 + 20  # the end stands for a second of 20 frames
    assert seconds == pytest.approx(27 / 20, abs=0.06)
    assert io.BytesIO(path.read_bytes()).read(12)[4:8] == b"ftyp"
