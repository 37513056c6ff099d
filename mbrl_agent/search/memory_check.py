"""Which strategies and estimators work with a policy that remembers."""

from __future__ import annotations

from mbrl_agent.options import refused
from mbrl_agent.policies.base import SearchPolicy
from mbrl_agent.resampling import RESAMPLERS, Resampler
from mbrl_agent.search.estimators import ESTIMATORS, Estimator


def check_memory(policy: SearchPolicy, resampler: Resampler, estimator: Estimator) -> None:
    """Refuse what loses the memory of a policy that has one.

    Raises:
        ValueError: The strategy makes new particles, or the estimator does not follow a memory through time;
            the message names those that work.
    """
    if policy.memory_dims == 0:
        return
    name = type(policy).__name__
    if resampler.mixes_particles:
        keeping = [one for one in RESAMPLERS.names() if not RESAMPLERS.get(one).mixes_particles]
        raise refused(
            "resampling",
            f"{resampler.name!r} makes each particle anew from all of them, so that {name} would act on the "
            f"memory of another one's past: use one that keeps particles, {_listed(keeping)}",
        )
    if not estimator.follows_memory:
        following = [one for one in ESTIMATORS.names() if ESTIMATORS.get(one).follows_memory]
        raise refused(
            "estimator",
            f"{estimator.name!r} does not see that the parameters of {name} also act later, through what it "
            f"remembers: use {_listed(following)}",
        )


def _listed(names: list[str]) -> str:
    """Spell out a choice: 'a', 'b' or 'c'."""
    *some, last = map(repr, names)
    return f"{', '.join(some)} or {last}" if some else last
