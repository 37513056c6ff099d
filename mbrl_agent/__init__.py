"""mbrl_agent: model-based policy search with particles and a selectable resampling strategy."""

from mbrl_agent.agent import ParticlePILCO
from mbrl_agent.policy_search import SearchOptions
from mbrl_agent.version import __version__

__all__ = ["ParticlePILCO", "SearchOptions", "__version__"]
