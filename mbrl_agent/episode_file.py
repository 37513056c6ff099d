"""Episodes that the user has logged, in a .npz file: arrays of numbers and nothing else."""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mbrl_agent.plain_data import read_file

MAX_BYTES = 2**28
"""Of a file, and of what it holds once it is decompressed: a million steps of thirty numbers."""
MEMBER = re.compile(r"(observations|actions|rewards)(?:_(\d{1,9}))?\.npy")
NEEDED = {"observations", "actions"}
EXPECTED = (
    "observations (N + 1, D) and actions (N, U), and rewards (N) if there are any; of several episodes "
    "observations_0, actions_0, observations_1, and so on"
)

Arrays = dict[str, NDArray[Any]]


def read_episodes(path: Path) -> dict[str, Arrays]:
    """Read the episodes of a file that `numpy.savez` or `numpy.savez_compressed` wrote.

    Args:
        path: The file, with the arrays `observations`, `actions` and, if need be, `rewards` of one episode, or
            `observations_0`, `actions_0`, `observations_1`, ... of several.

    Returns:
        The arrays of each episode by their names without the number, in the order of the numbers. The keys
        name the episodes.

    Raises:
        ValueError: It cannot be read, is too large, or holds something else.
    """
    try:
        return _episodes(_members(read_file(path, MAX_BYTES)))
    except OSError as error:
        raise ValueError(f"episodes {path} cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise ValueError(f"episodes {path} cannot be read: {error}") from error


def _members(data: bytes) -> dict[str, bytes]:
    """The members of a zip file, in bounded memory."""
    if not zipfile.is_zipfile(io.BytesIO(data)):
        raise ValueError(f"it is no .npz file; numpy.savez writes one, with {EXPECTED}")
    members: dict[str, bytes] = {}
    room = MAX_BYTES
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for info in archive.infolist():
                if info.filename in members:
                    raise ValueError(f"it has {info.filename!r} twice")
                with archive.open(info) as member:
                    members[info.filename] = member.read(room + 1)
                room -= len(members[info.filename])
                if room < 0:
                    raise ValueError(f"it holds more than {MAX_BYTES} bytes")
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError) as error:
        raise ValueError(f"it is damaged ({error})") from error
    return members


def _episodes(members: dict[str, bytes]) -> dict[str, Arrays]:
    """The arrays by episode and name."""
    found: dict[str, Arrays] = {}
    for member, payload in members.items():
        match = MEMBER.fullmatch(member)
        if match is None:
            raise ValueError(f"it has {member.removesuffix('.npy')!r}, but expected are {EXPECTED}")
        name, number = match[1], match[2]
        episode = found.setdefault("its episode" if number is None else f"episode {int(number)}", {})
        if name in episode:
            raise ValueError(f"it has {name} of episode {number} twice")
        episode[name] = _numbers(payload, member.removesuffix(".npy"))
    if not found:
        raise ValueError(f"it is empty; expected are {EXPECTED}")
    for label, arrays in found.items():
        if missing := sorted(NEEDED - arrays.keys()):
            raise ValueError(f"{label} has no {' and no '.join(missing)}; expected are {EXPECTED}")
    if len(found) > 1 and "its episode" in found:
        raise ValueError(f"it has arrays with and without a number; expected are {EXPECTED}")
    return dict(
        sorted(found.items(), key=lambda item: int(item[0].rpartition(" ")[2])) if len(found) > 1 else found
    )


def _numbers(payload: bytes, name: str) -> NDArray[Any]:
    """The real numbers of a .npy file."""
    try:
        stream = io.BytesIO(payload)
        version = np.lib.format.read_magic(stream)
        read_header = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, _, dtype = read_header(stream)
        if dtype.hasobject or dtype.kind not in "biuf":
            raise ValueError(f"{name} holds {dtype}, not numbers")
        if int(np.prod(shape, dtype=object)) * dtype.itemsize != len(payload) - stream.tell():
            raise ValueError(f"{name} is damaged: its size is not that of an array {shape}")
        array: NDArray[Any] = np.load(io.BytesIO(payload), allow_pickle=False)
    except (LookupError, EOFError, OverflowError, MemoryError) as error:
        raise ValueError(f"{name} is no array ({type(error).__name__})") from error
    return array
