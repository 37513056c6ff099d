"""Drawing of the cart-pole with pygame, in a window or as an image without any display."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium.error import DependencyNotInstalled

from envs.cartpole_physics import DEFAULT_PARAMETERS, CartPoleParameters
from envs.cartpole_task import SUCCESS_DISTANCE

WIDTH, HEIGHT = 600, 400
SUPERSAMPLING = 2
METRE = 200 * SUPERSAMPLING
"""Pixels of the large canvas in one metre; it is shrunk to WIDTH x HEIGHT, which smooths every edge."""
HINGE_HEIGHT = 222 * SUPERSAMPLING
CART_WIDTH, CART_HEIGHT, WHEEL_RADIUS = 0.34, 0.15, 0.045
CAMERA_SLACK = 0.75
"""The camera follows when the cart is farther than this from the middle of the picture [m]."""
METRES_OF_FULL_FORCE = 0.55

BACKGROUND, INK, FAINT = (250, 250, 247), (52, 58, 70), (196, 200, 206)
CART, WHEEL, POLE, HINGE = (62, 92, 138), (38, 46, 60), (222, 142, 48), (250, 250, 247)
TARGET, TARGET_AREA, FORCE = (38, 148, 92), (226, 241, 231), (206, 62, 58)

Point = tuple[float, float]
State = tuple[float, float, float, float]


class CartPoleRenderer:
    """Draws one cart-pole at a time.

    Copies and pickles carry the settings only: a copy draws on a canvas, and in human mode in a window, of
    its own.

    Args:
        mode: "human" or "rgb_array".
        fps: Frames a second in human mode.
        parameters: Length of the pole, full force.

    Raises:
        gymnasium.error.DependencyNotInstalled: pygame is missing.
    """

    def __init__(self, mode: str, fps: int, parameters: CartPoleParameters = DEFAULT_PARAMETERS) -> None:
        self.mode, self.fps, self.parameters = mode, fps, parameters
        self._forget()

    def render(self, state: State, force: float, time: float) -> npt.NDArray[np.uint8] | None:
        """Draw a state.

        Args:
            state: x [m], x_dot [m/s], theta [rad], theta_dot [rad/s].
            force: Force on the cart [N].
            time: Time since the start of the episode [s].

        Returns:
            In mode "rgb_array" an image (400, 600, 3); in mode "human" None, after waiting for the next
            frame's time.
        """
        if self._canvas is None:
            self._open()
        pygame, canvas = self._pygame, self._canvas
        canvas.fill(BACKGROUND)
        self._draw_scene(state, force)
        frame = pygame.transform.smoothscale(canvas, (WIDTH, HEIGHT))
        self._draw_text(frame, state, force, time)
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
            pygame.display.set_caption("CartPoleSwingUp")
            self._window = pygame.display.set_mode((WIDTH, HEIGHT))
            self._clock = pygame.time.Clock()

    def __getstate__(self) -> dict[str, Any]:
        return {"mode": self.mode, "fps": self.fps, "parameters": self.parameters}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def _pixel(self, across: float, up: float) -> Point:
        """Place of a point [m], measured from the middle of the track at the height of the hinge."""
        return WIDTH * SUPERSAMPLING / 2 + (across - self._camera) * METRE, HINGE_HEIGHT - up * METRE

    def _draw_scene(self, state: State, force: float) -> None:
        x, _, theta, _ = state
        length = self.parameters.pole_length
        self._camera = math.copysign(max(0.0, abs(x) - CAMERA_SLACK), x)
        tip = (x + length * math.sin(theta), length * math.cos(theta))
        self._circle((0.0, length), SUCCESS_DISTANCE, TARGET_AREA)
        self._draw_track()
        self._draw_cart(x)
        self._line((x, 0.0), tip, 0.036, POLE)
        self._circle((x, 0.0), 0.022, HINGE)
        self._circle((x, 0.0), 0.012, WHEEL)
        self._draw_target((0.0, length))
        self._draw_force(x, force)

    def _draw_track(self) -> None:
        left, right = self._camera - 2.0, self._camera + 2.0
        rail = -CART_HEIGHT / 2 - 2 * WHEEL_RADIUS
        self._line((left, rail - 0.008), (right, rail - 0.008), 0.014, INK)
        for mark in range(math.floor(2 * left), math.ceil(2 * right) + 1):
            self._line((mark / 2, rail - 0.02), (mark / 2, rail - 0.06), 0.01, INK if mark == 0 else FAINT)
            if mark % 2 == 0:
                label = self._label_font.render(f"{mark // 2} m", True, INK)
                self._canvas.blit(label, label.get_rect(midtop=self._pixel(mark / 2, rail - 0.08)))

    def _draw_cart(self, x: float) -> None:
        left, top = self._pixel(x - CART_WIDTH / 2, CART_HEIGHT / 2)
        box = self._pygame.Rect(
            round(left), round(top), round(CART_WIDTH * METRE), round(CART_HEIGHT * METRE)
        )
        self._pygame.draw.rect(self._canvas, CART, box, border_radius=round(0.03 * METRE))
        for side in (-1, 1):
            hub = (x + side * 0.3 * CART_WIDTH, -CART_HEIGHT / 2 - WHEEL_RADIUS)
            self._circle(hub, WHEEL_RADIUS, WHEEL)
            self._circle(hub, 0.3 * WHEEL_RADIUS, FAINT)

    def _draw_target(self, target: Point) -> None:
        across, up = target
        for dx, dy in ((0.04, 0.0), (0.0, 0.04)):
            self._line((across - dx, up - dy), (across + dx, up + dy), 0.011, TARGET)

    def _draw_force(self, x: float, force: float) -> None:
        """An arrow from the side of the cart that the force pushes towards; none without force."""
        reach = METRES_OF_FULL_FORCE * force / self.parameters.max_force
        if abs(reach) * METRE < 1:
            return
        side = math.copysign(1.0, reach)
        start = x + side * (CART_WIDTH / 2 + 0.03)
        head = min(0.09, abs(reach))
        neck, end = start + reach - side * head, start + reach
        self._line((start, 0.0), (neck, 0.0), 0.03, FORCE)
        corners = [self._pixel(neck, 0.055), self._pixel(end, 0.0), self._pixel(neck, -0.055)]
        self._pygame.draw.polygon(self._canvas, FORCE, corners)

    def _line(self, start: Point, end: Point, width: float, colour: tuple[int, int, int]) -> None:
        """A straight line [m] with round ends."""
        (x0, y0), (x1, y1) = self._pixel(*start), self._pixel(*end)
        distance = math.hypot(x1 - x0, y1 - y0) or 1.0
        half = width * METRE / 2
        across, down = -(y1 - y0) / distance * half, (x1 - x0) / distance * half
        corners = [
            (x0 + across, y0 + down),
            (x1 + across, y1 + down),
            (x1 - across, y1 - down),
            (x0 - across, y0 - down),
        ]
        self._pygame.draw.polygon(self._canvas, colour, corners)
        self._circle(start, width / 2, colour)
        self._circle(end, width / 2, colour)

    def _circle(self, centre: Point, radius: float, colour: tuple[int, int, int]) -> None:
        self._pygame.draw.circle(self._canvas, colour, self._pixel(*centre), radius * METRE)

    def _draw_text(self, frame: Any, state: State, force: float, time: float) -> None:
        x, _, theta, _ = state
        length = self.parameters.pole_length
        distance = math.hypot(x + length * math.sin(theta), length * math.cos(theta) - length)
        on_target = distance <= SUCCESS_DISTANCE
        self._write(frame, f"t = {time:.1f} s", (16, 14), INK)
        self._write(
            frame, f"tip {distance:.2f} m from target", (WIDTH - 190, 14), TARGET if on_target else INK
        )
        self._write(frame, f"force {force:+.1f} N", (16, 36), FORCE)
        self._write(
            frame, f"x = {x:+.2f} m    theta = {math.degrees(theta):+.0f} deg", (16, HEIGHT - 28), INK
        )

    def _write(self, frame: Any, text: str, place: Point, colour: tuple[int, int, int]) -> None:
        frame.blit(self._font.render(text, True, colour), place)
