"""Drawing of two rods, on a cart or on a fixed hinge."""

import math
from typing import Any

from envs.shared.drawing import (
    FORCE,
    HEIGHT,
    HINGE,
    INK,
    POLE,
    SECOND_POLE,
    TARGET,
    TARGET_AREA,
    WHEEL,
    WIDTH,
    Renderer,
)
from envs.shared.links import TwoLinks


class LinksRenderer(Renderer):
    """Draws two rods.

    Args:
        mode: "human" or "rgb_array".
        fps: Frames a second in human mode.
        links: The rods.
        full_force: Force [N] or torque [N m] of a full action.
        on_cart: Whether the state begins with a cart's place and velocity.
        motor: Without a cart, the joint with the motor, 0 or 1.
    """

    caption = "Two links"
    scale = 120
    middle_height = 215

    def __init__(
        self, mode: str, fps: int, links: TwoLinks, full_force: float, on_cart: bool, motor: int = 0
    ) -> None:
        super().__init__(mode, fps, links=links, full_force=full_force, on_cart=on_cart, motor=motor)
        self.links, self.full_force, self.on_cart, self.motor = links, full_force, on_cart, motor

    def draw_scene(self, state: tuple[float, ...], forces: tuple[float, ...]) -> None:
        """Draw target, cart or hinge, rods and force."""
        base, joint, tip = self._points(state)
        self.follow(base[0])
        target = (0.0, self.links.reach)
        self.circle(target, 0.2 * self.links.reach, TARGET_AREA)
        if self.on_cart:
            self.draw_track()
            self.draw_cart(base[0])
        else:
            self.circle(base, 0.07, INK)
        self.line(base, joint, 0.05, POLE)
        self.line(joint, tip, 0.04, SECOND_POLE)
        for place in (base, joint):
            self.circle(place, 0.026, HINGE)
            self.circle(place, 0.014, WHEEL)
        self.draw_target(target)
        share = forces[0] / self.full_force
        if self.on_cart:
            self.draw_push(base[0], share)
        else:
            self.draw_torque(joint if self.motor else base, share)

    def draw_text(self, frame: Any, state: tuple[float, ...], forces: tuple[float, ...], time: float) -> None:
        """Write time, distance of the tip, force and angles."""
        _, _, (across, up) = self._points(state)
        distance = math.hypot(across, up - self.links.reach)
        colour = TARGET if distance <= 0.2 * self.links.reach else INK
        first, second = self._angles(state)
        self.write(frame, f"t = {time:.2f} s", (16, 14), INK)
        self.write(frame, f"tip {distance:.2f} m from target", (WIDTH - 190, 14), colour)
        word, unit = ("force", "N") if self.on_cart else ("torque", "N m")
        self.write(frame, f"{word} {forces[0]:+.1f} {unit}", (16, 36), FORCE)
        angles = f"theta1 = {math.degrees(first):+.0f} deg    theta2 = {math.degrees(second):+.0f} deg"
        self.write(frame, angles, (16, HEIGHT - 28), INK)

    def _angles(self, state: tuple[float, ...]) -> tuple[float, float]:
        skip = 2 if self.on_cart else 0
        return state[skip], state[skip + 2]

    def _points(self, state: tuple[float, ...]) -> tuple[tuple[float, float], ...]:
        """Return the places of hinge, joint and tip [m]."""
        first, second = self._angles(state)
        l1, l2 = self.links.lengths
        base = state[0] if self.on_cart else 0.0
        joint = (base + l1 * math.sin(first), l1 * math.cos(first))
        return (base, 0.0), joint, (joint[0] + l2 * math.sin(second), joint[1] + l2 * math.cos(second))
