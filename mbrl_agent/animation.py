"""A real episode as an animated GIF."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mbrl_agent.replay import Episode

MAX_WIDTH = 300
"""Width [pixels] to which frames are shrunk: an event file holds one animation a trial."""


def can_render(env: gymnasium.Env[Any, Any]) -> bool:
    """Whether an environment offers images."""
    return "rgb_array" in (env.metadata.get("render_modes") or ())


def replay_frames(
    env: gymnasium.Env[Any, Any], episode: Episode, actions: NDArray[Any], seed: int
) -> list[NDArray[np.uint8]] | None:
    """Run an episode again, with the seed and the actions that it had, and keep the images.

    Args:
        env: Made with `render_mode="rgb_array"`.
        episode: What happened.
        actions: (N, U), in the bounds of the action space.
        seed: The seed of the episode's reset.

    Returns:
        N + 1 images (height, width, 3), or None if the environment did not repeat itself: then this
        would be another episode.
    """
    observation, _ = env.reset(seed=seed)
    observations, frames = [observation], [_frame(env)]
    for action in actions:
        observation, _, terminated, truncated, _ = env.step(action)
        observations.append(observation)
        frames.append(_frame(env))
        if terminated or truncated:
            break
    same = np.shape(observations) == episode.observations.shape and np.allclose(
        np.asarray(observations, dtype=np.float64), episode.observations
    )
    return frames if same else None


def _frame(env: gymnasium.Env[Any, Any]) -> NDArray[np.uint8]:
    return np.asarray(env.render(), dtype=np.uint8)


def encode_gif(frames: Sequence[NDArray[np.uint8]], time_step: float | None) -> bytes:
    """An endless animation.

    Args:
        frames: Images (height, width, 3).
        time_step: Seconds between two of them; None takes 0.1.

    Returns:
        The file.
    """
    height, width, _ = frames[0].shape
    scale = min(1.0, MAX_WIDTH / width)
    size = (round(width * scale), round(height * scale))
    images = _with_common_palette(
        [Image.fromarray(frame).resize(size, Image.Resampling.LANCZOS) for frame in frames]
    )
    milliseconds = max(20, round(1000 * (time_step or 0.1)))  # browsers slow down what is faster
    durations = [milliseconds] * (len(images) - 1) + [max(1000, milliseconds)]  # the end is worth a look
    buffer = io.BytesIO()
    images[0].save(buffer, format="GIF", save_all=True, append_images=images[1:], duration=durations, loop=0)
    return buffer.getvalue()


def _with_common_palette(images: Sequence[Image.Image]) -> list[Image.Image]:
    """Images with 64 colours, the same for all: the file is small, and still parts do not flicker."""
    width, height = max(1, images[0].width // 3), max(1, images[0].height // 3)
    sample = Image.new("RGB", (width, height * len(images)))
    for row, image in enumerate(images):
        sample.paste(image.resize((width, height), Image.Resampling.NEAREST), (0, row * height))
    palette = sample.quantize(64, Image.Quantize.MEDIANCUT)
    return [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
