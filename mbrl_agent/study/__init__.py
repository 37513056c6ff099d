"""Studies that a person looks at: gradient landscapes, predicted trajectories, bias.

`python -m mbrl_agent.study --help` runs them. Everything that computes is a function of a `Scene` (a
model, a policy, a distribution of initial states) and returns plain arrays; drawing, files and the
command line are apart from it.
"""

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
