"""Hooks that Stable-Baselines3's callbacks do not have: the end of a trial, and progress inside one."""

from __future__ import annotations

from collections.abc import Iterator

from stable_baselines3.common.callbacks import BaseCallback, CallbackList


class TrialCallback(BaseCallback):
    """A callback that `ParticlePILCO.learn` also calls at the end of each trial.

    Use it like any Stable-Baselines3 callback; override what is needed.
    """

    def on_trial_end(self) -> None:
        """Called after a trial (collect, fit, improve), before its figures are dumped to the logger."""

    def on_trial_logged(self) -> bool:
        """Called after the trial's figures were dumped: the time to save. Return False to stop learning."""
        return True

    def on_progress(self, phase: str, done: int, total: int, expected_cost: float | None) -> None:
        """Called now and then inside a phase (`collect`, `fit`, `improve`) of a trial."""

    def _on_step(self) -> bool:
        return True


def trial_callbacks(callback: BaseCallback) -> Iterator[TrialCallback]:
    """The trial callbacks among a callback and the lists in it."""
    if isinstance(callback, CallbackList):
        for child in callback.callbacks:
            yield from trial_callbacks(child)
    elif isinstance(callback, TrialCallback):
        yield callback
