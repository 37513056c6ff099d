"""The command as a user gives it: files, figure, notes, mistakes."""

import csv
import re

import pytest
from PIL import Image

from mbrl_agent.study.__main__ import main
from mbrl_agent.study.compare import command
from mbrl_agent.study.compare.drawing import comparison_figure, group_looks
from mbrl_agent.study.compare.grouping import group_runs
from mbrl_agent.study.compare.read_runs import find_runs
from tests.support.made_runs import make_baseline_run, make_evaluations, make_run


@pytest.fixture
def sweep(tmp_path):
    for seed in range(3):
        make_run(tmp_path / "sweep" / f"g{seed}", [0.0, 0.5, 0.96], seed=seed)
        make_run(tmp_path / "sweep" / f"n{seed}", [0.0, 0.97, 0.1], seed=seed, resampling="none")
        make_baseline_run(tmp_path / "sac" / f"sac_seed{seed}", [300, 600, 900], [0.0, 0.96, 0.99], seed=seed)
    make_run(tmp_path / "sweep" / "killed", [], seed=9, trials=3, finished=False)
    make_evaluations(tmp_path / "logs" / "tqc_seed0", [500, 1000], [[0, 1], [1, 1]])
    make_evaluations(tmp_path / "logs" / "untold", [500, 1000], None)
    return tmp_path


def rows(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def test_everything_in_one_figure(sweep, capsys):
    words = [str(sweep / name) for name in ("sweep", "sac", "logs")]
    assert main(["compare", *words, "--out", str(sweep / "out")]) == 0
    captured = capsys.readouterr()
    assert "3 of 4" in captured.out
    assert "note: gaussian:" in captured.err
    assert "killed is unfinished, before its first trial ended" in captured.err
    assert "untold: its evaluations do not tell success" in captured.err
    width, height = Image.open(sweep / "out" / "study_compare.png").size
    assert width > 1000
    assert height > 600
    table = rows(sweep / "out" / "study_compare_runs.csv")
    assert len(table) == 4 + 3 + 3 + 2
    killed = next(row for row in table if row["run"].endswith("killed"))
    assert (killed["finished"], killed["evaluations"], killed["seconds_to_solve"]) == ("false", "0", "nan")
    sac = next(row for row in table if row["run"].endswith("sac_seed1"))
    assert (sac["group"], sac["seed"], sac["steps_to_solve"], sac["seconds_to_solve"]) == (
        "sac",
        "1",
        "600",
        "60",
    )
    curves = rows(sweep / "out" / "study_compare.csv")
    point = next(r for r in curves if (r["group"], r["measure"], r["trial"]) == ("none", "success", "2"))
    assert (point["time"], point["iqm"], point["runs"], point["all_runs"]) == ("6", "0.97", "3", "true")
    text = (sweep / "out" / "study_compare.md").read_text()
    assert "| none | 3 | 3 of 3 [44-100 %] | 0 of 3 | 6 s (6 s to 6 s) |" in text
    assert "killed is unfinished" in text


def test_the_files_go_beside_the_runs_and_do_not_change_what_is_found(sweep, capsys):
    for _ in range(2):
        assert main(["compare", str(sweep / "sweep"), "--by", "resampling", "search.steps"]) == 0
        assert re.search(r"^gaussian +4, 1 unfinished", capsys.readouterr().out, re.MULTILINE)
    assert (sweep / "sweep" / "study_compare.png").exists()


def test_a_panel_for_each_value_of_a_setting(sweep, capsys):
    for seed in range(2):
        make_run(sweep / "long" / f"n{seed}", [0.0, 0.1], seed=seed, resampling="none", max_episode_steps=60)
    words = [str(sweep / "sweep"), str(sweep / "long"), "--panels", "max-episode-steps"]
    assert main(["compare", *words, "--out", str(sweep / "out")]) == 0
    assert re.search("^max_episode_steps=60, none +2 ", capsys.readouterr().out, re.MULTILINE)
    groups = {row["group"] for row in rows(sweep / "out" / "study_compare_panels.csv")}
    assert groups == {
        "max episode steps: none, gaussian",
        "max episode steps: none, none",
        "max episode steps: 60, none",
    }
    width, height = Image.open(sweep / "out" / "study_compare_panels.png").size
    assert width > 2 * height
    assert main(["compare", str(sweep / "sweep"), "--panels", "max-epsode-steps"]) == 2
    assert "did you mean max_episode_steps?" in capsys.readouterr().err


def test_the_same_runs_give_the_same_bytes(sweep):
    names = ["study_compare.png", "study_compare.csv", "study_compare_runs.csv", "study_compare.md"]
    for name in ("a", "b"):
        assert main(["compare", str(sweep / "sac"), "--out", str(sweep / name)]) == 0
    for name in names:
        assert (sweep / "a" / name).read_bytes() == (sweep / "b" / name).read_bytes()


def figure_of(paths, monkeypatch, tmp_path):
    """The figure that the command draws."""
    drawn = []
    monkeypatch.setattr(
        command, "comparison_figure", lambda *a: drawn.append(comparison_figure(*a)) or drawn[0]
    )
    assert main(["compare", *map(str, paths), "--out", str(tmp_path / "figure")]) == 0
    return drawn[0]


def test_trials_are_on_the_upper_axis_where_they_take_the_same_time(sweep, monkeypatch, tmp_path):
    axis = figure_of([sweep / "sweep"], monkeypatch, tmp_path).axes[0]
    (upper,) = axis.child_axes
    assert upper.get_xlabel() == "trial"
    low, high = axis.get_xlim()
    assert upper.get_xlim() == pytest.approx((low / 3, high / 3))
    assert axis.get_xscale() == "linear"


def test_a_long_baseline_makes_the_axis_logarithmic(sweep, monkeypatch, tmp_path):
    axes = figure_of([sweep / "sweep", sweep / "sac"], monkeypatch, tmp_path).axes
    assert axes[0].get_xscale() == axes[2].get_xscale() == "log"
    assert not axes[0].child_axes
    assert axes[2].get_xlim()[1] > 90


def test_runs_that_do_not_tell_have_no_mark(sweep, monkeypatch, tmp_path):
    axes = figure_of([sweep / "logs" / "untold"], monkeypatch, tmp_path).axes
    assert not axes[2].get_lines()
    assert [text.get_text() for text in axes[2].texts] == ["not told"]
    assert axes[1].child_axes[0].get_xlabel() == "evaluation"


def test_every_run_is_a_mark(sweep, monkeypatch, tmp_path):
    axis = figure_of([sweep / "sweep"], monkeypatch, tmp_path).axes[2]
    marks = [line for line in axis.get_lines() if line.get_marker() in ("o", ">")]
    assert len(marks) == 7
    assert sorted(float(line.get_xdata()[0]) for line in marks) == pytest.approx([0, 6, 6, 6, 9, 9, 9])
    assert [text.get_text() for text in axis.texts] == ["3 of 4", "3 of 3"]


def test_every_group_has_a_look_of_its_own(sweep, tmp_path):
    for ratio in (0.2, 0.5, 0.8):
        make_run(tmp_path / f"i{ratio}", [0.0], resampling="interpolated", resampling__ratio=ratio)
        make_run(tmp_path / f"s{ratio}", [0.0], search__steps=int(100 * ratio))
    groups = group_runs(find_runs([tmp_path]))
    found = group_looks(groups)
    assert len({look.colour for look in found.values()}) == len(groups) == 7 + 1
    assert found["gaussian"].colour == "#0072b2"
    one_kind = group_looks(
        group_runs(find_runs([tmp_path / f"s{r}" for r in (0.2, 0.5, 0.8)]), ["search.steps"])
    )
    assert len({look.colour for look in one_kind.values()}) == 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "the following arguments are required: PATH"),
        (["nowhere"], "nowhere is not a directory"),
        (["{}"], "holds no run"),
        (["{}/sweep", "--time-step", "0"], "--time-step: must be above zero"),
        (["{}/sweep", "--by", "serach.steps"], "did you mean search.steps?"),
        (["{}/broken"], "progress.csv has no column time/total_timesteps"),
        (["{}/mixed"], "different environments"),
    ],
)
def test_a_mistake_is_one_line(words, message, tmp_path, capsys):
    make_run(tmp_path / "sweep" / "a", [0.0])
    (make_run(tmp_path / "broken" / "a", [0.0]) / "progress.csv").write_text("a\n1\n")
    make_run(tmp_path / "mixed" / "a", [0.0])
    make_run(tmp_path / "mixed" / "b", [0.0], env="Pendulum-v1")
    (tmp_path / "empty").mkdir()
    words = [word.format(tmp_path / "empty" if word == "{}" else tmp_path) for word in words]
    assert main(["compare", *words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("python -m mbrl_agent.study compare: error: ")
    assert error.count("\n") == 1


def test_help_has_examples(capsys):
    assert main(["compare", "--help"]) == 0
    assert "compare sweeps/a sweeps/sac" in capsys.readouterr().out
