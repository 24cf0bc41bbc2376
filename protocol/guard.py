"""Is this body safe to hand to the decoder, and to hand on?

msgspec recurses on the C stack: 100,000 nested arrays crash a thread whose stack is small, and no
exception handler helps. And what it skips or keeps raw it does not check for being text. So both
are looked at here first, at the speed of `bytes.count`. Reads no clock, keeps no state.
"""

from __future__ import annotations

import re
from itertools import accumulate

MAX_DEPTH = 128

CANNOT_BE_DEEP = 2 * MAX_DEPTH
"""Bytes: in so few not more can be opened and closed again, and to open more without is no JSON."""
BACKSLASH, _BRACKET = b"\\["
# Compiled for the first body that needs it, which in most processes never comes.
_STRINGS = rb'(?s)"(?:[^"\\]|\\.)*+"?'
_ROUNDS = 4
_TO_STEPS = bytes.maketrans(b"[]", b"\x01\xff")  # +1 and -1 as signed bytes
_TO_SQUARE = bytes.maketrans(b"{}", b"[]")
_NOT_BRACKETS = bytes(sorted(set(range(256)) - set(b"[]")))
_LONE_SURROGATE = (
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F][0-9a-fA-F]{2})"
    rb"|(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F][0-9a-fA-F]{2}"
)
_ESCAPED_BACKSLASH = b"\\\\"


def why_unsafe(body: bytes) -> str | None:
    """What is wrong with a JSON body before anybody parses it, or None. Linear in its size."""
    if not body.isascii():
        try:
            body.decode()
        except UnicodeDecodeError as error:
            return f"not UTF-8: byte {error.start} ({error.reason})"
    # A single byte is found at the speed of memchr, 0.01 us where two take 0.24; most text has no backslash.
    if (
        BACKSLASH in body
        and b"\\u" in body
        and re.search(_LONE_SURROGATE, body.replace(_ESCAPED_BACKSLASH, b"__"))
    ):
        return "half of a surrogate pair in a string"
    if len(body) > CANNOT_BE_DEEP and is_too_deep(body):
        return f"nested more than {MAX_DEPTH} deep"
    return None


def is_too_deep(body: bytes, limit: int = MAX_DEPTH) -> bool:
    """Whether `body` opens more than `limit` containers inside each other.

    A body of up to `limit` bytes cannot, and one with up to `limit` opening brackets cannot either:
    that settles nearly every message with two counts. Only then are strings removed. What remains is
    mostly small containers side by side, which cancel in a few rounds at the speed of `replace`; the
    rest is added up bracket by bracket: 0.6 s for the worst 16 MiB.
    """
    if len(body) <= limit:
        return False
    # Counting takes 0.14 us for 200 bytes, and finding 0.01: most messages have objects alone.
    lists = body.count(b"[") if _BRACKET in body else 0
    if lists + body.count(b"{") <= limit:
        return False
    brackets = re.sub(_STRINGS, b"", body).translate(_TO_SQUARE).translate(None, _NOT_BRACKETS)
    for cancelled in range(_ROUNDS):  # each round takes away the innermost level
        shorter = brackets.replace(b"[]", b"")
        if len(shorter) == len(brackets):
            return cancelled + brackets.count(b"[") > limit
        brackets = shorter
    steps = memoryview(brackets.translate(_TO_STEPS)).cast("b")
    return _ROUNDS + max(accumulate(steps), default=0) > limit
