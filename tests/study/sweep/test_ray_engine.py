"""The engine on a Ray cluster: its logic with a stand-in for Ray, and a real cluster that loses a machine."""

import os
import sys
import threading
from types import SimpleNamespace

import pytest
import torch

from mbrl_agent.run import cli
from mbrl_agent.run.config import TrainConfig
from mbrl_agent.study.__main__ import main
from mbrl_agent.study.sweep import ray_engine
from mbrl_agent.study.sweep.cells import make_cells
from mbrl_agent.study.sweep.engine import AttemptEnding, Outcome
from mbrl_agent.study.sweep.grid import points_of
from mbrl_agent.study.sweep.ray_engine import RayEngine, attempt_on_ray, require_reachable
from tests.support.sweeps import TINY, cells, directories, troubled, wait_until
from tests.support.tiny_run import progress


def machine(cpus, gpus=None, alive=True):
    """As ray.nodes() tells: what a machine does not have is not named."""
    resources = {"CPU": cpus, "GPU": gpus, "memory": 1e9}
    return {"Alive": alive, "Resources": {name: n for name, n in resources.items() if n is not None}}


class FakeRay:
    """Tasks end when the test says so."""

    class exceptions:  # noqa: N801
        class RayError(Exception):
            pass

        class RayTaskError(RayError):
            pass

    def __init__(self):
        self.inits, self.options, self.results, self.cancelled, self.stubborn = [], [], {}, [], set()
        self.refused = {}
        self.machines = [machine(4)]
        self.shut_down = False

    def init(self, **options):
        self.inits.append(options)

    def nodes(self):
        return self.machines

    def remote(self, function):
        assert function is attempt_on_ray

        def with_options(**options):
            self.options.append(options)
            return SimpleNamespace(remote=self.start)

        return SimpleNamespace(options=with_options)

    def start(self, cell):
        if cell.config.seed in self.refused:
            raise self.refused[cell.config.seed]
        return f"task {cell.config.seed}"

    def wait(self, tasks, num_returns, timeout):
        assert tasks
        assert num_returns <= len(tasks)
        ended = [task for task in tasks if task in self.results][:num_returns]
        return ended, [task for task in tasks if task not in ended]

    def get(self, task):
        if isinstance(self.results[task], Exception):
            raise self.results[task]
        return self.results[task]

    def cancel(self, task, force):
        self.cancelled.append((task, force))
        if force or task not in self.stubborn:
            self.results[task] = KeyboardInterrupt()

    def shutdown(self):
        self.shut_down = True


@pytest.fixture
def ray(monkeypatch):
    fake = FakeRay()
    monkeypatch.setitem(sys.modules, "ray", fake)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.delenv("RAY_USAGE_STATS_ENABLED", raising=False)
    return fake


def test_outcomes(ray, tmp_path):
    engine = RayEngine(TrainConfig())
    found = cells(tmp_path, seeds=range(4), threads=2)
    for cell in found:
        engine.submit(cell)
    assert engine.collect(0.0) == []
    ray.results = {
        "task 0": Outcome(AttemptEnding.DONE),
        "task 1": ray.exceptions.RayTaskError("Traceback\nOSError: no space"),
        "task 2": ray.exceptions.RayError("the node\ndied"),
    }
    assert engine.collect(0.0) == [
        (found[0], Outcome(AttemptEnding.DONE)),
        (found[1], Outcome(AttemptEnding.CRASHED, "OSError: no space")),
        (found[2], Outcome(AttemptEnding.LOST, "the node died")),
    ]
    assert engine.collect(0.0) == []
    ray.results["task 3"] = Outcome(AttemptEnding.BUSY)
    assert engine.collect(0.0) == [(found[3], Outcome(AttemptEnding.BUSY))]
    assert engine.collect(0.0) == []  # nothing is left to wait for
    assert ray.options[0]["num_cpus"] == 2
    assert ray.options[0]["num_gpus"] == 0
    assert ray.options[0]["max_retries"] == 0
    assert ray.options[0]["name"] == found[0].directory.name


def test_what_ray_does_not_take_is_an_outcome_of_that_cell(ray, tmp_path):
    engine = RayEngine(TrainConfig())
    found = cells(tmp_path, seeds=range(4))
    ray.refused = {
        0: ray.exceptions.RayError("the head\nis gone" + "." * 999),
        1: RuntimeError("not initialised"),
        2: ConnectionError(),
    }
    for cell in found:
        engine.submit(cell)
    assert engine.collect(0.0) == [
        (found[0], Outcome(AttemptEnding.LOST, "the head is gone" + "." * 184)),
        (found[1], Outcome(AttemptEnding.LOST, "not initialised")),
        (found[2], Outcome(AttemptEnding.LOST, "ConnectionError")),
    ]
    ray.results["task 3"] = Outcome(AttemptEnding.DONE)
    assert engine.collect(0.0) == [(found[3], Outcome(AttemptEnding.DONE))]


def test_stop_cancels_and_kills_what_does_not_listen(ray, tmp_path):
    engine = RayEngine(TrainConfig())
    for cell in cells(tmp_path, seeds=range(2)):
        engine.submit(cell)
    ray.stubborn = {"task 1"}
    engine.stop()
    assert ray.cancelled == [("task 0", False), ("task 1", False), ("task 1", True)]
    assert ray.shut_down


def test_where_it_runs(ray, monkeypatch):
    monkeypatch.setattr(ray_engine, "require_reachable", lambda address: None)
    RayEngine(TrainConfig(), None, 3)
    assert (ray.inits[-1]["address"], ray.inits[-1]["num_cpus"]) == ("local", 3)
    RayEngine(TrainConfig(threads=2), None, 3)
    assert ray.inits[-1]["num_cpus"] == 6  # three cells of two threads each
    RayEngine(TrainConfig(threads=2))
    assert ray.inits[-1]["num_cpus"] is None
    RayEngine(TrainConfig(), "auto", 3)
    assert ray.inits[-1]["address"] == "auto"
    assert "num_cpus" not in ray.inits[-1]  # a running cluster has its own
    monkeypatch.setenv("RAY_ADDRESS", "host:1")
    RayEngine(TrainConfig())
    assert ray.inits[-1]["address"] == "host:1"
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"


@pytest.mark.parametrize(
    ("options", "wanted"),
    [({"threads": 5}, "5 CPUs"), ({"threads": 3, "device": "cuda"}, "3 CPUs and a GPU")],
)
def test_cells_for_which_no_machine_is_large_enough(ray, options, wanted):
    ray.machines = [machine(2, 1), machine(4), machine(8, 1, alive=False), machine(None)]
    RayEngine(TrainConfig(threads=4))
    RayEngine(TrainConfig(threads=2, device="cuda"))
    assert not ray.shut_down
    with pytest.raises(ValueError, match=f"Ray has no machine with {wanted}, which a cell takes with --thr"):
        RayEngine(TrainConfig(**options))
    assert ray.shut_down


def test_the_device_need_not_be_where_the_command_runs(ray, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    ray.machines = [machine(4)]
    words = ["sweep", "--resampling", "none", "--seeds", "0", "--out", str(tmp_path), *TINY]
    assert main([*words, "--engine", "ray", "--device", "cuda"]) == 2
    assert "Ray has no machine with a CPU and a GPU" in capsys.readouterr().err  # all else was accepted
    assert main([*words, "--engine", "ray", "--device", "cuda:0"]) == 2
    assert "--device cuda:0: Ray gives every cell a GPU of its own" in capsys.readouterr().err
    assert main([*words, "--device", "cuda"]) == 2
    assert "device 'cuda' is not there" in capsys.readouterr().err


@pytest.mark.parametrize("address", ["nonsense", "host:port", ":1", "host:99999"])
def test_an_address_that_is_none(address):
    with pytest.raises(ValueError, match="must be auto or HOST:PORT"):
        require_reachable(address)


def test_nobody_answers(ray, tmp_path, capsys):
    words = ["--resampling", "none", "--seeds", "0", "--out", str(tmp_path), *TINY]
    assert main(["sweep", *words, "--engine", "ray", "--address", "127.0.0.1:1"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("python -m mbrl_agent.study sweep: error: no Ray cluster at 127.0.0.1:1: ")
    assert error.count("\n") == 1


def test_ray_is_not_installed(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ray", None)
    words = ["--resampling", "none", "--seeds", "0", "--out", str(tmp_path), *TINY]
    assert main(["sweep", *words, "--engine", "ray"]) == 2
    error = capsys.readouterr().err
    assert "the ray engine needs Ray, pip install -e '.[cluster]'" in error
    assert error.count("\n") == 1


def test_a_task_that_is_cancelled_ends_its_process(tmp_path, monkeypatch):
    calm = troubled(tmp_path, monkeypatch, "time.sleep(300)")
    config = cli.parse([*TINY, "--env", "troubled:Troubled-v0"]).config
    (cell,) = make_cells(points_of(config, ["gaussian"]), [0], tmp_path / "sweep")

    def cancelled_here(seconds):
        if cell.resumable():
            assert cell.in_use()
            raise KeyboardInterrupt

    monkeypatch.setattr("mbrl_agent.study.sweep.cell_process.time", SimpleNamespace(
        sleep=cancelled_here, strftime=lambda form: ""))  # fmt: skip
    with pytest.raises(KeyboardInterrupt):
        attempt_on_ray(cell)
    assert not cell.in_use()
    assert not calm.exists()


@pytest.mark.slow
def test_a_machine_is_lost_in_the_middle(tmp_path, monkeypatch, capfd):
    """Two machines of one CPU each; one is killed while both are in the second trial of a cell."""
    pytest.importorskip("ray")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    from ray.cluster_utils import Cluster

    calm = tmp_path / "calm"
    assert calm == troubled(tmp_path, monkeypatch, f"while not Path({str(calm)!r}).exists(): time.sleep(0.1)")
    out = tmp_path / "sweep"
    options = [*TINY, "--env", "troubled:Troubled-v0"]
    words = ["--resampling", "gaussian", "none", *options]
    stuck = make_cells(points_of(cli.parse(options).config, ["gaussian", "none"]), [0], out)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        node, _ = (cluster.add_node(num_cpus=1) for _ in range(2))

        def lose() -> None:
            try:
                wait_until(lambda: all(cell.resumable() for cell in stuck), seconds=90)
                cluster.remove_node(node, allow_graceful=False)
                wait_until(lambda: not all(cell.in_use() for cell in stuck), seconds=30)
            finally:
                calm.touch()

        thread = threading.Thread(target=lose)
        thread.start()
        ray_words = ["--engine", "ray", "--address", cluster.address]
        status = main(["sweep", *words, "--seeds", "0-1", "--out", str(out), *ray_words])
        thread.join()
    finally:
        cluster.shutdown()
    said = capfd.readouterr().out
    assert status == 0, said
    assert said.count("seed 0: lost its machine, it will be tried again") == 1
    assert said.count("seed 0: resumed after trial 1") == 1
    whole = tmp_path / "whole"
    assert main(["sweep", *words, "--seeds", "0-1", "--out", str(whole), "--jobs", "1"]) == 0
    assert [path.name for path in directories(out)] == [path.name for path in directories(whole)]
    assert len(directories(out)) == 4
    for directory, expected in zip(directories(out), directories(whole), strict=True):
        assert progress(directory) == progress(expected)
        assert (directory / "agent.zip").read_bytes() == (expected / "agent.zip").read_bytes()
