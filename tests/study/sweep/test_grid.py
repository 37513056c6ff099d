"""Several values of any option: the combinations, their names, and what is refused."""

import pytest

from mbrl_agent.resampling import Interpolated
from mbrl_agent.study.__main__ import main
from mbrl_agent.study.sweep.cells import cell_name, make_cells
from mbrl_agent.study.sweep.grid import read_grid, split_axes
from mbrl_agent.study.sweep.request import read_requests
from tests.support.sweeps import TINY


def grid(line, *resampling):
    return read_grid(line.split(), resampling)


def test_every_combination_of_values_and_strategies():
    found = grid("--search.learning-rate 0.01 0.02 --trials 3 --seed 4", "none", "interpolated:0.25")
    assert [point.label for point in found.points] == [
        "none, search.learning-rate=0.01",
        "interpolated:0.25, search.learning-rate=0.01",
        "none, search.learning-rate=0.02",
        "interpolated:0.25, search.learning-rate=0.02",
    ]
    assert {point.config.trials for point in found.points} == {3}
    assert found.points[3].config.search.learning_rate == 0.02
    assert found.points[3].config.resampling == Interpolated(0.25)


def test_one_strategy_is_not_named_where_something_else_differs():
    assert [point.label for point in grid("--search.steps 5 7", "none").points] == [
        "search.steps=5", "search.steps=7",
    ]  # fmt: skip
    assert [point.label for point in grid("").points] == ["gaussian"]
    assert [point.label for point in grid("--search.steps=5 7").points] == [
        "search.steps=5",
        "search.steps=7",
    ]


def test_choices_are_axes_and_keep_the_options_of_all_cells():
    found = grid("--dynamics ensemble ensemble:members=7,hidden=8x8 --dynamics.fit-steps 30", "none")
    assert [point.config.dynamics.members for point in found.points] == [5, 7]
    assert {point.config.dynamics.fit_steps for point in found.points} == {30}
    assert found.axes == {"dynamics": ("ensemble", "ensemble:members=7,hidden=8x8")}


def test_a_yes_or_no_is_an_axis():
    found = grid("--dynamics.warm-start true false")
    assert [point.config.dynamics.warm_start for point in found.points] == [True, False]


def test_what_an_estimator_cannot_do_is_left_out():
    found = grid("--estimator reparameterization likelihood-ratio", "none", "gaussian")
    assert [(p.config.resampling.name, p.config.estimator.name) for p in found.points] == [
        ("none", "reparameterization"), ("gaussian", "reparameterization"), ("none", "likelihood-ratio"),
    ]  # fmt: skip
    (note,) = found.left_out
    assert note.startswith("gaussian, estimator=likelihood-ratio: ")
    with pytest.raises(ValueError, match="likelihood-ratio"):
        grid("--estimator reparameterization likelihood-ratio", "gaussian")


def test_a_cells_name_says_what_differs_however_it_was_written(tmp_path):
    names = [
        [cell.directory.name for cell in make_cells(grid(line, "none").points, [3], tmp_path)]
        for line in (
            "--search.learning-rate 0.01 0.02 --dynamics ensemble:7 ensemble",
            "--search.learning-rate .010 2e-2 --dynamics ensemble:members=7 ensemble:hidden=64x64",
        )
    ]
    assert names[0] == names[1]
    assert names[0][0].startswith("none_search.learning-rate-0.01_dynamics-ensemble-members-7_seed3_")
    assert len({name[-8:] for name in names[0]}) == 4


def test_a_sweep_of_strategies_alone_keeps_its_names(tmp_path):
    (cell,) = make_cells(grid("--search.steps 5", "interpolated:0.25").points, [3], tmp_path)
    assert cell.directory.name == cell_name(cell.config)
    assert cell.directory.name.startswith("interpolated-ratio-0.25_seed3_")


def test_a_cell_that_is_there_is_recognised_by_its_seed_and_hash(tmp_path):
    (old,) = make_cells(grid("--search.steps 5", "none").points, [3], tmp_path)
    old.directory.mkdir()
    cells = make_cells(grid("--search.steps 5 7", "none").points, [3, 13], tmp_path)
    assert cells[0].directory == old.directory
    assert [cell.directory.name.split("_seed")[0] for cell in cells[1:]] == [
        "none_search.steps-7", "none_search.steps-5", "none_search.steps-7",
    ]  # fmt: skip


def test_a_name_is_short_enough_for_a_file_system():
    config = grid("").points[0].config
    assert len(cell_name(config, [("env", "x" * 300)])) < 200


def test_words_are_told_from_values():
    words = ["stray", "--a", "1", "--b=2", "3", "--c", "--d", "-1e-3", "-2"]
    assert split_axes(words) == (["stray", "--a", "1", "--c"], {"--b": ["2", "3"], "--d": ["-1e-3", "-2"]})


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--search.learning-rat 0.01 0.02", "unknown option --search.learning-rat; did you mean"),
        ("--search.steps 5 x", "--search.steps: expected a whole number, got 'x'"),
        ("--search.steps 5 5", "--search.steps: 5 is given twice"),
        (
            "--search.learning-rate 0.01 1e-2",
            "'search.learning-rate=0.01' and 'search.learning-rate=1e-2' are",
        ),
        ("--search.steps 5 6 --search.steps 7", "--search.steps is given twice"),
        ("--search.steps 7 --search.steps 5 6", "--search.steps is given twice"),
        ("--device cpu cuda", "--device takes one value here"),
        ("--config a.yaml b.yaml", "--config takes one value here"),
        ("--dynamics.warm-start true maybe", "expected true or false, got 'maybe'"),
        ("--dynamics ensemble:members=2 ensemble --dynamics.members 3", "--dynamics.members: is given twice"),
        ("--resampling.ratio 0.1 0.2", "write a strategy's options with its name"),
        ("--seed 1 2", "--seed: a sweep takes --seeds"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_made(tmp_path, capsys, line, message):
    out = tmp_path / "sweep"
    assert main(["sweep", "--seeds", "0", "--out", str(out), *line.split()]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert message in error
    assert not out.exists()


def test_the_grid_is_recorded_once(tmp_path, monkeypatch):
    monkeypatch.setattr("mbrl_agent.study.sweep.command._execute", lambda arguments, cells, view: True)
    start = ["sweep", "--seeds", "0-1", "--out", str(tmp_path), *TINY]
    assert main([*start, "--search.learning-rate", "0.01", "0.02"]) == 0
    assert main([*start, "--search.learning-rate", ".01", "2e-2"]) == 0
    (entry,) = read_requests(tmp_path / "sweep.yaml")
    assert entry["grid"] == {"search.learning_rate": ["0.01", "0.02"]}
    assert "search.learning_rate" not in entry["options"]
    assert entry["resampling"] == [{"name": "gaussian", "moments": "particles", "wrap": False}]
    assert main(start) == 0
    assert "grid" not in read_requests(tmp_path / "sweep.yaml")[1]
