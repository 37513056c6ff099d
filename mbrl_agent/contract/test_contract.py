"""The suite: every rule for every class of the plug-ins at hand, or for whatever is registered.

Classes are made with their default options. Which plug-ins: the environment variable MBRL_AGENT_PLUGINS,
names of modules with commas between them.
"""

from __future__ import annotations

import os
from typing import Any

import pytest

from mbrl_agent.contract import costs, dynamics, estimators, policies, resampling
from mbrl_agent.contract.rules import ContractError, Rule, check_all
from mbrl_agent.costs import COSTS
from mbrl_agent.dynamics import DYNAMICS
from mbrl_agent.options.plugins import load_plugin, plugin_of
from mbrl_agent.options.registry import Registry
from mbrl_agent.policies import POLICIES
from mbrl_agent.resampling import RESAMPLERS
from mbrl_agent.search.estimators import ESTIMATORS

VARIABLE = "MBRL_AGENT_PLUGINS"
PLUGINS = [name.strip() for name in os.environ.get(VARIABLE, "").split(",") if name.strip()]
SUITES: list[tuple[Registry[Any], tuple[Rule, ...]]] = [
    (RESAMPLERS, resampling.RULES),
    (ESTIMATORS, estimators.RULES),
    (DYNAMICS, dynamics.RULES),
    (POLICIES, policies.RULES),
    (COSTS, (costs.check_cost,)),
]

for plugin in PLUGINS:
    load_plugin(plugin)

CASES = [
    pytest.param(cls, rule, id=f"{registry.kind}-{name}-{rule.__name__.removeprefix('check_')}")
    for registry, rules in SUITES
    for name, cls in registry.classes.items()
    if (not PLUGINS or plugin_of(cls) in PLUGINS) and not getattr(cls, "needs_step", False)
    for rule in rules
]


@pytest.mark.parametrize(("cls", "rule"), CASES)
def test_contract(cls: type, rule: Rule) -> None:
    """A rule holds; one that is broken is a sentence, and an error in the class itself has its traceback."""
    broken = ""
    try:
        check_all([rule], cls(), cls.__qualname__)
    except ContractError as error:
        if not isinstance(error.__cause__, ContractError):
            raise
        broken = str(error)
    if broken:
        pytest.fail(broken, pytrace=False)
