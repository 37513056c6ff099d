"""The command line: flags generated from the dataclasses of a configuration, and their help.

Flags are named after the keys of config.yaml: `search.learning_rate` is `--search.learning-rate`.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from mbrl_agent.options import (
    SYNTAX,
    Option,
    OptionError,
    did_you_mean,
    options_of,
    placeholder,
    summary,
    to_text,
)
from mbrl_agent.run.config import CHOICES, TrainConfig, load_plugins, read_plugins
from mbrl_agent.run.interrupts import Interrupted
from mbrl_agent.run.messages import FAILED, INTERRUPTED, USAGE_ERROR, one_line
from mbrl_agent.run.program import program
from mbrl_agent.version import __version__

if TYPE_CHECKING:
    from mbrl_agent.run.experiment import Experiment

PROGRAM = "train.py"
GENERAL = "general"
PLUGIN = "--plugin"  # each adds one, or several
WITH_RESUME = ("trials", "quiet")
"""Options that may change when a run is resumed; with any other it would not be the same run."""
EXAMPLES = """\
examples:
  python train.py                                  # cart-pole swing-up, gaussian resampling
  python train.py --resampling none --seed 3
  python train.py --resampling interpolated --resampling.ratio 0.5
  python train.py --resampling mixture:3,em-iterations=5 --dynamics ensemble:members=7,hidden=64x64
  python train.py --config runs/X/config.yaml --seed 7    # precedence: flag > file > default
  python train.py --resume runs/X                  # continues as if it had never stopped
  python train.py --resume runs/X --trials 20      # and goes on for longer
"""


@dataclass(frozen=True)
class Command:
    """What a command line asks for."""

    config: TrainConfig
    """The run."""
    resume: Path | None = None
    """Directory of the run to continue; None starts a new one."""


@dataclass(frozen=True)
class Section:
    """Options that belong together in the help."""

    title: str
    description: str
    options: dict[str, Option]
    """By their key in `TrainConfig.to_dict`, dotted."""


def sections() -> list[Section]:
    """Every option of every choice."""
    options = options_of(TrainConfig)
    plain = {k: o for k, o in options.items() if k not in CHOICES and not dataclasses.is_dataclass(o.hint)}
    result = [Section(GENERAL, "", plain)]
    for key, option in options.items():
        if key in CHOICES:
            chosen = dataclasses.replace(option, default=option.default.name)
            result.append(Section(key, f"Written {SYNTAX}.", {key: chosen}))
            result += [_section(f"{key} {name}", key, cls) for name, cls in CHOICES[key].classes.items()]
        elif dataclasses.is_dataclass(option.hint):
            result.append(_section(option.help.rstrip(".").lower(), key, option.hint))
    return result


def _section(title: str, key: str, cls: Any) -> Section:
    return Section(title, summary(cls), {f"{key}.{name}": option for name, option in options_of(cls).items()})


def flag(key: str) -> str:
    """The flag of a dotted key: `resampling.em_iterations` -> `--resampling.em-iterations`."""
    return PLUGIN if key == "plugins" else "--" + key.replace("_", "-")


def help_text(program_name: str = PROGRAM) -> str:
    """The help: usage, every section, examples."""
    examples = EXAMPLES.replace(_call(PROGRAM), _call(program_name))
    return "\n".join([f"usage: {program_name} [options]\n", *map(_format, sections()), examples])


def _call(program_name: str) -> str:
    """How the program is started: a file by python, a script by its name."""
    return f"python {program_name}" if program_name.endswith(".py") else program_name


def _format(section: Section) -> str:
    parser = argparse.ArgumentParser(usage=argparse.SUPPRESS, add_help=False, formatter_class=formatter)
    group = parser.add_argument_group(section.title, section.description or None)
    if section.title == GENERAL:
        _add_commands(group.add_argument)
    for key, option in section.options.items():
        add_option(group.add_argument, key, option)
    return parser.format_help()


def formatter(prog: str) -> argparse.HelpFormatter:
    """Help in two wide columns."""
    return argparse.HelpFormatter(prog, max_help_position=32)


def _add_commands(add: Callable[..., object]) -> None:
    """Add the flags that are not options of a run."""
    add("--help", "-h", action="help", help="Show this help.")
    add("--version", action="version", version=f"mbrl_agent {__version__}", help="Show the version.")
    add("--config", metavar="FILE", help="Take what is not on the command line from this YAML file.")
    also = " and ".join(flag(key) for key in WITH_RESUME)
    add("--resume", metavar="DIR", help=f"Continue the run in this directory; only {also} may change.")


def add_option(add: Callable[..., object], key: str, option: Option) -> None:
    """Add one option; its value stays text, which the configuration converts and checks."""
    text = f"{option.help} (default: {to_text(option.default)})".replace("%", "%%")
    if option.hint is bool:
        action = argparse.BooleanOptionalAction
        add(flag(key), dest=key, action=action, default=argparse.SUPPRESS, help=text)
    elif key == "plugins":
        add(PLUGIN, dest=key, metavar="MODULE", action="append", default=argparse.SUPPRESS, help=text)
    else:
        choice = CHOICES.get(key)
        metavar = "{" + ",".join(choice.names()) + "}" if choice else placeholder(option.hint)
        add(flag(key), dest=key, metavar=metavar, default=argparse.SUPPRESS, help=text)


class _Parser(argparse.ArgumentParser):
    """A parser that shows our help, and raises ValueError instead of leaving the process."""

    def format_help(self) -> str:
        return help_text(self.prog)

    def error(self, message: str) -> NoReturn:
        raise ValueError(message.removeprefix("argument "))


def parse(argv: Sequence[str], device_is_here: bool = True, program_name: str = PROGRAM) -> Command:
    """Turn the words of a command line into the run that they ask for.

    Args:
        argv: The words.
        device_is_here: Refuse a device that this machine does not have; not for a run on another one.
        program_name: What the help calls the program.

    Raises:
        ValueError: The command line, or the configuration file that it names, is wrong.
    """
    load_plugins_first(argv, config="", resume="config.yaml")
    parser = _Parser(prog=program_name, allow_abbrev=False, add_help=False)
    _add_commands(parser.add_argument)
    options = {key: option for section in sections() for key, option in section.options.items()}
    for key, option in options.items():
        add_option(parser.add_argument, key, option)
    namespace, rest = parser.parse_known_args(argv)
    if rest:
        raise ValueError(_not_understood(rest[0], [flag(key) for key in options]))
    given = {key: value for key, value in vars(namespace).items() if key in options}
    if "plugins" in given:
        given["plugins"] = split_names(given["plugins"])
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
    """The names in the values of `--plugin`: one each, or several with commas between them."""
    return [name.strip() for value in values for name in value.split(",")]


def _not_understood(word: str, flags: list[str]) -> str:
    if not word.startswith("-"):
        return f"unexpected argument {word!r}: every option is given as --NAME VALUE"
    name = word.partition("=")[0]
    return f"unknown option {name}{did_you_mean(name, [*flags, '--config', '--resume', '--help'])}"


def _command(config_file: str | None, resume: str | None, given: dict[str, Any]) -> Command:
    if resume is None:
        config = TrainConfig() if config_file is None else TrainConfig.load(config_file)
        config = config.updated(given)
        files = tuple(map(os.path.abspath, config.episodes))  # the run may be begun again from another folder
        return Command(dataclasses.replace(config, episodes=files))
    others = [flag(key) for key in given if key not in WITH_RESUME] + ["--config"] * (config_file is not None)
    if others:
        allowed = " and ".join(flag(key) for key in WITH_RESUME)
        raise ValueError(
            f"--resume continues the same run: {', '.join(others)} cannot change, only {allowed} can"
        )
    path = Path(resume) / "config.yaml"
    if not path.is_file():
        raise ValueError(f"--resume: {resume} is not the directory of a run, it has no config.yaml")
    return Command(TrainConfig.load(path).updated(given), Path(resume))


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
            return _main(sys.argv[1:] if argv is None else argv, program_name)
        except KeyboardInterrupt as interrupt:
            sys.stderr.write(f"{program_name}: interrupted before the run began\n")
            return _status(interrupt)


def _main(argv: Sequence[str], program_name: str) -> int:
    try:
        command = parse(argv, program_name=program_name)
        from mbrl_agent.errors import DivergedError, PolicyError, RunFailure
        from mbrl_agent.run import experiment  # not for --help: it imports all that a run needs

        run = experiment.prepare(command.config, resume=command.resume)
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


def _how_to_go_on(run: Experiment, program_name: str) -> str:
    if run.resumable:
        return f"continue with: {_call(program_name)} --resume {shlex.quote(str(run.directory))}"
    return "no trial was completed, so there is nothing to continue: start again"


def _status(interrupt: KeyboardInterrupt) -> int:
    return interrupt.status if isinstance(interrupt, Interrupted) else INTERRUPTED
