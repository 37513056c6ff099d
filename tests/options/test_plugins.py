"""Plug-ins: what is taken from a module, what is refused, and that nothing is left of it afterwards."""

import subprocess
import sys
import warnings
from importlib.metadata import EntryPoint

import pytest

from mbrl_agent import load_plugin, unload_plugin
from mbrl_agent.costs import COSTS
from mbrl_agent.options import plugins
from mbrl_agent.options.plugins import load_entry_points, loaded_plugins, plugin_of
from mbrl_agent.policies import POLICIES
from mbrl_agent.resampling import RESAMPLERS
from mbrl_agent.search.estimators import ESTIMATORS

HEAD = """
from dataclasses import dataclass
from typing import ClassVar
from mbrl_agent import Gaussian, NoResampling, Resampler, Linear, LinearPolicy, Reparameterization
from mbrl_agent.costs import TaskCost
"""
STRATEGY = """
@dataclass(frozen=True)
class {cls}(Gaussian):
    name: ClassVar[str] = {name!r}
    amount: float = 0.5
"""


def strategy(name, cls="Mine"):
    return HEAD + STRATEGY.format(name=name, cls=cls)


def test_the_classes_of_a_module_are_choices_until_it_is_unloaded(write_plugin):
    write_plugin("plug_a", strategy("mine") + STRATEGY.format(name="other-one", cls="Other"))
    assert "mine" not in RESAMPLERS.names()
    load_plugin("plug_a")
    load_plugin("plug_a")
    chosen = RESAMPLERS.resolve("mine:amount=0.25")
    assert str(chosen) == "mine:amount=0.25"
    assert {"mine", "other-one", "gaussian"} <= set(RESAMPLERS.names())
    assert "gaussian" in RESAMPLERS.own  # imported by the module, and not its own
    assert "mine" not in RESAMPLERS.own
    assert plugin_of(type(chosen)) == "plug_a"
    assert RESAMPLERS.build(RESAMPLERS.to_dict(chosen)) == chosen
    assert loaded_plugins()[-1] == "plug_a"
    unload_plugin("plug_a")
    assert "mine" not in RESAMPLERS.names()
    assert plugin_of(type(chosen)) is None
    with pytest.raises(ValueError, match=r"a class of your own.*load its module as a plug-in"):
        RESAMPLERS.to_dict(chosen)


def test_each_kind_goes_to_its_registry(write_plugin):
    source = """
@dataclass(frozen=True)
class Estimate(Reparameterization):
    name: ClassVar[str] = "same"

class MyPolicy(LinearPolicy):
    pass

@dataclass(frozen=True)
class MyOptions(Linear):
    name: ClassVar[str] = "mine"
    policy_class: ClassVar = MyPolicy

@dataclass(frozen=True)
class Cost(TaskCost):
    name: ClassVar[str] = "mine"
    def __call__(self, state, action):
        return state.square().sum(-1)
"""
    load_plugin(write_plugin("plug_b", HEAD + source))
    assert "same" in ESTIMATORS.names()
    assert POLICIES.get("MyPolicy") is POLICIES.get("mine")
    assert COSTS.names() == ["mine"]
    assert type(COSTS.resolve("mine")).__name__ == "Cost"
    assert "mine" not in RESAMPLERS.names()


def test_a_package_offers_what_its_init_imports_from_it(write_plugin, tmp_path):
    (tmp_path / "plug_p").mkdir()
    (tmp_path / "plug_p" / "inner.py").write_text(strategy("mine"))
    (tmp_path / "plug_p" / "__init__.py").write_text("from plug_p.inner import Mine")
    load_plugin("plug_p")
    assert RESAMPLERS.get("mine").__module__ == "plug_p.inner"
    load_plugin("plug_p.inner")  # the same class once more is no clash
    assert "mine" in RESAMPLERS.names()


FROZEN = HEAD + "@dataclass(frozen=True)\n"
BAD = {
    "the package's name": (strategy("gaussian"), r"is named 'gaussian', as Gaussian \(mbrl_agent"),
    "no dataclass": (HEAD + "class A(Gaussian):\n name='a'\n x: int = 1", "must be a dataclass"),
    "an option without a default": (
        FROZEN + "class A(NoResampling):\n name: ClassVar[str] = 'a'\n x: int",
        "has no default value",
    ),
    "an option of no type": (
        FROZEN + "class A(NoResampling):\n name: ClassVar[str]='a'\n x: object = 1",
        "option 'x' of A: options of type .* are not supported",
    ),
    "an unknown type": (
        FROZEN + "class A(NoResampling):\n name: ClassVar[str]='a'\n x: 'Nosuch' = 1",
        "the type of an option of A cannot be read",
    ),
    "abstract": (
        FROZEN + "class A(Resampler):\n name: ClassVar[str]='a'\n mixes_particles: ClassVar[bool] = 1",
        "lacks what Resampler asks for: __call__",
    ),
    "an attribute is missing": (
        FROZEN + "class A(Resampler):\n name: ClassVar[str]='a'",
        "no class attribute 'mixes_particles'",
    ),
    "a name that cannot be written": (strategy("a:b"), "a name is made of letters"),
    "no name": (HEAD + "class A(Gaussian): pass", "offers nothing"),
    "the package's policy class": (
        FROZEN + "class A(Linear):\n name: ClassVar[str]='a'",
        "is named 'LinearPolicy', as Linear",
    ),
    "a fault": ("1 / 0", "cannot be imported: ZeroDivisionError: division by zero"),
    "it leaves": ("raise SystemExit(3)", r"it ended the program \(SystemExit\)"),
    "it needs what is not there": ("import nosuch_module_at_all", "No module named 'nosuch_module_at_all'"),
    "its syntax": ("def", "cannot be imported: SyntaxError"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_a_bad_module_changes_nothing(case, write_plugin):
    source, message = BAD[case]
    before = RESAMPLERS.names(), POLICIES.names(), loaded_plugins()
    good = STRATEGY.format(name="good", cls="Good") if source.startswith(HEAD) and case != "no name" else ""
    write_plugin("plug_bad", source.replace(HEAD, HEAD + good))
    with pytest.raises((ValueError, TypeError), match=message) as error:
        load_plugin("plug_bad")
    assert "plug-in 'plug_bad'" in str(error.value)
    assert (RESAMPLERS.names(), POLICIES.names(), loaded_plugins()) == before


def test_a_name_of_another_plug_in_is_refused(write_plugin):
    load_plugin(write_plugin("plug_one", strategy("mine")))
    write_plugin("plug_two", strategy("mine"))
    with pytest.raises(ValueError, match=r"'mine', as Mine of the plug-in 'plug_one': give it another name"):
        load_plugin("plug_two")
    assert RESAMPLERS.get("mine").__module__ == "plug_one"


@pytest.mark.parametrize("name", ["", "my-module", "a/b.py", "mine.py", ".mine", "a..b", "nosuch_plugin"])
def test_what_is_no_name_of_a_module(name, write_plugin):
    with pytest.raises(ValueError, match=r"not the name of a module|cannot be found in"):
        load_plugin(name)


def test_what_is_no_text():
    with pytest.raises(TypeError, match="must be the name of a module"):
        load_plugin(3)


@pytest.fixture
def entry_points(monkeypatch):
    """A function that sets the entry points which are installed."""

    def install(**points):
        found = [EntryPoint(name, value, plugins.GROUP) for name, value in points.items()]
        monkeypatch.setattr(plugins, "entry_points", lambda group: [p for p in found if p.group == group])
        monkeypatch.setattr(plugins, "_entry_points_are_loaded", False)

    return install


def test_entry_points_are_loaded_when_a_registry_is_asked(write_plugin, entry_points):
    write_plugin("plug_e", strategy("mine"))
    entry_points(mine="plug_e")
    sys.path.append("")  # installed: found without a look at the current directory
    assert "plug_e" not in loaded_plugins()
    assert "mine" in RESAMPLERS.names()
    assert "plug_e" in loaded_plugins()


def test_broken_entry_points_are_warnings(write_plugin, entry_points):
    write_plugin("plug_good", strategy("mine"))
    write_plugin("plug_broken", "1 / 0")
    entry_points(bad="plug_broken", cls="plug_good:Mine", good="plug_good")
    with pytest.warns(RuntimeWarning, match=r"entry point '(bad|cls)'.*is left out") as found:
        assert "mine" in RESAMPLERS.names()
    assert len(found) == 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_entry_points()  # once is enough


def test_importing_the_package_loads_no_entry_points():
    code = (
        "import importlib.metadata as m\n"
        "found = m.entry_points\n"
        "def refuse(**of):\n"
        "    assert of.get('group') != 'mbrl_agent.plugins'\n"
        "    return found(**of)\n"
        "m.entry_points = refuse\n"
        "import mbrl_agent\n"
        "from mbrl_agent.options import plugins\n"
        "assert plugins.entry_points is refuse and not plugins._entry_points_are_loaded\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
