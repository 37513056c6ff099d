"""The command line of one command: its flags and their help come from its `Options`."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from typing import Any, NoReturn, Protocol, get_args

from mbrl_agent.options import (
    REQUIRED,
    Option,
    OptionError,
    construct,
    convert_option,
    did_you_mean,
    options_of,
    to_text,
)
from mbrl_agent.options.fields import NUMBERS
from mbrl_agent.run.cli import load_plugins_first, split_env_words, split_names
from mbrl_agent.run.help import option_line
from mbrl_agent.run.help_page import CommandPage, asks_for_help, command_help, command_parser, flag
from mbrl_agent.run.interrupts import Interrupted
from mbrl_agent.run.messages import INTERRUPTED, USAGE_ERROR, one_line
from mbrl_agent.run.program import program

POSITIONAL, POSITIONALS = "path", "paths"
"""The options that are given without a flag: one path, or several."""
ENV_OPTIONS = "env_options"
"""The option that collects the words `--env.NAME VALUE`, each as `NAME=VALUE`."""
ENV_PREFIX = "--env."
TRAIN_OPTIONS = "train_options"
"""The option that collects the words which only train.py understands."""
RUN_FILE = "config.yaml"
"""Where the run that `--run` names has the names of its plug-ins."""


class Command(Protocol):
    """A module of `mbrl_agent.run.commands`, or of the studies."""

    HELP: str
    """What the command does, one line."""
    NOTES: str
    """What there is to know beyond the options, with examples; stands below them."""
    Options: Any
    """Frozen dataclass; its fields are the flags, and those without a default must be given."""

    def run(self, options: Any) -> int:
        """Do it, and return the exit status."""
        ...


class _Parser(argparse.ArgumentParser):
    """A parser that raises ValueError instead of leaving the process."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(message.removeprefix("argument "))


def run_command(command: Command, argv: Sequence[str], name: str, program_ends: bool = False) -> int:
    """Run a command and return the exit status.

    It is what the command returns, 2 for a user's mistake, one of the environment or a file that cannot be
    read or written, 130 after Ctrl-C and 143 after SIGTERM.

    Args:
        command: What to run.
        argv: The words after its name.
        name: What messages and the help call it: `mbrl-agent evaluate`.
        program_ends: See `interruptible`.
    """
    from mbrl_agent.errors import RunFailure

    with program(name, program_ends):
        try:
            if asks_for_help(argv):
                load_plugins_first(argv, run=RUN_FILE)  # what they offer is in the help
                sys.stdout.write(command_help(page_of(command), name))
                return 0
            return int(command.run(parse_command(command, argv, name)))
        except (ValueError, TypeError, OSError, RunFailure) as error:
            sys.stderr.write(f"{name}: error: {_message(command, error)} (see {name} --help)\n")
            return USAGE_ERROR
        except KeyboardInterrupt as interrupt:
            sys.stderr.write(f"{name}: interrupted\n")
            return interrupt.status if isinstance(interrupt, Interrupted) else INTERRUPTED


def _message(command: Command, error: Exception) -> str:
    """Tell what is wrong, with the flag of the option that it is about, on one line."""
    if isinstance(error, OptionError) and error.path[0] in options_of(command.Options):
        return f"{flag('.'.join(error.path))}: {' '.join(error.reason.split())}"
    return one_line(error)


def parse_command(command: Command, argv: Sequence[str], name: str) -> Any:
    """Turn the words of a command line into the command's options.

    Raises:
        OptionError: A value that its option cannot take.
        ValueError: A word that nobody understands.
    """
    load_plugins_first(argv, run=RUN_FILE)  # what they offer can then be a value
    options = options_of(command.Options)
    parser = make_parser(command, name)
    words, env_words = _env_words(argv) if ENV_OPTIONS in options else (list(argv), [])
    namespace, rest = parser.parse_known_args(words)
    given: dict[str, Any] = {**vars(namespace), **({ENV_OPTIONS: env_words} if env_words else {})}
    if TRAIN_OPTIONS in options:
        given[TRAIN_OPTIONS] = rest
    elif rest:
        raise ValueError(_not_understood(rest[0], command))
    if "plugins" in given:
        given["plugins"] = split_names(given["plugins"])
    missing = [
        flag(key) for key, option in options.items() if option.default is REQUIRED and key not in given
    ]
    if missing:
        raise ValueError(f"missing {' and '.join(missing)}, which must be given")
    values = {key: _converted(options[key], text) for key, text in given.items()}
    return construct(command.Options, (), "", values)


def _converted(option: Option, given: object) -> Any:
    """Return what was given for an option; numbers may also be one word, 30,60."""
    if isinstance(given, list) and len(given) == 1 and get_args(option.hint)[0] in NUMBERS:
        given = given[0]
    return convert_option((option.name,), given, option.hint)


def make_parser(command: Command, name: str) -> argparse.ArgumentParser:
    """Return the parser of a command."""
    return command_parser(page_of(command), name, _Parser)


def page_of(command: Command) -> CommandPage:
    """Return what the help of a command says."""
    options = options_of(command.Options)
    lines = {key: option_line(key, option, several=True) for key, option in options.items()}
    path, paths = lines.pop(POSITIONAL, None), lines.pop(POSITIONALS, None)
    rest = lines.pop(TRAIN_OPTIONS, None)
    if ENV_OPTIONS in lines:
        lines[ENV_OPTIONS] = dataclasses.replace(
            lines[ENV_OPTIONS],
            flag=f"{ENV_PREFIX}OPTION",
            metavar="VALUE",
            help=options[ENV_OPTIONS].help,
            several=False,
        )
    given = path or paths
    return CommandPage(
        command.HELP,
        None if given is None else given.help,
        tuple(lines.values()),
        paths is not None,
        rest is not None,
        command.NOTES,
    )


def words_of(options: Any) -> list[str]:
    """Return the words of a command line that asks for these options; what has its default is left out.

    Args:
        options: An instance of a command's `Options`.
    """
    paths: list[str] = []
    words: list[str] = []
    for key, option in options_of(type(options)).items():
        value = getattr(options, key)
        if value == option.default:
            continue
        if key in (POSITIONAL, POSITIONALS):
            paths += map(str, value if key == POSITIONALS else [value])
        elif key == ENV_OPTIONS:
            for name, text in env_values(value).items():
                words += [flag(f"env.{name}"), text]
        elif option.hint is bool:
            words.append(flag(key) if value else flag(key).replace("--", "--no-", 1))
        elif key == "plugins":
            words += [flag(key), ",".join(value)]  # one word: `load_plugins_first` reads no more
        elif key != TRAIN_OPTIONS:
            words += [flag(key), *(map(to_text, value) if isinstance(value, tuple) else [to_text(value)])]
    return [*paths, *words, *getattr(options, TRAIN_OPTIONS, ())]


def env_values(words: Sequence[str]) -> dict[str, str]:
    """Return the environment's options by name, from what `env_options` collects."""
    return dict(word.split("=", 1) for word in words)


def _env_words(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the words without those of the environment's options, and these as `NAME=VALUE`.

    Raises:
        ValueError: One has no name, or stands for something else.
    """
    words, found = split_env_words(argv)
    return words, [f"{name}={to_text(value)}" for name, value in found.items()]


def _not_understood(word: str, command: Command) -> str:
    options = options_of(command.Options)
    if not word.startswith("-"):
        paths = "one PATH, and " * (POSITIONAL in options)
        return f"unexpected argument {word!r}: {paths}every option as --NAME VALUE"
    name = word.partition("=")[0]
    flags = [flag(key) for key in options if key not in (POSITIONAL, POSITIONALS)]
    return f"unknown option {name}{did_you_mean(name, [*flags, '--help'])}"
