"""The commands of the studies by name; each is a module that is imported when it is asked for."""

from __future__ import annotations

import importlib
import shlex
from typing import Any

from mbrl_agent.run.commands.command_line import Command, words_of
from mbrl_agent.study.overview import COMMANDS, PROGRAM


def load_command(name: str) -> Command:
    """Import a command."""
    command: Any = importlib.import_module(COMMANDS[name])
    return command  # type: ignore[no-any-return]


def command_line(name: str, options: Any) -> str:
    """Write the command line that asks for these options.

    Args:
        name: The command.
        options: Its options.
    """
    return f"{PROGRAM} {name} {shlex.join(words_of(options))}"
