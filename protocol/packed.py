"""Is this MessagePack safe to hand to the decoder, and to hand on? What `guard` is for JSON.

Nothing in it can be counted without reading it, so it is walked, value by value. That is slow for many
small values and nothing for a few large ones, which is what MessagePack is here for; so there is a bound,
and a sender that would be above it sends JSON. Reads no clock, keeps no state.
"""

from __future__ import annotations

from protocol.guard import MAX_DEPTH

MAX_VALUES = 100_000
"""In one body: about 20 ms."""

_FIXED = {0xC0: 0, 0xC2: 0, 0xC3: 0, 0xCA: 4, 0xCB: 8, 0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8}
_FIXED |= {0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8}
_TEXT = {0xD9: 1, 0xDA: 2, 0xDB: 4}
_BYTES = {0xC4: 1, 0xC5: 2, 0xC6: 4}
_TIMESTAMPS = {0xD6: 5, 0xD7: 9}
_ARRAYS = {0xDC: 2, 0xDD: 4}
_MAPS = {0xDE: 2, 0xDF: 4}


def why_unsafe(body: bytes, limit: int = MAX_DEPTH) -> str | None:
    """What is wrong with a MessagePack body before anybody decodes it, or None."""
    try:
        return _walk(body, limit)
    except IndexError:
        return "it ends in the middle of a value"
    except UnicodeDecodeError as error:
        return f"a text that is not UTF-8 ({error.reason})"


def _walk(body: bytes, limit: int) -> str | None:
    at, size, seen = 0, len(body), 0
    left = [1]  # values still to come, in each container that is open
    is_map = [False]
    while left:
        if not left[-1]:
            left.pop()
            is_map.pop()
            continue
        left[-1] -= 1
        seen += 1
        if seen > MAX_VALUES:
            return f"more than {MAX_VALUES} values"
        head = body[at]
        at += 1
        if is_map[-1] and left[-1] % 2 and not (0xA0 <= head < 0xC0 or head in _TEXT):
            return "a key that is no text"
        if head < 0x80 or head >= 0xE0:
            continue
        children = -1
        if head < 0x90:
            children = 2 * (head & 0x0F)
        elif head < 0xA0:
            children = head & 0x0F
        elif head < 0xC0:
            at = _text(body, at, head & 0x1F)
        elif (width := _FIXED.get(head)) is not None:
            at += width
        elif (width := _TEXT.get(head)) is not None:
            at = _text(body, at + width, _number(body, at, width))
        elif (width := _BYTES.get(head)) is not None:
            at += width + _number(body, at, width)
        elif (width := _ARRAYS.get(head)) is not None:
            children = _number(body, at, width)
            at += width
        elif (width := _MAPS.get(head)) is not None:
            children = 2 * _number(body, at, width)
            at += width
        elif (width := _TIMESTAMPS.get(head)) is not None and body[at] == 0xFF:
            if width == 9 and _number(body, at + 1, 4) >> 2 >= 1_000_000_000:
                return "a time with too many nanoseconds"
            at += width
        else:
            return f"a value of the kind {head:#x}"
        if at > size:
            raise IndexError
        if children >= 0:
            if len(left) > limit:
                return f"nested more than {limit} deep"
            left.append(children)
            is_map.append(head < 0x90 or head in _MAPS)
    return None if at == size else "something behind its end"


def _number(body: bytes, at: int, width: int) -> int:
    if at + width > len(body):
        raise IndexError
    return int.from_bytes(body[at : at + width])


def _text(body: bytes, at: int, size: int) -> int:
    """Where the text ends. Raises `UnicodeDecodeError`."""
    end = at + size
    if end > len(body):
        raise IndexError
    body[at:end].decode()
    return end
