"""What all tests share: settings of the libraries, how many processes the tests run in, fixtures."""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings

from mbrl_agent.options.plugins import loaded_plugins, unload_plugin
from tests.support.tiny_run import quick_figures, tiny
from tests.support.workers import workers

# the tensors of the tests are small: a second thread only waits for the first, here and in child processes
torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"

# the same examples each time, however slow the machine: a failure is that of the change, not of luck or load
settings.register_profile(
    "same", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("same")


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Answer `-n auto`, which pyproject.toml asks for."""
    return workers(config)


@pytest.fixture(scope="module")
def quickly() -> Iterator[None]:
    """Runs in this module draw no figures."""
    with quick_figures():
        yield


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a tiny run without figures to which nothing happened; not to be changed."""
    run = tiny(tmp_path_factory.mktemp("undisturbed"))
    with quick_figures():
        run.run()
    return run.directory


@pytest.fixture
def write_plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], str]]:
    """A function that writes a module (name, source) into the current directory; plug-ins are undone."""
    before, modules = loaded_plugins(), set(sys.modules)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))

    def write(name: str, source: str) -> str:
        Path(f"{name}.py").write_text(source)
        return name

    yield write
    for name in loaded_plugins():
        if name not in before:
            unload_plugin(name)
    for name in set(sys.modules) - modules:
        if str(getattr(sys.modules[name], "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]
