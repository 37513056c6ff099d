"""Mechanical systems M(q) q'' = f(q, q', u): a Runge-Kutta step, and small symmetric systems of equations."""

from collections.abc import Callable
from typing import TypeAlias

from envs.shared.arrays import Component, constants

Accelerate: TypeAlias = "Callable[[tuple[Component, ...], tuple[Component, ...]], tuple[Component, ...]]"
"""Coordinates q and velocities v -> accelerations, tuples of n components (...) each."""


def runge_kutta(
    accelerate: "Accelerate[Component]",
    q: tuple[Component, ...],
    v: tuple[Component, ...],
    time_step: float,
    substeps: int,
) -> tuple[tuple[Component, ...], tuple[Component, ...]]:
    """Advance q'' = a(q, q') by the classical Runge-Kutta method (RK4).

    Floats and arrays go through the same arithmetic and give the same bits.

    Args:
        accelerate: a, under forces that are held.
        q: Coordinates.
        v: Their velocities.
        time_step: Duration of all substeps [s].
        substeps: Number of steps.

    Returns:
        The next coordinates and velocities.
    """
    h = time_step / substeps
    h, half, sixth = constants(q[0], h, h / 2, h / 6)

    def ahead(x: tuple[Component, ...], slope: tuple[Component, ...], by: float) -> tuple[Component, ...]:
        return tuple(a + by * b for a, b in zip(x, slope, strict=True))

    for _ in range(substeps):
        a1 = accelerate(q, v)
        v2 = ahead(v, a1, half)
        a2 = accelerate(ahead(q, v, half), v2)
        v3 = ahead(v, a2, half)
        a3 = accelerate(ahead(q, v2, half), v3)
        v4 = ahead(v, a3, h)
        a4 = accelerate(ahead(q, v3, h), v4)
        q = tuple(
            x + sixth * (s1 + 2 * s2 + 2 * s3 + s4)
            for x, s1, s2, s3, s4 in zip(q, v, v2, v3, v4, strict=True)
        )
        v = tuple(
            x + sixth * (s1 + 2 * s2 + 2 * s3 + s4)
            for x, s1, s2, s3, s4 in zip(v, a1, a2, a3, a4, strict=True)
        )
    return q, v


def solve_two(
    matrix: tuple[Component | float, Component, Component | float], right: tuple[Component, Component]
) -> tuple[Component, Component]:
    """Solve a symmetric system of two equations.

    Args:
        matrix: m11, m12, m22; those on the diagonal may be constant.
        right: The right-hand side.
    """
    m11, m12, m22 = matrix
    f1, f2 = right
    determinant = m11 * m22 - m12 * m12
    return (m22 * f1 - m12 * f2) / determinant, (m11 * f2 - m12 * f1) / determinant


def solve_three(
    matrix: tuple[float, Component, Component, float, Component, float],
    right: tuple[Component, Component, Component],
) -> tuple[Component, Component, Component]:
    """Solve a symmetric system of three equations by elimination of the first unknown.

    Args:
        matrix: m11, m12, m13, m22, m23, m33, the diagonal constant; m11 is not zero.
        right: The right-hand side.
    """
    m11, m12, m13, m22, m23, m33 = matrix
    f1, f2, f3 = right
    r2, r3 = m12 / m11, m13 / m11
    x2, x3 = solve_two((m22 - r2 * m12, m23 - r2 * m13, m33 - r3 * m13), (f2 - r2 * f1, f3 - r3 * f1))
    return (f1 - m12 * x2 - m13 * x3) / m11, x2, x3
