"""What the commands' parsers share."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any, NoReturn

ENV_HELP = "--env.OPTION VALUE for its options"


class Parser(argparse.ArgumentParser):
    """A parser that raises ValueError instead of leaving the process."""

    def error(self, message: str) -> NoReturn:
        """Leave the message to the caller."""
        raise ValueError(message.removeprefix("argument "))


def formatter(prog: str) -> argparse.HelpFormatter:
    """Help in two wide columns."""
    return argparse.HelpFormatter(prog, max_help_position=30)


def add_plugin(command: argparse.ArgumentParser) -> None:
    """Add `--plugin`, which is read before all else."""
    text = "module whose strategies, policies and estimators can be named, also of this directory"
    command.add_argument("--plugin", action="append", metavar="MODULE", help=text)


def adder(group: Any) -> Callable[..., None]:
    """A function that adds an option and puts its default into its help."""

    def add(flag: str, help: str, default: Any = argparse.SUPPRESS, **options: Any) -> None:
        if default is not argparse.SUPPRESS:
            text = " ".join(map(str, default)) if isinstance(default, list) else str(default)
            help = f"{help} (default: {text})"
        group.add_argument(flag, help=help, default=default, **options)

    return add
