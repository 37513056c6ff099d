"""The program: its commands and their help, and the flags that come from their options."""

import dataclasses
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from mbrl_agent import __main__ as program
from mbrl_agent.options import OptionError, options_of
from mbrl_agent.run.commands import evaluate, watch
from mbrl_agent.run.commands.agent_options import ActingOptions
from mbrl_agent.run.commands.command_line import make_parser, parse_command, run_command
from mbrl_agent.run.help_page import flag
from tests.support.programs import NAME, error_line, run

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("argv", [[], ["--help"], ["-h"]])
def test_the_help_names_every_command(argv, capsys):
    text = run(capsys, *argv)
    for command in program.available():
        assert f"\n  {command} " in text
    assert {"train", "evaluate", "watch", "study"} <= set(program.available())
    assert len(text.splitlines()) < 25
    assert max(map(len, text.splitlines())) <= 110


@pytest.mark.parametrize("command", [evaluate, watch])
def test_the_help_of_a_command_has_every_option(command, capsys):
    text = " ".join(run(capsys, command.__name__.rpartition(".")[2], "--help").split())
    assert command.HELP in text
    for key, option in options_of(command.Options).items():
        assert option.help, key
        if key not in ("path", "env_options"):
            assert flag(key) in text
    assert "PATH" in text
    assert "--env.OPTION" in text


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["evaluat"], "unknown command 'evaluat': choose from train, evaluate, "),
        (["evaluat"], "did you mean evaluate?"),
        (["--trials", "3"], "unknown option --trials: the command comes first, one of train, "),
    ],
)
def test_a_mistake_before_the_command_is_one_line(argv, message, capsys):
    assert program.main(argv, name=NAME) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.endswith(f" (see {NAME} --help)\n")
    assert error.count("\n") == 1


def test_the_version(capsys):
    assert run(capsys, "--version").startswith("mbrl_agent ")


def test_train_is_train_py_under_another_name(capsys):
    assert "did you mean --trials?" in error_line(capsys, "train", "--tirals", "3")


def test_a_run_by_the_program_is_continued_by_it(tmp_path, capsys):
    small = "--trials 1 --eval-episodes 0 --search.steps 1 --search.candidates 2 --search.num-particles 20 "
    small += "--dynamics.fit-steps 2 --policy.centers 4 --gradient-probe 0 --quiet --env Blind-v0"
    assert run(capsys, "train", *small.split(), "--logdir", tmp_path) == ""
    directory = next(tmp_path.iterdir())
    assert "is complete" in run(capsys, "train", "--resume", directory, "--no-quiet")


def test_study_is_the_command_line_of_the_studies(capsys):
    assert program.main(["study", "landscap"], name=NAME) == 2
    assert capsys.readouterr().err.startswith("python -m mbrl_agent.study: error: unknown command 'landscap'")


def test_modules_of_the_users_do_not_take_the_place_of_ours(tmp_path):
    for name in ("envs.py", "train.py", "yaml.py"):
        (tmp_path / name).write_text("raise RuntimeError('this was executed')")
    # the root imports yaml before the program can do anything about the path
    (tmp_path / "yaml.py").unlink()
    command = [sys.executable, "-m", "mbrl_agent", "evaluate", "nowhere"]
    done = subprocess.run(
        command, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.startswith("python -m mbrl_agent evaluate: error: there is no nowhere")
    assert done.stderr.count("\n") == 1


# the flags of a command ------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Some(ActingOptions):
    """Options."""

    count: int = 3
    """A number."""
    loud: bool = False
    """A flag."""


def command(run=lambda options: 0):
    return SimpleNamespace(HELP="Do something.", NOTES="", Options=Some, run=run)


def read(*argv):
    return parse_command(command(), argv, "it")


def test_values_have_the_types_of_their_fields():
    assert read("here") == Some("here")
    assert read("--count", "4", "here", "--loud", "--trial=2") == Some("here", trial=2, count=4, loud=True)


def test_options_of_the_environment_are_collected():
    options = read("--env.noise-scale", "-2", "here", "--env.wind=a=b", "--env", "X-v0")
    assert options.env_options == ("noise_scale=-2", "wind=a=b")
    assert read("here", "--env.calm", "--no-env.wet").env_options == ("calm=true", "wet=false")
    assert (options.path, options.env) == ("here", "X-v0")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "required: PATH"),
        (["here", "there"], "unexpected argument 'there'"),
        (["here", "--cuont", "3"], "unknown option --cuont; did you mean --count?"),
        (["here", "--path", "3"], "unknown option --path"),
        (["here", "--cou", "3"], "unknown option --cou; did you mean --count?"),
        (["here", "--count"], "--count: expected one argument"),
        (["here", "--env."], "--env.: write --env.OPTION VALUE"),
        (["here", "--env.wind", "1", "--env.wind=2"], "--env.wind: is given twice"),
    ],
)
def test_a_wrong_word_is_refused(argv, message):
    with pytest.raises(ValueError, match=message.replace("?", r"\?")):
        read(*argv)


@pytest.mark.parametrize("argv", [["--count", "x"], ["--seed", "-1"], ["--trial", "0"]])
def test_a_wrong_value_names_its_flag(argv, capsys):
    assert run_command(command(), ["here", *argv], "it") == 2
    assert capsys.readouterr().err.startswith(f"it: error: {argv[0]}: ")


def test_an_error_of_an_option_inside_the_command_names_its_flag(capsys):
    def fail(options):
        raise OptionError(("env", "noise_scale"), "must\nbe small")

    assert run_command(command(fail), ["here"], "it") == 2
    assert capsys.readouterr().err == "it: error: --env.noise-scale: must be small (see it --help)\n"


def test_a_command_that_is_interrupted(capsys):
    def interrupt(options):
        raise KeyboardInterrupt

    assert run_command(command(interrupt), ["here"], "it") == 130
    assert capsys.readouterr().err == "it: interrupted\n"


def test_a_bug_is_not_hidden():
    def fail(options):
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        run_command(command(fail), ["here"], "it")


def test_the_status_is_that_of_the_command():
    assert run_command(command(lambda options: 7), ["here"], "it") == 7
    assert make_parser(command(), "it").format_usage() == "usage: it PATH [options]\n"
