"""What the help looks like: a short first page, a page for each group of options, and all of it.

Where the options come from is not known here, see `Content`. Nothing here imports torch, which takes seconds.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

PROGRAM = "train.py"
PLUGIN = "--plugin"  # each adds one, or several
GENERAL, TASK_GROUP, ENV_GROUP, ALL, PRESET = "run", "task", "env", "all", "preset"
WITH_RESUME = ("trials", "quiet")
"""Options that may change when a run is resumed; with any other it would not be the same run."""
FIRST_PAGE = (
    "env", "preset", "trials", "seed", "resampling", "estimator", "dynamics", "rollout", "policy",
    "search.horizon", "eval_episodes", "logdir",
)  # fmt: skip
"""The options that are used most."""
GROUPS = {
    GENERAL: "trials, seed, evaluation, files, device",
    ENV_GROUP: "what the constructor of the chosen --env takes",
    TASK_GROUP: "cost, angles, ends and starts, for environments that do not offer them",
    "search": "policy search in the model: particles, steps, horizon",
    "resampling": "the strategies and their options",
    "estimator": "the gradient estimators and their options",
    "dynamics": "the models and their options",
    "rollout": "how a belief is carried through the model",
    "policy": "the controllers and their options",
    PRESET: "published systems, and what each sets",
    ALL: "everything",
}
INTRODUCTION = """\
Learn a controller for a Gymnasium environment from a few episodes: collect one, fit a model to all of
them, improve the policy by gradients through particle rollouts in the model, and again.
"""
EXAMPLES = """\
examples:
  python train.py                                  # cart-pole swing-up, gaussian resampling
  python train.py --resampling interpolated:0.5 --seed 3
  python train.py --env Pendulum-v1 --cost my_module:cost
  python train.py --config runs/X/config.yaml --seed 7 --env.noise-scale 2   # flag > file > default
  python train.py --resume runs/X --trials 20      # continues as if it had never stopped, for longer
"""


@dataclass(frozen=True)
class Line:
    """One option, as a parser and its help want it.

    Attributes:
        key: Its dotted name in a configuration.
        flag: Its name on the command line.
        metavar: What stands for its value; None for a yes or no.
        help: What it is, and its default.
        repeats: Whether it may be given several times.
        several: Whether it takes several words, `--resampling none gaussian`.
        required: Whether it must be given.
    """

    key: str
    flag: str
    metavar: str | None
    help: str
    repeats: bool = False
    several: bool = False
    required: bool = False


@dataclass(frozen=True)
class Block:
    """Options that belong together on a page.

    Attributes:
        title: What they are called.
        description: One sentence, or nothing.
        lines: The options.
        group: The name that `--help` takes.
    """

    title: str
    description: str
    lines: tuple[Line, ...]
    group: str


@dataclass(frozen=True)
class CommandPage:
    """The help of a command.

    Attributes:
        summary: What it does, one line.
        path: What is given without a flag; None for nothing.
        lines: The options.
        paths: Whether several paths may be given.
        rest: Whether options of train.py may follow.
        notes: What there is to know beyond the options, with examples.
    """

    summary: str
    path: str | None
    lines: tuple[Line, ...]
    paths: bool = False
    rest: bool = False
    notes: str = ""


class Content(Protocol):
    """Where the options of a run come from; what is not shown is not asked for."""

    def blocks(self) -> list[Block]:
        """List every option of every choice."""
        ...

    def env(self) -> Block:
        """Return what the constructor of the environment takes."""
        ...

    def presets(self) -> str:
        """Tell what each preset sets."""
        ...


def flag(key: str) -> str:
    """Return the flag of a dotted key: `resampling.em_iterations` -> `--resampling.em-iterations`."""
    return PLUGIN if key == "plugins" else "--" + key.replace("_", "-")


def asks_for_help(argv: Iterable[str]) -> bool:
    """Tell whether one of the words is `--help`, `-h` or `--help=GROUP`."""
    return any(word in ("--help", "-h") or word.startswith("--help=") for word in argv)


def call(program_name: str) -> str:
    """Tell how the program is started: a file by python, a script by its name."""
    return f"python {program_name}" if program_name.endswith(".py") else program_name


def page(content: Content, group: str = "", program_name: str = PROGRAM) -> str:
    """Return a page of the help, as wide as the terminal.

    Args:
        content: Where the options come from.
        group: Empty for the first page, or a name in `GROUPS`.
        program_name: What the program is called.
    """
    usage = f"usage: {program_name} [options]\n"
    if not group:
        return "\n".join([usage, INTRODUCTION, _examples(program_name), *_first_page(content)])
    if group == PRESET:
        return "\n".join([usage, content.presets()])
    if group == ENV_GROUP:
        return "\n".join([usage, _format(content.env())])
    parts = [_format(block) for block in content.blocks() if group in (ALL, block.group)]
    if group == ALL:
        parts += [_format(content.env()), _examples(program_name)]
    return "\n".join([usage, *parts])


def _first_page(content: Content) -> list[str]:
    """Return the options that are used most, the flags that are no options of a run, and the groups."""
    every = {line.key: line for block in content.blocks() for line in block.lines}
    chosen = Block("most used options", "", tuple(every[key] for key in FIRST_PAGE), "")
    commands, more = _help_parser(), _help_parser()
    add_commands(commands.add_argument_group("other options").add_argument)
    group = more.add_argument_group("more")
    for name, text in GROUPS.items():
        group.add_argument(f"--help {name}", help=text, action="store_true")
    return [_format(chosen), commands.format_help(), more.format_help()]


def _examples(program_name: str) -> str:
    return EXAMPLES.replace(call(PROGRAM), call(program_name))


def _format(block: Block) -> str:
    parser = _help_parser()
    group = parser.add_argument_group(block.title, block.description or None)
    for line in block.lines:
        add_line(group.add_argument, line)
    if block.title == GENERAL:
        add_commands(group.add_argument)
    return parser.format_help()


def _help_parser() -> argparse.ArgumentParser:
    return argparse.ArgumentParser(usage=argparse.SUPPRESS, add_help=False, formatter_class=formatter)


def formatter(prog: str) -> argparse.HelpFormatter:
    """Format help in two wide columns."""
    return argparse.HelpFormatter(prog, max_help_position=32)


def add_commands(add: Callable[..., object]) -> None:
    """Add the flags that are not options of a run; `--help` and `--version` are answered before the rest."""
    add("--help", "-h", nargs="?", metavar="GROUP", help="Show the first page, or one group.")
    add("--version", action="store_true", help="Show the version.")
    add("--config", metavar="FILE", help="Take what is not on the command line from this YAML file.")
    also = " and ".join(flag(key) for key in WITH_RESUME)
    add("--resume", metavar="DIR", help=f"Continue the run in this directory; only {also} may change.")


def add_line(add: Callable[..., object], line: Line) -> None:
    """Add one option; its value stays text, which whoever has the parser converts and checks."""
    text = line.help.replace("%", "%%")
    if line.metavar is None:
        yes_no = argparse.BooleanOptionalAction
        add(line.flag, dest=line.key, action=yes_no, default=argparse.SUPPRESS, help=text)
    elif line.several:
        how: dict[str, Any] = {"action": "extend", "nargs": "+", "metavar": line.metavar}
        add(line.flag, dest=line.key, default=argparse.SUPPRESS, help=text, **how)
    else:
        how = {"action": "append" if line.repeats else "store", "metavar": line.metavar}
        add(line.flag, dest=line.key, default=argparse.SUPPRESS, help=text, **how)


def command_parser(
    command: CommandPage,
    name: str,
    parser_class: Callable[..., argparse.ArgumentParser] = argparse.ArgumentParser,
) -> argparse.ArgumentParser:
    """Return the parser of a command, for its help as well.

    Args:
        command: What it takes.
        name: What the help calls it: `mbrl-agent evaluate`.
        parser_class: What makes the parser.
    """
    parser = parser_class(
        prog=name,
        usage=f"{name} {_arguments(command)}",
        description=command.summary,
        formatter_class=formatter,
        allow_abbrev=False,
        add_help=False,
    )
    if command.path is not None:
        name, count = ("paths", "+") if command.paths else ("path", None)
        parser.add_argument(name, metavar="PATH", help=command.path, nargs=count)
    group = parser.add_argument_group("options")
    group.add_argument("--help", "-h", action="store_true", default=argparse.SUPPRESS, help="Show this help.")
    for line in command.lines:
        add_line(group.add_argument, line)
    return parser


def command_help(command: CommandPage, name: str) -> str:
    """Return the help of a command, as wide as the terminal; its notes are as they are written."""
    text = command_parser(command, name).format_help()
    return f"{text}\n{command.notes}" if command.notes else text


def _arguments(command: CommandPage) -> str:
    """Tell what a command takes, in one line."""
    path = [] if command.path is None else ["PATH ..." if command.paths else "PATH"]
    required = [f"{line.flag} {line.metavar}" for line in command.lines if line.required]
    rest = ["[options of train.py]"] if command.rest else []
    return " ".join([*path, *required, "[options]", *rest])
