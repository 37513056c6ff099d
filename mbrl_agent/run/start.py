"""How train.py starts: with all that a run needs, or for a page of the help with next to nothing."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from mbrl_agent.run.help_page import PROGRAM
from mbrl_agent.run.stored_help import show, train_answer


def load(argv: Sequence[str] | None = None, program_name: str = PROGRAM) -> Callable[[bool], int]:
    """Import what answers a command line.

    Args:
        argv: The words; None takes those of the process.
        program_name: What messages and the help call the program.

    Returns:
        What answers it, and returns the exit status. As `cli.main` it is told whether the program ends.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    text = train_answer(words, program_name)
    if text is not None:
        return lambda program_ends: show(text)
    from mbrl_agent.run import cli

    return lambda program_ends: cli.main(words, program_ends, program_name)
