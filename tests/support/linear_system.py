"""A noisy linear system, of which the best that any model can do is known."""

import math

import torch

from mbrl_agent.dynamics.base import DynamicsModel
from mbrl_agent.types import Transitions

ROTATION = torch.tensor([[0.9, 0.2], [-0.2, 0.9]], dtype=torch.float64)
INPUT = torch.tensor([[0.0, 1.0]], dtype=torch.float64)


def linear_system(count: int, seed: int, noise: float) -> Transitions:
    """Transitions x' = A x + B u + noise e, from states of a spread of 1."""
    generator = torch.Generator().manual_seed(seed)
    states, noises = torch.randn(2, count, 2, generator=generator, dtype=torch.float64)
    actions = 2 * torch.rand(count, 1, generator=generator, dtype=torch.float64) - 1
    return Transitions(states, actions, states @ ROTATION.mT + actions @ INPUT + noise * noises)


def true_nll(noise: float) -> float:
    """Negative log-likelihood of fresh transitions by the truth [nats a dimension]."""
    return 0.5 * math.log(2 * math.pi * math.e * noise**2)


def mixture_nll(model: DynamicsModel, transitions: Transitions, functions: int) -> float:
    """Negative log-likelihood of transitions by the mixture of the model's functions [nats a dimension].

    Args:
        model: Fitted.
        transitions: N.
        functions: How many particles predict each transition: the members of an ensemble, or enough draws.
    """
    count = len(transitions)
    states, actions, after = (
        values.float().repeat(functions, 1)  # particle i belongs to function i // N
        for values in (transitions.states, transitions.actions, transitions.next_states)
    )
    prediction = model.predict(states, actions)
    log_probs = torch.distributions.Normal(prediction.mean, prediction.std).log_prob(after).sum(-1)
    mixture = log_probs.view(functions, count).logsumexp(0) - math.log(functions)
    return -float(mixture.mean()) / states.shape[-1]
