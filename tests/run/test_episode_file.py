"""--episodes: what users have logged, and what is no such thing."""

import io
import pickle
import zipfile

import gymnasium
import numpy as np
import pytest
import yaml

import envs  # noqa: F401
from mbrl_agent import ParticlePILCO
from mbrl_agent.run import cli, episode_file
from mbrl_agent.run.episode_file import read_episodes
from tests.support.tiny_run import flags

pytestmark = pytest.mark.usefixtures("quickly")
OBSERVATIONS, ACTIONS = np.linspace(0, 1, 44).reshape(11, 4), np.linspace(-1, 1, 10)[:, None]
ONE = {"observations": OBSERVATIONS, "actions": ACTIONS, "rewards": np.ones(10)}
TWO = {
    "observations_10": OBSERVATIONS + 1,
    "actions_10": ACTIONS,
    "observations_2": OBSERVATIONS,
    "actions_2": ACTIONS,
}


def npy(array) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def write_members(path, members) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, payload in members:
            archive.writestr(name, payload)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_episodes_come_in_the_order_of_their_numbers(save, tmp_path):
    save(tmp_path / "e.npz", **TWO)
    found = read_episodes(tmp_path / "e.npz")
    assert list(found) == ["episode 2", "episode 10"]
    np.testing.assert_array_equal(found["episode 10"]["observations"], OBSERVATIONS + 1)
    save(tmp_path / "e.npz", **ONE)
    assert {
        name: value.shape for name, value in read_episodes(tmp_path / "e.npz")["its episode"].items()
    } == {
        "observations": (11, 4),
        "actions": (10, 1),
        "rewards": (10,),
    }


def test_arrays_of_every_order_and_type(tmp_path):
    swapped = OBSERVATIONS.astype(">f4")
    np.savez(tmp_path / "e.npz", observations=np.asfortranarray(swapped), actions=ACTIONS.astype(np.int8))
    arrays = read_episodes(tmp_path / "e.npz")["its episode"]
    np.testing.assert_array_equal(arrays["observations"], swapped)
    np.testing.assert_array_equal(arrays["actions"], ACTIONS.astype(np.int8))


BOMB = (
    b"\x93NUMPY\x01\x00v\x00"
    + b"{'descr': '<f8', 'fortran_order': False, 'shape': (1099511627776, 8), }".ljust(117)
    + b"\n"
)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([], "it has nothing"),
        ([("observations.npy", npy(OBSERVATIONS))], "its episode has no actions"),
        ([("actions_3.npy", npy(ACTIONS))], "episode 3 has no observations"),
        ([("observation.npy", npy(OBSERVATIONS))], "it has 'observation', but expected are observations"),
        ([("observations.npy", npy(np.array([{}])))], "observations holds object, not numbers"),
        ([("observations.npy", npy(np.array(["a"])))], "observations holds <U1, not numbers"),
        ([("observations.npy", npy(OBSERVATIONS + 1j))], "observations holds complex128, not numbers"),
        ([("observations.npy", b"not an array")], "magic string"),
        ([("observations.npy", npy(OBSERVATIONS)[:-8])], "observations is damaged"),
        ([("observations.npy", BOMB)], "observations is damaged"),
        ([("observations.npy", pickle.dumps(3))], "magic string"),
        ([("observations.npy", npy(OBSERVATIONS))] * 2, "it has 'observations.npy' twice"),
        ([(f"{n}{s}.npy", npy(a)) for s in ("", "_0") for n, a in ONE.items()], "with and without a number"),
        ([(f"observations{s}.npy", npy(OBSERVATIONS)) for s in ("_1", "_01")], "twice"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_what_is_no_file_of_episodes(members, message, tmp_path):
    path = tmp_path / "e.npz"
    write_members(path, members)
    with pytest.raises(ValueError, match=f"^episodes {path} cannot be read: ") as caught:
        read_episodes(path)
    assert message in str(caught.value)


def test_a_file_that_is_not_there_or_no_zip(tmp_path):
    np.save(tmp_path / "e.npy", OBSERVATIONS)
    for name, message in (("absent.npz", "No such file"), ("e.npy", "no .npz file"), ("", "Is a directory")):
        with pytest.raises(ValueError, match=message):
            read_episodes(tmp_path / name)


def test_what_is_too_large_is_not_decompressed(tmp_path, monkeypatch):
    monkeypatch.setattr(episode_file, "MAX_EPISODES_BYTES", 2**20)
    write_members(tmp_path / "e.npz", [("observations.npy", npy(np.zeros((2**20, 4))))])
    assert (tmp_path / "e.npz").stat().st_size < 2**17
    with pytest.raises(ValueError, match="it holds more than 1048576 bytes"):
        read_episodes(tmp_path / "e.npz")


# runs ------------------------------------------------------------------------------------------------------


def test_a_run_learns_from_them_and_goes_on_without_their_files(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    np.savez("one.npz", **ONE)
    np.savez("two.npz", **TWO)
    words = flags(logdir="runs", trials=2, eval_episodes=1)
    words += ["--velocity-dims", "none"]  # in the files' random numbers no velocity belongs to a position
    assert cli.main([*words, "--episodes", "one.npz,two.npz"]) == 0
    (directory,) = (tmp_path / "runs").iterdir()
    kept = yaml.safe_load((directory / "config.yaml").read_text())["episodes"]
    assert kept == [str(tmp_path / "one.npz"), str(tmp_path / "two.npz")]
    agent = ParticlePILCO.load(directory / "agent.zip", env=gymnasium.make("CartPoleSwingUp-v0"))
    np.testing.assert_array_equal(agent.replay.episodes[1].observations, OBSERVATIONS)
    np.testing.assert_allclose(agent.replay.episodes[0].actions, ACTIONS, atol=1e-7)
    before = len(agent.replay.episodes)
    for name in ("one.npz", "two.npz"):
        (tmp_path / name).unlink()
    assert cli.main(["--resume", str(directory), "--trials", "3"]) == 0
    resumed = ParticlePILCO.load(directory / "agent.zip")
    assert len(resumed.replay.episodes) == before + 1
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"actions": ACTIONS[:3]}, "its episode: actions must have the shape"),
        ({"observations": OBSERVATIONS[:, :3]}, "its episode: observations of an episode"),
        ({"observations": OBSERVATIONS * np.nan}, "not finite"),
        ({"actions": 5 * ACTIONS}, "outside of the environment's bounds"),
    ],
)
def test_a_mistake_is_one_line_before_anything_is_made(arrays, message, tmp_path, capsys):
    path = tmp_path / "e.npz"
    np.savez(path, **{**ONE, **arrays})
    assert cli.main(flags(logdir=tmp_path / "runs", episodes=path)) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"train.py: error: episodes {path}: ")
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "runs").exists()
