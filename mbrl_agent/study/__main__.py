"""The studies as a program: `python -m mbrl_agent.study --help`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from mbrl_agent.run.stored_help import show, study_answer
from mbrl_agent.study.overview import COMMANDS, PROGRAM, overview


def main(argv: Sequence[str] | None = None, program_ends: bool = False) -> int:
    """Run a command line and return the exit status.

    It is 0, 1 if some runs of a sweep or a baseline failed, 2 for a user's mistake or a file that cannot be
    read or written, 130 after Ctrl-C and 143 after SIGTERM. Signal handlers, torch's settings and the
    standard streams are then as they were before.

    Args:
        argv: The words; None takes those of the process.
        program_ends: The process ends with the returned status: after a signal, further ones are ignored.
    """
    first, *rest = (list(sys.argv[1:] if argv is None else argv)) or [""]
    if first in ("--help", "-h"):
        return show(overview())
    if first not in COMMANDS:
        sys.stderr.write(f"{PROGRAM}: error: {_no_such_command(first)} (see {PROGRAM} --help)\n")
        return 2
    name = f"{PROGRAM} {first}"
    if (text := study_answer(first, rest, name)) is not None:
        return show(text)
    from mbrl_agent.run.commands.command_line import run_command
    from mbrl_agent.study.commands import load_command

    return run_command(load_command(first), rest, name, program_ends)


def _no_such_command(word: str) -> str:
    from mbrl_agent.options import did_you_mean

    names = ", ".join(COMMANDS)
    if not word or word.startswith("-"):
        return f"{f'unknown option {word}: ' if word else ''}the command comes first, one of {names}"
    return f"unknown command {word!r}: choose from {names}{did_you_mean(word, COMMANDS)}"


if __name__ == "__main__":
    sys.exit(main(program_ends=True))
