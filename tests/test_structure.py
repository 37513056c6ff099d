"""The map of the house: which file may import which, and what lies at the top level.

The layers are the storeys of the package, from the top down. A module that is in no layer is a detour:
what it imports counts as imported by its users.
"""

import ast
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LAYERS = [
    ["train", "mbrl_agent.__main__"],
    ["mbrl_agent.study", "mbrl_agent.contract"],
    ["mbrl_agent.run"],
    ["mbrl_agent.agent", "mbrl_agent.wrappers"],
    ["mbrl_agent.search"],
    ["mbrl_agent.resampling"],
    ["mbrl_agent.gaussians", "mbrl_agent.dynamics", "mbrl_agent.policies", "mbrl_agent.costs"],
    [
        "mbrl_agent.adam",
        "mbrl_agent.errors",
        "mbrl_agent.features",
        "mbrl_agent.files",
        "mbrl_agent.options",
        "mbrl_agent.randomness",
        "mbrl_agent.standardization",
        "mbrl_agent.targets",
        "mbrl_agent.types",
        "mbrl_agent.version",
        "mbrl_agent.vjp",
    ],
]
"""The storeys, from the top down. Every module but the root, which is the face of the whole, has one."""
TOP_LEVEL = {"pyproject.toml", "README.md", "LICENSE", "mbrl_agent", "envs", "tests", "train.py"}

PURE = 4
"""Storeys from this index down compute; of `FOREIGN` they know nothing, but for the room `files`."""
FOREIGN = {
    "stable_baselines3", "gymnasium", "logging", "pathlib", "os", "io", "shutil", "tempfile", "yaml",
    "tensorboard", "matplotlib", "rich", "tqdm", "mbrl_agent.files",
}  # fmt: skip
EXCEPTIONS = {
    # a policy is one object that acts by `predict` and is searched as a pure function: users write one class,
    # for spaces, and find both in `agent.policy`. What Stable-Baselines3 and Gymnasium see of it is here
    "mbrl_agent.policies.acting": {"gymnasium", "stable_baselines3"},
    "mbrl_agent.options.fields": {"pathlib"},  # the value of an option may be a path
    "mbrl_agent.options.modules": {"os", "pathlib"},  # where a user's module lies
    "mbrl_agent.options.plugins": {"os"},
}

Graph = dict[str, set[str]]


def read_modules(root: Path) -> dict[str, str]:
    """Source of every module by its dotted name, packages without `.__init__`."""
    files = [root / "train.py", *(root / "mbrl_agent").rglob("*.py"), *(root / "envs").rglob("*.py")]
    names = {path: ".".join(path.relative_to(root).with_suffix("").parts) for path in files}
    return {name.removesuffix(".__init__"): path.read_text(encoding="utf-8") for path, name in names.items()}


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def statements(node: ast.AST, typing_only: bool) -> Iterator[ast.Import | ast.ImportFrom]:
    """Imports at any depth; those for the type checker alone are left out unless asked for."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child
        elif not is_type_checking(child):
            yield from statements(child, typing_only)
        else:
            branches = [*(child.body if typing_only else []), *child.orelse]  # type: ignore[attr-defined]
            yield from statements(ast.Module(branches, []), typing_only)


def targets(module: str, is_package: bool, node: ast.Import | ast.ImportFrom) -> list[str]:
    """Dotted names that a statement may import."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    parts = module.split(".")
    base = parts[: len(parts) - node.level + is_package] if node.level else []
    prefix = ".".join([*base, *([node.module] if node.module else [])])
    return [f"{prefix}.{alias.name}" for alias in node.names]


def import_graph(sources: dict[str, str], typing_only: bool = False) -> Graph:
    """Module -> modules of ours that it imports; a package that is not the importer's own comes along."""
    graph: Graph = {}
    for module, source in sources.items():
        is_package = any(name.startswith(f"{module}.") for name in sources)
        graph[module] = set()
        for node in statements(ast.parse(source), typing_only):
            for target in targets(module, is_package, node):
                # `from a.b import c`: c is a module, or a name inside the module a.b
                found = next((name for name in (target, target.rpartition(".")[0]) if name in sources), "")
                graph[module] |= {found} - {"", module}
                parent = found.rpartition(".")[0]
                if "." in parent and not f"{module}.".startswith(f"{parent}."):
                    graph[module].add(parent)
    return graph


def find_cycle(graph: Graph) -> list[str]:
    """The modules of one cycle in their order, or an empty list."""
    done: set[str] = set()

    def visit(module: str, trail: list[str]) -> list[str]:
        if module in trail:
            return [*trail[trail.index(module) :], module]
        if module in done:
            return []
        for imported in sorted(graph[module]):
            if cycle := visit(imported, [*trail, module]):
                return cycle
        done.add(module)
        return []

    return next((cycle for module in sorted(graph) if (cycle := visit(module, []))), [])


def layer_of(module: str) -> int | None:
    for depth, names in enumerate(LAYERS):
        if any(f"{module}.".startswith(f"{name}.") for name in names):
            return depth
    return None


def foreign_imports(sources: dict[str, str]) -> dict[str, set[str]]:
    """By module of a storey that computes: what it imports, the type checker's included, of `FOREIGN`."""
    found: dict[str, set[str]] = {}
    for module, source in sources.items():
        layer = layer_of(module)
        if layer is None or layer < PURE or f"{module}.".startswith("mbrl_agent.files."):
            continue
        is_package = any(name.startswith(f"{module}.") for name in sources)
        for node in statements(ast.parse(source), typing_only=True):
            for target in targets(module, is_package, node):
                names = {name for name in FOREIGN if f"{target}.".startswith(f"{name}.")}
                if names:
                    found.setdefault(module, set()).update(names)
    return found


def upward_imports(graph: Graph) -> list[str]:
    """`a -> b` for each module that imports one of a higher layer, itself or by a module in no layer."""
    found = []
    for module in sorted(graph):
        own = layer_of(module)
        if own is None:
            continue
        pending, seen = list(graph[module]), set()
        while pending:
            imported = pending.pop()
            if imported in seen:
                continue
            seen.add(imported)
            layer = layer_of(imported)
            if layer is None:
                pending += graph[imported]
            elif layer < own:
                found.append(f"{module} -> {imported}")
    return sorted(found)


# our own files ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("typing_only", [False, True])
def test_imports_have_no_cycle(typing_only):
    assert find_cycle(import_graph(read_modules(ROOT), typing_only)) == []


@pytest.mark.parametrize("typing_only", [False, True])
def test_imports_go_down(typing_only):
    assert upward_imports(import_graph(read_modules(ROOT), typing_only)) == []


@pytest.mark.parametrize(("room", "other"), [("envs", "mbrl_agent"), ("mbrl_agent", "envs")])
def test_environments_and_agent_do_not_know_each_other(room, other):
    graph = import_graph(read_modules(ROOT), typing_only=True)
    users = [m for m, imported in graph.items() if f"{m}.".startswith(f"{room}.")
             if any(f"{name}.".startswith(f"{other}.") for name in imported)]  # fmt: skip
    assert users == []


def test_storeys_that_compute_know_no_environments_files_or_logs():
    assert foreign_imports(read_modules(ROOT)) == EXCEPTIONS


def test_the_graph_sees_what_is_there():
    graph = import_graph(read_modules(ROOT))
    assert "mbrl_agent.dynamics" in graph["mbrl_agent.run.config"]
    assert {"mbrl_agent.run.config", "mbrl_agent.options"} <= graph["mbrl_agent.run.cli"]
    assert graph["train"] == {"mbrl_agent.run", "mbrl_agent.run.start"}


def test_every_module_has_a_storey():
    ours = [name for name in read_modules(ROOT) if name.startswith("mbrl_agent.")]
    assert [name for name in ours if layer_of(name) is None] == []


def test_the_top_level_holds_only_what_belongs_there():
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listing = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    names = {line.split("/")[0] for line in listing.splitlines()}
    if not names:
        pytest.skip("nothing is committed yet")
    assert {name for name in names if not name.startswith(".")} <= TOP_LEVEL


# the checks themselves -------------------------------------------------------------------------------------


def sources(**texts: str) -> dict[str, str]:
    return {"mbrl_agent": ""} | {
        f"mbrl_agent.{name.replace('__', '.')}": text for name, text in texts.items()
    }


def test_a_cycle_is_found():
    texts = sources(
        a="from mbrl_agent.b import x", b="import mbrl_agent.c", c="def f():\n from mbrl_agent import a"
    )
    assert find_cycle(import_graph(texts)) == ["mbrl_agent.a", "mbrl_agent.b", "mbrl_agent.c", "mbrl_agent.a"]


@pytest.mark.parametrize(
    "statement",
    [
        "from mbrl_agent.agent import ParticlePILCO",
        "from mbrl_agent import agent",
        "import mbrl_agent.agent as x",
        "from . import agent",
        "from .agent import ParticlePILCO",
        "def f():\n    from .agent import ParticlePILCO",
        "try:\n    from mbrl_agent.agent import *\nexcept ImportError:\n    pass",
        "if x:\n    from mbrl_agent.agent import y",
    ],
)
def test_an_upward_import_is_found(statement):
    graph = import_graph(sources(agent="", search=statement))
    assert upward_imports(graph) == ["mbrl_agent.search -> mbrl_agent.agent"]


def test_an_upward_import_from_inside_a_package_is_found():
    texts = sources(agent="", dynamics="from .. import agent", dynamics__base="from ..agent import x")
    expected = ["mbrl_agent.dynamics -> mbrl_agent.agent", "mbrl_agent.dynamics.base -> mbrl_agent.agent"]
    assert upward_imports(import_graph(texts)) == expected


def test_a_detour_does_not_hide_an_upward_import():
    texts = sources(agent="", search="import mbrl_agent.helper", helper="import mbrl_agent.agent")
    assert upward_imports(import_graph(texts)) == ["mbrl_agent.search -> mbrl_agent.agent"]


def test_the_package_of_an_imported_module_comes_along():
    texts = sources(
        agent="", search="import mbrl_agent.parts.one", parts="import mbrl_agent.agent", parts__one=""
    )
    assert upward_imports(import_graph(texts)) == ["mbrl_agent.search -> mbrl_agent.agent"]


@pytest.mark.parametrize(
    "room", ["search", "resampling", "gaussians", "dynamics", "policies", "options", "types"]
)
def test_a_foreign_import_is_found(room):
    texts = sources(
        files="import os", agent="import os", **{room: "if TYPE_CHECKING:\n    import os.path as p"}
    )
    assert foreign_imports(texts) == {f"mbrl_agent.{room}": {"os"}}


@pytest.mark.parametrize(
    "statement",
    ["from gymnasium import spaces", "import gymnasium.spaces", "def f():\n from gymnasium import Env"],
)
def test_every_way_of_a_foreign_import_is_found(statement):
    assert foreign_imports(sources(search=statement)) == {"mbrl_agent.search": {"gymnasium"}}


def test_imports_for_the_type_checker_are_told_apart():
    texts = sources(agent="", search="if TYPE_CHECKING:\n    from mbrl_agent.agent import x")
    assert upward_imports(import_graph(texts)) == []
    assert upward_imports(import_graph(texts, typing_only=True)) == ["mbrl_agent.search -> mbrl_agent.agent"]


def test_downward_imports_are_fine():
    texts = sources(
        agent="from mbrl_agent.search import x", search="from mbrl_agent.types import y", types=""
    )
    assert upward_imports(import_graph(texts)) == []
    assert find_cycle(import_graph(texts)) == []
