"""A real episode as an animated GIF, whatever the environment's renderer returns."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mbrl_agent.agent.replay import Episode

MAX_WIDTH, MAX_HEIGHT = 300, 600
"""Size [pixels] to which frames are shrunk as they arrive: an event file holds one animation a trial."""
MAX_FRAMES = 600
"""Of an animation; of a longer episode every second frame is kept, or every fourth, and so on."""
MAX_MILLISECONDS = 10_000
"""A GIF holds no more than a minute for a frame, and nobody waits that long."""
DEFAULT_TIME_STEP = 0.1
"""Seconds between two frames where nobody knows how long a step takes."""
MODES = ("rgb_array", "rgb_array_list")
"""Render modes that give images, the preferred one first."""

Frame = NDArray[np.uint8]
"""(height, width, 3)."""


def metadata_of(env: gymnasium.Env[Any, Any]) -> Mapping[str, Any]:
    """Make an environment's metadata; nothing where they are not what Gymnasium asks for."""
    metadata = getattr(env, "metadata", None)
    return metadata if isinstance(metadata, Mapping) else {}


def render_mode(env: gymnasium.Env[Any, Any]) -> str | None:
    """Return the mode in which an environment says that it gives images, None if it says so of none."""
    modes = metadata_of(env).get("render_modes")
    if isinstance(modes, str):
        modes = [modes]
    offered = [str(mode) for mode in modes] if isinstance(modes, list | tuple | set | frozenset) else []
    return next((mode for mode in MODES if mode in offered), None)


class Film:
    """The images of an episode, small enough to keep them all."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.every = 1
        """Steps between two frames."""
        self._steps = 0
        self._fractions: list[bool] = []
        self._size: tuple[int, int] | None = None

    def add(self, rendered: Any) -> None:
        """Take what `render` returned.

        The film has the size of the first image. It keeps a copy: the renderer may use its array again.

        Raises:
            ValueError: It is no image.
        """
        if self._steps % self.every == 0:
            if len(self.frames) == MAX_FRAMES:
                self.frames, self._fractions = self.frames[::2], self._fractions[::2]
                self.every *= 2
            pixels = _pixels(rendered)
            if self._size is None:
                self._size = _film_size(pixels.shape[0], pixels.shape[1])
            frame, fractions = _small_frame(_thinned(pixels), self._size)
            self.frames.append(frame)
            self._fractions.append(fractions)
        self._steps += 1

    def images(self) -> list[Frame]:
        """Convert frames; floating-point ones are in [0, 1] if no pixel of the film is above 1."""
        if all(self._fractions):
            return self.frames
        return [
            frame // 255 if fraction else frame
            for frame, fraction in zip(self.frames, self._fractions, strict=True)
        ]


def _pixels(rendered: Any) -> NDArray[Any]:
    """Return the image (height, width), (height, width, 3) or (height, width, 4) that `render` returned."""
    is_list = isinstance(rendered, list | tuple) and len(rendered) > 0
    if is_list and not isinstance(rendered[-1], list | tuple | int | float):  # not an image of nested lists
        rendered = rendered[-1]  # of several images the latest
    pixels = np.asarray(rendered)
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    is_image = pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] in (3, 4))
    if not is_image or pixels.size == 0 or pixels.dtype.kind not in "biuf":
        kind = (
            "nothing" if rendered is None else f"{type(rendered).__name__} of {pixels.dtype} {pixels.shape}"
        )
        raise ValueError(f"render() returned {kind} instead of an image (height, width, 3)")
    return pixels


def _film_size(height: int, width: int) -> tuple[int, int]:
    """Return the (width, height) that an image is shrunk to; small ones are not enlarged."""
    scale = min(1.0, MAX_WIDTH / width, MAX_HEIGHT / height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _thinned(pixels: NDArray[Any]) -> NDArray[Any]:
    """Keep every n-th pixel of a huge image: about as many as a careful shrinking needs."""
    height, width = pixels.shape[:2]
    return pixels[:: max(1, height // (4 * MAX_HEIGHT)), :: max(1, width // (4 * MAX_WIDTH))]


def _small_frame(pixels: NDArray[Any], size: tuple[int, int]) -> tuple[Frame, bool]:
    """Convert an image to three colours and the film's size; tell whether it was taken for fractions.

    Transparent pixels show white. What is out of range is clipped, what is not a number is black.
    """
    fractions = False
    if pixels.dtype.kind == "f":
        pixels = np.nan_to_num(pixels.astype(np.float32), posinf=255.0, neginf=0.0)
        fractions = bool(pixels.max() <= 1)
        pixels = 255 * pixels if fractions else pixels
    elif pixels.dtype.kind == "b":
        pixels = pixels * 255
    values = np.ascontiguousarray(np.clip(pixels, 0, 255).round().astype(np.uint8))
    image = Image.fromarray(values)
    if image.mode == "RGBA":
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    image = image.convert("RGB").resize(size, Image.Resampling.LANCZOS)
    return np.array(image), fractions


def replay(env: gymnasium.Env[Any, Any], episode: Episode, actions: NDArray[Any], seed: int) -> Film | None:
    """Run an episode again, with the seed and the actions that it had, and keep the images.

    Args:
        env: Made with a render mode of `MODES`.
        episode: What happened.
        actions: (N, U), in the bounds of the action space.
        seed: The seed of the episode's reset.

    Returns:
        N + 1 images, or None if the environment did not repeat itself: then this would be another episode.

    Raises:
        ValueError: It does not return images. (The environment may raise anything.)
    """
    film = Film()
    observation, _ = env.reset(seed=seed)
    done = False
    for step, expected in enumerate(episode.observations):
        if step > 0:
            if done:
                return None
            observation, _, terminated, truncated, _ = env.step(actions[step - 1])
            done = bool(terminated or truncated)
        if np.shape(observation) != expected.shape or not np.allclose(
            np.asarray(observation, dtype=np.float64), expected
        ):
            return None
        film.add(env.render())
    return film


def encode_gif(frames: Sequence[Frame], time_step: float = DEFAULT_TIME_STEP) -> bytes:
    """Return an endless animation.

    Args:
        frames: Images (height, width, 3) of one size.
        time_step: Seconds between two of them.

    Returns:
        The file.
    """
    images = _with_common_palette([Image.fromarray(frame) for frame in frames])
    # browsers slow down what is faster
    milliseconds = max(20, round(min(MAX_MILLISECONDS, 1000 * time_step)))
    durations = [milliseconds] * (len(images) - 1) + [max(1000, milliseconds)]  # the end is worth a look
    buffer = io.BytesIO()
    images[0].save(buffer, format="GIF", save_all=True, append_images=images[1:], duration=durations, loop=0)
    return buffer.getvalue()


def _with_common_palette(images: Sequence[Image.Image]) -> list[Image.Image]:
    """Reduce images to the same 64 colours: the file is small, and still parts do not flicker."""
    width, height = max(1, images[0].width // 3), max(1, images[0].height // 3)
    sample = Image.new("RGB", (width, height * len(images)))
    for row, image in enumerate(images):
        sample.paste(image.resize((width, height), Image.Resampling.NEAREST), (0, row * height))
    palette = sample.quantize(64, Image.Quantize.MEDIANCUT)
    return [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
