"""The same seed gives the same run, bitwise, in another process; another seed gives another run."""

import os
import subprocess
import sys
from pathlib import Path

import gymnasium
import numpy as np
import pytest

import envs  # noqa: F401
from mbrl_agent.run.evaluation import Evaluation, evaluate
from tests.support.tiny_run import flags, progress, tiny

ROOT = Path(__file__).resolve().parents[2]


def in_this_process(logdir: Path, **changes) -> Path:
    run = tiny(logdir, **{"trials": 2, **changes})
    run.run()
    return run.directory


def in_another_process(logdir: Path) -> Path:
    """By the command line, where the hashes of text are others."""
    words = [sys.executable, str(ROOT / "train.py"), *flags(trials=2, logdir=logdir)]
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    subprocess.run(words, check=True, env=environment, timeout=300, capture_output=True)
    (directory,) = logdir.iterdir()
    return directory


def results(directory: Path) -> dict[str, object]:
    """Everything that a run computed, without times and without the record of event files' sizes."""
    files = {
        str(path.relative_to(directory)): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.suffix in (".zip", ".png", ".gif")
    }
    return {**files, "progress": progress(directory)}


def test_the_same_seed_is_the_same_run_in_another_process_and_another_seed_is_not(tmp_path):
    once = results(in_this_process(tmp_path / "once"))
    again = results(in_another_process(tmp_path / "again"))
    other = results(in_this_process(tmp_path / "other", seed=1, trials=1))
    assert again == once
    assert len([name for name in once if name.endswith(".zip")]) == 4  # two checkpoints
    common = once.keys() & other.keys()
    assert len(common) >= 4
    assert [name for name in common if other[name] == once[name]] == []


# evaluation ------------------------------------------------------------------------------------------------


def swing(observations):
    """A policy without products of matrices: row i of its result is that of row i alone, bitwise."""
    return np.clip(observations[:, :1] - 0.3 * observations[:, 3:4], -1, 1)


def joined(*parts: Evaluation) -> list[np.ndarray]:
    return [np.concatenate([getattr(p, n) for p in parts]) for n in ("returns", "lengths", "successes")]


def test_an_evaluation_may_be_split_into_batches():
    """Environment i starts from seed + i, whoever else is in its batch."""
    whole = evaluate(swing, "CartPoleSwingUp-v0", 6, seed=11)
    first = evaluate(swing, "CartPoleSwingUp-v0", 2, seed=11)
    second = evaluate(swing, "CartPoleSwingUp-v0", 4, seed=13)
    for one, other in zip(joined(whole), joined(first, second), strict=True):
        assert np.array_equal(one, other)
    assert len(set(whole.returns)) == 6
    elsewhere = evaluate(swing, "CartPoleSwingUp-v0", 6, seed=12)
    assert np.array_equal(elsewhere.returns[:5], whole.returns[1:])
    assert elsewhere.returns[5] not in whole.returns


@pytest.mark.parametrize("episodes", [1, 2])
def test_environments_in_processes_of_their_own_change_nothing(episodes, monkeypatch):
    """`evaluate` has no workers; with Gymnasium's, one for each environment, the result is the same."""
    make, modes = gymnasium.make_vec, iter(("sync", "async"))

    def make_vec(*args, **options):
        return make(*args, **{**options, "vectorization_mode": next(modes)})

    monkeypatch.setattr(gymnasium, "make_vec", make_vec)
    one = evaluate(swing, "CartPoleSwingUp-v0", episodes, seed=5)
    other = evaluate(swing, "CartPoleSwingUp-v0", episodes, seed=5)
    assert next(modes, None) is None
    for a, b in zip(joined(one), joined(other), strict=True):
        assert np.array_equal(a, b)
