"""Drawing of plants with pygame, in a window or as an image without any display."""

import itertools
import math
from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from gymnasium.error import DependencyNotInstalled

WIDTH, HEIGHT = 600, 400
SUPERSAMPLING = 2
CART_WIDTH, CART_HEIGHT, WHEEL_RADIUS = 0.34, 0.15, 0.045
CAMERA_SLACK = 0.75
"""The camera follows when the cart is farther than this from the middle of the picture [m]."""
METRES_OF_FULL_FORCE = 0.55

BACKGROUND, INK, FAINT = (250, 250, 247), (52, 58, 70), (196, 200, 206)
CART, WHEEL, POLE, HINGE = (62, 92, 138), (38, 46, 60), (222, 142, 48), (250, 250, 247)
SECOND_POLE = (176, 92, 124)
TARGET, TARGET_AREA, FORCE = (38, 148, 92), (226, 241, 231), (206, 62, 58)

Point = tuple[float, float]
Colour = tuple[int, int, int]


class Renderer(ABC):
    """Draws one plant at a time.

    Copies and pickles carry the settings only: a copy draws on a canvas, and in human mode in a window, of
    its own.

    Args:
        mode: "human" or "rgb_array".
        fps: Frames a second in human mode.
        **settings: What a plant's own drawing needs, as attributes.

    Raises:
        gymnasium.error.DependencyNotInstalled: pygame is missing.
    """

    caption: ClassVar[str]
    """Title of the window."""
    scale: ClassVar[float]
    """Pixels of the picture in one metre."""
    middle_height: ClassVar[float]
    """Pixels of the picture from its top to the height of the hinge."""

    def __init__(self, mode: str, fps: int, **settings: Any) -> None:
        self.mode, self.fps = mode, fps
        self._settings = settings
        # a large canvas is shrunk to WIDTH x HEIGHT, which smooths every edge
        self._metre = self.scale * SUPERSAMPLING
        self._forget()

    @abstractmethod
    def draw_scene(self, state: tuple[float, ...], forces: tuple[float, ...]) -> None:
        """Draw the plant on the canvas.

        Args:
            state: (D,).
            forces: (U,), [N] or [N m].
        """

    @abstractmethod
    def draw_text(self, frame: Any, state: tuple[float, ...], forces: tuple[float, ...], time: float) -> None:
        """Write on the frame; time in s since the start of the episode."""

    def render(
        self, state: tuple[float, ...], forces: tuple[float, ...], time: float
    ) -> npt.NDArray[np.uint8] | None:
        """Draw a state.

        Args:
            state: (D,).
            forces: (U,), [N] or [N m].
            time: Time since the start of the episode [s].

        Returns:
            In mode "rgb_array" an image (400, 600, 3); in mode "human" None, after waiting for the next
            frame's time.
        """
        if self._canvas is None:
            self._open()
        pygame, canvas = self._pygame, self._canvas
        canvas.fill(BACKGROUND)
        self.draw_scene(state, forces)
        frame = pygame.transform.smoothscale(canvas, (WIDTH, HEIGHT))
        self.draw_text(frame, state, forces, time)
        if self.mode == "human":
            pygame.event.pump()
            self._window.blit(frame, (0, 0))
            pygame.display.flip()
            self._clock.tick(self.fps)
            return None
        return np.ascontiguousarray(pygame.surfarray.array3d(frame).swapaxes(0, 1))

    def close(self) -> None:
        """Close the window and release the canvas; drawing again opens them anew."""
        if self._window is not None:
            self._pygame.display.quit()
        self._forget()

    def _forget(self) -> None:
        self._pygame: Any = None
        self._canvas: Any = None
        self._window: Any = None
        self._clock: Any = None
        self._font: Any = None
        self._label_font: Any = None
        self._camera = 0.0

    def _open(self) -> None:
        try:
            import pygame
            import pygame.gfxdraw
        except ImportError as error:
            raise DependencyNotInstalled("Rendering needs pygame: pip install pygame-ce.") from error
        self._pygame = pygame
        pygame.font.init()
        self._font = pygame.font.Font(None, 22)
        self._label_font = pygame.font.Font(None, 20 * SUPERSAMPLING)
        self._canvas = pygame.Surface((WIDTH * SUPERSAMPLING, HEIGHT * SUPERSAMPLING))
        if self.mode == "human":
            pygame.display.init()
            pygame.display.set_caption(self.caption)
            self._window = pygame.display.set_mode((WIDTH, HEIGHT))
            self._clock = pygame.time.Clock()

    def __getstate__(self) -> dict[str, Any]:
        return {"mode": self.mode, "fps": self.fps, **self._settings}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def follow(self, across: float) -> None:
        """Let the camera follow a place on the track [m]."""
        self._camera = math.copysign(max(0.0, abs(across) - CAMERA_SLACK), across)

    def _pixel(self, across: float, up: float) -> Point:
        """Place of a point [m], measured from the middle of the track at the height of the hinge."""
        return WIDTH * SUPERSAMPLING / 2 + (across - self._camera) * self._metre, (
            self.middle_height * SUPERSAMPLING - up * self._metre
        )

    def draw_track(self) -> None:
        """Draw a rail with a mark every half metre."""
        half = WIDTH / 2 / self.scale + 0.5
        left, right = self._camera - half, self._camera + half
        rail = -CART_HEIGHT / 2 - 2 * WHEEL_RADIUS
        self.line((left, rail - 0.008), (right, rail - 0.008), 0.014, INK)
        for mark in range(math.floor(2 * left), math.ceil(2 * right) + 1):
            self.line((mark / 2, rail - 0.02), (mark / 2, rail - 0.06), 0.01, INK if mark == 0 else FAINT)
            if mark % 2 == 0:
                label = self._label_font.render(f"{mark // 2} m", True, INK)
                self._canvas.blit(label, label.get_rect(midtop=self._pixel(mark / 2, rail - 0.08)))

    def draw_cart(self, x: float) -> None:
        """Draw a cart on the rail at x [m]."""
        left, top = self._pixel(x - CART_WIDTH / 2, CART_HEIGHT / 2)
        box = self._pygame.Rect(
            round(left), round(top), round(CART_WIDTH * self._metre), round(CART_HEIGHT * self._metre)
        )
        self._pygame.draw.rect(self._canvas, CART, box, border_radius=round(0.03 * self._metre))
        for side in (-1, 1):
            hub = (x + side * 0.3 * CART_WIDTH, -CART_HEIGHT / 2 - WHEEL_RADIUS)
            self.circle(hub, WHEEL_RADIUS, WHEEL)
            self.circle(hub, 0.3 * WHEEL_RADIUS, FAINT)

    def draw_target(self, target: Point) -> None:
        """Draw a cross where the tip shall be [m]."""
        across, up = target
        for dx, dy in ((0.04, 0.0), (0.0, 0.04)):
            self.line((across - dx, up - dy), (across + dx, up + dy), 0.011, TARGET)

    def draw_push(self, across: float, share: float) -> None:
        """Draw an arrow from the side of a cart that the force pushes towards; none without force.

        Args:
            across: Where the cart is [m].
            share: Of the full force, -1 to 1.
        """
        reach = METRES_OF_FULL_FORCE * share
        if abs(reach) * self._metre < 1:
            return
        side = math.copysign(1.0, reach)
        start = across + side * (CART_WIDTH / 2 + 0.03)
        head = min(0.09, abs(reach))
        neck, end = start + reach - side * head, start + reach
        self.line((start, 0.0), (neck, 0.0), 0.03, FORCE)
        corners = [self._pixel(neck, 0.055), self._pixel(end, 0.0), self._pixel(neck, -0.055)]
        self._pygame.draw.polygon(self._canvas, FORCE, corners)

    def draw_torque(self, place: Point, share: float) -> None:
        """Draw an arc around a motor, clockwise for a torque towards +x; its length is the share of the full.

        Args:
            place: Of the motor [m].
            share: Of the full torque, -1 to 1.
        """
        radius, steps = 0.14, 24
        end = share * 0.8 * math.pi
        points = [
            (place[0] + radius * math.sin(end * k / steps), place[1] + radius * math.cos(end * k / steps))
            for k in range(steps + 1)
        ]
        for start, stop in itertools.pairwise(points):
            self.line(start, stop, 0.025, FORCE)

    def line(self, start: Point, end: Point, width: float, colour: Colour) -> None:
        """Draw a straight line [m] with round ends."""
        (x0, y0), (x1, y1) = self._pixel(*start), self._pixel(*end)
        distance = math.hypot(x1 - x0, y1 - y0) or 1.0
        half = width * self._metre / 2
        across, down = -(y1 - y0) / distance * half, (x1 - x0) / distance * half
        corners = [
            (x0 + across, y0 + down),
            (x1 + across, y1 + down),
            (x1 - across, y1 - down),
            (x0 - across, y0 - down),
        ]
        self._pygame.draw.polygon(self._canvas, colour, corners)
        self.circle(start, width / 2, colour)
        self.circle(end, width / 2, colour)

    def circle(self, centre: Point, radius: float, colour: Colour) -> None:
        """Draw a disc [m]."""
        self._pygame.draw.circle(self._canvas, colour, self._pixel(*centre), radius * self._metre)

    def write(self, frame: Any, text: str, place: Point, colour: Colour) -> None:
        """Write text at a place of the frame [pixels]."""
        frame.blit(self._font.render(text, True, colour), place)
