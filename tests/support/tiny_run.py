"""Runs that take about a second, and how to read what they wrote."""

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import envs  # noqa: F401
from mbrl_agent.run import callbacks as run_callbacks
from mbrl_agent.run import experiment
from mbrl_agent.run.config import TrainConfig
from mbrl_agent.run.experiment import Experiment, new_run, open_run

TINY: dict[str, Any] = {
    "trials": 3,
    "eval_episodes": 5,
    "quiet": True,
    "search.steps": 2,
    "search.candidates": 2,
    "search.num_particles": 30,
    "search.horizon": 5,
    "dynamics.fit_steps": 10,
    "dynamics.hidden": [8],
    "policy.centers": 5,
}


def flags(**changes: Any) -> list[str]:
    """A tiny run as words of a command line."""
    options = {**TINY, **changes}
    quiet = ["--quiet"] if options.pop("quiet") else []
    words = []
    for key, value in options.items():
        text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
        words += ["--" + key.replace("_", "-"), text]
    return words + quiet


def tiny(logdir: Path, **changes: Any) -> Experiment:
    """A tiny run that is ready to start; `a__b` stands for the option `a.b`."""
    changes = {key.replace("__", "."): value for key, value in changes.items()}
    return new_run(TrainConfig().updated({**TINY, "logdir": str(logdir), **changes}))


def resume(directory: Path, **changes: Any) -> Experiment:
    return open_run(directory, TrainConfig.load(directory / "config.yaml").updated(changes))


def read_events(directory: Path) -> EventAccumulator:
    events = EventAccumulator(
        str(directory), {"scalars": 0, "images": 0, "tensors": 0}, purge_orphaned_data=False
    )
    events.Reload()
    return events


def scalars(directory: Path) -> dict[str, list[tuple[int, float]]]:
    """(step, value) of every scalar, in the order of the steps, without the times that a phase took."""
    events = read_events(directory)
    tags = [tag for tag in events.Tags()["scalars"] if not tag.startswith("time/")]
    return {tag: sorted((e.step, e.value) for e in events.Scalars(tag)) for tag in tags}


def images(directory: Path) -> dict[str, list[tuple[int, bytes]]]:
    events = read_events(directory)
    return {
        tag: sorted((e.step, e.encoded_image_string) for e in events.Images(tag))
        for tag in events.Tags()["images"]
    }


def progress(directory: Path) -> list[dict[str, str]]:
    """The rows of progress.csv without the times that a phase took."""
    with (directory / "progress.csv").open() as file:
        return [
            {key: value for key, value in row.items() if not is_duration(key)} for row in csv.DictReader(file)
        ]


def is_duration(key: str) -> bool:
    return key.startswith("time/") and key != "time/total_timesteps"


def assert_same_run(directory: Path, expected: Path) -> None:
    for name in ("agent.zip", "best.zip"):
        assert (directory / name).read_bytes() == (expected / name).read_bytes(), name
    assert progress(directory) == progress(expected)
    assert scalars(directory) == scalars(expected)
    assert images(directory) == images(expected)
    for child in ("checkpoints", "figures"):
        names = sorted(path.name for path in (expected / child).iterdir())
        assert sorted(path.name for path in (directory / child).iterdir()) == names
        for name in names:
            if not name.endswith(".json"):
                assert (directory / child / name).read_bytes() == (expected / child / name).read_bytes(), name
    assert not list(directory.rglob("*.tmp"))


PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b55"
    "0000000a49444154789c6360000000020001e221bc330000000049454e44ae426082"
)


@contextmanager
def quick_figures() -> Iterator[None]:
    """Runs without drawing, which takes most of the time of a tiny run, and is the same in every run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_callbacks, "prediction_figure", lambda *args: None)
        patch.setattr(run_callbacks, "encode_png", lambda figure: PIXEL)
        patch.setattr(experiment, "render_mode", lambda env: None)
        yield
