"""One gradient step: Adam, clipping, skipping; as a CUDA graph the same, emulated here and on a real GPU."""

import contextlib
import gc
import math
import warnings
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
import pytest
import torch
from gymnasium import spaces

from mbrl_agent.adam import Adam
from mbrl_agent.dynamics.ensemble import Ensemble
from mbrl_agent.features import AngleFeatures
from mbrl_agent.policies.rbf import RbfPolicy
from mbrl_agent.resampling import RESAMPLERS
from mbrl_agent.search.estimators.base import Estimator
from mbrl_agent.search.estimators.reparameterization import Reparameterization
from mbrl_agent.search.gradient_step import MAX_SKIPPED, WARM_UP_STEPS, GradientStep
from mbrl_agent.search.rollout import Noise, Simulation
from mbrl_agent.types import GradientEstimate

D, U, R, P, T = 2, 1, 3, 30, 4
RATE = 0.05


def cost(state, action):
    return 1 - (-0.5 * (state[..., 0] ** 2 + 0.25 * state[..., 1] ** 2)).exp() + 0.1 * action[..., 0] ** 2


def simulate(name: str = "gaussian", seed: int = 0) -> Simulation:
    """The same but for initial particles and noise, whatever the seed."""
    g = torch.Generator().manual_seed(7)
    dynamics = Ensemble(members=3, hidden=(8,)).build(AngleFeatures(D, (1,)), U, g)
    dynamics.target_std.fill_(0.3)
    box = spaces.Box(-np.inf, np.inf, (D,), np.float32)
    policy = RbfPolicy(box, spaces.Box(-1, 1, (U,), np.float32), angle_dims=(1,), centers=5)
    resampler = RESAMPLERS.resolve(name)
    g.manual_seed(seed)
    start = torch.randn(R, P, D, generator=g)
    return Simulation(policy, dynamics, cost, resampler, start, Noise.draw(dynamics, resampler, start, T, g))


def start() -> dict[str, torch.Tensor]:
    g = torch.Generator().manual_seed(3)
    return simulate().policy.initial_parameters(torch.randn(20, D, generator=g), R, g)


def make(estimator: Estimator | None = None, simulation: Simulation | None = None, norm: float = 1.0):
    return GradientStep(estimator or Reparameterization(), start(), simulation or simulate(), RATE, norm)


@dataclass(frozen=True)
class Scripted(Estimator):
    """Gradients and costs of a script, call by call: a number a candidate for all parameters."""

    name: ClassVar[str] = "scripted"
    gradients: list
    costs: list = field(default_factory=lambda: [[0.0] * R])
    calls: list = field(default_factory=list)

    def __call__(self, parameters, simulation):
        call = len(self.calls)
        self.calls.append(call)
        values = torch.tensor(self.gradients[call % len(self.gradients)])
        gradient = {
            key: values.view(-1, *[1] * (value.ndim - 1)).expand_as(value).clone()
            for key, value in parameters.items()
        }
        return GradientEstimate(gradient, torch.tensor(self.costs[call % len(self.costs)]))


def flat(values: dict[str, torch.Tensor]) -> torch.Tensor:
    return torch.cat([value.reshape(len(value), -1) for value in values.values()], dim=1)


def snapshot(values: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in values.items()}


# parameters and simulation ---------------------------------------------------------------------------------


def test_parameters_are_copied():
    given = start()
    step = GradientStep(Reparameterization(), given, simulate(), RATE, 1.0)
    before = snapshot(given)
    step()
    assert all(torch.equal(given[key], before[key]) for key in given)
    own = snapshot(step.parameters)
    for value in given.values():
        value.zero_()
    assert all(torch.equal(step.parameters[key], own[key]) for key in own)
    assert not any(torch.equal(own[key], before[key]) for key in own)


def test_candidates_that_share_their_memory_are_parted():
    shared = {key: value[:1].expand_as(value) for key, value in start().items()}
    step = GradientStep(Reparameterization(), shared, simulate(), RATE, 1.0)
    for seed in range(5):  # Adam's first step has one size for all
        step.renew(simulate(seed=seed))
        step()
    for key, value in step.parameters.items():
        assert torch.equal(shared[key][0], shared[key][2])
        assert not torch.equal(value[0], value[2])


def test_parameters_may_require_gradients():
    leaves = {key: torch.nn.Parameter(value) for key, value in start().items()}
    step, other = GradientStep(Reparameterization(), leaves, simulate(), RATE, 1.0), make()
    assert torch.equal(step().expected_cost, other().expected_cost)
    assert all(torch.equal(step.parameters[key], other.parameters[key]) for key in leaves)
    assert not any(value.requires_grad for value in step.parameters.values())


def test_storage_stays_where_it_is():
    simulation = simulate()
    step = make(simulation=simulation)
    noise = simulation.noise
    held = [*step.parameters.values(), simulation.initial_particles, noise.model, noise.resampling]
    places = [value.data_ptr() for value in held]
    step()
    step.renew(simulate(seed=1))
    step()
    assert [value.data_ptr() for value in held] == places
    assert all(a is b for a, b in zip(held, step.parameters.values(), strict=False))


def test_renewed_it_is_the_step_of_the_other_simulation():
    step, other = make(Reparameterization()), simulate(seed=1)
    copy = replace(other, initial_particles=other.initial_particles.clone())
    step.renew(other)
    other.initial_particles.fill_(5.0)  # taken over, not kept
    result, expected = step(), make(simulation=copy)()
    for name, value in vars(result).items():
        assert torch.equal(value, vars(expected)[name]), name
    assert not torch.equal(result.expected_cost, make()().expected_cost)


@pytest.mark.parametrize("part", ["initial_particles", "model", "resampling"])
def test_all_randomness_is_renewed(part):
    own, other = simulate(), simulate(seed=1)
    step = make(simulation=own)
    step.renew(other)
    pair = [getattr(s if part == "initial_particles" else s.noise, part) for s in (own, other)]
    assert torch.equal(*pair)
    assert pair[0] is not pair[1]


# the step --------------------------------------------------------------------------------------------------


def test_it_is_torchs_adam():
    step, simulation = make(norm=1e6), simulate()
    values = snapshot(start())
    adam = torch.optim.Adam(list(values.values()), lr=RATE)
    for number in range(5):
        other = simulate(seed=number)
        step.renew(other)
        result = step()
        estimate = Reparameterization()(values, replace(simulation, **vars_of(other)))
        for key, value in values.items():
            value.grad = estimate.gradient[key]
        adam.step()
        torch.testing.assert_close(result.expected_cost, estimate.expected_cost)
        torch.testing.assert_close(result.grad_norm, flat(estimate.gradient).norm(dim=1))
        assert bool(result.finite.all())
        assert result.jitter.tolist() == [0] * R
        for key, value in values.items():
            torch.testing.assert_close(step.parameters[key], value, rtol=1e-6, atol=1e-7)


def vars_of(simulation: Simulation) -> dict:
    return {"initial_particles": simulation.initial_particles, "noise": simulation.noise}


def test_each_candidates_gradient_is_clipped_to_the_norm(monkeypatch):
    taken = []
    monkeypatch.setattr(Adam, "step", lambda own, gradients, *others: taken.append(gradients))
    script = [[1e-4, 3.0, -1e6]]
    step = make(Scripted(script), norm=0.5)
    size = flat(step.parameters).shape[1] ** 0.5
    result = step()
    torch.testing.assert_close(result.grad_norm, size * torch.tensor(script[0]).abs())
    gradient = torch.stack([torch.cat([value.flatten() for value in values]) for values in taken])
    torch.testing.assert_close(gradient.norm(dim=1), torch.tensor([1e-4 * size, 0.5, 0.5]))
    assert torch.equal(gradient.sign(), torch.tensor([[1.0], [1.0], [-1.0]]).expand_as(gradient))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("what", ["gradients", "costs"])
def test_a_candidate_that_is_not_finite_is_left_alone(what, bad):
    good = {"gradients": [[1.0, -2.0, 0.5]], "costs": [[0.0, 0.1, 0.2]]}
    usual, step = make(Scripted(**good)), make(Scripted(**good | {what: [[1.0, bad, 0.5], *good[what]]}))
    before = snapshot(step.parameters)
    expected, result = usual(), step()
    assert result.finite.tolist() == [True, False, True]
    assert expected.finite.all()
    for key, value in step.parameters.items():
        assert torch.equal(value[1], before[key][1])
        assert torch.equal(value[[0, 2]], usual.parameters[key][[0, 2]])
    after = snapshot(step.parameters)
    step()
    for key, value in step.parameters.items():  # and goes on with the next, which it has not lost
        assert bool((value[1] > after[key][1]).all())


@pytest.mark.parametrize("what", ["gradients", "costs"])
def test_a_skipped_step_is_as_if_it_had_not_been(what):
    """Neither Adam's moments nor its count of steps know of it, however many there were and when."""
    values = [0.3, -0.2, 0.1, 0.25]
    bad = {0, 1, 2, 4, 5}  # steps that the second candidate fails
    script = {"gradients": [], "costs": []}
    good = iter(values)
    for number in range(len(values) + len(bad)):
        mine = 7.0 if number in bad else next(good)
        script["gradients"].append([0.1, mine, 0.1])
        script["costs"].append([0.0, 0.0, 0.0])
        if number in bad:
            script[what][-1][1] = math.nan
    step = make(Scripted(**script), norm=100.0)
    alone = make(Scripted([[value] * R for value in values]), norm=100.0)
    failures = [int(step().failures[1]) for _ in script["costs"]]
    for _ in values:
        alone()
    assert failures == [1, 2, 3, 0, 1, 2, 0, 0, 0]
    for key, value in step.parameters.items():
        assert torch.equal(value[1], alone.parameters[key][1])


def test_after_all_have_failed_for_long_nothing_changes_any_more():
    script = [[1.0] * R, *[[math.nan] * R] * MAX_SKIPPED, [1.0] * R]
    step = make(Scripted(script))
    step()
    before = snapshot(step.parameters)
    for _ in range(MAX_SKIPPED):
        assert not step.ended()
        step()
    assert step.ended()
    assert not step().finite.any()  # although its gradient was
    assert step.ended()
    assert all(torch.equal(step.parameters[key], before[key]) for key in before)


def test_a_candidate_does_not_coast_through_a_step_that_is_skipped():
    """Adam has momentum; a skipped candidate stays all the same."""
    step = make(Scripted([[1.0] * R, [1.0, math.nan, 1.0]]))
    step()
    before = snapshot(step.parameters)
    step()
    for key, value in step.parameters.items():
        assert torch.equal(value[1], before[key][1])
        assert not torch.equal(value[0], before[key][0])


def test_a_parameter_may_be_a_single_number():
    values = {"gain": torch.tensor([1.0, 2.0, 3.0]), "weights": torch.ones(R, 2)}
    step = GradientStep(Scripted([[1.0, 2.0, math.nan]]), values, simulate(), RATE, 100.0)
    norm = step().grad_norm
    torch.testing.assert_close(norm[:2], 3**0.5 * torch.tensor([1.0, 2.0]))
    torch.testing.assert_close(step.parameters["gain"], torch.tensor([1.0 - RATE, 2.0 - RATE, 3.0]))


def test_jitter_is_passed_on():
    @dataclass(frozen=True)
    class Jittered(Reparameterization):
        def __call__(self, parameters, simulation):
            estimate = super().__call__(parameters, simulation)
            return replace(estimate, diagnostics={"jitter": torch.tensor([1, 0, 2])})

    assert make(Jittered())().jitter.tolist() == [1, 0, 2]


def test_results_are_not_overwritten_and_nothing_piles_up():
    """With the garbage collector off, fifty steps leave four tensors each: their results."""
    step, results = make(), []
    results += [step() for _ in range(2)]
    first = vars(results[0].clone())

    def tensors() -> int:
        return sum(type(thing) is torch.Tensor for thing in gc.get_objects())

    gc.collect()
    gc.disable()
    try:
        before = tensors()
        for _ in range(50):
            results.append(step())
        assert tensors() - before == 4 * 50
    finally:
        gc.enable()
    assert all(torch.equal(value, first[name]) for name, value in vars(results[0]).items())


# as a CUDA graph, emulated ---------------------------------------------------------------------------------


class OnGpu(torch.Tensor):
    """Says that it is on a GPU; what is made of it is an ordinary tensor."""

    is_cuda = True
    __torch_function__ = torch._C._disabled_torch_function_impl


class Emulation:
    """Stands in for torch.cuda: a capture runs the step, a replay runs it anew into the same tensors."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, fails: str = "") -> None:
        self.log: list[str] = []
        self.fails = fails
        self.step: GradientStep | None = None
        stream = type("Stream", (), {"wait_stream": lambda own, other: self.log.append("wait")})
        monkeypatch.setattr(torch.cuda, "Stream", stream)
        monkeypatch.setattr(torch.cuda, "current_stream", stream)
        monkeypatch.setattr(torch.cuda, "stream", lambda stream: contextlib.nullcontext())
        monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: self)
        monkeypatch.setattr(torch.cuda, "graph", self.graph)

    @contextlib.contextmanager
    def graph(self, graph):
        assert graph is self
        self.log.append("capture")
        yield
        if self.fails:
            raise RuntimeError(self.fails)

    def replay(self) -> None:
        self.log.append("replay")
        fresh = vars(self.step._step())
        for name, value in vars(self.step._captured).items():
            value.copy_(fresh[name])


def emulated(estimator: Estimator | None = None) -> GradientStep:
    simulation = simulate()
    on_gpu = simulation.initial_particles.as_subclass(OnGpu)
    return make(estimator, replace(simulation, initial_particles=on_gpu))


def test_a_cpu_captures_nothing(monkeypatch):
    monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: pytest.fail("captured"))
    make()()


def test_a_captured_step_is_the_same_step(monkeypatch):
    usual = make()
    emulation = Emulation(monkeypatch)
    step = emulation.step = emulated()
    assert emulation.log == ["wait", "wait", "capture"]
    for key, value in start().items():  # what the capture took has been undone
        assert torch.equal(step.parameters[key], value)
    results, expected = [], []
    for number in range(6):
        if number == 3:
            step.renew(simulate(seed=1))
            usual.renew(simulate(seed=1))
        results.append(step())
        expected.append(usual())
    assert emulation.log[3:] == ["replay"] * 6
    for result, other in zip(results, expected, strict=True):  # none has been overwritten
        for name, value in vars(result).items():
            assert torch.equal(value, vars(other)[name]), name
    for key, value in usual.parameters.items():
        assert torch.equal(step.parameters[key], value)


def test_the_warm_up_takes_the_steps_that_it_says(monkeypatch):
    Emulation(monkeypatch)
    estimator = Scripted([[1.0] * R])
    emulated(estimator)
    assert len(estimator.calls) == WARM_UP_STEPS + 1


def test_what_cannot_be_captured_is_launched_anew(monkeypatch):
    usual = make()
    emulation = Emulation(monkeypatch, fails="operation not permitted when stream is capturing")
    with pytest.warns(UserWarning, match=r"no CUDA graph.*: operation not permitted") as caught:
        step = emulated()
    assert caught[0].filename == __file__
    for _ in range(3):
        assert torch.equal(step().grad_norm, usual().grad_norm)
    assert "replay" not in emulation.log
    assert all(torch.equal(step.parameters[key], value) for key, value in usual.parameters.items())


def test_errors_of_the_step_itself_are_not_hidden(monkeypatch):
    @dataclass(frozen=True)
    class Broken(Reparameterization):
        def __call__(self, parameters, simulation):
            raise RuntimeError("a mistake")

    Emulation(monkeypatch)
    with pytest.raises(RuntimeError, match="a mistake"):
        emulated(Broken())


# on a real GPU ---------------------------------------------------------------------------------------------

on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
every_resampler = pytest.mark.parametrize("name", RESAMPLERS.names())


def on_cuda(simulation: Simulation) -> Simulation:
    noise = Noise(simulation.noise.model.cuda(), simulation.noise.resampling.cuda())
    return replace(
        simulation,
        policy=simulation.policy.cuda(),
        dynamics=simulation.dynamics.cuda(),
        initial_particles=simulation.initial_particles.cuda(),
        noise=noise,
    )


def on_cuda_all(values: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {key: value.cuda() for key, value in values.items()}


@on_gpu
@every_resampler
def test_a_gpu_finds_the_same_gradient(name):
    expected = Reparameterization()(start(), simulate(name))
    found = Reparameterization()(on_cuda_all(start()), on_cuda(simulate(name)))
    torch.testing.assert_close(found.expected_cost.cpu(), expected.expected_cost, rtol=1e-4, atol=1e-4)
    for key, value in expected.gradient.items():
        assert float((found.gradient[key].cpu() - value).norm()) < 1e-4 * float(value.norm())


@on_gpu
@pytest.mark.parametrize("terminated", [None, lambda state: state[..., 0] > 0.5], ids=["goes on", "ends"])
@every_resampler
def test_captured_steps_are_the_launched_ones(name, terminated):
    def there(**options) -> Simulation:
        return replace(on_cuda(simulate(name, **options)), terminated=terminated)

    with warnings.catch_warnings():
        warnings.simplefilter("error")  # it can be captured
        captured = GradientStep(Reparameterization(), on_cuda_all(start()), there(), RATE, 1.0)
    launched = GradientStep(Reparameterization(), on_cuda_all(start()), there(), RATE, 1.0)
    assert launched._graph is not None
    launched._graph = None
    for number in range(50):
        if number % 10 == 9:
            for step in (captured, launched):
                step.renew(there(seed=number))
        one, other = captured(), launched()
        torch.testing.assert_close(one.expected_cost, other.expected_cost, rtol=1e-4, atol=1e-4)
    for key, value in launched.parameters.items():
        torch.testing.assert_close(captured.parameters[key], value, rtol=1e-3, atol=1e-3)


@on_gpu
@pytest.mark.parametrize("launched", [False, True])
def test_memory_does_not_grow_with_the_number_of_steps(launched):
    step = GradientStep(Reparameterization(), on_cuda_all(start()), on_cuda(simulate()), RATE, 1.0)
    if launched:
        step._graph = None
    for _ in range(5):
        step()
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    for _ in range(50):
        step()
    torch.cuda.synchronize()
    assert torch.cuda.memory_allocated() == before
