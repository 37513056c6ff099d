"""What is compared: a resampling strategy with a gradient estimator, written `name:option=value,...`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from mbrl_agent.estimators import ESTIMATORS, Estimator
from mbrl_agent.estimators.reparameterization import Reparameterization
from mbrl_agent.options import build, options_of
from mbrl_agent.registry import Registry
from mbrl_agent.resampling import RESAMPLERS, Resampler

T = TypeVar("T")
SYNTAX = "NAME, NAME:VALUE,... or NAME:OPTION=VALUE,..."


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

    Values without a name go to the options in the order in which the strategy declares them.

    Args:
        text: The resampling strategy.
        estimator: The gradient estimator, in the same syntax.

    Raises:
        ValueError: Unknown name or option, or a value that the option cannot take.
    """
    resampler = instance_of(RESAMPLERS, text)
    chosen = instance_of(ESTIMATORS, estimator)
    label = text if isinstance(chosen, Reparameterization) else f"{text} + {estimator}"
    return Strategy(label, resampler, chosen)


def combine(resampling: Sequence[str], estimators: Sequence[str]) -> tuple[list[Strategy], list[str]]:
    """Every resampling strategy with every estimator that works with it.

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
    labels = [strategy.label for strategy in strategies]
    twice = next((label for label in labels if labels.count(label) > 1), None)
    if twice is not None:
        raise ValueError(f"resampling {twice!r} is given twice")
    return strategies, left_out


def instance_of(registry: Registry[T], text: str) -> T:
    """An instance from `name:option=value,...`.

    Raises:
        ValueError: Unknown name or option, or a value that the option cannot take.
    """
    name, _, rest = text.partition(":")
    cls = registry.get(name)
    names = list(options_of(cls))
    values: dict[str, str] = {}
    named = False
    for position, word in enumerate(rest.split(",") if rest else []):
        key, equals, value = word.partition("=")
        named = named or bool(equals)
        if not equals and (named or position >= len(names)):
            raise ValueError(f"{registry.kind} {text!r}: cannot read {word!r}; write {SYNTAX}")
        key, value = (key.replace("-", "_"), value) if equals else (names[position], word)
        if key in values:
            raise ValueError(f"{registry.kind} {text!r}: option {key!r} is given twice")
        values[key] = value
    instance: T = build(cls, f"{registry.kind} {text!r}", f"{registry.kind} {name!r}", values)
    return instance
