"""Exact Gaussian processes, one a predicted dimension, whose particles follow posterior function draws.

Each draw of the posterior is a function: a particle that keeps its own over a rollout takes what the model
does not know to be the same at every step, as it is in reality. Drawing anew from the predictive variance at
every step (`propagation="independent"`), as PILCO with particles and PIPPS do, takes it for noise.

Reference:
    Deisenroth, Rasmussen (2011), PILCO; Wilson et al. (2020), Efficiently Sampling Functions from Gaussian
    Process Posteriors; Amadio et al. (2022), MC-PILCO.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from mbrl_agent.dynamics.base import (
    DynamicsModel,
    DynamicsOptions,
    FitReport,
    MomentPredictor,
    Predictor,
    Score,
)
from mbrl_agent.dynamics.gp_draws import (
    ChangeScale,
    DrawsPredictor,
    FunctionDraws,
    FunctionPosterior,
    PosteriorFunctions,
)
from mbrl_agent.dynamics.gp_fit import GpFit, fit_hyperparameters
from mbrl_agent.dynamics.gp_independent import IndependentPredictor, Posterior
from mbrl_agent.dynamics.gp_kernels import KERNELS, Hyperparameters, stack
from mbrl_agent.dynamics.gp_moments import GpMoments
from mbrl_agent.dynamics.gp_subset import evenly, recent_and_far
from mbrl_agent.dynamics.scalings import fit_scalings, standardise
from mbrl_agent.features import AngleFeatures
from mbrl_agent.options.validation import require_choice, require_count
from mbrl_agent.standardization import Scaling, inverse
from mbrl_agent.targets import Integration, Targets
from mbrl_agent.types import Prediction, Transitions

MIN_TRANSITIONS = 5
FIT_POINTS = 300
"""Most transitions whose marginal likelihood is maximised; the posterior takes all of them."""


@dataclass(frozen=True)
class Gp(DynamicsOptions):
    """Options of the Gaussian processes.

    Example:
        >>> str(Gp(functions=30))
        'gp:functions=30'
        >>> model = Gp().build(AngleFeatures(4, (2,)), 1, torch.Generator().manual_seed(0))
        >>> model.predict(torch.zeros(10, 4), torch.zeros(10, 1)).mean.shape
        torch.Size([10, 4])
    """

    name: ClassVar[str] = "gp"

    kernel: Literal["se", "se-linear", "matern52"] = "se"
    """Covariance: squared exponential, that and a linear part, or Matern 5/2; a length-scale an input."""
    propagation: Literal["functions", "independent"] = "functions"
    """Particles keep a function drawn from the posterior, or draw anew from its variance at each step."""
    functions: int = 150
    """Functions drawn, M: of P particles, particle i follows function i M // P; 150 is one a particle."""
    renewal: Literal["fit", "rollout"] = "fit"
    """How long functions are kept: until the next fit, or for a rollout, as fresh random numbers are; without
    a meaning where particles draw anew at each step."""
    fourier_features: int = 64
    """Random Fourier features that a drawn function's prior consists of."""
    fit_steps: int = 60
    """Iterations of L-BFGS for the hyperparameters, from each of its starts."""
    max_points: int = 1000
    """Most transitions that are kept: beyond, the latest half, and those farthest apart of the others."""

    def __post_init__(self) -> None:
        require_choice("kernel", self.kernel, tuple(KERNELS))
        require_choice("propagation", self.propagation, ("functions", "independent"))
        require_choice("renewal", self.renewal, ("fit", "rollout"))
        for name in ("functions", "fourier_features", "fit_steps", "max_points"):
            require_count(name, getattr(self, name))

    def build(
        self,
        features: AngleFeatures,
        action_dims: int,
        generator: torch.Generator,
        targets: Targets | None = None,
    ) -> GpModel:
        """Make Gaussian processes without data."""
        return GpModel(self, features, action_dims, targets or Targets(features), generator.device)


class GpModel(DynamicsModel):
    """The processes themselves; they see standardised features and actions, and predict standardised changes.

    Their functions are drawn in float64 and followed in the dtype of the module: in float32 a predicted
    change differs by less than 0.005 of the spread of the observed changes, a fraction of the least noise.

    Args:
        options: Kernel, draws and fit settings.
        features: What the processes see of a state.
        action_dims: U.
        targets: What they predict of a step.
        device: Of the model.
    """

    min_transitions = MIN_TRANSITIONS
    data_dtype = torch.float64

    input_mean: Tensor
    input_scale: Tensor
    target_mean: Tensor
    target_std: Tensor
    inputs: Tensor
    targets_seen: Tensor
    log_lengthscales: Tensor
    log_signal: Tensor
    log_noise: Tensor
    log_slopes: Tensor
    frequencies: Tensor
    cosines: Tensor
    sines: Tensor
    corrections: Tensor
    slopes: Tensor

    def __init__(
        self,
        options: Gp,
        features: AngleFeatures,
        action_dims: int,
        targets: Targets,
        device: torch.device | str = "cpu",
    ) -> None:
        super().__init__()
        self.options, self.features, self.targets = options, features, targets
        self.kernel = KERNELS[options.kernel]
        self.integration = Integration(targets, action_dims, device)
        self.noise_dims = features.state_dims
        self._warned = False
        self._kept: Posterior | None = None
        self._drawn_from: FunctionPosterior | None = None
        dims, tasks = features.feature_dims + action_dims, len(targets)
        slopes = dims if self.kernel.linear else 0
        waves = -(-options.fourier_features // 2)
        single, double = torch.float32, torch.float64
        for name, shape, value, dtype in (
            ("input_mean", (dims,), 0.0, single),
            ("input_scale", (dims,), 1.0, single),
            ("target_mean", (tasks,), 0.0, single),
            ("target_std", (tasks,), 1.0, single),
            ("inputs", (0, dims), 0.0, double),
            ("targets_seen", (tasks, 0), 0.0, double),
            ("log_lengthscales", (tasks, dims), 0.0, double),
            ("log_signal", (tasks,), 0.0, double),
            ("log_noise", (tasks,), 0.0, double),
            ("log_slopes", (tasks, slopes), 0.0, double),
            ("frequencies", (tasks, dims, waves), 0.0, single),
            ("cosines", (options.functions, tasks, waves), 0.0, single),
            ("sines", (options.functions, tasks, waves), 0.0, single),
            ("corrections", (options.functions, tasks, 0), 0.0, single),
            ("slopes", (options.functions, tasks, slopes), 0.0, single),
        ):
            self.register_buffer(name, torch.full(shape, value, dtype=dtype, device=device))

    @property
    def functions(self) -> int:
        """The posterior draws, of which each particle keeps one."""
        return self.options.functions if self.options.propagation == "functions" else 1

    @property
    def hyperparameters(self) -> Hyperparameters:
        """Of the last fit, of all K targets; float64."""
        numbers = (self.log_lengthscales, self.log_signal, self.log_noise, self.log_slopes)
        return Hyperparameters(*(value.double() for value in numbers))

    def predict(self, state: Tensor, action: Tensor, extra_noise: Tensor | None = None) -> Prediction:
        """Predict each particle's next state by its function, or with the posterior's variance."""
        return GpModel.predictor(self)(state, action, extra_noise)

    def predictor(self) -> Predictor:
        """Return the processes as they are now, as a function."""
        like = self.target_std
        if self.options.propagation == "independent":
            if self.kernel.linear:
                return Predictor(self._posterior())
            if self._kept is None:  # factorised once a fit, not at each gradient step
                known = self.inputs.double(), self.targets_seen.double()
                self._kept = Posterior.of(self.kernel, self.hyperparameters, *known, like)
            return IndependentPredictor(
                self.features,
                Scaling(self.input_mean, self.input_scale),
                self._kept,
                self.target_mean,
                like,
                self.integration.rule(),
            )
        draws = (self.frequencies, self.cosines, self.sines, self.corrections, self.slopes)
        return DrawsPredictor(
            self.features,
            Scaling(self.input_mean, self.input_scale),
            PosteriorFunctions(
                self.kernel.shape,
                self.inputs.to(like),
                (-self.log_lengthscales).exp().to(like),
                FunctionDraws(*draws),
            ),
            ChangeScale(self.target_mean, self.target_std, self.log_noise.exp().to(like) * self.target_std),
            self.integration.rule(),
        )

    def moments(self) -> MomentPredictor:
        """Prepare the posterior for uncertain inputs; see `DynamicsModel.moments`."""
        if KERNELS["se"] is not self.kernel:
            raise ValueError(
                f"moments are known of the kernel 'se' alone, not of {self.options.kernel!r}: "
                "use dynamics 'gp'"
            )
        unit = self.target_std.double()
        change = GpMoments.of(
            self.hyperparameters,
            self.inputs.double(),
            self.targets_seen.double(),
            Scaling(self.input_mean.double(), self.input_scale.double()),
            self.target_mean.double(),
            unit,
        )
        noise = self.log_noise.double().exp() * unit
        return MomentPredictor(change, noise, self.integration.rule().double())

    def fit(self, transitions: Transitions, generator: torch.Generator) -> FitReport:
        """Fit the hyperparameters by marginal likelihood, and draw functions from the posterior."""
        if len(transitions) < self.min_transitions:
            raise ValueError(
                f"a fit needs at least {self.min_transitions} transitions, got {len(transitions)}: "
                "collect a longer episode"
            )
        scalings = fit_scalings(self.features, self.targets, transitions, self.target_std.dtype)
        inputs, targets = standardise(self.features, self.targets, transitions, scalings)
        inputs, targets = inputs.double(), targets.double().mT.contiguous()
        fits = self._fit_hyperparameters(inputs, targets)
        chosen = self._chosen(inputs)
        hyperparameters = stack([fit.hyperparameters for fit in fits])
        posterior = FunctionPosterior.of(self.kernel, hyperparameters, inputs[chosen], targets[:, chosen])
        draws = posterior.draw(self.options.functions, self.options.fourier_features, generator)
        self.integration.fit(transitions)
        self._store({
            "input_mean": scalings.inputs.mean, "input_scale": scalings.inputs.scale,
            "target_mean": scalings.targets.mean, "target_std": inverse(scalings.targets.scale),
            "inputs": inputs[chosen], "targets_seen": targets[:, chosen],
            **vars(hyperparameters), **vars(draws),
        })  # fmt: skip
        return _report(fits, self.target_std > 0)

    @torch.no_grad()
    def renew(self, generator: torch.Generator) -> None:
        """Draw other functions from the posterior, where the options say so; see `DynamicsModel.renew`."""
        if self.options.renewal == "fit" or self.options.propagation == "independent":
            return
        if self._drawn_from is None:  # factorised once a fit
            known = self.inputs.double(), self.targets_seen.double()
            self._drawn_from = FunctionPosterior.of(self.kernel, self.hyperparameters, *known)
        draws = self._drawn_from.draw(self.options.functions, self.options.fourier_features, generator)
        for name, value in vars(draws).items():
            getattr(self, name).copy_(value)

    def score(self, transitions: Transitions) -> Score:
        """Judge the posterior: its likelihood, and the error of its mean."""
        like = self.target_std
        states, actions = transitions.states.to(like), transitions.actions.to(like)
        prediction = self._posterior()(states, actions, None)
        error = self.features.change(prediction.mean, transitions.next_states.to(like))
        varied, predicted = self.target_std > 0, list(self.targets.predicted)
        std = prediction.std[:, predicted][:, varied]
        ratio = error[:, predicted][:, varied] / std
        nll = ratio.square() / 2 + (std / self.target_std[varied]).log() + 0.5 * math.log(2 * math.pi)
        return Score(float(nll.mean()) if varied.any() else 0.0, error.square().mean(0).sqrt().tolist())

    def _posterior(self) -> Any:
        """Return a function (state, action, .) -> Prediction with the posterior's mean and variance."""
        hyperparameters, kernel = self.hyperparameters, self.kernel
        tasks = len(self.targets)
        points = self.inputs.double().expand(tasks, -1, -1)
        noise = hyperparameters.noise_variance()
        covariance = hyperparameters.covariance(kernel, points, points)
        factor = torch.linalg.cholesky(covariance + torch.diag_embed(noise[:, None].expand(points.shape[:2])))
        weights = torch.cholesky_solve(self.targets_seen.double().unsqueeze(-1), factor)
        rule = self.integration.rule()

        def predict(state: Tensor, action: Tensor, extra_noise: Tensor | None) -> Prediction:
            seen = torch.cat([*self.features.parts(state), action], dim=-1)
            z = (seen.double() - self.input_mean.double()) * self.input_scale.double()
            rows = z.reshape(-1, z.shape[-1]).expand(tasks, -1, -1)
            cross = hyperparameters.covariance(kernel, rows, points)  # (K, rows, N)
            mean = (cross @ weights).squeeze(-1).mT
            explained = torch.linalg.solve_triangular(factor, cross.mT, upper=False).square().sum(-2)
            variance = (hyperparameters.variance(kernel, rows) - explained).clamp_min(0) + noise[:, None]
            unit = self.target_std.double()
            change = (self.target_mean.double() + unit * mean).to(state).view(*state.shape[:-1], tasks)
            std = (unit * variance.sqrt().mT).to(state).view_as(change)
            return rule.vjp(state, action, change, std)[0]

        return predict

    def _fit_hyperparameters(self, inputs: Tensor, targets: Tensor) -> list[GpFit]:
        some = evenly(len(inputs), FIT_POINTS).to(inputs.device)
        known, fitted = self.hyperparameters, bool(len(self.inputs))
        fits = []
        for number, values in enumerate(targets):
            last = None
            if fitted:
                last = Hyperparameters(*(value[number] for value in vars(known).values()))
            fits.append(
                fit_hyperparameters(self.kernel, inputs[some], values[some], self.options.fit_steps, last)
            )
        return fits

    def _chosen(self, inputs: Tensor) -> Tensor:
        """Compute the indices of the transitions that the posterior takes."""
        count, most = len(inputs), self.options.max_points
        if count > most and not self._warned:
            self._warned = True
            warnings.warn(
                f"of {count} transitions the Gaussian processes keep {most} (dynamics.max_points): the "
                "latest half, and those farthest apart of the others; a step's time grows with it",
                stacklevel=3,
            )
        return recent_and_far(inputs, most)

    def _store(self, values: dict[str, Tensor]) -> None:
        """Keep what was found, each in the dtype that it has."""
        self._forget()
        for name, value in values.items():
            setattr(self, name, value.detach().to(getattr(self, name)).clone())

    def _apply(self, *arguments: Any, **options: Any) -> Any:
        """Forget what was prepared in another dtype or on another device."""
        self._forget()
        return super()._apply(*arguments, **options)  # type: ignore[no-untyped-call]

    def _forget(self) -> None:
        """Drop what was prepared from the data."""
        self._kept = self._drawn_from = None

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *others: Any) -> None:
        """Take over as many data as were saved; all other sizes must be those of the model."""
        self._forget()
        count = state_dict.get(f"{prefix}inputs", self.inputs).shape[:1].numel()
        self.inputs = self.inputs.new_zeros(count, self.inputs.shape[1])
        self.targets_seen = self.targets_seen.new_zeros(len(self.targets), count)
        self.corrections = self.corrections.new_zeros(*self.corrections.shape[:2], count)
        super()._load_from_state_dict(state_dict, prefix, *others)


def _report(fits: list[GpFit], varied: Tensor) -> FitReport:
    """Return the mean over the targets that vary; a curve that ended earlier stays where it ended."""
    curves = [fit.curve for fit, counts in zip(fits, varied.tolist(), strict=True) if counts]
    if not curves:
        return FitReport(0.0, torch.zeros(1, dtype=torch.float32, device="cpu"))
    steps = max(len(curve) for curve in curves)
    padded = [torch.cat([curve, curve[-1:].expand(steps - len(curve))]) for curve in curves]
    curve = torch.stack(padded).mean(0)
    return FitReport(float(curve[-1]), curve)
