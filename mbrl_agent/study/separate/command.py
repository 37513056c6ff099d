"""The command `study separate`: which effect of resampling does what."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from mbrl_agent.study.gradients.commands.scene import progress
from mbrl_agent.study.output import open_output
from mbrl_agent.study.overview import SUMMARIES
from mbrl_agent.study.separate.arms import ARMS
from mbrl_agent.study.separate.drawing import effects_figure
from mbrl_agent.study.separate.effects import effects_of
from mbrl_agent.study.separate.options import CANDIDATES
from mbrl_agent.study.separate.options import SeparateOptions as Options
from mbrl_agent.study.separate.report import arms_table, arms_text, effects_table, effects_text
from mbrl_agent.study.separate.separation import make_places, separate

HELP = SUMMARIES["separate"]
NOTES = """\
Improve the same policies in the same frozen model under the same noise, in six ways: with the values of the
particles or those of a Gaussian redraw, each with the derivative of every particle or that through the
moments (none, tangent:1, ot-interpolated with r = 0 and straight-through, gaussian); and without resampling,
with the reward alone smoothed: its expectation under the fitted Gaussian, or a wider cost. Differences
of what becomes of the policies, predicted and real, are the effects. Clipping and Adam hide variance; sgd
does without.

examples:
  python -m mbrl_agent.study separate --run runs/X --trial 1
  python -m mbrl_agent.study separate --run runs/X --trial 2 --start fresh --policies 8 --steps 60 --wrap
  python -m mbrl_agent.study separate --untrained --horizons 30 --widths 0.5 --optimizers adam
"""


def run(options: Options) -> int:
    """Compare the arms, write the files, and return the exit status.

    Raises:
        ValueError: A mistake in the command line.
        OSError: A file cannot be read or written.
    """
    torch.set_num_threads(options.threads)
    chosen, notes = list(make_places(options)), list[str]()
    cells = len(chosen) * len(ARMS) * len(options.optimizers)
    with progress(cells * options.steps) as bar:
        outcomes = list(separate(chosen, options, bar.set_description_str, bar.update, notes.append))
    effects = effects_of(outcomes)
    title = f"which effect of resampling does what: {options.steps} gradient steps\n{_what(options)}"
    with open_output(options.directory, options.run, chosen[0].scene.steps) as output:
        output.write("separate_arms", None, arms_table(outcomes))
        output.write("separate", effects_figure(effects, title), effects_table(effects))
    _say(notes, [arms_text(outcomes), "", effects_text(effects)], output.written)
    return 0


def _what(options: Options) -> str:
    if options.run is None:
        return "random policies, true dynamics"
    trial = "" if options.trial is None else f", after trial {options.trial}"
    policies = "the candidates" if options.start == CANDIDATES else "random policies in the model"
    return f"{policies} of\n{options.run.resolve().name}{trial}"


def _say(notes: Sequence[str], texts: Sequence[str], written: Sequence[Path]) -> None:
    for note in dict.fromkeys(notes):
        sys.stderr.write(f"left out: {note}\n")
    sys.stdout.write("\n".join([*texts, *(f"wrote {path}" for path in written), ""]))
