"""Which runs are found, what is read of them, and what is said of files that are broken."""

import math
import os
import zipfile

import numpy as np
import pytest

from mbrl_agent.run.directory import START, RunDirectory
from mbrl_agent.study.compare.grouping import group_runs
from mbrl_agent.study.compare.read_evaluations import group_directory
from mbrl_agent.study.compare.read_runs import find_runs, read_run
from mbrl_agent.study.compare.table import runs_table
from tests.support.made_runs import make_baseline_run, make_evaluations, make_run


def test_a_run_of_ours(tmp_path):
    run = read_run(make_run(tmp_path / "a", [0.0, 0.96, 0.4, 1.0], seed=3))
    assert (run.kind, run.label, run.env, run.time_step) == (
        "gaussian",
        "gaussian",
        "CartPoleSwingUp-v0",
        0.1,
    )
    assert run.steps.tolist() == [30, 60, 90, 120]
    assert run.trials.tolist() == [1, 2, 3, 4]
    assert run.success.tolist() == [0, 0.96, 0.4, 1]
    assert run.reward.tolist() == [0, 24, 10, 25]
    assert run.clock.tolist() == [10, 20, 30, 40]  # learning, evaluation and figures
    assert (run.solved_steps, run.solved_clock, run.holds) == (60, 20, True)
    assert (run.finished, run.keeps, run.budget, run.end_steps, run.end_clock) == (True, False, 120, 120, 40)
    assert run.settings["seed"] == 3


def test_95_of_100_solve_and_94_do_not(tmp_path):
    assert read_run(make_run(tmp_path / "a", [0.94, 0.95])).solved_steps == 60
    run = read_run(make_run(tmp_path / "b", [0.94, 0.94]))
    assert (run.solved_steps, run.solved_clock, run.holds) == (None, None, False)


def test_the_label_has_the_options_that_are_not_the_default(tmp_path):
    run = read_run(make_run(tmp_path / "a", [0.0], resampling="mixture", resampling__components=7))
    assert run.label == "mixture:components=7"
    assert run.kind == "mixture"


@pytest.mark.parametrize(("trials", "saved"), [(5, True), (2, False)])
def test_an_unfinished_run(tmp_path, trials, saved):
    run = read_run(make_run(tmp_path / "a", [0.1, 0.2], trials=trials, finished=saved))
    assert not run.finished
    assert run.budget == 30 * trials
    assert run.end_steps == 60


def test_a_run_that_was_killed_in_its_first_trial(tmp_path):
    run = read_run(make_run(tmp_path / "a", [], trials=3, finished=False))
    assert (len(run.steps), run.end_steps, run.end_clock, run.finished) == (0, 0, 0, False)
    assert not run.judged


def test_a_run_that_a_sweep_has_just_begun(tmp_path):
    begun = make_run(tmp_path / "a", [], trials=3, finished=False)
    RunDirectory(begun).make()
    RunDirectory(begun).rewind(START)
    before = make_run(tmp_path / "b", [], trials=3, finished=False)
    (before / "progress.csv").write_text("\n")  # as an earlier version left it
    assert [len(run.steps) for run in find_runs([tmp_path])] == [0, 0]


def test_the_table_of_runs_keeps_every_digit(tmp_path):
    make_baseline_run(tmp_path / "a", [1234567], [1.0], budget=1234567)
    text = runs_table(group_runs(find_runs([tmp_path]))).text()
    assert text.count("1234567,1234567,123456.7,123456.7,") == 1


def test_trials_without_evaluation_count_their_time(tmp_path):
    path = make_run(tmp_path / "a", [0.0, 0.5, 1.0])
    lines = (path / "progress.csv").read_text().splitlines()
    lines[2] = ",8.0,60,,,,0.5"
    (path / "progress.csv").write_text("\n".join(lines) + "\n")
    run = read_run(path)
    assert run.trials.tolist() == [1, 3]
    assert run.clock.tolist() == [10, 28.5]


def test_a_baseline_that_ended_because_it_was_solved(tmp_path):
    run = read_run(make_baseline_run(tmp_path / "a", [300, 600], [0.97, 1.0], seed=2))
    assert (run.kind, run.label, run.time_step, run.budget) == ("sac", "sac", 0.1, 3000)
    assert (run.finished, run.keeps, run.solved_steps) == (True, True, 300)
    steps = list(range(300, 3001, 300))
    whole = read_run(make_baseline_run(tmp_path / "b", steps, [0.0] * 10, options={"gamma": 0.5}))
    assert (whole.finished, whole.keeps, whole.label) == (True, False, "sac:gamma=0.5")
    killed = read_run(make_baseline_run(tmp_path / "c", [300], [0.0], finished=False))
    assert (killed.finished, killed.keeps) == (False, False)


def test_evaluations_of_an_eval_callback(tmp_path):
    run = read_run(make_evaluations(tmp_path / "tqc_seed4", [100, 200], [[0, 1, 0, 0], [1, 1, 1, 1]]))
    assert (run.kind, run.env, run.time_step, run.episodes) == ("tqc", None, None, 4)
    assert run.steps.tolist() == [100, 200]
    assert run.success.tolist() == [0.25, 1]
    assert run.reward.tolist() == [2.5, 10]
    assert run.solved_steps == 200
    assert np.isnan(run.clock).all()
    untold = read_run(make_evaluations(tmp_path / "other", [100], None))
    assert (untold.judged, untold.solved_steps, untold.reward.tolist()) == (False, None, [5])


@pytest.mark.parametrize(
    ("directory", "group"),
    [
        ("logs/sac_seed3", "logs/sac"),
        ("logs/sac/3", "logs/sac"),
        ("logs/sac/seed_3", "logs/sac"),
        ("logs/sac/run-12", "logs/sac"),
        ("logs/td3", "logs/td3"),
        ("logs/lr_0.001", "logs/lr_0.001"),
        ("logs/net_64", "logs/net_64"),
        ("logs/CartPole-v0", "logs/CartPole-v0"),
    ],
)
def test_the_group_of_a_directory(tmp_path, directory, group):
    assert group_directory(tmp_path / directory) == (tmp_path / group).resolve()


def test_runs_are_found_at_any_depth_once(tmp_path):
    make_run(tmp_path / "s" / "x_seed10", [0.0])
    make_run(tmp_path / "s" / "x_seed9", [0.0])
    make_baseline_run(tmp_path / "s" / "deep" / "down", [300], [0.0])
    make_evaluations(tmp_path / "s" / "x_seed9" / "checkpoints", [1], [[1]])  # belongs to the run
    make_evaluations(tmp_path / "s" / "logs", [1], [[1]])
    make_evaluations(tmp_path / "s" / "logs" / "best", [1], [[1]])
    (tmp_path / "s" / "config.yaml").write_text("anything: of a sweep\n")
    os.symlink(tmp_path / "s", tmp_path / "s" / "loop")
    found = [
        str(run.path.relative_to(tmp_path)) for run in find_runs([tmp_path / "s", tmp_path / "s" / "deep"])
    ]
    assert found == ["s/deep/down", "s/logs/best", "s/logs", "s/x_seed9", "s/x_seed10"]


def test_directories_without_runs(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"empty holds no run"):
        find_runs([tmp_path / "empty"])
    with pytest.raises(ValueError, match=r"nowhere is not a directory"):
        find_runs([tmp_path / "nowhere"])


HEADER = "time/total_timesteps,eval/success_rate,time/trial\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,b\n1,2\n", "has no column time/total_timesteps"),
        (HEADER + "30,0.5\n", "line 2: 2 cells for 3 columns"),
        (HEADER + "30,0.5,1\n60,many,1\n", "line 3: eval/success_rate cannot be 'many'"),
        (HEADER + "30,1.5,1\n", "line 2: eval/success_rate cannot be '1.5'"),
        (HEADER + "30,0.5,-1\n", "line 2: time/trial cannot be '-1'"),
        (HEADER + "inf,0.5,1\n", "line 2: time/total_timesteps cannot be 'inf'"),
        (HEADER + ",0.5,1\n", "line 2: time/total_timesteps is empty"),
        (HEADER + "60,0.5,1\n60,0.5,1\n", "line 3: time/total_timesteps must grow, got 60"),
        (b"\xff\xfe\x00", "is not a table"),
        (HEADER + '30,"0.5,1\n', "is not a table"),
    ],
)
def test_a_broken_progress(tmp_path, content, message):
    path = make_run(tmp_path / "a", [0.0]) / "progress.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=r"progress\.csv") as caught:
        find_runs([tmp_path])
    assert message in str(caught.value)


@pytest.mark.parametrize("content", ["a: [", "- list\n", "serach: {steps: 3}\n", "algorithm: dqn\n", "\x00"])
def test_a_broken_configuration(tmp_path, content):
    (make_run(tmp_path / "a", [0.0]) / "config.yaml").write_text(content)
    with pytest.raises(ValueError, match=r"config\.yaml"):
        find_runs([tmp_path])


def pickled():
    return np.array([{"a": 1}], dtype=object)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"timesteps": pickled()}, "does not hold numbers: not a plain array"),
        ({"results": pickled()}, "does not hold numbers: not a plain array"),
        ({"timesteps": np.array([200, 100])}, "timesteps must be growing"),
        ({"timesteps": np.array([[100, 200]])}, "timesteps must be growing"),
        ({"timesteps": np.array([0, 100])}, "timesteps must be growing"),
        ({"timesteps": np.array(["a", "b"])}, "timesteps does not hold numbers"),
        ({"results": np.ones((3, 2))}, "results must have a row of episodes for each of 2 evaluations"),
        ({"results": np.ones((2, 0))}, "results must have a row"),
        ({"results": np.full((2, 2), np.nan)}, "results holds a value that is not finite"),
        ({"successes": np.full((2, 2), 2)}, "successes must be true or false"),
        ({"successes": np.ones(2)}, "successes must have a row"),
    ],
)
def test_hostile_evaluations(tmp_path, changes, message):
    make_evaluations(tmp_path / "a", [100, 200], [[0, 1], [1, 1]], **changes)
    with pytest.raises(ValueError, match=r"evaluations\.npz cannot be read as evaluations") as caught:
        find_runs([tmp_path])
    assert message in str(caught.value)


def test_evaluations_that_are_no_archive_lack_an_array_or_are_a_bomb(tmp_path):
    path = tmp_path / "evaluations.npz"
    path.write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(ValueError, match="not a zip file"):
        read_run(tmp_path)
    np.savez(path, timesteps=np.array([1]))
    with pytest.raises(ValueError, match="no array 'results'"):
        read_run(tmp_path)
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("results.npy", "w") as member,
    ):
        for _ in range(5):
            member.write(bytes(2**26))
    assert path.stat().st_size < 2**20
    with pytest.raises(ValueError, match="is compressed or encrypted"):
        read_run(tmp_path)


def test_an_environment_that_is_not_here_has_no_time_step(tmp_path):
    run = read_run(make_run(tmp_path / "a", [0.0], env="Elsewhere-v3"))
    assert (run.env, run.time_step) == ("Elsewhere-v3", None)
    assert math.isclose(run.end_steps, 30)
