"""Hooks that Stable-Baselines3's callbacks do not have: the end of a trial, and progress inside one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from stable_baselines3.common.callbacks import BaseCallback

CHILDREN = ("callbacks", "callback", "callback_on_new_best")
"""Attributes in which Stable-Baselines3's callbacks (lists, EventCallback, EvalCallback) hold others."""


class TrialCallback(BaseCallback):
    """A callback that `ParticlePILCO.learn` also calls at the end of each trial.

    Use it like any Stable-Baselines3 callback; override what is needed. Inside another callback, say
    EveryNTimesteps, its `_on_step` is called when that one says so, the hooks of a trial at every trial.

    Example:
        >>> import envs  # registers CartPoleSwingUp-v0
        >>> class Report(TrialCallback):
        ...     def on_trial_end(self) -> None:
        ...         print("trials so far:", self.model.trials)
        >>> agent = ParticlePILCO("linear", "CartPoleSwingUp-v0", random_trials=3, seed=0)
        >>> agent = agent.learn(60, callback=Report())
        trials so far: 1
        trials so far: 2
    """

    def on_trial_end(self) -> None:
        """Act after a trial (collect, fit, improve), before its figures are dumped to the logger.

        Random trials before the last one only collect.
        """

    def on_trial_logged(self) -> bool:
        """Act after the trial's figures were dumped: the time to save. Return False to stop learning."""
        return True

    def on_progress(self, phase: str, done: int, total: int, expected_cost: float | None) -> None:
        """Act now and then inside a phase (`collect`, `fit`, `improve`) of a trial."""

    def _on_step(self) -> bool:
        return True


def trial_callbacks(callback: BaseCallback) -> Iterator[TrialCallback]:
    """Yield the trial callbacks among a callback and those inside it, at any depth, each of them once."""
    yield from _inside(callback, set())


def _inside(callback: BaseCallback, seen: set[int]) -> Iterator[TrialCallback]:
    if id(callback) in seen:
        return
    seen.add(id(callback))
    if isinstance(callback, TrialCallback):
        yield callback
    for name in CHILDREN:
        value: Any = getattr(callback, name, None)
        for child in value if isinstance(value, list | tuple) else [value]:
            if isinstance(child, BaseCallback):
                yield from _inside(child, seen)
