"""The command line: every flag, the help, precedence, and what happens to mistakes."""

import dataclasses
import os
import re
import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import mbrl_agent
from mbrl_agent.errors import NonFiniteError
from mbrl_agent.options import Option, convert, options_of, placeholder, to_text
from mbrl_agent.resampling import Gaussian, Interpolated, Mixture, NoResampling
from mbrl_agent.run import cli
from mbrl_agent.run.cli import parse
from mbrl_agent.run.config import CHOICES, TrainConfig
from mbrl_agent.run.help import Section, help_text, sections
from mbrl_agent.run.help_page import EXAMPLES, FIRST_PAGE, GROUPS, flag

ROOT = Path(__file__).resolve().parents[2]
EVERY_CLASS = [(key, name) for key, registry in CHOICES.items() for name in registry.names()]
EVERY_OPTION = [
    (section.title, key, option) for section in sections() for key, option in section.options.items()
]


def run_train(*argv: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "train.py"), *argv]
    variables = {**os.environ, **environment}
    return subprocess.run(command, capture_output=True, text=True, env=variables, timeout=120, check=False)


@pytest.fixture
def experiment(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A stand-in for mbrl_agent.run.experiment that records what it is asked for."""
    calls: list[Any] = []

    def new_run(config: TrainConfig) -> SimpleNamespace:
        return open_run(None, config)

    def open_run(directory: Path | None, config: TrainConfig) -> SimpleNamespace:
        calls.append((config, directory))
        return SimpleNamespace(directory=Path("runs/X"), run=lambda: calls.append("run"))

    fake = SimpleNamespace(calls=calls, new_run=new_run, open_run=open_run)
    monkeypatch.setattr(mbrl_agent.run, "experiment", fake, raising=False)
    return fake


def error_line(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """The one line on stderr of a command line with a mistake."""
    assert cli.main(argv) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("train.py: error: ")
    assert captured.err.endswith(" (see train.py --help)\n")
    assert captured.err.count("\n") == 1
    return captured.err.removeprefix("train.py: error: ").removesuffix(" (see train.py --help)\n")


# flags -----------------------------------------------------------------------------------------------------


def test_no_flags_at_all():
    assert parse([]) == cli.RunRequest(TrainConfig(), resume=None)


@pytest.mark.parametrize(("key", "name"), EVERY_CLASS)
def test_every_choice_parses(key, name):
    assert getattr(parse([flag(key), name]).config, key) == CHOICES[key].get(name)()


@pytest.mark.parametrize(("key", "name"), EVERY_CLASS)
def test_every_option_of_every_choice_parses(key, name):
    cls = CHOICES[key].get(name)
    argv = [flag(key), name]
    for option in options_of(cls).values():
        dotted = f"{key}.{option.name}"
        argv += [flag(dotted)] if option.default is True else []
        argv += [flag(dotted).replace("--", "--no-")] if option.default is False else []
        argv += [] if isinstance(option.default, bool) else [flag(dotted), to_text(option.default)]
    assert getattr(parse(argv).config, key) == cls()


def test_the_examples_of_the_help_parse(tmp_path, monkeypatch):
    (tmp_path / "runs/X").mkdir(parents=True)
    TrainConfig(quiet=True).save(tmp_path / "runs/X/config.yaml")
    monkeypatch.chdir(tmp_path)
    lines = [line.partition("#")[0].split() for line in EXAMPLES.splitlines() if "train.py" in line]
    commands = [parse(line[2:]) for line in lines]
    assert commands[0].config == TrainConfig()
    assert commands[1].config == TrainConfig(resampling=Interpolated(ratio=0.5), seed=3)
    assert commands[2].config == TrainConfig(env="Pendulum-v1", cost="my_module:cost")
    assert commands[3].config == TrainConfig(quiet=True, seed=7, env_options={"noise_scale": 2.0})
    assert commands[4] == cli.RunRequest(TrainConfig(quiet=True, trials=20), resume=Path("runs/X"))


def test_values_have_the_types_of_their_fields():
    argv = "--seed 3 --quiet --search.learning-rate 1e-3 --dynamics.hidden 32,16 --env My-v0 --logdir=a=b"
    config = parse(argv.split()).config
    assert (config.seed, config.quiet, config.env, config.logdir) == (3, True, "My-v0", "a=b")
    assert config.search.learning_rate == 1e-3
    assert config.dynamics.hidden == (32, 16)


def test_order_does_not_matter_and_the_last_of_a_flag_counts():
    argv = ["--resampling.ratio", "0.1", "--resampling", "interpolated", "--resampling.ratio", "0.25"]
    assert parse(argv).config.resampling == Interpolated(ratio=0.25)


def test_one_flag_is_read_in_one_way():
    by_flag: dict[str, set[bool]] = {}
    for _, key, option in EVERY_OPTION:
        by_flag.setdefault(key, set()).add(option.hint is bool)
    assert [key for key, kinds in by_flag.items() if len(kinds) > 1] == []


# files and precedence --------------------------------------------------------------------------------------


def test_flag_before_file_before_default(tmp_path):
    TrainConfig(seed=3, trials=4, resampling=Interpolated(ratio=0.1)).save(tmp_path / "c.yaml")
    config = parse(["--config", str(tmp_path / "c.yaml"), "--seed", "7"]).config
    assert (config.seed, config.trials, config.threads) == (7, 4, TrainConfig().threads)
    assert config.resampling == Interpolated(ratio=0.1)


def test_a_flag_changes_one_option_of_the_files_choice(tmp_path):
    TrainConfig(resampling=Mixture(components=2, em_iterations=7)).save(tmp_path / "c.yaml")
    config = parse(["--config", str(tmp_path / "c.yaml"), "--resampling.components", "5"]).config
    assert config.resampling == Mixture(components=5, em_iterations=7)


@pytest.mark.parametrize(
    ("name", "expected"), [("none", NoResampling()), ("interpolated", Interpolated(ratio=0.1))]
)
def test_a_flag_with_another_choice_drops_the_files_options(name, expected, tmp_path):
    TrainConfig(resampling=Interpolated(ratio=0.1)).save(tmp_path / "c.yaml")
    assert parse(["--config", str(tmp_path / "c.yaml"), "--resampling", name]).config.resampling == expected


def test_resume_takes_the_runs_configuration(tmp_path):
    saved = TrainConfig(seed=5, resampling=Gaussian(), trials=3)
    saved.save(tmp_path / "config.yaml")
    assert parse(["--resume", str(tmp_path)]) == cli.RunRequest(saved, resume=tmp_path)
    more = parse(["--resume", str(tmp_path), "--trials", "9", "--quiet"])
    assert more.config == dataclasses.replace(saved, trials=9, quiet=True)


@pytest.mark.parametrize(
    ("argv", "named"),
    [
        (["--seed", "3"], "--seed"),
        (["--resampling", "none"], "--resampling"),
        (["--search.steps", "3", "--threads", "2", "--trials", "9"], "--search.steps, --threads"),
        (["--config", "c.yaml"], "--config"),
    ],
)
def test_resume_refuses_what_would_make_it_another_run(argv, named, tmp_path, capsys):
    TrainConfig().save(tmp_path / "config.yaml")
    line = error_line(capsys, "--resume", str(tmp_path), *argv)
    expected = f"--resume continues the same run: {named} cannot change, only --trials and --quiet can"
    assert {*re.split(", | ", line)} == {*re.split(", | ", expected)}


@pytest.mark.parametrize("there", [True, False])
def test_resume_needs_the_directory_of_a_run(there, tmp_path, capsys):
    directory = tmp_path if there else tmp_path / "absent"
    assert f"{directory} is not the directory of a run" in error_line(capsys, "--resume", str(directory))


# mistakes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (
            "--resampling.ratio 0.5",
            "--resampling.ratio: resampling 'gaussian' has no option 'ratio'; it belongs to: interpolated",
        ),
        (
            "--resampling mixture --resampling.ratio 1",
            "--resampling.ratio: resampling 'mixture' has no option 'ratio'",
        ),
        ("--resampling gausian", "--resampling: unknown resampling 'gausian': choose from "),
        ("--policy.centres 3", "unknown option --policy.centres; did you mean --policy.centers?"),
        (
            "--search.learning_rate=3",
            "unknown option --search.learning_rate; did you mean --search.learning-rate?",
        ),
        ("--learning-rate 3", "unknown option --learning-rate; did you mean --"),
        ("--confg x", "unknown option --confg; did you mean --config?"),
        ("--tri 3", "unknown option --tri"),
        ("-x", "unknown option -x"),
        ("--seed", "--seed: expected one argument"),
        ("cartpole", "unexpected argument 'cartpole'"),
        ("--quiet yes", "unexpected argument 'yes'"),
        ("--seed x", "--seed: expected a whole number, got 'x'"),
        ("--seed 1.5", "--seed: expected a whole number, got '1.5'"),
        ("--search.learning-rate fast", "--search.learning-rate: expected a number, got 'fast'"),
        ("--dynamics.hidden 64,x", "--dynamics.hidden: expected a whole number, got 'x'"),
        ("--dynamics.propagation TS1", "--dynamics.propagation: expected one of fixed, per-step, got 'TS1'"),
        ("--trials 0", "--trials: must be at least 1, got 0"),
        ("--trials 3 --random-trials 4", "--random-trials: must be at most trials, 3, got 4"),
        ("--resampling interpolated --resampling.ratio 2", "--resampling.ratio: must be from 0 to 1, got 2"),
        ("--search.steps 0", "--search.steps: must be at least 1, got 0"),
        ("--dynamics.members 0", "--dynamics.members: must be at least 1, got 0"),
        ("--device tpu", "--device: must be cpu, cuda or cuda:N, got 'tpu'"),
        ("--device cuda:99", "device 'cuda:99' is not there"),
        ("--max-episode-steps 0", "--max-episode-steps: must be at least 1, got 0"),
        ("--cost my_module", "--cost: must be module:name, or environment, got 'my_module'"),
        ("--cost none", "--cost: must be module:name, or environment, got 'none'"),
        ("--cost ./my/module.py:cost", "--cost: must be module:name"),
        ("--angle-dims 0;2", "--angle-dims: must be indices such as 0,2, or environment, or none"),
        ("--velocity-dims 0-1", "--velocity-dims: must say which velocity belongs to which position"),
        ("--velocity-dims 0:1,", "indices such as 0:1,2:3, or environment, or none, got '0:1,'"),
        ("--terminated x", "--terminated: must be module:name, or environment, or none, got 'x'"),
        (
            "--initial-states x.csv",
            "--initial-states: must be module:name, FILE.npy, or environment",
        ),
        ("--env.wind 3", "--env.wind: CartPoleSwingUp-v0 has no such option; it has cost, cost-width, "),
        ("--env.noise-sdt 3", "has no such option; did you mean noise-std?"),
        ("--env.noise-scale much", "--env.noise-scale: expected a number or none, got 'much'"),
        ("--env.noise-scale", "--env.noise-scale: expected a number or none, got True"),
        ("--env.render-mode human", "--env.render-mode: is not an option of an environment here: a run"),
        (
            "--env.max-episode-steps 9",
            "is not an option of an environment here: give --max-episode-steps",
        ),
        ("--env.name X-v0", "--env.name: is not an option of an environment here: --env stands for"),
        ("--env.=3", "--env.=3: write --env.OPTION VALUE"),
        ("--config absent.yaml", "configuration absent.yaml cannot be read: No such file or directory"),
    ],
)
def test_a_mistake_is_one_line(argv, message, capsys, experiment):
    assert message in error_line(capsys, *argv.split())
    assert experiment.calls == []


@pytest.mark.parametrize("text", ["a: [", "trails: 3", "- 1", "seed: x", "resampling: {ratio: 1}"])
def test_a_mistake_in_the_file_is_one_line(text, tmp_path, capsys):
    path = tmp_path / "c.yaml"
    path.write_text(text)
    assert f"configuration {path}" in error_line(capsys, "--config", str(path))


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ValueError("150 particles\n  do not split"), "150 particles do not split"),
        (TypeError("not a space"), "not a space"),
        (PermissionError(13, "Permission denied", "runs"), "runs: Permission denied"),
    ],
)
def test_what_the_preparation_of_a_run_refuses_is_one_line(error, message, experiment, capsys):
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise error

    experiment.new_run = refuse
    assert error_line(capsys) == message


def test_an_error_of_the_run_itself_is_not_hidden(experiment):
    def fail() -> None:
        raise ValueError("a bug")

    experiment.new_run = lambda *args, **kwargs: SimpleNamespace(run=fail)
    with pytest.raises(ValueError, match="a bug"):
        cli.main([])


# running ---------------------------------------------------------------------------------------------------


def test_main_prepares_and_runs(experiment):
    assert cli.main(["--seed", "3"]) == 0
    assert experiment.calls == [(TrainConfig(seed=3), None), "run"]


def test_main_resumes(experiment, tmp_path):
    TrainConfig(seed=3).save(tmp_path / "config.yaml")
    assert cli.main(["--resume", str(tmp_path)]) == 0
    assert experiment.calls == [(TrainConfig(seed=3), tmp_path), "run"]


def test_main_reads_sys_argv(experiment, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train.py", "--seed", "4"])
    assert cli.main() == 0
    assert experiment.calls[0][0].seed == 4


def interrupt(*args: Any, **kwargs: Any) -> None:
    raise KeyboardInterrupt


def test_an_interrupted_run_says_how_to_go_on(experiment, capsys):
    run = SimpleNamespace(run=interrupt, directory=Path("runs/X"), resumable=True)
    experiment.new_run = lambda *args, **kwargs: run
    assert cli.main([]) == 130
    expected = "train.py: interrupted; continue with: python train.py --resume runs/X\n"
    assert capsys.readouterr().err == expected
    run.resumable = False  # in the first trial there is nothing to continue from
    assert cli.main([]) == 130
    assert capsys.readouterr().err == (
        "train.py: interrupted; no trial was completed, so there is nothing to continue: start again\n"
    )


def test_an_environment_that_fails_is_one_line(experiment, capsys):
    def fail() -> None:
        raise NonFiniteError("reward = nan at step 3;\n kept")

    run = SimpleNamespace(run=fail, directory=Path("runs/a b"), resumable=True)
    experiment.new_run = lambda *args, **kwargs: run
    assert cli.main([]) == 2
    expected = "reward = nan at step 3; kept; continue with: python train.py --resume 'runs/a b'"
    assert capsys.readouterr().err == f"train.py: error: {expected}\n"


def test_a_warning_is_one_line(experiment, capsys):
    def warn() -> None:
        warnings.warn("two\n lines", stacklevel=1)

    experiment.new_run = lambda *args, **kwargs: SimpleNamespace(run=warn)
    assert cli.main([]) == 0
    assert capsys.readouterr().err == "train.py: warning: two lines\n"


def test_an_interrupt_before_the_run(experiment, capsys):
    experiment.new_run = interrupt
    assert cli.main([]) == 130
    assert capsys.readouterr().err == "train.py: interrupted before the run began\n"


# help ------------------------------------------------------------------------------------------------------


def help_sections() -> dict[str, str]:
    """The help's text by the title of its section, on one line each."""
    parts = re.split(r"^(\S.*):$", help_text("all"), flags=re.MULTILINE)
    return {title: " ".join(text.split()) for title, text in zip(parts[1::2], parts[2::2], strict=True)}


@pytest.mark.parametrize(
    ("title", "key", "option"), EVERY_OPTION, ids=[f"{t} {k}" for t, k, _ in EVERY_OPTION]
)
def test_the_help_has_every_option_with_its_default(title: str, key: str, option: Option):
    assert option.help
    values = (
        f", {flag(key).replace('--', '--no-')}" if option.hint is bool else f" {placeholder(option.hint)}"
    )
    names = ""
    if key in CHOICES:
        values, names = " NAME", f" One of {', '.join(CHOICES[key].names())}."
    if key == "plugins":  # each flag names one
        values = " MODULE"
    default = to_text(option.default)
    expected = f"{flag(key)}{values} {option.help}{names}" + (f" (default: {default})" if default else "")
    assert re.sub(r"[- ]", "", expected) in re.sub(
        r"[- ]", "", help_sections()[title]
    )  # wrapping breaks at hyphens


def test_the_sections_of_the_help_hold_every_class_of_every_registry():
    titles = [section.title for section in sections()]
    assert titles[:3] == ["run", "task", "policy search"]
    for key, name in EVERY_CLASS:
        section = next(s for s in sections() if s.title == f"{key} {name}")
        assert [option.name for option in section.options.values()] == list(
            options_of(CHOICES[key].get(name))
        )
        assert section.description
    assert [title for title in help_sections() if title not in ("examples", "env")] == titles


def test_the_defaults_in_the_help_are_those_of_a_run():
    config = TrainConfig()
    for title, key, option in EVERY_OPTION:
        outer, _, inner = key.partition(".")
        if key in CHOICES:
            assert option.default == getattr(config, key).name
        elif not inner or title in (
            "policy search",
            f"{outer} {getattr(getattr(config, outer), 'name', '')}",
        ):
            value = getattr(getattr(config, outer), inner) if inner else getattr(config, key)
            assert convert(to_text(option.default), option.hint) == value


def test_the_help_says_which_way_the_ratio_goes():
    text = help_sections()["resampling interpolated"]
    assert re.search(r"0 is fully resampled.* 1 keeps the particles", text)


def test_percent_signs_in_a_docstring_are_harmless(monkeypatch):
    option = dataclasses.replace(options_of(TrainConfig)["seed"], help="50% of %(prog)s")
    section = Section("search", "", {"seed": option}, "search")
    monkeypatch.setattr("mbrl_agent.run.help.sections", lambda: [section])
    assert "50% of %(prog)s (default: 0)" in " ".join(help_text("search").split())


# the script itself -----------------------------------------------------------------------------------------


def test_the_script_shows_its_help():
    result = run_train("--help")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("usage: train.py [options]\n")
    assert EXAMPLES in result.stdout
    assert all(flag(key) in result.stdout for key in FIRST_PAGE)
    assert all(f"--help {group}" in result.stdout for group in GROUPS)
    assert len(result.stdout.splitlines()) < 80


def test_a_group_of_the_help_is_its_options(capsys):
    for argv in (["--help", "resampling"], ["--seed", "x", "-h", "resampling"], ["--help=resampling"]):
        assert cli.main(argv) == 0
        text = capsys.readouterr().out
        assert "--resampling.em-iterations" in text
        assert "--dynamics" not in text


def test_the_help_of_an_environment_lists_what_its_constructor_takes(capsys):
    assert cli.main(["--env", "Pendulum-v1", "--help", "env"]) == 0
    assert "--env.g VALUE" in capsys.readouterr().out
    assert cli.main(["--help", "env"]) == 0
    assert "--env.noise-scale VALUE" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ("--help resampln", "--help: there is no group 'resampln'; did you mean resampling?; the groups are"),
        ("--help env --env Nowhere-v0", "env 'Nowhere-v0' cannot be made"),
    ],
)
def test_a_mistake_in_asking_for_help_is_one_line(argv, message, capsys):
    assert message in error_line(capsys, *argv.split())


@pytest.mark.parametrize("columns", [90, 140])
def test_the_help_wraps_to_the_terminal(columns, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    options = help_text("all").removesuffix(EXAMPLES)
    assert columns / 2 < max(map(len, options.splitlines())) < columns


def test_the_script_shows_its_version():
    assert run_train("--version").stdout == f"mbrl_agent {mbrl_agent.version.__version__}\n"


def test_a_mistake_ends_the_script_with_status_2():
    result = run_train("--sed", "3")
    assert (result.returncode, result.stdout) == (2, "")
    assert re.fullmatch(r"train.py: error: .+\n", result.stderr)


def test_the_help_does_not_import_what_only_a_run_needs():
    code = (
        "import sys; sys.argv = ['train.py', '--help']\n"
        "import mbrl_agent.run.cli\n"
        "try: mbrl_agent.run.cli.main()\n"
        "except SystemExit as error: assert error.code == 0\n"
        "heavy = ('mbrl_agent.run.experiment', 'pygame', 'matplotlib.pyplot', 'envs')\n"
        "print([module for module in heavy if module in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert result.stdout.splitlines()[-1] == "[]"
