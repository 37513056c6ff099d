"""Drawing of the cart-pole."""

import math
from typing import Any

from envs.cartpole.physics import DEFAULT_PARAMETERS, CartPoleParameters
from envs.cartpole.task import SUCCESS_DISTANCE
from envs.shared.drawing import FORCE, HEIGHT, HINGE, INK, POLE, TARGET, TARGET_AREA, WHEEL, WIDTH, Renderer


class CartPoleRenderer(Renderer):
    """Draws one cart-pole at a time.

    Args:
        mode: "human" or "rgb_array".
        fps: Frames a second in human mode.
        parameters: Length of the pole, full force.

    Raises:
        gymnasium.error.DependencyNotInstalled: pygame is missing.
    """

    caption = "CartPoleSwingUp"
    scale = 200
    middle_height = 222

    def __init__(self, mode: str, fps: int, parameters: CartPoleParameters = DEFAULT_PARAMETERS) -> None:
        super().__init__(mode, fps, parameters=parameters)
        self.parameters = parameters

    def draw_scene(self, state: tuple[float, ...], forces: tuple[float, ...]) -> None:
        """Draw target, track, cart, pole and force."""
        x, _, theta, _ = state
        length = self.parameters.pole_length
        self.follow(x)
        tip = (x + length * math.sin(theta), length * math.cos(theta))
        self.circle((0.0, length), SUCCESS_DISTANCE, TARGET_AREA)
        self.draw_track()
        self.draw_cart(x)
        self.line((x, 0.0), tip, 0.036, POLE)
        self.circle((x, 0.0), 0.022, HINGE)
        self.circle((x, 0.0), 0.012, WHEEL)
        self.draw_target((0.0, length))
        self.draw_push(x, forces[0] / self.parameters.max_force)

    def draw_text(self, frame: Any, state: tuple[float, ...], forces: tuple[float, ...], time: float) -> None:
        """Write time, distance of the tip, force and state."""
        x, _, theta, _ = state
        length = self.parameters.pole_length
        distance = math.hypot(x + length * math.sin(theta), length * math.cos(theta) - length)
        on_target = distance <= SUCCESS_DISTANCE
        self.write(frame, f"t = {time:.1f} s", (16, 14), INK)
        self.write(
            frame, f"tip {distance:.2f} m from target", (WIDTH - 190, 14), TARGET if on_target else INK
        )
        self.write(frame, f"force {forces[0]:+.1f} N", (16, 36), FORCE)
        self.write(frame, f"x = {x:+.2f} m    theta = {math.degrees(theta):+.0f} deg", (16, HEIGHT - 28), INK)
