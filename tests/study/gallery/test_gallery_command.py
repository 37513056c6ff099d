"""`study gallery` as a user runs it, with tasks that take a second."""

import gymnasium
import pytest

from mbrl_agent.study.__main__ import main
from mbrl_agent.study.gallery import entries as gallery_entries
from mbrl_agent.study.gallery.entries import Entry
from tests.support.tiny_run import TINY

QUICK = {key: value for key, value in TINY.items() if key != "quiet"} | {"trials": 2}
EASY = Entry("CartPoleSwingUp-v0", "its own", QUICK, goal=-1.0, reason="any return will do")


@pytest.fixture
def easy(monkeypatch):
    missing = Entry("Missing-v0", "none", QUICK, goal=0.0, install="pip install something")
    monkeypatch.setattr(gallery_entries, "ENTRIES", (EASY, missing))


def test_it_trains_reports_and_goes_on(easy, tmp_path, capsys):
    words = ["gallery", "--out", str(tmp_path / "out"), "--seeds", "20,21", "--jobs", "2"]
    assert main(words) == 0
    output = capsys.readouterr()
    assert "left out: env 'Missing-v0' cannot be made" in output.err
    assert "pip install something" in output.err
    assert "CartPoleSwingUp-v0: learned by 2 of 2, after 3 s (3 s, 3 s)" in output.out
    page = (tmp_path / "out/study_gallery.md").read_text()
    assert "not run: pip install something" in page
    assert "--seeds 20,21" in page
    runs = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*/agent.zip")}
    assert len(runs) == 2
    assert main(words) == 0, "what is done is left alone"
    assert runs == {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*/agent.zip")}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--tasks", "CartPole"], "the gallery has no 'CartPole'"),
        (["--tasks", "Missing-v0"], "none of the tasks can be made here"),
        (["--seeds", "3-1"], "ends below its begin"),
        (["--jobs", "0"], "jobs"),
        (["--retries", "-1"], "retries"),
    ],
)
def test_a_mistake_is_one_line(easy, words, message, tmp_path, capsys):
    assert main(["gallery", "--out", str(tmp_path / "out"), *words]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("python -m mbrl_agent.study gallery: error: ")
    assert message in last
    assert not (tmp_path / "out").exists()


def test_a_task_that_comes_with_the_package_must_be_there(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(gallery_entries, "ENTRIES", (EASY,))
    monkeypatch.delitem(gymnasium.registry, EASY.env, raising=False)
    monkeypatch.setattr("mbrl_agent.run.environment.register_ours", lambda: None)
    assert main(["gallery", "--out", str(tmp_path / "out")]) == 2
    assert "cannot be made" in capsys.readouterr().err
