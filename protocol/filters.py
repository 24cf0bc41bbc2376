"""`when`: what a hook's params must be like for its plugin to be asked at all. Pure.

    {"doc.mime": "application/pdf", "doc.lang": ["de", "en"], "doc.name": {"glob": "*.pdf"}}

A key is a path into the params; the first part is a parameter. A string, number, boolean or null is
what must stand there, a list says what may, a glob is for text, where `*` stands for anything. All of
them must hold. What is missing is null. The host checks it, so that a plugin that would not act is not
called; the SDK refuses what a host could not read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

__all__ = ["Filter", "read_filter"]

MAX_CONDITIONS = 32
MAX_VALUES = 256
MAX_GLOB = 256


class _Condition(NamedTuple):
    path: tuple[str, ...]
    allowed: frozenset[tuple[bool, Any]]
    glob: tuple[str, ...] | None
    """What stands between the `*`: at least one part, and all of them in this order."""

    def fits(self, value: Any) -> bool:
        for key in self.path:
            value = value.get(key) if isinstance(value, Mapping) else None
        if self.glob is not None:
            return isinstance(value, str) and _matches(value, *self.glob)
        return _is_plain(value) and _key(value) in self.allowed


class Filter:
    """The conditions of one hook, all of which must hold."""

    __slots__ = ("_conditions",)

    def __init__(self, conditions: tuple[_Condition, ...]) -> None:
        self._conditions = conditions

    def matches(self, params: Any) -> bool:
        """`params` as JSON decodes them. Never raises."""
        return all(condition.fits(params) for condition in self._conditions)


def read_filter(when: Any) -> Filter:
    """Raises ValueError, with what cannot be read."""
    if not isinstance(when, Mapping) or not when or len(when) > MAX_CONDITIONS:
        raise ValueError(f"a filter is an object of 1 to {MAX_CONDITIONS} conditions")
    return Filter(tuple(_condition(path, wanted) for path, wanted in when.items()))


def _condition(path: Any, wanted: Any) -> _Condition:
    keys = tuple(path.split(".")) if isinstance(path, str) else ()
    if not all(keys) or not keys:
        raise ValueError(f"{str(path)[:40]!r} is no path into the params, like `doc.mime`")
    if isinstance(wanted, Mapping):
        pattern = wanted.get("glob")
        if set(wanted) != {"glob"} or not isinstance(pattern, str) or len(pattern) > MAX_GLOB:
            raise ValueError(f'{path}: an object must be {{"glob": TEXT}}, of at most {MAX_GLOB} characters')
        return _Condition(keys, frozenset(), tuple(pattern.split("*")))
    values = wanted if isinstance(wanted, list | tuple) else [wanted]
    if not 0 < len(values) <= MAX_VALUES or not all(map(_is_plain, values)):
        raise ValueError(
            f"{path}: write a string, a number, a boolean or null, or a list of up to {MAX_VALUES} of them"
        )
    return _Condition(keys, frozenset(map(_key, values)), None)


def _matches(text: str, first: str, *others: str) -> bool:
    """In linear time, whatever a plugin wrote: no part is ever looked for twice."""
    if not others:
        return text == first
    *middle, last = others
    at, end = len(first), len(text) - len(last)
    if at > end or not (text.startswith(first) and text.endswith(last)):
        return False
    for part in middle:
        found = text.find(part, at, end)
        if found < 0:
            return False
        at = found + len(part)
    return True


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float)


def _key(value: Any) -> tuple[bool, Any]:
    return isinstance(value, bool), value  # for Python True is 1, for JSON it is not
