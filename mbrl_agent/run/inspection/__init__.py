"""Look at what was learned: how well the model predicts, how sure it is, and what the policy does."""

from mbrl_agent.run.inspection.figures import error_figure, policy_figure, spread_figure
from mbrl_agent.run.inspection.policy_map import PolicyMap, policy_map
from mbrl_agent.run.inspection.prediction import (
    PredictionErrors,
    PredictionSpread,
    prediction_errors,
    prediction_spread,
)
from mbrl_agent.run.inspection.tables import error_table, policy_table, spread_table

__all__ = [
    "PolicyMap",
    "PredictionErrors",
    "PredictionSpread",
    "error_figure",
    "error_table",
    "policy_figure",
    "policy_map",
    "policy_table",
    "prediction_errors",
    "prediction_spread",
    "spread_figure",
    "spread_table",
]
