"""Damaged and hostile checkpoints: one clear error; never other contents, never code, never much memory."""

import hashlib
import io
import json
import pickle
import random
import struct
import tracemalloc
import zipfile
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from stable_baselines3.common.save_util import save_to_zip_file

from mbrl_agent.files.archive import VERSION, CheckpointError, read_archive, write_archive

CONFIG = {"env": "Pendulum-v1", "gamma": 0.5, "seeds": [1, 2], "space": {"low": [float("-inf")]}}
TENSORS = {"policy.weight": torch.arange(4.0), "step": torch.tensor(7)}
ARRAYS = {"states": np.linspace(0, 1, 6).reshape(3, 2)}


def packed(config=CONFIG, tensors=TENSORS, arrays=ARRAYS) -> bytes:
    """The bytes of a small checkpoint."""
    file = io.BytesIO()
    write_archive(file, config, tensors, arrays)
    return file.getvalue()


GOOD = packed()


def read(data: bytes):
    return read_archive(io.BytesIO(data))


def contents(archive) -> object:
    """Everything that an archive holds, comparable bit by bit."""
    arrays = archive.arrays | {f"tensor {name}": t.numpy() for name, t in archive.tensors.items()}
    types = {name: type(t) for name, t in archive.tensors.items()}
    return archive.config, types, {name: (a.dtype, a.shape, a.tobytes()) for name, a in arrays.items()}


def forged(members: dict[str, bytes], digests=None, compression=zipfile.ZIP_STORED) -> bytes:
    """A zip of any members with a manifest that fits, as an attacker would write it."""
    manifest = {name: hashlib.sha256(payload).hexdigest() for name, payload in members.items()}
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, payload in members.items():
            archive.writestr(name, payload)
        archive.writestr("manifest.json", json.dumps({"sha256": manifest if digests is None else digests}))
    return file.getvalue()


def header(config=None, /, **changes) -> bytes:
    return json.dumps({"format": "mbrl_agent", "version": VERSION, "config": config or {}} | changes).encode()


def npy(descr: str, shape: str, data: bytes, fortran: str = "False", version=b"\x01\x00") -> bytes:
    text = f"{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}, }}".encode()
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY" + version + struct.pack("<H", len(text)) + text + data


def with_array(payload: bytes, kind="arrays") -> bytes:
    return forged({"config.json": header(), f"{kind}/x.npy": payload})


@contextmanager
def at_most(megabytes: float):
    """Fail if the block ever holds more memory than this."""
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1] / 2**20
    finally:
        tracemalloc.stop()
    assert peak < megabytes, f"{peak:.1f} MB"


def payload_spans(data: bytes) -> list[range]:
    """Where the members' bytes lie."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        starts = [
            (info.header_offset + 30 + len(info.filename), info.file_size) for info in archive.infolist()
        ]
    return [range(start, start + size) for start, size in starts]


class Bomb:
    """An object that leaves a mark when it is unpickled."""

    def __init__(self, directory: Path) -> None:
        self.marker = directory / "marker"

    def __reduce__(self):
        return Path.touch, (self.marker,)


# accidents -------------------------------------------------------------------------------------------------


def test_forgery_is_read_when_nothing_is_wrong_with_it():
    archive = read(forged({"config.json": header({"a": 1}), "tensors/x.npy": npy("'<f4'", "(2,)", bytes(8))}))
    assert archive.config == {"a": 1}
    assert torch.equal(archive.tensors["x"], torch.zeros(2))


def test_truncated_at_every_byte():
    for size in range(len(GOOD)):
        with pytest.raises(CheckpointError):
            read(GOOD[:size])


def test_every_byte_with_one_bit_flipped():
    """An error, or the same contents where the byte carries none (dates, permissions, repeated sizes)."""
    generator = random.Random(0)
    payloads = [offset for span in payload_spans(GOOD) for offset in span]
    harmless = []
    for offset in range(len(GOOD)):
        data = bytearray(GOOD)
        data[offset] ^= 1 << generator.randrange(8)
        try:
            archive = read(bytes(data))
        except CheckpointError:
            continue
        assert contents(archive) == contents(read(GOOD))
        harmless.append(offset)
    assert not set(harmless) & set(payloads)
    assert len(payloads) > len(GOOD) / 2  # most of what was flipped was content


@pytest.mark.parametrize("width", [4, 512])
def test_blocks_of_zeros(width):
    """What a crashed disk leaves."""
    for offset in range(0, len(GOOD), 7):
        data = GOOD[:offset] + bytes(min(width, len(GOOD) - offset)) + GOOD[offset + width :]
        try:
            archive = read(data)
        except CheckpointError:
            continue
        assert contents(archive) == contents(read(GOOD))


@given(st.integers(0, len(GOOD) - 1), st.integers(0, 40), st.binary(max_size=40))
def test_any_piece_replaced_removed_or_inserted(offset, length, piece):
    try:
        archive = read(GOOD[:offset] + piece + GOOD[offset + length :])
    except CheckpointError:
        return
    assert contents(archive) == contents(read(GOOD))


@given(st.binary(max_size=200))
def test_random_bytes(data):
    with pytest.raises(CheckpointError, match="truncated, corrupt or not a zip file"):
        read(data)


def test_contents_swapped_between_two_members():
    one, other = npy("'<f4'", "(1,)", b"\0\0\0\0"), npy("'<f4'", "(1,)", b"\0\0\x80\x3f")
    digests = {
        "tensors/a.npy": hashlib.sha256(one).hexdigest(),
        "tensors/b.npy": hashlib.sha256(other).hexdigest(),
    }
    digests["config.json"] = hashlib.sha256(header()).hexdigest()
    read(forged({"config.json": header(), "tensors/a.npy": one, "tensors/b.npy": other}, digests))
    with pytest.raises(CheckpointError, match=r"member 'tensors/a.npy' is corrupt: its checksum"):
        read(forged({"config.json": header(), "tensors/a.npy": other, "tensors/b.npy": one}, digests))


def test_message_names_the_file(tmp_path):
    (tmp_path / "agent.zip").write_bytes(GOOD[:-5])
    with pytest.raises(
        CheckpointError, match=r"^cannot load \S*agent\.zip: it is truncated, corrupt or not a zip"
    ):
        read_archive(tmp_path / "agent")
    with pytest.raises(CheckpointError, match=r"^cannot load the given BytesIO: "):
        read(b"")


# not ours, or not quite ------------------------------------------------------------------------------------


def test_an_archive_of_stable_baselines3_is_explained(tmp_path):
    save_to_zip_file(tmp_path / "ppo.zip", {"gamma": 0.9, "f": Bomb(tmp_path)}, {"policy": {}}, {})
    with pytest.raises(CheckpointError, match=r"stable_baselines3's own format.*pickled.*PPO\.load"):
        read_archive(tmp_path / "ppo.zip")
    assert not (tmp_path / "marker").exists()


def test_other_files():
    file = io.BytesIO()
    torch.save({"x": torch.ones(1)}, file)
    with pytest.raises(
        CheckpointError, match=r"a zip file, but not a checkpoint of mbrl_agent: it has no config\.json"
    ):
        read(file.getvalue())
    with pytest.raises(CheckpointError, match="it has no config"):
        read(forged({}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 1}, f"format version 1, this release reads version {VERSION}"),
        ({"version": 0}, "format version 0"),
        ({"version": -(10**100)}, "format version -1"),
        ({"version": True}, "does not describe"),
        ({"version": 1.0}, "does not describe"),
        ({"version": "1"}, "does not describe"),
        ({"version": None}, "does not describe"),
        ({"format": "other"}, "does not describe"),
        ({"format": ["mbrl_agent"]}, "does not describe"),
        ({"config": [1]}, "does not describe"),
        ({"config": None}, "does not describe"),
    ],
    ids=str,
)
def test_headers_that_are_refused(changes, message):
    with pytest.raises(CheckpointError, match=message):
        read(forged({"config.json": header(**changes)}))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "Expecting value"),
        (b"[]", "JSON that is a list, not an object"),
        (b"3", "JSON that is a int"),
        (b"null", "JSON that is a NoneType"),
        (b"{} {}", "Extra data"),
        (b"\xff\xfe{\0}\0", "utf-8"),
        (b'{"a": 1, "a": 2}', "has the key 'a' twice"),
        (b'{"config": {"b": {"a": 1, "a": 1}}}', "has the key 'a' twice"),
        (b'{"a": ' + b"9" * 5000 + b"}", "integer string conversion"),
        (b"[" * 1_000_000, "nested too deeply"),
        (b'{"a":' * 200_000, "nested too deeply"),
        (b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply"),
        (b" " * (16 * 2**20 + 1), "at most 16777216 are allowed"),
    ],
    ids=[
        "empty",
        "list",
        "int",
        "null",
        "twice",
        "UTF-16",
        "key",
        "inner key",
        "digits",
        "[",
        "{",
        "[]",
        "large",
    ],
)
@pytest.mark.parametrize("member", ["config.json", "manifest.json"])
def test_json_that_is_refused(text, message, member):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(member, text)
        if member != "config.json":
            archive.writestr("config.json", header())
    with pytest.raises(CheckpointError, match=rf"member '{member}': .*{message}"):
        read(file.getvalue())


def test_missing_and_unexpected_members():
    digests = {"config.json": hashlib.sha256(header()).hexdigest()}
    extra = {"config.json": header(), "tensors/x.npy": npy("'<f4'", "()", bytes(4))}
    with pytest.raises(CheckpointError, match=r"unexpected member 'tensors/x\.npy'"):
        read(forged(extra, digests))
    with pytest.raises(CheckpointError, match=r"missing member 'tensors/y\.npy'"):
        read(forged({"config.json": header()}, digests | {"tensors/y.npy": "0" * 64}))
    with pytest.raises(CheckpointError, match=r"unexpected member 'config\.json'"):
        read(forged({"config.json": header()}, {}))
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("config.json", header())
    with pytest.raises(CheckpointError, match=r"member 'manifest\.json' is missing"):
        read(file.getvalue())


@pytest.mark.parametrize(
    "digests", [[], "x", 3, {"config.json": 3}, {"config.json": None}, {"config.json": [1]}], ids=str
)
def test_manifests_of_the_wrong_type(digests):
    with pytest.raises(CheckpointError, match=r"holds no checksums|is corrupt"):
        read(forged({"config.json": header()}, digests))


# hostile zips ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "../evil.npy",
        "tensors/../../evil.npy",
        "/tensors/x.npy",
        "/etc/passwd",
        "C:\\evil.npy",
        "tensors\\x.npy",
        "tensors/x.npz",
        "tensors/.npy",
        "tensors/",
        "arrays/a//b.npy",
        "other/x.npy",
        "x.npy",
        "tensors.pt",
        "tensors/x.npy.npy/",
        "tensors/\u202ex.npy",
        "\ud55c.npy",
        "tensors/" + "x" * 300 + ".npy",
    ],
)
def test_names_that_are_refused(tmp_path, monkeypatch, name):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(CheckpointError, match=r"unexpected member|is a directory, a link"):
        read(forged({"config.json": header(), name: npy("'<f4'", "()", bytes(4))}))
    assert list(tmp_path.rglob("*")) == [tmp_path / "here"]


def test_a_link_is_refused():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        link = zipfile.ZipInfo("tensors/x.npy")
        link.create_system, link.external_attr = 3, 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(
        CheckpointError, match=r"'tensors/x\.npy' is a directory, a link or another special file"
    ):
        read(file.getvalue())


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_repeated_member_is_refused():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("config.json", header({"a": 1}))
        archive.writestr("config.json", header({"a": 2}))
    with pytest.raises(CheckpointError, match=r"2 members are called 'config\.json'"):
        read(file.getvalue())


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_bomb_is_not_unpacked(compression):
    bomb = forged({"config.json": header({"x": "0" * 5_000_000})}, compression=compression)
    with at_most(megabytes=1), pytest.raises(CheckpointError, match="is compressed or encrypted"):
        read(bomb)


def patched_directory(data: bytes, offset: int, value: bytes) -> bytes:
    """Overwrite a field of the first entry of the zip's table of contents."""
    start = data.index(b"PK\x01\x02")
    return data[: start + offset] + value + data[start + offset + len(value) :]


def test_members_that_claim_to_be_larger_than_the_file():
    size = struct.pack("<II", 2**31, 2**31)
    with at_most(megabytes=1), pytest.raises(CheckpointError, match="claim to be larger than the file"):
        read(patched_directory(GOOD, 20, size))


def test_an_encrypted_member_is_refused():
    with pytest.raises(CheckpointError, match="compressed or encrypted"):
        read(patched_directory(GOOD, 8, b"\x01\x00"))


@pytest.mark.parametrize(
    ("offset", "value"),
    [(10, b"\x08\x00"), (20, b"\x01\x00\x00\x00"), (24, b"\x01\x00\x00\x00")],
    ids=["method", "stored size", "size"],
)
def test_a_member_that_claims_to_be_compressed_is_refused(offset, value):
    with pytest.raises(CheckpointError, match="compressed or encrypted"):
        read(patched_directory(GOOD, offset, value))


def test_an_offset_beyond_any_file():
    """Of 2**64 - 1, as the zip64 extension allows."""
    start, end = GOOD.index(b"PK\x01\x02"), GOOD.rindex(b"PK\x05\x06")
    extra = struct.pack("<HHQ", 1, 8, 2**64 - 1)
    entry = bytearray(GOOD[start:end])
    entry[30:32], entry[42:46] = struct.pack("<H", len(extra)), b"\xff" * 4
    name_end = 46 + struct.unpack("<H", entry[28:30])[0]
    entry[name_end:name_end] = extra
    record = bytearray(GOOD[end:])
    record[12:16] = struct.pack("<L", len(entry))
    with pytest.raises(CheckpointError, match="truncated, corrupt or not a zip file"):
        read(GOOD[:start] + entry + record)


def test_a_name_that_is_not_utf8():
    data = patched_directory(patched_directory(GOOD, 8, b"\x00\x08"), 46, b"\xff")
    with pytest.raises(CheckpointError, match="truncated, corrupt or not a zip file"):
        read(data)


@pytest.mark.parametrize("flag", [0x20, 0x40])
def test_zip_features_that_python_lacks(flag):
    with pytest.raises(CheckpointError, match="truncated, corrupt or not a zip file"):
        read(patched_directory(GOOD, 8, bytes([flag, 0])))


def test_members_that_share_their_bytes():
    """Overlapping entries: a hundred members that are one, a bomb without compression."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("config.json", b" " * 100_000)
    data = file.getvalue()
    start, end = data.index(b"PK\x01\x02"), data.index(b"PK\x05\x06")
    entry = data[start:end]
    entries = b"".join(entry[:46] + f"{i:011d}".encode() for i in range(100))
    record = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 100, 100, len(entries), start, 0)
    with at_most(megabytes=1), pytest.raises(CheckpointError, match="claim to be larger than the file"):
        read(data[:start] + entries + record)


def test_bytes_before_the_zip_do_not_count():
    assert contents(read(b"#!/bin/sh\nexit 1\n" + GOOD)) == contents(read(GOOD))


# hostile payloads ------------------------------------------------------------------------------------------


def test_the_bomb_works(tmp_path):
    pickle.loads(pickle.dumps(Bomb(tmp_path)))
    assert (tmp_path / "marker").exists()


def test_pickles_are_never_run(tmp_path):
    bomb = Bomb(tmp_path)
    plain, objects, saved = pickle.dumps(bomb), io.BytesIO(), io.BytesIO()
    np.save(objects, np.array([bomb], dtype=object), allow_pickle=True)
    torch.save({"x": bomb}, saved)
    for payload in (plain, objects.getvalue(), saved.getvalue(), npy("'|O'", "(1,)", plain)):
        for member in ("tensors.pt", "tensors/x.npy", "arrays/x.npy", "arrays/x.npz", "data"):
            with pytest.raises(CheckpointError, match=r"unexpected member|not a plain array"):
                read(forged({"config.json": header(), member: payload}))
        with pytest.raises(CheckpointError):
            read(forged({"config.json": payload}))
        with pytest.raises(CheckpointError):
            read(payload)
    assert not (tmp_path / "marker").exists()


PLAIN = "not a plain array of numbers"
SIZE = "bytes of data do not fill an array of"
HOSTILE_ARRAYS = {
    "empty": (b"", PLAIN),
    "magic only": (b"\x93NUMPY\x01\x00", PLAIN),
    "other magic": (b"\x93NUMPX" + npy("'<f4'", "(1,)", bytes(4))[6:], PLAIN),
    "version 2": (npy("'<f4'", "(1,)", bytes(4), version=b"\x02\x00"), PLAIN),
    "header longer than the file": (b"\x93NUMPY\x01\x00\xff\xff{'descr': '<f4'", PLAIN),
    "terabytes": (npy("'<f4'", "(1099511627776,)", bytes(16)), f"16 {SIZE} 4.398e\\+12 bytes"),
    "product is terabytes": (npy("'<f8'", "(1000000, 1000000)", bytes(16)), SIZE),
    "product wraps around to 16": (npy("'<f4'", "(4611686018427387904, 1, 4)", bytes(16)), SIZE),
    "too little data": (npy("'<f4'", "(5,)", bytes(16)), SIZE),
    "too much data": (npy("'<f4'", "(3,)", bytes(16)), SIZE),
    "nothing times everything": (npy("'<f4'", f"(0, {10**30})", b""), "dimension|too big|large"),
    "nothing times twice everything": (
        npy("'<f4'", f"(0, {2**62}, {2**62})", b""),
        "dimension|too big|large",
    ),
    "65 dimensions": (npy("'<f4'", "(" + "1, " * 65 + ")", bytes(4)), "dimension"),
    "10000 digits": (npy("'<f4'", f"({'9' * 10_000},)", bytes(16)), "integer string conversion"),
    "negative size": (npy("'<f4'", "(-4,)", bytes(16)), PLAIN),
    "size by name": (npy("'<f4'", "(True,)", bytes(4)), PLAIN),
    "object": (npy("'|O'", "(1,)", bytes(8)), PLAIN),
    "text": (npy("'<U1'", "(1,)", bytes(4)), PLAIN),
    "void": (npy("'|V4'", "(1,)", bytes(4)), PLAIN),
    "other byte order": (npy("'>f4'", "(1,)", bytes(4)), PLAIN),
    "date": (npy("'<M8[s]'", "(1,)", bytes(8)), PLAIN),
    "extended precision": (npy("'<f16'", "(1,)", bytes(16)), PLAIN),
    "structure": (npy("[('a', '<f4')]", "(1,)", bytes(4)), PLAIN),
    "subarray": (npy("('<f4', (1000000000,))", "(1,)", bytes(4)), PLAIN),
    "column-major": (npy("'<f4'", "(2, 2)", bytes(16), fortran="True"), PLAIN),
    "expression": (npy("'<f4'", "(__import__('os').getpid(),)", bytes(4)), PLAIN),
    "more behind the header": (
        npy("'<f4'", "(1,)", b"").replace(b"  \n", b"\n#") + bytes(4),
        PLAIN,
    ),
    "deep": (npy("'<f4'", "(" * 5000 + ")" * 5000, bytes(4)), PLAIN),
    "boolean of 2": (npy("'|b1'", "(2,)", b"\x01\x02"), "neither 0 nor 1"),
}


@pytest.mark.parametrize("kind", ["arrays", "tensors"])
@pytest.mark.parametrize("case", HOSTILE_ARRAYS)
def test_arrays_that_are_refused(kind, case):
    payload, message = HOSTILE_ARRAYS[case]
    data = with_array(payload, kind)
    with at_most(megabytes=2), pytest.raises(CheckpointError, match=f"member '{kind}/x.npy': .*({message})"):
        read(data)


@given(st.integers(0, 127), st.integers(0, 255))
def test_any_byte_of_an_arrays_header_forged(offset, value):
    """With a checksum that fits: an error or an array, never another exception."""
    payload = bytearray(npy("'<i4'", "(2, 3)", bytes(range(24))))
    payload[offset] = value
    try:
        archive = read(with_array(bytes(payload), "tensors"))
    except CheckpointError:
        return
    assert archive.tensors["x"].numpy().tobytes() == bytes(range(24))


def test_memory_stays_within_a_small_multiple_of_the_file():
    values = np.zeros(8 * 2**20, np.uint8)
    data = packed({}, {"x": torch.from_numpy(values)}, {})
    with at_most(megabytes=5 * 8):
        archive = read(data)
    assert archive.tensors["x"].shape == values.shape
