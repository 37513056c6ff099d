"""The examples in the docstrings of what the root exports; all but interfaces and errors have one."""

import doctest
import inspect

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box

import mbrl_agent
from mbrl_agent.features import AngleFeatures

EXPORTED = {name: getattr(mbrl_agent, name) for name in mbrl_agent.__all__ if name != "__version__"}
GIVEN = {**EXPORTED, "np": np, "torch": torch, "Box": Box, "AngleFeatures": AngleFeatures}
"""What the examples may use without importing it."""
# an error is not made by users, what an interface is for is shown by the classes that have it, and plug-ins
# are files of the user's
WITHOUT = {"CheckpointError", "OptionError", "DynamicsModel", "DynamicsOptions", "Estimator", "PolicyOptions",
           "Resampler", "Rollout", "SearchPolicy", "load_plugin", "unload_plugin"}  # fmt: skip


def examples(name: str) -> list[doctest.Example]:
    docstring = inspect.getdoc(EXPORTED[name]) or ""
    return doctest.DocTestParser().get_examples(docstring, name)


def test_errors_and_interfaces_alone_go_without_an_example():
    assert {name for name in EXPORTED if not examples(name)} == WITHOUT


@pytest.mark.parametrize("name", sorted(set(EXPORTED) - WITHOUT))
def test_examples_hold(name):
    test = doctest.DocTest(examples(name), dict(GIVEN), name, None, None, None)
    told: list[str] = []
    found = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test, out=told.append)
    assert found.failed == 0, "".join(told)
