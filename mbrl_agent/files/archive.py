"""Checkpoints: one zip file of plain data, written atomically and read without running code from it.

    config.json         {"format": "mbrl_agent", "version": 5, "config": ...}
    manifest.json       {"sha256": {member: digest}} of every other member
    arrays/NAME.npy     NumPy arrays
    tensors/NAME.npy    tensors, on the CPU

Tensors are .npy files as arrays are, not `torch.save` with `weights_only=True`. That is safer, since
no pickle is parsed at all, and smaller as a whole: one decoder with one size check serves both. It
also makes equal contents equal files. The bytes of `torch.save` depend on the strides, on the name of
the file and on which tensors share a storage, and a view takes its whole storage along.

Members are stored uncompressed, so no file can unpack to more than its own size. The checksums find
accidents, not forgeries: whoever can write the file can write a checksum.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from mbrl_agent.files.atomic import write_atomically
from mbrl_agent.files.plain_data import (
    decode_array,
    decode_json,
    decode_zip,
    encode_array,
    encode_json,
    encode_zip,
    read_at_most,
    tensor_to_array,
)

FORMAT = "mbrl_agent"
VERSION = 6
MAX_ARCHIVE_BYTES = 4 * 2**30
"""The largest file [bytes] that is read unless the caller allows more."""

_CONFIG, _MANIFEST = "config.json", "manifest.json"
_NAME = re.compile(r"(?=.{1,200}\Z)[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*")


class CheckpointError(ValueError):
    """A checkpoint that cannot be loaded: truncated, corrupt, hostile, or not one of ours."""


@dataclass(frozen=True)
class Archive:
    """What a checkpoint holds.

    Attributes:
        config: The JSON data; tuples have become lists, and keys are in alphabetic order.
        tensors: By name, on the CPU, contiguous, without a gradient, each with its own storage.
        arrays: By name, contiguous and writable.
    """

    config: dict[str, Any]
    tensors: dict[str, Tensor]
    arrays: dict[str, NDArray[Any]]


def write_archive(
    path: str | os.PathLike[str] | IO[bytes],
    config: dict[str, Any],
    tensors: Mapping[str, Tensor],
    arrays: Mapping[str, NDArray[Any]],
) -> None:
    """Write a checkpoint; equal contents give equal bytes.

    A path without a suffix gets `.zip`, as in Stable-Baselines3, and missing directories are created.
    A path is written atomically: whatever goes wrong, it holds either the old file or the new one.

    Args:
        path: Path, or a binary file object that is written at its current position.
        config: JSON data: dicts with string keys, lists, tuples, strings, numbers (NaN and infinities
            too), booleans, None.
        tensors: By name, any shape, boolean, integer, or float16 to complex128. What is stored is
            dtype, shape and values; device, strides and `requires_grad` are not.
        arrays: The same in NumPy.

    Raises:
        TypeError: Something has a type that cannot be stored; the message names it.
        ValueError: A name or a configuration that cannot be stored.
        OSError: The disk is full, not writable, ...
    """
    _check_target(path, "write")
    data = _pack(config, tensors, arrays)
    if isinstance(path, str | os.PathLike):
        target = Path(path)
        write_atomically(target if target.suffix else Path(f"{target}.zip"), data)
    elif (written := path.write(data)) not in (None, len(data)):
        raise OSError(f"the file took only {written} of {len(data)} bytes of the checkpoint")


def read_archive(path: str | os.PathLike[str] | IO[bytes], max_bytes: int = MAX_ARCHIVE_BYTES) -> Archive:
    """Read a checkpoint, checking every byte that carries content.

    Args:
        path: As in `write_archive`; a file object is read from its start if it can seek.
        max_bytes: Refuse a larger file. Memory in use stays within a small multiple of the file's size.

    Raises:
        CheckpointError: The file is not a valid checkpoint; the message says why.
        TypeError: `path` is neither a path nor a binary file object.
        FileNotFoundError: There is no such file.
        OSError: The file cannot be read.
    """
    _check_target(path, "read")
    if isinstance(path, str | os.PathLike):
        file = _existing_file(Path(path))
        label = str(file)
        with file.open("rb") as stream:
            data = read_at_most(stream, max_bytes + 1)
    else:
        label = str(getattr(path, "name", "") or f"the given {type(path).__name__}")
        if path.seekable():
            path.seek(0)
        data = read_at_most(path, max_bytes + 1)
    try:
        if len(data) > max_bytes:
            raise CheckpointError(f"it is larger than max_bytes = {max_bytes} bytes")
        return _unpack(data)
    except CheckpointError as error:
        raise CheckpointError(f"cannot load {label}: {error}") from error


def _check_target(path: object, method: str) -> None:
    """Raise unless `path` is a path or has the method of a file object."""
    if not isinstance(path, str | os.PathLike) and not hasattr(path, method):
        raise TypeError(f"path must be a path or a binary file object, got {type(path).__name__}")


def _existing_file(path: Path) -> Path:
    """Return `path`, or `path.zip` where there is no such file."""
    for candidate in (path, Path(f"{path}.zip")):
        if candidate.is_file():
            return candidate
    if path.exists():
        raise CheckpointError(f"cannot load {path}: it is not a regular file; give the path of a .zip in it")
    tried = path if path.suffix == ".zip" else f"{path} or {path}.zip"
    where = "" if path.parent.is_dir() else f" (there is no directory {path.parent} either)"
    raise FileNotFoundError(f"no checkpoint at {tried}{where}")


def _pack(config: dict[str, Any], tensors: Mapping[str, Tensor], arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Return the bytes of the zip."""
    if not isinstance(config, dict):
        raise TypeError(f"config must be a dict, got {type(config).__name__}")
    header = {"format": FORMAT, "version": VERSION, "config": config}
    members = {_CONFIG: encode_json(header, "checkpoint")}
    for name, array in arrays.items():
        members[_member("arrays", name)] = encode_array(array, f"array {name!r}")
    for name, tensor in tensors.items():
        label = f"tensor {name!r}"
        members[_member("tensors", name)] = encode_array(tensor_to_array(tensor, label), label)
    digests = {name: hashlib.sha256(payload).hexdigest() for name, payload in members.items()}
    members[_MANIFEST] = encode_json({"sha256": digests}, "manifest")
    return encode_zip(members)


def _member(kind: str, name: str) -> str:
    """Return the member that holds a tensor or an array."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(
            f"{kind} cannot be named {name!r}: use letters, digits, and . _ - / inside (200 at most)"
        )
    return f"{kind}/{name}.npy"


def _decode_json(members: Mapping[str, bytes], name: str) -> dict[str, Any]:
    try:
        return decode_json(members[name])
    except ValueError as error:
        raise CheckpointError(f"member {name!r}: {error}") from error


def _unpack(data: bytes) -> Archive:
    """Return the inverse of `_pack`."""
    try:
        members = decode_zip(data)
    except ValueError as error:
        raise CheckpointError(str(error)) from error
    if "_stable_baselines3_version" in members:
        raise CheckpointError(
            "it is in stable_baselines3's own format, which holds pickled objects that can run code when "
            "they are loaded; load it with the class that saved it, such as stable_baselines3.PPO.load"
        )
    if _CONFIG not in members:
        raise CheckpointError(f"it is a zip file, but not a checkpoint of {FORMAT}: it has no {_CONFIG}")
    header = _decode_json(members, _CONFIG)
    config, version = header.get("config"), header.get("version")
    if header.get("format") != FORMAT or not isinstance(config, dict) or type(version) is not int:
        raise CheckpointError(f"{_CONFIG} does not describe a checkpoint of {FORMAT}")
    if version != VERSION:
        raise CheckpointError(
            f"it has format version {version}, this release reads version {VERSION}; "
            "use the release that wrote it"
        )
    _check_digests(members)
    found: dict[str, dict[str, NDArray[Any]]] = {"arrays": {}, "tensors": {}}
    for member in sorted(members.keys() - {_CONFIG, _MANIFEST}):
        kind, _, name = member.removesuffix(".npy").partition("/")
        if kind not in found or not member.endswith(".npy") or not _NAME.fullmatch(name):
            raise CheckpointError(f"unexpected member {member!r}")
        try:
            found[kind][name] = decode_array(members[member])
        except ValueError as error:
            raise CheckpointError(f"member {member!r}: {error}") from error
    tensors = {name: torch.from_numpy(array) for name, array in found["tensors"].items()}
    return Archive(config, tensors, found["arrays"])


def _check_digests(members: Mapping[str, bytes]) -> None:
    """Compare the members with the manifest."""
    if _MANIFEST not in members:
        raise CheckpointError(f"member {_MANIFEST!r} is missing")
    digests = _decode_json(members, _MANIFEST).get("sha256")
    if not isinstance(digests, dict):
        raise CheckpointError(f"{_MANIFEST} holds no checksums")
    actual = members.keys() - {_MANIFEST}
    for what, names in (("missing", digests.keys() - actual), ("unexpected", actual - digests.keys())):
        if names:
            raise CheckpointError(f"{what} member {sorted(names)[0]!r}")
    for name in sorted(actual):
        if hashlib.sha256(members[name]).hexdigest() != digests[name]:
            raise CheckpointError(f"member {name!r} is corrupt: its checksum is not that of the manifest")
