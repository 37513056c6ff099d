"""The command line of everything: `python -m mbrl_agent --help`, or `mbrl-agent --help`."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
"""The folder that holds the package, `envs` and train.py: a clone, or site-packages."""
SCRIPT, MODULE = "mbrl-agent", "python -m mbrl_agent"
COMMANDS = {
    "train": "",
    "evaluate": "mbrl_agent.run.commands.evaluate",
    "watch": "mbrl_agent.run.commands.watch",
    "inspect": "mbrl_agent.run.commands.inspect",
    "export": "mbrl_agent.run.commands.export",
    "study": "",
}
"""The module of each command on a trained agent; the two others have a command line of their own."""
HELPS = {
    "train": "Train an agent; the same as train.py.",
    "study": "Compare strategies, gradients and whole runs; the same as python -m mbrl_agent.study.",
}
EXAMPLES = """\
examples:
  {name} train --resampling none --seed 3
  {name} evaluate runs/X --env.noise-scale 2
  {name} watch runs/X --trials 1,3,6 --gif learning.gif

`{name} COMMAND --help` has the options of each.
"""


def main(argv: Sequence[str] | None = None, program_ends: bool = False, name: str = MODULE) -> int:
    """Run a command line and return the exit status.

    It is that of the command, and 2 where there is no such command.

    Args:
        argv: The words; None takes those of the process.
        program_ends: The process ends with the returned status: after a signal, further ones are ignored.
        name: What messages and the help call the program.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    first, rest = (words[0], words[1:]) if words else ("--help", [])
    if first in ("-h", "--help"):
        sys.stdout.write(help_text(name))
        return 0
    if first == "--version":
        from mbrl_agent.version import __version__

        sys.stdout.write(f"mbrl_agent {__version__}\n")
        return 0
    if first not in available():
        return _refuse(name, _no_such_command(first))
    return _run(first, rest, program_ends, f"{name} {first}")


def _run(command: str, argv: list[str], program_ends: bool, name: str) -> int:
    if command == "train":
        from mbrl_agent.run.start import load

        return load(argv, name)(program_ends)
    if command == "study":
        from mbrl_agent.study.__main__ import main as study

        return study(argv, program_ends)
    from mbrl_agent.run.stored_help import command_answer, show

    if (text := command_answer(command, argv, name)) is not None:
        return show(text)
    from mbrl_agent.run.commands.command_line import run_command

    return run_command(_module(command), argv, name, program_ends)


def available() -> list[str]:
    """Return the commands that are here, in the order of the help."""
    return [name for name, module in COMMANDS.items() if not module or importlib.util.find_spec(module)]


def help_text(name: str = MODULE) -> str:
    """Write the program's help: a line a command."""
    lines = [f"  {command:9} {_summary(command)}" for command in available()]
    return "\n".join([f"usage: {name} COMMAND ...\n", "commands:", *lines, "", EXAMPLES.format(name=name)])


def _summary(command: str) -> str:
    """Tell what a command does, one line; without an import of the command where that can be had."""
    from mbrl_agent.run.stored_help import read

    if command in HELPS:
        return HELPS[command]
    stored = read()
    return str(_module(command).HELP) if stored is None else stored.command(command).summary


def _module(command: str) -> Any:
    return importlib.import_module(COMMANDS[command])


def _no_such_command(word: str) -> str:
    from mbrl_agent.options import did_you_mean

    if word.startswith("-"):
        return f"unknown option {word}: the command comes first, one of {', '.join(available())}"
    return f"unknown command {word!r}: choose from {', '.join(available())}{did_you_mean(word, available())}"


def _refuse(name: str, message: str) -> int:
    sys.stderr.write(f"{name}: error: {message} (see {name} --help)\n")
    return 2


def _look_here_last() -> None:
    """Move the current directory, which `python -m` puts first, to the end of where Python finds modules.

    A folder `envs` or a file of the user's shall not take the place of a module of ours.
    """
    here = os.path.realpath(sys.path[0] or os.curdir)
    if here == os.path.realpath(os.curdir) and here != str(ROOT):
        sys.path.append(sys.path.pop(0))


def script() -> None:
    """Be the program `mbrl-agent`."""
    sys.exit(main(program_ends=True, name=SCRIPT))


if __name__ == "__main__":
    _look_here_last()
    sys.exit(main(program_ends=True))
