"""Resampling strategies: what happens to the particles between two predicted time steps.

One file a strategy. To add one, add a file with a frozen dataclass that derives from `Resampler`
and declares `name` and `mixes_particles`; nothing else needs an edit: the class is an attribute of this
module.
"""

from mbrl_agent.options.registry import Registry
from mbrl_agent.resampling.base import Resampler
from mbrl_agent.resampling.detached_mixture import DetachedMixture
from mbrl_agent.resampling.exact_gaussian import ExactGaussian
from mbrl_agent.resampling.function_gaussian import FunctionGaussian
from mbrl_agent.resampling.gaussian import Gaussian
from mbrl_agent.resampling.interpolated import Interpolated
from mbrl_agent.resampling.liu_west import LiuWest
from mbrl_agent.resampling.mixture import Mixture
from mbrl_agent.resampling.none import NoResampling
from mbrl_agent.resampling.tangent import Tangent

RESAMPLERS: Registry[Resampler] = Registry("resampling", "mbrl_agent.resampling", Resampler)  # type: ignore[type-abstract]

__all__ = [
    "RESAMPLERS",
    "DetachedMixture",
    "ExactGaussian",
    "FunctionGaussian",
    "Gaussian",
    "Interpolated",
    "LiuWest",
    "Mixture",
    "NoResampling",
    "Resampler",
    "Tangent",
]


def __getattr__(name: str) -> type[Resampler]:
    """Find the class of a strategy that is not imported above: the imports are for type checkers."""
    if name[:1].isupper() and name in RESAMPLERS.own_classes:  # (a module that is imported is asked for, too)
        return RESAMPLERS.own_classes[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
