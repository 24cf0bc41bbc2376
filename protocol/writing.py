"""How a message becomes bytes that the peer takes: JSON or MessagePack, and not too many.

Whatever cannot be sent raises `Refused`, before anything is queued.
"""

from __future__ import annotations

from typing import Any

from msgspec import Raw

from protocol import envelope, values
from protocol.envelope import Message, NotSerializable
from protocol.errors import Refusal, Refused
from protocol.framing import frame
from protocol.guard import CANNOT_BE_DEEP, MAX_DEPTH, is_too_deep
from protocol.lifecycle import Limits

ENVELOPE_BYTES = 512
"""What a frame may hold beside one item of a stream: an id of 128 characters, and the names."""
LEAST_FRAME = 1024
"""What every peer takes, whatever it announces: a cancel or a bare error always fits."""


class Writing:
    """For one peer. It takes JSON in frames of the usual size, until it says otherwise."""

    __slots__ = ("_limits", "packs", "room")

    def __init__(self) -> None:
        self.peer_limits = Limits()
        self.packs = False
        """Whether it takes MessagePack, which is used for what holds bytes."""

    @property
    def peer_limits(self) -> Limits:
        """What the peer has said that it takes."""
        return self._limits

    @peer_limits.setter
    def peer_limits(self, limits: Limits) -> None:
        self._limits = limits
        self.room = limits.max_in_flight + limits.queue
        """So many calls of ours may be in flight."""

    def framed(self, message: Message) -> bytes:
        """The frame of a message, as JSON. On the way of every call, both ways."""
        # `envelope.encode` and `frame` written out, 0.2 us each for either end.
        try:
            body = envelope.encode_json(message)
        except Exception as error:  # a value's own code, as there
            raise Refused(Refusal.NOT_SERIALIZABLE, str(envelope.not_serializable(error))) from None
        size = len(body)
        if size > CANNOT_BE_DEEP:
            if is_too_deep(body):
                raise Refused(Refusal.NOT_SERIALIZABLE, f"nested more than {MAX_DEPTH} deep")
            self._check(size)
        return b"Content-Length: %d\r\n\r\n%b" % (size, body)

    def framed_packed(self, message: Message, value: Any) -> bytes:
        """The frame of a message that carries `value`, as MessagePack if that is possible."""
        try:
            body = envelope.encode_packed(message)
        except NotSerializable as problem:
            if type(value) is not Raw:
                return self.framed(message)  # too many values for MessagePack, say
            raise Refused(Refusal.NOT_SERIALIZABLE, str(problem)) from None
        self._check(len(body))
        return frame(body, packed=True)

    def for_json(self, value: Any) -> Any:
        """A value that is handed on, to a peer that takes JSON alone."""
        if type(value) is not Raw or not values.is_packed(value):
            return value
        try:
            return values.as_json(value)
        except Exception as problem:
            raise Refused(Refusal.NOT_SERIALIZABLE, f"JSON cannot carry it: {problem}") from None

    def item(self, value: Any) -> Raw:
        """A value as an item of a stream, which leaves in a frame with others."""
        try:
            if self.packs and values.holds_bytes(value):
                item = self._packed_item(value)
            else:
                value = self.for_json(value)
                item = envelope.encode(value, envelope.ITEM_DEPTH)
                self.check_whole(value, item)
        except NotSerializable as problem:
            raise Refused(Refusal.NOT_SERIALIZABLE, str(problem)) from None
        self._check(len(item), beside=ENVELOPE_BYTES)
        return Raw(item)

    def check_whole(self, value: Any, encoded: bytes) -> None:
        """Raises `Refused` if something of `value` is lost in `encoded`, which is JSON."""
        if lost := values.lost_in_json(value, encoded):
            raise Refused(Refusal.NOT_SERIALIZABLE, lost)

    def _packed_item(self, value: Any) -> bytes:
        try:
            return envelope.encode_packed(value, envelope.ITEM_DEPTH)
        except NotSerializable:
            if type(value) is Raw:
                raise
            return envelope.encode(value, envelope.ITEM_DEPTH)

    def _check(self, size: int, *, beside: int = 0) -> None:
        limit = max(self._limits.max_frame, LEAST_FRAME) - beside
        if size > limit:
            raise Refused(Refusal.TOO_LARGE, f"{size} bytes, and the peer takes at most {limit}")
