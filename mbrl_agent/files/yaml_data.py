"""YAML as bytes that are data and nothing else, whoever wrote them.

Of YAML only what a configuration needs: mappings, lists, text, numbers, true, false and null. Tags could
name Python objects, aliases could make a few lines stand for billions of values, and of a key given twice
all values but one would be lost without a word; all three are refused.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import yaml

from mbrl_agent.files.plain_data import read_file

MAX_YAML_BYTES = 2**16
"""The largest file [bytes] that is read unless the caller allows more (PyYAML takes hundred times that)."""
_MAX_DEPTH = 20
_RESOLVED = ("bool", "int", "float", "null")


def _without_colons(pattern: re.Pattern[str]) -> re.Pattern[str]:
    """Resolve plain words without numbers to base 60: 1:30 is text, as in YAML 1.2, and not 90."""
    return re.compile(f"(?!.*:)(?:{pattern.pattern})", pattern.flags)


class _PlainLoader(yaml.SafeLoader):
    """Plain data only; everything that it refuses is a `yaml.YAMLError`."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
            raise yaml.MarkedYAMLError(problem="aliases are not allowed", problem_mark=event.start_mark)
        if event.tag is not None:
            raise yaml.MarkedYAMLError(problem="tags are not allowed", problem_mark=event.start_mark)
        if self.depth == _MAX_DEPTH:
            raise yaml.MarkedYAMLError(problem="it is nested too deeply", problem_mark=event.start_mark)
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            if isinstance(key_node, yaml.ScalarNode):
                key = self.construct_object(key_node)
                if key in seen:
                    problem = f"the key {str(key)[:80]!r} is given twice"
                    raise yaml.MarkedYAMLError(problem=problem, problem_mark=key_node.start_mark)
                seen.add(key)
        mapping: dict[Any, Any] = super().construct_mapping(node, deep)
        return mapping


_PlainLoader.yaml_implicit_resolvers = {
    first: [
        (tag, _without_colons(pattern)) for tag, pattern in resolvers if tag.rpartition(":")[2] in _RESOLVED
    ]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def decode_yaml(text: str) -> Any:
    """Read plain data from YAML; a date and 1:30 are text, `<<` and `=` have no special meaning.

    Raises:
        ValueError: Not YAML, or not plain data; the message says where.
    """
    try:
        return yaml.load(text, _PlainLoader)  # safer than yaml.SafeLoader
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
        raise ValueError(f"it is not valid YAML: {error}") from error


def read_yaml(path: str | os.PathLike[str], max_bytes: int = MAX_YAML_BYTES) -> Any:
    """Read a file of plain data in YAML.

    Raises:
        ValueError: It is too large, not UTF-8, not YAML or not plain data.
        OSError: It cannot be read.
    """
    data = read_file(Path(path), max_bytes)
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not valid YAML: {error}") from error
    return decode_yaml(text)
