"""The process of a cell, which a `CellProcess` starts: `python -m mbrl_agent.study.sweep.cell DIRECTORY`.

The configuration comes as a line of JSON on stdin. Whoever started the process keeps stdin open; when it
is closed, the starter is gone, and so is the cell: nobody would ever collect it.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mbrl_agent.run.messages import one_line

BUSY = 75
"""Exit status when another process has the directory (EX_TEMPFAIL)."""
CRASHED = 1


Attempt = Callable[[Mapping[str, Any], Path], None]
"""Does the run of a configuration, plain data, in a directory; InUseError where another process has that."""


def run_process(attempt: Attempt) -> int:
    """Run a cell and return the exit status; of an error, the last line written is the message."""
    data = json.loads(sys.stdin.buffer.readline())
    threading.Thread(target=_end_with_starter, daemon=True).start()
    from mbrl_agent.errors import RunFailure
    from mbrl_agent.run.directory import InUseError
    from mbrl_agent.run.program import independent

    try:
        with independent("study"):
            attempt(data, Path(sys.argv[1]))
    except InUseError:
        return BUSY
    except Exception as error:  # an environment of the user's own may raise anything
        traceback.print_exc()
        message, name = one_line(error), type(error).__name__
        if isinstance(error, RunFailure):  # its message says it all
            name = ""
        sys.stderr.write(": ".join(part for part in (name, message) if part) + "\n")
        return CRASHED
    return 0


def train(data: Mapping[str, Any], directory: Path) -> None:
    """Begin or go on with a run of ours."""
    from mbrl_agent.run.config import TrainConfig
    from mbrl_agent.run.directory import RunDirectory
    from mbrl_agent.run.experiment import new_run, open_run

    config = TrainConfig.from_dict(data)
    begun = RunDirectory(directory).has_checkpoint()
    run = open_run(directory, config) if begun else new_run(config, directory)
    run.run()


def _end_with_starter() -> None:
    while os.read(0, 1):  # not through sys.stdin, whose lock would be held while the interpreter ends
        pass
    os._exit(CRASHED)


if __name__ == "__main__":
    sys.exit(run_process(train))
