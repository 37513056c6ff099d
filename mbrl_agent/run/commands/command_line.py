"""The command line of one command: its flags and their help come from its `Options`."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from typing import Any, NoReturn, Protocol

from mbrl_agent.options import OptionError, construct, convert_option, did_you_mean, options_of, to_text
from mbrl_agent.run.cli import split_env_words, split_names
from mbrl_agent.run.help import option_line
from mbrl_agent.run.help_page import CommandPage, asks_for_help, command_parser, flag
from mbrl_agent.run.interrupts import Interrupted
from mbrl_agent.run.messages import INTERRUPTED, USAGE_ERROR, one_line
from mbrl_agent.run.program import program

POSITIONAL = "path"
"""The option that is given without a flag."""
ENV_OPTIONS = "env_options"
"""The option that collects the words `--env.NAME VALUE`, each as `NAME=VALUE`."""
ENV_PREFIX = "--env."


class Command(Protocol):
    """A module of `mbrl_agent.run.commands`."""

    HELP: str
    """What the command does, one line."""
    Options: Any
    """Frozen dataclass; its fields are the flags."""

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
                sys.stdout.write(make_parser(command, name).format_help())
                return 0
            return int(command.run(parse(command, argv, name)))
        except (ValueError, TypeError, OSError, RunFailure) as error:
            sys.stderr.write(f"{name}: error: {_message(command, error)} (see {name} --help)\n")
            return USAGE_ERROR
        except KeyboardInterrupt as interrupt:
            sys.stderr.write(f"{name}: interrupted\n")
            return interrupt.status if isinstance(interrupt, Interrupted) else INTERRUPTED


def _message(command: Command, error: Exception) -> str:
    """What is wrong, with the flag of the option that it is about, on one line."""
    if isinstance(error, OptionError) and error.path[0] in options_of(command.Options):
        return f"{flag('.'.join(error.path))}: {' '.join(error.reason.split())}"
    return one_line(error)


def parse(command: Command, argv: Sequence[str], name: str) -> Any:
    """Turn the words of a command line into the command's options.

    Raises:
        OptionError: A value that its option cannot take.
        ValueError: A word that nobody understands.
    """
    options = options_of(command.Options)
    parser = make_parser(command, name)
    words, env_words = _env_words(argv) if ENV_OPTIONS in options else (list(argv), [])
    namespace, rest = parser.parse_known_args(words)
    if rest:
        raise ValueError(_not_understood(rest[0], [flag(key) for key in options if key != POSITIONAL]))
    given: dict[str, Any] = {**vars(namespace), **({ENV_OPTIONS: env_words} if env_words else {})}
    if "plugins" in given:
        given["plugins"] = split_names(given["plugins"])
    values = {key: convert_option((key,), text, options[key].hint) for key, text in given.items()}
    return construct(command.Options, (), "", values)


def make_parser(command: Command, name: str) -> argparse.ArgumentParser:
    """The parser of a command, for its help as well."""
    return command_parser(page_of(command), name, _Parser)


def page_of(command: Command) -> CommandPage:
    """What the help of a command says."""
    options = options_of(command.Options)
    lines = {key: option_line(key, option) for key, option in options.items()}
    path = lines.pop(POSITIONAL, None)
    if ENV_OPTIONS in lines:
        lines[ENV_OPTIONS] = dataclasses.replace(
            lines[ENV_OPTIONS], flag=f"{ENV_PREFIX}OPTION", metavar="VALUE", help=options[ENV_OPTIONS].help
        )
    return CommandPage(command.HELP, None if path is None else path.help, tuple(lines.values()))


def _env_words(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """The words without those of the environment's options, and these as `NAME=VALUE`.

    Raises:
        ValueError: One has no name, or stands for something else.
    """
    words, found = split_env_words(argv)
    return words, [f"{name}={to_text(value)}" for name, value in found.items()]


def _not_understood(word: str, flags: list[str]) -> str:
    if not word.startswith("-"):
        return f"unexpected argument {word!r}: one PATH, and every option as --NAME VALUE"
    name = word.partition("=")[0]
    return f"unknown option {name}{did_you_mean(name, [*flags, '--help'])}"
