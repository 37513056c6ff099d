"""What `import mbrl_agent` offers, and that it costs nothing before it is asked for."""

import ast
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import mbrl_agent
import mbrl_agent.study

ROOT = Path(__file__).resolve().parent.parent
LAZY = [mbrl_agent, mbrl_agent.study]


def run_alone(code: str, **variables: str) -> list[str]:
    """The words that a process prints which has imported nothing."""
    environment = {key: value for key, value in os.environ.items() if key != "MPLBACKEND"}
    environment |= {"PYTHONPATH": str(ROOT), **variables}
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    return result.stdout.split()


def told_to_type_checkers(module: ModuleType) -> dict[str, str]:
    """Names that are imported under `if TYPE_CHECKING`, and from which module."""
    tree = ast.parse(Path(module.__file__).read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    return {alias.name: node.module for node in block.body for alias in node.names}


@pytest.mark.parametrize("module", LAZY)
def test_type_checkers_are_told_what_is_there(module):
    homes = {name: f"{module.__name__}.{home}" for name, home in module._MODULE_OF.items()}
    assert told_to_type_checkers(module) == homes
    assert sorted({*homes, "__version__"} & {*homes, *module.__all__}) == sorted(module.__all__)


@pytest.mark.parametrize("module", LAZY)
def test_every_export_is_there_and_listed(module):
    for name in module.__all__:
        assert getattr(module, name) is not None
    assert set(module.__all__) <= set(dir(module))
    names: dict[str, object] = {}
    exec(f"from {module.__name__} import *", names)
    assert set(module.__all__) <= set(names)


@pytest.mark.parametrize("name", ["Nothing", "nothing", "_nothing", "__wrapped__", "no such.module"])
@pytest.mark.parametrize("module", LAZY)
def test_what_is_not_there_is_no_attribute(module, name):
    assert not hasattr(module, name)


def test_rooms_and_choices_are_attributes_without_an_import_of_their_own():
    code = "import mbrl_agent; print(mbrl_agent.dynamics.base.__name__, mbrl_agent.KernelTangent.name)"
    assert run_alone(code) == ["mbrl_agent.dynamics.base", "kernel-tangent"]


def test_a_plug_in_of_a_process_that_imports_no_more_has_all_kinds():
    code = """if True:
        import mbrl_agent
        try: mbrl_agent.load_plugin("json")
        except ValueError as error: print(error)
    """
    bases = {"Resampler", "Estimator", "DynamicsOptions", "PolicyOptions", "Rollout"}
    assert bases <= {word.strip(",") for word in run_alone(code)}


def test_the_import_of_the_root_imports_no_torch():
    code = (
        "import sys, mbrl_agent, mbrl_agent.study; print([m for m in ('torch', 'numpy') if m in sys.modules])"
    )
    assert run_alone(code) == ["[]"]


def test_the_agent_imports_no_drawing_tables_or_progress_bars_beside_what_stable_baselines3_does():
    code = """if True:
        import sys, stable_baselines3
        before = set(sys.modules)
        from mbrl_agent import ParticlePILCO
        heavy = {"matplotlib", "pandas", "PIL", "pygame", "tqdm", "rich", "envs", "mbrl_agent.run"}
        print(sorted(heavy & (set(sys.modules) - before)))
    """
    assert run_alone(code) == ["[]"]


def test_a_backend_that_is_nowhere_does_not_disturb_stable_baselines3():
    """Whatever part of the package is imported first: older versions of it import matplotlib."""
    code = """if True:
        import sys
        class Older:
            def find_spec(self, name, *args):
                if name == "stable_baselines3":
                    import matplotlib.pyplot
        sys.meta_path.insert(0, Older())
        import mbrl_agent.policies.base
        print("stable_baselines3" in sys.modules)
    """
    assert run_alone(code, MPLBACKEND="module://of_a_notebook.backend") == ["True"]
