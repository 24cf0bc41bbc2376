"""Items to somebody who has asked the host for a stream: a plugin that calls another one, a command line."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import anyio
from msgspec import Raw

from protocol.envelope import MessageId
from protocol.errors import ErrorCode, Refused, RpcError
from protocol.session import Session


class Outflow:
    """Of one request. `flush` sees to it that what the session has to say leaves."""

    def __init__(self, session: Session, id: MessageId, flush: Callable[[], None]) -> None:
        self._session = session
        self._id = id
        self._flush = flush
        self._room = anyio.Event()

    def resume(self) -> None:
        """The session says so: there is room again."""
        self._room.set()

    async def send(self, items: Iterable[Raw]) -> None:
        """Returns when all of them are on their way, as far as credit was given.

        Raises:
            RpcError: one of them cannot be sent, or the other side does not read.
        """
        sending = self._session.streams.sending(self._id)
        if sending is None:  # nobody is there any more
            return
        for item in items:
            try:
                item = self._session.writing.item(item)
            except Refused as refused:
                raise RpcError(ErrorCode.PAYLOAD_TOO_LARGE, f"an item of the stream: {refused}") from None
            while not sending.has_room:
                self._leave()
                self._room = anyio.Event()
                await self._room.wait()
            if not sending.fits(item):
                self._leave()
            sending.add(item)
        self._leave()

    def _leave(self) -> None:
        if not self._session.streams.send_items(self._id):
            raise RpcError(ErrorCode.OVERLOADED, "the one who asked for the stream does not read")
        self._flush()
