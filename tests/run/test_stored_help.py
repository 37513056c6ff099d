"""The help that needs no torch: it is what would be generated, and answers only where it cannot be wrong."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import mbrl_agent
from mbrl_agent import __main__ as program
from mbrl_agent.options import plugins
from mbrl_agent.run import cli, stored_help
from mbrl_agent.run.commands import evaluate, export, inspect, watch
from mbrl_agent.run.commands.command_line import page_of
from mbrl_agent.run.config import CHOICES
from mbrl_agent.run.help import help_text
from mbrl_agent.run.help_page import GROUPS, command_help, page
from mbrl_agent.run.stored_help import COMMANDS, command_answer, read, study_answer, train_answer
from mbrl_agent.study import store_help
from mbrl_agent.study.__main__ import main as study
from mbrl_agent.study.commands import load_command
from mbrl_agent.study.overview import COMMANDS as STUDIES
from mbrl_agent.study.overview import PROGRAM, SUMMARIES, overview
from mbrl_agent.study.store_help import generate

ROOT = Path(__file__).resolve().parents[2]
AGAIN = "help.json is not what is generated: run `python -m mbrl_agent.study.store_help` to write it again"
HEAVY = ("torch", "stable_baselines3", "gymnasium", "numpy", "matplotlib", "pandas", "rich", "yaml")
TRAIN = [["--help"], ["-h"], ["--version"], *(["--help", group] for group in GROUPS)]
ASK = """
import contextlib, io, json, runpy, sys
requests, heavy = json.loads(sys.argv[1])
answers = []
for start, name, words in requests:
    sys.argv[1:] = words
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
        getattr(runpy, start)(name, run_name="__main__")
    answers.append([out.getvalue(), [module for module in heavy if module in sys.modules]])
print(json.dumps(answers))
"""
SCRIPT = ("run_path", str(ROOT / "train.py"))
MODULE, STUDY = ("run_module", "mbrl_agent"), ("run_module", "mbrl_agent.study")
Request = tuple[str, str, list[str]]


def ask_alone(*requests: Request, **variables: str) -> list[tuple[str, list[str]]]:
    """What a process that has imported nothing answers, and what of `HEAVY` it had then imported."""
    environment = {key: value for key, value in os.environ.items() if key != "MPLBACKEND"}
    environment |= {"PYTHONPATH": str(ROOT), "COLUMNS": "90", **variables}
    command = [sys.executable, "-c", ASK, json.dumps([requests, HEAVY])]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return [(text, heavy) for text, heavy in json.loads(result.stdout)]


@pytest.fixture
def fresh(monkeypatch):
    """A process that has not imported torch, as far as the help can see."""
    monkeypatch.delitem(sys.modules, "torch")
    read.cache_clear()
    yield
    read.cache_clear()


# what it says ----------------------------------------------------------------------------------------------


def test_the_file_is_what_is_generated():
    assert stored_help.FILE.read_text(encoding="utf-8") == generate(), AGAIN


@pytest.mark.parametrize("columns", [40, 80, 140])
@pytest.mark.parametrize("name", ["train.py", "python -m mbrl_agent train", "mbrl-agent train"])
def test_a_page_is_the_same_from_the_file(name, columns, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    for group in ("", *GROUPS):
        assert page(read(), group, name) == help_text(group, program_name=name), AGAIN


@pytest.mark.parametrize("name", STUDIES)
def test_a_page_of_the_studies_is_the_same_from_the_file(name, capsys):
    """This process has torch, and generates."""
    assert study([name, "--help"]) == 0
    assert capsys.readouterr().out == command_help(read().study(name), f"{PROGRAM} {name}"), AGAIN


def test_the_first_page_of_the_studies_has_a_line_for_each():
    assert list(STUDIES) == list(SUMMARIES)
    lines = overview().splitlines()
    for name, text in SUMMARIES.items():
        assert text == load_command(name).HELP
        assert f"  {name:13} {text}" in lines
    assert max(map(len, lines)) <= 110


# what it costs ---------------------------------------------------------------------------------------------


def generated(capsys, main, *arguments) -> str:
    assert main(*arguments) == 0
    return capsys.readouterr().out


def test_no_page_imports_torch_or_its_like(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "90")
    name = "python -m mbrl_agent"
    expected: dict[tuple[str, ...], str] = {}
    for words in TRAIN:
        expected[(*SCRIPT, *words)] = generated(capsys, cli.main, words)
        expected[(*MODULE, "train", *words)] = generated(capsys, cli.main, words, False, f"{name} train")
    for command in (evaluate, watch, inspect, export):
        own = command.__name__.rpartition(".")[2]
        expected[(*MODULE, own, "--help")] = command_help(page_of(command), f"{name} {own}")
    expected |= dict.fromkeys([(*MODULE,), (*MODULE, "--help"), (*MODULE, "-h")], program.help_text())
    expected[(*MODULE, "--version")] = f"mbrl_agent {mbrl_agent.__version__}\n"
    studies = [(*MODULE, "study", "--help"), (*MODULE, "study", "-h"), (*STUDY, "--help")]
    expected |= dict.fromkeys(studies, overview())
    for own in STUDIES:
        expected[(*STUDY, own, "--help")] = generated(capsys, study, [own, "--help"])
    answers = ask_alone(*((start, name, words) for start, name, *words in expected))
    for asked, (text, heavy) in zip(expected, answers, strict=True):
        assert (asked, heavy) == (asked, [])
        assert text == expected[asked], asked


def test_the_line_of_a_command_is_its_own():
    assert {name: read().command(name).summary for name in COMMANDS} == {
        command.__name__.rpartition(".")[2]: command.HELP for command in (evaluate, watch, inspect, export)
    }


# where it does not answer ----------------------------------------------------------------------------------


def test_a_plain_request_is_answered(fresh):
    for words in (["--help"], ["-h", "env"], ["--help=all"], ["--help="], ["--help", ""]):
        assert train_answer(words, "train.py").startswith("usage: train.py [options]\n")
    assert command_answer("evaluate", ["X", "-h"], "it").startswith("usage: it PATH [options]\n")
    assert train_answer(["--seed", "3", "--version"], "it") == f"mbrl_agent {mbrl_agent.__version__}\n"


@pytest.mark.parametrize(
    "words",
    [
        "", "--seed 3", "--plugin mine --help", "--help --plugin mine", "--help resampling --plugin=mine",
        "--help env --env Pendulum-v1", "--config X --help", "--help all --resume X", "--help resampl",
        "--help=resampl", "--help --help", "--version --help --seed 3",
    ],
)  # fmt: skip
def test_words_that_say_more_are_left_to_the_command_line(words, fresh):
    assert train_answer(words.split(), "train.py") is None


def test_a_command_without_a_request_of_help_is_left_to_it(fresh):
    assert command_answer("evaluate", ["runs/X"], "it") is None
    assert command_answer("study", ["--help"], "it") is None
    assert study_answer("landscape", ["--untrained"], "it") is None
    assert study_answer("landscape", ["--help", "--plugin", "mine"], "it") is None
    assert study_answer("landscape", ["-h"], "it").startswith("usage: it [options]\n")


def test_a_process_that_has_torch_generates():
    """A plug-in may have been loaded, and nothing is saved."""
    assert train_answer(["--help"], "train.py") is None


def test_where_a_plug_in_is_installed_the_help_is_generated(fresh, monkeypatch):
    asked = []
    monkeypatch.setattr(stored_help, "entry_points", lambda group: asked.append(group) or ["one"])
    assert train_answer(["--help"], "train.py") is None
    assert asked == [plugins.GROUP]


def test_an_installed_plug_in_is_in_the_help(tmp_path):
    source = ROOT / "tests" / "support" / "plugin_of_each_kind.py"
    (tmp_path / "plug_installed.py").write_text(source.read_text())
    (tmp_path / "plug_installed-1.dist-info").mkdir()
    metadata = tmp_path / "plug_installed-1.dist-info"
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: plug_installed\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text(f"[{plugins.GROUP}]\nmine = plug_installed\n")
    path = os.pathsep.join([str(ROOT), str(tmp_path)])
    ((text, heavy),) = ask_alone((*SCRIPT, ["--help", "resampling"]), PYTHONPATH=path)
    assert "resampling mine:" in text
    assert "torch" in heavy


def test_a_new_file_in_a_folder_of_choices_is_in_the_help_without_another_edit(fresh, monkeypatch, tmp_path):
    for folder in stored_help.FOLDERS:
        (tmp_path / folder).mkdir(parents=True)
        for name in read().data["files"][folder]:
            (tmp_path / folder / name).touch()
    monkeypatch.setattr(stored_help, "PACKAGE", tmp_path)
    assert train_answer(["--help"], "train.py") is not None
    (tmp_path / "dynamics" / "notes.txt").touch()
    assert train_answer(["--help"], "train.py") is not None
    (tmp_path / "dynamics" / "new.py").touch()
    assert train_answer(["--help"], "train.py") is None


def test_the_folders_are_those_of_every_choice():
    rooms = [registry._package.removeprefix("mbrl_agent.").replace(".", "/") for registry in CHOICES.values()]
    assert list(stored_help.FOLDERS) == [*rooms, "run/presets"]


@pytest.mark.parametrize("content", [None, "", "{"])
def test_without_a_file_the_help_is_generated(content, fresh, monkeypatch, tmp_path, capsys):
    file = tmp_path / "help.json"
    if content is not None:
        file.write_text(content)
    monkeypatch.setattr(stored_help, "FILE", file)
    assert train_answer(["--help"], "train.py") is None
    assert command_answer("evaluate", ["--help"], "it") is None


# writing it ------------------------------------------------------------------------------------------------


def test_the_file_is_written_again(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(store_help, "FILE", tmp_path / "help.json")
    assert store_help.main() == 0
    assert json.loads((tmp_path / "help.json").read_text(encoding="utf-8")).keys() >= {"blocks", "commands"}
    assert capsys.readouterr().out == f"wrote {tmp_path / 'help.json'}\n"


def test_choices_of_an_installed_plug_in_are_not_written(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(store_help, "FILE", tmp_path / "help.json")
    monkeypatch.setattr(store_help, "entry_points", lambda group: ["one"])
    assert store_help.main() == 2
    assert not (tmp_path / "help.json").exists()
    assert capsys.readouterr().err.startswith("error: a plug-in is installed")
