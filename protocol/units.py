"""Sizes and durations as people write them in TOML: "256MiB", "500ms", "2m"."""

from __future__ import annotations

import re
from typing import Any

_SIZES = {"B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
_SPANS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_NUMBER = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]+)\s*")


class Size(int):
    """A number of bytes."""


class Duration(float):
    """A span in seconds."""


def size(text: str) -> Size:
    """Bytes in "256MiB". Raises ValueError that says how to write it."""
    return Size(round(_scaled(text, _SIZES, "a size", "256MiB")))


def duration(text: str) -> Duration:
    """Seconds in "500ms". Raises ValueError that says how to write it."""
    return Duration(_scaled(text, _SPANS, "a duration", "30s"))


def _scaled(text: str, units: dict[str, float] | dict[str, int], what: str, example: str) -> float:
    match = _NUMBER.fullmatch(text)
    if match is None or match.group(2) not in units:
        known = ", ".join(units)
        raise ValueError(f'{text!r} is not {what}: write a number and one of {known}, like "{example}"')
    return float(match.group(1)) * units[match.group(2)]


def decode_hook(type_: type, value: Any) -> Any:
    """For `msgspec.convert`: strings to `Size` and `Duration`; a bare number is bytes, or seconds."""
    if type_ is Size:
        if isinstance(value, str):
            return size(value)
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return Size(value)
        raise ValueError(f'expected a size like "256MiB", got {value!r}')
    if type_ is Duration:
        if isinstance(value, str):
            return duration(value)
        if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
            return Duration(value)
        raise ValueError(f'expected a duration like "30s", got {value!r}')
    raise NotImplementedError(type_)
