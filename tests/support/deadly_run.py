"""Runs that die of SIGKILL at a moment that is always the same, and the processes that they die in.

As a script, `python tests/support/deadly_run.py MOMENT ARGUMENTS` is `python train.py ARGUMENTS` that dies at
the moment.
"""

import multiprocessing
import os
import runpy
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def die() -> None:
    """No clean-up, no handler, nothing that is still in a buffer is written."""
    os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True)
class Moment:
    """The n-th call of a function, of the package or of a library below it."""

    target: str
    """module:attribute.attribute"""
    call: int = 1
    after: bool = False
    """Right after the call instead of right before it."""
    writing: str = ""
    """Only calls count that are made while a file whose name ends so is written atomically."""

    def strike(self, act: Callable[[], None] = die) -> None:
        """Act at the moment, in this process."""
        writing = [not self.writing]
        count = 0

        def deadly(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
            nonlocal count
            count += writing[-1]
            now = writing[-1] and count == self.call
            if now and not self.after:
                act()
            result = original(*args, **kwargs)
            if now and self.after:
                act()
            return result

        def write(original: Callable[..., Any], path: Path, data: bytes) -> None:
            writing.append(path.name.endswith(self.writing))
            try:
                original(path, data)
            finally:
                writing.pop()

        replace(self.target, deadly)
        if self.writing:
            replace("mbrl_agent.files.atomic:_write", write)


@dataclass(frozen=True)
class HalfWritten:
    """Half of the bytes are written of the n-th flush of the events, or the n-th time of a certain file."""

    call: int = 1
    writing: str = ""

    def strike(self, act: Callable[[], None] = die) -> None:
        """Act at the moment, in this process."""
        count = 0

        def flush(original: Callable[..., Any], events: Any) -> None:
            nonlocal count
            count += 1
            if count == self.call:
                del events._pending[len(events._pending) // 2 :]
            original(events)
            if count == self.call:
                act()

        def write(original: Callable[..., Any], path: Path, data: bytes) -> None:
            nonlocal count
            count += path.name.endswith(self.writing)
            if count == self.call and path.name.endswith(self.writing):
                replace("os:replace", lambda *_: act())
                data = data[: len(data) // 2]
            original(path, data)

        if self.writing:
            replace("mbrl_agent.files.atomic:_write", write)
        else:
            replace("mbrl_agent.run.event_file:EventFile.flush", flush)


def replace(target: str, function: Callable[..., Any]) -> None:
    """Put a function, which is given the original and its arguments, in the place of another."""
    module, _, attributes = target.partition(":")
    *owners, name = attributes.split(".")
    owner: Any = import_module(module)
    for part in owners:
        owner = getattr(owner, part)
    original = getattr(owner, name)

    def replacement(*args: Any, **kwargs: Any) -> Any:
        return function(original, *args, **kwargs)

    setattr(owner, name, replacement)


def in_a_fork(work: Callable[[], object]) -> int:
    """The exit status of a process that does the work; negative if a signal ended it.

    A fork has all modules already, which a new interpreter takes seconds to import.
    """
    process = multiprocessing.get_context("fork").Process(target=lambda: sys.exit(work()))  # type: ignore[arg-type]
    process.start()
    process.join()
    assert process.exitcode is not None
    return process.exitcode


# Tiny runs (see tiny_run.TINY) have three trials of 30 environment steps, 10 steps of the fit, 2 gradient
# steps of 4 rollouts each and 5 evaluation episodes. Each dies after the checkpoint of the first or later.
MOMENTS: dict[str, Moment | HalfWritten] = {
    "collect: before the reset": Moment("mbrl_agent.agent.collector:collect_episodes", 2),
    "collect: in the middle of an episode": Moment("envs.cartpole.environment:CartPoleSwingUpEnv.step", 47),
    "collect: after an episode, before it is kept": Moment("mbrl_agent.agent.replay:Replay.add", 3),
    "collect: after an episode": Moment("mbrl_agent.agent.collector:collect_episodes", 2, after=True),
    "fit: before the loss": Moment("mbrl_agent.dynamics.ensemble_fit:loss_gradient", 15),
    "fit: between backward and step": Moment("mbrl_agent.dynamics.ensemble_fit:cosine", 15),
    "fit: in the last step": Moment("mbrl_agent.adam:Adam.step", 43, after=True),
    "fit: before the networks are kept": Moment("mbrl_agent.dynamics.ensemble:EnsembleModel._store", 2),
    "search: in a rollout": Moment("mbrl_agent.search.rollout:Simulation.__call__", 6),
    "search: between gradient and step": Moment("mbrl_agent.adam:Adam.step", 44),
    "search: between two gradient steps": Moment(
        "mbrl_agent.search.gradient_step:GradientStep.__call__", 3, True
    ),
    "search: before the ranking": Moment("mbrl_agent.search.policy_search:PolicySearch.predicted_cost", 4),
    "search: before the best is deployed": Moment("mbrl_agent.policies.base:SearchPolicy.set_parameters", 4),
    "probe": Moment("mbrl_agent.search.policy_search:PolicySearch.probe", 2),
    "evaluation: before": Moment("mbrl_agent.run.callbacks:evaluate", 2),
    "evaluation: in the middle": Moment("envs.cartpole.environment:CartPoleSwingUpVectorEnv.step", 45),
    "evaluation: after": Moment("mbrl_agent.run.callbacks:evaluate", 3, after=True),
    "figure: half": HalfWritten(writing="prediction_trial_003.png"),
    "figure: between file and event": Moment("mbrl_agent.run.callbacks:log_image", 2),
    "progress: before the row": Moment("mbrl_agent.run.log:ProgressCsv.write", 3),
    "progress: half": HalfWritten(2, "progress.csv"),
    "progress: before the rename": Moment("os:replace", 2, writing="progress.csv"),
    "between progress and events": Moment("mbrl_agent.run.log:ProgressCsv.write", 3, after=True),
    "events: half of a flush": HalfWritten(call=5),
    "events: after the flush": Moment("mbrl_agent.run.event_file:EventFile.flush", 5, after=True),
    "record: before": Moment("mbrl_agent.run.directory:RunDirectory.save_state", 2),
    "record: half": HalfWritten(writing="trial_002.json"),
    "record: before the rename": Moment("os:replace", writing="trial_002.json"),
    "record: after": Moment("mbrl_agent.run.directory:RunDirectory.save_state", 2, after=True),
    "checkpoint: before the sync": Moment("os:fsync", writing="trial_002.zip"),
    "checkpoint: half": HalfWritten(writing="trial_003.zip"),
    "checkpoint: before the rename": Moment("os:replace", writing="trial_002.zip"),
    "checkpoint: after the rename": Moment("os:replace", writing="trial_002.zip", after=True),
    "best: before": Moment("mbrl_agent.run.directory:RunDirectory.save_best"),
    "best: half": HalfWritten(writing="best.zip"),
    "best: before the rename": Moment("os:replace", writing="best.zip"),
    "best: after the rename": Moment("os:replace", writing="best.zip", after=True),
    "last checkpoint: after": Moment("mbrl_agent.run.callbacks:CheckpointCallback.on_trial_logged", 3, True),
    "agent: half": HalfWritten(writing="agent.zip"),
    "agent: before the rename": Moment("os:replace", writing="agent.zip"),
    "agent: after the rename": Moment("os:replace", writing="agent.zip", after=True),
}
"""Of a run."""

RESUMING: dict[str, Moment | HalfWritten] = {
    "before the events are cut": Moment("os:truncate"),
    "after the events are cut": Moment("os:truncate", after=True),
    "progress half": HalfWritten(writing="progress.csv"),
    "before a later file is removed": Moment("pathlib:Path.unlink", 2),
    "after a later file is removed": Moment("pathlib:Path.unlink", 2, after=True),
    "best half": HalfWritten(writing="best.zip"),
    "before the configuration": Moment("os:replace", writing="config.yaml"),
    "before the new event file": Moment("mbrl_agent.run.event_file:_new_file"),
    "after the new event file": Moment("mbrl_agent.run.event_file:_new_file", after=True),
}
"""Of a run that goes on after its second trial."""


def main(arguments: Sequence[str]) -> None:
    """Be train.py, but die."""
    moment, *sys.argv[1:] = arguments
    sys.path.insert(0, str(ROOT))
    import envs  # noqa: F401

    MOMENTS[moment].strike()
    runpy.run_path(str(ROOT / "train.py"), run_name="__main__")


if __name__ == "__main__":
    main(sys.argv[1:])
