"""JSON, .npy and uncompressed zip: bytes that are data and nothing else, whoever wrote them.

The decoders raise ValueError, and only that, on bytes that the encoders do not write. They never
evaluate what they read, and allocate no more than a small multiple of it.
"""

from __future__ import annotations

import io
import json
import math
import re
import stat
import zipfile
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

_MAX_JSON_BYTES = 16 * 2**20  # empty objects take some twenty times their text in memory
_MAX_JSON_DEPTH = 100
_NUMBERS = (
    "bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64 complex64 complex128"
)
_DTYPES = {np.dtype(name).str: np.dtype(name) for name in _NUMBERS.split()}
_EPOCH = (1980, 1, 1, 0, 0, 0)
_NPY_MAGIC = b"\x93NUMPY\x01\x00"
_NPY_HEADER = re.compile(
    rb"\{'descr': '([^']{1,8})', 'fortran_order': False, 'shape': \(([0-9, ]*)\), \} *\n"
)


def read_at_most(stream: IO[bytes], limit: int) -> bytes:
    """Read up to about `limit` bytes, in pieces: `read(limit)` would allocate all of `limit` first.

    Raises:
        TypeError: The stream gives text.
    """
    data = bytearray()
    while len(data) < limit and (piece := stream.read(2**20)):
        if not isinstance(piece, bytes):
            raise TypeError(
                f"{stream} gives {type(piece).__name__}, not bytes: open it in binary mode ('rb')"
            )
        data += piece
    return bytes(data)


def read_file(path: Path, max_bytes: int) -> bytes:
    """Return the bytes of a file.

    Raises:
        ValueError: It is larger than `max_bytes` (or has no end).
        OSError: It cannot be read.
    """
    with path.open("rb") as stream:
        data = read_at_most(stream, max_bytes + 1)
    if len(data) > max_bytes:
        raise ValueError(f"it is larger than {max_bytes} bytes")
    return data


def encode_json(data: dict[str, Any], name: str) -> bytes:
    """Write JSON with sorted keys; NaN and infinities as Python's json does.

    Args:
        data: Dicts with string keys, lists, tuples (which become lists), strings, numbers, booleans, None.
        name: What the data is called in messages.

    Raises:
        TypeError: A value or a key is of another type; the message says where.
        ValueError: It is nested too deeply (or contains itself), or too large.
    """
    _check_json(data, name, 0)
    payload = json.dumps(data, sort_keys=True, indent=1).encode()
    if len(payload) > _MAX_JSON_BYTES:
        raise ValueError(
            f"{name} is {len(payload)} bytes of JSON, at most {_MAX_JSON_BYTES} are allowed: use arrays"
        )
    return payload


def _check_json(value: object, where: str, depth: int) -> None:
    """Raise on what json would refuse without saying where, or would change without a word."""
    if depth > _MAX_JSON_DEPTH:
        raise ValueError(
            f"{where[:60]}... is nested deeper than {_MAX_JSON_DEPTH} levels, or contains itself"
        )
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise TypeError(f"{where} has the key {key!r}; keys must be strings")
            _check_json(item, f"{where}.{key}", depth + 1)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            _check_json(item, f"{where}[{index}]", depth + 1)
    elif not isinstance(value, str | int | float | None):
        raise TypeError(f"{where} is a {type(value).__name__}, which is not JSON data")


def decode_json(payload: bytes) -> dict[str, Any]:
    """Return the inverse of `encode_json`.

    Raises:
        ValueError: Not a JSON object in UTF-8, or one with a repeated key, too deep or too large.
    """
    if len(payload) > _MAX_JSON_BYTES:
        raise ValueError(f"{len(payload)} bytes of JSON, at most {_MAX_JSON_BYTES} are allowed")
    try:
        data = json.loads(payload.decode(), object_pairs_hook=_unique)
    except RecursionError as error:
        raise ValueError("JSON that is nested too deeply") from error
    if not isinstance(data, dict):
        raise ValueError(f"JSON that is a {type(data).__name__}, not an object")
    return data


def _unique(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Return a dict; json would silently keep the last of several values."""
    result: dict[str, Any] = {}
    for key, value in pairs:
        if key in result:
            raise ValueError(f"JSON that has the key {key[:80]!r} twice")
        result[key] = value
    return result


def tensor_to_array(tensor: Tensor, name: str) -> NDArray[Any]:
    """Return the values of a tensor in NumPy, on the CPU, without a gradient.

    Raises:
        TypeError: Not a tensor, or one that NumPy has no equal for (bfloat16, sparse, quantised, meta).
    """
    if not isinstance(tensor, Tensor):
        raise TypeError(f"{name} is a {type(tensor).__name__}, not a tensor")
    try:
        array: NDArray[Any] = tensor.numpy(force=True)
    except (TypeError, RuntimeError) as error:
        kind = f"{tensor.dtype}, {tensor.layout}, {tensor.device}"
        raise TypeError(f"{name} ({kind}) has no equal in NumPy: {error}") from error
    return array


def encode_array(array: NDArray[Any], name: str) -> bytes:
    """Return an array as .npy, version 1.0, in C order.

    Raises:
        TypeError: Not a plain array, or not of numbers or booleans in this machine's byte order.
    """
    if type(array) is not np.ndarray:  # a subclass may hold more than its values: a mask, say
        raise TypeError(
            f"{name} is a {type(array).__name__}, not a plain NumPy array; numpy.asarray makes one"
        )
    if array.dtype.str not in _DTYPES:
        raise TypeError(f"{name} has dtype {array.dtype}, not one of {_NUMBERS} in native byte order")
    buffer = io.BytesIO()
    # Not ascontiguousarray: that would turn a scalar into an array of one dimension.
    np.lib.format.write_array(buffer, np.asarray(array, order="C"), version=(1, 0), allow_pickle=False)
    return buffer.getvalue()


def decode_array(payload: bytes) -> NDArray[Any]:
    """Return the inverse of `encode_array`: an array that owns its memory.

    The header is read here, and not by NumPy: that evaluates it as Python text, with a choice of errors,
    and allocates what it claims before the data are looked at.

    Raises:
        ValueError: Not bytes that `encode_array` writes, such as a shape that does not fit the size.
    """
    start = len(_NPY_MAGIC) + 2 + int.from_bytes(payload[len(_NPY_MAGIC) : len(_NPY_MAGIC) + 2], "little")
    header = _NPY_HEADER.fullmatch(payload[len(_NPY_MAGIC) + 2 : start])
    dtype = _DTYPES.get(header[1].decode("latin-1")) if header else None
    if not payload.startswith(_NPY_MAGIC) or header is None or dtype is None:
        raise ValueError("not a plain array of numbers in .npy format 1.0")
    shape = tuple(int(size) for size in re.findall(rb"[0-9]+", header[2]))
    size = math.prod(shape) * dtype.itemsize
    if size != len(payload) - start:
        raise ValueError(f"{len(payload) - start} bytes of data do not fill an array of {size:.4g} bytes")
    if dtype.kind == "b" and payload[start:].strip(b"\0\1"):
        raise ValueError("a boolean that is neither 0 nor 1")
    return np.ndarray(shape, dtype, buffer=payload, offset=start).copy()


def encode_zip(members: Mapping[str, bytes]) -> bytes:
    """Return a zip file of uncompressed members; equal members give equal bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, payload in sorted(members.items()):
            info = zipfile.ZipInfo(name, _EPOCH)
            info.create_system = 3  # Unix, wherever it is written
            info.external_attr = (stat.S_IFREG | 0o644) << 16
            archive.writestr(info, payload)
    return buffer.getvalue()


def decode_zip(data: bytes) -> dict[str, bytes]:
    """Return the inverse of `encode_zip`; nothing is decompressed or extracted.

    Raises:
        ValueError: Truncated, corrupt, not a zip file, or one with members that are repeated,
            compressed, encrypted, special files, or larger than the file.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            problem = _find_problem(archive.infolist(), len(data))
            members = {} if problem else {info.filename: archive.read(info) for info in archive.infolist()}
    except (zipfile.BadZipFile, EOFError, NotImplementedError, OverflowError, ValueError) as error:
        raise ValueError(f"it is truncated, corrupt or not a zip file ({error})") from error
    if problem:
        raise ValueError(problem)
    return members


def _find_problem(infos: list[zipfile.ZipInfo], file_size: int) -> str:
    """Tell what is wrong with a zip's table of contents, or nothing."""
    for name, count in Counter(info.filename for info in infos).items():
        if count > 1:
            return f"{count} members are called {name!r}"
    for info in infos:
        plain = info.compress_type == zipfile.ZIP_STORED and info.compress_size == info.file_size
        if not plain or info.flag_bits & 1:
            return f"member {info.filename!r} is compressed or encrypted; only what is stored plain is read"
        if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG):
            return f"member {info.filename!r} is a directory, a link or another special file"
    if sum(info.file_size for info in infos) > file_size:
        return "its members claim to be larger than the file"
    return ""
