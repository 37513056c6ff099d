"""The speed study: what it times, what it writes, what it refuses. No time is asserted."""

import csv
from dataclasses import replace

import pytest
import torch

from mbrl_agent.dynamics.ensemble import Ensemble
from mbrl_agent.resampling import RESAMPLERS, Gaussian, NoResampling
from mbrl_agent.study.__main__ import main
from mbrl_agent.study.speed import measure as module
from mbrl_agent.study.speed.command import speed_text
from mbrl_agent.study.speed.measure import (
    Setting,
    Timing,
    fit_seconds,
    gradient_step,
    matrix_products,
    measure,
)

TINY = Setting(particles=20, horizon=2, members=2, hidden=(4,), centers=3)
PAIRS = ((0, 1), (2, 3))


@pytest.mark.parametrize("name", RESAMPLERS.names())
def test_every_strategy_can_be_timed(name):
    (timing,) = measure([Setting(60, 2, 2, (4,), 3, RESAMPLERS.resolve(name))], rounds=1)
    assert timing.step > 0
    assert timing.floor > 0


def test_a_step_runs_the_whole_search_step(monkeypatch):
    """Fresh noise, rollout, gradient, Adam: the parameters move, and differently each time."""
    made = []

    class Spy(module.GradientStep):
        def __init__(self, *args):
            super().__init__(*args)
            made.append(self)

    monkeypatch.setattr(module, "GradientStep", Spy)
    run = gradient_step(TINY)
    values = [made[0].parameters["weights"].clone()]
    noises = []
    for _ in range(2):
        run()
        values.append(made[0].parameters["weights"].clone())
        noises.append(made[0]._simulation.noise.model.clone())
    assert noises[0].shape == (2, 1, 20, 4)
    assert not torch.equal(noises[0], noises[1])
    assert not torch.equal(values[0], values[1])
    assert not torch.equal(values[1], values[2])


@pytest.mark.parametrize(("pairs", "outputs"), [((), 8), (PAIRS, 4)])
def test_the_floor_multiplies_the_matrices_of_every_step(monkeypatch, pairs, outputs):
    """Forward and twice backward: 3 products a layer of the model and of the policy, at every time step."""
    flops = []
    for name in ("matmul", "bmm", "baddbmm"):
        original = getattr(torch, name)

        def spy(*tensors, original=original):
            result = original(*tensors)
            a, b = tensors[-2:]
            flops.append(2 * a.shape[:-2].numel() * a.shape[-2] * a.shape[-1] * b.shape[-1])
            return result

        monkeypatch.setattr(torch, name, spy)
    matrix_products(replace(TINY, velocity_dims=pairs))()
    features, centers = 5, 3
    model = 20 * (features + 1) * 4 + 20 * 4 * outputs
    policy = 20 * 2 * features * centers + 20 * centers * 1
    assert sum(flops) == 2 * 3 * 2 * (model + policy)


def test_times_are_medians_of_turns(monkeypatch):
    """Settings take turns; step and floor are paired; the second of two calls counts."""
    second = iter([9.0, 1.0, 5.0, 2.0, 3.0, 1.0, 5.0, 2.0, 4.0, 3.0, 6.0, 8.0])
    order = []

    def fake(run, device):
        order.append(run)
        return next(second) if len(order) % 2 == 0 else 100.0

    monkeypatch.setattr(module, "seconds", fake)
    other = Setting(particles=40, horizon=2, members=2, hidden=(4,), centers=3)
    turns = []
    timings = measure([TINY, other], rounds=3, on_round=lambda: turns.append(len(order)))
    assert order[:8] == order[8:16] == order[16:]
    assert order[:8:2] == order[1:8:2]
    assert len(set(order)) == 4
    assert [(t.step, t.floor) for t in timings] == [(4.0, 1.0), (5.0, 2.0)]
    assert turns == [4, 8, 12, 16, 20, 24]


def test_threads_are_put_back():
    before = torch.get_num_threads()
    measure([Setting(20, 1, 2, (4,), 3, threads=before + 1)], rounds=1)
    assert torch.get_num_threads() == before


def test_ratio_and_rate():
    timing = Timing(Setting(particles=100, horizon=30), step=0.02, floor=0.005)
    assert timing.ratio == pytest.approx(4.0)
    assert timing.particle_steps == pytest.approx(150_000)
    line = speed_text([timing]).splitlines()[1].split()
    assert line == ["100", "30", "5", "gaussian", "1", "20.0", "5.0", "4.00", "150,000"]


def test_a_fit_is_timed():
    assert fit_seconds(20, Ensemble(members=2, hidden=(4,), fit_steps=2)) > 0


def test_settings_are_checked():
    with pytest.raises(ValueError, match="split evenly"):
        Setting(particles=7, members=2)
    with pytest.raises(ValueError, match="at least"):
        Setting(particles=4, members=2, resampler=Gaussian())
    Setting(particles=4, members=2, resampler=NoResampling())


# command line ----------------------------------------------------------------------------------------------

SMALL = [
    *("--particles", "10", "20", "--horizon", "2", "1"),
    *("--members", "5", "--threads", "1", "--rounds", "1"),
]


def test_command_writes_table_and_figure(tmp_path, capsys):
    out = tmp_path / "speed"
    status = main(
        ["speed", *SMALL, "--resampling", "none", "gaussian", "--transitions", "10", "--out", str(out)]
    )
    assert status == 0
    rows = list(csv.DictReader((out / "study_speed.csv").open()))
    shapes = [(row["particles"], row["horizon"], row["resampling"]) for row in rows]
    assert sorted(shapes) == [
        ("10", "1", "none"),
        ("10", "2", "gaussian"),
        ("10", "2", "none"),
        ("20", "2", "none"),
    ]
    for row in rows:
        assert float(row["ratio"]) == pytest.approx(float(row["step_ms"]) / float(row["floor_ms"]), rel=1e-3)
    assert (out / "study_speed.png").read_bytes().startswith(b"\x89PNG")
    assert [row["transitions"] for row in csv.DictReader((out / "study_fit_speed.csv").open())] == ["10"]
    assert "fit to 10 transitions" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--particles", "7"], "split evenly"),
        (["--rounds", "0"], "rounds"),
        (["--threads", "0"], "threads"),
        (["--horizon", "0"], "horizon"),
        (["--resampling", "gausian"], "gaussian"),
        (["--device", "cuda:99"], "cuda:99"),
    ],
)
def test_mistakes_are_one_line(options, message, tmp_path, capsys):
    assert main(["speed", *SMALL, "--out", str(tmp_path), *options]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert message in error
