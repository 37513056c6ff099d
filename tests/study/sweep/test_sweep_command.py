"""Whole sweeps with processes of their own: continued, killed, crashed, interrupted, two at once."""

import signal
import threading

import pytest
import yaml

from mbrl_agent.run import cli
from mbrl_agent.run.directory import RunDirectory
from mbrl_agent.study.__main__ import main
from mbrl_agent.study.sweep.cells import make_cells
from mbrl_agent.study.sweep.grid import points_of
from mbrl_agent.study.sweep.request import read_requests
from mbrl_agent.study.sweep.scheduler import State, Track
from mbrl_agent.version import __version__
from tests.support.sweeps import TINY, directories, start_sweep, troubled, wait_until
from tests.support.tiny_run import progress

ENV = ["--env", "troubled:Troubled-v0"]


def sweep(out, *words, resampling=("gaussian",), seeds="0"):
    return main(["sweep", "--resampling", *resampling, "--seeds", seeds, "--out", str(out), *TINY, *words])


def attempts(out):
    """How often each cell was started."""
    return {path.name: path.read_text().count("--- ") for path in sorted(out.glob("*.log"))}


def contents(out):
    return {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}


def test_cells_are_ordinary_runs_and_finished_ones_are_skipped(tmp_path, capfd):
    out = tmp_path / "sweep"
    assert sweep(out, resampling=("none", "interpolated:0.25")) == 0
    assert capfd.readouterr().out.endswith(f"{out}: 2 done\n")
    (directory, _) = found = directories(out)
    assert [path.name.split("_")[0] for path in found] == ["interpolated-ratio-0.25", "none"]
    alone = tmp_path / "alone"
    words = [
        *TINY,
        "--quiet",
        "--logdir",
        str(alone),
        "--resampling",
        "interpolated",
        "--resampling.ratio",
        "0.25",
    ]
    assert cli.main(words) == 0
    (expected,) = alone.iterdir()
    assert (directory / "agent.zip").read_bytes() == (expected / "agent.zip").read_bytes()
    assert progress(directory) == progress(expected)

    before = contents(out)
    assert sweep(out, resampling=("none", "interpolated:0.25")) == 0
    assert contents(out) == before
    assert capfd.readouterr().out == f"{out}: 2 done\n"


def test_the_requests_are_recorded(tmp_path, monkeypatch):
    monkeypatch.setattr("mbrl_agent.study.sweep.command._execute", lambda arguments, cells, view: True)
    assert sweep(tmp_path, resampling=("none", "mixture:2,1"), seeds="0,3-4") == 0
    assert (
        sweep(
            tmp_path,
            "--jobs",
            "3",
            resampling=("none", "mixture:components=2,em-iterations=1"),
            seeds="0,3,4",
        )
        == 0
    )
    (entry,) = read_requests(tmp_path / "sweep.yaml")  # it asked for the same
    assert [strategy["name"] for strategy in entry["resampling"]] == ["none", "mixture"]
    assert entry["seeds"] == [0, 3, 4]
    assert entry["options"]["search.steps"] == 2
    assert "logdir" not in entry["options"]
    assert "seed" not in entry["options"]
    assert sweep(tmp_path, "--trials", "3") == 0
    assert [entry["seeds"] for entry in read_requests(tmp_path / "sweep.yaml")] == [[0, 3, 4], [0]]
    again = entry["command"].split()[3:]
    assert main(again) == 0
    assert len(yaml.safe_load((tmp_path / "sweep.yaml").read_text())) == 2


def test_a_killed_cell_is_resumed_and_ends_where_the_uninterrupted_one_ends(tmp_path, monkeypatch, capfd):
    calm = troubled(tmp_path, monkeypatch, "os.kill(os.getpid(), signal.SIGKILL)", once=True)
    assert sweep(tmp_path / "killed", *ENV, "--trials", "3") == 0
    said = capfd.readouterr().out
    assert "crashed, it will be tried again: killed by SIGKILL" in said
    assert "resumed after trial 1" in said
    assert list(attempts(tmp_path / "killed").values()) == [2]
    assert calm.exists()
    whole_words = [*TINY, *ENV, "--trials", "3", "--quiet", "--logdir", str(tmp_path / "whole")]
    assert cli.main(whole_words) == 0
    (killed,), (whole,) = directories(tmp_path / "killed"), directories(tmp_path / "whole")
    assert progress(killed) == progress(whole)
    assert (killed / "agent.zip").read_bytes() == (whole / "agent.zip").read_bytes()


def test_a_crash_takes_nobody_down(tmp_path, monkeypatch, capfd):
    calm = troubled(tmp_path, monkeypatch, "raise RuntimeError('no luck' + chr(10) + 'today')", seed=1)
    out = tmp_path / "sweep"
    assert sweep(out, *ENV, seeds="1,0") == 1
    captured = capfd.readouterr()
    assert captured.out.endswith(f"{out}: 1 failed, 1 done\n")
    assert captured.err.count("\n") == 1
    assert captured.err.startswith(
        "study: gaussian seed 1 failed: the environment raised RuntimeError: no luck today ("
    )
    assert "Error: the environment" not in captured.err
    good, bad = directories(out)
    assert (good / "agent.zip").exists()
    assert not (bad / "agent.zip").exists()
    assert attempts(out) == {f"{good.name}.log": 1, f"{bad.name}.log": 2}
    assert "Traceback" in (out / f"{bad.name}.log").read_text()

    calm.touch()  # the environment is mended
    assert sweep(out, *ENV, seeds="0-1") == 0
    assert attempts(out) == {f"{good.name}.log": 1, f"{bad.name}.log": 3}


def test_after_an_interrupt_the_cells_that_failed_are_named_too(tmp_path, monkeypatch, capsys):
    def execute(arguments, cells, view):
        view.tracks = [Track(cells[0], State.FAILED, error="no luck"), Track(cells[1], State.INTERRUPTED)]
        return False

    monkeypatch.setattr("mbrl_agent.study.sweep.command._execute", execute)
    assert sweep(tmp_path, seeds="0-1") == 130
    captured = capsys.readouterr()
    assert captured.out == ""
    failed, interrupted = captured.err.splitlines()
    assert failed.startswith("study: gaussian seed 0 failed: no luck (see ")
    assert interrupted.startswith("study: interrupted: 0 of 2 cells are done; go on with: ")


def test_cells_of_another_version_are_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("mbrl_agent.study.sweep.command._execute", lambda arguments, cells, view: True)
    assert sweep(tmp_path) == 0
    assert capsys.readouterr().err == ""
    for module in ("command", "request"):
        monkeypatch.setattr(f"mbrl_agent.study.sweep.{module}.__version__", "99.0")
    for _ in range(2):
        assert sweep(tmp_path) == 0
        other = f"{tmp_path} has cells of mbrl_agent {__version__}, and this is 99.0"
        assert capsys.readouterr().err == f"study: warning: {other}: their results may differ\n"
    entries = read_requests(tmp_path / "sweep.yaml")
    assert [entry["version"] for entry in entries] == [__version__, "99.0"]


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_sweep_leaves_nothing_running_and_goes_on(tmp_path, monkeypatch, how):
    calm = troubled(tmp_path, monkeypatch, "time.sleep(300)")
    out = tmp_path / "sweep"
    words = ["--resampling", "gaussian", "--seeds", "0", "--out", str(out), *TINY, *ENV]
    process = start_sweep(*words)
    wait_until(lambda: list(out.glob("*/checkpoints/trial_001.zip")))
    (directory,) = directories(out)
    (cell,) = make_cells(points_of(cli.parse([*TINY, *ENV]).config, ["gaussian"]), [0], out)
    assert cell.directory == directory
    assert cell.in_use()
    process.send_signal(how)
    _, error = process.communicate(timeout=120)
    if how is signal.SIGKILL:  # nobody is left to end the cell: it notices
        assert process.returncode == -how
        wait_until(lambda: not cell.in_use())
    else:
        assert process.returncode == 130
        assert error.count("\n") == 1
        start = "study: interrupted: 0 of 1 cells are done; go on with: python -m mbrl_agent.study sweep"
        assert error.startswith(
            f"{start} --seeds 0 --out {out} --resampling gaussian {' '.join([*TINY, *ENV])}"
        )
        assert not cell.in_use()
    assert cell.resumable()
    assert not cell.finished()
    calm.touch()
    if how is signal.SIGINT:
        assert sweep(out, *ENV) == 0
        assert cell.finished()


def test_two_sweeps_into_one_directory_share_the_work(tmp_path):
    words = ["--resampling", "none", "gaussian", "--seeds", "0", "--out", str(tmp_path), "--jobs", "1", *TINY]
    both = [start_sweep(*words) for _ in range(2)]
    for process in both:
        said, error = process.communicate(timeout=120)
        assert (process.returncode, error) == (0, "")
        assert said.endswith(f"{tmp_path}: 2 done\n")
    assert len(read_requests(tmp_path / "sweep.yaml")) in (1, 2)
    for directory in directories(tmp_path):
        assert len(list(directory.glob("events.*"))) == 1  # nobody began it a second time
        assert len(progress(directory)) == 2


def test_a_cell_killed_before_its_first_checkpoint_begins_afresh(tmp_path):
    (cell,) = make_cells(points_of(cli.parse(TINY).config, ["gaussian"]), [0], tmp_path)
    files = RunDirectory(cell.directory)
    files.make()
    files.progress.write_text("left,over\n1,2\n")
    files.new_event_file().write_text("left over")
    files.checkpoint(1).with_suffix(".json").write_text("{}")
    assert sweep(tmp_path) == 0
    assert len(list(cell.directory.glob("events.*"))) == 1
    rows = progress(cell.directory)
    assert len(rows) == 2
    assert "left" not in rows[0]


def test_it_runs_outside_the_main_thread_too(tmp_path):
    status = []
    words = ["--trials", "1", "--eval-episodes", "1"]
    thread = threading.Thread(target=lambda: status.append(sweep(tmp_path, *words)))
    thread.start()
    thread.join(120)
    assert status == [0]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "missing --seeds and --out, which must be given"),
        (["--resampling", "gausian"], "did you mean 'gaussian'"),
        (["--resampling", "none", "none"], "'none' is given twice"),
        (
            ["--resampling", "interpolated:2"],
            "resampling.ratio: must be from 0 to 1, got 2.0 (in 'interpolated:2')",
        ),
        (["--resampling", "mixture:2,1,uniform,false,false,0"], "cannot read"),
        (["--seeds", "9-1"], "ends below its begin"),
        (["--seeds", "1,0-3"], "seed 1 is given twice"),
        (["--seed", "3"], "--seed: a sweep takes --seeds"),
        (["--seed=3"], "--seed: a sweep takes --seeds"),
        (["--logdir", "x"], "--logdir: the cells lie in the directory of --out"),
        (["--resume", "x"], "--resume: give the command of the sweep again"),
        (["--no-quiet"], "--no-quiet: the cells of a sweep are always quiet"),
        (["--resampling.ratio", "0.5"], "--resampling.ratio: write a strategy's options with its name"),
        (["--search.step", "5"], "unknown option --search.step; did you mean --search.steps?"),
        (["--trials", "x"], "--trials: expected a whole number, got 'x'"),
        (["stray"], "unexpected argument 'stray'"),
        (["--jobs", "0"], "--jobs: must be at least 1, got 0"),
        (["--jobs", "x"], "--jobs: expected a whole number, got 'x'"),
        (["--retries", "-1"], "--retries: must be at least 0"),
        (["--engine", "slurm"], "--engine: expected one of local, ray, got 'slurm'"),
        (["--address", "auto"], "--address: belongs to the ray engine"),
        (["--env", "Nowhere-v3"], "cannot be made"),
        (["--estimator", "likelihood-ratio"], "estimator 'likelihood-ratio'"),
        (["--config", "nowhere.yaml"], "nowhere.yaml cannot be read"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_made(tmp_path, capsys, words, message):
    out = tmp_path / "sweep"
    given = {word for word in words if word in ("--resampling", "--seeds")}
    if words:
        words = [*words, "--out", str(out)]
        words += [] if "--resampling" in given else ["--resampling", "gaussian"]
        words += [] if "--seeds" in given else ["--seeds", "0"]
    assert main(["sweep", *words]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("python -m mbrl_agent.study sweep: error: ")
    assert captured.err.count("\n") == 1
    assert message in captured.err
    assert not out.exists()


def test_a_directory_that_is_none(tmp_path, capsys):
    (tmp_path / "file").touch()
    assert sweep(tmp_path / "file") == 2
    assert "is not a directory" in capsys.readouterr().err
    assert sweep(tmp_path / "file" / "below") == 2
    assert "Not a directory" in capsys.readouterr().err
    (tmp_path / "config.yaml").touch()
    assert sweep(tmp_path) == 2
    assert "is the directory of a run" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["a: 1", "- 1", "{"])
def test_a_damaged_record(tmp_path, capsys, text):
    (tmp_path / "sweep.yaml").write_text(text)
    assert sweep(tmp_path) == 2
    assert "sweep.yaml" in capsys.readouterr().err


def test_help_has_examples(capsys):
    assert main(["sweep", "--help"]) == 0
    text = capsys.readouterr().out
    assert all(word in text for word in ("--seeds 0-19", "--engine ray", "detached-mixture", "exit status"))


def test_options_of_train_belong_to_sweep_alone(capsys):
    assert main(["landscape", "--untrained", "--trials", "3"]) == 2
    assert "unknown option --trials; did you mean --trial?" in capsys.readouterr().err
