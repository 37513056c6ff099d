"""The command `study systems`: published systems and the defaults of this package, side by side."""

from __future__ import annotations

from dataclasses import dataclass

from mbrl_agent.options import did_you_mean, refused
from mbrl_agent.options.validation import require_count
from mbrl_agent.run.presets import NO_PRESET, presets
from mbrl_agent.study.commands import command_line
from mbrl_agent.study.compare import command as compare
from mbrl_agent.study.overview import SUMMARIES
from mbrl_agent.study.sweep import command as sweep
from mbrl_agent.study.sweep.options import CellOptions, SweepOptions

HELP = SUMMARIES["systems"]
NOTES = """\
Train every preset of train.py, and the package's defaults, with every seed: a sweep over --preset, then
`study compare --by preset`. Give the same command again and it goes on. Any option of train.py may follow, as
for `study sweep`; it goes before what the presets set.

examples:
  python -m mbrl_agent.study systems --seeds 140-149 --out sweeps/systems
  python -m mbrl_agent.study systems --presets pilco defaults --seeds 0-4 --out sweeps/two --trials 8
"""
NAMES = (*presets(), NO_PRESET)


@dataclass(frozen=True, kw_only=True)
class Options(CellOptions):
    """The systems."""

    presets: tuple[str, ...] = NAMES
    """Presets of train.py."""
    trials: int = 15
    """Trials of each run."""
    train_options: tuple[str, ...] = ()
    """Options of train.py, each with one value or several."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_count("trials", self.trials)
        for name in self.presets:
            if name not in NAMES:
                hint = did_you_mean(name, NAMES)
                raise refused("presets", f"there is no preset {name!r}{hint}; there are {', '.join(NAMES)}")


def run(options: Options) -> int:
    """Train what is missing, compare, and return the exit status.

    Raises:
        ValueError: A mistake in the command line.
        OSError: The directory cannot be written.
    """
    words = ("--preset", *options.presets, "--trials", str(options.trials), *options.train_options)
    wanted = SweepOptions(
        seeds=options.seeds, out=options.out, jobs=options.jobs, retries=options.retries, train_options=words
    )
    status = sweep.run_sweep(wanted, command_line("systems", options))
    if status == 0:
        return compare.run(compare.Options(paths=(options.out,), by=("preset",), out=options.out))
    return status
