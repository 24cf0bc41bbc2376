"""A difference between what is sent and what is taken; and those of two ranges, or two lengths. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import msgspec

__all__ = ["Difference", "Kind", "bounds"]

Kind = Literal["breaks", "unclear"]

_AT_LEAST = ("minLength", "minItems", "minProperties")
_AT_MOST = ("maxLength", "maxItems", "maxProperties")
_OF: dict[str, str] = {
    **dict.fromkeys(("minLength", "maxLength", "pattern", "format", "contentEncoding"), "string"),
    **dict.fromkeys(("minItems", "maxItems", "uniqueItems"), "array"),
    **dict.fromkeys(("minProperties", "maxProperties"), "object"),
}


class Difference(msgspec.Struct, frozen=True):
    """One place where what is sent may not be what is taken."""

    path: str
    """A JSON path: `$.doc.size`."""
    kind: Kind
    sent: str
    taken: str

    @property
    def how(self) -> Literal["missing", "extra", "other"]:
        """A key that is not sent, or not always; one that is not taken; or a value that is another one."""
        if self.taken == "required":
            return "missing"
        return "extra" if self.sent == "sent" else "other"

    def __str__(self) -> str:
        if self.how != "other":
            return f"{self.path}: {self.sent}, and {self.taken}"
        return f"{self.path}: sent {self.sent}, taken {self.taken}"


def bounds(sends: Any, takes: Any, path: str, type_: Any) -> Iterator[Difference]:
    def differ(key: str, seen: str | None = None) -> Difference:
        sent = seen or (f"{key} {sends[key]}" if key in sends else f"no {key}")
        return Difference(path, "breaks", sent, f"{key} {takes[key]}")

    numeric = type_ in ("integer", "number")
    if numeric:
        yield from _range(sends, takes, path)
        if "multipleOf" in takes and not _divides(takes["multipleOf"], sends.get("multipleOf")):
            yield differ("multipleOf")
    for key in takes:
        if _OF.get(key, type_) != type_ or key not in _OF:
            continue
        if key in _AT_LEAST:
            if sends.get(key, 0) < takes[key]:
                yield differ(key)
        elif key in _AT_MOST:
            if sends.get(key, float("inf")) > takes[key]:
                yield differ(key)
        elif key == "uniqueItems":
            if takes[key] and not sends.get(key):
                yield differ(key)
        elif sends.get(key) != takes[key]:
            unclear = key == "pattern" and key in sends
            yield msgspec.structs.replace(differ(key), kind="unclear") if unclear else differ(key)


def _range(sends: Any, takes: Any, path: str) -> Iterator[Difference]:
    for least in (True, False):
        sent, taken = _end(sends, least=least), _end(takes, least=least)
        if taken is not None and (sent is None or _reaches_over(sent, taken, least)):
            yield Difference(path, "breaks", _end_text(sent, least), _end_text(taken, least))


def _reaches_over(sent: tuple[float, bool], taken: tuple[float, bool], least: bool) -> bool:
    if sent[0] == taken[0]:
        return taken[1] and not sent[1]
    return sent[0] < taken[0] if least else sent[0] > taken[0]


def _end(schema: Any, *, least: bool) -> tuple[float, bool] | None:
    """The narrowest end of a range, and whether it is outside of it: of whole numbers, never."""
    key, exclusive = ("minimum", "exclusiveMinimum") if least else ("maximum", "exclusiveMaximum")
    ends = [(schema[name], name == exclusive) for name in (key, exclusive) if name in schema]
    if schema.get("type") == "integer":
        step = 1 if least else -1
        ends = [(end + step, False) if out and float(end).is_integer() else (end, out) for end, out in ends]
    if not ends:
        return None
    return max(ends) if least else min(ends, key=lambda end: (end[0], not end[1]))


def _end_text(end: tuple[float, bool] | None, least: bool) -> str:
    if end is None:
        return "any number"
    return f"{'>' if least else '<'}{'' if end[1] else '='} {end[0]}"


def _divides(divisor: Any, number: Any) -> bool:
    return isinstance(number, int) and isinstance(divisor, int) and number % divisor == 0
