"""What TensorBoard gets to see, read back with its own reader."""

import io

import numpy as np
import pytest
from PIL import Image
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from mbrl_agent import SearchOptions
from mbrl_agent.resampling import RESAMPLERS
from tests.support.tiny_run import images, quick_figures, read_events, tiny

TRIAL_TAGS = {
    "rollout/ep_rew", "rollout/ep_rew_mean", "rollout/success_rate",
    "eval/mean_reward", "eval/success_rate",
    "dynamics/train_nll", "policy/predicted_cost",
    "gradient/variance", "gradient/snr", "resampling/jitter",
    *(f"gradient/{name}_{part}" for name in ("variance", "exponent") for part in ("low", "median", "high")),
    "gradient/cost_change", "gradient/energy_change",
    "time/collect", "time/fit", "time/improve", "time/probe", "time/evaluate", "time/log", "time/trial",
}  # fmt: skip
LATER_TAGS = {
    "dynamics/validation_nll",
    *(f"dynamics/rmse_{name}" for name in ("x", "x_dot", "theta", "theta_dot")),
}
SEARCH_TAGS = {"policy_search/expected_cost", "policy_search/grad_norm"}


@pytest.fixture(scope="module", params=RESAMPLERS.names())
def directory(request, tmp_path_factory):
    """Of a run with each strategy, without figures."""
    run = tiny(tmp_path_factory.mktemp("runs"), resampling=request.param)
    with quick_figures():
        run.run()
    return run.directory


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """Of a run with figures, in which no strategy has a part."""
    run = tiny(tmp_path_factory.mktemp("drawn"))
    run.run()
    return run.directory


def test_every_strategy_logs_the_same_tags_at_the_right_steps(directory):
    events = read_events(directory)
    steps = {tag: [event.step for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
    assert TRIAL_TAGS | LATER_TAGS | SEARCH_TAGS | {"dynamics_fit/train_nll"} <= set(steps)
    for tag in TRIAL_TAGS:
        assert steps[tag] == [30, 60, 90], tag
    for tag in LATER_TAGS:
        assert steps[tag] == [60, 90], tag
    for tag in SEARCH_TAGS:
        assert steps[tag] == list(range(6)), tag  # 2 gradient steps a trial
    assert steps["dynamics_fit/train_nll"] == list(range(30))


def test_every_value_is_finite(directory):
    events = read_events(directory)
    for tag in events.Tags()["scalars"]:
        assert np.isfinite([event.value for event in events.Scalars(tag)]).all(), tag


def test_images(drawn):
    shown = images(drawn)
    assert set(shown) == {"prediction_against_reality", "episode"}
    assert [step for step, _ in shown["prediction_against_reality"]] == [60, 90]
    assert [step for step, _ in shown["episode"]] == [30, 60, 90]
    for _, data in shown["prediction_against_reality"]:
        assert Image.open(io.BytesIO(data)).format == "PNG"
    for trial, (_, data) in enumerate(shown["episode"], start=1):
        with Image.open(io.BytesIO(data)) as image:
            assert (image.format, image.n_frames) == ("GIF", 31)
        assert data == (drawn / f"figures/episode_trial_{trial:03d}.gif").read_bytes()


def test_the_size_of_an_image_is_that_of_its_file(drawn):
    for event in read_events(drawn).Images("prediction_against_reality"):
        assert (event.width, event.height) == Image.open(io.BytesIO(event.encoded_image_string)).size


def test_the_configuration_is_there_as_text(directory):
    (event,) = read_events(directory).Tensors("config/text_summary")
    text = event.tensor_proto.string_val[0].decode()
    assert text.startswith("| option | value |\n|---|---|\n| `env` | CartPoleSwingUp-v0 |\n")
    assert "| `search.steps` | 2 |" in text


def test_hyperparameters_with_metrics(directory):
    events = read_events(directory)
    contents = events.PluginTagToContent("hparams")
    start = HParamsPluginData.FromString(contents["_hparams_/session_start_info"]).session_start_info
    assert start.hparams["search.learning_rate"].number_value == pytest.approx(SearchOptions().learning_rate)
    assert start.hparams["resampling"].string_value in directory.name
    experiment = HParamsPluginData.FromString(contents["_hparams_/experiment"]).experiment
    metrics = {info.name.tag for info in experiment.metric_infos}
    assert {"eval/success_rate", "eval/mean_reward"} <= metrics & set(events.Tags()["scalars"])
