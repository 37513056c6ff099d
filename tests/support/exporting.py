"""An agent whose policy is exported, and processes in which its files have to do alone."""

import importlib.util
import subprocess
import sys

import gymnasium
import numpy as np
import torch
from gymnasium import spaces

from mbrl_agent import ParticlePILCO
from mbrl_agent.run.export import FORMATS, About

STATES, ACTIONS = 5, 3
LOW, HIGH = (-2.0, 0.1, 5.0), (1.0, 0.3, 5.0)  # the last cannot move
HERE = [name for name in FORMATS if name != "onnx" or importlib.util.find_spec("onnxruntime")]
ABOUT = About("agent.zip", tuple(f"x{index} [m]" for index in range(STATES)))


class Plant(gymnasium.Env):
    """Five dimensions and three actions with bounds of their own."""

    def __init__(self, dtype=np.float32, angle_dims=(3, 1), copied_dims=None):
        self.observation_space = spaces.Box(-np.inf, np.inf, (STATES,), dtype)
        self.action_space = spaces.Box(np.array(LOW, np.float32), np.array(HIGH, np.float32))
        self.cost = lambda state, action: state.square().sum(-1)
        self.angle_dims = angle_dims
        self.copied_dims = copied_dims or {}


def visited(rng, count=60):
    """A pressure with an offset of thousands of spreads, angles after many turns, a dimension that rests."""
    states = rng.normal(size=(count, STATES)) * [1.0, 20.0, 2.0, 3.0, 0.0]
    return states + np.array([0.0, 60.0, 101325.0, 0.0, 7.0])


def make_agent(policy="rbf:centers=9", angle_dims=(3, 1), draw=True, **options):
    env = gymnasium.wrappers.TimeLimit(Plant(angle_dims=angle_dims, **options), 60)
    agent = ParticlePILCO(policy, env, seed=0, resampling="none")
    rng = np.random.default_rng(0)
    states = visited(rng).astype(agent.observation_space.dtype)
    agent.add_episode(states, rng.uniform(LOW, HIGH, (len(states) - 1, ACTIONS)).astype(np.float32))
    seen = torch.as_tensor(states, dtype=torch.float64)
    agent.policy.restandardize(seen)
    if draw:
        drawn = agent.policy.initial_parameters(seen, 1, torch.Generator().manual_seed(1))
        agent.policy.set_parameters({name: value[0] for name, value in drawn.items()})
    return agent


def share(actions, expected):
    """Largest difference as a fraction of the range."""
    span = np.subtract(HIGH, LOW)
    return (np.abs(actions.astype(float) - expected) / np.where(span > 0, span, 1)).max()


ALONE = """
import sys
class Only:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {forbidden}:
            raise ImportError(name + " is not here")
sys.meta_path.insert(0, Only())
import numpy as np
states = np.load({states!r})
{code}
np.save({out!r}, actions)
"""
OURS = ["mbrl_agent", "envs", "train", "gymnasium", "stable_baselines3"]


def run_alone(code, forbidden, states, folder):
    """Actions from a process in which some packages cannot be imported."""
    np.save(folder / "states.npy", states)
    program = ALONE.format(
        forbidden=forbidden, states=str(folder / "states.npy"), out=str(folder / "actions.npy"), code=code
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", program], cwd="/", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return np.load(folder / "actions.npy")
