"""What is compared: a resampling strategy with a gradient estimator, spelled as everywhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mbrl_agent.resampling import RESAMPLERS, Resampler
from mbrl_agent.search.estimators import ESTIMATORS, Estimator
from mbrl_agent.search.estimators.reparameterization import Reparameterization


@dataclass(frozen=True)
class Strategy:
    """One curve of a figure.

    Attributes:
        label: How the user wrote it; names curves and CSV rows.
        resampler: What happens to the particles between two steps.
        estimator: How the gradient is estimated.
    """

    label: str
    resampler: Resampler
    estimator: Estimator


def parse_strategy(text: str, estimator: str = Reparameterization.name) -> Strategy:
    """Read `interpolated:0.5`, `mixture:components=3,em-iterations=3` or `mixture:3,3`.

    Args:
        text: The resampling strategy.
        estimator: The gradient estimator, in the same syntax.

    Raises:
        ValueError: Unknown name or option, or a value that the option cannot take.
    """
    resampler = RESAMPLERS.resolve(text)
    chosen = ESTIMATORS.resolve(estimator)
    label = text if isinstance(chosen, Reparameterization) else f"{text} + {estimator}"
    return Strategy(label, resampler, chosen)


def combine(resampling: Sequence[str], estimators: Sequence[str]) -> tuple[list[Strategy], list[str]]:
    """Return every resampling strategy with every estimator that works with it.

    Returns:
        The strategies, and which combinations were left out.

    Raises:
        ValueError: One of the names is wrong, a strategy is given twice, or an estimator works with none.
    """
    strategies, left_out = [], []
    for estimator in estimators:
        reasons: dict[str, str] = {}
        for text in resampling:
            strategy = parse_strategy(text, estimator)
            try:
                strategy.estimator.validate(strategy.resampler)
            except ValueError as error:
                reasons[text] = str(error)
            else:
                strategies.append(strategy)
        if len(reasons) == len(resampling):
            raise ValueError(next(iter(reasons.values())))
        if reasons:
            left_out.append(f"estimator {estimator!r} does not work with {', '.join(reasons)}")
    _refuse_repetition(strategies)
    return strategies, left_out


def _refuse_repetition(strategies: Sequence[Strategy]) -> None:
    """Raise ValueError where two strategies are the same, in one spelling or in two."""
    labels: dict[tuple[Resampler, Estimator], str] = {}
    for strategy in strategies:
        other = labels.setdefault((strategy.resampler, strategy.estimator), strategy.label)
        if other != strategy.label:
            raise ValueError(f"resampling {other!r} and {strategy.label!r} are the same")
    if len(labels) < len(strategies):
        given = [strategy.label for strategy in strategies]
        twice = next(label for label in given if given.count(label) > 1)
        raise ValueError(f"resampling {twice!r} is given twice")
