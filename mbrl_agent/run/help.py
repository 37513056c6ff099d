"""The help of the command line: a short first page, a page for each group of options, and all of it.

The flags are generated from the dataclasses of a configuration, and their help from the docstrings there.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from mbrl_agent.options import SYNTAX, Option, did_you_mean, options_of, placeholder, summary, to_text
from mbrl_agent.run import presets
from mbrl_agent.run.config import CHOICES, TrainConfig, plain_options
from mbrl_agent.run.task_flags import TASK

PROGRAM = "train.py"
PLUGIN = "--plugin"  # each adds one, or several
GENERAL, TASK_GROUP, ENV_GROUP, ALL = "run", "task", "env", "all"
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
    "preset": "published systems, and what each sets",
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
class Section:
    """Options that belong together in the help.

    Attributes:
        title: What they are called.
        description: One sentence, or nothing.
        options: By their key in `TrainConfig.to_dict`, dotted.
        group: The name that `--help` takes.
    """

    title: str
    description: str
    options: dict[str, Option]
    group: str


def sections() -> list[Section]:
    """Every option of every choice."""
    options = plain_options()
    plain = {k: o for k, o in options.items() if k not in CHOICES and not dataclasses.is_dataclass(o.hint)}
    task = {key: plain.pop(key) for key in TASK}
    text = "The environment's own attributes count unless something else is given."
    result = [Section(GENERAL, "", plain, GENERAL), Section(TASK_GROUP, text, task, TASK_GROUP)]
    for key, option in options.items():
        if key in CHOICES:
            chosen = dataclasses.replace(option, default=option.default.name)
            result.append(Section(key, f"Written {SYNTAX}.", {key: chosen}, key))
            result += [_section(f"{key} {name}", key, cls) for name, cls in CHOICES[key].classes.items()]
        elif dataclasses.is_dataclass(option.hint):
            result.append(_section(option.help.rstrip(".").lower(), key, option.hint))
    return result


def _section(title: str, key: str, cls: Any) -> Section:
    options = {f"{key}.{name}": option for name, option in options_of(cls).items()}
    return Section(title, summary(cls), options, key)


def flag(key: str) -> str:
    """The flag of a dotted key: `resampling.em_iterations` -> `--resampling.em-iterations`."""
    return PLUGIN if key == "plugins" else "--" + key.replace("_", "-")


def asks_for_help(argv: Iterable[str]) -> bool:
    """Whether one of the words is `--help`, `-h` or `--help=GROUP`."""
    return any(word in ("--help", "-h") or word.startswith("--help=") for word in argv)


def help_text(group: str = "", env: str = TrainConfig.env, program_name: str = PROGRAM) -> str:
    """The help.

    Args:
        group: Empty for the first page, or a name in `GROUPS`.
        env: Id of the environment whose options are listed.
        program_name: What the program is called.

    Raises:
        ValueError: There is no such group, or no such environment.
    """
    if not group:
        return _first_page(program_name)
    if group not in GROUPS:
        raise ValueError(
            f"--help: there is no group {group!r}{did_you_mean(group, GROUPS)}; "
            f"the groups are {', '.join(GROUPS)}"
        )
    usage = f"usage: {program_name} [options]\n"
    if group == "preset":
        return "\n".join([usage, presets.describe()])
    if group == ENV_GROUP:
        return "\n".join([usage, _env_help(env)])
    chosen = [_format(section) for section in sections() if group in (ALL, section.group)]
    if group == ALL:
        chosen += [_env_help(env), _examples(program_name)]
    return "\n".join([usage, *chosen])


def _first_page(program_name: str) -> str:
    every = {key: option for section in sections() for key, option in section.options.items()}
    chosen = Section("most used options", "", {key: every[key] for key in FIRST_PAGE}, "")
    parser = _help_parser()
    group = parser.add_argument_group("more")
    for name, text in GROUPS.items():
        group.add_argument(f"--help {name}", help=text, action="store_true")
    commands = _help_parser()
    add_commands(commands.add_argument_group("other options").add_argument)
    usage = f"usage: {program_name} [options]\n"
    options = [_format(chosen), commands.format_help(), parser.format_help()]
    parts = [usage, INTRODUCTION, _examples(program_name), *options]
    return "\n".join(parts)


def call(program_name: str) -> str:
    """How the program is started: a file by python, a script by its name."""
    return f"python {program_name}" if program_name.endswith(".py") else program_name


def _examples(program_name: str) -> str:
    return EXAMPLES.replace(call(PROGRAM), call(program_name))


def _env_help(env: str) -> str:
    from mbrl_agent.run.env_values import describe
    from mbrl_agent.run.environment import env_options

    parser = _help_parser()
    text = f"What the constructor of {env} takes; --env ID --help env lists those of another environment."
    group = parser.add_argument_group(ENV_GROUP, text)
    for key, option in env_options(env).items():
        help = f"{describe(option.hint)} (default: {to_text(option.default)})".replace("%", "%%")
        group.add_argument(flag(f"env.{key}"), metavar="VALUE", help=help)
    return parser.format_help() if group._group_actions else f"{ENV_GROUP}:\n  {env} takes no options.\n"


def _format(section: Section) -> str:
    parser = _help_parser()
    group = parser.add_argument_group(section.title, section.description or None)
    for key, option in section.options.items():
        add_option(group.add_argument, key, option)
    if section.title == GENERAL:
        add_commands(group.add_argument)
    return parser.format_help()


def _help_parser() -> argparse.ArgumentParser:
    return argparse.ArgumentParser(usage=argparse.SUPPRESS, add_help=False, formatter_class=formatter)


def formatter(prog: str) -> argparse.HelpFormatter:
    """Help in two wide columns."""
    return argparse.HelpFormatter(prog, max_help_position=32)


def add_commands(add: Callable[..., object]) -> None:
    """Add the flags that are not options of a run; `--help` and `--version` are answered before the rest."""
    add("--help", "-h", nargs="?", metavar="GROUP", help="Show the first page, or one group.")
    add("--version", action="store_true", help="Show the version.")
    add("--config", metavar="FILE", help="Take what is not on the command line from this YAML file.")
    also = " and ".join(flag(key) for key in WITH_RESUME)
    add("--resume", metavar="DIR", help=f"Continue the run in this directory; only {also} may change.")


def add_option(add: Callable[..., object], key: str, option: Option) -> None:
    """Add one option; its value stays text, which the configuration converts and checks."""
    default, choice = to_text(option.default), CHOICES.get(key)
    names = f" One of {', '.join(choice.names())}." if choice else ""
    text = f"{option.help}{names} (default: {default})" if default else option.help
    text = text.replace("%", "%%")
    if option.hint is bool:
        action = argparse.BooleanOptionalAction
        add(flag(key), dest=key, action=action, default=argparse.SUPPRESS, help=text)
    elif key == "plugins":
        add(PLUGIN, dest=key, metavar="MODULE", action="append", default=argparse.SUPPRESS, help=text)
    else:
        metavar = "NAME" if choice else placeholder(option.hint)
        add(flag(key), dest=key, metavar=metavar, default=argparse.SUPPRESS, help=text)
