"""Compare two benchmark runs: `python -m tests.benchmarks.compare BEFORE.json AFTER.json`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def compare(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Give the lines of a table: ratios of the medians of what both runs have, and what differs beside."""
    lines = [f"{before['commit'][:9]} -> {after['commit'][:9]}"]
    for key, value in before["machine"].items():
        if after["machine"].get(key) != value:
            lines.append(f"note: {key} differs: {value} -> {after['machine'].get(key)}")
    old = {figure["name"]: figure for figure in before["figures"]}
    new = {figure["name"]: figure for figure in after["figures"]}
    width = max((len(name) for name in old if name in new), default=0)
    for name, figure in old.items():
        if name in new:
            first, second = figure["median"], new[name]["median"]
            apart = new[name]["low"] > figure["high"] or new[name]["high"] < figure["low"]
            told = "" if apart else "  (quartiles overlap)"
            lines.append(f"{name:{width}}  {first:9.2f} ms  {second:9.2f} ms  x {second / first:.2f}{told}")
    for title, one, other in (("only before", old, new), ("only after", new, old)):
        if alone := [name for name in one if name not in other]:
            lines.append(f"{title}: {', '.join(alone)}")
    return lines


def main(words: list[str]) -> int:
    """Print the comparison and return the exit status."""
    if len(words) != 2:
        sys.stderr.write(f"{__doc__}\n")
        return 2
    try:
        before, after = (json.loads(Path(word).read_text()) for word in words)
        lines = compare(before, after)
    except (OSError, ValueError, KeyError) as error:
        sys.stderr.write(f"compare: error: {type(error).__name__}: {error}\n")
        return 2
    sys.stdout.write("\n".join([*lines, ""]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
