"""Who is compared with whom, curves and summaries of runs whose numbers are known."""

import math

import numpy as np
import pytest

from mbrl_agent.search.policy_search import SearchOptions
from mbrl_agent.study.compare.curves import learning_curve
from mbrl_agent.study.compare.grouping import group_runs, notes_on, with_time_step
from mbrl_agent.study.compare.read_runs import find_runs
from mbrl_agent.study.compare.statistics import Reached
from mbrl_agent.study.compare.summaries import summarise
from mbrl_agent.study.compare.table import duration, markdown
from tests.support.made_runs import make_baseline_run, make_evaluations, make_run


def labels(runs, by=()):
    return {group.label: len(group.runs) for group in group_runs(runs, by)}


def test_groups_by_resampling_with_its_options(tmp_path):
    for seed in range(2):
        make_run(tmp_path / f"n{seed}", [0.0], seed=seed, resampling="none")
        make_run(tmp_path / f"i{seed}", [0.0], seed=seed, resampling="interpolated", resampling__ratio=0.3)
        make_run(tmp_path / f"j{seed}", [0.0], seed=seed, resampling="interpolated", resampling__ratio=0.7)
        make_baseline_run(tmp_path / f"b{seed}", [300], [0.0], seed=seed)
    make_evaluations(tmp_path / "a_seed1", [1], [[1]])
    found = labels(find_runs([tmp_path]))
    expected = {"interpolated:ratio=0.3": 2, "interpolated:ratio=0.7": 2, "none": 2, "a": 1, "sac": 2}
    assert found == expected
    assert list(found) == list(expected)


def test_a_default_is_named_beside_its_variants(tmp_path):
    for components in (2, 3, 5):  # 3 is the default
        options = {"resampling__components": components, "resampling__em_iterations": 1}
        make_run(tmp_path / f"m{components}", [0.0], resampling="mixture", **options)
    make_run(tmp_path / "i", [0.0], resampling="interpolated")
    make_run(tmp_path / "g", [0.0])
    assert list(labels(find_runs([tmp_path]))) == [
        "gaussian",
        "interpolated",
        *(f"mixture:components={components},em-iterations=1" for components in (2, 3, 5)),
    ]


def test_groups_by_other_keys_in_the_order_of_their_numbers(tmp_path):
    for steps in (1000, 20, 300):
        make_run(tmp_path / f"g{steps}", [0.0], search__steps=steps)
    make_run(tmp_path / "n", [0.0], search__steps=20, resampling="none")
    make_baseline_run(tmp_path / "b", [300], [0.0])
    runs = find_runs([tmp_path])
    assert list(labels(runs, ["search.steps"])) == [
        "search.steps=20", "search.steps=300", "search.steps=1000", "sac",
    ]  # fmt: skip
    assert labels(runs, ["resampling", "search.steps"])["none, search.steps=20"] == 1
    assert labels(runs, ["dynamics.fit-steps"])["dynamics.fit_steps=1500"] == 4
    with pytest.raises(ValueError, match=r"no run has the setting 'search.step'; did you mean search.steps?"):
        group_runs(runs, ["search.step"])


def test_labels_say_only_what_differs(tmp_path):
    for members in (2, 5):
        for rate in (0.01, 0.02):
            options = {"dynamics__members": members, "dynamics__fit_steps": 30, "search__learning_rate": rate}
            make_run(tmp_path / f"{members}-{rate}", [0.0], **options)
    runs = find_runs([tmp_path])
    assert list(labels(runs, ["resampling", "dynamics", "search.learning-rate"])) == [
        f"dynamics=ensemble:members={members}, search.learning_rate={rate}"
        for members in (2, 5)
        for rate in (0.01, 0.02)
    ]
    assert labels(runs, ["dynamics"]) == {f"dynamics=ensemble:members={members}": 2 for members in (2, 5)}
    assert labels(runs, ["policy"]) == {"policy=rbf": 4}


def test_mixed_environments_are_refused_unless_they_are_apart(tmp_path):
    make_run(tmp_path / "a", [0.0])
    make_run(tmp_path / "b", [0.0], env="Pendulum-v1")
    runs = find_runs([tmp_path])
    with pytest.raises(ValueError, match=r"different environments, CartPoleSwingUp-v0, Pendulum-v1"):
        group_runs(runs)
    assert labels(runs, ["env"]) == {"env=CartPoleSwingUp-v0": 1, "env=Pendulum-v1": 1}


def test_baselines_stay_apart_where_the_resampling_is_asked_for(tmp_path):
    make_run(tmp_path / "a", [0.0])
    make_run(tmp_path / "n", [0.0], resampling="none")
    for algorithm in ("sac", "ppo"):
        make_baseline_run(tmp_path / algorithm, [300], [0.0], algorithm=algorithm)
    runs, by_strategy = find_runs([tmp_path]), ["gaussian", "none", "ppo", "sac"]
    assert list(labels(runs, ["env", "resampling"])) == by_strategy  # the environment is that of all
    assert list(labels(runs, ["env", "algorithm"])) == by_strategy
    assert list(labels(runs, ["resampling"])) == by_strategy
    assert list(labels(runs, ["env"])) == ["env=CartPoleSwingUp-v0"]


def test_evaluations_of_the_same_name_in_two_places_are_not_mixed(tmp_path):
    for place in ("x/sac_seed0", "x/sac_seed1", "y/sac_seed0"):
        make_evaluations(tmp_path / place, [1], [[1]])
    assert labels(find_runs([tmp_path])) == {"x/sac": 2, "y/sac": 1}
    make_baseline_run(tmp_path / "z", [300], [0.0])
    assert labels(find_runs([tmp_path / "x", tmp_path / "z"])) == {"sac": 1, "x/sac": 2}


def test_notes_name_what_would_mislead(tmp_path):
    make_run(tmp_path / "a", [0.0], seed=1)
    make_run(tmp_path / "b", [0.0], seed=1, search__steps=7)
    make_run(tmp_path / "c", [0.0, 0.0], seed=2, trials=5, finished=False, eval_episodes=20)
    notes = "\n".join(notes_on(group_runs(find_runs([tmp_path])), []))
    assert f"gaussian: {tmp_path / 'c'} is unfinished, after 60 of 150 steps" in notes
    assert "more than one run of seed 1" in notes
    default = SearchOptions().steps
    assert f"differ in search.steps: {default}, 7 (--by resampling search.steps parts them)" in notes
    assert "differ in trials: 1, 5\n" in notes
    assert "evaluated by 20 episodes" in notes
    clean = group_runs(find_runs([make_run(tmp_path / "z", [0.0])]))
    assert notes_on(clean, []) == []


def test_the_duration_of_a_step_that_is_not_known(tmp_path):
    make_run(tmp_path / "a", [0.0])
    make_evaluations(tmp_path / "b", [1], [[1]])
    runs = find_runs([tmp_path])
    filled, notes = with_time_step(runs, None)
    assert [run.time_step for run in filled] == [0.1, 0.1]
    assert "as for the other runs" in notes[0]
    assert [run.time_step for run in with_time_step(runs, 0.05)[0]] == [0.1, 0.05]
    alone, notes = with_time_step([run for run in runs if run.time_step is None], None)
    assert alone[0].time_step is None
    assert "compared by environment steps" in notes[0]


def test_a_curve_of_four_whole_runs(tmp_path):
    for seed, middle in enumerate([0.1, 0.4, 0.6, 1.0]):
        make_run(tmp_path / f"{seed}", [0.0, middle, 1.0], seed=seed)
    curve = learning_curve(find_runs([tmp_path]), "success")
    np.testing.assert_allclose(curve.time, [3, 6, 9])
    np.testing.assert_allclose(curve.value, [0, 0.5, 1])
    assert curve.trials.tolist() == [1, 2, 3]
    assert curve.runs.tolist() == [4, 4, 4]
    assert curve.complete.all()
    assert curve.low[1] < 0.5 < curve.high[1]
    np.testing.assert_allclose(learning_curve(find_runs([tmp_path]), "reward").value, [0, 12.5, 25])


def test_a_curve_goes_on_over_what_is_left_and_says_so_and_ends_below_half(tmp_path):
    make_run(tmp_path / "a", [0.0], trials=4, finished=False)
    make_run(tmp_path / "b", [0.0, 0.2, 0.8], seed=1)
    make_run(tmp_path / "c", [0.0, 0.4, 0.9, 1.0], seed=2)
    make_run(tmp_path / "d", [], trials=4, seed=3, finished=False)  # nothing to say at any time
    curve = learning_curve(find_runs([tmp_path]), "success")
    np.testing.assert_allclose(curve.time, [3, 6, 9])
    np.testing.assert_allclose(curve.value, [0, 0.3, 0.85])
    assert curve.runs.tolist() == [3, 2, 2]
    assert curve.complete.tolist() == [True, False, False]


def test_a_run_that_ended_because_it_was_solved_keeps_its_last_value(tmp_path):
    make_baseline_run(tmp_path / "a", [300, 600], [0.95, 1.0])
    make_baseline_run(tmp_path / "b", [300, 600, 900, 1200], [0.0, 0.0, 0.95, 0.96], seed=1)
    curve = learning_curve(find_runs([tmp_path]), "success")
    np.testing.assert_allclose(curve.value, [0.475, 0.5, 0.975, 0.98])
    assert curve.runs.tolist() == [2, 2, 2, 2]
    assert curve.complete.tolist() == [True, True, False, False]
    assert curve.trials.tolist() == [1, 2, 3, 4]


def test_runs_with_other_times_of_evaluation_count_with_their_latest(tmp_path):
    make_baseline_run(tmp_path / "a", [300, 600], [0.2, 0.4], keep_going=True, budget=600)
    make_baseline_run(tmp_path / "b", [200, 600], [0.6, 0.8], keep_going=True, budget=600, eval_every=200)
    curve = learning_curve(find_runs([tmp_path]), "success")
    np.testing.assert_allclose(curve.time, [20, 30, 60])
    np.testing.assert_allclose(curve.value, [0.6, 0.4, 0.6])
    assert curve.complete.tolist() == [False, True, True]
    assert curve.trials.tolist() == [1, 1, 2]


def summary_of(path):
    (group,) = group_runs(find_runs([path]))
    return summarise(group)


def test_a_summary_counts_every_run(tmp_path):
    make_run(tmp_path / "a", [0.0, 0.95, 1.0, 0.5], seed=0)  # solved, and lost again
    make_run(tmp_path / "b", [0.0, 0.0, 0.97, 1.0], seed=1)
    make_run(tmp_path / "c", [0.0, 0.0, 0.0, 0.9], seed=2)
    make_run(tmp_path / "d", [], seed=3, trials=4, finished=False)
    make_run(tmp_path / "e", [0.0, 0.2], seed=4, trials=4, finished=False)
    found = summary_of(tmp_path)
    assert (found.runs, found.unfinished, found.judged, found.solved, found.still_solved) == (5, 2, 4, 2, 1)
    assert found.solved_share.value == 0.4
    quarter, median, three = found.interaction
    assert quarter == Reached(9.0)
    assert median == Reached(9.0, open=True)  # two runs got there, and all others count as later
    assert three == Reached(9.0, open=True)
    assert found.final_success.value == pytest.approx(0.7)
    assert found.clock == 40
    assert found.clock_to_solved[0] == Reached(30.0)


def test_a_group_that_never_solves_it(tmp_path):
    for seed in range(4):
        make_run(tmp_path / f"{seed}", [0.1, 0.2], seed=seed)
    found = summary_of(tmp_path)
    assert found.solved == 0
    assert found.interaction[1] == Reached(6.0, open=True)
    text = markdown([found], True, ["note | this"])
    row = next(line for line in text.splitlines() if line.startswith("| gaussian"))
    assert "| 0 of 4 [0-49 %] | 0 of 4 | > 6 s (> 6 s to > 6 s) | 0.20 [0.20, 0.20] | 20 s | > 20 s |" in row
    assert "- note \\| this" in text


def test_runs_that_do_not_tell_are_not_called_unsolved_but_killed_ones_are(tmp_path):
    make_evaluations(tmp_path / "untold", [10], None)
    make_run(tmp_path / "blind", [], eval_episodes=0, trials=1, finished=False)
    make_run(tmp_path / "mute", [0.0])
    (tmp_path / "mute" / "progress.csv").write_text("time/total_timesteps\n30\n")
    make_run(tmp_path / "killed", [], trials=1, finished=False)
    cells = {name: markdown([summary_of(tmp_path / name)], True, []).splitlines()[2].split(" | ")[2:6]
             for name in ("untold", "blind", "mute", "killed")}  # fmt: skip
    assert cells["untold"] == cells["blind"] == cells["mute"] == ["-", "-", "-", "-"]
    assert cells["killed"] == ["0 of 1 [0-79 %]", "0 of 1", "> 0 s (> 0 s to > 0 s)", "-"]


def test_a_label_cannot_break_the_table(tmp_path):
    make_evaluations(tmp_path / "a|b\n| c", [10, 20], [[0, 0], [1, 1]])
    found = summary_of(tmp_path)
    assert math.isnan(found.clock)
    assert found.clock_to_solved is None
    text = markdown([found], False, [])
    row = next(line for line in text.splitlines() if line.startswith("| a"))
    assert row.startswith("| a\\|b \\| c | 1 | 1 of 1 [21-100 %] | 1 of 1 | 20 (20 to 20) | 1.00 | - | - |")


@pytest.mark.parametrize(
    ("seconds", "text"), [(59.6, "60 s"), (90, "90 s"), (750, "12.5 min"), (9000, "2.5 h"), (math.nan, "-")]
)
def test_durations(seconds, text):
    assert duration(seconds) == text
