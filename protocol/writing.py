"""How a message becomes bytes that the peer takes: JSON or MessagePack, and not too many.

Whatever cannot be sent raises `Refused`, before anything is queued.
"""

from __future__ import annotations

from typing import Any

from msgspec import Raw

from protocol import envelope, values
from protocol.envelope import NotSerializable
from protocol.errors import Refusal, Refused
from protocol.framing import frame
from protocol.lifecycle import Limits

ENVELOPE_BYTES = 512
"""What a frame may hold beside one item of a stream: an id of 128 characters, and the names."""
_LEAST_FRAME = 1024
"""What every peer takes, whatever it announces: a cancel or a bare error always fits."""


class Writing:
    """For one peer. It takes JSON in frames of the usual size, until it says otherwise."""

    __slots__ = ("packs", "peer_limits")

    def __init__(self) -> None:
        self.peer_limits = Limits()
        self.packs = False
        """Whether it takes MessagePack, which is used for what holds bytes."""

    def form(self, value: Any) -> tuple[Any, bool]:
        """A value as it can be sent, and whether that is MessagePack."""
        if self.packs:
            return value, values.holds_bytes(value)  # 0.1 us for params of a few texts
        if type(value) is Raw and values.is_packed(value):  # handed on, to a peer that takes JSON alone
            try:
                return values.as_json(value), False
            except Exception as problem:
                raise Refused(Refusal.NOT_SERIALIZABLE, f"JSON cannot carry it: {problem}") from None
        return value, False

    def framed(self, encode: Any, *message: Any, packed: bool = False) -> bytes:
        """The frame of a message. `encode` is the function of `envelope` that takes it."""
        if packed:
            body = self._encoded(encode, *message, packed=True)
        else:  # `_encoded` written out, for nearly every message
            try:
                body = encode(*message)
            except NotSerializable as problem:
                raise Refused(Refusal.NOT_SERIALIZABLE, str(problem)) from None
        if len(body) > _LEAST_FRAME and len(body) > self.peer_limits.max_frame:
            limit = max(self.peer_limits.max_frame, _LEAST_FRAME)
            raise Refused(Refusal.TOO_LARGE, f"{len(body)} bytes, and the peer takes at most {limit}")
        return frame(body, packed=body[0] >= 0x80) if packed else frame(body)

    def item(self, value: Any) -> Raw:
        """A value as an item of a stream, which leaves in a frame with others."""
        value, packed = self.form(value)
        item = self._encoded(envelope.encode_item, value, packed=packed)
        if not packed:
            self.check_whole(value, item)
        limit = max(self.peer_limits.max_frame, _LEAST_FRAME) - ENVELOPE_BYTES
        if len(item) > limit:
            raise Refused(Refusal.TOO_LARGE, f"{len(item)} bytes, and the peer takes at most {limit}")
        return Raw(item)

    def check_whole(self, value: Any, encoded: bytes) -> None:
        """Raises `Refused` if something of `value` is lost in `encoded`, which is JSON."""
        if lost := values.lost_in_json(value, encoded):
            raise Refused(Refusal.NOT_SERIALIZABLE, lost)

    def _encoded(self, encode: Any, *message: Any, packed: bool = False) -> bytes:
        try:
            body: bytes = encode(*message, packed=True) if packed else encode(*message)
        except NotSerializable as problem:
            if packed and Raw not in map(type, message):
                return self._encoded(encode, *message)  # too many values for MessagePack, say
            raise Refused(Refusal.NOT_SERIALIZABLE, str(problem)) from None
        return body
