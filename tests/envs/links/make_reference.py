"""Make the reference data of the plants of two rods: python tests/envs/links/make_reference.py

The Lagrangian is written down from the places of the rods' centres of mass and their spin, and differentiated
by SymPy; nothing of the package is used. The steps are integrated by SciPy's DOP853 to 1e-13.
"""

from pathlib import Path

import numpy as np
import sympy
from scipy.integrate import solve_ivp

GRAVITY = 9.82


def accelerations(lengths, cart=None, cart_friction=0.0, friction=(0.0, 0.0), motor=0):
    """A function (q, v, u) -> q'' of rods of 0.5 kg; with a cart of some mass, u pushes that."""
    time = sympy.Symbol("t")
    u = sympy.Symbol("u")
    x, first, second = (sympy.Function(name)(time) for name in ("x", "f", "s"))
    q = [first, second] if cart is None else [x, first, second]
    v = [c.diff(time) for c in q]
    base = sympy.Matrix([0 if cart is None else x, 0])
    kinetic = 0 if cart is None else cart * x.diff(time) ** 2 / 2
    potential = 0
    for angle, length in zip((first, second), lengths, strict=True):
        direction = sympy.Matrix([sympy.sin(angle), sympy.cos(angle)])
        centre = base + length / 2 * direction
        speed = centre.diff(time)
        spin = sympy.Rational(1, 2) * (0.5 * length**2 / 12) * angle.diff(time) ** 2
        kinetic += 0.25 * speed.dot(speed) + spin
        potential += 0.5 * GRAVITY * centre[1]
        base = base + length * direction
    lagrangian = kinetic - potential
    rates = (first.diff(time), second.diff(time))
    dissipation = friction[0] * rates[0] ** 2 / 2 + friction[1] * (rates[1] - rates[0]) ** 2 / 2
    work = u * (first if motor == 0 else second - first)
    if cart is not None:
        dissipation += cart_friction * x.diff(time) ** 2 / 2
        work = u * x
    equations = [
        lagrangian.diff(rate).diff(time) - lagrangian.diff(c) + dissipation.diff(rate) - work.diff(c)
        for c, rate in zip(q, v, strict=True)
    ]
    places, speeds, ups = (sympy.symbols(f"{letter}:{len(q)}") for letter in "qva")
    names = [*zip([c.diff(time, 2) for c in q], ups, strict=True)]
    names += [*zip(v, speeds, strict=True), *zip(q, places, strict=True)]
    plain = sympy.Matrix([equation.subs(names) for equation in equations])
    matrix = plain.jacobian(ups)
    rest = plain.subs([(up, 0) for up in ups])
    functions = sympy.lambdify((places, speeds, u), (matrix, rest))

    def solve(q, v, u):
        mass, right = functions(q, v, u)
        return np.linalg.solve(np.array(mass, dtype=float), -np.array(right, dtype=float)[:, 0])

    return solve


def steps(solve, dims, full, duration, count=40):
    """Rows of state (position, velocity alternating), force, next state."""
    rng = np.random.default_rng(1)
    rows = []
    for _ in range(count):
        state = rng.normal(0, 2, 2 * dims)
        force = rng.uniform(-full, full)

        def slope(_, y, force=force):
            return np.concatenate([y[dims:], solve(y[:dims], y[dims:], force)])

        start = np.concatenate([state[::2], state[1::2]])
        end = solve_ivp(slope, (0, duration), start, method="DOP853", rtol=1e-13, atol=1e-13).y[:, -1]
        after = np.empty(2 * dims)
        after[::2], after[1::2] = end[:dims], end[dims:]
        rows.append([*state, force, *after])
    return np.array(rows)


def main():
    """Write the files beside this one."""
    folder = Path(__file__).parent
    cart = accelerations((0.6, 0.6), cart=0.5, cart_friction=0.1, friction=(0.02, 0.03))
    data = {
        "pendubot": steps(accelerations((0.5, 0.5), friction=(0.02, 0.03)), 2, 3.5, 0.05),
        "acrobot": steps(accelerations((0.5, 0.5), friction=(0.02, 0.03), motor=1), 2, 3.5, 0.05),
        "cart_double_pendulum": steps(cart, 3, 20.0, 0.05),
    }
    for name, rows in data.items():
        np.savetxt(folder / f"{name}.csv", rows, delimiter=",", fmt="%.17g")


if __name__ == "__main__":
    main()
