"""Alternatives in a text, `{Hi|Hello}`: where they are, and which one a seed takes."""

from __future__ import annotations

import re

_MARKS = re.compile(r"\\[{}|]|\{\{[^{}]*\}\}|\{%[^{}]*%\}|[{}|]")
_MASK = (1 << 64) - 1


def find_alternatives(source: str, skipped: list[tuple[int, int]]) -> dict[int, int]:
    """Position of each `{` that opens alternatives → position of its `}`.

    Braces without a `|` of their own, braces without a partner and those inside `skipped` spans (style sheets) are
    ordinary text. One pass, whatever the source looks like.
    """
    found: dict[int, int] = {}
    stack: list[list[int]] = []  # [position, number of bars]
    spans = iter([*skipped, (len(source), len(source))])
    start, end = next(spans)
    for match in _MARKS.finditer(source):
        at = match.start()
        while at >= end:
            start, end = next(spans, (len(source) + 1, len(source) + 1))
        if at >= start or len(match[0]) > 1:
            continue
        if match[0] == "{":
            stack.append([at, 0])
        elif match[0] == "|" and stack:
            stack[-1][1] += 1
        elif match[0] == "}" and stack:
            position, bars = stack.pop()
            if bars:
                found[position] = at
    return found


def choose(seed: int, place: int, count: int) -> int:
    """A stable, evenly spread number below `count` for this seed (one mail) and place (one group of alternatives)."""
    value = (seed * 0x9E3779B97F4A7C15 + (place + 1) * 0xD1B54A32D192ED03) & _MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return (value ^ (value >> 31)) % count
