"""Studies that a person looks at: gradient landscapes, predicted trajectories, bias.

`python -m mbrl_agent.study --help` runs them. Everything that computes is a function of a `Scene` (a
model, a policy, a distribution of initial states) and returns plain arrays; drawing, files and the
command line are apart from it.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mbrl_agent.study.gradients.landscape import Landscape, landscape
    from mbrl_agent.study.gradients.sampling import Sampling
    from mbrl_agent.study.gradients.scene import Scene, run_scene, untrained_scene
    from mbrl_agent.study.strategies import Strategy, parse_strategy

__all__ = [
    "Landscape",
    "Sampling",
    "Scene",
    "Strategy",
    "landscape",
    "parse_strategy",
    "run_scene",
    "untrained_scene",
]

_MODULE_OF = {
    "Landscape": "gradients.landscape",
    "Sampling": "gradients.sampling",
    "Scene": "gradients.scene",
    "Strategy": "strategies",
    "landscape": "gradients.landscape",
    "parse_strategy": "strategies",
    "run_scene": "gradients.scene",
    "untrained_scene": "gradients.scene",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for: torch takes seconds, and the help needs none of it."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    """List what is exported, whether or not it has been asked for."""
    return sorted({*globals(), *__all__})
