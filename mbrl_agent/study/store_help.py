"""Write what the help says into help.json, from which it is read without an import of torch.

    python -m mbrl_agent.study.store_help     # after a change of an option, or a new choice

It is here because the studies are the topmost storey: the file holds the pages of every command.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from importlib import import_module
from importlib.metadata import entry_points

from mbrl_agent.run.commands.command_line import page_of
from mbrl_agent.run.help import Generated
from mbrl_agent.run.stored_help import COMMANDS, FILE, PLUGINS, files
from mbrl_agent.study.commands import load_command
from mbrl_agent.study.overview import COMMANDS as STUDIES


def generate() -> str:
    """Write out what the file has to hold."""
    content = Generated()
    commands = {name: import_module(f"mbrl_agent.run.commands.{name}") for name in COMMANDS}
    data = {
        "files": files(),
        "blocks": [asdict(block) for block in content.blocks()],
        "env": asdict(content.env()),
        "presets": content.presets(),
        "commands": {name: asdict(page_of(command)) for name, command in commands.items()},
        "studies": {name: asdict(page_of(load_command(name))) for name in STUDIES},
    }
    return json.dumps(data, indent=1, ensure_ascii=False) + "\n"


def main() -> int:
    """Write the file again, and return the exit status."""
    if entry_points(group=PLUGINS):
        reason = f"{FILE.name} holds the package's own choices alone"
        sys.stderr.write(f"error: a plug-in is installed, and {reason}: uninstall it first\n")
        return 2
    FILE.write_text(generate(), encoding="utf-8")
    sys.stdout.write(f"wrote {FILE}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
