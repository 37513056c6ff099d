"""TensorBoard's page of custom scalars: the charts that people look for, in the order of their questions."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from stable_baselines3.common.logger import Logger, TensorBoardOutputFormat

Layout = dict[str, dict[str, list[str | list[str]]]]
"""Category -> chart -> kind and tags, as `SummaryWriter.add_custom_scalars` takes it."""

PHASES = ("fit", "improve", "probe", "collect", "evaluate", "log")  # the long ones first


def scalar_layout(names: Sequence[str]) -> Layout:
    """Return the layout, for a state whose dimensions have these names.

    Each chart holds one scalar: TensorBoard draws all lines of a run in the colour of the run, so several
    in one chart could not be told apart.
    """
    questions = {
        "1 Is it learning?": {
            "success rate of evaluation": "eval/success_rate",
            "mean return of evaluation": "eval/mean_reward",
            "return of the real episodes": "rollout/ep_rew",
            "predicted cost": "policy/predicted_cost",
            "rank correlation of cost and minus reward": "rollout/cost_reward_correlation",
        },
        "2 Is the gradient tame?": {
            "variance of the gradient": "gradient/variance",
            "variance of the gradient, median of the pairs of estimates": "gradient/variance_median",
            "signal-to-noise ratio of the gradient": "gradient/snr",
            "Lyapunov exponent of the rollouts, per step": "gradient/exponent_median",
            "predicted cost that resampling adds": "gradient/cost_change",
            "norm of the gradient, by gradient step": "policy_search/grad_norm",
            "factorisations that needed jitter": "resampling/jitter",
            "skipped steps": "policy/skipped_steps",
        },
        "3 Is the model right?": {
            **{f"error of {name} one step ahead": f"dynamics/rmse_{name}" for name in names},
            "negative log-likelihood of new episodes": "dynamics/validation_nll",
            "negative log-likelihood of the training data": "dynamics/train_nll",
        },
        "4 Where does the time go?": {
            "seconds a trial": "time/trial",
            **{f"seconds of {phase}": f"time/{phase}" for phase in PHASES},
        },
    }
    return {
        question: {title: ["Multiline", [_only(tag)]] for title, tag in charts.items()}
        for question, charts in questions.items()
    }


def _only(tag: str) -> str:
    """Return the regular expression of this tag: TensorBoard asks only whether a tag begins with one."""
    return f"{re.escape(tag)}$"


def log_layout(logger: Logger, names: Sequence[str]) -> None:
    """Write the layout to TensorBoard, unless an earlier event file in the directory holds it already.

    Args:
        logger: Where to.
        names: (D), the names of the state dimensions.
    """
    for output in logger.output_formats:
        if isinstance(output, TensorBoardOutputFormat):
            files = list(Path(output.writer.log_dir).glob("*tfevents*"))
            if len(files) <= 1:  # that of this writer
                output.writer.add_custom_scalars(scalar_layout(names))
