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

from mbrl_agent.files.plain_data import read_file

MAX_EPISODES_BYTES = 2**28
"""Of a file, and of what it holds once it is decompressed: a million steps of thirty numbers."""
MEMBER = re.compile(r"(observations|actions|rewards)(?:_(\d{1,9}))?\.npy")
ALONE = -1
"""Stands for the number of an episode that has none."""
NEEDED = {"observations", "actions"}
EXPECTED = (
    "observations (N + 1, D) and actions (N, U), and rewards (N) if there are any; of several episodes "
    "observations_0, actions_0, observations_1, and so on"
)

Arrays = dict[str, NDArray[Any]]


def read_episodes(path: Path) -> dict[str, Arrays]:
    """Read the episodes of a file that `numpy.savez` or `numpy.savez_compressed` wrote.

    Args:
        path: The file, with the arrays `observations`, `actions` and, if there are any, `rewards` of one
            episode, or `observations_0`, `actions_0`, `observations_1`, ... of several.

    Returns:
        The arrays of each episode by their names without the number, in the order of the numbers. The keys
        name the episodes.

    Raises:
        ValueError: It cannot be read, is too large, or holds something else.
    """
    try:
        return _episodes(_members(read_file(path, MAX_EPISODES_BYTES)))
    except OSError as error:
        raise ValueError(f"episodes {path} cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise ValueError(f"episodes {path} cannot be read: {error}") from error


def _members(data: bytes) -> dict[str, bytes]:
    """Return the members of a zip file, in bounded memory."""
    if not zipfile.is_zipfile(io.BytesIO(data)):
        raise ValueError(f"it is no .npz file; numpy.savez writes one, with {EXPECTED}")
    members: dict[str, bytes] = {}
    room = MAX_EPISODES_BYTES
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for info in archive.infolist():
                if info.filename in members:
                    raise ValueError(f"it has {info.filename!r} twice")
                with archive.open(info) as member:
                    members[info.filename] = member.read(room + 1)
                room -= len(members[info.filename])
                if room < 0:
                    raise ValueError(f"it holds more than {MAX_EPISODES_BYTES} bytes")
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError) as error:
        raise ValueError(f"it is damaged ({error})") from error
    return members


def _episodes(members: dict[str, bytes]) -> dict[str, Arrays]:
    """Return the arrays by episode and name."""
    found: dict[int, Arrays] = {}
    for member, payload in members.items():
        match = MEMBER.fullmatch(member)
        if match is None:
            raise ValueError(f"it has {member.removesuffix('.npy')!r}, but expected are {EXPECTED}")
        episode = found.setdefault(ALONE if match[2] is None else int(match[2]), {})
        if match[1] in episode:
            raise ValueError(f"it has {match[1]} of episode {match[2]} twice")
        episode[match[1]] = read_numbers(payload, member.removesuffix(".npy"))
    if not found or (ALONE in found and len(found) > 1):
        which = "arrays with and without a number" if found else "nothing"
        raise ValueError(f"it has {which}; expected are {EXPECTED}")
    episodes = {"its episode" if key == ALONE else f"episode {key}": found[key] for key in sorted(found)}
    for label, arrays in episodes.items():
        if missing := sorted(NEEDED - arrays.keys()):
            raise ValueError(f"{label} has no {' and no '.join(missing)}; expected are {EXPECTED}")
    return episodes


def read_numbers(payload: bytes, name: str) -> NDArray[Any]:
    """Return the real numbers of a .npy file."""
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
