"""The command evaluate: its table against the episodes, run one by one."""

import csv

import gymnasium
import numpy as np
import pytest

from mbrl_agent import ParticlePILCO
from mbrl_agent.run.commands import evaluate as command
from mbrl_agent.run.evaluation import Evaluation
from tests.support.programs import error_line, run


def table(output):
    """The columns of each row by its name."""
    lines = [line.split("   ") for line in output.splitlines() if "   " in line]
    rows = [[cell.strip() for cell in line if cell.strip()] for line in lines]
    return {row[0]: row[1:] for row in rows}


def rows_of(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def episode(agent, env, seed):
    observation, _ = env.reset(seed=seed)
    total, steps, done = 0.0, 0, False
    while not done:
        observation, reward, terminated, truncated, info = env.step(agent.predict(observation)[0])
        total, steps, done = total + float(reward), steps + 1, terminated or truncated
    return total, steps, info


def test_a_run_is_judged_by_fresh_episodes(undisturbed, tmp_path, capsys):
    path = tmp_path / "new" / "episodes.csv"
    output = run(capsys, "evaluate", undisturbed, "--episodes", 4, "--seed", 7, "--csv", path)
    agent, env = ParticlePILCO.load(undisturbed / "agent.zip"), gymnasium.make("CartPoleSwingUp-v0")
    rows = rows_of(path)
    assert [row["seed"] for row in rows] == ["7", "8", "9", "10"]
    for row in rows:
        total, steps, info = episode(agent, env, int(row["seed"]))
        assert float(row["return"]) == pytest.approx(total, rel=1e-4)
        assert (int(row["length"]), bool(int(row["success"]))) == (steps, info["is_success"])
        assert float(row["tip_distance"]) == pytest.approx(info["tip_distance"], rel=1e-3)
    found = table(output)
    returns = [float(row["return"]) for row in rows]
    expected = [np.mean(returns), np.min(returns), np.median(returns), np.max(returns)]
    shown = [float(found["return"][place]) for place in (0, 2, 3, 4)]
    np.testing.assert_allclose(shown, expected, rtol=1e-3)
    low, high = map(float, found["return"][1].split(" to "))
    assert min(returns) <= low < np.mean(returns) < high <= max(returns)
    assert found["success"][0].endswith("%")
    assert "tip_distance" in found
    assert "state" not in found
    assert "bootstrap" in output
    assert "Wilson" in output


def test_other_options_than_in_training_make_another_result(undisturbed, capsys):
    words = ["evaluate", undisturbed, "--episodes", 5]
    plain, again = run(capsys, *words), run(capsys, *words)
    noisy = run(capsys, *words, "--env.noise-scale", 3, "--env.initial-std=0.5")
    assert plain == again
    assert table(plain)["return"] != table(noisy)["return"]


def test_an_agent_without_a_run_and_without_its_cost(agent_file, tmp_path, capsys):
    path = tmp_path / "e.csv"
    output = run(capsys, "evaluate", agent_file, "--env", "Slope-v0", "--episodes", 9, "--csv", path)
    found, rows = table(output), rows_of(path)
    assert "success" not in found
    assert "Wilson" not in output
    assert found["length"][0] == "6"
    assert set(rows[0]) == {"episode", "seed", "return", "length", "place", "near", "only_right"}
    right = [row for row in rows if float(row["place"]) > 0]
    assert 0 < len(right) < 9
    assert f"only_right ({len(right)} of 9 episodes)" in found
    assert [row["only_right"] == "nan" for row in rows] == [float(row["place"]) <= 0 for row in rows]
    assert {row["near"] for row in rows} <= {"0", "1"}


def test_the_agents_own_limit_counts_where_the_environment_has_none(agent_file, capsys):
    output = run(capsys, "evaluate", agent_file, "--env", "Endless-v0", "--episodes", 2)
    assert table(output)["length"][0] == "30"
    words = ["evaluate", agent_file, "--env", "Endless-v0", "--episodes", 2, "--max-episode-steps", 4]
    assert table(run(capsys, *words))["length"][0] == "4"


def test_random_actions_are_another_policy(agent_file, capsys):
    words = ["evaluate", agent_file, "--env", "Slope-v0", "--episodes", 5]
    output = run(capsys, *words, "--random")
    assert output.startswith("random actions: 5 episodes")
    assert output == run(capsys, *words, "--random")
    assert table(output)["return"] != table(run(capsys, *words))["return"]


def test_many_episodes_are_run_in_parts_and_none_twice(agent_file, tmp_path, capsys, monkeypatch):
    words = ["evaluate", agent_file, "--env", "Slope-v0", "--episodes", 7, "--csv"]
    run(capsys, *words, tmp_path / "one.csv")
    monkeypatch.setattr(command, "SIDE_BY_SIDE", 3)
    run(capsys, *words, tmp_path / "parts.csv")
    one, parts = rows_of(tmp_path / "one.csv"), rows_of(tmp_path / "parts.csv")
    assert len(parts) == 7
    for left, right in zip(one, parts, strict=True):
        assert left["seed"] == right["seed"]
        for key in left:
            assert float(left[key]) == pytest.approx(float(right[key]), rel=1e-4, nan_ok=True)


def test_a_single_episode_has_no_interval(agent_file, capsys):
    output = run(capsys, "evaluate", agent_file, "--env", "Slope-v0", "--episodes", 1)
    assert table(output)["return"][1] == "-"


def test_a_number_that_is_never_finite_is_a_row_without_numbers():
    result = Evaluation(np.ones(3), np.ones(3, np.int64), None, {"x": np.full(3, np.inf)})
    assert any(line.split("   ")[0] == "x (0 of 3 episodes)" for line in command.summary_lines(result))


def test_an_info_called_like_a_column_gets_a_column_of_its_own():
    result = Evaluation(np.ones(1), np.ones(1, np.int64), None, {"return": np.array([5.0])})
    assert command.episodes_table(result, 0).columns == ["episode", "seed", "return", "length", "info_return"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--episodes", "0"], "--episodes: must be at least 1, got 0"),
        (["--epsiodes", "3"], "unknown option --epsiodes; did you mean --episodes?"),
        (["--seed", str(2**31)], "--seed: must be at most"),
        (["--csv", "."], "--csv: must be a file, . is a directory"),
        (["--env", "Pendulum-v1"], "does not fit Pendulum-v1"),
        (["--env.gian", "1"], "--env.gian: Slope-v0 has no such option; did you mean gain?"),
        (["--trial", "1"], "--trial belongs to the directory of a run"),
        (["--best"], "--best belongs to the directory of a run"),
    ],
)
def test_a_mistake_is_one_line(words, message, agent_file, capsys):
    env = [] if "--env" in words else ["--env", "Slope-v0"]
    assert message in error_line(capsys, "evaluate", agent_file, *env, *words)


def test_a_file_in_the_place_of_a_directory_is_refused_before_the_episodes(agent_file, capsys):
    words = ["evaluate", agent_file, "--env", "Slope-v0", "--csv", agent_file / "e.csv"]
    assert "--csv: must lie in a directory" in error_line(capsys, *words)
