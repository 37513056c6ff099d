"""The page of custom scalars: which charts in which order, and that it is there once wherever one logs."""

import re

import pytest
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.logger import configure
from stable_baselines3.common.vec_env import SubprocVecEnv
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar.layout_pb2 import Layout

from mbrl_agent import ParticlePILCO, SearchOptions
from mbrl_agent.agent.scalar_layout import scalar_layout
from mbrl_agent.dynamics.ensemble import Ensemble
from tests.support.point_mass import STEPS, PointMass, limited
from tests.support.tiny_run import read_events, resume, tiny

TAG = "custom_scalars__config__"
QUESTIONS = [
    "1 Is it learning?",
    "2 Is the gradient tame?",
    "3 Is the model right?",
    "4 Where does the time go?",
]


class Labelled(PointMass):
    observation_labels = ("position [m]", "speed [m/s]")


def make(env, **options):
    return ParticlePILCO(
        "LinearPolicy",
        env,
        dynamics=Ensemble(members=2, hidden=(8,), fit_steps=5),
        search=SearchOptions(steps=1, num_particles=12, candidates=2, horizon=4),
        gradient_probe=2,
        seed=3,
        **{"max_episode_steps": STEPS, **options},
    )


def layouts(path):
    """Every layout in the event files of a directory, in the order of the files."""
    found = []
    for file in sorted(path.glob("*tfevents*")):
        events = EventAccumulator(str(file), {"tensors": 0, "scalars": 0})
        events.Reload()
        if TAG in events.Tags()["tensors"]:
            found += [Layout.FromString(e.tensor_proto.string_val[0]) for e in events.Tensors(TAG)]
    return found


def charts(layout):
    return {chart.title: list(chart.multiline.tag) for part in layout.category for chart in part.chart}


def matched(pattern, tags):
    """As TensorBoard matches."""
    return [tag for tag in tags if re.match(pattern, tag)]


def test_a_run_has_it_once_even_if_it_was_resumed(tmp_path, quickly):
    run = tiny(tmp_path, trials=2)
    run.run()
    resume(run.directory, trials=3).run()
    assert len(list(run.directory.glob("*tfevents*"))) == 2
    (layout,) = layouts(run.directory)
    assert [part.title for part in layout.category] == QUESTIONS
    titles = [chart.title for chart in layout.category[2].chart]
    assert titles[:4] == [f"error of {name} one step ahead" for name in ("x", "x_dot", "theta", "theta_dot")]
    logged = read_events(run.directory).Tags()["scalars"]
    for title, (pattern,) in charts(layout).items():
        assert len(matched(pattern, logged)) == 1, title


def test_no_chart_shows_a_longer_tag_or_another_spelling():
    tags = [
        "dynamics/rmse_x",
        "dynamics/rmse_x_dot",
        "rollout/ep_rew",
        "rollout/ep_rew_mean",
        "dynamics/rmse_xyz",
    ]
    layout = scalar_layout(["x", "x.z"])
    (pattern,) = layout["3 Is the model right?"]["error of x one step ahead"][1]
    assert matched(pattern, tags) == ["dynamics/rmse_x"]
    (pattern,) = layout["3 Is the model right?"]["error of x.z one step ahead"][1]
    assert matched(pattern, tags) == []
    (pattern,) = layout["1 Is it learning?"]["return of the real episodes"][1]
    assert matched(pattern, tags) == ["rollout/ep_rew"]


def test_plain_learn_has_it_once_a_directory(tmp_path):
    agent = make(Labelled(), tensorboard_log=str(tmp_path))
    agent.learn(2 * STEPS)
    agent.learn(STEPS, reset_num_timesteps=False)  # goes on in the same directory
    agent.learn(STEPS)
    first, second = sorted(tmp_path.iterdir())
    for folder in (first, second):
        (layout,) = layouts(folder)
        assert "error of position one step ahead" in charts(layout)
    assert {"dynamics/rmse_position", "dynamics/rmse_speed"} <= set(read_events(first).Tags()["scalars"])


def test_an_own_logger_has_it(tmp_path):
    agent = make(limited())
    agent.set_logger(configure(str(tmp_path), ["tensorboard", "csv"]))
    agent.learn(2 * STEPS)
    assert "error of 1 one step ahead" in charts(layouts(tmp_path)[0])


@pytest.mark.parametrize("vec_env", [None, SubprocVecEnv])
def test_columns_have_the_names_of_dimensions(tmp_path, vec_env):
    env = Labelled() if vec_env is None else make_vec_env(Labelled, 2, vec_env_cls=vec_env)
    agent = make(env)
    agent.set_logger(configure(str(tmp_path), ["csv"]))
    agent.learn(2 * STEPS * agent.n_envs)
    agent.get_env().close()
    columns = (tmp_path / "progress.csv").read_text().splitlines()[0].split(",")
    errors = {column for column in columns if "rmse" in column}
    assert errors == {"dynamics/rmse_position", "dynamics/rmse_speed"}


def test_long_labels_do_not_end_a_table_on_the_terminal(capsys):
    class Wordy(PointMass):
        observation_labels = ("the position of the mass along the rail, measured at the left", "the position of the mass along the rail, measured at the right")  # fmt: skip # noqa: E501

    make(Wordy(), verbose=1).learn(2 * STEPS)
    assert "rmse_the_position_of_the_0" in capsys.readouterr().out
