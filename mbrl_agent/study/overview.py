"""The first page of the studies' help: what each command is for. Nothing here imports torch.

The options of the commands are in `arguments.py`.
"""

from __future__ import annotations

import argparse
from typing import Any

from mbrl_agent.study.parsing import Parser

PROGRAM = "python -m mbrl_agent.study"
HELPS = {
    "landscape": "gradient variance and expected cost along random directions, one curve a strategy",
    "trajectories": "predicted trajectory distributions at chosen places of a direction",
    "bias": "mean gradients against finite differences; predicted cost from bimodal starts",
    "moments": "of a run with gp: PILCO's moment matching, and what Gaussian resampling makes of it",
    "figures": "the paper's four figures, and one for what goes beyond it",
}
"""What the commands on one scene show."""
SUMMARIES = {
    **HELPS,
    "separate": "which effect of resampling does what: values, derivatives, smoothing of the reward",
    "sweep": "train every strategy, and every value of any option, with every seed, several runs side "
    "by side",
    "compare": "learning curves, interaction and wall clock to SOLVED of finished runs, grouped and with "
    "intervals",
    "systems": "train the presets (PILCO, Deep PILCO, PIPPS, ...) and the defaults side by side, and "
    "compare them",
    "baseline": "Stable-Baselines3's own algorithms on the same task, in the same run format",
    "gallery": "train on known tasks, of Gymnasium and MuJoCo, and write a table of what is learned",
}
"""What each command does, in the order of the help."""
EXAMPLES = """\
examples:
  python -m mbrl_agent.study figures --run runs/X
  python -m mbrl_agent.study landscape --untrained --resampling none gaussian interpolated:0.5
  python -m mbrl_agent.study landscape --run runs/X --resampling none mixture:components=3,em-iterations=3
  python -m mbrl_agent.study landscape --run runs/X --estimator reparameterization total-propagation
  python -m mbrl_agent.study trajectories --run runs/X --resampling none gaussian --delta 0 2
  python -m mbrl_agent.study landscape --untrained --seeds 0-11 --horizons 30 60 100
  python -m mbrl_agent.study bias --run runs/X --resampling none gaussian detached-mixture:5 --delta 0 1
  python -m mbrl_agent.study separate --run runs/X --trial 1
  python -m mbrl_agent.study sweep --resampling none gaussian mixture --seeds 0-19 --out sweeps/X
  python -m mbrl_agent.study moments --run runs/X
  python -m mbrl_agent.study compare runs sweeps/sac
  python -m mbrl_agent.study baseline --algorithm sac --seeds 0-4 --out sweeps/sac
  python -m mbrl_agent.study gallery --out sweeps/gallery
  python -m mbrl_agent.study systems --seeds 0-4 --out sweeps/systems

delta is a distance in policy-parameter space, along a random direction, in units of the size (root
mean square) of the parameters that the direction moves.
"""


def make_overview() -> tuple[Parser, Any]:
    """The parser of the studies without its commands, and argparse's collection of these."""
    parser = Parser(
        prog=PROGRAM,
        description="Which resampling methods tame the gradient, and which learn? Figures and numbers.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=Parser)
    return parser, commands


def overview() -> str:
    """The first page of the help."""
    parser, commands = make_overview()
    for name, text in SUMMARIES.items():
        commands.add_parser(name, help=text)
    return parser.format_help()
