"""A session that several threads may use, and the pipe that it writes to.

The session is behind a lock that nobody holds while waiting. Writing is done by whoever comes first:
a thread that finds the pipe taken leaves its frames to the thread that has it, so no handler waits for
another's write, and frames never mix. Reading is the runtime's.
"""

from __future__ import annotations

import os
import threading
from typing import Any

from plugin_sdk import memory
from protocol.envelope import MessageId, Meta
from protocol.errors import Refused, RpcError
from protocol.events import Event
from protocol.lifecycle import ProgressValue
from protocol.outbox import Lane
from protocol.pending import Call
from protocol.session import Session

LARGE_BYTES = 256 * 1024


class Channel:
    def __init__(self, session: Session, write_fd: int) -> None:
        self.session = session
        self.holds = False
        """Whether replies wait for one another, to leave in one write: until `release`, or until anything
        else is sent. Set by the thread that reads, which has more at hand that is answered in no time."""
        self._write_fd = write_fd
        self._lock = threading.Lock()
        self._is_writing = False  # read and changed under the lock
        self._is_used_to_large = False

    def receive(self, data: bytes) -> list[Event]:
        """The events in `data`; b"" is the end of the file. Answers that the session gives itself leave."""
        with self._lock:
            session = self.session
            events = session.receive(data, 0.0) if data else session.receive_eof()
        if session.outbox.bytes:
            self.release()
        # Between two frames, as nearly always, `stalls_at` says so at once: 0.2 us of every call.
        if session.stalls_at is not None and session.missing >= LARGE_BYTES and not self._is_used_to_large:
            self._get_used_to_large()
        return events

    def _get_used_to_large(self) -> None:
        self._is_used_to_large = True
        memory.keep_for_the_next()

    def reply(self, id: MessageId, result: Any) -> None:
        with self._lock:
            session = self.session
            session.reply(id, result)
            if self.holds or self._is_writing:
                return
            data = session.outbox.take()  # `_begin` written out
            self._is_writing = bool(data)
        if data:
            self._write(data)

    def reply_error(self, id: MessageId, error: RpcError) -> None:
        with self._lock:
            self.session.reply_error(id, error)
            data = b"" if self.holds else self._begin()
        if data:
            self._write(data)

    def notify(self, method: str, params: Any, lane: Lane | None = None) -> bool:
        """False if it found no room, or cannot be sent as it is."""
        try:
            with self._lock:
                queued = self.session.notify(method, params, lane=lane)
        except Refused:
            return False
        self.release()
        return queued

    def progress(self, id: MessageId, value: ProgressValue) -> None:
        """The latest word on how far a request is; nothing if it has been answered."""
        try:
            with self._lock:
                self.session.progress(id, value)
        except Refused:
            return
        self.release()

    def is_stream(self, id: MessageId) -> bool:
        """Whether the answer to a request may be a stream."""
        return self.session.streams.sending(id) is not None

    # A stream is `of` the request of the peer's that it answers, or of the call of ours that it goes with.

    def has_room(self, of: MessageId | Call) -> bool:
        """Whether a stream may have one more item; True if it is over anyway."""
        with self._lock:
            sending = self.session.streams.sending(of)
            return sending is None or sending.has_room

    def add_item(self, of: MessageId | Call, value: Any) -> bool:
        """Adds an item to a stream; whether there is room for another.

        Full batches leave; it waits for the pipe if too much does already. Raises `Refused`.
        """
        item = self.session.writing.item(value)
        with self._lock:
            sending = self.session.streams.sending(of)
            if sending is None:  # the connection is closed
                return True
            leaves_before, leaves = not sending.fits(item), False
            if not leaves_before:
                leaves = sending.add(item)
        if leaves_before:
            self.send_items(of)
            with self._lock:
                leaves = sending.add(item)
        if leaves:
            self.send_items(of)
        return sending.has_room

    def send_items(self, of: MessageId | Call, *, end: bool = False) -> None:
        """Sends the batch that has been begun, if there is one. What may wait here, credit bounds.

        `end` says that no more go with our call.
        """
        with self._lock:
            self.session.streams.send_items(of, always=True, end=end)
            data = self._begin()
        if data:
            self._write(data)

    def take_up(self, id: MessageId, credit: int) -> None:
        """Asks for the items that go with a request: so many may come at once."""
        with self._lock:
            self.session.streams.take_up(id, credit)
        self.release()

    def use(self, of: MessageId | Call, count: int, size: int) -> None:
        """So many items that came, of so many bytes, are out of our hands; see `StreamTable.use`."""
        with self._lock:
            self.session.streams.use(of, count, size)
        if self.session.outbox.bytes:
            self.release()

    def request(self, method: str, params: Any, *, token: Any, meta: Meta | None) -> Call:
        """Asks the host; the answer comes out of `receive` with the token. Raises `Refused`."""
        with self._lock:
            call = self.session.request(method, params, token=token, meta=meta)
        self.release()
        return call

    def cancel(self, call: Call, reason: str) -> None:
        """Gives up a request; one that has been answered is left alone."""
        with self._lock:
            self.session.cancel(call, reason)
        self.release()

    def release(self) -> None:
        """Sends all that waits. From any thread."""
        with self._lock:
            self.holds = False
            data = self._begin()
        if data:
            self._write(data)

    def _begin(self) -> bytes:
        """Under the lock: what the caller has to write; b"" if that is nothing, or somebody else writes."""
        if self._is_writing:
            return b""
        data = self.session.outbox.take()
        self._is_writing = bool(data)
        return data

    def _write(self, data: bytes) -> None:
        """Writes what `_begin` has given, and what others have left here meanwhile."""
        if len(data) >= LARGE_BYTES and not self._is_used_to_large:
            self._get_used_to_large()
        outbox = self.session.outbox
        while data:
            try:
                written = os.write(self._write_fd, data)
                while written < len(data):
                    written += os.write(self._write_fd, memoryview(data)[written:])
            except OSError:  # the host is gone: the reading side will see it
                with self._lock:
                    outbox.clear()
            with self._lock:
                data = outbox.take() if outbox.bytes else b""
                self._is_writing = bool(data)
