"""Output that nobody can read, or not every character of it."""

import errno
import io
import os
import subprocess
import sys

import pytest

from mbrl_agent.run.streams import TolerantStream, tolerant_streams
from tests.support.deadly_run import ROOT
from tests.support.tiny_run import flags


def test_characters_that_the_encoding_lacks_are_escaped():
    raw = io.BytesIO()
    stream = TolerantStream(io.TextIOWrapper(raw, encoding="ascii"))
    assert stream.write("läufe \udce4 x\n") == 10
    stream.flush()
    assert raw.getvalue() == b"l\\xe4ufe \\udce4 x\n"


@pytest.mark.parametrize("number", [errno.EPIPE, errno.EIO, errno.EBADF])
def test_a_stream_whose_reader_is_gone_takes_everything(number):
    class Gone(io.StringIO):
        def write(self, text):
            raise OSError(number, "gone")

        flush = write

    stream = TolerantStream(Gone())
    assert stream.write("text") == 4
    stream.flush()
    assert not stream.isatty()


def test_a_full_disk_is_an_error():
    class Full(io.StringIO):
        def write(self, text):
            raise OSError(errno.ENOSPC, "full")

    with pytest.raises(OSError, match="full"):
        TolerantStream(Full()).write("text")


def test_no_stream_and_a_closed_one():
    closed = io.StringIO()
    closed.close()
    for stream in (TolerantStream(None), TolerantStream(closed)):
        assert not stream.isatty()
        assert stream.write("text") == 4
        stream.flush()


def test_streams_are_given_back(capsys):
    before = sys.stdout, sys.stderr

    def fail() -> None:
        with tolerant_streams():
            sys.stdout.write("shown\n")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert (sys.stdout, sys.stderr) == before
    assert capsys.readouterr().out == "shown\n"


def test_a_pipe_that_is_closed_does_not_end_a_run(tmp_path):
    words = " ".join(flags(quiet=False, trials=1, eval_episodes=1, logdir=tmp_path))
    script = f"set -o pipefail; {sys.executable} {ROOT / 'train.py'} {words} | head -1"
    result = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    (directory,) = tmp_path.iterdir()
    assert (directory / "agent.zip").exists()


def test_any_directory_on_any_terminal(tmp_path):
    logdir = os.fsencode(tmp_path) + b"/l\xc3\xa4ufe [x] 50% $a$ \xe4"  # the last byte is not UTF-8
    words = [os.fsencode(word) for word in flags(quiet=False, trials=2, eval_episodes=1)]
    command = [os.fsencode(sys.executable), os.fsencode(ROOT / "train.py"), *words, b"--logdir", logdir]
    variables = {**os.environ, "PYTHONIOENCODING": "ascii", "TERM": "dumb", "COLUMNS": "1"}
    result = subprocess.run(command, env=variables, capture_output=True, check=False)
    assert (result.returncode, result.stderr) == (0, b"")
    (directory,) = os.listdir(logdir)
    study = [os.fsencode(sys.executable), b"-m", b"mbrl_agent.study"]
    run = os.path.join(logdir, directory)
    options = [b"--resampling", b"none", b"--delta", b"0", b"--particles", b"30"]
    command = [*study, b"trajectories", b"--run", run, *options]
    result = subprocess.run(command, env=variables, cwd=ROOT, capture_output=True, check=False)
    assert (result.returncode, result.stderr) == (0, b"")
    assert b"study_trajectories.png" in result.stdout
