"""What every policy promises, whatever its parameters are called."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from mbrl_agent.contract.agents import learns_and_is_saved
from mbrl_agent.contract.choices import CHOICE_RULES
from mbrl_agent.contract.rules import (
    DTYPES,
    REPLICATES,
    check_all,
    generator,
    normal,
    nothing_global,
    require,
    require_close,
    require_same,
    require_tensor,
    tolerance_of,
)
from mbrl_agent.policies.base import DifferentiableController, PolicyOptions, SearchPolicy

D, U, ANGLE = 3, 2, 1
OBSERVATIONS = spaces.Box(-np.inf, np.inf, (D,), np.float32)
LOW, HIGH = np.array([-2, 1], np.float32), np.array([2, 5], np.float32)
KEPT = 1e-6
"""How far an action may move when the standardisation changes: the buffers are those of float64."""


def states(*shape: int, seed: int = 1, dtype: torch.dtype = torch.float64) -> Tensor:
    """States around zero."""
    return 3 * normal(*shape, D, seed=seed, dtype=dtype)


def inputs(policy: SearchPolicy, *shape: int, seed: int = 1, dtype: torch.dtype = torch.float64) -> Tensor:
    """States around zero and, behind them, what a policy with a memory remembers."""
    memory = normal(*shape, policy.memory_dims, seed=seed + 100, dtype=dtype)
    return torch.cat([states(*shape, seed=seed, dtype=dtype), memory], dim=-1)


def make(policy: PolicyOptions, dtype: torch.dtype = torch.float64) -> SearchPolicy:
    """Return the policy, standardised to some states."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = policy.policy_class(
            OBSERVATIONS, spaces.Box(LOW, HIGH), angle_dims=(ANGLE,), **policy.policy_kwargs()
        )
    made.restandardize(4 + states(20, seed=9))
    return made.to(dtype)


def noise_of(
    policy: SearchPolicy, *shape: int, seed: int = 3, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, ...]:
    """Return what the policy takes beside the states while it is improved: nothing if it is not noisy."""
    columns = policy.noise_dims
    return (normal(*shape, columns, seed=seed, dtype=dtype),) if columns else ()


def drawn(policy: SearchPolicy, *replicates: int, seed: int = 2) -> dict[str, Tensor]:
    """Fresh parameters with these replicate axes."""
    dtype = policy.feature_mean.dtype
    count = math.prod(replicates)
    flat = policy.initial_parameters(states(30, dtype=dtype), count, generator(seed))
    return {key: value.reshape(*replicates, *value.shape[1:]) for key, value in flat.items()}


def check_is_policy(policy: PolicyOptions) -> None:
    """The options name a policy class that they can make."""
    require(isinstance(policy, PolicyOptions), "it must derive from mbrl_agent.PolicyOptions")
    is_class = isinstance(policy.policy_class, type) and issubclass(policy.policy_class, SearchPolicy)
    require(is_class, "policy_class must be a subclass of mbrl_agent.SearchPolicy")
    require(bool(make(policy).parameter_dict()), "the policy must have parameters (nn.Parameter)")


def check_actions(policy: PolicyOptions) -> None:
    """Actions lie in [-1, 1], however large the parameters."""
    for dtype in DTYPES:
        made = make(policy, dtype)
        for replicates in REPLICATES:
            parameters, state = drawn(made, *replicates), inputs(made, *replicates, 50, dtype=dtype)
            for factor in (1, 10):
                loud = {key: factor * value for key, value in parameters.items()}
                action = made.controller(loud)(state)
                require_tensor(action, (*replicates, 50, U + made.memory_dims), dtype, "actions")
                require((action[..., :U].abs() <= 1).all(), "actions must lie in [-1, 1]")


def check_initial_parameters(policy: PolicyOptions) -> None:
    """They are shaped as the policy's own, drawn from the generator alone, and different."""
    for dtype in DTYPES:
        made = make(policy, dtype)
        own = {key: tuple(value.shape) for key, value in made.named_parameters()}
        for count in (1, 2, 50):
            visited = states(count, dtype=dtype)
            with nothing_global("initial_parameters", visited):
                found = made.initial_parameters(visited, 4, generator())
            require(list(found) == list(own), f"initial_parameters must hold {list(own)}, got {list(found)}")
            for key, shape in own.items():
                require_tensor(
                    found[key], (4, *shape), dtype, f"initial_parameters of {count} states, {key!r}"
                )
        one, same, other = drawn(made, 2), drawn(made, 2), drawn(made, 2, seed=5)
        require_same(list(one.values()), list(same.values()), "initial_parameters")
        differ = any(not torch.equal(one[key], other[key]) for key in one)
        require(differ, "initial_parameters must be drawn with the generator")
        apart = any(not torch.equal(value[0], value[1]) for value in one.values())
        require(apart, "initial_parameters must draw each replicate on its own")


def check_purity(policy: PolicyOptions) -> None:
    """The same state gives the same action, bitwise."""
    made = make(policy)
    parameters, state = drawn(made, 2), inputs(made, 2, 5)
    for values in ((state,), (state, *noise_of(made, 2, 5))):
        with nothing_global("a controller", *values, *parameters.values()):
            once = made.controller(parameters)(*values)
        require_same([once], [made.controller(parameters)(*values)], "a controller")


def check_replicates(policy: PolicyOptions) -> None:
    """Each replicate acts by its own parameters, each particle by its own state."""
    for dtype in DTYPES:
        made = make(policy, dtype)
        parameters, state = drawn(made, 2, 3), inputs(made, 2, 3, 6, dtype=dtype)
        noise = noise_of(made, 2, 3, 6, dtype=dtype)
        together = made.controller(parameters)(state, *noise)
        for i in range(2):
            for j in range(3):
                own = {key: value[i, j] for key, value in parameters.items()}
                rule = "a replicate side by side with others must act as it acts alone"
                alone = made.controller(own)(state[i, j], *(value[i, j] for value in noise))
                require_close(together[i, j], alone, rule, tolerance_of(dtype))
        moved = state.clone()
        moved[1, 2, 4] += 1.0
        after = made.controller(parameters)(moved, *noise)
        others = torch.ones(2, 3, 6, dtype=torch.bool)
        others[1, 2, 4] = False
        rule = "the action of a particle must not depend on the states of others"
        require_close(after[others], together[others], rule, tolerance_of(dtype))


def check_derivative(policy: PolicyOptions) -> None:
    """`differentiable_controller` acts as `controller` does, and its derivative is autograd's."""
    for replicates in REPLICATES:
        made = make(policy)
        parameters = drawn(made, *replicates)
        own = made.differentiable_controller(parameters)
        general = DifferentiableController(made.controller, parameters)
        several = [
            (inputs(made, *replicates, 4, seed=seed), *noise_of(made, *replicates, 4, seed=seed))
            for seed in range(3)
        ]
        records = [(own.vjp(*values), general.vjp(*values)) for values in several]
        for seed, ((action, pull_back), (expected, reference)) in enumerate(reversed(records)):
            require_close(action, expected, "differentiable_controller must act as controller does")
            by_action = normal(*action.shape, seed=seed)
            (found,), (by_state,) = pull_back(by_action), reference(by_action)
            require_close(found, by_state, "the controller's derivative by the state must be autograd's")
        gradient, by_parameters = own.gradient(), general.gradient()
        require(list(gradient) == list(by_parameters), "gradient() must hold every parameter by its name")
        for key, value in by_parameters.items():
            require_close(
                gradient[key],
                value,
                f"the controller's derivative by the parameter {key!r} must be autograd's",
            )


def check_jacobian(policy: PolicyOptions) -> None:
    """The sums over `jacobian` are those of every particle's own derivatives, by autograd."""
    for replicates in REPLICATES:
        made = make(policy)
        parameters = drawn(made, *replicates)
        values = inputs(made, *replicates, 6), *noise_of(made, *replicates, 6)
        own, general = made.jacobian(parameters)(*values), SearchPolicy.jacobian(made, parameters)(*values)
        require_close(own.gram(), general.gram(), "the Gram matrices of the jacobian must be autograd's")
        for further in ((), (2,)):
            by_action = normal(*further, *replicates, 6, U + made.memory_dims)
            for name in ("sum", "square_sum"):
                found, expected = (getattr(each, name)(by_action) for each in (own, general))
                require(set(found) == set(expected), f"{name} of the jacobian must hold every parameter")
                for key, value in expected.items():
                    rule = f"{name} of the jacobian by the parameter {key!r} must be autograd's"
                    require_close(found[key], value, rule)


def check_restandardization(policy: PolicyOptions) -> None:
    """When the standardisation changes, the policy and the candidates stay the same functions."""
    made = make(policy)
    state = inputs(made, 3, 7, seed=5)
    made.set_parameters(drawn(made))
    candidates = drawn(made, 3)
    own, others = made(state[0]), made.controller(candidates)(state)
    changed = made.restandardize(1.0 + states(40, seed=6) * torch.tensor([0.1, 1.0, 30.0]), candidates)
    require(
        changed is not None and list(changed) == list(candidates), "restandardize must return the candidates"
    )
    assert changed is not None
    rule = "must stay the same function when the standardisation of the features changes: see change_inputs"
    require_close(made(state[0]), own, f"the policy {rule}", KEPT)
    require_close(made.controller(changed)(state), others, f"a candidate {rule}", KEPT)
    one = torch.ones_like(made.feature_mean)
    if made.change_inputs(drawn(made), one, 0 * one) is None:  # it is never standardised
        made.feature_mean.add_(0.5)
        rule = "without change_inputs a policy must take raw features, self.features, not self.standardized"
        require_close(made(state[0]), own, rule)


def check_predict(policy: PolicyOptions) -> None:
    """It is a policy of Stable-Baselines3: `predict` rescales to the bounds."""
    made = make(policy, torch.float32)
    state = inputs(made, 50, dtype=torch.float32)
    made.set_parameters(drawn(made))
    with torch.no_grad():
        unit = made(state)
    rule = "forward must be the controller at the policy's own parameters"
    require_close(unit, made.controller(made.parameter_dict())(state), rule, 1e-5)
    memory = (state[:, D:].numpy(),) if made.memory_dims else None
    found, kept = made.predict(state[:, :D].numpy(), memory)
    expected = torch.from_numpy(LOW + (unit[:, :U].numpy() + 1) / 2 * (HIGH - LOW))
    rule = "predict must give the actions of forward, rescaled to the bounds of the action space"
    require_close(torch.from_numpy(found), expected, rule, 1e-4)
    if made.memory_dims:
        require(kept is not None and len(kept) == 1, "predict must return what is remembered, in a tuple")
        assert kept is not None
        rule = "predict must return what forward remembers"
        require_close(torch.from_numpy(kept[0]), unit[:, U:], rule, 1e-5)


def check_memory(policy: PolicyOptions) -> None:
    """What is remembered makes a difference, is zero where an episode starts, and stays finite."""
    made = make(policy)
    if not made.memory_dims:
        return
    made.set_parameters(drawn(made))
    state = states(4, dtype=torch.float32).numpy()
    first, memory = made.predict(state)
    later, memory = made.predict(state, memory)
    require(bool((later != first).any()), "what a policy remembers must make a difference")
    starts = np.array([True, False, True, False])
    again, _ = made.predict(state, memory, starts)
    rule = "where an episode starts, predict must act as it does without a state"
    require_close(torch.from_numpy(again[starts]), torch.from_numpy(first[starts]), rule, 1e-5)
    for _ in range(200):
        _, memory = made.predict(state, memory)
    assert memory is not None
    require(bool(np.isfinite(memory[0]).all()), "what is remembered must stay finite")


def check_in_agent(policy: PolicyOptions) -> None:
    """It learns, is saved and goes on in a tiny agent."""
    learns_and_is_saved(policy=policy)


RULES: tuple[Callable[[Any], None], ...] = (
    check_is_policy,
    *CHOICE_RULES,
    check_initial_parameters,
    check_actions,
    check_purity,
    check_replicates,
    check_derivative,
    check_jacobian,
    check_restandardization,
    check_predict,
    check_memory,
    check_in_agent,
)


def check_policy(policy: Any) -> None:
    """Check everything that a policy promises.

    Args:
        policy: An instance of its options.

    Raises:
        ContractError: A rule is broken; the message says which.
    """
    check_all(RULES, policy, f"policy {policy!r}")
