"""The contract of what can be plugged in, as functions that a test calls, and as a suite that pytest runs.

    from mbrl_agent.contract import check_resampler

    def test_mine():
        check_resampler(Mine(amount=0.2))

    python -m mbrl_agent.contract my_module                         # every rule for every class of it
    MBRL_AGENT_PLUGINS=my_module pytest --pyargs mbrl_agent.contract    # the same

Without a module the suite covers whatever is registered: the package's own, and the plug-ins of entry
points. A rule that is broken raises ContractError, an AssertionError, with a sentence that says which.
"""

from mbrl_agent.contract.costs import check_cost
from mbrl_agent.contract.dynamics import check_dynamics
from mbrl_agent.contract.estimators import check_estimator
from mbrl_agent.contract.policies import check_policy
from mbrl_agent.contract.resampling import check_resampler
from mbrl_agent.contract.rules import ContractError

__all__ = [
    "ContractError",
    "check_cost",
    "check_dynamics",
    "check_estimator",
    "check_policy",
    "check_resampler",
]
