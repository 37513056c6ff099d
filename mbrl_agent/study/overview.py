"""The first page of the studies' help: what each command is for. Nothing here imports torch."""

from __future__ import annotations

PROGRAM = "python -m mbrl_agent.study"
SUMMARIES = {
    "landscape": "Draw gradient variance and expected cost along random directions, a curve a strategy.",
    "trajectories": "Draw predicted trajectories at chosen places of a direction, and their heat.",
    "bias": "Compare mean gradients with finite differences, and predicted costs from bimodal starts.",
    "moments": "Show PILCO's moment matching, and what Gaussian resampling makes of it (a run with gp).",
    "figures": "Draw the paper's four figures, and one for what goes beyond it.",
    "separate": "Separate the effects of resampling: values, derivatives, smoothing of the reward.",
    "sweep": "Train every strategy, and every value of any option, with every seed, side by side.",
    "compare": "Compare finished runs: learning curves, interaction and wall clock to SOLVED, intervals.",
    "systems": "Train the presets (PILCO, Deep PILCO, PIPPS, ...) and the defaults, and compare them.",
    "baseline": "Train Stable-Baselines3's own algorithms on the same task, in the same run format.",
    "gallery": "Train on known tasks, of Gymnasium and MuJoCo, and write a table of what is learned.",
}
"""What each command does, in the order of the help."""
COMMANDS = {
    "landscape": "mbrl_agent.study.gradients.commands.landscape",
    "trajectories": "mbrl_agent.study.gradients.commands.trajectories",
    "bias": "mbrl_agent.study.gradients.commands.bias",
    "moments": "mbrl_agent.study.gradients.commands.moments",
    "figures": "mbrl_agent.study.gradients.commands.figures",
    "separate": "mbrl_agent.study.separate.command",
    "sweep": "mbrl_agent.study.sweep.command",
    "compare": "mbrl_agent.study.compare.command",
    "systems": "mbrl_agent.study.systems",
    "baseline": "mbrl_agent.study.baseline.command",
    "gallery": "mbrl_agent.study.gallery.command",
}
"""The module of each command, in the order of the help."""
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
"""


def overview() -> str:
    """Write the first page of the help."""
    lines = [f"  {name:13} {text}" for name, text in SUMMARIES.items()]
    question = "Which resampling methods tame the gradient, and which learn? Figures and numbers.\n"
    end = f"`{PROGRAM} COMMAND --help` has the options of each.\n"
    return "\n".join([f"usage: {PROGRAM} COMMAND ...\n", question, "commands:", *lines, "", EXAMPLES, end])
