"""The command line: files that it writes, TensorBoard, mistakes."""

import csv

import numpy as np
import pytest
from PIL import Image

import envs  # noqa: F401
from mbrl_agent.run.commands.command_line import parse_command, words_of
from mbrl_agent.study.__main__ import main
from mbrl_agent.study.gradients import paper
from mbrl_agent.study.gradients.commands import landscape
from mbrl_agent.study.gradients.trajectories import weighted_percentiles
from tests.support.tiny_run import images, read_events, tiny

SMALL = ["--particles", "30", "--horizon", "3", "--repeats", "2"]
UNTRAINED = ["--untrained", *SMALL]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    experiment = tiny(tmp_path_factory.mktemp("runs"), trials=2, eval_episodes=0)
    experiment.run()
    return experiment.directory


def rows(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def test_a_landscape_of_an_untrained_policy(tmp_path, capsys):
    words = [
        "--resampling",
        "none",
        "interpolated:0.5",
        "--estimator",
        "reparameterization",
        "likelihood-ratio",
    ]
    more = ["--points", "3", "--directions", "2", "--delta", "0", "2", "--out", str(tmp_path)]
    assert main(["landscape", *UNTRAINED, *words, *more]) == 0
    table = rows(tmp_path / "study_landscape.csv")
    assert len(table) == 3 * 2 * 3  # strategies, directions, places
    assert {row["strategy"] for row in table} == {"none", "interpolated:0.5", "none + likelihood-ratio"}
    assert [float(row["delta"]) for row in table[:3]] == [0, 1, 2]
    assert all(np.isclose(10 ** float(r["log10_variance"]), float(r["variance"]), rtol=1e-4) for r in table)
    assert len(rows(tmp_path / "study_values.csv")) == paper.FINE_POINTS
    for name in ("landscape", "values"):
        assert Image.open(tmp_path / f"study_{name}.png").size[0] > 600
    captured = capsys.readouterr()
    assert "none + likelihood-ratio" in captured.out
    assert "left out: estimator 'likelihood-ratio' does not work with interpolated:0.5" in captured.err


def test_the_same_command_gives_the_same_numbers(tmp_path):
    for name in ("a", "b"):
        words = ["--resampling", "gaussian", "--points", "2", "--out", str(tmp_path / name)]
        assert main(["landscape", *UNTRAINED, *words]) == 0
    first, second = ((tmp_path / name / "study_landscape.csv").read_bytes() for name in ("a", "b"))
    assert first == second


def test_bias(tmp_path, capsys):
    words = [
        "--resampling",
        "none",
        "gaussian",
        "--directions",
        "3",
        "--reference",
        "40",
        "--out",
        str(tmp_path),
    ]
    assert main(["bias", *UNTRAINED, *words, "--modes", "2:-pi,pi"]) == 0
    assert [row["strategy"] for row in rows(tmp_path / "study_bias.csv")] == ["none", "gaussian"]
    table = rows(tmp_path / "study_bimodal.csv")
    assert [row["strategy"] for row in table] == ["none", "gaussian", "true physics"]
    assert table[0]["start"] == "theta [rad] in -3.14, 3.14"
    assert "gaussian, delta 0: cosine" in capsys.readouterr().out


def test_bias_without_bimodal_starts(tmp_path):
    words = [
        "--resampling",
        "none",
        "--directions",
        "2",
        "--reference",
        "40",
        "--modes",
        "none",
        "--out",
        str(tmp_path),
    ]
    assert main(["bias", *UNTRAINED, *words]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["study_bias.csv", "study_bias.png"]


def test_trajectories_of_a_run(run):
    assert main(["trajectories", "--run", str(run), *SMALL, "--resampling", "none", "--delta", "0", "1"]) == 0
    table = rows(run / "figures" / "study_trajectories.csv")
    assert len(table) == 2 * 4 * 4  # places, dimensions, steps
    assert all(float(row["percentile_5"]) <= float(row["percentile_95"]) for row in table)
    heat = rows(run / "figures" / "study_heat.csv")
    assert len(heat) == 2 * 4  # places, steps
    assert all(float(row["energy_percentile_25"]) <= float(row["energy_percentile_75"]) for row in heat)
    assert heat[3]["log10_stretch_percentile_50"] == ""  # nothing is left after the last step
    assert Image.open(run / "figures" / "study_heat.png").size[0] > 600


def test_landscapes_of_several_seeds_are_those_of_each(tmp_path, capsys):
    words = [
        "landscape",
        "--untrained",
        "--particles",
        "30",
        "--repeats",
        "2",
        "--resampling",
        "none",
        "--points",
        "2",
        "--out",
    ]
    words.append(str(tmp_path))
    assert main([*words, "--seeds", "0,2", "--horizons", "2", "3"]) == 0
    lines = rows(tmp_path / "study_landscape_lines.csv")
    assert len(lines) == 2 * 2 * 2  # seeds, horizons, places
    table = rows(tmp_path / "study_landscape_seeds.csv")
    assert [(row["strategy"], row["horizon"], row["lines"]) for row in table] == [
        ("none", "2", "2"),
        ("none", "3", "2"),
    ]
    assert "worst" in capsys.readouterr().out
    assert main([*words, "--seed", "2", "--horizon", "3"]) == 0
    own = [row["variance"] for row in rows(tmp_path / "study_landscape.csv")]
    assert [row["variance"] for row in lines if (row["seed"], row["horizon"]) == ("2", "3")] == own


def test_all_figures_of_a_run(run, monkeypatch):
    for name in ("FIGURE_2", "FIGURE_3", "FIGURE_4", "BEYOND"):
        monkeypatch.setattr(paper, name, ("none", "gaussian", "mixture:2,1"))
    monkeypatch.setattr(paper, "FIGURES", dict.fromkeys(paper.FIGURES, (paper.BEYOND, "title")))
    monkeypatch.setattr(paper, "FINE_POINTS", 5)
    words = ["--points", "2", "--trial", "1", "--env", "CartPoleSwingUp-v0"]
    assert main(["figures", "--run", str(run), *SMALL, *words]) == 0
    names = ["1_values", "2_trajectories", "3_interpolated", "4_mixture", "5_beyond"]
    for name in names:
        assert (run / "figures" / f"study_{name}.csv").stat().st_size > 100
        png = (run / "figures" / f"study_{name}.png").read_bytes()
        ((step, logged),) = images(run)[f"study/{name}"]
        assert step == 30  # environment steps of one trial
        assert logged == png
    assert (run / "figures" / "study_1_variance.csv").exists()
    assert "study/4_mixture_csv/text_summary" in read_events(run).Tags()["tensors"]
    labels = {row["strategy"] for row in rows(run / "figures" / "study_5_beyond.csv")}
    assert "none + total-propagation" in labels


def test_weighted_percentiles():
    values = np.array([[3.0, 1.0, 2.0]])
    np.testing.assert_array_equal(
        weighted_percentiles(values, np.full((1, 3), 1 / 3), (5, 50, 95)), [[1], [2], [3]]
    )
    weights = np.array([[0.0, 0.9, 0.1]])
    np.testing.assert_array_equal(weighted_percentiles(values, weights, (50, 95, 100)), [[1], [2], [2]])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "the command comes first, one of landscape, "),
        (["--seed", "3"], "unknown option --seed: the command comes first"),
        (["landscpe"], "did you mean landscape?"),
        (["landscape"], "one of --run DIR and --untrained must be given"),
        (["landscape", "--untrained", "--run", "x"], "and not both"),
        (["landscape", "--run", "nowhere"], "nowhere is not the directory of a run, it has no config.yaml"),
        (["landscape", "--untrained", "--trial", "2"], "--trial: belongs to a run"),
        (["landscape", "--untrained", "--resampling", "gausian"], "did you mean 'gaussian'"),
        (
            ["landscape", "--untrained", "--resampling", "gaussian", "--estimator", "likelihood-ratio"],
            "'none'",
        ),
        (
            ["landscape", "--untrained", "--particles", "4", "--resampling", "gaussian"],
            "at least 6 particles",
        ),
        (["landscape", "--untrained", "--delta", "2", "1"], "--delta: must begin below its end, got 2 1"),
        (["landscape", "--untrained", "--delta", "0", "nan"], "--delta: must be finite"),
        (
            ["landscape", "--untrained", "--delta", "1"],
            "--delta: takes where the line begins and where it ends",
        ),
        (["landscape", "--untrained", "--points", "1"], "--points: must be at least 2"),
        (["landscape", "--untrained", "--seeds", "3-1"], "'3-1' ends below its begin"),
        (["landscape", "--untrained", "--horizons", "0"], "--horizons: must be at least 1"),
        (["landscape", "--untrained", "--repeats", "1"], "--repeats: must be at least 2"),
        (["landscape", "--untrained", "--directions", "0"], "--directions: must be at least 1"),
        (["landscape", "--untrained", "--direction", "wieghts", *SMALL], "this policy has all, centers"),
        (["landscape", "--untrained", "--policy", "rfb"], "did you mean 'rbf'"),
        (["landscape", "--untrained", "--noise", "-1"], "noise_std must not be negative"),
        (["landscape", "--untrained", "--env", "Pendulum-v1"], "does not offer its dynamics"),
        (["landscape", "--untrained", "--env", "Nowhere-v3"], "cannot be made"),
        (["bias", "--untrained", "--modes", "x:1,2"], "--modes: expected DIM:LOW,HIGH"),
        (["landscape", "--run", "x", "--policy", "mlp"], "--policy: belongs to --untrained"),
        (["landscape", "--run", "x", "--noise", "1"], "--noise: belongs to --untrained"),
        (["landscape", "--untrained", "--seed", "1", "--seeds", "2"], "--seeds: stands instead of --seed"),
        (
            ["landscape", "--untrained", "--horizon", "9", "--horizons", "8"],
            "--horizons: stands instead of --horizon",
        ),
        (["bias", "--untrained", "--step", "0"], "--step: must be above zero"),
        (["figures", "--untrained", "--threads", "0"], "--threads: must be at least 1"),
    ],
)
def test_a_mistake_is_one_line(words, message, capsys):
    assert main(words) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("python -m mbrl_agent.study")
    assert error.count("\n") == 1


def test_a_checkpoint_that_is_not_there(run, capsys):
    assert main(["landscape", "--run", str(run), "--trial", "9"]) == 2
    assert "has no checkpoint trial_009.zip" in capsys.readouterr().err


def test_help_fits_and_names_everything(capsys):
    assert main(["landscape", "--help"]) == 0
    text = capsys.readouterr().out
    assert all(
        word in text for word in ("--resampling", "detached-mixture", "total-propagation", "(default: 41)")
    )


def test_interrupted(monkeypatch, capsys):
    def interrupt(options):
        raise KeyboardInterrupt

    monkeypatch.setattr(landscape, "run", interrupt)
    assert main(["landscape", *UNTRAINED]) == 130
    assert capsys.readouterr().err == "python -m mbrl_agent.study landscape: interrupted\n"


def test_words_of_options_ask_for_the_same():
    words = [
        "--untrained",
        "--env.noise-scale",
        "2",
        "--resampling",
        "none",
        "mixture:3,3",
        "--delta",
        "-1",
        "2",
    ]
    options = parse_command(landscape, [*words, "--float64", "--horizons", "30,60", "--seeds", "0-2"], "it")
    assert (options.horizons, options.env_options) == ((30, 60), ("noise_scale=2",))
    assert parse_command(landscape, words_of(options), "it") == options


def test_words_of_two_plugins_ask_for_both(monkeypatch):
    loaded = []
    monkeypatch.setattr("mbrl_agent.run.cli.load_plugins", loaded.extend)
    options = landscape.Options(untrained=True, plugins=("plugin_one", "plugin_two"))
    assert parse_command(landscape, words_of(options), "it") == options
    assert loaded == ["plugin_one", "plugin_two"]
    assert parse_command(
        landscape, ["--untrained", "--resampling", "none", "--resampling", "gaussian"], "it"
    ).resampling == (
        "none",
        "gaussian",
    )
