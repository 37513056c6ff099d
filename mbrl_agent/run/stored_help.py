"""What the help says, kept in help.json: to read it takes a blink, to generate it an import of torch.

    python -m mbrl_agent.study.store_help     # write help.json again, after a change of an option

It answers where it cannot be wrong: to words that ask for a page and say nothing else, where no plug-in is
installed, and where the folders of the choices hold the files that it was written from. All else is left to
`help.py`. A test compares it with what is generated. It holds no pages, but what stands on them: they are as
wide as the terminal, and look as Python's argparse draws them.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from mbrl_agent.run.help_page import GROUPS, Block, CommandPage, Line, asks_for_help, command_help, page
from mbrl_agent.run.streams import tolerant_streams
from mbrl_agent.version import __version__

FILE = Path(__file__).with_name("help.json")
PACKAGE = Path(__file__).parents[1]
FOLDERS = ("resampling", "search/estimators", "dynamics", "search/rollouts", "policies", "run/presets")
"""Where a new file is a new choice."""
COMMANDS = ("evaluate", "watch", "inspect", "export")
"""The modules of `mbrl_agent.run.commands` that are commands."""
PLUGINS = "mbrl_agent.plugins"
"""Group of the entry points of plug-ins, as in `options.plugins`, which takes an import of NumPy."""


@dataclass(frozen=True)
class Stored:
    """The content of the help as it was when the file was written; see `help_page.Content`.

    Attributes:
        data: The file.
    """

    data: dict[str, Any]

    def blocks(self) -> list[Block]:
        """List every option of every choice of the package."""
        return [_block(data) for data in self.data["blocks"]]

    def env(self) -> Block:
        """Return what the constructor of the default environment takes."""
        return _block(self.data["env"])

    def presets(self) -> str:
        """Tell what each preset sets."""
        return str(self.data["presets"])

    def command(self, name: str) -> CommandPage:
        """Return the page of a command on a trained agent."""
        return _page(self.data["commands"][name])

    def study(self, name: str) -> CommandPage:
        """Return the page of a command of the studies."""
        return _page(self.data["studies"][name])


def _block(data: dict[str, Any]) -> Block:
    return Block(data["title"], data["description"], _lines(data), data["group"])


def _page(data: dict[str, Any]) -> CommandPage:
    return CommandPage(**{**data, "lines": _lines(data)})


def _lines(data: dict[str, Any]) -> tuple[Line, ...]:
    return tuple(Line(**line) for line in data["lines"])


def train_answer(argv: Sequence[str], name: str) -> str | None:
    """Tell what a command line of train.py is answered with, if that is a page of the help or the version.

    Args:
        argv: The words.
        name: What the help calls the program.

    Returns:
        The text; None where more has to be known than the file.
    """
    if "--version" in argv and not asks_for_help(argv):
        return f"mbrl_agent {__version__}\n"
    group = _plain_group(argv)
    stored = None if group is None or _more_may_be_chosen() else read()
    if stored is None or group is None or stored.data["files"] != files():
        return None
    return page(stored, group, name)


def command_answer(command: str, argv: Sequence[str], name: str) -> str | None:
    """Return the help of a command on a trained agent, where that is asked for; as `train_answer`."""
    stored = read() if command in COMMANDS and asks_for_help(argv) else None
    if stored is None:
        return None
    return command_help(stored.command(command), name)


def study_answer(command: str, argv: Sequence[str], name: str) -> str | None:
    """Return the help of a command of the studies, where that alone is asked for; as `train_answer`."""
    plain = list(argv) in (["--help"], ["-h"]) and not _more_may_be_chosen()
    stored = read() if plain else None
    if stored is None or stored.data["files"] != files():
        return None
    return command_help(stored.study(command), name)


def show(text: str) -> int:
    """Write an answer, and return the exit status."""
    with tolerant_streams():
        sys.stdout.write(text)
    return 0


def _plain_group(argv: Sequence[str]) -> str | None:
    """Return the page that is asked for by words that say nothing else; None for other words."""
    first, *rest = argv or [""]
    if first.startswith("--help=") and not rest:
        group = first.removeprefix("--help=")
    elif first in ("--help", "-h") and len(rest) <= 1:
        group = "".join(rest)
    else:
        return None
    return group if group in ("", *GROUPS) else None


def _more_may_be_chosen() -> bool:
    """Tell whether there may be choices of plug-ins: where torch is imported there is nothing to save."""
    return "torch" in sys.modules or bool(entry_points(group=PLUGINS))


def files() -> dict[str, list[str]]:
    """Return the names of the files that hold choices, by folder."""
    return {
        folder: sorted(path.name for path in (PACKAGE / folder).glob("*") if path.suffix in (".py", ".yaml"))
        for folder in FOLDERS
    }


@cache
def read() -> Stored | None:
    """Read the file; None where it cannot be read."""
    try:
        return Stored(json.loads(FILE.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return None
