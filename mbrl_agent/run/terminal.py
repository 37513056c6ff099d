"""What a run shows in the terminal: a progress bar for the trial at hand, a line a finished trial."""

from __future__ import annotations

import sys
import time
from typing import Any

from tqdm import tqdm

from mbrl_agent.agent.trial_log import trial_line
from mbrl_agent.run.callbacks import RunCallback


class Terminal(RunCallback):
    """Progress on stderr, where that is a terminal, and results on stdout.

    Args:
        trials: Trials of the whole run.
        time_step: Duration of an environment step [s]; None shows steps instead of seconds.
        quiet: Show nothing.
    """

    def __init__(self, trials: int, time_step: float | None, quiet: bool) -> None:
        super().__init__()
        self.trials = trials
        self.time_step = time_step
        self.quiet = quiet
        self._bar: tqdm[Any] | None = None
        self._began = 0.0

    def say(self, line: str) -> None:
        """Show a line, above the progress bar if there is one."""
        if not self.quiet:
            tqdm.write(line, file=sys.stdout)
            sys.stdout.flush()

    def close(self) -> None:
        """Take the progress bar away."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def interaction(self, steps: int) -> str:
        """Write so many environment steps, in seconds if a step's duration is known."""
        return f"{steps} steps" if self.time_step is None else f"{steps * self.time_step:.1f} s"

    def _on_training_start(self) -> None:
        self._began = time.perf_counter()

    def _on_rollout_start(self) -> None:
        if self._bar is None and not self.quiet and sys.stderr.isatty():
            self._bar = tqdm(
                total=self.agent.search.steps,
                unit="step",
                leave=False,
                dynamic_ncols=True,
                bar_format="{desc} |{bar}| {n_fmt}/{total_fmt} [{elapsed}]{postfix}",
            )
        self._phase("collect")

    def _on_rollout_end(self) -> None:
        self._phase("fit")

    def _phase(self, phase: str) -> None:
        if self._bar is not None:
            self._bar.set_description_str(f"trial {self.agent.trials + 1}/{self.trials} {phase}")

    def on_progress(self, phase: str, done: int, total: int, expected_cost: float | None) -> None:
        """Move the bar."""
        if self._bar is None:
            return
        self._phase(phase)
        self._bar.total = total
        if expected_cost is not None:
            self._bar.set_postfix_str(f"expected cost {expected_cost:.2f}", refresh=False)
        self._bar.update(done - self._bar.n)

    def on_trial_logged(self) -> bool:
        """Clear the line: nothing is left to show of this trial."""
        self.close()
        self._began = time.perf_counter()
        return True

    def on_trial_end(self) -> None:
        """Write one line."""
        trial = f"{self.agent.trials:{len(str(self.trials))}d}/{self.trials}"
        interaction, seconds = self.interaction(self.agent.num_timesteps), time.perf_counter() - self._began
        self.say(trial_line(trial, interaction, self.logger.name_to_value, seconds))
