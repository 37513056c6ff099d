"""How well a model predicts episodes that it was not fitted to, and how sure it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mbrl_agent.agent.replay import Episode
from mbrl_agent.dynamics.base import DynamicsModel, Predictor
from mbrl_agent.features import AngleFeatures
from mbrl_agent.options.validation import require_count
from mbrl_agent.types import Prediction

FloatArray = NDArray[np.float64]

MAX_STARTS = 200
"""From so many states at most, evenly spread over the episodes, predictions begin."""


@dataclass(frozen=True)
class PredictionErrors:
    """Errors of predictions K steps ahead under the actions that were really taken; root mean squares.

    Attributes:
        starts: (K), from how many states a prediction reached so far.
        error: (K, D), between the mean of the particles and what was observed.
        spread: (K, D), standard deviation that was predicted; about `error` where the model knows how good
            it is.
        unchanged: (K, D), the error of saying that nothing changes, to compare with.
    """

    starts: NDArray[np.int64]
    error: FloatArray
    spread: FloatArray
    unchanged: FloatArray


@dataclass(frozen=True)
class PredictionSpread:
    """The spread of one-step predictions along the episodes; root mean squares over the episodes.

    By the law of total variance, noise^2 + disagreement^2 is the variance of the next state.

    Attributes:
        noise: (T, D), standard deviation that each function of the model predicts: what more data would not
            take away (aleatoric).
        disagreement: (T, D), standard deviation of the functions' means: what the model does not know yet
            (epistemic).
        error: (T, D), between the mean of the means and what was observed.
    """

    noise: FloatArray
    disagreement: FloatArray
    error: FloatArray


@dataclass(frozen=True)
class _Windows:
    """What happened from S states on: observations (S, K + 1, D), actions (S, K, U), steps there are (S)."""

    observations: Tensor
    actions: Tensor
    lengths: Tensor


def prediction_errors(
    model: DynamicsModel,
    features: AngleFeatures,
    episodes: Sequence[Episode],
    steps: int,
    particles: int,
    generator: torch.Generator,
) -> PredictionErrors:
    """Predict from each observed state on, under the recorded actions and without the policy or resampling.

    All particles start at the observed state. Errors of angles are taken by the shorter way round.

    Args:
        model: Fitted.
        features: Which dimensions are angles.
        episodes: That the model was not fitted to.
        steps: K; it is cut to the longest episode.
        particles: P, as many as the model allows (`DynamicsModel.validate`).
        generator: Source of randomness, on the model's device.

    Raises:
        ValueError: There are no steps in the episodes, `steps` is below 1, or the model cannot be used with
            so many particles.
        TypeError: A count is not a whole number.
    """
    require_count("steps", steps)
    windows = _windows(model, episodes, steps, particles, generator.device)
    state = _copies(windows.observations[:, 0], particles)
    first, rows = windows.observations[:, 0], []
    predict = model.predictor()
    with torch.no_grad():
        for k in range(windows.actions.shape[1]):
            prediction = _predict(predict, model, state, _copies(windows.actions[:, k], particles), generator)
            noise = torch.randn(state.shape, generator=generator, dtype=state.dtype, device=state.device)
            state = prediction.mean + prediction.std * noise
            there, real = windows.lengths > k, windows.observations[:, k + 1]
            variance = prediction.std.square().mean(1) + prediction.mean.var(1, correction=0)
            values = (
                features.change(prediction.mean.mean(1), real).square(),
                variance,
                features.change(first, real).square(),
            )
            rows.append(torch.stack([value[there].mean(0).sqrt() for value in values]))
    starts = [int((windows.lengths > k).sum()) for k in range(len(rows))]
    error, spread, unchanged = torch.stack(rows, dim=1).double().cpu().numpy()
    return PredictionErrors(np.array(starts), error, spread, unchanged)


def prediction_spread(
    model: DynamicsModel,
    features: AngleFeatures,
    episodes: Sequence[Episode],
    particles: int,
    generator: torch.Generator,
) -> PredictionSpread:
    """Split the spread of one-step predictions into noise and disagreement, step by step.

    Args:
        model: Fitted.
        features: Which dimensions are angles.
        episodes: Of at most T steps, best ones that the model was not fitted to.
        particles: P, as many as the model allows; the more, the more draws of a model whose functions are
            drawn at each step.
        generator: Source of randomness, on the model's device.

    Raises:
        ValueError: There are no steps in the episodes, or the model cannot be used with so many particles.
    """
    longest = max((len(episode) for episode in episodes), default=0)
    result = np.full((3, len(episodes), longest, features.state_dims), np.nan)
    predict = model.predictor()
    for index, episode in enumerate(episodes):
        if len(episode):
            windows = _windows(model, [episode], 1, particles, generator.device, every=True)
            with torch.no_grad():
                state = _copies(windows.observations[:, 0], particles)
                action = _copies(windows.actions[:, 0], particles)
                prediction = _predict(predict, model, state, action, generator)
                error = features.change(prediction.mean.mean(1), windows.observations[:, 1]).square()
                parts = (prediction.std.square().mean(1), prediction.mean.var(1, correction=0), error)
            result[:, index, : len(episode)] = torch.stack(parts).double().cpu().numpy()
    if not longest:
        raise ValueError("there are no steps to predict: the episodes are empty")
    noise, disagreement, error_rms = np.sqrt(np.nanmean(result, axis=1))
    return PredictionSpread(noise, disagreement, error_rms)


def _windows(
    model: DynamicsModel,
    episodes: Sequence[Episode],
    steps: int,
    particles: int,
    device: torch.device,
    every: bool = False,
) -> _Windows:
    """Return what happened from each state on, of at most `MAX_STARTS` unless of `every` one."""
    require_count("particles", particles)
    model.validate(particles)
    places = [(episode, start) for episode in episodes for start in range(len(episode))]
    if not places:
        raise ValueError("there are no steps to predict: the episodes are empty")
    count = len(places) if every else min(len(places), MAX_STARTS)
    chosen = [places[i] for i in np.linspace(0, len(places) - 1, count).round().astype(int)]
    steps = min(steps, max(len(episode) - start for episode, start in chosen))
    lengths = [min(steps, len(episode) - start) for episode, start in chosen]

    def padded(array: FloatArray, rows: int) -> FloatArray:
        return np.pad(array, ((0, rows - len(array)), (0, 0)))

    def tensor(arrays: list[FloatArray]) -> Tensor:
        return torch.as_tensor(np.stack(arrays), dtype=_dtype(model), device=device)

    return _Windows(
        tensor([padded(e.observations[start : start + steps + 1], steps + 1) for e, start in chosen]),
        tensor([padded(e.actions[start : start + steps], steps) for e, start in chosen]),
        torch.tensor(lengths, device=device),
    )


def _dtype(model: DynamicsModel) -> torch.dtype:
    """Return that in which the model computes."""
    tensors = [*model.parameters(), *model.buffers()]
    return next((tensor.dtype for tensor in tensors if tensor.is_floating_point()), torch.float32)


def _copies(values: Tensor, particles: int) -> Tensor:
    """Expand (S, N) to (S, P, N)."""
    return values[:, None].expand(-1, particles, -1)


def _predict(
    predict: Predictor, model: DynamicsModel, state: Tensor, action: Tensor, generator: torch.Generator
) -> Prediction:
    """Return the next states, with the noise that the model itself consumes."""
    more = model.noise_dims - state.shape[-1]
    shape = (*state.shape[:-1], more)
    noise = torch.randn(shape, generator=generator, dtype=state.dtype, device=state.device) if more else None
    return predict(state, action, noise)
