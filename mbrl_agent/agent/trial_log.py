"""What a trial writes to Stable-Baselines3's logger."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from stable_baselines3.common.logger import Logger, TensorBoardOutputFormat

from mbrl_agent.agent.replay import Episode
from mbrl_agent.dynamics.base import FitReport, Score
from mbrl_agent.search.legs import SearchReport
from mbrl_agent.search.policy_search import Ranking
from mbrl_agent.search.probe import GradientProbe


@contextmanager
def timed(logger: Logger, phase: str) -> Iterator[None]:
    """Record the wall clock of a phase of a trial, if it comes to its end."""
    began = time.perf_counter()
    yield
    logger.record(f"time/{phase}", time.perf_counter() - began)


def record_episodes(
    logger: Logger, latest: Sequence[Episode], recent: Collection[dict[str, Any]], successes: Collection[bool]
) -> None:
    """Record the latest episodes' return, and the means over Stable-Baselines3's windows.

    Args:
        logger: Where to.
        latest: Episodes of this trial.
        recent: Monitor's records of the episodes in the window.
        successes: Whether episodes in the window succeeded; empty where the environment does not tell.
    """
    logger.record("rollout/ep_rew", float(np.mean([episode.rewards.sum() for episode in latest])))
    record_windows(logger, recent, successes)


def record_windows(logger: Logger, recent: Collection[dict[str, Any]], successes: Collection[bool]) -> None:
    """Record the means over Stable-Baselines3's windows, as far as there is anything in them."""
    if recent:
        logger.record("rollout/ep_rew_mean", float(np.mean([info["r"] for info in recent])))
        logger.record("rollout/ep_len_mean", float(np.mean([info["l"] for info in recent])))
    if successes:
        logger.record("rollout/success_rate", float(np.mean([float(success) for success in successes])))


def record_score(logger: Logger, score: Score, names: Sequence[str]) -> None:
    """Record how well the last trial's model predicted this trial's episodes, by dimensions' names (D)."""
    logger.record("dynamics/validation_nll", score.nll)
    for name, rmse in zip(names, score.rmse, strict=True):
        logger.record(f"dynamics/rmse_{name}", rmse)


def record_fit(logger: Logger, report: FitReport, first_step: int) -> None:
    """Record a fit; its curve goes over the optimiser steps of the whole run."""
    logger.record("dynamics/train_nll", report.train_nll)
    record_curve(logger, "dynamics_fit/train_nll", first_step, report.curve.tolist())


def record_search(logger: Logger, report: SearchReport, ranking: Ranking, first_step: int) -> None:
    """Record a policy search; its curves go over the gradient steps of the whole run.

    Args:
        logger: Where to.
        report: Of the search.
        ranking: Of the candidates afterwards; the curves are those of its best.
        first_step: Number of this search's first gradient step.
    """
    best = ranking.best
    logger.record("policy/predicted_cost", float(ranking.costs[best]))
    logger.record("policy/candidate", best)
    logger.record("policy/starts_kept", ranking.starts_kept)
    logger.record("policy/skipped_steps", report.skipped)
    logger.record("policy/stalled_candidates", report.stalled)
    logger.record("resampling/jitter", report.jitter)
    for name in ("expected_cost", "grad_norm"):
        curve = getattr(report, name)[: report.steps[best], best]
        record_curve(logger, f"policy_search/{name}", first_step, curve.tolist())


def record_probe(logger: Logger, probe: GradientProbe) -> None:
    """Record how noisy the gradient is, and what resampling does to the predictions."""
    logger.record("gradient/variance", float(probe.variance))
    logger.record("gradient/snr", float(probe.snr))
    for name, middle in (("variance", probe.pairs), ("exponent", probe.exponent)):
        for part in ("low", "median", "high"):
            logger.record(f"gradient/{name}_{part}", getattr(middle, part))
    logger.record("gradient/cost_change", probe.cost_change.median)
    if probe.energy_change is not None:
        logger.record("gradient/energy_change", probe.energy_change)


def record_curve(logger: Logger, tag: str, first_step: int, values: Sequence[float]) -> None:
    """Write a curve over gradient steps to TensorBoard alone: its steps are not environment steps."""
    for output in logger.output_formats:
        if isinstance(output, TensorBoardOutputFormat):
            for step, value in enumerate(values, start=first_step):
                output.writer.add_scalar(tag, value, step)


def trial_line(trial: str, interaction: str, values: Mapping[str, Any], seconds: float) -> str:
    """Write the line of a finished trial for the terminal.

    Args:
        trial: Its number, or `3/10`.
        interaction: Environment steps so far, with their unit.
        values: What the logger holds of the trial; what it does not hold is left out.
        seconds: Wall clock of the trial.
    """
    parts = [f"trial {trial}", f"{interaction} of interaction"]
    if "rollout/ep_rew" in values:
        parts.append(f"return {values['rollout/ep_rew']:.2f}")
    if "eval/mean_reward" in values:
        parts.append(f"evaluation {values['eval/mean_reward']:.2f}")
    if "eval/success_rate" in values:
        parts.append(f"success {100 * values['eval/success_rate']:.0f} %")
    if "policy/predicted_cost" in values:
        parts.append(f"predicted cost {values['policy/predicted_cost']:.2f}")
    parts.append(f"took {seconds:.1f} s")
    return "   ".join(parts)
