"""The command line: flags generated from the dataclasses of a configuration.

Flags are named after the keys of config.yaml: `search.learning_rate` is `--search.learning-rate`.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from mbrl_agent.options import OptionError, did_you_mean, to_plain
from mbrl_agent.run.config import TrainConfig, load_plugins, read_plugins
from mbrl_agent.run.environment import ELSEWHERE, read_env_options
from mbrl_agent.run.help import add_option, help_text, sections
from mbrl_agent.run.help_page import PLUGIN, PROGRAM, WITH_RESUME, add_commands, asks_for_help, call, flag
from mbrl_agent.run.interrupts import Interrupted
from mbrl_agent.run.messages import FAILED, INTERRUPTED, USAGE_ERROR, one_line
from mbrl_agent.run.program import program
from mbrl_agent.run.task_flags import task_arguments
from mbrl_agent.version import __version__

if TYPE_CHECKING:
    from mbrl_agent.run.experiment import Experiment

ENV_FLAG, NO_ENV_FLAG = "--env.", "--no-env."
NAME_PLUGINS = {"config": "", "resume": "config.yaml"}
"""Options whose files name plug-ins, and where the file lies below the option's value."""


@dataclass(frozen=True)
class RunRequest:
    """What a command line asks for."""

    config: TrainConfig
    """The run."""
    resume: Path | None = None
    """Directory of the run to continue; None starts a new one."""


class _Parser(argparse.ArgumentParser):
    """A parser that raises ValueError instead of leaving the process."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(message.removeprefix("argument "))


def parse(argv: Sequence[str], device_is_here: bool = True) -> RunRequest:
    """Turn the words of a command line into the run that they ask for.

    Args:
        argv: The words.
        device_is_here: Refuse a device that this machine does not have; not for a run on another one.

    Raises:
        ValueError: The command line, or the configuration file that it names, is wrong.
    """
    namespace, given = _read_words(argv)
    try:
        command = _command(namespace.config, namespace.resume, given)
        if device_is_here:
            command.config.torch_device()  # refused now, not after the first episode
        return command
    except OptionError as error:
        raise ValueError(f"{flag('.'.join(error.path))}: {error.reason}") from error


def load_plugins_first(argv: Sequence[str], **files: str) -> None:
    """Load the plug-ins that words and the files they name ask for, before the words are parsed.

    What a plug-in offers can then be a value, and its options are flags.

    Args:
        argv: The words.
        files: By option without its dashes, where the configuration lies below its value.

    Raises:
        ValueError: One cannot be loaded.
    """
    parser = _Parser(prog=PROGRAM, allow_abbrev=False, add_help=False)
    parser.add_argument(PLUGIN, action="append", default=[])
    for option in files:
        parser.add_argument(f"--{option}")
    words = vars(parser.parse_known_args(argv)[0])
    paths = [Path(words[option], place) for option, place in files.items() if words[option]]
    names = [*split_names(words["plugin"]), *(name for path in paths for name in read_plugins(path))]
    try:
        load_plugins(names)
    except OptionError as error:
        raise ValueError(f"{PLUGIN}: {error.reason}") from error


def split_names(values: Sequence[str]) -> list[str]:
    """Return the names in the values of `--plugin`: one each, or several with commas between them."""
    return [name.strip() for value in values for name in value.split(",") if name.strip()]


def _read_words(argv: Sequence[str]) -> tuple[argparse.Namespace, dict[str, Any]]:
    """Return the flags that are not options of a run, and the options that are given, by key."""
    load_plugins_first(argv, **NAME_PLUGINS)
    words, given_env = split_env_words(argv)
    parser = _Parser(prog=PROGRAM, allow_abbrev=False, add_help=False)
    add_commands(parser.add_argument)
    options = {key: option for section in sections() for key, option in section.options.items()}
    for key, option in options.items():
        add_option(parser.add_argument, key, option)
    namespace, rest = parser.parse_known_args(words)
    if rest:
        raise ValueError(_not_understood(rest[0], [flag(key) for key in options]))
    given = {key: value for key, value in vars(namespace).items() if key in options}
    if "plugins" in given:
        given["plugins"] = split_names(given["plugins"])
    return namespace, given | {f"env.{key}": value for key, value in given_env.items()}


def split_env_words(argv: Sequence[str]) -> tuple[list[str], dict[str, Any]]:
    """Take what is meant for the environment's constructor out of a command line.

    Only the environment knows which options there are: `--env.OPTION VALUE`, `--env.OPTION=VALUE`, and for a
    yes or no `--env.OPTION` and `--no-env.OPTION`.

    Args:
        argv: The words.

    Returns:
        The other words, and the texts (or True and False) by the option's name.

    Raises:
        ValueError: A flag ends where the name of the option should be.
    """
    words: list[str] = []
    given: dict[str, Any] = {}
    left = list(argv)
    while left:
        word = left.pop(0)
        name, equals, value = word.partition("=")
        prefix = next((one for one in (ENV_FLAG, NO_ENV_FLAG) if name.startswith(one)), None)
        if prefix is None:
            words.append(word)
            continue
        key = name.removeprefix(prefix).replace("-", "_")
        if not key or (prefix == NO_ENV_FLAG and equals):
            raise ValueError(f"{word}: write {ENV_FLAG}OPTION VALUE, or {NO_ENV_FLAG}OPTION for no")
        if key in ELSEWHERE:
            raise ValueError(f"{name}: is not an option of an environment here: {ELSEWHERE[key]}")
        has_value = prefix == ENV_FLAG and not equals and bool(left) and not left[0].startswith("--")
        alone = prefix == ENV_FLAG
        if key in given:
            raise ValueError(f"{name}: is given twice")
        given[key] = value if equals else left.pop(0) if has_value else alone
    return words, given


def _not_understood(word: str, flags: list[str]) -> str:
    if not word.startswith("-"):
        how = "every option is given as --NAME VALUE, a yes or no as --NAME or --no-NAME"
        return f"unexpected argument {word!r}: {how}"
    name = word.partition("=")[0]
    return f"unknown option {name}{did_you_mean(name, [*flags, '--config', '--resume', '--help'])}"


def _command(config_file: str | None, resume: str | None, given: dict[str, Any]) -> RunRequest:
    if resume is None:
        config = TrainConfig() if config_file is None else TrainConfig.load(config_file)
        return RunRequest(_settled(config.updated(given)))
    others = [flag(key) for key in given if key not in WITH_RESUME] + ["--config"] * (config_file is not None)
    if others:
        allowed = " and ".join(flag(key) for key in WITH_RESUME)
        raise ValueError(
            f"--resume continues the same run: {', '.join(others)} cannot change, only {allowed} can"
        )
    path = Path(resume) / "config.yaml"
    if not path.is_file():
        raise ValueError(f"--resume: {resume} is not the directory of a run, it has no config.yaml")
    return RunRequest(TrainConfig.load(path).updated(given), Path(resume))


def _settled(config: TrainConfig) -> TrainConfig:
    """Return the configuration of a new run: its files by absolute paths, the environment's options checked.

    The run may be begun again from another folder, and its config.yaml holds values of the right types.
    """
    files = tuple(map(os.path.abspath, config.episodes))
    start = config.initial_states
    start = os.path.abspath(start) if start.endswith(".npy") else start
    options = config.env_options
    if options:
        task_arguments(config.task)  # modules of the user's go first, see there
        options = to_plain(read_env_options(config.env, options))
    return dataclasses.replace(config, episodes=files, initial_states=start, env_options=options)


def main(argv: Sequence[str] | None = None, program_ends: bool = False, program_name: str = PROGRAM) -> int:
    """Run a command line and return the exit status.

    It is 0, 1 if a file could not be written, 2 for a user's mistake or one of the environment, 130 after
    Ctrl-C and 143 after SIGTERM. Signal handlers, torch's settings and the standard streams are then as
    they were before.

    Args:
        argv: The words; None takes those of the process.
        program_ends: The process ends with the returned status: after a signal, further ones are ignored.
        program_name: What messages and the help call the program.
    """
    with program(program_name, program_ends):
        try:
            return _main(list(sys.argv[1:] if argv is None else argv), program_name)
        except KeyboardInterrupt as interrupt:
            sys.stderr.write(f"{program_name}: interrupted before the run began\n")
            return _status(interrupt)


def _main(argv: list[str], program_name: str) -> int:
    try:
        if asks_for_help(argv) or "--version" in argv:
            sys.stdout.write(
                _help(argv, program_name) if asks_for_help(argv) else f"mbrl_agent {__version__}\n"
            )
            return 0
        command = parse(argv)
        from mbrl_agent.errors import DivergedError, PolicyError, RunFailure
        from mbrl_agent.run import experiment  # not for --help: it imports all that a run needs

        if command.resume is None:
            run = experiment.new_run(command.config)
        else:
            run = experiment.open_run(command.resume, command.config)
    except (ValueError, TypeError, OSError) as error:
        sys.stderr.write(f"{program_name}: error: {one_line(error)} (see {program_name} --help)\n")
        return USAGE_ERROR
    try:
        run.run()
    except KeyboardInterrupt as interrupt:
        sys.stderr.write(f"{program_name}: interrupted; {_how_to_go_on(run, program_name)}\n")
        return _status(interrupt)
    except RunFailure as error:  # the environment's mistake, not ours: no traceback
        again = isinstance(error, DivergedError | PolicyError)  # the same would happen once more
        hint = "" if again else f"; {_how_to_go_on(run, program_name)}"
        sys.stderr.write(f"{program_name}: error: {one_line(error)}{hint}\n")
        return USAGE_ERROR
    except OSError as error:  # the disk is full, ...
        sys.stderr.write(f"{program_name}: error: {one_line(error)}; {_how_to_go_on(run, program_name)}\n")
        return FAILED
    return 0


def _help(argv: list[str], program_name: str) -> str:
    """Write the text that is asked for; the environment's options are those of the `--env` beside it."""
    place = next(index for index, word in enumerate(argv) if asks_for_help([word]))
    _, equals, group = argv[place].partition("=")
    rest = argv[place + 1 :]
    if not equals and rest and not rest[0].startswith("-"):
        group, rest = rest[0], rest[1:]
    words = [*argv[:place], *(word for word in rest if not asks_for_help([word]))]
    if group not in ("env", "all"):
        load_plugins_first(words, **NAME_PLUGINS)  # their classes are listed, too
        return help_text(group, program_name=program_name)
    namespace, given = _read_words(words)
    config = TrainConfig() if namespace.config is None else TrainConfig.load(namespace.config)
    if namespace.resume is not None:
        config = TrainConfig.load(Path(namespace.resume) / "config.yaml")
    return help_text(group, given.get("env", config.env), program_name)


def _how_to_go_on(run: Experiment, program_name: str) -> str:
    if run.resumable:
        return f"continue with: {call(program_name)} --resume {shlex.quote(str(run.directory))}"
    return "no trial was completed, so there is nothing to continue: start again"


def _status(interrupt: KeyboardInterrupt) -> int:
    return interrupt.status if isinstance(interrupt, Interrupted) else INTERRUPTED
