"""Whose files are in a run directory: --resume cuts and removes those of the run, and no others."""

import json
import shutil
import signal
from pathlib import Path

import pytest
from torch.utils.tensorboard import SummaryWriter

from mbrl_agent.files.atomic import remnants
from mbrl_agent.run.directory import START, RunDirectory, RunState
from tests.support.deadly_run import Moment, in_a_fork
from tests.support.tiny_run import assert_same_run, resume, tiny

pytestmark = pytest.mark.usefixtures("quickly")
FOREIGN = (
    "events.out.tfevents.1.of.a.user",
    "events.out.tfevents.9999999999.host.1.0.study",
    "notes_2099.txt",
    "figures/plot_2099.png",
    "figures/prediction_trial_004_annotated_5.png",
    "figures/my_prediction_trial_999.png",
    "figures/episode_trial_999.png",
    "figures/numbers_7.csv",
    "checkpoints/trial_best_9.zip",
    "checkpoints/trial_003_copy.zip",
    "checkpoints/trial_9.zip",
    "checkpoints/trial_010.txt",
    ".mbrl_agent-0123456789abcdef.tmp",
    ".mbrl_agent-0123456789abcdef-mine.npz.tmp",
    "figures/.mbrl_agent-0123456789abcdef-study_bias.png.tmp",
    "figures/sub/.mbrl_agent-0123456789abcdef-agent.zip.tmp",
)
OWN = (
    "figures/prediction_trial_009.png",
    "figures/episode_trial_1000.gif",
    "checkpoints/trial_009.zip",
    "checkpoints/trial_009.json",
    ".mbrl_agent-0123456789abcdef-progress.csv.tmp",
    "checkpoints/.mbrl_agent-0123456789abcdef-trial_009.zip.tmp",
    "checkpoints/.mbrl_agent-0123456789abcdef-events.json.tmp",
    "figures/.mbrl_agent-0123456789abcdef-episode_trial_009.gif.tmp",
)


def put(directory: Path, names: tuple[str, ...]) -> None:
    for name in names:
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())


def interrupted_copy(whole: Path, to: Path) -> Path:
    """A run that has lost its last checkpoint and its agent."""
    directory = shutil.copytree(whole, to)
    (directory / "agent.zip").unlink()
    (directory / "checkpoints/trial_003.zip").unlink()
    return directory


def test_what_others_wrote_stays(undisturbed, tmp_path):
    directory = interrupted_copy(undisturbed, tmp_path / "run")
    put(directory, FOREIGN + OWN)
    (directory / "checkpoints/trial_777.zip").mkdir()
    with SummaryWriter(str(directory)) as writer:
        writer.add_scalar("mine", 1.0, 0)
    (others,) = (
        set(directory.glob("events.*"))
        - {directory / name for name in FOREIGN}
        - {directory / path.name for path in undisturbed.glob("events.*")}
    )
    before = others.read_bytes()
    resume(directory).run()
    for name in FOREIGN:
        assert (directory / name).read_bytes() == name.encode(), name
    assert others.read_bytes() == before
    assert [name for name in OWN if (directory / name).exists()] == []
    assert (directory / "agent.zip").read_bytes() == (undisturbed / "agent.zip").read_bytes()


def test_events_of_an_attempt_that_was_killed_are_replaced(undisturbed, tmp_path):
    directory = interrupted_copy(undisturbed, tmp_path / "run")

    def mortal() -> None:
        Moment("mbrl_agent.agent.trial_loop:TrialLoop.fit").strike()
        resume(directory).run()

    assert in_a_fork(mortal) == -signal.SIGKILL
    assert len(list(directory.glob("events.*"))) == 2
    resume(directory).run()
    assert_same_run(directory, undisturbed)
    assert len(list(directory.glob("events.*"))) == 2


def test_events_of_an_attempt_without_a_checkpoint_are_replaced(tmp_path):
    run = tiny(tmp_path)
    put(run.directory, FOREIGN)

    def mortal() -> None:
        Moment("mbrl_agent.agent.trial_loop:TrialLoop.fit").strike()
        run.run()

    assert in_a_fork(mortal) == -signal.SIGKILL
    files = RunDirectory(run.directory)
    (events,) = files.own_event_files()
    files.rewind(START)
    assert not events.exists()
    assert [name for name in FOREIGN if not (run.directory / name).exists()] == []


def test_a_record_of_events_that_is_damaged_removes_nothing(undisturbed, tmp_path):
    directory = interrupted_copy(undisturbed, tmp_path / "run")
    files = RunDirectory(directory)
    for text in ("[", "{}", '{"events": 3}', '{"events": ["../config.yaml"]}', '{"events": [3]}'):
        files.events.write_text(text)
        with pytest.warns(UserWarning, match=r"events\.json cannot be read"):
            assert files.own_event_files() == []
    with pytest.warns(UserWarning, match="TensorBoard may show some steps twice"):
        resume(directory).run()
    assert (directory / "agent.zip").read_bytes() == (undisturbed / "agent.zip").read_bytes()


@pytest.mark.parametrize(
    "name", ["../outside", "config.yaml", "events.out.tfevents.1/../../outside", "/etc/x"]
)
def test_a_record_that_would_cut_another_file_is_refused(name):
    with pytest.raises(ValueError, match="is not the name of an event file"):
        RunState(trial=1, rows=1, columns=1, events={name: 0})


def test_no_two_event_files_have_one_name(tmp_path):
    files = RunDirectory(tmp_path)
    names = [files.new_event_file().name for _ in range(5)]
    assert len(set(names)) == 5
    assert json.loads(files.events.read_text()) == {"events": names}
    assert files.own_event_files() == []  # none was written


def test_remnants_know_their_file(tmp_path):
    put(tmp_path, (".mbrl_agent-00ff-a-b.txt.tmp", ".mbrl_agent-00ff.tmp", "other.tmp"))
    assert sorted(name for _, name in remnants(tmp_path)) == ["", "a-b.txt"]
