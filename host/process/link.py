"""A session on real pipes: `request` with a deadline, and everything else as events.

Its rules:

* the deadline is armed before the frame is queued, and what the plugin has already written is read
  before a deadline is declared missed: no innocent plugin is blamed for a slow host;
* reading never waits for writing: both are done from the loop's callbacks, and neither blocks;
* `lost` settles every call at once, and is called by whoever sees the end first.

Raises what went wrong (`RpcError`, `Refused`, `Expired`, `Lost`) and knows no plugin by name: the
router adds that.
"""

from __future__ import annotations

import fcntl
import math
import os
import sys
import traceback
from collections.abc import Callable
from typing import Any

from msgspec import Raw

from host.process.deadlines import Deadlines
from host.process.driver import Driver, Timer, Waiter
from host.process.fingerprint import forget_params
from protocol import events
from protocol.envelope import Meta
from protocol.errors import RpcError
from protocol.events import Event
from protocol.pending import Call
from protocol.session import Session

OnProgress = Callable[[float, float | None, str], object]
"""Gets done, total and message, in a callback of the loop's."""

F_SETPIPE_SZ = 1031
PIPE_BYTES = 1024 * 1024
LARGE_BYTES = 65536
"""A frame of so many makes the pipe larger that it goes through."""
READ_BYTES = 65536
MAX_READS = 16
"""Chunks read in a row where nothing that has come may be left unread."""
TURN_S = 0.002
"""Chunks are read for so long before the loop gets its turn: a chunk of the smallest messages takes 10 ms."""
SILENCE_S = 0.02
MAX_SILENCE_S = 1.0
EXIT_STATUS_S = 0.05


def grow_pipe(fd: int) -> None:
    """So that a large frame goes through in few pieces: a MiB of bytes in 0.4 ms instead of 1.4.

    Reading it straight into a buffer of its size was tried, and is slower: the buffer's pages are new.
    """
    try:
        fcntl.fcntl(fd, F_SETPIPE_SZ, PIPE_BYTES)
    except OSError:  # no pipe, or the user's have grown enough already
        pass


class Expired(Exception):
    """The deadline has passed."""

    call_id: int | None = None


class Lost(Exception):
    """The connection ended before the reply came, or, if `was_sent` is False, before the call was sent."""

    call_id: int | None = None
    generation = 0
    """Of the process that the call was sent to, and what its end is called: the router adds both."""
    incident = ""

    def __init__(self, reason: str, *, was_sent: bool = True) -> None:
        super().__init__(reason)
        self.was_sent = was_sent


class Link:
    """Owns the two descriptors and the session. `on_event` gets what no call of ours waits for."""

    def __init__(
        self,
        driver: Driver,
        deadlines: Deadlines,
        session: Session,
        *,
        write_fd: int,
        read_fd: int,
        on_event: Callable[[Event], None],
    ) -> None:
        self.session = session
        self.heard_at = driver.now()
        """When the last byte came: any byte counts as a sign of life."""
        self.nudge: Callable[[], None] | None = None
        """Wakes the plugin's second reader; set once the plugin has announced the feature."""
        self.tells_deadlines = False
        """Whether the plugin wants to know how much time each call has."""
        self.generation = 0
        """Of the process at the other end."""
        self.incident = ""
        """What the end of this connection is called, in every error and cause that tells of it."""
        self.unanswered: list[Call] = []
        """At the end of the connection: calls that nobody waited for any more, and then those it cut off."""
        self.replies = 0
        """To calls that somebody waited for; pings too."""
        self.batches = 0
        """Of streams, and credit for more of what goes up: whoever sends them gets something done."""
        self.pongs = 0
        """As many of them as were replies to pings, counted by who pings."""
        self.tells_traces = False
        """Whether the plugin wants to know which trace each call belongs to."""
        self.tells_progress = False
        self.knows_streams = False
        self.takes_items = False
        self.tells_parents = False
        """Whether the plugin wants to know which of its own requests a call has come round from."""
        self._calls = session.outgoing.calls
        self._driver = driver
        self._now = driver.now
        self._deadlines = deadlines
        self._write_fd = write_fd
        self._read_fd = read_fd
        self._on_event = on_event
        self._unwritten: bytes | memoryview = b""
        self._reads_large = self._writes_large = False
        self._writer_armed = False
        self._flush_due = False
        self._idle: Waiter | None = None
        self._wait_for_room: list[Waiter] = []
        self._silence: Timer | None = None
        self._silence_s = SILENCE_S
        self._ended = False
        self._closed = False
        os.set_blocking(write_fd, False)
        os.set_blocking(read_fd, False)
        deadlines.join(self)
        driver.add_reader(read_fd, self._read)

    # -- asking --------------------------------------------------------------------------------

    async def request(
        self,
        method: str,
        params: Any,
        *,
        deadline: float | None,
        meta: Meta | None = None,
        chain: Any = (),
        on_progress: OnProgress | None = None,
    ) -> Raw:
        """The result of `method`, raw. `chain` is kept with the call: what it is made for.

        What is done for it meanwhile (`Call.nested`) is cancelled when it is over, however it ends.

        Raises:
            RpcError: the plugin's error reply.
            Refused: it was not sent.
            Expired: `deadline` (on the driver's clock) has passed.
            Lost: the connection ended first.
        """
        waiter = self._driver.waiter()
        call = self.open(method, params, waiter, deadline, meta, chain, on_progress)
        try:
            return await waiter  # type: ignore[no-any-return]
        finally:
            if not call.settled or call.nested:
                self.leave(call)

    def open(
        self,
        method: str,
        params: Any,
        token: Any,
        deadline: float | None,
        meta: Meta | None = None,
        chain: Any = (),
        on_progress: OnProgress | None = None,
        has_bytes: bool | None = None,
    ) -> Call:
        """Like `request`, for somebody who has a waiter; or an `Inflow`, or an `Upload`, for what streams.

        `leave` is owed, however it ends. Raises `Refused`. On the way of every call, so by position.
        """
        call = self.session.request(method, params, deadline, token, meta, has_bytes)
        if chain:
            call.chain = chain
        if on_progress is not None:
            call.listener = on_progress
        if deadline is not None and deadline < self._deadlines.armed_for:
            self._deadlines.watch(deadline)
        if self._silence is None and self.nudge is not None:
            self._silence = self._driver.call_at(self._driver.now() + SILENCE_S, self._look_for_silence)
        # Alone: write now, the plugin can begin. In company: once a turn of the loop, together.
        if len(self._calls) == 1:
            self._flush()
        else:
            self._flush_soon()
        return call

    def leave(self, call: Call) -> None:
        """Nobody waits for `call` any more."""
        if not call.settled:  # the awaiting task was cancelled
            forget_params(call)
            self.session.cancel(call, "cancelled")
            self._flush_soon()
            self._see_that_it_reads()
        if call.nested:
            for errand in list(call.nested):
                errand.cancel()

    def use(self, call: Call, count: int, size: int) -> None:
        """So many items of a stream, of so many bytes, are out of our hands."""
        self.session.streams.use(call, count, size)
        if self.session.outbox.bytes:
            self._flush_soon()

    def extend(self, call_id: int | str, method: str, deadline: float) -> None:
        """Gives a call of `method` that is in flight until `deadline`; nothing if there is none."""
        call = self.session.outgoing.calls.get(call_id) if isinstance(call_id, int) else None
        if call is not None and call.method == method:
            call.deadline = deadline

    def notify(self, method: str, params: Any) -> bool:
        """False if there is no room for it, or it is too late. Raises Refused."""
        queued = self.session.notify(method, params)
        self._flush_soon()
        return queued

    def flush(self) -> None:
        """What the session has to say leaves in this turn of the loop."""
        self._flush_soon()

    async def wait_for_room(self) -> None:
        """Returns when all that waited has been written; never if nobody reads it."""
        waiter = self._driver.waiter()
        self._wait_for_room.append(waiter)
        await waiter

    def reply(self, id: int | str, result: Any) -> None:
        self.session.reply(id, result)
        self._flush_soon()

    def reply_error(self, id: int | str, error: RpcError) -> None:
        self.session.reply_error(id, error)
        self._flush_soon()

    @property
    def in_flight(self) -> int:
        return len(self.session.outgoing.calls)

    async def wait_idle(self) -> None:
        """Returns when no call is in flight. For one waiter at a time."""
        if self.session.outgoing.calls:
            self._idle = self._driver.waiter()
            await self._idle

    # -- hearing -------------------------------------------------------------------------------

    def _drain(self) -> None:
        """What has come, before anybody is declared late or lost."""
        if not self._ended:
            self._read(until=math.inf)

    def _read(self, until: float = 0.0) -> None:
        """Called by the loop, without `until`, once there is something to read."""
        if self._closed:
            return
        for _ in range(MAX_READS):
            try:
                data = os.read(self._read_fd, READ_BYTES)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                # The exit status, which says more, is usually a moment behind the end of the file.
                self._ended = True
                self._driver.remove_reader(self._read_fd)
                self._driver.call_at(self._driver.now() + EXIT_STATUS_S, self._end_of_file)
                return
            now = self.heard_at = self._now()
            self._handle(self.session.receive(data, now))
            if len(data) < READ_BYTES or self._closed:  # the first as nearly always
                return
            until = until or now + TURN_S
            if not self._reads_large and self.session.missing >= LARGE_BYTES:
                self._reads_large = True
                grow_pipe(self._read_fd)
            if self._now() > until:
                return

    def _end_of_file(self) -> None:
        if not self._closed:
            self._handle(self.session.receive_eof())

    def _handle(self, happened: list[Event]) -> None:
        for event in happened:
            if type(event) is events.Reply:
                self.replies += 1
                waiter = event.call.token
                if waiter.done():  # cancelled in this very turn
                    continue
                if event.error is None:
                    waiter.set_result(event.result)
                else:
                    self._fail(event.call, event.error)
            elif type(event) is events.Streamed:
                self.batches += 1
                event.call.token.feed(event.items)
            elif type(event) is events.Wanted:
                self.batches += 1
                event.call.token.resume()
            elif type(event) is events.Progressed and event.call.listener is not None:
                self._tell_progress(event)
            elif type(event) is events.Expired:
                forget_params(event.call)
                self._fail(event.call, Expired())
                self._see_that_it_reads()
            elif type(event) is events.Lost:
                self.unanswered.append(event.call)
                self._fail(event.call, Lost(event.reason))
            elif type(event) is events.Ended:
                self.unanswered[:0] = event.abandoned
                self._on_event(event)
            else:
                self._on_event(event)
        session = self.session
        if self._idle is not None and not self._calls and not self._idle.done():
            self._idle.set_result(None)
        if session.outbox.bytes:
            self._flush_soon()
        if session.stalls_at is not None:
            self._deadlines.watch(session.stalls_at)

    @staticmethod
    def _tell_progress(event: events.Progressed) -> None:
        said = event.value
        # Somebody else's code, in the middle of ours: it must not be able to stop the reading.
        try:
            event.call.listener(said.done, said.total, said.message)
        except Exception:
            print("outboard: a call's on_progress raised", file=sys.stderr)
            traceback.print_exc()

    @staticmethod
    def _fail(call: Call, exception: RpcError | Expired | Lost) -> None:
        exception.call_id = call.id
        if not call.token.done():
            call.token.set_exception(exception)

    def expire(self, now: float) -> float | None:
        """Called by `Deadlines`."""
        if self._closed:
            return None
        self._drain()  # a reply that waits in the pipe is not late
        self._handle(self.session.expire(now))
        return self.session.next_deadline()

    def _see_that_it_reads(self) -> None:
        """A cancel is on its way to a plugin that may be busy with the very call."""
        if self.nudge is not None and not self._closed:
            self.nudge()

    def _look_for_silence(self) -> None:
        self._silence = None
        outgoing = self.session.outgoing
        if self._closed or self.nudge is None or not (outgoing.calls or outgoing.abandoned):
            self._silence_s = SILENCE_S
            return
        now = self._driver.now()
        if now - self.heard_at >= self._silence_s:
            self.nudge()
            self._silence_s = min(2 * self._silence_s, MAX_SILENCE_S)
        else:
            self._silence_s = SILENCE_S
        self._silence = self._driver.call_at(now + self._silence_s, self._look_for_silence)

    # -- writing -------------------------------------------------------------------------------

    def _flush_soon(self) -> None:
        if not self._flush_due and not self._closed:
            self._flush_due = True
            self._driver.call_soon(self._flush_now)

    def _flush_now(self) -> None:
        self._flush_due = False
        self._flush()

    def _flush(self) -> None:
        if self._writer_armed or self._write_fd < 0:
            return
        outbox = self.session.outbox
        try:
            while self._unwritten or outbox.bytes:
                data = self._unwritten or outbox.take()
                if len(data) >= LARGE_BYTES and not self._writes_large:
                    self._writes_large = True
                    grow_pipe(self._write_fd)
                written = os.write(self._write_fd, data)
                self._unwritten = memoryview(data)[written:] if written < len(data) else b""
        except BlockingIOError:
            self._unwritten = data
            self._writer_armed = True
            self._driver.add_writer(self._write_fd, self._go_on_writing)
            return
        except OSError:  # nobody reads any more; what is still to be read may say why
            self._stop_writing()
            self._drain()
            # As with the end of the file: the exit status says more, and is a moment behind.
            at = self._driver.now() + EXIT_STATUS_S
            self._driver.call_at(at, lambda: self.lost("the plugin closed its input"))
            return
        if self._wait_for_room:
            waiting, self._wait_for_room = self._wait_for_room, []
            for waiter in waiting:
                if not waiter.done():
                    waiter.set_result(None)

    def _go_on_writing(self) -> None:
        """There is room in the pipe again."""
        self._stop_waiting_to_write()
        self._flush()

    # -- the end -------------------------------------------------------------------------------

    def lost(self, reason: str) -> None:
        """Settles every call: the process has ended, or is about to be killed."""
        if self._closed:
            return
        self._drain()  # what it managed to say before
        self._handle(self.session.close(None, reason))

    def close_input(self) -> None:
        """Ends the plugin's stdin: the oldest way to say goodbye."""
        if self._write_fd >= 0:
            self._stop_writing()
            os.close(self._write_fd)
            self._write_fd = -1

    def close(self) -> None:
        """Lets go of both descriptors. Never blocks, and may be called twice."""
        if self._closed:
            return
        self._handle(self.session.close(None, "closed"))
        if not self._ended:
            self._driver.remove_reader(self._read_fd)
        self._closed = True
        self.close_input()
        os.close(self._read_fd)
        self._deadlines.leave(self)
        if self._silence is not None:
            self._silence.cancel()

    def _stop_writing(self) -> None:
        self._stop_waiting_to_write()
        self._unwritten = b""

    def _stop_waiting_to_write(self) -> None:
        if self._writer_armed:
            self._writer_armed = False
            self._driver.remove_writer(self._write_fd)
