"""Which of two versions is the older one, as far as their texts say. Pure."""

from __future__ import annotations

import re
from itertools import zip_longest

__all__ = ["is_older"]

_PART = re.compile(r"\d+|[a-z]+")
_NOTHING = (1, 0, "")
"""Comes after letters and before nothing but a number: 1.0rc1 < 1.0 < 1.0.1."""


def is_older(one: str, other: str) -> bool:
    """Numbers count as such; `1.0rc1`, `1.0-beta` and the like are older than `1.0`."""
    for mine, its in zip_longest(_parts(one), _parts(other), fillvalue=_NOTHING):
        if mine != its:
            return mine < its
    return False


def _parts(version: str) -> list[tuple[int, int, str]]:
    text = version.lower().partition("+")[0]
    parts = [(1, int(part), "") if part.isdigit() else (0, 0, part) for part in _PART.findall(text)]
    while parts and parts[-1] == (1, 0, ""):
        parts.pop()
    return parts
