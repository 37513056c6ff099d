"""Look at what was learned: how well the model predicts, how sure it is, and what the policy does."""

from mbrl_agent.run.inspection.figures import (
    curve_figure,
    error_figure,
    history_figure,
    policy_figure,
    spread_figure,
)
from mbrl_agent.run.inspection.history import ErrorHistory, agent_errors, error_history, unseen_episodes
from mbrl_agent.run.inspection.policy_map import (
    PolicyCurve,
    PolicyMap,
    influential_dims,
    policy_curve,
    policy_map,
    require_map,
)
from mbrl_agent.run.inspection.prediction import (
    PredictionErrors,
    PredictionSpread,
    prediction_errors,
    prediction_spread,
)
from mbrl_agent.run.inspection.tables import (
    curve_table,
    error_table,
    history_table,
    policy_table,
    spread_table,
)

__all__ = [
    "ErrorHistory",
    "PolicyCurve",
    "PolicyMap",
    "PredictionErrors",
    "PredictionSpread",
    "agent_errors",
    "curve_figure",
    "curve_table",
    "error_figure",
    "error_history",
    "error_table",
    "history_figure",
    "history_table",
    "influential_dims",
    "policy_curve",
    "policy_figure",
    "policy_map",
    "policy_table",
    "prediction_errors",
    "prediction_spread",
    "require_map",
    "spread_figure",
    "spread_table",
    "unseen_episodes",
]
