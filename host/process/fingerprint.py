"""What tells one call from another, method and params, in 16 bytes.

Made only once something has gone wrong: at a crash, and for calls like those that a crash has made
suspicious. 0.5 us for small params, about 1 ms for a MiB.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from typing import Any, NamedTuple

import msgspec

from protocol.methods import METHODS
from protocol.pending import Call

MAX_NAME = 200
MAX_HASHED_BYTES = 64 * 1024 * 1024
"""Of all calls of one crash together: the loop stands still for as long as it takes, 0.1 s at worst."""

_sorted = msgspec.json.Encoder(order="sorted")
_encoder = msgspec.json.Encoder()


class Fingerprint(NamedTuple):
    """Two calls with the same one are the same question. What is `unknown` is like nothing but its kind."""

    method: str
    digest: bytes

    @property
    def is_known(self) -> bool:
        return bool(self.digest)


def fingerprint(method: str, params: Any) -> Fingerprint:
    """Of a call, whoever makes it and in whatever order its params are named. Never raises."""
    return _of(method, params)[0]


def forget_params(call: Call) -> None:
    """Nobody waits for `call` any more, but the plugin may yet die of it: 16 bytes of it are kept."""
    if not call.sent:
        call.params = None
    else:
        call.params = _indistinct(call) if call.up is not None else fingerprint(call.method, call.params)


def worked_on(calls: Iterable[Call]) -> list[Fingerprint]:
    """Those of `calls` that the plugin had been given, each kind once. The host's own do not count."""
    found: dict[Fingerprint, None] = {}
    left = MAX_HASHED_BYTES
    for call in calls:
        if not call.sent or call.method in METHODS:
            continue
        if isinstance(call.params, Fingerprint):
            mark = call.params
        elif call.up is not None:
            mark = _indistinct(call)
        elif left > 0:
            mark, size = _of(call.method, call.params)
            left -= size
        else:
            mark = _indistinct(call)
        found[mark] = None
    return list(found)


def _indistinct(call: Call) -> Fingerprint:
    """Of one that takes items, say: what killed may have been among those, and they are gone."""
    return Fingerprint(call.method[:MAX_NAME], b"")


def _of(method: str, params: Any) -> tuple[Fingerprint, int]:
    """And how many bytes the params had."""
    # The values are a caller's, and so is what their code raises while they are encoded.
    try:
        try:
            data = _sorted.encode(params)
        except TypeError:  # keys that are no strings cannot be sorted, and are sent all the same
            data = _encoder.encode(params)
    except Exception:
        data = b""
    if not data or len(method) > MAX_NAME:
        return Fingerprint(method[:MAX_NAME], b""), len(data)
    return Fingerprint(method, blake2b(data, digest_size=16).digest()), len(data)
