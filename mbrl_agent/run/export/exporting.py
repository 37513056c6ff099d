"""Write the files of a policy once they have been compared with it."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from mbrl_agent.agent.agent import ParticlePILCO
from mbrl_agent.files.atomic import write_atomically
from mbrl_agent.run.export.base import About, Format
from mbrl_agent.run.export.comparison import TOLERANCE, Comparison, ExportError, compare_with_agent


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        files: The first is the one that the user calls or loads.
        comparisons: With `predict`, by the kind of states.
        about: What the files say of the policy, and of the dimensions that it sees.
    """

    files: tuple[Path, ...]
    comparisons: dict[str, Comparison]
    about: About


def export(
    agent: ParticlePILCO, file_format: Format, path: Path, about: About, overwrite: bool = False
) -> Exported:
    """Write the deployed policy of an agent to files that act without this package.

    They are compared with `agent.predict` first; what does not agree is not written.

    Args:
        agent: Whose policy it is.
        file_format: One of `FORMATS`.
        path: Of the files without suffixes.
        about: What the files say of themselves, with names of all dimensions of an observation.
        overwrite: Whether files that are there may be replaced.

    Raises:
        ValueError: The policy cannot be written in this format or under this name, or a file is there.
        ExportError: What would be written does not do what the policy does.
        OSError: A file cannot be written.
    """
    file_format.require(agent.policy, path.name)
    files = tuple(path.with_name(path.name + suffix) for suffix in file_format.suffixes)
    present = [file for file in files if file.exists()]
    if present and not overwrite:
        raise ValueError(f"{present[0]} is there already: give --force to replace it, or another --out")
    about = about.of(agent.policy)
    contents = file_format.encode(agent.policy, about, path.name)
    with tempfile.TemporaryDirectory() as folder:
        for suffix, data in contents.items():
            Path(folder, path.name + suffix).write_bytes(data)
        comparisons = compare_with_agent(agent, file_format.load(Path(folder, files[0].name)))
    for kind, found in comparisons.items():
        if not found.agrees:
            raise ExportError(
                f"what was exported is not the policy: on {kind} states it differs from predict by {found}, "
                f"at most {TOLERANCE:.0e} is allowed; nothing was written"
            )
    for suffix, data in contents.items():
        write_atomically(path.with_name(path.name + suffix), data)
    return Exported(files, comparisons, about)
