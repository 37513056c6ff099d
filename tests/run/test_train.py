"""train.py and packages that are called `envs` as well."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run_train_from(directory: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    """`python -m train` in a directory, which comes first on the path there; train.py is found behind it."""
    variables = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "train", *argv]
    return subprocess.run(command, cwd=directory, env=variables, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("files", [["__init__.py"], ["__init__.py", "cartpole_swingup.py"]])
def test_another_package_called_envs_is_refused_unread(files, tmp_path):
    (tmp_path / "envs").mkdir()
    for name in files:
        (tmp_path / "envs" / name).write_text("raise RuntimeError('this was executed')")
    result = run_train_from(tmp_path, "--help")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("train.py: error: 'envs' is ")
    assert str(tmp_path / "envs") in result.stderr
    assert str(ROOT / "envs") in result.stderr


def test_a_module_called_envs_is_refused(tmp_path):
    (tmp_path / "envs.py").write_text("")
    result = run_train_from(tmp_path, "--help")
    assert result.returncode == 2
    assert str(tmp_path / "envs.py") in result.stderr


def test_a_folder_called_envs_without_code_does_no_harm(tmp_path):
    (tmp_path / "envs").mkdir()
    assert run_train_from(tmp_path, "--help").returncode == 0


def test_a_package_that_lies_in_the_place_of_ours_is_refused(tmp_path):
    (tmp_path / "envs").mkdir()
    (tmp_path / "envs" / "__init__.py").write_text("")
    (tmp_path / "train.py").write_text((ROOT / "train.py").read_text())
    result = subprocess.run(
        [sys.executable, "train.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert result.returncode == 2
    assert (
        result.stderr
        == f"train.py: error: {tmp_path / 'envs'} belongs to another package now: reinstall mbrl_agent\n"
    )


def test_a_copy_without_its_envs_is_one_line(tmp_path):
    (tmp_path / "train.py").write_text((ROOT / "train.py").read_text())
    command = [
        sys.executable,
        "-I",
        "-c",
        f"import runpy; runpy.run_path({str(tmp_path / 'train.py')!r}, run_name='__main__')",
    ]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert result.stderr.startswith("train.py: error: 'envs' is ")


def test_train_is_thin():
    assert len((ROOT / "train.py").read_text().splitlines()) <= 40
