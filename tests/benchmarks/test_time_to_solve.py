"""The command that tells seconds from nothing to solved: it takes turns, and stops where it is solved."""

import pytest

from tests.benchmarks import time_to_solve
from tests.benchmarks.time_to_solve import main, read_setting

TINY = "search.steps=1,search.candidates=1,search.num_particles=10,dynamics.fit_steps=1,eval_episodes=2"


def test_a_setting_is_options_of_a_run():
    setting = read_setting("search.steps=7,dynamics=gp")
    assert (setting.search.steps, setting.dynamics.name, setting.gradient_probe) == (7, "gp", 0)
    assert read_setting("defaults").search.steps == 150
    with pytest.raises(ValueError, match="stpes"):
        read_setting("search.stpes=7")


def test_settings_take_turns(monkeypatch, capsys):
    monkeypatch.setattr(time_to_solve, "MOST_TRIALS", 1)
    other = f"{TINY},search.horizon=3"
    assert main(["4,5", TINY, other]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:3] for line in lines[:4]] == [
        [TINY, "seed", "4"], [other, "seed", "4"], [other, "seed", "5"], [TINY, "seed", "5"],
    ]  # fmt: skip
    assert all("solved after   inf s of interaction" in line for line in lines)
    assert [line.split()[1] for line in lines[4:]] == ["median", "median"]


def test_a_run_ends_where_it_is_solved(monkeypatch):
    class Solved(time_to_solve.EvaluationCallback):
        solved = property(lambda self: True, lambda self, value: None)

    monkeypatch.setattr(time_to_solve, "EvaluationCallback", Solved)
    found = time_to_solve.solve(read_setting(TINY))
    assert (found.trials, found.interaction) == (1, 3.0)


def test_without_a_setting_it_says_how_it_is_called(capsys):
    assert main(["0-7"]) == 2
    assert "SEEDS SETTING" in capsys.readouterr().err
