"""One look a strategy, the same in every figure, told apart by the colour-blind too.

Hues are those of Okabe and Ito, one a resampler. Variants of a resampler are shades of its hue, from
light to dark in the order given, with markers of their own; estimators other than the
reparameterisation have colours of their own and dashed lines.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.colors import to_hex, to_rgb

from mbrl_agent.study.strategies import Strategy

HUES = {
    "none": "#d55e00",
    "gaussian": "#0072b2",
    "interpolated": "#cc79a7",
    "mixture": "#009e73",
    "detached-mixture": "#56b4e9",
    "tangent": "#e69f00",
    "liu-west": "#8c6bb1",
}
ESTIMATOR_HUES = {
    "total-propagation": "#000000",
    "likelihood-ratio": "#7f7f7f",
    "gaussian-shaping": "#8c564b",
}
OTHER_HUES = ("#7f7f7f", "#9c755f", "#b8a800")
MARKERS = "osD^vP"
DASHES = ("-", "--", "-.", ":")
WHITE, BLACK = (1.0, 1.0, 1.0), (0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Look:
    """How a curve is drawn."""

    colour: str
    line: str
    marker: str


def looks(strategies: Sequence[Strategy]) -> dict[str, Look]:
    """Return the look of every strategy, by label."""
    families: dict[str, list[str]] = {}
    estimators = ["reparameterization"]
    for strategy in strategies:
        variants, text = families.setdefault(strategy.resampler.name, []), _resampling(strategy)
        variants += [text] * (text not in variants)
        estimators += [strategy.estimator.name] * (strategy.estimator.name not in estimators)
    unknown = [name for name in families if name not in HUES]
    found = {}
    for strategy in strategies:
        name, estimator = strategy.resampler.name, strategy.estimator.name
        variants = families[name]
        position, kind = variants.index(_resampling(strategy)), estimators.index(estimator)
        hue = HUES.get(name) or OTHER_HUES[unknown.index(name) % len(OTHER_HUES)]
        colour = shade(hue, position, len(variants))
        if kind:
            colour = blend(ESTIMATOR_HUES.get(estimator, "#9c755f"), to_rgb(colour), 0.2)
        marker = MARKERS[(position + kind) % len(MARKERS)]
        found[strategy.label] = Look(colour, DASHES[min(kind, len(DASHES) - 1)], marker)
    return found


def _resampling(strategy: Strategy) -> str:
    """Return the part of the label that is about resampling."""
    return strategy.label.partition(" + ")[0]


def shade(hue: str, position: int, count: int) -> str:
    """Return one of several shades of a hue, from light to dark; the hue itself where there is only one."""
    if count == 1:
        return hue
    amount = 2 * position / (count - 1) - 1  # -1 light, 1 dark
    towards, strength = (WHITE, -0.4 * amount) if amount < 0 else (BLACK, 0.6 * amount)
    return blend(hue, towards, strength)


def blend(colour: str, goal: tuple[float, float, float], strength: float) -> str:
    """Part of the way from one colour to another."""
    red, green, blue = (
        (1 - strength) * own + strength * c for own, c in zip(to_rgb(colour), goal, strict=True)
    )
    return to_hex((red, green, blue))
