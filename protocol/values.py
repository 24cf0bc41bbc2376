"""Values that are still encoded: params, results, items of streams. Each says itself how it is encoded.

JSON begins with an ASCII character, and MessagePack of anything but a small integer with a byte above
those. A small integer that comes as MessagePack is made JSON at once, so that one byte always tells.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import Raw

_DEEP = 4
_BYTES = frozenset({bytes, bytearray, memoryview})
PLAIN = frozenset({str, int, float, bool, type(None)})
"""Of values that hold no others, and no bytes."""


class Decoder:
    """For values of one type, in either encoding."""

    __slots__ = ("_json", "_packed")

    def __init__(self, type: Any) -> None:
        self._json = msgspec.json.Decoder(type)
        self._packed = msgspec.msgpack.Decoder(type)

    def decode(self, raw: Raw) -> Any:
        """Raises `msgspec.DecodeError`, `UnicodeDecodeError` or `RecursionError`."""
        try:  # which costs nothing, where a look at the first byte would be 0.1 us of every call
            return self._json.decode(raw)
        except msgspec.DecodeError:
            if not is_packed(raw):
                raise
        return self._packed.decode(raw)


_anything = Decoder(Any)


def decode(raw: Raw, type: Any = Any) -> Any:
    """What it says. Raises `msgspec.DecodeError`, `UnicodeDecodeError` or `RecursionError`."""
    if type is Any:
        return _anything.decode(raw)
    return msgspec.msgpack.decode(raw, type=type) if is_packed(raw) else msgspec.json.decode(raw, type=type)


def is_packed(raw: Raw) -> bool:
    """Whether it is MessagePack."""
    view = memoryview(raw)
    return len(view) > 0 and view[0] >= 0x80


def told_apart(raw: Raw) -> Raw:
    """Something that came as MessagePack, so that one byte tells that it did, or that it did not."""
    return raw if is_packed(raw) else Raw(b"%d" % memoryview(raw)[0])


def as_json(raw: Raw) -> Raw:
    """The same in JSON, with bytes as base64. Raises what encoding raises."""
    return Raw(msgspec.json.encode(msgspec.msgpack.decode(raw))) if is_packed(raw) else raw


_NOT_FINITE = re.compile(rb"\xcb[\x7f\xff][\xf0-\xff]")
"""In MessagePack, a float whose exponent is all ones; or a text, or bytes, that look alike."""


def lost_in_json(value: Any, encoded: bytes) -> str | None:
    """Where a value holds a NaN or an infinity, of which msgspec makes null in JSON; None if it does not.

    `encoded` is JSON with the value in it. One without a null, as nearly all are, costs 0.06 us and 1 ns a
    byte; one with a null is encoded once more, and only what then looks like such a number is walked.
    """
    if encoded.find(b"null") < 0 or value is None:
        return None
    try:
        if _NOT_FINITE.search(msgspec.msgpack.encode(value)) is None:
            return None
    except Exception:  # more than MessagePack can carry
        pass
    try:
        return not_finite(msgspec.to_builtins(value), "$")
    except Exception:  # a value's own code, or Raw, which holds no float
        return not_finite(value, "$")


def not_finite(value: Any, path: str) -> str | None:
    """The first NaN or infinity in what is made of dicts and lists, in words; `path` leads to `value`."""
    if isinstance(value, float):
        return None if value - value == 0.0 else f"{path}: {value!r} is no number that JSON has"
    inside: Iterable[tuple[str, Any]] = ()
    if isinstance(value, dict):
        inside = ((f"{path}.{key}", each) for key, each in value.items())
    elif isinstance(value, list | tuple):
        inside = ((f"{path}[{index}]", each) for index, each in enumerate(value))
    return next((found for place, each in inside if (found := not_finite(each, place))), None)


def holds_bytes(value: Any, depth: int = _DEEP) -> bool:
    """Whether there are bytes in a value that is to be encoded, where they are looked for.

    That is a few containers deep, and in lists at the first element: what is there is there in nearly every
    call, and most have none. Bytes that are not found travel as base64.
    """
    kind = type(value)
    if kind is dict:  # first, and written out: params are one, and every call's are looked at
        for each in value.values():
            if type(each) not in PLAIN and depth and holds_bytes(each, depth - 1):
                return True
        return False
    if kind in PLAIN:
        return False
    if kind in _BYTES:
        return True
    if kind is Raw:
        return is_packed(value)
    if not depth:
        return False
    if kind is list or kind is tuple:
        return len(value) > 0 and holds_bytes(value[0], depth - 1)
    names: Any = getattr(kind, "__struct_fields__", None) or getattr(kind, "__dataclass_fields__", ())
    return any(holds_bytes(getattr(value, name, None), depth - 1) for name in names)
