"""Adam: bit by bit that of PyTorch, without an import of its compiler."""

import subprocess
import sys

import pytest
import torch

from mbrl_agent.adam import Adam, cosine

SHAPES = [(3, 4), (4,), (1,)]


def parameters(seed: int = 0) -> list[torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=g) for shape in SHAPES]


@pytest.mark.parametrize("decay", [0.0, 1.0])
def test_it_is_pytorchs_bit_by_bit(decay):
    own, other = parameters(), [value.requires_grad_() for value in parameters()]
    adam = Adam(own, decay)
    reference = torch.optim.AdamW(other, lr=0.1, weight_decay=decay, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(reference, 50)
    for step in range(50):
        gradients = parameters(seed=step + 1)
        adam.step(gradients, cosine(0.1, step, 50))
        for value, gradient in zip(other, gradients, strict=True):
            value.grad = gradient
        reference.step()
        schedule.step()
    for value, expected in zip(own, other, strict=True):
        torch.testing.assert_close(value, expected.detach(), rtol=1e-6, atol=1e-7)  # (the schedule recurs)


def test_at_a_constant_step_size_it_is_also_pytorchs_plain_adam():
    own, other = parameters(), [value.requires_grad_() for value in parameters()]
    adam, reference = Adam(own), torch.optim.Adam(other, lr=0.1, fused=True)
    for step in range(20):
        gradients = parameters(seed=step + 1)
        adam.step(gradients, 0.1)
        for value, gradient in zip(other, gradients, strict=True):
            value.grad = gradient
        reference.step()
    for value, expected in zip(own, other, strict=True):
        assert torch.equal(value, expected.detach())


def test_a_skipped_step_changes_nothing():
    own, expected = parameters(), parameters()
    adam, other = Adam(own), Adam(expected)
    for step in range(5):
        gradients = parameters(seed=step + 1)
        if step == 2:
            bad = [value * torch.nan for value in gradients]
            adam.step(bad, 0.1, torch.ones(()))
        else:
            adam.step(gradients, 0.1, torch.zeros(()))
            other.step(gradients, 0.1)
    for value, other_value in zip(own, expected, strict=True):
        assert torch.equal(value, other_value)


def test_it_forgets_and_takes_over():
    fresh, again = parameters(), parameters()
    adam, forgetful = Adam(fresh), Adam(again)
    forgetful.step(parameters(3), 0.1)
    for value, start in zip(again, parameters(), strict=True):
        value.copy_(start)
    forgetful.reset()
    heir_values = parameters()
    for optimizer in (adam, forgetful):
        optimizer.step(parameters(4), 0.1)
    for value, start in zip(heir_values, fresh, strict=True):
        value.copy_(start)
    heir = Adam(heir_values)
    heir.take_over(adam)
    for optimizer in (adam, forgetful, heir):
        optimizer.step(parameters(5), 0.1)
    for one, two, three in zip(fresh, again, heir_values, strict=True):
        assert torch.equal(one, two)
        assert torch.equal(one, three)


def test_pytorchs_compiler_is_not_imported():
    """A second that a run does not have to wait for."""
    code = (
        "import sys, torch; from mbrl_agent.adam import Adam\n"
        "Adam([torch.zeros(2)]).step([torch.ones(2)], 0.1)\n"
        "sys.exit('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(("step", "expected"), [(0, 0.2), (5, 0.1), (10, 0.0)])
def test_the_cosine(step, expected):
    assert cosine(0.2, step, 10) == pytest.approx(expected)
