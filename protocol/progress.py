"""How far requests are: the latest word of each replaces the one that still waits for the pipe."""

from __future__ import annotations

from protocol.envelope import MessageId


class _Told:
    """Owns a frame that a newer one, or the reply, makes worthless."""

    __slots__ = ("sent", "settled")

    def __init__(self) -> None:
        self.sent = self.settled = False


class LatestWords:
    """The last word on each request of the peer's that there is one on."""

    __slots__ = ("by_id",)

    def __init__(self) -> None:
        self.by_id: dict[MessageId, _Told] = {}

    def replace(self, id: MessageId) -> _Told:
        """The owner of the next word; the one before is worth nothing any more."""
        self.forget(id)
        told = self.by_id[id] = _Told()
        return told

    def forget(self, id: MessageId) -> None:
        """The request is answered, or something newer is to be said of it."""
        told = self.by_id.pop(id, None)
        if told is not None:
            told.settled = True
