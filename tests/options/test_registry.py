"""The registry: discovery, look-up, and plain data back and forth."""

import dataclasses
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import mbrl_agent
from mbrl_agent.options import build
from mbrl_agent.options.registry import Registry
from mbrl_agent.resampling import RESAMPLERS, Gaussian, Interpolated, Mixture, NoResampling
from mbrl_agent.run.config import CHOICES

EVERY_CLASS = [(key, name) for key, registry in CHOICES.items() for name in registry.names()]

STRATEGIES = """
from dataclasses import dataclass
from typing import ClassVar
from {package}.base import Base, Shared

@dataclass(frozen=True)
class {cls}(Base):
    name: ClassVar[str] = {name!r}
    strength: float = 1.0
"""
BASE = """
from dataclasses import dataclass

@dataclass(frozen=True)
class Base:
    pass

@dataclass(frozen=True)
class Shared(Base):
    pass
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An importable package with a base class and one strategy."""
    folder = tmp_path / f"strategies_{tmp_path.name.replace('-', '_')}"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "base.py").write_text(BASE)
    add_strategy(folder, "first")
    monkeypatch.syspath_prepend(str(tmp_path))
    return folder


def add_strategy(folder: Path, name: str, module: str | None = None) -> None:
    source = STRATEGIES.format(package=folder.name, cls=name.capitalize(), name=name)
    (folder / f"{module or name}.py").write_text(source)


def registry_of(folder: Path) -> Registry:
    base = __import__(f"{folder.name}.base", fromlist=["Base"]).Base
    return Registry("strategy", folder.name, base)


def test_adding_a_file_adds_a_name(package):
    assert registry_of(package).names() == ["first"]
    add_strategy(package, "another")
    sys.modules.pop(f"{package.name}.another", None)
    assert registry_of(package).names() == ["another", "first"]


def test_classes_without_a_name_of_their_own_are_not_choices(package):
    assert {cls.__name__ for cls in registry_of(package).classes.values()} == {"First"}


def test_two_classes_of_one_name_are_refused(package):
    add_strategy(package, "first", module="second")
    with pytest.raises(ValueError, match=r"two strategy classes are named 'first'"):
        registry_of(package).names()


def test_the_four_strategies_of_the_paper_are_there():
    paper = {"none": NoResampling, "gaussian": Gaussian, "interpolated": Interpolated, "mixture": Mixture}
    assert paper.items() <= RESAMPLERS.classes.items()


@pytest.mark.parametrize(("key", "name"), EVERY_CLASS)
def test_every_choice_is_a_frozen_dataclass_that_works_without_arguments(key, name):
    instance = CHOICES[key].resolve(name)
    assert instance.name == name
    assert dataclasses.is_dataclass(instance)
    assert type(instance).__dataclass_params__.frozen
    assert CHOICES[key].resolve(instance) is instance


def test_resolve_refuses_other_types():
    with pytest.raises(
        TypeError, match=r"resampling must be a name .*gaussian.* or an instance of Resampler, not int"
    ):
        RESAMPLERS.resolve(3)


def test_an_unknown_name_lists_the_known_and_the_nearest():
    with pytest.raises(
        ValueError, match=r"unknown resampling 'gausian': choose from .*gaussian, .*mean 'gaussian'"
    ):
        RESAMPLERS.get("gausian")


@pytest.mark.parametrize(("key", "name"), EVERY_CLASS)
def test_plain_data_gives_the_instance_back(key, name):
    registry = CHOICES[key]
    instance = registry.resolve(name)
    data = registry.to_dict(instance)
    assert data.pop("name") == name
    assert build(registry.get(name), key, key, data) == instance


def test_a_new_file_is_enough_for_a_strategy(tmp_path):
    """A copy of the package with one more file: the class is an attribute of the room and of the root."""
    root = Path(mbrl_agent.__file__).parent
    shutil.copytree(root, tmp_path / "mbrl_agent", ignore=shutil.ignore_patterns("__pycache__"))
    text = (root / "resampling" / "none.py").read_text()
    text = text.replace("class NoResampling", "class Idle").replace('= "none"', '= "idle"')
    (tmp_path / "mbrl_agent" / "resampling" / "idle.py").write_text(text)
    program = (
        "import mbrl_agent, mbrl_agent.resampling as room\n"
        "from mbrl_agent.resampling import Idle\n"
        "assert mbrl_agent.Idle is room.Idle is Idle is room.RESAMPLERS.get('idle')\n"
        "for module in (mbrl_agent, room):\n"
        "    assert not hasattr(module, 'Idler') and not hasattr(module, 'idler')\n"
    )
    search = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=search, check=False)
    assert done.returncode == 0
