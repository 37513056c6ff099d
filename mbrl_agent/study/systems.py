"""The command `study systems`: published systems and the defaults of this package, side by side."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from mbrl_agent.options import did_you_mean
from mbrl_agent.run.presets import NO_PRESET, presets
from mbrl_agent.study.compare import command as compare
from mbrl_agent.study.overview import SUMMARIES
from mbrl_agent.study.sweep import command as sweep

PROGRAM = "python -m mbrl_agent.study systems"
HELP = SUMMARIES["systems"]
DESCRIPTION = """\
Train every preset of train.py, and the package's defaults, with every seed: a sweep over --preset, then
`study compare --by preset`. Give the same command again and it goes on.
"""
EPILOG = """\
Any option of train.py may follow, as for `study sweep`; it goes before what the presets set.

examples:
  python -m mbrl_agent.study systems --seeds 140-149 --out sweeps/systems
  python -m mbrl_agent.study systems --presets pilco defaults --seeds 0-4 --out sweeps/two --trials 8
"""
TRIALS = 15


def add_parser(commands: Any) -> None:
    """Add the command to the subparsers of the studies."""
    parser = commands.add_parser(
        "systems",
        help=HELP,
        description=DESCRIPTION,
        epilog=EPILOG,
        usage=f"{PROGRAM} [--presets NAME ...] --seeds LIST --out DIR [options] [options of train.py]",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(
        execute=run, train_options=[], program=PROGRAM, resampling=None, engine="local", address=None
    )
    add = parser.add_argument
    names = [*presets(), NO_PRESET]
    add("--presets", nargs="+", metavar="NAME", default=names, help=f"(default: {' '.join(names)})")
    add("--seeds", required=True, metavar="LIST", help="for example 0-9")
    add("--out", required=True, type=Path, metavar="DIR", help="directory of the sweep and of its figure")
    add("--trials", type=int, default=TRIALS, metavar="N", help="of each run (default: %(default)s)")
    add("--jobs", type=int, metavar="N", help="cells at once (default: the cores)")
    text = "how often a crashed cell is tried again (default: %(default)s)"
    add("--retries", type=int, default=1, metavar="N", help=text)


def run(arguments: argparse.Namespace) -> int:
    """Train what is missing, compare, and return the exit status.

    Raises:
        ValueError: A mistake in the command line.
        OSError: The directory cannot be written.
    """
    known = [*presets(), NO_PRESET]
    for name in arguments.presets:
        if name not in known:
            hint = did_you_mean(name, known)
            raise ValueError(f"--presets: there is no preset {name!r}{hint}; there are {', '.join(known)}")
    chosen = ["--preset", *arguments.presets, "--trials", str(arguments.trials)]
    arguments.train_options = [*chosen, *arguments.train_options]
    status = sweep.run(arguments)
    if status == 0:
        by_preset = argparse.Namespace(
            directories=[arguments.out], by=["preset"], time_step=None, out=arguments.out
        )
        return compare.run(by_preset)
    return status
