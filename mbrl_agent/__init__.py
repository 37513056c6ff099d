"""mbrl_agent: model-based policy search with particles and a selectable resampling strategy."""

import mbrl_agent.agent.headless  # noqa: F401  (first: Stable-Baselines3 imports matplotlib)

# isort: split
from mbrl_agent.agent.agent import ParticlePILCO
from mbrl_agent.agent.callbacks import TrialCallback
from mbrl_agent.agent.history import History
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
from mbrl_agent.policies import POLICIES
from mbrl_agent.policies.base import PolicyOptions, SearchPolicy
from mbrl_agent.policies.linear import Linear, LinearPolicy
from mbrl_agent.policies.mlp import Mlp, MlpPolicy
from mbrl_agent.policies.rbf import Rbf, RbfPolicy
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
from mbrl_agent.version import __version__

__all__ = [
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


def __getattr__(name: str) -> type:
    """Find the class of a choice that is not imported above: the imports are for type checkers."""
    if name[:1].isupper():
        from mbrl_agent.agent.saving import CHOICES

        for registry in (*CHOICES.values(), POLICIES):
            found = registry.own_classes.get(name)
            if found is not None:
                return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
