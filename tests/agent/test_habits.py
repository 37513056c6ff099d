"""What users of Stable-Baselines3 are used to: it works, or the message has the word to use."""

import numpy as np
import pytest

import mbrl_agent
from mbrl_agent import MlpPolicy, OptionError, ParticlePILCO, Rbf, RbfPolicy, SearchOptions
from mbrl_agent.files.archive import CheckpointError
from tests.agent.test_agent import STEPS, limited, make

OBSERVATION = np.array([[0.5, 0.1]], np.float32)


@pytest.mark.parametrize(
    ("policy", "cls", "options"),
    [
        ("rbf", RbfPolicy, {}),
        ("RbfPolicy", RbfPolicy, {}),
        ("rbf:centers=7", RbfPolicy, {"centers": 7, "weight_std": 0.5, "dropout": 0.0}),
        ("RbfPolicy:7", RbfPolicy, {"centers": 7, "weight_std": 0.5, "dropout": 0.0}),
        ("mlp:8x4", MlpPolicy, {"hidden": (8, 4)}),
        (Rbf(centers=7), RbfPolicy, {"centers": 7, "weight_std": 0.5, "dropout": 0.0}),
        (MlpPolicy, MlpPolicy, {}),
    ],
)
def test_a_policy_answers_to_all_its_names(policy, cls, options):
    agent = make(policy=policy)
    assert type(agent.policy) is cls
    assert agent.policy_kwargs == options


def test_policy_kwargs_go_beside_a_spelled_policy():
    agent = make(policy="rbf:centers=7", policy_kwargs={"weight_std": 0.1})
    assert agent.policy_kwargs == {"centers": 7, "weight_std": 0.1, "dropout": 0.0}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"learning_rate": 1e-3}, r"^learning_rate: use search=SearchOptions\(learning_rate=...\)$"),
        ({"horizon": 5}, r"^horizon: use search=SearchOptions\(horizon=...\)$"),
        ({"n_steps": 5}, "^n_steps: .* use max_episode_steps="),
        ({"gamma": 0.9}, "^gamma: costs are not discounted: use search="),
        ({"buffer_size": 5}, "^buffer_size: all transitions are kept"),
        ({"batch_size": 5}, r"use search=SearchOptions\(num_particles=...\)"),
        ({"ent_coef": 5}, "there is no critic"),
        ({"net_arch": [5]}, "use policy='mlp:hidden=64x64'"),
        ({"resample": "none"}, r"^resample: unknown option, there are .*; did you mean resampling\?$"),
        ({"policy": "MlpPolicy", "policy_kwargs": {"net_arch": [64, 64]}}, r"MlpPolicy .*: use hidden=\("),
        ({"policy": "RbfPolicy", "policy_kwargs": {"net_arch": [64]}}, "dropout: use policy='mlp:hid"),
        ({"policy": "RbfPolicy", "policy_kwargs": {"centres": 3}}, r"did you mean centers\?$"),
        ({"policy": Rbf}, r"not the class: write Rbf\(\)"),
    ],
)
def test_a_word_of_another_algorithm_is_answered_with_ours(options, message):
    with pytest.raises(TypeError, match=message):
        make(**options)


@pytest.mark.parametrize("policy", ["rbf:centers=7", Rbf(centers=7)])
def test_an_option_of_the_policy_given_twice(policy):
    with pytest.raises(OptionError, match=r"^centers: is given twice: in policy='rbf:centers=7' and in"):
        make(policy=policy, policy_kwargs={"centers": 7})


def test_a_policy_that_takes_any_keyword_may_have_it():
    class Mine(RbfPolicy):
        def __init__(self, *args, **kwargs):
            self.extra = kwargs.pop("extra")
            super().__init__(*args, **kwargs)

    assert make(policy=Mine, policy_kwargs={"extra": 3}).policy.extra == 3


@pytest.mark.parametrize(
    ("choice", "text"), [("resampling", "interpolated:0.25"), ("dynamics", "ensemble:members=2,hidden=4x4")]
)
def test_the_constructor_reads_a_spelling(choice, text):
    agent = make(**{choice: text})
    chosen = agent.resampling if choice == "resampling" else agent.dynamics_options
    assert str(chosen) in (text, "interpolated:ratio=0.25")


# saved agents ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "agent.zip"
    agent = make(limited()).learn(STEPS)
    agent.save(path)
    return path, agent


def test_loading_with_an_id_and_other_search_options(saved):
    path, agent = saved
    search = SearchOptions(steps=1, num_particles=12, candidates=agent.search.candidates)
    loaded = ParticlePILCO.load(path, search=search)
    assert loaded.search == search
    with pytest.raises(ValueError, match="Observation spaces do not match"):
        ParticlePILCO.load(path, env="Pendulum-v1")
    with pytest.raises(ValueError, match="environment 'Nowhere-v0' cannot be made"):
        ParticlePILCO.load(path, env="Nowhere-v0")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"search": {"steps": 3}}, TypeError, "search must be SearchOptions"),
        ({"search": SearchOptions(candidates=7)}, ValueError, "candidates must stay so, got 7"),
        (
            {"learning_rate": 1},
            ValueError,
            r"only cost, .*; use search=SearchOptions\(learning_rate",
        ),
    ],
)
def test_options_that_a_saved_agent_cannot_take(saved, options, error, message):
    with pytest.raises(error, match=message):
        ParticlePILCO.load(saved[0], **options)


def test_parameters_from_a_file(saved):
    path, agent = saved
    other = make(limited(), seed=4)
    other.set_parameters(path)
    np.testing.assert_array_equal(agent.predict(OBSERVATION)[0], other.predict(OBSERVATION)[0])
    with path.open("rb") as file:
        make(limited()).set_parameters(file)


def test_parameters_that_do_not_fit(saved, tmp_path):
    path, agent = saved
    with pytest.raises(ValueError, match="the parameters do not fit this agent"):
        make(limited(), policy="rbf").set_parameters(path)
    part = {"policy": agent.get_parameters()["policy"]}
    with pytest.raises(ValueError, match="Names of parameters do not match"):
        make(limited()).set_parameters(part)
    make(limited()).set_parameters(part, exact_match=False)
    (tmp_path / "x.zip").write_bytes(b"no zip")
    with pytest.raises(CheckpointError):
        make(limited()).set_parameters(tmp_path / "x.zip")


# what things say of themselves -----------------------------------------------------------------------------


def test_verbose_prints_the_trials_line(capsys):
    make(limited(), verbose=1).learn(STEPS)
    out = capsys.readouterr().out
    assert f"trial 1   {STEPS} steps of interaction   return " in out
    assert "   predicted cost " in out


def test_an_agent_says_what_it_is(saved):
    agent = make(limited(), resampling="interpolated:0.25")
    assert repr(agent).startswith(
        "ParticlePILCO(LinearPolicy on PointMass, resampling=interpolated:ratio=0.25, "
    )
    assert repr(agent).endswith(", trials=0)")
    assert "on no environment" in repr(ParticlePILCO.load(saved[0]))
    assert "on Pendulum-v1," in repr(make("Pendulum-v1", cost=lambda state, action: state[..., 0]))


def test_what_was_collected_and_the_task_are_short(saved):
    _, agent = saved
    assert repr(agent.replay) == f"Replay(1 episodes, {STEPS} transitions)"
    assert repr(agent.replay.episodes[0]).startswith(f"Episode({STEPS} steps, return ")
    assert repr(agent.task).startswith("Task(cost=")
    assert len(repr(agent.task)) < 200


def test_the_root_exports_every_choice():
    from mbrl_agent.run.config import CHOICES

    for registry in CHOICES.values():
        for cls in registry.classes.values():
            assert getattr(mbrl_agent, cls.__name__) is cls
    assert all(hasattr(mbrl_agent, name) for name in mbrl_agent.__all__)


def test_policies_and_models_say_what_they_are():
    agent = mbrl_agent.ParticlePILCO("rbf:centers=7", "CartPoleSwingUp-v0", dynamics="gp:functions=9", seed=0)
    shapes = "centers 7x5, log_lengthscales 5, weights 7x1"
    assert repr(agent.policy) == f"RbfPolicy(4 state -> 1 action dimensions, angle_dims=(2,), {shapes})"
    assert repr(agent.dynamics) == "GpModel(gp:functions=9)"
