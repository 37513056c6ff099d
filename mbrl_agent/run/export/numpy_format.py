"""NumPy: the numbers in a .npz, and a short .py beside it that computes with NumPy alone."""

from __future__ import annotations

import hashlib
import io
import keyword
import runpy
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from mbrl_agent.policies.base import SearchPolicy
from mbrl_agent.policies.linear import LinearPolicy
from mbrl_agent.policies.memory import MemoryPolicy
from mbrl_agent.policies.mlp import MlpPolicy
from mbrl_agent.policies.rbf import STRIDE, RbfPolicy
from mbrl_agent.policies.recurrent import RecurrentPolicy
from mbrl_agent.run.export.base import About, Action, Format
from mbrl_agent.version import __version__

Arrays = dict[str, NDArray[Any]]

TEMPLATE = '''\
{head}

It needs NumPy, and {npz} beside this file. Written by mbrl_agent {version}.
"""

from pathlib import Path

import numpy as np

SOURCE = {source}
OBSERVATION = (
{observation}
)
ANGLES = {angles}  # these dimensions [rad] are seen as sine and cosine
OTHERS = {others}
CHECKSUM = {checksum}

with np.load(Path(__file__).with_name({npz_name}), allow_pickle=False) as file:
    if str(file["checksum"]) != CHECKSUM:
        raise ValueError({mismatch})
    data = {{name: file[name].astype(np.float64) for name in file.files if name != "checksum"}}
LOW, HIGH = data["low"], data["high"]  # of the action
{signature}
    observation = np.asarray(observation)
    if observation.ndim not in (1, 2) or observation.shape[-1] != len(OBSERVATION):
        raise ValueError(f"expected observations ({dims},) or (N, {dims}), got shape {{observation.shape}}")
    # rounded to {dtype}, as the policy has always seen it; all that follows is in float64
    state = observation.astype(np.{dtype}).astype(np.float64)
    if not np.isfinite(state).all():
        raise ValueError(f"an observation is not finite: {{observation}}")
{check}    angles = state[..., ANGLES]
    features = np.concatenate([state[..., OTHERS], np.sin(angles), np.cos(angles)], axis=-1)
    z = (features - data["feature_mean"]) * data["feature_scale"]
{body}
    action = (0.5 * LOW + 0.5 * HIGH) + (0.5 * HIGH - 0.5 * LOW) * scaled
    return np.clip(action, LOW, HIGH).astype(np.{action_dtype}){following}
'''
PLAIN = {
    "head": '"""A policy: `act` maps raw observations to actions in the units of the environment.',
    "signature": '''

def act(observation):
    """Return the action (U,) for an observation (D,), or actions (N, U) for observations (N, D)."""''',
    "check": "",
    "following": "",
}
REMEMBERING = {
    "head": '''"""A policy that remembers: `act` maps observations and memories to actions and next memories.

Observations are raw, and consist of what OBSERVATION names; actions are in the units of the environment.''',
    "signature": '''MEMORY = {memory}


def initial_memory():
    """Return the memory at the start of an episode, (H,)."""
    return np.zeros(MEMORY)


def act(observation, memory):
    """Return the action (U,) and the next memory (H,) for an observation (D,) and a memory (H,).

    For observations (N, D) they are (N, U) and (N, H); a memory (H,) is then taken for all of them.
    """''',
    "check": """\
    memory = np.asarray(memory, dtype=np.float64)
    if memory.shape not in ((MEMORY,), (*observation.shape[:-1], MEMORY)):
        raise ValueError(f"expected a memory ({MEMORY},), or one an observation, got shape {memory.shape}")
    if not np.isfinite(memory).all():
        raise ValueError(f"a memory is not finite: {memory}")
""",
    "following": ", memory",
}
"""What the text says of a policy without and with a memory."""
SQUASH = "    scaled = (9 * np.sin(action) + np.sin(3 * action)) / 8"
RBF = f"""\
    # radial basis functions of z around the centers (C, F)
    distance = (z[..., None, :] - {STRIDE:g} * data["centers"]) / np.exp(data["log_lengthscales"])
    basis = np.exp(-0.5 * (distance**2).sum(axis=-1))
    action = basis @ data["weights"]
{SQUASH}"""
LINEAR = f"""\
    action = z @ data["weights"] + data["bias"]
{SQUASH}"""
MLP = """\
    scaled = z
    for layer in range({layers}):
        scaled = np.tanh(scaled @ data[f"weight_{{layer}}"] + data[f"bias_{{layer}}"])"""
RECURRENT = """\
    # a gated recurrent unit; 0.5 + 0.5 tanh(x / 2) is the logistic function of x
    inputs, recalled = z @ data["inputs"] + data["bias"], memory @ data["recurrent"]
    gates = 0.5 + 0.5 * np.tanh(0.5 * (inputs + recalled)[..., : 2 * MEMORY])
    reset, update = gates[..., :MEMORY], gates[..., MEMORY:]
    recalled = recalled[..., 2 * MEMORY :] + data["recurrent_bias"]
    proposal = np.tanh(inputs[..., 2 * MEMORY :] + reset * recalled)
    memory = (1 - update) * proposal + update * memory
    scaled = np.tanh(memory @ data["outputs"] + data["output_bias"])"""

BODIES: dict[type[SearchPolicy], Callable[[Arrays], str]] = {
    RbfPolicy: lambda arrays: RBF,
    LinearPolicy: lambda arrays: LINEAR,
    MlpPolicy: lambda arrays: MLP.format(layers=sum(name.startswith("weight_") for name in arrays)),
    RecurrentPolicy: lambda arrays: RECURRENT,
}
"""The lines between the standardised features `z` and the action in [-1, 1], `scaled`.

Those of a policy that remembers replace `memory` by the one for the next step.
"""
SHADOWED = ("numpy", "pathlib")
"""Modules that the file imports, and whose name it must not have."""


class NumpyFormat(Format):
    """A module with the function `act`, and its numbers; with `initial_memory` where there is a memory."""

    suffixes = (".py", ".npz")

    def require(self, policy: SearchPolicy, stem: str) -> None:
        """See `Format.require`."""
        if type(policy) not in BODIES:
            known = ", ".join(cls.__name__ for cls in BODIES)
            raise ValueError(
                f"{type(policy).__name__} cannot be written for NumPy, only {known} can: take the format "
                "torchscript or onnx, which record what a policy computes in torch"
            )
        if not stem.isidentifier() or keyword.iskeyword(stem) or stem in SHADOWED:
            raise ValueError(
                f"{stem}.py cannot be imported under that name: take letters, digits and _ (my_policy.py)"
            )

    def encode(self, policy: SearchPolicy, about: About, stem: str) -> Mapping[str, bytes]:
        """See `Format.encode`."""
        self.require(policy, stem)
        arrays = _arrays(policy)
        checksum = _checksum(arrays)
        buffer = io.BytesIO()
        values: dict[str, Any] = {"checksum": np.array(checksum), **arrays}
        np.savez(buffer, **values)
        words = REMEMBERING if about.memory else PLAIN
        text = TEMPLATE.format(
            npz=f"{stem}.npz",
            npz_name=_literal(f"{stem}.npz"),
            version=__version__,
            source=_literal(about.source),
            observation="\n".join(f"    {_literal(label)}," for label in about.observation),
            angles=_places(policy, policy.features.angle_dims),
            others=_places(policy, policy.features.plain_dims),
            checksum=_literal(checksum),
            mismatch=_literal(f"{stem}.npz and {stem}.py do not belong together: export both again"),
            dims=len(policy.seen_dims),
            dtype=arrays["feature_mean"].dtype,
            action_dtype=arrays["low"].dtype,
            body=BODIES[type(policy)](arrays),
            head=words["head"],
            signature=words["signature"].format(memory=about.memory),
            check=words["check"],
            following=words["following"],
        )
        return {".npz": buffer.getvalue(), ".py": text.encode()}

    def load(self, path: Path) -> Action:
        """See `Format.load`."""
        act: Action = runpy.run_path(str(path))["act"]
        return act

    def usage(self, path: Path, about: About) -> str:
        """See `Format.usage`."""
        if not about.memory:
            return f"from {path.stem} import act; action = act(observation)"
        return (
            f"from {path.stem} import act, initial_memory; memory = initial_memory(); "
            "action, memory = act(observation, memory)"
        )


def _places(policy: SearchPolicy, dims: Iterable[int]) -> list[int]:
    """Tell where some dimensions of a state are among those that the policy sees, as far as it sees them."""
    return [policy.seen_dims.index(dim) for dim in dims if dim in policy.seen_dims]


def _arrays(policy: SearchPolicy) -> Arrays:
    """Return parameters, standardisation of the features that the policy sees, and bounds, by name."""
    space = policy.action_space
    assert isinstance(space, spaces.Box)
    arrays: Arrays = {name: value.cpu().numpy() for name, value in policy.parameter_dict().items()}
    seen = policy.seen if isinstance(policy, MemoryPolicy) else slice(None)
    for name in ("feature_mean", "feature_scale"):
        arrays[name] = getattr(policy, name)[seen].cpu().numpy()
    return arrays | {"low": space.low, "high": space.high}


def _checksum(arrays: Arrays) -> str:
    """Hash all numbers: a module finds out when the file beside it is that of another export."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(arrays[name]).tobytes())
    return digest.hexdigest()[:16]


def _literal(text: str) -> str:
    """Return a string as source code, in ASCII: labels are the user's, and may hold anything."""
    escaped = text.encode("unicode_escape").decode("ascii")
    if '"' in escaped and "'" not in escaped:
        return f"'{escaped}'"
    return '"' + escaped.replace('"', '\\"') + '"'
