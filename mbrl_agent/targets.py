"""What a model predicts of a step: changes of the state, positions aside that follow from their velocities.

Where velocity v belongs to position x, only the change dv of the velocity is predicted, and the position is
integrated by the trapezoidal rule (speed integration):

    v' = v + dv,    x' = x + h (v + dv / 2)

This halves what has to be learned of a mechanical system, and positions cannot contradict velocities. The
step h comes from the data, by least squares, and not from the environment's time step: units may differ
(degrees and rad/s), and the sign or a gear may lie between the two. What is left over is the noise of the
position.

A dimension that holds what another one was a step before, or the action (a state that remembers), is copied.

Reference:
    Amadio, Dalla Libera, Antonello, Nikovski, Carli, Romeres (2022), Model-Based Policy Search Using Monte
    Carlo Gradient Estimation with Real Systems Application.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mbrl_agent.features import AngleFeatures
from mbrl_agent.standardization import resolution
from mbrl_agent.types import Prediction, Transitions

Pairs = Sequence[tuple[int, int]]
"""Which dimension belongs to which: (position, velocity) indices each, or (copy, source)."""

Pulled = tuple[Tensor, Tensor | None, Tensor, Tensor | None]
"""Gradients by state, action, mean change and its standard deviation."""


class Targets:
    """Which dimensions of a state a model predicts the change of.

    Args:
        features: What the model sees of a state; knows which dimensions are angles.
        velocity_dims: (position index, velocity index) of each position that is integrated.
        copied_dims: (index, index of its source) of each dimension that is copied, from the D dimensions of
            the state before and, after them, from the action.

    Attributes:
        predicted: Indices of the K dimensions whose change is predicted, in their order.
        positions: Indices of those that are integrated.
        velocities: Of each of these, the index of its velocity.
        copies: Indices of those that are copied.
        sources: Of each of these, the index of its source.

    Raises:
        ValueError: An index is out of range, a position or a copy is given twice, a velocity is an angle or
            is itself integrated or copied, or nothing is left to predict.

    Example:
        >>> targets = Targets(AngleFeatures(4, (2,)), ((0, 1), (2, 3)))
        >>> targets.predicted, targets.positions, targets.velocities
        ((1, 3), (0, 2), (1, 3))
    """

    def __init__(self, features: AngleFeatures, velocity_dims: Pairs = (), copied_dims: Pairs = ()) -> None:
        self.features = features
        self.positions = tuple(position for position, _ in velocity_dims)
        self.velocities = tuple(velocity for _, velocity in velocity_dims)
        self.copies = tuple(index for index, _ in copied_dims)
        self.sources = tuple(source for _, source in copied_dims)
        self._check(velocity_dims)
        self._check_copies(copied_dims)
        others = {*self.positions, *self.copies}
        self.predicted = tuple(i for i in range(features.state_dims) if i not in others)

    def __len__(self) -> int:
        """Return K."""
        return len(self.predicted)

    def changes(self, transitions: Transitions) -> Tensor:
        """Compute changes of the dimensions that are predicted, angles the shorter way round: (N, K)."""
        return self.features.change(transitions.states, transitions.next_states)[:, list(self.predicted)]

    def _check(self, velocity_dims: Pairs) -> None:
        text = ",".join(f"{position}:{velocity}" for position, velocity in velocity_dims)
        count = self.features.state_dims
        for position, velocity in velocity_dims:
            for index in (position, velocity):
                if not 0 <= index < count:
                    raise ValueError(f"velocity_dims {text}: a state has dimensions 0 to {count - 1}")
            if position == velocity:
                raise ValueError(f"velocity_dims {text}: dimension {position} cannot be its own velocity")
            if velocity in self.positions:
                raise ValueError(
                    f"velocity_dims {text}: dimension {velocity} is a position and a velocity; "
                    "of a chain only one position can be integrated"
                )
            if velocity in self.features.angle_dims:
                raise ValueError(f"velocity_dims {text}: dimension {velocity} is an angle, not a velocity")
        if len(set(self.positions)) != len(self.positions):
            raise ValueError(f"velocity_dims {text} gives a position twice")

    def _check_copies(self, copied_dims: Pairs) -> None:
        text = ",".join(f"{index}:{source}" for index, source in copied_dims)
        count = self.features.state_dims
        for index, source in copied_dims:
            if not 0 <= index < count or source < 0:
                raise ValueError(f"copied_dims {text}: a state has dimensions 0 to {count - 1}")
            if index in self.positions or index in self.velocities:
                raise ValueError(f"copied_dims {text}: dimension {index} is one of velocity_dims, too")
        if len(set(self.copies)) != len(self.copies):
            raise ValueError(f"copied_dims {text} gives a dimension twice")
        if len({*self.positions, *self.copies}) == count:
            raise ValueError(f"copied_dims {text}: no dimension is left to predict")


class Integration(nn.Module):
    """The way from predicted changes to next states; a part of a model, which is saved with it.

    Args:
        targets: What is predicted.
        action_dims: U.
        device: Of the model.

    Attributes:
        step: (n), h of each of the n integrated positions, in the units of the position over those of the
            velocity.
        noise: (n), standard deviation of what is left over, in the units of the position.
    """

    step: Tensor
    noise: Tensor
    _predicted: Tensor
    _positions: Tensor
    _velocities: Tensor
    _sources: Tensor

    def __init__(self, targets: Targets, action_dims: int, device: torch.device | str = "cpu") -> None:
        super().__init__()
        if any(source >= targets.features.state_dims + action_dims for source in targets.sources):
            raise ValueError(
                f"copied_dims: sources are the {targets.features.state_dims} dimensions of a state and the "
                f"{action_dims} of an action, got {max(targets.sources)}"
            )
        self.targets = targets
        for name in ("step", "noise"):
            zeros = torch.zeros(len(targets.positions), dtype=torch.float32, device=device)
            self.register_buffer(name, zeros)
        for name in ("predicted", "positions", "velocities"):
            shape = len(getattr(targets, name)), targets.features.state_dims
            rows = torch.zeros(shape, dtype=torch.float32, device="cpu")  # whatever torch's default is
            for row, index in zip(rows, getattr(targets, name), strict=True):
                row[index] = 1
            self.register_buffer(f"_{name}", rows.to(device), persistent=False)
        dims = targets.features.state_dims
        takes_action = any(source >= dims for source in targets.sources)
        sources = torch.zeros(dims + takes_action * action_dims, dims, dtype=torch.float32, device="cpu")
        for index, source in zip(targets.copies, targets.sources, strict=True):
            sources[source, index] = 1
        self.register_buffer("_sources", sources.to(device), persistent=False)

    def fit(self, transitions: Transitions) -> None:
        """Find each position's step h by least squares, and the standard deviation of what is left over.

        Warns where a velocity tells nothing of its position: what is left over is no less than what the mean
        change leaves, and most of the motion. At a constant velocity the mean does as well, but then there
        is little left.

        Args:
            transitions: All so far; best in float64.
        """
        if not self.targets.positions:
            return
        position, velocity = list(self.targets.positions), list(self.targets.velocities)
        change = self.targets.features.change(transitions.states, transitions.next_states)
        moved = change[:, position]
        speed = transitions.states[:, velocity] + change[:, velocity] / 2
        power = speed.square().sum(0)
        step = torch.where(power > 0, (speed * moved).sum(0) / power.where(power > 0, 1.0), 0.0)
        left = (moved - step * speed).square().mean(0).sqrt()
        self.step.copy_(step)
        self.noise.copy_(left)
        spread, motion = moved.std(0, correction=0), moved.square().mean(0).sqrt()
        rounding = resolution(torch.cat([transitions.states, transitions.next_states]), self.step.dtype)
        wrong = (left >= spread) & (left > motion / 2) & (motion > rounding[position])
        for n in torch.nonzero(wrong).flatten().tolist():
            warnings.warn(
                f"velocity_dims {position[n]}:{velocity[n]}: dimension {velocity[n]} tells nothing of how "
                f"dimension {position[n]} changes; is it its velocity? 'none' predicts positions without",
                stacklevel=2,
            )

    def rule(self) -> IntegrationRule:
        """Return the way as a function, with what does not depend on the state prepared.

        This is a part of each gradient step, and of its CUDA graph, which takes no index from the host: so
        sums over rows of zeros and ones stand for indexing (sums, and not products of matrices, which TF32
        would round).
        """
        if not self.targets.positions and not self.targets.copies:
            return IntegrationRule()
        own, velocities = self._predicted, self._velocities
        moved = self.step[:, None] * self._positions
        by_velocity = (velocities[:, :, None] * moved[:, None]).sum(0)
        by_change = own + ((own[:, None] * velocities).sum(-1)[:, :, None] * moved).sum(1) / 2
        noise = (self.noise[:, None] * self._positions).sum(0)
        if not self.targets.copies:
            return IntegrationRule(torch.cat([by_velocity, by_change]), own, noise)
        dims = own.shape[-1]
        by_state, by_action = self._sources[:dims], self._sources[dims:]
        moves = torch.cat([by_velocity + by_state, by_change, by_action])
        return IntegrationRule(moves, own, noise, 1 - self._sources.sum(0))


@dataclass(frozen=True)
class IntegrationRule:
    """Next states from states, predicted changes and actions: x' = k x + (x, c, u) A, s' = s B + n.

    Attributes:
        moves: A, (D + K, D) or, where actions are copied, (D + K + U, D): how positions follow from
            velocities, states from the changes c, and copies from their sources; None where there are
            neither positions nor copies: x' = x + c.
        own: B, (K, D), which dimension is which predicted one.
        noise: n, (D), standard deviation of the integrated positions, zero elsewhere.
        kept: k, (D), zero for dimensions that are copied and one for others; None where none is.
    """

    moves: Tensor | None = None
    own: Tensor | None = None
    noise: Tensor | None = None
    kept: Tensor | None = None

    @property
    def takes_action(self) -> bool:
        """Whether a part of the action is copied into the next state."""
        return self.moves is not None and self.own is not None and len(self.moves) > sum(self.own.shape)

    def vjp(
        self, state: Tensor, action: Tensor, change: Tensor, std: Tensor
    ) -> tuple[Prediction, Callable[[Tensor, Tensor | None], Pulled]]:
        """Integrate, and return the pull-back (by_mean, by_std) -> (by_state, by_action, by_change, by_std).

        Args:
            state: (*R, P, D).
            action: (*R, P, U).
            change: (*R, P, K), mean.
            std: (*R, P, K), of the change.
        """
        moves, own = self.moves, self.own
        if moves is None or own is None:
            return Prediction(state + change, std), lambda by_mean, by_std: (by_mean, None, by_mean, by_std)
        parts = [state, change, action] if self.takes_action else [state, change]

        def pull_back(by_mean: Tensor, by_std: Tensor | None) -> Pulled:
            by_all = by_mean @ moves.mT
            dims, end = state.shape[-1], state.shape[-1] + change.shape[-1]
            by_action = by_all[..., end:] if self.takes_action else None
            by_own_std = None if by_std is None else by_std @ own.mT
            return self._keep(by_mean) + by_all[..., :dims], by_action, by_all[..., dims:end], by_own_std

        mean = self._keep(state) + torch.cat(parts, dim=-1) @ moves
        return Prediction(mean, self.noise_std(std)), pull_back

    def _keep(self, values: Tensor) -> Tensor:
        return values if self.kept is None else self.kept * values

    def double(self) -> IntegrationRule:
        """Return the same in float64."""
        return IntegrationRule(*(None if value is None else value.double() for value in vars(self).values()))

    def weights(self, dims: int, like: Tensor) -> Tensor:
        """Compute the way as one matrix W, x' = (x, c) W, or (x, c, u) W where actions are copied.

        Args:
            dims: D.
            like: Of the dtype and the device wanted.
        """
        identity = torch.eye(dims, dtype=like.dtype, device=like.device)
        if self.moves is None:
            return torch.cat([identity, identity])
        rest = identity.new_zeros(len(self.moves) - dims, dims)
        return self.moves.to(like) + torch.cat([self._keep(identity), rest])

    def noise_std(self, std: Tensor) -> Tensor:
        """Compute the noise's standard deviation of next states, (..., D), from that of changes, (..., K)."""
        return std if self.own is None or self.noise is None else std @ self.own + self.noise
