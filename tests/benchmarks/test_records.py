"""The file of a benchmark run, and the comparison of two."""

import json

from tests.benchmarks.compare import compare, main
from tests.benchmarks.records import Figure, Records


def test_a_figure_has_median_and_quartiles():
    figure = Figure.of("x", [0.003, 0.001, 0.002, 0.004, 0.005])
    assert (figure.median, figure.low, figure.high, figure.rounds) == (3.0, 2.0, 4.0, 5)
    assert Figure.of("x", [0.002]).median == 2.0


def test_a_run_is_written_with_machine_and_commit(tmp_path, capsys):
    records = Records()
    assert records.write(tmp_path) is None
    records.add("a step", [0.001, 0.002])
    assert "a step: 1.50 ms" in capsys.readouterr().out
    data = json.loads(records.write(tmp_path).read_text())
    assert data["figures"][0]["name"] == "a step"
    assert data["machine"]["torch"]
    assert data["commit"]


def run(commit, machine, **medians):
    figures = [
        {"name": name, "median": value, "low": 0.9 * value, "high": 1.1 * value}
        for name, value in medians.items()
    ]
    return {"commit": commit, "machine": machine, "figures": figures}


def test_two_runs_are_compared():
    before = run("a" * 40, {"cores": 2, "torch": "2.8"}, step=10.0, gone=1.0, same=5.0)
    after = run("b" * 40, {"cores": 2, "torch": "2.9"}, step=5.0, new=1.0, same=5.1)
    text = "\n".join(compare(before, after))
    assert "aaaaaaaaa -> bbbbbbbbb" in text
    assert "note: torch differs: 2.8 -> 2.9" in text
    assert "cores" not in text
    assert "x 0.50" in text
    assert "x 1.02  (quartiles overlap)" in text
    assert "only before: gone" in text
    assert "only after: new" in text


def test_the_command(tmp_path, capsys):
    for name in ("one", "two"):
        (tmp_path / name).write_text(json.dumps(run("c" * 40, {}, step=2.0)))
    assert main([str(tmp_path / "one"), str(tmp_path / "two")]) == 0
    assert "x 1.00" in capsys.readouterr().out
    assert main([str(tmp_path / "one")]) == 2
    assert main([str(tmp_path / "one"), str(tmp_path / "missing")]) == 2
    (tmp_path / "bad").write_text("{}")
    assert main([str(tmp_path / "one"), str(tmp_path / "bad")]) == 2
    assert "compare: error" in capsys.readouterr().err
