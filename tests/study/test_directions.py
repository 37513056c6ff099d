"""Directions in parameter space: scale, orthogonality, which parameters move."""

import pytest
import torch

from mbrl_agent.study.gradients.directions import along, chosen_names, random_directions, rms

PARAMETERS = {
    "centers": torch.randn(6, 5, generator=torch.Generator().manual_seed(0)) * 3,
    "log_lengthscales": torch.zeros(5),
    "weights": torch.randn(6, 1, generator=torch.Generator().manual_seed(1)) * 0.2,
}


def draw(which="weights", count=1, seed=0):
    return random_directions(PARAMETERS, which, count, torch.Generator().manual_seed(seed))


def test_only_the_weights_move_by_as_much_as_they_are_large():
    (direction,) = draw()
    assert list(direction) == ["weights"]
    torch.testing.assert_close(rms(direction["weights"]), rms(PARAMETERS["weights"]))


def test_every_parameter_moves_in_units_of_its_own_size():
    (direction,) = draw("all")
    assert list(direction) == list(PARAMETERS)
    assert not direction["log_lengthscales"].any()  # zeros have no size
    scaled = torch.cat(
        [(direction[name] / rms(PARAMETERS[name])).flatten() for name in ("centers", "weights")]
    )
    assert 0.8 < rms(scaled) < 1.2


def test_directions_are_orthogonal_and_do_not_depend_on_their_number():
    flat = torch.stack([d["weights"].flatten() for d in draw(count=6)])
    gram = flat @ flat.T
    torch.testing.assert_close(gram, gram.diagonal().diag(), atol=1e-6, rtol=0)
    torch.testing.assert_close(flat[:2], torch.stack([d["weights"].flatten() for d in draw(count=2)]))


def test_along_gives_every_point_of_the_line():
    (direction,) = draw()
    points = along(PARAMETERS, direction, torch.tensor([0.0, 2.0]))
    assert points["centers"].shape == (2, 6, 5)
    torch.testing.assert_close(points["weights"][0], PARAMETERS["weights"])
    torch.testing.assert_close(points["weights"][1], PARAMETERS["weights"] + 2 * direction["weights"])


def test_the_layers_of_a_network_are_its_weights():
    assert chosen_names({"weight_0": torch.ones(1), "bias_0": torch.ones(1)}, "weights") == ["weight_0"]
    assert chosen_names(PARAMETERS, "centers") == ["centers"]


@pytest.mark.parametrize(
    ("which", "count", "message"),
    [
        ("wieghts", 1, "this policy has all, centers, log_lengthscales, weights"),
        ("weights", 7, "only 6 directions .* use --directions 6 or fewer"),
        ("weights", 0, "at least 1"),
        ("log_lengthscales", 1, "all zero"),
    ],
)
def test_mistakes(which, count, message):
    with pytest.raises(ValueError, match=message):
        draw(which, count)
