"""mbrl_agent: model-based policy search with particles and a selectable resampling strategy.

What it exports is imported when it is first asked for: torch takes seconds, and a help text needs none of it.
"""

import importlib
import importlib.util
from typing import TYPE_CHECKING, Any

import mbrl_agent.agent.headless  # noqa: F401  (first: Stable-Baselines3 imports matplotlib)

# isort: split
from mbrl_agent.version import __version__

if TYPE_CHECKING:
    from mbrl_agent.agent.agent import ParticlePILCO
    from mbrl_agent.agent.callbacks import TrialCallback
    from mbrl_agent.dynamics.base import DynamicsModel, DynamicsOptions
    from mbrl_agent.dynamics.dropout import Dropout
    from mbrl_agent.dynamics.ensemble import Ensemble
    from mbrl_agent.dynamics.gp import Gp
    from mbrl_agent.dynamics.simulator import Simulator
    from mbrl_agent.files.archive import CheckpointError
    from mbrl_agent.gaussians.cholesky import robust_cholesky
    from mbrl_agent.gaussians.moments import particle_moments
    from mbrl_agent.options import OptionError
    from mbrl_agent.options.plugins import load_plugin, unload_plugin
    from mbrl_agent.policies.base import PolicyOptions, SearchPolicy
    from mbrl_agent.policies.linear import Linear, LinearPolicy
    from mbrl_agent.policies.mlp import Mlp, MlpPolicy
    from mbrl_agent.policies.rbf import Rbf, RbfPolicy
    from mbrl_agent.policies.recurrent import Recurrent, RecurrentPolicy
    from mbrl_agent.resampling import (
        DetachedMixture,
        ExactGaussian,
        FunctionGaussian,
        Gaussian,
        Interpolated,
        LiuWest,
        Mixture,
        NoResampling,
        Resampler,
        Tangent,
    )
    from mbrl_agent.resampling.base import equal_weights
    from mbrl_agent.search.estimators.base import Estimator
    from mbrl_agent.search.estimators.gaussian_shaping import GaussianShaping
    from mbrl_agent.search.estimators.likelihood_ratio import LikelihoodRatio
    from mbrl_agent.search.estimators.reparameterization import Reparameterization
    from mbrl_agent.search.estimators.total_propagation import TotalPropagation
    from mbrl_agent.search.policy_search import SearchOptions
    from mbrl_agent.search.rollouts.base import Rollout
    from mbrl_agent.search.rollouts.moment_matching import MomentMatching
    from mbrl_agent.search.rollouts.particles import Particles
    from mbrl_agent.types import Prediction, Resampled
    from mbrl_agent.wrappers import ActionHistory, History

__all__ = [
    "ActionHistory",
    "CheckpointError",
    "DetachedMixture",
    "Dropout",
    "DynamicsModel",
    "DynamicsOptions",
    "Ensemble",
    "Estimator",
    "ExactGaussian",
    "FunctionGaussian",
    "Gaussian",
    "GaussianShaping",
    "Gp",
    "History",
    "Interpolated",
    "LikelihoodRatio",
    "Linear",
    "LinearPolicy",
    "LiuWest",
    "Mixture",
    "Mlp",
    "MlpPolicy",
    "MomentMatching",
    "NoResampling",
    "OptionError",
    "ParticlePILCO",
    "Particles",
    "PolicyOptions",
    "Prediction",
    "Rbf",
    "RbfPolicy",
    "Recurrent",
    "RecurrentPolicy",
    "Reparameterization",
    "Resampled",
    "Resampler",
    "Rollout",
    "SearchOptions",
    "SearchPolicy",
    "Simulator",
    "Tangent",
    "TotalPropagation",
    "TrialCallback",
    "__version__",
    "equal_weights",
    "load_plugin",
    "particle_moments",
    "robust_cholesky",
    "unload_plugin",
]

_HOMES = {
    "agent.agent": "ParticlePILCO",
    "agent.callbacks": "TrialCallback",
    "dynamics.base": "DynamicsModel DynamicsOptions",
    "dynamics.dropout": "Dropout",
    "dynamics.ensemble": "Ensemble",
    "dynamics.gp": "Gp",
    "dynamics.simulator": "Simulator",
    "files.archive": "CheckpointError",
    "gaussians.cholesky": "robust_cholesky",
    "gaussians.moments": "particle_moments",
    "options": "OptionError",
    "options.plugins": "load_plugin unload_plugin",
    "policies.base": "PolicyOptions SearchPolicy",
    "policies.linear": "Linear LinearPolicy",
    "policies.mlp": "Mlp MlpPolicy",
    "policies.rbf": "Rbf RbfPolicy",
    "policies.recurrent": "Recurrent RecurrentPolicy",
    "resampling": "DetachedMixture ExactGaussian FunctionGaussian Gaussian Interpolated LiuWest Mixture "
    "NoResampling Resampler Tangent",
    "resampling.base": "equal_weights",
    "search.estimators.base": "Estimator",
    "search.estimators.gaussian_shaping": "GaussianShaping",
    "search.estimators.likelihood_ratio": "LikelihoodRatio",
    "search.estimators.reparameterization": "Reparameterization",
    "search.estimators.total_propagation": "TotalPropagation",
    "search.policy_search": "SearchOptions",
    "search.rollouts.base": "Rollout",
    "search.rollouts.moment_matching": "MomentMatching",
    "search.rollouts.particles": "Particles",
    "types": "Prediction Resampled",
    "wrappers": "ActionHistory History",
}
"""Where what is exported comes from, as above: names by the module below this one."""
_MODULE_OF = {name: module for module, names in _HOMES.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    """Import what is asked for: an export, the class of a choice that is not exported, or a module."""
    if name in _MODULE_OF:
        importlib.import_module("mbrl_agent.agent.agent")  # all rooms: plug-ins add to what is there
        value = getattr(importlib.import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
        globals()[name] = value
        return value
    if name[:1].isupper() and (choice := _choice(name)) is not None:
        return choice
    is_public = name.isidentifier() and not name.startswith("_")
    if is_public and importlib.util.find_spec(f"{__name__}.{name}"):
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _choice(name: str) -> type | None:
    """Return the class of a choice that is not exported: the exports are for type checkers."""
    from mbrl_agent.agent.arguments import CHOICES
    from mbrl_agent.policies import POLICIES

    registries = (*CHOICES.values(), POLICIES)
    return next((own[name] for registry in registries if name in (own := registry.own_classes)), None)


def __dir__() -> list[str]:
    """List what is exported, whether or not it has been asked for."""
    return sorted({*globals(), *__all__})
