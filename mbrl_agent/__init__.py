"""mbrl_agent: model-based policy search with particles and a selectable resampling strategy."""

from mbrl_agent.headless import import_matplotlib

import_matplotlib()

from mbrl_agent.agent import ParticlePILCO  # noqa: E402  (it imports matplotlib, too)
from mbrl_agent.policy_search import SearchOptions  # noqa: E402
from mbrl_agent.version import __version__  # noqa: E402

__all__ = ["ParticlePILCO", "SearchOptions", "__version__"]
