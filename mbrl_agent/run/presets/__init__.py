"""Presets: published systems, spelled as options of a run. One YAML file a preset."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from mbrl_agent.files.yaml_data import read_yaml
from mbrl_agent.options import did_you_mean, to_text

NO_PRESET = "defaults"


@dataclass(frozen=True)
class Preset:
    """A published system as options.

    Attributes:
        name: As on the command line.
        summary: What it is, in a sentence.
        paper: Where it comes from.
        guesses: Where the paper is silent, or this package has no such thing.
        options: By the dotted names of `TrainConfig`.
    """

    name: str
    summary: str
    paper: str
    guesses: tuple[str, ...]
    options: Mapping[str, Any]

    def flags(self) -> str:
        """Write the options as they would be written on the command line."""
        return " ".join(f"--{key.replace('_', '-')} {to_text(value)}" for key, value in self.options.items())


@cache
def presets() -> dict[str, Preset]:
    """Read all presets, by name."""
    found = {}
    for path in sorted(Path(__file__).parent.glob("*.yaml")):
        data = read_yaml(path)
        found[path.stem] = Preset(path.stem, **data | {"guesses": tuple(data["guesses"])})
    return found


def preset_options(name: str) -> dict[str, Any]:
    """Return what a preset sets, by dotted name; "defaults" sets nothing.

    Raises:
        ValueError: There is no such preset.
    """
    if name == NO_PRESET:
        return {}
    known = presets()
    if name not in known:
        names = [NO_PRESET, *known]
        raise ValueError(
            f"there is no preset {name!r}{did_you_mean(name, names)}; there are {', '.join(names)}"
        )
    return dict(known[name].options)


def describe() -> str:
    """Return the help of the presets."""
    parts = ["presets (--preset NAME; a flag, or --config, goes before what a preset sets):\n"]
    for preset in presets().values():
        lines = [f"  {preset.name}", f"    {preset.summary}", f"    {preset.flags()}", f"    {preset.paper}"]
        lines += [f"    - {guess}" for guess in preset.guesses]
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)
