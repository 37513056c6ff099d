"""Every dynamics model that learns keeps the contract, and so does the ensemble with other options."""

import pytest

from mbrl_agent.contract.dynamics import RULES
from mbrl_agent.contract.rules import check_all
from mbrl_agent.dynamics import DYNAMICS
from mbrl_agent.dynamics.dropout import Dropout
from mbrl_agent.dynamics.ensemble import Ensemble
from mbrl_agent.dynamics.gp import Gp

FEW = {"members": 2, "hidden": (8,), "fit_steps": 20}
SIZES = {Ensemble: FEW, Dropout: {"hidden": (8,), "fit_steps": 20, "functions": 10}}
VARIANTS = [
    *(cls(**SIZES.get(cls, {})) for cls in DYNAMICS.classes.values() if not cls.needs_step),
    Ensemble(**FEW, propagation="per-step"),
    Ensemble(**FEW, warm_start=True),
    *(Gp(functions=8, kernel=kernel) for kernel in ("se-linear", "matern52")),
    Gp(functions=8, propagation="independent"),
    Dropout(hidden=(8, 6), fit_steps=20, functions=7, concrete=True),
    Dropout(hidden=(8,), fit_steps=20, propagation="per-step"),
]


@pytest.mark.parametrize("options", VARIANTS, ids=str)
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_contract(options, rule):
    check_all([rule], options, str(options))
