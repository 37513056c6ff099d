"""The interface of every policy.

A policy is a Stable-Baselines3 `BasePolicy` (`ActingPolicy`), so that `predict`, `evaluate_policy` and
the callbacks work on it, and beside that a pure function of its parameters (`controller`), so that a
search can run many parameter sets side by side. A choice of policy is a frozen dataclass of options
(`PolicyOptions`, in the policy's own file), which names the policy class.
"""

from __future__ import annotations

import functools
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from mbrl_agent.features import AngleFeatures
from mbrl_agent.gaussians.mapped import Mapped
from mbrl_agent.options import Choice
from mbrl_agent.policies.acting import ActingPolicy, Box
from mbrl_agent.policies.jacobian import ExplicitJacobian, Jacobian
from mbrl_agent.standardization import Scaling, StandardizedFeatures, visited_scaling
from mbrl_agent.types import Parameters
from mbrl_agent.vjp import Gradients, PullBack, keep_in_step

Controller = Callable[..., Tensor]
"""States (*R, P, D) -> actions (*R, P, U) in [-1, 1]; a policy with `noise_dims` takes noise as well, and a
`MemoryPolicy` puts its memory behind both."""


def squash(action: Tensor) -> Tensor:
    """Squash an unbounded action to [-1, 1] as PILCO does: (9 sin a + sin 3a) / 8.

    Reference:
        Deisenroth (2010), Efficient Reinforcement Learning using Gaussian Processes, section 3.5.2.
    """
    # sin 3a = 3 sin a - 4 sin^3 a: one sine s instead of two, 3/2 s - 1/2 s^3
    sine = action.sin()
    return torch.lerp(sine * sine * sine, sine, 1.5)


def squash_slope(action: Tensor) -> Tensor:
    """Compute the derivative of `squash`, 3/2 cos^3 a."""
    cosine = action.cos()
    return 1.5 * (cosine * cosine * cosine)


def normal(*shape: int) -> Tensor:
    """Draw standard normals from the global generator, whatever torch's default dtype and device are."""
    return torch.randn(shape, dtype=torch.float32, device="cpu")


def affine_layer(weights: Tensor, bias: Tensor, factor: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
    """Make a layer z @ weights + bias as a layer of w, where z = factor * w + shift.

    Args:
        weights: (*R, F, U).
        bias: (*R, U).
        factor: (F).
        shift: (F).
    """
    return factor.unsqueeze(-1) * weights, bias + shift @ weights


class DifferentiableController:
    """A policy at given parameters, which takes down how to differentiate what it did.

    Args:
        make: The policy's `controller`.
        parameters: With the leading replicate axes *R of the states.
    """

    def __init__(self, make: Callable[[Parameters], Controller], parameters: Parameters) -> None:
        self._leaves = {name: value.detach().requires_grad_() for name, value in parameters.items()}
        self._gradient = {name: torch.zeros_like(value) for name, value in parameters.items()}
        with torch.enable_grad():
            self._controller = make(self._leaves)

    def vjp(self, state: Tensor, *noise: Tensor) -> tuple[Tensor, PullBack]:
        """Return the actions, and the pull-back by_action -> by_state, which adds to `gradient` as well."""
        leaf = state.detach().requires_grad_()
        with torch.enable_grad():
            action = self._controller(leaf, *noise)

        def pull_back(by_action: Tensor) -> Gradients:
            by_state, *by_parameters = torch.autograd.grad(
                action,
                [leaf, *self._leaves.values()],
                by_action,
                retain_graph=True,  # what was prepared once serves all steps
                materialize_grads=True,
            )
            for name, by in zip(self._gradient, by_parameters, strict=True):
                self._gradient[name] += by
            return (by_state,)

        return action.detach(), pull_back

    def gradient(self) -> dict[str, Tensor]:
        """Compute the derivative by the parameters, over all that was pulled back so far."""
        return self._gradient


@dataclass(frozen=True)
class PolicyOptions(Choice):
    """Base class of the options of a policy; each has a policy class of its own."""

    name: ClassVar[str]
    """Name on the command line."""
    policy_class: ClassVar[type[SearchPolicy]]

    @classmethod
    def other_names(cls) -> tuple[str, ...]:
        """Answer to the policy class's name as well: "RbfPolicy", as in Stable-Baselines3."""
        return (cls.policy_class.__name__,)

    def policy_kwargs(self) -> dict[str, Any]:
        """Return the options as keyword arguments of the policy class."""
        return asdict(self)


class SearchPolicy(ActingPolicy):
    """A deterministic policy whose parameters a policy search improves.

    Policies work on standardised features, `standardized`, so that neither units nor zero points matter.
    A policy of one's own that takes raw ones leaves `change_inputs` alone. A controller is a pure function
    of tensors, in which replicates never meet; actions and fresh parameters have the dtype and the device of
    `feature_mean`: float32, or float64 after `.double()`. Parameters may have any names.
    A policy may be noisy while it is improved, and only then: one with `noise_dims` is given standard-normal
    numbers (*R, P, noise_dims) beside the states, fresh ones at each step of a rollout. Without them it is
    the deterministic policy that is compared, deployed, evaluated and exported.
    `mbrl_agent.contract.check_policy` checks the options that name one.

    Args:
        observation_space: Box of D dimensions.
        action_space: Box of U dimensions with finite bounds; [-1, 1] is rescaled to them.
        lr_schedule: Not used; Stable-Baselines3 passes it to every policy.
        angle_dims: Indices of the angles [rad] in an observation.

    Attributes:
        feature_mean: (F), subtracted from the features.
        feature_scale: (F), their inverse standard deviation; zero for what has never varied.
        seen_dims: Indices of the dimensions on which the actions depend, in ascending order: all of them,
            but for a `MemoryPolicy`.
    """

    feature_mean: Tensor
    feature_scale: Tensor
    noise_dims: int = 0
    """Standard-normal columns that a particle consumes a step while the policy is improved."""

    def __init__(
        self,
        observation_space: Box,
        action_space: Box,
        lr_schedule: Any = None,
        angle_dims: tuple[int, ...] = (),
    ) -> None:
        super().__init__(observation_space, action_space)
        self.seen_dims = tuple(range(self.state_dims))
        self.features = AngleFeatures(self.state_dims, angle_dims)
        count = self.features.feature_dims
        self.register_buffer("feature_mean", torch.zeros(count, dtype=torch.float32, device="cpu"))
        self.register_buffer("feature_scale", torch.ones(count, dtype=torch.float32, device="cpu"))

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for derivative in ("differentiable_controller", "jacobian"):
            keep_in_step(cls, "controller", derivative, getattr(SearchPolicy, derivative))

    def __repr__(self) -> str:
        """Show from what to what, and the shapes of the parameters."""
        words = [f"{self.state_dims} state -> {self.action_dims} action dimensions"]
        if self.features.angle_dims:
            words.append(f"angle_dims={self.features.angle_dims}")
        words += [f"{name} {'x'.join(map(str, value.shape))}" for name, value in self.named_parameters()]
        return f"{type(self).__name__}({', '.join(words)})"

    @abstractmethod
    def controller(self, parameters: Parameters) -> Controller:
        """Return the policy as a function of states alone, at the given parameters.

        Work that does not depend on the state is done here, once a rollout.

        Args:
            parameters: One tensor a name of `named_parameters()`, each with the same leading
                replicate axes *R (or none): a bias (*R, U) meets the particles as `bias.unsqueeze(-2)`.
        """

    def differentiable_controller(self, parameters: Parameters) -> DifferentiableController:
        """Make the policy a function of states that knows its derivatives; by autograd unless overridden."""
        return DifferentiableController(self.controller, parameters)

    def jacobian(self, parameters: Parameters) -> Callable[..., Jacobian]:
        """Return the derivatives of each particle's action by all parameters; by autograd unless overridden.

        Args:
            parameters: As in `controller`, with leading axes *R.

        Returns:
            A function of states (*R, P, D), and of noise where the policy takes any.
        """
        return functools.partial(self._jacobian, parameters)

    def _jacobian(self, parameters: Parameters, state: Tensor, *noise: Tensor) -> Jacobian:
        # each particle gets parameters of its own, on one more replicate axis
        lead, axes = state.shape[:-1], state.ndim - 2
        copies = {
            name: value.detach().unsqueeze(axes).expand(*lead, *value.shape[axes:]).requires_grad_()
            for name, value in parameters.items()
        }
        with torch.enable_grad():
            inputs = (value.detach().unsqueeze(-2) for value in (state, *noise))
            action = self.controller(copies)(*inputs).squeeze(-2)  # (*R, P, U)
            leaves = tuple(copies.values())
            found = [
                torch.autograd.grad(action[..., u].sum(), leaves, retain_graph=True, materialize_grads=True)
                for u in range(action.shape[-1])
            ]
        rows = {
            name: torch.stack([part.reshape(*lead, -1) for part in parts], dim=-2)
            for name, parts in zip(copies, zip(*found, strict=True), strict=True)
        }
        return ExplicitJacobian(rows, {name: value.shape[axes:] for name, value in parameters.items()})

    def moments(self, parameters: Parameters) -> Callable[[Tensor, Tensor], Mapped]:
        """Make the policy without noise a function of Gaussian features; some know their actions' moments.

        Args:
            parameters: As in `controller`; float64.

        Returns:
            Mean (*R, F) and covariance (*R, F, F) of the features of a state -> moments of the action.

        Raises:
            ValueError: This one does not.
        """
        raise ValueError(
            f"{type(self).__name__} does not know the moments of its actions: use policy 'rbf' or 'linear'"
        )

    @abstractmethod
    def initial_parameters(
        self, states: Tensor, replicates: int, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Draw fresh parameters fitted to the region of the states that were visited.

        The present standardisation stays as it is; `restandardize` comes first. At most of the
        states fresh policies should be neither silent nor saturated: there gradients vanish.

        Args:
            states: (N, D), states visited so far.
            replicates: R, how many independent sets to draw.
            generator: Source of randomness.

        Returns:
            One tensor a parameter with a leading axis R.
        """

    @property
    def standardized(self) -> StandardizedFeatures:
        """What the policy sees of a state, by the present standardisation."""
        return StandardizedFeatures(self.features, self._scaling())

    def change_inputs(
        self, parameters: Parameters, factor: Tensor, shift: Tensor
    ) -> dict[str, Tensor] | None:
        """Return those of the same function of other inputs w, where the present ones are factor * w + shift.

        Args:
            parameters: With any leading replicate axes, float64.
            factor: (F), positive.
            shift: (F).

        Returns:
            The parameters at which the policy does with w what it did with factor * w + shift; None for
            a policy that does not work on standardised features, the case unless overridden.
        """
        return None

    def restandardize(self, states: Tensor, candidates: Parameters | None = None) -> dict[str, Tensor] | None:
        """Fit the standardisation of the features to all visited states; what was learned is kept.

        The policy's own parameters, and the candidates, are expressed in the new coordinates: they are the
        same functions of a state as before.

        Args:
            states: (N, D), float64 where that was observed.
            candidates: Further parameter sets, with any leading replicate axes; None for none.

        Returns:
            The candidates in the new coordinates.
        """
        device, dtype = self.feature_mean.device, self.feature_mean.dtype
        new = visited_scaling(self.features, states.to(device), dtype)
        change = self._scaling().seen_from(new)
        own = self._changed(self.parameter_dict(), *change)
        if own is None:
            return None if candidates is None else dict(candidates)
        changed = None if candidates is None else self._changed(candidates, *change)
        self.set_parameters(own)
        self.feature_mean.copy_(new.mean)
        self.feature_scale.copy_(new.scale)
        return changed

    def _changed(self, parameters: Parameters, factor: Tensor, shift: Tensor) -> dict[str, Tensor] | None:
        double = {name: value.detach().double() for name, value in parameters.items()}
        found = self.change_inputs(double, factor, shift)
        if found is None:
            return None
        return {name: found[name].to(value.dtype) for name, value in parameters.items()}

    def _scaling(self) -> Scaling:
        return Scaling(self.feature_mean, self.feature_scale)

    def draw_normal(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        """Draw standard normals like the policy's parameters, which do not depend on its dtype."""
        drawn = torch.randn(shape, generator=generator, dtype=torch.float32, device=generator.device)
        return drawn.to(self.feature_mean)

    def parameter_dict(self) -> dict[str, Tensor]:
        """Return the policy's own parameters by name, detached."""
        return {name: parameter.detach() for name, parameter in self.named_parameters()}

    def set_parameters(self, parameters: Parameters) -> None:
        """Copy parameters (without replicate axes) into the policy."""
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                parameter.copy_(parameters[name])

    def forward(self, state: Tensor) -> Tensor:
        """Map states (..., D) to actions (..., U) in [-1, 1] at the policy's own parameters."""
        return self.controller(dict(self.named_parameters()))(state)

    def act(self, state: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Take a step at the policy's own parameters; see `ActingPolicy.act`."""
        found = self.forward(torch.cat([state, memory], dim=-1) if self.memory_dims else state)
        return found[..., : self.action_dims], found[..., self.action_dims :]
