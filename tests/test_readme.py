"""What the README and the documents say: the Python in it runs, the commands parse, the links hold."""

import importlib
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import unquote

import gymnasium
import pytest
import torch

import mbrl_agent
from mbrl_agent import Ensemble, ParticlePILCO, SearchOptions
from mbrl_agent.__main__ import COMMANDS
from mbrl_agent.contract import check_resampler
from mbrl_agent.run import cli
from mbrl_agent.run.commands import command_line
from mbrl_agent.run.config import TrainConfig
from mbrl_agent.run.help_page import GROUPS, asks_for_help
from mbrl_agent.study.commands import load_command
from mbrl_agent.study.sweep.grid import read_grid

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
DOCUMENTS = [README, *sorted((ROOT / ".github").rglob("*.md"))]
PROGRAMS = {
    ("python", "train.py"): "train",
    ("python", "-m", "mbrl_agent.study"): "study",
    ("python", "-m", "mbrl_agent.contract"): "contract",
    ("python", "-m", "mbrl_agent"): "",
    ("mbrl-agent",): "",
}
"""How the programs are called, and the command that each call stands for; a longer call comes first."""
ELSEWHERE = ("python -m venv", "python -m tests.benchmarks.", "python -m mbrl_agent.study.store_help")
"""Commands of others, and those for contributors, which have tests of their own."""
PLACEHOLDERS = {"...", "COMMAND", "NAME"}
BLOCK = re.compile(r"(?:`(\w+)\.py`:\n\n)?```python\n(.*?)```", re.DOTALL)
FENCE = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\(([^)\s]+)\)")
STEPS = 200
"""Environment steps that the README's agent learns from here; it asks for more."""


def python_blocks() -> list[tuple[str, str]]:
    """(module, source) of each block, in order; the module is the file that the text before names, or ""."""
    return BLOCK.findall(README.read_text())


def commands(document: Path) -> Iterator[str]:
    """The command lines in indented blocks and between backticks."""
    text = FENCE.sub("", document.read_text().replace("\\\n", " "))
    lines = re.findall(r"^ {4,}(\S.*)$", text, re.MULTILINE)
    lines += [" ".join(words.split()) for words in re.findall(r"`([^`]+)`", text)]
    for line in lines:
        for part in line.split(" && "):
            if part.startswith(("python ", "mbrl-agent ")) and not part.startswith(ELSEWHERE):
                words = shlex.split(part, comments=True)
                if not PLACEHOLDERS.intersection(words) and tuple(words) not in PROGRAMS:
                    yield shlex.join(words)


ALL_COMMANDS = sorted({line for document in DOCUMENTS for line in commands(document)})


def parse(line: str) -> None:
    """Do with the words of a command line what the program does before it begins to work.

    Raises:
        ValueError: A word is wrong; SystemExit where it is one of a study's.
    """
    words = shlex.split(line)
    call = next(call for call in PROGRAMS if tuple(words[: len(call)]) == call)
    command, rest = PROGRAMS[call], words[len(call) :]
    if not command:
        command, *rest = rest
    if asks_for_help([command, *rest]):
        assert rest[1:] == [] or rest[1] in GROUPS, line
    elif command == "train":
        cli.parse(rest)
    elif command == "contract":
        mbrl_agent.load_plugin(rest[0])
    elif command == "study":
        parse_study(rest)
    else:
        command_line.parse_command(importlib.import_module(COMMANDS[command]), rest, command)


def parse_study(words: list[str]) -> None:
    name, *rest = words
    options = command_line.parse_command(load_command(name), rest, f"study {name}")
    if name == "sweep":
        assert read_grid(options.train_options, options.resampling).points
    elif name == "systems":
        assert read_grid(["--preset", *options.presets, *options.train_options], []).points
    elif name == "baseline":
        assert options.config.steps


@pytest.fixture
def scratch(
    write_plugin: Callable[[str, str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Work in a directory with nothing but the modules that the README lets one write, and a run `runs/X`."""
    for module, source in python_blocks():
        if module:
            write_plugin(module, source)
    Path("runs/X").mkdir(parents=True)
    TrainConfig().save(Path("runs/X/config.yaml"))
    monkeypatch.syspath_prepend(tmp_path)
    known = set(gymnasium.registry)
    yield
    for name in set(gymnasium.registry) - known:
        del gymnasium.registry[name]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Defaults that take seconds; the README's agent learns from fewer steps."""
    changed = {SearchOptions: {"steps": 2, "num_particles": 30, "candidates": 2}, Ensemble: {"fit_steps": 10}}
    for options, values in changed.items():
        names = options.__init__.__code__.co_varnames[1:]
        defaults = dict(zip(names, options.__init__.__defaults__ or (), strict=False)) | values
        monkeypatch.setattr(options.__init__, "__defaults__", tuple(defaults.values()))
    learn = ParticlePILCO.learn

    def learn_less(agent: ParticlePILCO, total_timesteps: float, **others: object) -> ParticlePILCO:
        return learn(agent, min(STEPS, total_timesteps), **others)

    monkeypatch.setattr(ParticlePILCO, "learn", learn_less)


def test_the_two_commands_are_there_literally():
    lines = README.read_text().splitlines()
    assert "    pip install -e . && python train.py" in lines
    assert "    pip install -e '.[test]' && pytest" in lines


@pytest.mark.usefixtures("scratch", "small")
def test_the_python_runs_from_top_to_bottom(capsys):
    names: dict[str, object] = {"__name__": "readme"}
    for module, source in python_blocks():
        if module:
            importlib.import_module(module)
        else:
            exec(compile(source, str(README), "exec"), names)
    agent = names["agent"]
    assert isinstance(agent, ParticlePILCO)
    assert (agent.trials, agent.num_timesteps) == (2, STEPS)
    printed = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in printed] == ["none", "gaussian"]


@pytest.mark.usefixtures("scratch")
@pytest.mark.parametrize("line", ALL_COMMANDS)
def test_commands_parse(line):
    parse(line)


def test_wrong_commands_do_not_parse():
    for line in (
        "python train.py --resampling interpolate",
        "mbrl-agent evaluate runs/X --noise 2",
        "python -m mbrl_agent.study sweep --seeds 0 --out x --search.rate 1",
        "python train.py --help resample",
    ):
        with pytest.raises((ValueError, AssertionError)):
            parse(line)


def test_the_readme_shows_every_command():
    shown = {line.split()[1] for line in commands(README) if line.startswith("mbrl-agent")}
    assert set(COMMANDS) - {"train", "study"} <= shown


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_hold(document):
    for target in LINK.findall(document.read_text()):
        if not target.startswith(("http://", "https://", "#")):
            path = unquote(target.partition("#")[0])
            assert (document.parent / path).exists(), f"{document.name} links to {target}"


@pytest.mark.usefixtures("scratch")
def test_the_strategy_keeps_the_contract_and_pairs_particles():
    mbrl_agent.load_plugin("my_module")
    strategy = importlib.import_module("my_module").Antithetic()
    check_resampler(strategy)
    for count in (30, 31):  # an odd number, too
        cloud, noise = torch.randn(2, count, 3, generator=torch.Generator().manual_seed(0))
        drawn = strategy(mbrl_agent.Prediction(cloud, cloud), cloud, noise, None).particles
        assert drawn.shape == cloud.shape
        pairs = drawn[: count // 2] + drawn[(count + 1) // 2 :]
        torch.testing.assert_close(pairs, 2 * cloud.mean(0).expand_as(pairs))


def lint(*words: str) -> str:
    """What a linter finds wrong in the strategy, given on its standard input where it takes one."""
    source = next(source for module, source in python_blocks() if module == "my_module")
    result = subprocess.run(
        [sys.executable, "-m", *words], input=source, cwd=ROOT, capture_output=True, text=True, check=False
    )
    return "" if result.returncode == 0 else result.stdout + result.stderr


def test_the_strategy_passes_the_linter():
    assert lint("ruff", "check", "--stdin-filename", "my_module.py", "--ignore", "D100", "-") == ""
    assert lint("ruff", "format", "--check", "--stdin-filename", "my_module.py", "-") == ""


@pytest.mark.slow  # without a cache mypy reads all of torch
@pytest.mark.usefixtures("scratch")
def test_the_strategy_passes_the_type_checker(tmp_path):
    assert lint("mypy", str(tmp_path / "my_module.py")) == ""
