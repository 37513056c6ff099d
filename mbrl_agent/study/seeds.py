"""Seeds as they are written on the command line."""

from __future__ import annotations

import re

from mbrl_agent.options import refused

MAX_SEEDS = 10_000


def parse_seeds(text: str) -> list[int]:
    """Read `0-19` or `0,3,7-9`.

    Raises:
        OptionError: It is written otherwise, or a seed is given twice.
    """
    seeds: list[int] = []
    for word in text.split(","):
        found = re.fullmatch(r"\s*(\d{1,9})(?:-(\d{1,9}))?\s*", word, re.ASCII)
        if found is None:
            raise refused("seeds", f"cannot read {word!r} in {text!r}; write 0-19 or 0,3,7-9")
        low = int(found[1])
        high = low if found[2] is None else int(found[2])
        if high < low:
            raise refused("seeds", f"{word!r} in {text!r} ends below its begin")
        if high - low >= MAX_SEEDS:
            raise refused("seeds", f"{word!r} in {text!r} has more than {MAX_SEEDS} seeds")
        seeds += range(low, high + 1)
    if len(set(seeds)) < len(seeds):
        twice = next(seed for index, seed in enumerate(seeds) if seed in seeds[:index])
        raise refused("seeds", f"seed {twice} is given twice in {text!r}")
    return seeds
