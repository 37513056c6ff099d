"""Seconds from nothing to solved: `python -m tests.benchmarks.time_to_solve SEEDS SETTING ...`.

A setting is options of a run with commas between them, or "defaults"; settings take turns:

    python -m tests.benchmarks.time_to_solve 0-7 defaults search.halving=false search.steps=100,dynamics=gp

Every run ends at its first evaluation that is solved, after 8 trials at the latest; no figures are drawn. A
line a run gives the seconds of interaction, of the processor and of the clock, then come the medians. The
processor's are what counts beside other programs. To compare two commits, run it in two checkouts by turns.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from stable_baselines3.common.callbacks import CallbackList

import envs  # noqa: F401  (registers the default environment)
from mbrl_agent.agent.callbacks import TrialCallback
from mbrl_agent.run.callbacks import EvaluationCallback
from mbrl_agent.run.config import TrainConfig
from mbrl_agent.run.directory import START
from mbrl_agent.run.environment import make_env
from mbrl_agent.run.experiment import ENDLESS, new_agent, step_duration
from mbrl_agent.study.seeds import parse_seeds

MOST_TRIALS = 8


@dataclass(frozen=True)
class Outcome:
    """What a run took: seconds of interaction (infinite if not solved), processor and clock, and trials."""

    interaction: float
    processor: float
    clock: float
    trials: int


class _UntilSolved(TrialCallback):
    """Ends a run at its first evaluation that is solved."""

    def __init__(self, evaluation: EvaluationCallback) -> None:
        super().__init__()
        self.evaluation = evaluation

    def on_trial_logged(self) -> bool:
        return not self.evaluation.solved and self.model.trials < MOST_TRIALS  # type: ignore[attr-defined]


def solve(config: TrainConfig) -> Outcome:
    """Train until the task is solved."""
    clock, processor = time.perf_counter(), time.process_time()
    env = make_env(config.environment)
    agent = new_agent(config, env)
    evaluation = EvaluationCallback(config.environment, config.eval_episodes, START)
    agent.learn(ENDLESS, CallbackList([evaluation, _UntilSolved(evaluation)]))
    interaction = agent.num_timesteps * (step_duration(env) or 1.0) if evaluation.solved else float("inf")
    return Outcome(interaction, time.process_time() - processor, time.perf_counter() - clock, agent.trials)


def read_setting(text: str) -> TrainConfig:
    """Options with commas between them, without the gradient probe."""
    pairs = [] if text == "defaults" else [part.split("=", 1) for part in text.split(",")]
    return TrainConfig().updated({"gradient_probe": 0, **dict(pairs)})


def main(words: Sequence[str]) -> int:
    """Print a line a run and the medians; return the exit status."""
    if len(words) < 2:
        sys.stderr.write(f"{__doc__}\n")
        return 2
    torch.set_num_threads(1)
    settings = {text: read_setting(text) for text in words[1:]}
    width = max(map(len, settings))
    outcomes: dict[str, list[Outcome]] = {text: [] for text in settings}
    for turn, seed in enumerate(parse_seeds(words[0])):
        for text in [*settings][:: -1 if turn % 2 else 1]:
            found = solve(settings[text].updated({"seed": seed}))
            outcomes[text].append(found)
            print(f"{text:{width}}  seed {seed:3}  {_row(found)}", flush=True)  # noqa: T201
    for text, runs in outcomes.items():
        names = ("interaction", "processor", "clock", "trials")
        middle = Outcome(*(statistics.median(getattr(run, name) for run in runs) for name in names))
        print(f"{text:{width}}  median    {_row(middle)}")  # noqa: T201
    return 0


def _row(found: Outcome) -> str:
    return (
        f"solved after {found.interaction:5.1f} s of interaction, {found.processor:6.1f} s of the processor, "
        f"{found.clock:6.1f} s of the clock, {found.trials:4.1f} trials"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
