"""One look a strategy, the same in every figure, told apart by the colour-blind too.

Hues are those of Okabe and Ito, one a resampler. Variants of a resampler are shades of its hue, from
light to dark in the order given, with markers of their own; estimators other than the
reparameterisation have dashed lines.
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
    """The look of every strategy, by label."""
    families: dict[str, list[str]] = {}
    estimators: list[str] = []
    for strategy in strategies:
        text = strategy.label.partition(" + ")[0]
        family = families.setdefault(strategy.resampler.name, [])
        family += [text] * (text not in family)
        estimators += [strategy.estimator.name] * (strategy.estimator.name not in estimators)
    estimators.sort(key=lambda name: name != "reparameterization")
    unknown = [name for name in families if name not in HUES]
    found = {}
    for strategy in strategies:
        name = strategy.resampler.name
        variants = families[name]
        position = variants.index(strategy.label.partition(" + ")[0])
        hue = HUES.get(name) or OTHER_HUES[unknown.index(name) % len(OTHER_HUES)]
        estimator = estimators.index(strategy.estimator.name)
        line = DASHES[min(estimator, len(DASHES) - 1)]
        if strategy.estimator.name != "reparameterization" and line == "-":
            line = "--"
        colour = shade(hue, position, len(variants))
        if estimator:  # beside the same resampler with another estimator
            colour = blend(colour, BLACK, 0.55)
        found[strategy.label] = Look(colour, line, MARKERS[(position + estimator) % len(MARKERS)])
    return found


def shade(hue: str, position: int, count: int) -> str:
    """One of several shades of a hue, from light to dark; the hue itself where there is only one."""
    if count == 1:
        return hue
    amount = 2 * position / (count - 1) - 1  # -1 light, 1 dark
    towards, strength = (WHITE, -0.55 * amount) if amount < 0 else (BLACK, 0.6 * amount)
    return blend(hue, towards, strength)


def blend(colour: str, goal: tuple[float, float, float], strength: float) -> str:
    """Part of the way from one colour to another."""
    red, green, blue = (
        (1 - strength) * own + strength * c for own, c in zip(to_rgb(colour), goal, strict=True)
    )
    return to_hex((red, green, blue))
