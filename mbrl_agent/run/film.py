"""Film a policy in its environment; several episodes side by side in one film."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from mbrl_agent.errors import NonFiniteError, environment_acts
from mbrl_agent.run.animation import DEFAULT_TIME_STEP, Film, Frame

Act = Callable[[NDArray[Any]], NDArray[Any]]
"""Observation (D) -> action (U) of the environment."""

MIN_WIDTH = 170
"""Pixels that a caption needs."""
CAPTION_HEIGHT, FONT_SIZE, MARGIN = 36, 12, 4
GAP = 6
"""Pixels beside and below each tile."""
MAX_PIXELS = 120_000_000
"""Of a whole film; of a longer one every second frame is left out, or three of four, and so on."""
MIN_SECONDS = 0.02
"""Between two frames: browsers slow down what is faster."""


@dataclass(frozen=True)
class FilmedEpisode:
    """An episode with its images.

    Attributes:
        title: First line of its caption.
        frames: Images (height, width, 3), one every `every` steps from the reset on.
        every: Steps between two of them.
        returns: (N + 1), sum of the rewards up to each step.
    """

    title: str
    frames: list[Frame]
    every: int
    returns: list[float]

    def frame(self, step: int) -> Frame:
        """Return the image at a step; after the episode's end its last one."""
        return self.frames[min(step // self.every, len(self.frames) - 1)]


def run_episode(env: gymnasium.Env[Any, Any], act: Act, seed: int, look: Callable[[], None]) -> list[float]:
    """Run an episode.

    Args:
        env: With a time limit.
        act: The policy.
        seed: Of the reset.
        look: Called after the reset and after each step.

    Returns:
        (N + 1), sum of the rewards up to each step.

    Raises:
        EnvFailedError: The environment raised an exception.
        NonFiniteError: It returned an observation or a reward that is not finite.
    """
    returns, done = [0.0], False
    with environment_acts("at the reset of the episode"):
        observation, _ = env.reset(seed=seed)
    look()
    while not done:
        step = len(returns)
        if not np.isfinite(observation).all():
            raise NonFiniteError(f"the environment returned observation = {observation} before step {step}")
        action = act(observation)
        with environment_acts(f"at step {step} of the episode"):
            observation, reward, terminated, truncated, _ = env.step(action)
        if not math.isfinite(reward):
            raise NonFiniteError(f"the environment returned reward = {reward} at step {step}")
        returns.append(returns[-1] + float(reward))
        look()
        done = bool(terminated or truncated)
    return returns


def film_episode(env: gymnasium.Env[Any, Any], act: Act, seed: int, title: str) -> FilmedEpisode:
    """Run an episode and keep its images; see `run_episode`.

    Args:
        env: Made with a render mode that gives images.
        act: The policy.
        seed: Of the reset.
        title: First line of the caption.

    Raises:
        EnvFailedError: The environment does not return images, or raised another exception.
    """
    film = Film()

    def look() -> None:
        with environment_acts("when it was rendered"):
            film.add(env.render())

    returns = run_episode(env, act, seed, look)
    return FilmedEpisode(title, film.images(), film.every, returns)


@dataclass(frozen=True)
class TiledFilm:
    """Episodes side by side, with captions.

    Attributes:
        episodes: At least one.
        time_step: Seconds of a step; None where nobody knows.
    """

    episodes: Sequence[FilmedEpisode]
    time_step: float | None

    @property
    def columns(self) -> int:
        """Tiles in a row."""
        count = len(self.episodes)
        return count if count <= 3 else math.ceil(math.sqrt(count))

    @property
    def tile(self) -> tuple[int, int]:
        """(width, height) of a tile, with its caption and the gap."""
        shapes = [episode.frames[0].shape for episode in self.episodes]
        width = max(MIN_WIDTH, *(shape[1] for shape in shapes)) + GAP
        return width, max(shape[0] for shape in shapes) + CAPTION_HEIGHT + GAP

    @property
    def size(self) -> tuple[int, int]:
        """(width, height), both even, as video codecs want them."""
        (width, height), columns = self.tile, self.columns
        width, height = width * columns, height * math.ceil(len(self.episodes) / columns)
        return width + width % 2, height + height % 2

    @property
    def every(self) -> int:
        """Steps between two frames."""
        every = max(episode.every for episode in self.episodes)
        steps = max(len(episode.returns) for episode in self.episodes)
        area = self.size[0] * self.size[1]
        while (
            every * (self.time_step or DEFAULT_TIME_STEP) < MIN_SECONDS or steps // every * area > MAX_PIXELS
        ):
            every *= 2
        return every

    @property
    def frame_seconds(self) -> float:
        """Seconds between two frames."""
        return self.every * (self.time_step or DEFAULT_TIME_STEP)

    def frames(self) -> Iterator[Frame]:
        """Yield the images (height, width, 3); the last shows how all episodes ended."""
        last = max(len(episode.returns) for episode in self.episodes) - 1
        for step in [*range(0, last, self.every), last]:
            yield self._frame(step)

    def _frame(self, step: int) -> Frame:
        image = Image.new("RGB", self.size, "white")
        width, height = self.tile
        for index, episode in enumerate(self.episodes):
            left, top = index % self.columns * width, index // self.columns * height
            picture = Image.fromarray(episode.frame(step))
            image.paste(picture, (left + (width - picture.width) // 2, top + CAPTION_HEIGHT))
            self._write_caption(image, (left, top), episode, step)
        return np.array(image)

    def _write_caption(
        self, image: Image.Image, corner: tuple[int, int], episode: FilmedEpisode, step: int
    ) -> None:
        """Write two lines: which policy it is, and how far the episode is."""
        own = min(step, len(episode.returns) - 1)
        when = f"step {own}" if self.time_step is None else f"t = {own * self.time_step:.2f} s"
        text = f"{episode.title}\n{when}   return {episode.returns[own]:.4g}"
        font = ImageFont.load_default(FONT_SIZE)
        place = (corner[0] + MARGIN, corner[1] + MARGIN)
        ImageDraw.Draw(image).multiline_text(place, text, fill="black", font=font, spacing=2)


def require_mp4() -> None:
    """Raise ValueError, which says what to install, where no film can be encoded as MP4."""
    try:
        import imageio_ffmpeg

        imageio_ffmpeg.get_ffmpeg_exe()
    except (ImportError, RuntimeError) as error:
        raise ValueError(
            f"an MP4 film needs ffmpeg ({error}): pip install imageio-ffmpeg, or make a GIF, with --gif FILE"
        ) from error


def encode_mp4(film: TiledFilm) -> bytes:
    """Return the film as MP4 (H.264); its end stands still for a second.

    Raises:
        OSError: ffmpeg failed.
    """
    import imageio_ffmpeg

    rate = 1 / film.frame_seconds
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "film.mp4"
        writer = imageio_ffmpeg.write_frames(
            str(path), film.size, fps=rate, quality=8, macro_block_size=2, ffmpeg_log_level="error"
        )
        writer.send(None)
        try:
            for frame in film.frames():
                writer.send(frame)
            for _ in range(round(rate)):
                writer.send(frame)
        finally:
            writer.close()
        return path.read_bytes()
