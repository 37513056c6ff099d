"""The table, the numbers and the figure of a gallery, from runs made by hand."""

import csv
import io
import shlex

import pytest

from mbrl_agent.run import cli
from mbrl_agent.study.compare.read_runs import read_run
from mbrl_agent.study.gallery.entries import ENTRIES, Entry
from mbrl_agent.study.gallery.report import Result, median, train_command, write_report
from tests.support.made_runs import make_run

RETURN = Entry("CartPoleSwingUp-v0", "distance", {"trials": 4, "resampling": "none"}, 20.0, "made up")
SOLVED = Entry("CartPoleSwingUp-v0", "distance", reason="SOLVED")


@pytest.fixture
def runs(tmp_path):
    """Returns of 25 times the success rate, after 3, 6 and 9 s of interaction."""
    rates = ([0.2, 0.8, 0.7], [0.9, 0.1, 1.0], [0.1, 0.2, 0.3])
    return [make_run(tmp_path / f"seed{seed}", rate, seed=seed) for seed, rate in enumerate(rates)]


def report(entries, directories, out):
    text, written = write_report(entries, directories, out, "the command")
    page = (out / "study_gallery.md").read_text()
    table = [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines() if line[:1] == "|"
    ]
    return page, dict(zip(table[0], table[2], strict=True)), text, written


def test_a_task_is_learned_by_the_first_evaluation_that_reaches_its_return(runs):
    result = Result(RETURN, [read_run(path) for path in runs])
    assert [result.reached_at(run) for run in result.runs] == [1, 0, None]
    assert [result.seconds(run) for run in result.runs] == pytest.approx([6.0, 3.0, float("inf")])


def test_without_a_return_solved_counts(runs):
    result = Result(SOLVED, [read_run(path) for path in runs])
    assert [result.reached_at(run) for run in result.runs] == [None, 2, None]


def test_the_median_counts_what_was_not_learned():
    assert median([3.0, float("inf"), 6.0]) == 6.0
    assert median([3.0, float("inf")]) == float("inf")


def test_the_table_holds_every_run(runs, tmp_path):
    page, row, text, _ = report([RETURN], {RETURN.env: runs}, tmp_path / "out")
    assert row["learned"] == "2 of 3"
    assert row["learned when"] == "return >= 20 (made up)"
    assert row["options"] == "`--trials 4 --resampling none`"
    assert (row["interaction, median"], row["by seed"]) == ("6 s", "6 s, 3 s, -")
    assert row["best evaluation by seed"] == "20, 25, 7.5"
    assert row["wall clock of a run"] == "30 s"
    assert "learned by 2 of 3 runs: nothing else was tried" in page
    assert "    the command" in page
    assert text == "CartPoleSwingUp-v0: learned by 2 of 3, after 6 s (6 s, 3 s, -)"


def test_what_is_not_learned_is_shown_as_that(runs, tmp_path):
    entry = Entry("CartPoleSwingUp-v0", "distance", goal=30.0, reason="out of reach", tried="two other costs")
    page, row, _, _ = report([entry], {entry.env: runs}, tmp_path / "out")
    assert row["learned"] == "not learned, 0 of 3"
    assert (row["interaction, median"], row["by seed"]) == ("-", "-, -, -")
    assert "two other costs" in page


def test_a_task_that_could_not_be_made_says_what_to_install(tmp_path):
    entry = next(entry for entry in ENTRIES if entry.install)
    _, row, text, written = report([entry], {}, tmp_path)
    assert row["learned"] == "not run: pip install 'mbrl_agent[mujoco]'"
    assert text == f"{entry.env}: not run"
    assert not [path for path in written if path.suffix == ".png"]


def test_every_evaluation_is_a_row_of_numbers(runs, tmp_path):
    report([RETURN], {RETURN.env: runs}, tmp_path / "out")
    rows = list(csv.DictReader(io.StringIO((tmp_path / "out/study_gallery.csv").read_text())))
    assert [row["learned"] for row in rows] == [*["false", "true", "true"], *["true"] * 3, *["false"] * 3]
    assert [float(row["seconds"]) for row in rows[:3]] == pytest.approx([3, 6, 9])
    assert [float(row["mean_return"]) for row in rows[:3]] == pytest.approx([5, 20, 17.5])


def test_figure_and_film_are_files(runs, tmp_path):
    (runs[1] / "figures").mkdir()
    for trial in (2, 3):
        (runs[1] / "figures" / f"episode_trial_{trial:03d}.gif").write_bytes(b"film %d" % trial)
    page, _, _, written = report([RETURN], {RETURN.env: runs}, tmp_path / "out")
    names = ["study_gallery.csv", "study_gallery.png", "study_gallery.md", "gallery_CartPoleSwingUp-v0.gif"]
    assert [path.name for path in written] == names
    assert "(study_gallery.png)" in page
    assert "(gallery_CartPoleSwingUp-v0.gif)" in page
    assert written[3].read_bytes() == b"film 3", "the last episode of the run that ended best"
    assert written[1].read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.env)
def test_the_command_of_a_task_asks_for_its_run(entry):
    python, program, *words = shlex.split(train_command(entry))
    assert (python, program) == ("python", "train.py")
    assert cli.parse(words).config == entry.config
