"""The command `export`: take the policy away to where it has to work."""

from __future__ import annotations

import re
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gymnasium import spaces

from mbrl_agent.options import refused
from mbrl_agent.policies.base import SearchPolicy
from mbrl_agent.run.commands.agent_options import check_target
from mbrl_agent.run.commands.task_names import NamedOptions
from mbrl_agent.run.messages import FAILED, one_line
from mbrl_agent.run.open_agent import OpenedAgent

HELP = "Write the policy for NumPy, TorchScript or ONNX: from the raw observation to the action."
NOTES = """\
examples:
  mbrl-agent export runs/X
  mbrl-agent export runs/X --format onnx --best
"""

STATES = {"visited": "visited states", "beyond": "made-up states in and around their range"}
"""What the kinds of states are called."""


@dataclass(frozen=True)
class Options(NamedOptions):
    """Which policy is written, how and where."""

    format: Literal["numpy", "torchscript", "onnx"] = "numpy"
    """numpy: a readable .py and a .npz, which need NumPy alone; torchscript: a .pt for torch.jit.load;
    onnx: a .onnx (needs the extra [onnx])."""
    out: str | None = None
    """File or directory to write to; none writes beside the agent."""
    force: bool = False
    """Replace files that are there."""


def run(options: Options) -> int:
    """Write the files, and say how far they are from `predict`.

    Returns:
        0, or 1 where what was to be written does not do what the policy does; nothing is written then.

    Raises:
        ValueError: The agent cannot be had, or the policy cannot be written so.
        OSError: A file cannot be read or written.
        RunFailure: The policy gives no number for a state that it has visited.
    """
    from mbrl_agent.run.export import FORMATS, About, ExportError, export

    opened = options.open()
    file_format = FORMATS[options.format]
    path = _path(options.out, opened, file_format.suffixes)
    for suffix in file_format.suffixes:
        check_target("out", path.with_name(path.name + suffix))
    if not opened.agent.improved:
        warnings.warn(f"the policy of {opened.file} has not been improved yet", stacklevel=1)
    names = options.names(opened)
    about = About(f"{opened.file.name}, trial {opened.agent.trials}", names.labels)
    try:
        exported = export(opened.agent, file_format, path, about, options.force)
    except ExportError as error:
        sys.stderr.write(f"export: error: {one_line(error)}\n")
        return FAILED
    policy, labels = opened.agent.policy, exported.about.observation
    lines = [f"{opened.name}: {_signature(policy)}"]
    lines += [f"  {index}  {label}" for index, label in zip(policy.seen_dims, labels, strict=True)]
    lines += [f"wrote {file}" for file in exported.files]
    lines += [
        f"largest difference from predict on {found.states} {STATES[kind]}: {found}"
        for kind, found in exported.comparisons.items()
    ]
    lines.append(f"use it: {file_format.usage(exported.files[0], exported.about)}")
    sys.stdout.write("\n".join([*lines, ""]))
    return 0


def _signature(policy: SearchPolicy) -> str:
    space = policy.action_space
    assert isinstance(space, spaces.Box)
    low, high = space.low.tolist(), space.high.tolist()
    memory = f" and memory ({policy.memory_dims})" if policy.memory_dims else ""
    action = f"action ({policy.action_dims}) from {low} to {high}"
    return f"observation ({len(policy.seen_dims)}){memory} -> {action}{memory}"


def _path(out: str | None, opened: OpenedAgent, suffixes: tuple[str, ...]) -> Path:
    """Tell where the files go, without their suffixes.

    Raises:
        ValueError: The suffix is that of another format.
    """
    # a name that Python can import
    name = re.sub(r"\W", "_", f"{opened.file.stem}_policy")
    name = f"_{name}" if name[0].isdigit() else name
    if out is None:
        return (opened.file.parent if opened.run is None else opened.run.path) / name
    path = Path(out)
    if path.is_dir() or out.endswith(("/", "\\")):
        return path / name
    if path.suffix in suffixes:
        return path.with_suffix("")
    if path.suffix or not path.name:
        raise refused("out", f"must end with {' or '.join(suffixes)}, or be a directory, got {out!r}")
    return path
