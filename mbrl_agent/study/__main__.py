"""The studies as a program: `python -m mbrl_agent.study --help`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from mbrl_agent.run.stored_help import show
from mbrl_agent.study.overview import overview


def main(argv: Sequence[str] | None = None, program_ends: bool = False) -> int:
    """Run a command line and return the exit status; see `cli.main`, which a plain --help does without."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words in (["--help"], ["-h"]):
        return show(overview())
    from mbrl_agent.study.cli import main as run

    return run(words, program_ends)


if __name__ == "__main__":
    sys.exit(main(program_ends=True))
