"""Checkpoints: what goes in comes out bitwise, equal contents are equal files, and writes are atomic."""

import errno
import io
import json
import math
import os
import resource
import signal
import stat
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mbrl_agent.files import atomic
from mbrl_agent.files.archive import VERSION, Archive, CheckpointError, read_archive, write_archive
from mbrl_agent.files.atomic import write_atomically

NUMBERS = ["bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16"]
NUMBERS += ["float32", "float64", "complex64", "complex128"]


def same_array(a, b):
    """Same dtype, shape and bits."""
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def packed(config=None, tensors=None, arrays=None) -> bytes:
    """The bytes of a checkpoint."""
    file = io.BytesIO()
    write_archive(file, {} if config is None else config, tensors or {}, arrays or {})
    return file.getvalue()


def copy_of(config=None, tensors=None, arrays=None) -> Archive:
    """What comes back from a checkpoint."""
    return read_archive(io.BytesIO(packed(config, tensors, arrays)))


# round trip ------------------------------------------------------------------------------------------------


@given(hnp.arrays(st.sampled_from(NUMBERS), hnp.array_shapes(min_dims=0, min_side=0, max_side=4)))
def test_arrays_and_tensors_come_back_bitwise(values):
    archive = copy_of(arrays={"x": values}, tensors={"x": torch.from_numpy(values)})
    assert same_array(archive.arrays["x"], values)
    assert archive.tensors["x"].dtype == torch.from_numpy(values).dtype
    assert same_array(archive.tensors["x"].numpy(), values)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.complex64])
def test_special_values_keep_their_bits(dtype):
    values = np.array([np.nan, -np.nan, np.inf, -np.inf, 0.0, -0.0, np.finfo(dtype).tiny / 4], dtype)
    values[1:2].view(np.uint8)[0] = 7  # a NaN with a payload
    archive = copy_of(arrays={"x": values}, tensors={"x": torch.from_numpy(values)})
    assert same_array(archive.arrays["x"], values)
    assert same_array(archive.tensors["x"].numpy(), values)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), JSON, max_size=4))
def test_config_comes_back(config):
    assert copy_of(config).config == config


def test_config_keeps_types_nan_and_infinities():
    config = {"a": 1, "b": 1.0, "c": True, "d": None, "e": -0.0, "f": math.inf, "g": -math.inf, "h": 2**127}
    config |= {"i": (1, (2,)), "j": "\ud800 \u2028 ä"}
    result = copy_of(config | {"nan": math.nan}).config
    assert math.isnan(result.pop("nan"))
    assert {key: repr(value) for key, value in result.items()} == {
        key: repr(value) for key, value in (config | {"i": [1, [2]]}).items()
    }


def test_what_comes_back_is_independent_and_usable():
    shared = torch.arange(12.0).reshape(3, 4)
    archive = copy_of(
        tensors={"a": shared, "b": shared.t(), "c": shared[0, :1].expand(1000)}, arrays={"x": np.arange(3)}
    )
    archive.tensors["a"].zero_()
    archive.arrays["x"][0] = 7  # would raise if it were read-only
    assert torch.equal(archive.tensors["b"], shared.t())
    assert torch.equal(archive.tensors["c"], torch.zeros(1000))
    assert all(tensor.is_contiguous() and not tensor.requires_grad for tensor in archive.tensors.values())
    archive.tensors["c"] += 1  # an expanded view would refuse, or add 1000 times
    assert torch.equal(archive.tensors["c"], torch.ones(1000))


def test_parameters_and_conjugate_views_are_stored_by_value():
    parameter = torch.nn.Parameter(torch.tensor([1.5, -2.5]))
    conjugate = torch.tensor([1 + 2j]).conj()
    archive = copy_of(tensors={"p": parameter * 2, "q": parameter, "z": conjugate})
    assert archive.tensors["p"].tolist() == [3.0, -5.0]
    assert type(archive.tensors["q"]) is torch.Tensor
    assert archive.tensors["z"].tolist() == [1 - 2j]


def test_a_view_does_not_take_its_storage_along():
    assert len(packed(tensors={"x": torch.zeros(1_000_000)[:2]})) < 2000


def test_optimiser_and_generator_states_survive():
    generator = torch.Generator().manual_seed(3)
    bits = np.random.default_rng(5)
    archive = copy_of({"numpy": bits.bit_generator.state}, {"torch": generator.get_state()})
    other, restored = torch.Generator(), np.random.default_rng(0)
    other.set_state(archive.tensors["torch"])
    restored.bit_generator.state = archive.config["numpy"]
    assert torch.equal(torch.randn(5, generator=other), torch.randn(5, generator=generator))
    assert restored.random(5).tolist() == bits.random(5).tolist()


# equal contents, equal files -------------------------------------------------------------------------------


def test_equal_contents_are_equal_bytes_whatever_the_layout_or_the_order():
    values = np.arange(6.0).reshape(2, 3)
    tensor = torch.from_numpy(values)
    first = packed(
        {"b": 1, "a": {"d": 2, "c": [3]}}, {"x": tensor, "y": tensor[:1]}, {"u": values, "v": values[:1]}
    )
    column_major = torch.from_numpy(np.asfortranarray(values))
    strided = np.repeat(values, 2, axis=1)[:, ::2]
    second = packed(
        {"a": {"c": (3,), "d": 2}, "b": 1},
        {"y": tensor[:1].clone(), "x": torch.nn.Parameter(column_major)},
        {"v": values[:1].copy(), "u": strided},
    )
    assert first == second
    assert packed({"b": 1}, {"x": -tensor}) != packed({"b": 1}, {"x": tensor})
    assert packed(arrays={"x": np.array([0.0])}) != packed(arrays={"x": np.array([-0.0])})


def test_bytes_do_not_depend_on_the_path_or_on_the_time(tmp_path, monkeypatch):
    write_archive(tmp_path / "one.zip", {"a": 1}, {"x": torch.ones(2)}, {})
    monkeypatch.setattr("time.time", lambda: 2e9)
    monkeypatch.setattr("time.localtime", lambda *_: (2040, 1, 1, 0, 0, 0, 0, 1, 0))
    write_archive(tmp_path / "other.zip", {"a": 1}, {"x": torch.ones(2)}, {})
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "other.zip").read_bytes()


def test_the_file_is_open_to_other_tools(tmp_path):
    write_archive(
        tmp_path / "a.zip", {"lr": 0.1}, {"net.0.weight": torch.ones(2, 3)}, {"runs/x": np.arange(3)}
    )
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert archive.testzip() is None
        assert json.loads(archive.read("config.json")) == {
            "format": "mbrl_agent",
            "version": VERSION,
            "config": {"lr": 0.1},
        }
        weight = np.load(io.BytesIO(archive.read("tensors/net.0.weight.npy")), allow_pickle=False)
        assert same_array(weight, np.ones((2, 3), np.float32))
        assert np.load(io.BytesIO(archive.read("arrays/runs/x.npy"))).tolist() == [0, 1, 2]


# where it is written ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given_name", "file_name"),
    [
        ("agent", "agent.zip"),
        ("agent.zip", "agent.zip"),
        ("agent.v1", "agent.v1"),
        ("new/er/agent", "new/er/agent.zip"),
    ],
)
@pytest.mark.parametrize("kind", [str, Path])
def test_suffix_and_directories_follow_stable_baselines3(tmp_path, monkeypatch, given_name, file_name, kind):
    monkeypatch.chdir(tmp_path)
    write_archive(kind(given_name), {"a": 1}, {}, {})
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / file_name]
    assert read_archive(kind(given_name)).config == {"a": 1}
    assert read_archive(kind(tmp_path / file_name)).config == {"a": 1}


def test_a_directory_with_the_name_does_not_hide_the_file(tmp_path):
    (tmp_path / "agent").mkdir()
    write_archive(tmp_path / "agent", {"a": 1}, {}, {})
    assert read_archive(tmp_path / "agent").config == {"a": 1}


def test_file_objects_are_read_from_the_start_and_stay_open(tmp_path):
    file = io.BytesIO()
    write_archive(file, {"a": 1}, {"x": torch.ones(1)}, {})
    assert file.tell() == len(file.getvalue())
    assert read_archive(file).config == {"a": 1}
    assert read_archive(file).config == {"a": 1}
    with (tmp_path / "raw").open("wb", buffering=0) as raw:
        write_archive(raw, {"a": 2}, {}, {})
    with (tmp_path / "raw").open("rb", buffering=0) as raw:
        assert read_archive(raw).config == {"a": 2}


def test_a_pipe_can_be_read():
    reading, writing = os.pipe()
    with open(writing, "wb") as file:
        write_archive(file, {"a": 1}, {}, {})
    with open(reading, "rb") as file:
        assert read_archive(file).config == {"a": 1}


def test_a_short_write_is_an_error():
    class Short(io.BytesIO):
        def write(self, data):
            return super().write(data[:10])

    with pytest.raises(OSError, match="took only 10 of"):
        write_archive(Short(), {}, {}, {})


def test_a_link_stays_a_link(tmp_path):
    write_archive(tmp_path / "real.zip", {"a": 1}, {}, {})
    (tmp_path / "latest.zip").symlink_to("real.zip")
    write_archive(tmp_path / "latest.zip", {"a": 2}, {}, {})
    assert (tmp_path / "latest.zip").is_symlink()
    assert read_archive(tmp_path / "real.zip").config == {"a": 2}


def test_permissions_are_those_of_an_ordinary_file(tmp_path):
    (tmp_path / "ordinary").touch()
    write_archive(tmp_path / "a.zip", {}, {}, {})
    assert (tmp_path / "a.zip").stat().st_mode == (tmp_path / "ordinary").stat().st_mode


def test_a_stream_without_end_is_read_no_further_than_the_limit():
    class Endless:
        given_out = 0

        def seekable(self):
            return False

        def read(self, size):
            self.given_out += size
            assert self.given_out <= 9 * 2**20
            return bytes(size)

    with pytest.raises(CheckpointError, match="larger than max_bytes"):
        read_archive(Endless(), max_bytes=8 * 2**20)


# a user's mistakes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "error", "message"),
    [
        ([1], TypeError, "config must be a dict, got list"),
        ({"a": {"b": [1, {2}]}}, TypeError, r"checkpoint\.config\.a\.b\[1\] is a set"),
        ({"a": np.float32(1)}, TypeError, r"checkpoint\.config\.a is a float32"),
        ({"a": b"x"}, TypeError, r"checkpoint\.config\.a is a bytes"),
        ({"a": {1: 2}}, TypeError, r"checkpoint\.config\.a has the key 1; keys must be strings"),
        ({"a": 10**5000}, ValueError, "integer string conversion"),
        ({"a": "x" * (16 * 2**20)}, ValueError, "use arrays"),
    ],
    ids=["list", "set", "NumPy scalar", "bytes", "key", "huge number", "huge text"],
)
def test_config_that_is_not_json(config, error, message):
    with pytest.raises(error, match=message):
        packed(config)


def test_config_that_is_nested_without_end():
    config: dict = {}
    config["self"] = config
    with pytest.raises(ValueError, match="deeper than 100 levels, or contains itself"):
        packed(config)


def nested(depth):
    return [nested(depth - 1)] if depth else 1


def test_the_deepest_config_that_can_be_written_can_be_read():
    assert copy_of({"a": nested(98)}).config == {"a": nested(98)}
    with pytest.raises(ValueError, match="deeper"):
        packed({"a": nested(99)})


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../x",
        "/x",
        "a//b",
        "a/",
        "a/../b",
        "a\\b",
        "a b",
        "ä",
        "a\n",
        "a\0",
        "x" * 201,
        3,
        None,
    ],
)
@pytest.mark.parametrize("kind", ["tensors", "arrays"])
def test_names_that_are_refused(name, kind):
    values = {name: torch.ones(1) if kind == "tensors" else np.ones(1)}
    with pytest.raises(ValueError, match=f"{kind} cannot be named"):
        packed(**{kind: values})


@pytest.mark.parametrize(
    "name", ["a", "0", "policy.net.0.weight", "adam/0/exp_avg", "a-b_c..d", "a.npy", "x" * 200]
)
def test_names_that_are_allowed(name):
    archive = copy_of(tensors={name: torch.ones(1)}, arrays={name: np.zeros(1)})
    assert list(archive.tensors) == list(archive.arrays) == [name]
    assert archive.tensors[name].item() == 1
    assert archive.arrays[name].item() == 0


@pytest.mark.parametrize(
    "tensor",
    [
        torch.zeros(2, dtype=torch.bfloat16),
        torch.zeros(2, device="meta"),
        torch.eye(2).to_sparse(),
        torch.zeros(2, dtype=torch.float8_e4m3fn),
    ],
    ids=str,
)
def test_tensors_without_an_equal_in_numpy(tensor):
    with pytest.raises(TypeError, match=r"tensor 'x' .* has no equal in NumPy"):
        packed(tensors={"x": tensor})


@pytest.mark.parametrize(
    "array",
    [
        pytest.param(np.array([object()]), id="object"),
        np.array(["text"]),
        np.array([1], ">f8" if sys.byteorder == "little" else "<f8"),
        np.zeros(1, [("a", "f4")]),
        np.zeros(1, "M8[s]"),
        np.ma.array([1.0], mask=[True]),
        np.float64(1),
        [1.0],
    ],
    ids=str,
)
def test_arrays_that_are_refused(array):
    with pytest.raises(TypeError, match=r"array 'x' (has dtype|is a)"):
        packed(arrays={"x": array})


def test_kinds_cannot_be_swapped():
    with pytest.raises(TypeError, match="tensor 'x' is a ndarray, not a tensor"):
        packed(tensors={"x": np.ones(1)})
    with pytest.raises(TypeError, match="array 'x' is a Tensor, not a plain NumPy array"):
        packed(arrays={"x": torch.ones(1)})


def test_paths_that_lead_nowhere(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no checkpoint at \S*nothing or \S*nothing\.zip$"):
        read_archive(tmp_path / "nothing")
    with pytest.raises(
        FileNotFoundError, match=r"no checkpoint at \S*a\.zip \(there is no directory \S*missing either\)"
    ):
        read_archive(tmp_path / "missing" / "a.zip")
    with pytest.raises(CheckpointError, match="not a regular file"):
        read_archive(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CheckpointError, match="not a regular file"):
        read_archive(tmp_path / "pipe")
    for call in (read_archive, lambda path: write_archive(path, {}, {}, {})):
        with pytest.raises(TypeError, match="path must be a path or a binary file object, got int"):
            call(3)


def test_text_files_are_refused(tmp_path):
    write_archive(tmp_path / "a.zip", {}, {}, {})
    with (tmp_path / "a.zip").open(encoding="latin-1") as file, pytest.raises(TypeError, match="binary mode"):
        read_archive(file)


def test_a_file_larger_than_the_limit_is_refused(tmp_path):
    write_archive(tmp_path / "a.zip", {}, {"x": torch.zeros(100)}, {})
    size = (tmp_path / "a.zip").stat().st_size
    assert read_archive(tmp_path / "a.zip", max_bytes=size).tensors["x"].shape == (100,)
    with pytest.raises(CheckpointError, match=f"a.zip: it is larger than max_bytes = {size - 1} bytes"):
        read_archive(tmp_path / "a.zip", max_bytes=size - 1)


# atomic writes ---------------------------------------------------------------------------------------------


def fail_with(number):
    def fail(*args, **kwargs):
        raise OSError(number, os.strerror(number))

    return fail


def interrupt(*args, **kwargs):
    raise KeyboardInterrupt


FAULTS = {
    "disk full at fsync": ("os.fsync", fail_with(errno.ENOSPC), OSError),
    "input/output error at fsync": ("os.fsync", fail_with(errno.EIO), OSError),
    "permission lost before the rename": ("os.replace", fail_with(errno.EACCES), PermissionError),
    "read-only at the rename": ("os.replace", fail_with(errno.EROFS), OSError),
    "interrupted at fsync": ("os.fsync", interrupt, KeyboardInterrupt),
    "interrupted at the rename": ("os.replace", interrupt, KeyboardInterrupt),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("exists", [True, False])
def test_a_failed_write_leaves_everything_as_it_was(tmp_path, monkeypatch, fault, exists):
    if exists:
        write_archive(tmp_path / "a.zip", {"old": True}, {"x": torch.ones(3)}, {})
    target, replacement, error = FAULTS[fault]
    with monkeypatch.context() as patch:
        patch.setattr(target, replacement)
        with pytest.raises(error):
            write_archive(tmp_path / "a.zip", {"old": False}, {}, {})
    assert os.listdir(tmp_path) == (["a.zip"] if exists else [])
    if exists:
        assert read_archive(tmp_path / "a.zip").config == {"old": True}
    write_archive(tmp_path / "a.zip", {"old": False}, {}, {})
    assert read_archive(tmp_path / "a.zip").config == {"old": False}


@pytest.mark.parametrize("size", [3_000, 3_000_000])  # below and above what a buffered file holds back
def test_a_disk_that_fills_up_half_way(tmp_path, size):
    write_archive(tmp_path / "a.zip", {"old": True}, {}, {})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OSError, match=os.strerror(errno.EFBIG)):
            write_archive(tmp_path / "a.zip", {}, {}, {"x": np.zeros(size, np.uint8)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert os.listdir(tmp_path) == ["a.zip"]
    assert read_archive(tmp_path / "a.zip").config == {"old": True}


def test_what_cannot_be_encoded_touches_no_file(tmp_path):
    with pytest.raises(TypeError):
        write_archive(tmp_path / "new" / "a.zip", {}, {}, {"x": np.array([None])})
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write anywhere")
def test_a_directory_without_permission(tmp_path):
    write_archive(tmp_path / "a.zip", {"old": True}, {}, {})
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(PermissionError):
            write_archive(tmp_path / "a.zip", {}, {}, {})
    finally:
        tmp_path.chmod(0o700)
    assert read_archive(tmp_path / "a.zip").config == {"old": True}


def test_a_directory_in_the_way(tmp_path):
    (tmp_path / "a.zip").mkdir()
    with pytest.raises(IsADirectoryError):
        write_archive(tmp_path / "a.zip", {}, {}, {})
    assert os.listdir(tmp_path) == ["a.zip"]


def test_the_whole_file_is_synced_before_the_rename_and_the_directory_after(tmp_path, monkeypatch):
    calls = []

    def fsync(descriptor, original=os.fsync):
        status = os.fstat(descriptor)
        calls.append(("fsync", status.st_ino, status.st_size if stat.S_ISREG(status.st_mode) else None))
        original(descriptor)

    def replace(source, target, original=os.replace):
        calls.append(("replace", os.stat(source).st_ino, target))
        original(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace)
    write_atomically(tmp_path / "a", b"data")
    file, directory = (tmp_path / "a").stat().st_ino, tmp_path.stat().st_ino
    assert calls == [("fsync", file, 4), ("replace", file, tmp_path / "a"), ("fsync", directory, None)]


@pytest.mark.parametrize(
    ("number", "raises"), [(errno.EINVAL, False), (errno.ENOTSUP, False), (errno.EIO, True)]
)
def test_file_systems_that_cannot_sync_a_directory(tmp_path, monkeypatch, number, raises):
    def fsync(descriptor, original=os.fsync):
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):
            raise OSError(number, os.strerror(number))
        original(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    if raises:
        with pytest.raises(OSError, match=os.strerror(number)):
            write_atomically(tmp_path / "a", b"data")
    else:
        write_atomically(tmp_path / "a", b"data")
    assert (tmp_path / "a").read_bytes() == b"data"


CHILD = """
import os, runpy, sys
from pathlib import Path
module, path, crash, *sources = sys.argv[1:]
write_atomically = runpy.run_path(module)["write_atomically"]  # without the package: the child starts at once
blobs = [Path(source).read_bytes() for source in sources]
if crash:
    setattr(os, crash, lambda *args: os._exit(9))
print("ready", flush=True)
while True:
    for blob in blobs:
        write_atomically(Path(path), blob)
"""


def start_writer(path, crash, *sources):
    command = [sys.executable, "-c", CHILD, atomic.__file__, str(path), crash, *map(str, sources)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    return child


@pytest.mark.parametrize("crash", ["fsync", "replace"])
def test_a_crash_before_the_rename_keeps_the_old_file(tmp_path, crash):
    write_archive(tmp_path / "a.zip", {"old": True}, {}, {})
    write_archive(tmp_path / "b.zip", {"old": False}, {}, {})
    with start_writer(tmp_path / "a.zip", crash, tmp_path / "b.zip") as child:
        assert child.wait(60) == 9
    assert read_archive(tmp_path / "a.zip").config == {"old": True}


def test_readers_see_whole_files_whenever_the_writer_is_killed(tmp_path):
    for value in (1, 2):
        write_archive(tmp_path / f"{value}.zip", {"v": value}, {"x": torch.full((30_000,), float(value))}, {})
    write_archive(tmp_path / "a.zip", {"v": 1}, {"x": torch.full((30_000,), 1.0)}, {})
    seen: list[int] = []
    deadline = time.monotonic() + 60
    with start_writer(tmp_path / "a.zip", "", tmp_path / "1.zip", tmp_path / "2.zip") as child:
        while (len(seen) < 200 or len(set(seen)) < 2) and time.monotonic() < deadline:
            archive = read_archive(tmp_path / "a.zip")
            assert (archive.tensors["x"] == archive.config["v"]).all()
            seen.append(archive.config["v"])
        assert child.poll() is None
        child.send_signal(signal.SIGKILL)
    archive = read_archive(tmp_path / "a.zip")
    assert (archive.tensors["x"] == archive.config["v"]).all()
    assert set(seen) == {1, 2}  # it was being replaced while it was read
