"""The command `study separate`: which effect of resampling does what."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from mbrl_agent.options.validation import require_count
from mbrl_agent.run.environment import OUR_ENV
from mbrl_agent.study.output import open_output
from mbrl_agent.study.overview import SUMMARIES
from mbrl_agent.study.parsing import ENV_HELP, add_plugin, adder
from mbrl_agent.study.separate.arms import ARMS
from mbrl_agent.study.separate.drawing import effects_figure
from mbrl_agent.study.separate.effects import effects_of
from mbrl_agent.study.separate.options import ADAM, CANDIDATES, FRESH, SGD, SeparateOptions
from mbrl_agent.study.separate.report import arms_table, arms_text, effects_table, effects_text
from mbrl_agent.study.separate.separation import places, separate

HELP = SUMMARIES["separate"]
DESCRIPTION = """\
Improve the same policies in the same frozen model under the same noise, in six ways: with the values of the
particles or those of a Gaussian redraw, each with the derivative of every particle or that through the
moments (none, tangent:1, ot-interpolated with r = 0 and straight-through, gaussian); and without resampling,
with the reward alone smoothed: its expectation under the fitted Gaussian, or a wider cost. Differences
of what becomes of the policies, predicted and real, are the effects. Clipping and Adam hide variance; sgd
does without.
"""
EPILOG = """\
examples:
  python -m mbrl_agent.study separate --run runs/X --trial 1
  python -m mbrl_agent.study separate --run runs/X --trial 2 --start fresh --policies 8 --steps 60 --wrap
  python -m mbrl_agent.study separate --untrained --horizons 30 --widths 0.5 --optimizers adam
"""


def add_parser(commands: Any) -> None:
    """Add the command to the subparsers of the studies."""
    parser = commands.add_parser(
        "separate",
        help=HELP,
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(execute=run)
    add_plugin(parser)
    default = SeparateOptions()
    either = adder(parser.add_mutually_exclusive_group(required=True))
    either("--run", "a run: its model and its policies", type=Path, metavar="DIR")
    either("--untrained", "the true dynamics as the model, and random policies", action="store_true")
    add = adder(parser)
    add("--trial", "of a run: as it was after trial N (default: the last)", type=int, metavar="N")
    add("--env", f"Gymnasium id (default: the run's, or {OUR_ENV}); {ENV_HELP}", metavar="ID")
    add("--horizons", "predicted steps, and those of real episodes", [*default.horizons], type=int, nargs="+")
    text = "of the cost, as cost_width of the environment; 0: its own cost"
    add("--widths", text, [*default.widths], type=float, nargs="+")
    add("--wider", "times which the arm with the wider cost widens it", default.wider, type=float)
    text = "adam: with clipping, as the search; sgd: plain steps without"
    add("--optimizers", text, [*default.optimizers], nargs="+", choices=(ADAM, SGD))
    add("--learning-rate", "Adam's", default.learning_rate, type=float)
    add("--sgd-rate", "step size of sgd", default.sgd_rate, type=float)
    add("--steps", "gradient steps of each arm", default.steps, type=int)
    text = "where arms start: the run's candidate policies, or fresh ones"
    add("--start", text, default.start, choices=(CANDIDATES, FRESH))
    add("--policies", "how many of them, at most", default.policies, type=int)
    add("--particles", "of one gradient estimate", default.particles, type=int)
    add("--episodes", "real episodes that judge a policy", default.episodes, type=int)
    add("--wrap", "fit angles on the turn of their circular mean", False, action="store_true")
    add("--seed", "of everything random", default.seed, type=int)
    add("--threads", "CPU threads", 1, type=int)
    add("--out", "directory of the files (default: the run's figures, or study_untrained)", type=Path)


def options_of(arguments: argparse.Namespace) -> SeparateOptions:
    """Check the command line.

    Raises:
        ValueError: With the option's name.
    """
    given: dict[str, Any] = {
        field.name: getattr(arguments, field.name)
        for field in fields(SeparateOptions)
        if field.name in arguments
    }
    given |= {name: tuple(given[name]) for name in ("horizons", "widths", "optimizers")}
    return SeparateOptions(**given)


def run(arguments: argparse.Namespace) -> int:
    """Compare the arms, write the files, and return the exit status.

    Raises:
        ValueError: A mistake in the command line.
        OSError: A file cannot be read or written.
    """
    options = options_of(arguments)
    require_count("threads", arguments.threads)
    torch.set_num_threads(arguments.threads)
    directory = getattr(arguments, "out", options.run / "figures" if options.run else Path("study_untrained"))
    chosen, notes = list(places(options)), list[str]()
    cells = len(chosen) * len(ARMS) * len(options.optimizers)
    with tqdm(total=cells * options.steps, disable=None, dynamic_ncols=True, leave=False) as bar:
        outcomes = list(separate(chosen, options, bar.set_description_str, bar.update, notes.append))
    effects = effects_of(outcomes)
    title = f"which effect of resampling does what: {options.steps} gradient steps\n{_what(options)}"
    with open_output(directory, options.run, chosen[0].scene.steps) as output:
        output.write("separate_arms", None, arms_table(outcomes))
        output.write("separate", effects_figure(effects, title), effects_table(effects))
    _say(notes, [arms_text(outcomes), "", effects_text(effects)], output.written)
    return 0


def _what(options: SeparateOptions) -> str:
    if options.run is None:
        return "random policies, true dynamics"
    trial = "" if options.trial is None else f", after trial {options.trial}"
    policies = "the candidates" if options.start == CANDIDATES else "random policies in the model"
    return f"{policies} of\n{options.run.resolve().name}{trial}"


def _say(notes: Sequence[str], texts: Sequence[str], written: Sequence[Path]) -> None:
    for note in dict.fromkeys(notes):
        sys.stderr.write(f"left out: {note}\n")
    sys.stdout.write("\n".join([*texts, *(f"wrote {path}" for path in written), ""]))
