"""Thousands of steps in one process: no memory and no file handle is left behind."""

import gc
import os
import sys
from pathlib import Path

import pytest

from mbrl_agent import ParticlePILCO, SearchOptions
from mbrl_agent.dynamics.ensemble import Ensemble
from mbrl_agent.run.log import make_logger
from tests.support.point_mass import STEPS, limited

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="needs /proc"),
]

CYCLES, WARM_UP = 200, 50
TINY_MODEL = Ensemble(members=2, hidden=(8,), fit_steps=5)


def resident() -> float:
    """Resident memory of this process [MB]."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def handles() -> list[str]:
    """What is open, by name."""
    links = (f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd"))
    return sorted(os.readlink(link) for link in links if os.path.islink(link))


def check_flat(memory: list[float], warm_up: int, before: list[str], label: str) -> None:
    start, end = memory[warm_up], memory[-1]
    print(f"\n{label}: {start:.1f} MB after the warm-up, {end:.1f} MB at the end, "  # noqa: T201
          f"{len(before)} and {len(handles())} open files")  # fmt: skip
    assert end < 1.02 * start
    assert handles() == before


@pytest.mark.parametrize("resampling", ["gaussian", "mixture", "detached-mixture", "tangent"])
def test_two_thousand_gradient_steps(resampling):
    search = SearchOptions(steps=100, num_particles=24, candidates=2)
    agent = ParticlePILCO(
        "RbfPolicy", limited(), policy_kwargs={"centers": 5}, dynamics=TINY_MODEL, search=search,
        resampling=resampling, gradient_probe=0, seed=0,
    )  # fmt: skip
    agent.learn(STEPS)
    memory, before = [resident()], handles()
    for _ in range(20):
        agent.improve()
        memory.append(resident())
    assert agent.search_steps >= 2000
    check_flat(memory, 5, before, f"2,000 gradient steps, {resampling}")


def test_two_hundred_cycles_of_fit_improve_log_save_and_load(tmp_path):
    agent = ParticlePILCO(
        "RbfPolicy", limited(), policy_kwargs={"centers": 5}, dynamics=TINY_MODEL,
        search=SearchOptions(steps=2, num_particles=12, candidates=2), gradient_probe=2, seed=0,
    )  # fmt: skip
    agent.set_logger(make_logger(tmp_path / "progress.csv", tmp_path / "events.out.tfevents.1.soak"))
    agent.learn(STEPS)
    memory, before = [resident()], handles()
    for cycle in range(CYCLES):
        agent.fit()
        agent.improve()
        agent.logger.record("cycle", cycle)
        agent.logger.dump(cycle)
        agent.save(tmp_path / "agent")
        ParticlePILCO.load(tmp_path / "agent", env=limited())
        memory.append(resident())
    check_flat(memory, WARM_UP, before, "200 cycles")
    agent.logger.close()
