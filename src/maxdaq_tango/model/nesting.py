"""How deep values lie inside one another: what is deeper than anybody means costs whoever recurses through it."""

from __future__ import annotations

from typing import Any

DEEPEST = 64
"""Levels of lists and mappings that metadata may have; detectors need four."""


def is_deeper(value: Any, levels: int = DEEPEST) -> bool:
    """Whether lists and dicts lie more than `levels` deep in one another, `value` itself being the first level.

    Level by level and not by recursion, so that the answer costs no stack either.
    """
    level = [value] if isinstance(value, (dict, list)) else []
    for _ in range(levels):
        level = [
            item
            for outer in level
            for item in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(item, (dict, list))
        ]
        if not level:
            return False
    return bool(level)
