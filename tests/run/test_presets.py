"""Presets: each is a run that works, flags go before it, and the help says what it sets."""

import dataclasses

import gymnasium
import pytest
import torch

from mbrl_agent import OptionError, ParticlePILCO
from mbrl_agent.run import cli
from mbrl_agent.run.config import TrainConfig
from mbrl_agent.run.experiment import new_agent
from mbrl_agent.run.help import help_text
from mbrl_agent.run.presets import NO_PRESET, presets
from mbrl_agent.study.__main__ import main as study

NAMES = list(presets())


def small(name, **changes):
    """A preset that takes seconds."""
    few = {"search.steps": 2, "search.num_particles": 20, "eval_episodes": 2, "trials": 2}
    if name == "deep-pilco":
        few |= {"dynamics": "dropout:hidden=8,fit-steps=5,functions=10"}
    return TrainConfig().updated({"preset": name, **few, **changes})


def test_the_published_systems_are_there():
    assert set(NAMES) == {"pilco", "pipps", "pipps-gr", "deep-pilco", "mc-pilco"}


def test_what_they_set():
    config = TrainConfig().updated({"preset": "pilco"})
    assert (config.dynamics.name, config.rollout.name, config.search.candidates) == (
        "gp", "moment-matching", 1,
    )  # fmt: skip
    assert config.preset == "pilco"
    assert config.policy == TrainConfig().policy
    pipps = TrainConfig().updated({"preset": "pipps"})
    assert (pipps.estimator.name, pipps.dynamics.propagation) == ("total-propagation", "independent")


@pytest.mark.parametrize("name", NAMES)
def test_flags_go_before_a_preset_wherever_they_stand(name):
    for words in (["--preset", name, "--search.steps", "7"], ["--search.steps", "7", "--preset", name]):
        assert cli.parse(words).config.search.steps == 7
    assert cli.parse(["--preset", name, "--resampling", "liu-west:0.3"]).config.resampling.name == "liu-west"


def test_an_option_of_a_choice_changes_what_the_preset_chose():
    config = cli.parse(["--preset", "pipps", "--dynamics.max-points", "50"]).config
    assert (config.dynamics.propagation, config.dynamics.max_points) == ("independent", 50)


@pytest.mark.parametrize("name", NAMES)
def test_a_configuration_comes_back_from_its_file(name, tmp_path):
    config = TrainConfig().updated({"preset": name, "search.steps": 3})
    config.save(tmp_path / "config.yaml")
    assert TrainConfig.load(tmp_path / "config.yaml") == config


def test_a_file_with_a_preset_alone(tmp_path):
    (tmp_path / "c.yaml").write_text("preset: mc-pilco\nsearch:\n  steps: 9\n")
    config = TrainConfig.load(tmp_path / "c.yaml")
    assert (config.policy.centers, config.search.steps) == (200, 9)


def test_a_preset_that_does_not_exist(capsys):
    with pytest.raises(OptionError, match="there is no preset 'pilko'; did you mean pilco"):
        TrainConfig().updated({"preset": "pilko"})
    assert cli.main(["--preset", "pilko"]) == 2
    assert "--preset: there is no preset 'pilko'" in capsys.readouterr().err


def test_the_first_page_of_the_help_names_them():
    assert all(name in " ".join(help_text().replace("-\n", "- ").split()) for name in ("pilco", "mc-pilco"))


def test_the_help_says_what_each_sets_and_from_which_paper():
    text = help_text("preset")
    for name, preset in presets().items():
        assert f"  {name}\n" in text
        assert preset.flags() in text
        assert preset.paper in text
        assert all(guess in text for guess in preset.guesses)
        words = preset.flags().split()
        assert cli.parse(words).config == dataclasses.replace(
            TrainConfig().updated({"preset": name}), preset=NO_PRESET
        )


@pytest.mark.parametrize("name", NAMES)
def test_it_learns_is_saved_and_goes_on_bitwise(name, tmp_path):
    """Two trials and then a third, in one piece and in two."""
    env = gymnasium.make("CartPoleSwingUp-v0")
    agent = new_agent(small(name), env)
    agent.learn(60)
    assert agent.candidates is not None
    agent.save(tmp_path / "agent")
    loaded = ParticlePILCO.load(tmp_path / "agent", env="CartPoleSwingUp-v0")
    for each in (agent, loaded):
        each.learn(30, reset_num_timesteps=False)
    for one, other in ((agent.policy, loaded.policy), (agent.dynamics, loaded.dynamics)):
        for key, value in one.state_dict().items():
            assert torch.equal(value, other.state_dict()[key]), key


def test_systems_trains_and_compares_them(tmp_path, capsys):
    words = ["--search.steps", "1", "--search.num-particles", "20", "--eval-episodes", "2"]
    out = ["--out", str(tmp_path), "--trials", "2", "--jobs", "1"]
    assert study(["systems", "--presets", "pilco", "defaults", "--seeds", "0", *out, *words]) == 0
    text = capsys.readouterr().out
    assert "pilco" in text
    assert "defaults" in text
    assert (tmp_path / "study_compare.png").exists()
    assert (tmp_path / "study_compare.md").exists()


def test_systems_with_a_wrong_name(tmp_path, capsys):
    assert study(["systems", "--presets", "pilko", "--seeds", "0", "--out", str(tmp_path)]) == 2
    assert "there is no preset 'pilko'; did you mean pilco" in capsys.readouterr().err
