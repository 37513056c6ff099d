"""What every resampling strategy promises."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mbrl_agent.contract.agents import learns_and_is_saved, particles_for
from mbrl_agent.contract.choices import CHOICE_RULES
from mbrl_agent.contract.rules import (
    DTYPES,
    REPLICATES,
    check_all,
    normal,
    nothing_global,
    refuses,
    require,
    require_close,
    require_same,
    require_tensor,
    tolerance_of,
)
from mbrl_agent.resampling.base import Resampler
from mbrl_agent.types import Prediction, Resampled

P, D = 24, 2
CLOUDS = {
    "all at one point": (0.0, 0.0, 0.0),
    "one dimension constant": (1.0, 0.0, 1.0),
    "huge": (1e6, 1e6, 1e6),
    "tiny": (1e-6, 1e-6, 1e-6),
    "of mixed scales": (1e6, 1e-6, 1.0),
}
CENTRE = (0.3, -0.7, 2.0)

Inputs = tuple[Tensor, Tensor, Tensor, Tensor]
"""Mean, standard deviation, particles, noise."""


def make_inputs(
    resampler: Resampler,
    *replicates: int,
    particles: int = P,
    dims: int = D,
    dtype: torch.dtype = torch.float64,
) -> Inputs:
    """Make a prediction, one sample of it, and noise, for at least so many particles."""
    count = particles_for(lambda n: resampler.validate(n, dims), particles)
    shape = (*replicates, count)
    mean, error = (normal(*shape, dims, seed=seed, dtype=dtype) for seed in range(2))
    std = 0.1 + normal(*shape, dims, seed=2, dtype=dtype).abs()
    return mean, std, mean + std * error, normal(*shape, resampler.noise_dims(dims), seed=3, dtype=dtype)


def two_steps(
    resampler: Resampler, mean: Tensor, std: Tensor, particles: Tensor, noise: Tensor
) -> tuple[Resampled, Resampled]:
    """Resample, predict again with a made-up model, resample with the state that came back."""
    first = resampler(Prediction(mean, std), particles, noise, None)
    require(isinstance(first, Resampled), f"it must return Resampled, got {type(first).__name__}")
    mean = torch.tanh(1.3 * first.particles)
    return first, resampler(Prediction(mean, std), mean + 0.2 * particles, noise.flip(-2), first.state)


def values_of(steps: tuple[Resampled, ...]) -> list[Tensor | None]:
    """Return the tensors that steps returned."""
    return [
        value for out in steps for value in (out.particles, out.weights, out.state, out.log_prob, out.jitter)
    ]


def check_attributes(resampler: Resampler) -> None:
    """It says what the estimators and the rollout ask of it."""
    require(isinstance(resampler, Resampler), "it must derive from mbrl_agent.Resampler")
    require(isinstance(resampler.mixes_particles, bool), "mixes_particles must be True or False")
    require(isinstance(resampler.exact_gradient, bool), "exact_gradient must be True or False")
    columns = resampler.noise_dims(4)
    require(
        isinstance(columns, int) and columns >= 0, f"noise_dims must be a number of columns, got {columns!r}"
    )


def check_shapes(resampler: Resampler) -> None:
    """Leading replicate axes go through, and the dtype is that of the inputs."""
    for replicates in REPLICATES:
        for dtype in DTYPES:
            inputs = make_inputs(resampler, *replicates, dtype=dtype)
            shape = inputs[0].shape
            for out in two_steps(resampler, *inputs):
                require_tensor(out.particles, shape, dtype, "particles")
                require_tensor(out.weights, shape[:-1], dtype, "weights")
                if out.jitter is not None:
                    require_tensor(out.jitter, replicates, dtype, "jitter")
                    require(not out.jitter.any(), "jitter must be zero where nothing is singular")
                if out.log_prob is not None:
                    require_tensor(out.log_prob, shape[:-1], dtype, "log_prob")


def check_weights(resampler: Resampler) -> None:
    """The weights are shares."""
    for out in two_steps(resampler, *make_inputs(resampler, 3)):
        require((out.weights >= 0).all(), "weights must not be negative")
        total = out.weights.sum(-1)
        require_close(total, torch.ones_like(total), "weights must sum to one over the particles")


def check_purity(resampler: Resampler) -> None:
    """The same noise gives the same result, bitwise, and nothing else is touched."""
    inputs = make_inputs(resampler, 2)
    with nothing_global("resampling", *inputs):
        once = two_steps(resampler, *inputs)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(123)
        again = two_steps(resampler, *inputs)
    require_same(values_of(once), values_of(again), "resampling")


def check_replicates(resampler: Resampler) -> None:
    """Particles never mix across replicates."""
    for dtype in DTYPES:
        inputs = make_inputs(resampler, 2, 3, dtype=dtype)
        together = two_steps(resampler, *inputs)
        for i in range(2):
            for j in range(3):
                alone = two_steps(resampler, *(value[i, j] for value in inputs))
                for whole, part in zip(together, alone, strict=True):
                    rule = "a replicate side by side with others must give what it gives alone"
                    require_close(whole.particles[i, j], part.particles, rule, tolerance_of(dtype))
                    require_close(whole.weights[i, j], part.weights, rule, tolerance_of(dtype))


def check_what_is_not_finite(resampler: Resampler) -> None:
    """A value that is not finite stays visible, and in its replicate."""
    for bad in (float("nan"), float("inf")):
        mean, std, particles, noise = make_inputs(resampler, 2)
        mean[0, 3, 1] = particles[0, 3, 1] = bad
        broken = two_steps(resampler, mean, std, particles, noise)
        hidden = all(bool(out.particles[0].isfinite().all()) for out in broken)
        require(not hidden, f"a particle that is {bad} must not be hidden")
        for out in broken:
            require(
                out.particles[1].isfinite().all(),
                f"a particle that is {bad} must not spread to other replicates",
            )


def check_mixing(resampler: Resampler) -> None:
    """`mixes_particles` is what happens."""
    mean, std, particles, noise = make_inputs(resampler)
    nudge = torch.zeros_like(mean)
    nudge[5] = 0.3
    before = resampler(Prediction(mean, std), particles, noise, None).particles
    after = resampler(Prediction(mean + nudge, std), particles + nudge, noise, None).particles
    others = torch.arange(len(mean)) != 5
    mixes = not torch.equal(before[others], after[others])
    require(
        mixes == resampler.mixes_particles,
        f"mixes_particles is {resampler.mixes_particles}, but the value of one particle "
        f"{'changes' if mixes else 'does not change'} the others",
    )


def check_degenerate_clouds(resampler: Resampler) -> None:
    """Values and derivatives are finite whatever the scales, and a constant dimension stays what it is."""
    for dtype in DTYPES:
        for name, size in CLOUDS.items():
            mean, std, particles, noise = make_inputs(resampler, particles=30, dims=3, dtype=dtype)
            scale, centre = torch.tensor(size, dtype=dtype), torch.tensor(CENTRE, dtype=dtype)
            inputs = (centre + scale * mean, scale * std, centre + scale * particles, noise)
            first = _check_finite(resampler, inputs, f"for a cloud {name}")
            still = scale == 0
            expected = centre[still].expand(len(mean), -1)
            rule = f"a dimension in which all particles are alike must stay as it is, for a cloud {name}"
            require_close(first.particles[:, still], expected, rule, 5e-6)
        line = mean[:, :1] * torch.tensor([1.0, -2.0, 3.0], dtype=dtype)
        _check_finite(resampler, (line, torch.zeros_like(line), line, noise), "for a cloud on a line")


def _check_finite(resampler: Resampler, inputs: Inputs, where: str) -> Resampled:
    mean, std, particles = leaves = [value.detach().clone().requires_grad_() for value in inputs[:3]]
    steps = two_steps(resampler, mean, std, particles, inputs[3])
    for out in steps:
        require(out.particles.isfinite().all(), f"particles must be finite {where}")
        require(out.weights.isfinite().all(), f"weights must be finite {where}")
    loss = torch.stack([(out.particles.sin().sum(-1) * out.weights).sum() for out in steps]).sum()
    for by in torch.autograd.grad(loss, leaves, allow_unused=True):
        require(by is None or by.isfinite().all(), f"derivatives must be finite {where}")
    return steps[0]


def check_written_derivative(resampler: Resampler) -> None:
    """`vjp` returns what a call returns, and the derivative that autograd finds."""
    for replicates in REPLICATES:
        mean, std, _, noise = make_inputs(resampler, *replicates, dims=3)
        particles, state = normal(*mean.shape, seed=7), None
        for _ in range(2):  # the second time with what the first has carried
            arguments = (Prediction(mean, std), particles, noise, state)
            called = resampler(*arguments)
            by_state = None if called.state is None else torch.zeros_like(called.state)
            if by_state is not None and by_state.is_floating_point():
                by_state = normal(*by_state.shape, seed=6)
            found, pull_back = resampler.vjp(*arguments)
            _, reference = Resampler.vjp(resampler, *arguments)
            for own, value in zip(values_of((found,)), values_of((called,)), strict=True):
                require_close(own, value, "vjp must return what a call returns")
            by = (normal(*mean.shape, seed=4), normal(*mean.shape[:-1], seed=5), by_state)
            for own, expected in zip(pull_back(*by), reference(*by), strict=True):
                spelt = own if own is None or expected is None else own.expand_as(expected)
                require_close(spelt, expected, "the derivative of vjp must be that of the function")
            state = called.state


def check_exact_gradient(resampler: Resampler) -> None:
    """Where it says `exact_gradient`, finite differences agree."""
    if not resampler.exact_gradient:
        return
    mean, std, particles, noise = make_inputs(resampler, particles=max(12, resampler.min_particles(D)))
    leaves = tuple(value.clone().requires_grad_() for value in (mean, std, particles))

    def outputs(mean: Tensor, std: Tensor, particles: Tensor) -> tuple[Tensor, ...]:
        steps = two_steps(resampler, mean, std, particles, noise)
        return tuple(value for out in steps for value in (out.particles, out.weights))

    exact = torch.autograd.gradcheck(outputs, leaves, raise_exception=False, check_undefined_grad=False)
    require(exact, "exact_gradient is True, but finite differences find another derivative")


def check_min_particles(resampler: Resampler) -> None:
    """It works with as few particles as it says, and refuses fewer."""
    fewest = resampler.min_particles(4)
    mean, std, particles, noise = make_inputs(resampler, particles=fewest, dims=4)
    resampled = resampler(Prediction(mean, std), particles, noise, None)
    require(
        resampled.particles.isfinite().all(), f"particles must be finite with the fewest, {len(mean)} of them"
    )
    require(
        refuses(lambda: resampler.validate(fewest - 1, 4)),
        f"validate must raise ValueError for {fewest - 1} particles, as min_particles is {fewest}",
    )


def check_carry(resampler: Resampler) -> None:
    """`carry` keeps what is carried where every particle stays."""
    state = two_steps(resampler, *make_inputs(resampler, 2))[1].state
    if state is not None:
        index = torch.arange(len(make_inputs(resampler)[0])).expand(2, -1)
        carried = resampler.carry(state, index)
        require(torch.equal(carried, state), "carry must leave the state as it is where every particle stays")


def check_in_agent(resampler: Resampler) -> None:
    """It learns, is saved and goes on in a tiny agent."""
    learns_and_is_saved(resampling=resampler)


RULES = (
    check_attributes,
    *CHOICE_RULES,
    check_shapes,
    check_weights,
    check_purity,
    check_replicates,
    check_what_is_not_finite,
    check_mixing,
    check_degenerate_clouds,
    check_written_derivative,
    check_exact_gradient,
    check_min_particles,
    check_carry,
    check_in_agent,
)


def check_resampler(resampler: Any) -> None:
    """Check everything that a resampling strategy promises.

    Args:
        resampler: An instance with any options.

    Raises:
        ContractError: A rule is broken; the message says which.
    """
    check_all(RULES, resampler, f"resampling {resampler!r}")
