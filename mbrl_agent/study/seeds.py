"""Seeds as they are written on the command line."""

from __future__ import annotations

import re

MAX_SEEDS = 10_000


def parse_seeds(text: str) -> list[int]:
    """Read `0-19` or `0,3,7-9`.

    Raises:
        ValueError: It is written otherwise, or a seed is given twice.
    """
    seeds: list[int] = []
    for word in text.split(","):
        found = re.fullmatch(r"\s*(\d{1,9})(?:-(\d{1,9}))?\s*", word, re.ASCII)
        if found is None:
            raise ValueError(f"seeds {text!r}: cannot read {word!r}; write 0-19 or 0,3,7-9")
        low = int(found[1])
        high = low if found[2] is None else int(found[2])
        if high < low:
            raise ValueError(f"seeds {text!r}: {word!r} ends below its begin")
        if high - low >= MAX_SEEDS:
            raise ValueError(f"seeds {text!r}: {word!r} has more than {MAX_SEEDS} seeds")
        seeds += range(low, high + 1)
    if len(set(seeds)) < len(seeds):
        twice = next(seed for index, seed in enumerate(seeds) if seed in seeds[:index])
        raise ValueError(f"seeds {text!r}: seed {twice} is given twice")
    return seeds
