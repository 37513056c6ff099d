"""What the help says: every option of a run, generated from the dataclasses and their docstrings.

`help_page.py` draws it. To generate it takes an import of torch, so what it says of the package's own choices
is kept in a file, too: see `stored_help.py`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, get_args, get_origin

from mbrl_agent.options import (
    REQUIRED,
    SYNTAX,
    Option,
    did_you_mean,
    options_of,
    placeholder,
    summary,
    to_text,
)
from mbrl_agent.run import presets
from mbrl_agent.run.config import CHOICES, TrainConfig, plain_options
from mbrl_agent.run.help_page import (
    ENV_GROUP,
    GENERAL,
    GROUPS,
    PLUGIN,
    PROGRAM,
    TASK_GROUP,
    Block,
    Line,
    add_line,
    flag,
    page,
)
from mbrl_agent.run.task_flags import TASK


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
    """List every option of every choice."""
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


def help_text(group: str = "", env: str = TrainConfig.env, program_name: str = PROGRAM) -> str:
    """Return the help.

    Args:
        group: Empty for the first page, or a name in `GROUPS`.
        env: Id of the environment whose options are listed.
        program_name: What the program is called.

    Raises:
        ValueError: There is no such group, or no such environment.
    """
    if group and group not in GROUPS:
        raise ValueError(
            f"--help: there is no group {group!r}{did_you_mean(group, GROUPS)}; "
            f"the groups are {', '.join(GROUPS)}"
        )
    return page(Generated(env), group, program_name)


@dataclass(frozen=True)
class Generated:
    """The content of the help as it is in this process, plug-ins included.

    Attributes:
        environment: Id of the environment whose options are listed.
    """

    environment: str = TrainConfig.env

    def blocks(self) -> list[Block]:
        """List every option of every choice."""
        return [
            Block(
                section.title,
                section.description,
                tuple(option_line(key, option) for key, option in section.options.items()),
                section.group,
            )
            for section in sections()
        ]

    def env(self) -> Block:
        """Return what the constructor of the environment takes.

        Raises:
            ValueError: There is no such environment.
        """
        from mbrl_agent.run.env_values import describe
        from mbrl_agent.run.environment import env_options

        lines = []
        for name, option in env_options(self.environment).items():
            key, text = f"env.{name}", f"{describe(option.hint)} (default: {to_text(option.default)})"
            lines.append(Line(key, flag(key), "VALUE", text))
        text = f"What the constructor of {self.environment} takes; --env ID --help env lists those of another"
        text = f"{text} environment." if lines else f"{self.environment} takes no options."
        return Block(ENV_GROUP, text, tuple(lines), ENV_GROUP)

    def presets(self) -> str:
        """Tell what each preset sets."""
        return presets.describe()


def option_line(key: str, option: Option, several: bool = False) -> Line:
    """Make an option as a parser and its help want it.

    Args:
        key: Its dotted name.
        option: What it is.
        several: A list of values is given as several words, and not as one.
    """
    hint, required = option.hint, option.default is REQUIRED
    several = several and get_origin(hint) is tuple and key != "plugins"
    choice = CHOICES.get(key)
    names = f" One of {', '.join(choice.names())}." if choice else ""
    text = f"{option.help}{names}{_ending(option, several)}"
    if hint is bool:
        return Line(key, flag(key), None, text)
    if key == "plugins":
        return Line(key, PLUGIN, "MODULE", text, repeats=True)
    metavar = placeholder(get_args(hint)[0] if several else hint)
    return Line(key, flag(key), "NAME" if choice else metavar, text, several=several, required=required)


def _ending(option: Option, several: bool) -> str:
    if option.default is REQUIRED:
        return " (required)"
    default = " ".join(map(to_text, option.default)) if several else to_text(option.default)
    return f" (default: {default})" if default else ""


def add_option(add: Callable[..., object], key: str, option: Option) -> None:
    """Add one option; its value stays text, which the configuration converts and checks."""
    add_line(add, option_line(key, option))
