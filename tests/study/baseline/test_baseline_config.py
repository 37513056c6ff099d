"""The configuration of a baseline, written and read and checked; its options and seeds as words."""

import pytest
import yaml

from mbrl_agent.study.baseline.algorithms import ALGORITHMS
from mbrl_agent.study.baseline.command import parse_options
from mbrl_agent.study.baseline.config import BaselineConfig


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_what_is_written_is_read(tmp_path, algorithm):
    options = {"gamma": 0.5, "policy_kwargs": {"n_critics": 1}}
    config = BaselineConfig(algorithm, steps=700, seed=3, keep_going=True, options=options)
    config.save(tmp_path / "config.yaml")
    data = yaml.safe_load((tmp_path / "config.yaml").read_text())
    assert BaselineConfig.from_dict(data, "config.yaml") == config
    assert data["options"]["policy_kwargs"] == {"net_arch": [64, 64], "n_critics": 1}  # merged, not replaced
    assert config.own_options() == {"gamma": 0.5, "policy_kwargs.n_critics": 1}
    assert BaselineConfig(algorithm).own_options() == {}
    assert config.flat()["options.policy_kwargs.net_arch"] == "64,64"
    assert BaselineConfig(algorithm).steps == ALGORITHMS[algorithm].steps


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"algorithm": "sacc"}, "algorithm must be one of sac, td3, ppo, got 'sacc'"),
        ({"stepps": 3}, "stepps: unknown option; did you mean steps?"),
        ({"steps": -1}, "steps must be at least 1"),
        ({"steps": 100, "eval_every": 150}, "eval_every must be at most steps, 100, got 150"),
        ({"seed": "x"}, "seed: expected a whole number, got 'x'"),
        ({"options": [1]}, "options: expected options and values"),
        ({"options": {"gama": 1}}, "sac has no option 'gama'; did you mean gamma?"),
        ({"options": {"seed": 1}}, "option 'seed' is not free"),
        ({"options": {"_init_setup_model": False}}, "no option '_init_setup_model'"),
        ({"observation": "pixels"}, "observation: expected one of features, raw"),
        ({"env": ""}, "env must not be empty"),
    ],
)
def test_what_cannot_be_is_refused(data, message):
    with pytest.raises(ValueError, match=r"configuration here/config\.yaml: ") as caught:
        BaselineConfig.from_dict(data, "here/config.yaml")
    assert message in str(caught.value)


def test_options():
    words = [
        "gamma=0.9",
        "learning_rate=1e-3",
        "policy_kwargs.net_arch=[32, 32]",
        "policy_kwargs.n_critics=1",
    ]
    assert parse_options([*words, "ent_coef=auto_0.1", "use_sde=true"]) == {
        "gamma": 0.9,
        "learning_rate": 0.001,
        "policy_kwargs": {"net_arch": [32, 32], "n_critics": 1},
        "ent_coef": "auto_0.1",
        "use_sde": True,
    }


@pytest.mark.parametrize("words", [["gamma"], ["=3"], ["a..b=3"], ["a=["], ["a=1", "a.b=2"]])
def test_options_that_cannot_be_read(words):
    with pytest.raises(ValueError, match="option"):
        parse_options(words)
