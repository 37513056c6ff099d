"""Pull-backs by autograd: what is not there, what is not used, and what has no derivative."""

import gc
import weakref

import pytest
import torch

from mbrl_agent.resampling import Gaussian
from mbrl_agent.vjp import by_autograd, filled, keep_in_step, product, total


def tensor(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


X, Y = tensor(1.0, -2.0, 0.5), tensor(0.3, 0.7, -1.1)


def test_it_is_the_vector_jacobian_product():
    (product, sine), pull_back = by_autograd(lambda x, y: [x * y, x.sin()], X, Y)
    torch.testing.assert_close(product, X * Y)
    torch.testing.assert_close(sine, X.sin())
    by_product, by_sine = tensor(1.0, 2.0, 3.0), tensor(-1.0, 0.5, 4.0)
    by_x, by_y = pull_back(by_product, by_sine)
    torch.testing.assert_close(by_x, by_product * Y + by_sine * X.cos())
    torch.testing.assert_close(by_y, by_product * X)


def test_it_may_be_called_again():
    _, pull_back = by_autograd(lambda x: [x.sin()], X)
    first, other, again = (pull_back(by)[0] for by in (Y, X, Y))
    torch.testing.assert_close(other, X * X.cos())
    assert torch.equal(first, again)


def test_values_carry_no_tape_and_inputs_are_left_alone():
    leaf = X.clone().requires_grad_()
    (value,), pull_back = by_autograd(lambda x: [2 * x], leaf)
    assert not value.requires_grad
    pull_back(torch.ones_like(X))
    assert leaf.grad is None


def test_it_works_where_gradients_are_switched_off():
    with torch.no_grad():
        _, pull_back = by_autograd(lambda x: [x * x], X)
        (by_x,) = pull_back(torch.ones_like(X))
    torch.testing.assert_close(by_x, 2 * X)


def test_inputs_and_outputs_may_be_missing():
    outputs, pull_back = by_autograd(lambda x, nothing, y: [None, x * y], X, None, Y)
    assert outputs[0] is None
    by_x, by_nothing, by_y = pull_back(None, torch.ones_like(X))
    assert by_nothing is None
    torch.testing.assert_close(by_x, Y)
    torch.testing.assert_close(by_y, X)


def test_a_missing_output_takes_no_derivative():
    _, pull_back = by_autograd(lambda x: [None, 3 * x], X)
    (by_x,) = pull_back(torch.ones_like(X), torch.ones_like(X))
    torch.testing.assert_close(by_x, torch.full_like(X, 3.0))


def test_no_derivative_by_an_output_is_zero():
    _, pull_back = by_autograd(lambda x, y: [x * y, y.exp()], X, Y)
    by_x, by_y = pull_back(None, torch.ones_like(Y))
    assert by_x is None
    torch.testing.assert_close(by_y, Y.exp())
    assert by_autograd(lambda x: [x.sin()], X)[1](None) == (None,)


def test_inputs_that_do_not_matter_have_none():
    _, pull_back = by_autograd(lambda x, y: [x.square()], X, Y)
    by_x, by_y = pull_back(torch.ones_like(X))
    assert by_y is None
    torch.testing.assert_close(by_x, 2 * X)


def test_constant_outputs_are_passed_over():
    (constant, _), pull_back = by_autograd(lambda x: [torch.ones(3), x.square()], X)
    assert torch.equal(constant, torch.ones(3))
    torch.testing.assert_close(pull_back(torch.ones(3), torch.ones_like(X))[0], 2 * X)
    assert by_autograd(lambda x: [x.detach()], X)[1](torch.ones_like(X)) == (None,)


def test_an_output_may_be_an_input():
    _, pull_back = by_autograd(lambda x, y: [x, y], X, Y)
    by_x, by_y = pull_back(Y, X)
    assert torch.equal(by_x, Y)
    assert torch.equal(by_y, X)


def test_one_tensor_in_two_places():
    _, pull_back = by_autograd(lambda a, b: [a * b.sin()], X, X)
    by_a, by_b = pull_back(torch.ones_like(X))
    torch.testing.assert_close(by_a, X.sin())
    torch.testing.assert_close(by_b, X * X.cos())


@pytest.mark.parametrize("labels", [torch.tensor([0, 1, 1]), torch.tensor([True, False, True])], ids=str)
def test_labels_and_masks_have_no_derivative(labels):
    (value, same), pull_back = by_autograd(lambda x, k: [x * k, k], X, labels)
    torch.testing.assert_close(value, X * labels)
    assert torch.equal(same, labels)
    by_x, by_labels = pull_back(torch.ones_like(X), None)
    assert by_labels is None
    torch.testing.assert_close(by_x, labels.to(X.dtype))
    own = torch.ones(3, requires_grad=True)
    assert by_autograd(lambda k: [k * own], labels)[1](torch.ones(3)) == (None,)


def test_parameters_of_the_function_itself_are_not_differentiated():
    own = Y.clone().requires_grad_()
    _, pull_back = by_autograd(lambda x: [own.exp(), own * x], X)
    (by_x,) = pull_back(torch.ones_like(X), torch.ones_like(X))
    torch.testing.assert_close(by_x, Y)
    assert own.grad is None


def test_the_tape_is_gone_with_the_pull_back():
    inner = []

    def function(x):
        between = x.sin()
        inner.append(weakref.ref(between))
        return [between.exp()]

    gc.disable()
    try:
        values, pull_back = by_autograd(function, X)
        del pull_back
        assert inner[0]() is None
        assert values[0] is not None
    finally:
        gc.enable()


def test_total():
    assert total(None, None) is None
    assert total(X, None) is X
    assert total(None, Y) is Y
    before = X.clone(), Y.clone()
    torch.testing.assert_close(total(X, Y), tensor(1.3, -1.3, -0.6))
    assert torch.equal(X, before[0])
    assert torch.equal(Y, before[1])


def test_filled():
    assert filled(X, Y) is X
    assert torch.equal(filled(None, Y), torch.zeros(3, dtype=torch.float64))


# a function and its derivative -----------------------------------------------------------------------------


class Base:
    def __init_subclass__(cls) -> None:
        keep_in_step(cls, "value", "slope", Base.slope)

    def value(self):
        return "base"

    def slope(self):
        return f"general slope of {self.value()}"


class Both(Base):
    def value(self):
        return "both"

    def slope(self):
        return "own slope"


class Heir(Both):
    pass


class Steeper(Both):
    def slope(self):
        return "steeper"


class Other(Heir):
    def value(self):
        return "other"


class Mixin:
    def value(self):
        return "mixin"


class Mixed(Mixin, Both):
    pass


@pytest.mark.parametrize(
    ("cls", "slope"),
    [
        (Both, "own slope"),
        (Heir, "own slope"),
        (Steeper, "steeper"),
        (Other, "general slope of other"),
        (Mixed, "general slope of mixin"),
        (type("Grandchild", (Other,), {}), "general slope of other"),
        (type("Again", (Other,), {"slope": lambda self: "again"}), "again"),
    ],
)
def test_a_function_never_inherits_the_derivative_of_another(cls, slope):
    assert cls().slope() == slope


def test_a_derivative_by_its_old_name_is_told():
    with pytest.raises(TypeError, match=r"Old\.linearize would never be called: name it vjp"):

        class Old(Gaussian):
            def linearize(self, *arguments):
                return None


@pytest.mark.parametrize(
    ("one", "other"),
    [((3, 4, 2), (3, 2, 5)), ((3, 4, 2), (2, 5)), ((1, 4, 2), (3, 2, 5)), ((2, 3, 4, 2), (2, 5))],
)
def test_a_product_is_that_of_matrices_with_any_batch_axes(one, other):
    g = torch.Generator().manual_seed(0)
    first, second = torch.randn(one, generator=g), torch.randn(other, generator=g)
    assert torch.equal(product(first, second), first @ second)
