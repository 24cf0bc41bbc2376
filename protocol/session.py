"""One end of a connection, without the connection.

Bytes go in and events come out; messages go in and bytes come out. Here is what comes in, and the time
and the end; what goes out is in `speaking`, which this continues. Both sides use this class, and it
does no I/O, reads no clock, starts no thread and calls nobody: the shell around it owns the pipe, the
time and the handlers. Same inputs and times, same outputs, so any session can be replayed.

What it promises, whatever the peer sends (each a property test):

* no input raises;
* every request that came in gets exactly one reply, and every call that went out is settled exactly
  once: by its reply, its deadline, its cancellation or the end of the connection;
* frames of one lane leave in the order they were queued, and never inside one another;
* memory stays within the limits, and closing empties every table.

Not safe for threads: a shell with more than one puts a lock around it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec
from msgspec import UNSET, Raw

from protocol import envelope, values
from protocol.envelope import CONTAINERS, EMPTY, Malformed, MessageId
from protocol.errors import ErrorCode, Fault, RpcError
from protocol.events import (
    Cancelled,
    Ended,
    Event,
    Expired,
    Lost,
    Notification,
    Progressed,
    Reply,
    Request,
    Strayed,
)
from protocol.framing import Broken, FrameReader, Noise, Packed, Piece, frame
from protocol.lifecycle import CancelParams, Limits, ProgressParams
from protocol.outbox import REPLY
from protocol.phases import CLOSED, MOVERS, READY, Phase, after, refusal
from protocol.speaking import NEVER_TOO_MANY, Role, Speaking
from protocol.streams import Sending

STALL_S = 10.0
"""How long a frame may stand still half-way."""

_cancel_decoder = values.Decoder(CancelParams)
_progress_decoder = values.Decoder(ProgressParams)


class Session(Speaking):
    """One end. `limits` are our own; `peer_limits` are set once the peer has announced them."""

    def __init__(self, role: Role, *, limits: Limits | None = None) -> None:
        super().__init__(role)
        self.limits = limits or Limits()
        self.stalls_at: float | None = None
        """When an unfinished frame will have stood still for too long; None between frames."""
        self._reader = FrameReader(max_frame=self.limits.max_frame)
        self._room = self.limits.max_in_flight + self.limits.queue
        self._unseen: dict[MessageId, int] = {}  # requests of the chunk being read → their event

    def speak_packed(self) -> None:
        """From now on MessagePack goes both ways, in frames that hold bytes: both sides have agreed on it."""
        self.writing.packs = self._reader.takes_packed = True

    def receive(self, data: bytes, now: float) -> list[Event]:
        """What `data` means, in order. Never raises."""
        if self.phase is CLOSED:
            return []
        events: list[Event] = []
        reader = self._reader
        self._read(reader.receive(data), events)
        if self._unseen:
            self._unseen.clear()
        if self.stalls_at is not None or not reader.rests:
            self.stalls_at = now + STALL_S if reader.inside_frame else None
        return events

    @property
    def missing(self) -> int:
        """Bytes that are still to come of a frame that has begun."""
        return self._reader.missing

    def receive_eof(self) -> list[Event]:
        """The peer has closed its end. Closes ours; the last event is `Ended`."""
        events: list[Event] = []
        self._read(self._reader.end(), events)
        self._unseen.clear()
        if self.phase is not Phase.CLOSED:
            events += self.close(None, "end of file")
        return events

    def expire(self, now: float) -> list[Event]:
        """Settles the calls whose deadline is not after `now`, and notices a frame that stands still."""
        events: list[Event] = []
        for call in self.outgoing.expired(now):
            self.cancel(call, "deadline")
            events.append(Expired(call))
        if self.stalls_at is not None and self.stalls_at <= now:
            events += self.close(Fault.FRAME_STALLED, f"no byte for {STALL_S:g} s")
        return events

    def next_deadline(self) -> float | None:
        """When `expire` has something to do, as things stand; None for never."""
        at = self.outgoing.next_deadline()
        if self.stalls_at is None:
            return at
        return self.stalls_at if at is None else min(at, self.stalls_at)

    def close(self, fault: Fault | None, detail: str) -> list[Event]:
        """Ends the session: every call is settled, every table and queue empty."""
        if self.phase is Phase.CLOSED:
            return []
        self.phase = Phase.CLOSED
        reason = f"{fault}: {detail}" if fault else detail
        abandoned = list(self.outgoing.abandoned.values())
        events: list[Event] = [Lost(call, reason) for call in self.outgoing.drain()]
        gone = RpcError(ErrorCode.SHUTTING_DOWN, reason)
        events += self.streams.close(gone)
        self.incoming.clear()
        self.outbox.clear()
        self._told.by_id.clear()
        self.stalls_at = None
        self._reader = FrameReader()
        events.append(Ended(fault, detail, abandoned))
        return events

    def _read(self, pieces: Iterable[Piece], events: list[Event]) -> None:
        calls, decode = self.outgoing.calls, envelope.decode
        for piece in pieces:
            if type(piece) is bytes or type(piece) is Packed:
                try:
                    if type(piece) is bytes:
                        message = decode(piece)
                    else:
                        message = envelope.decode_packed(piece.body)  # type: ignore[union-attr]
                except Malformed as problem:
                    self._read_malformed(problem, events)
                else:
                    method = message.method
                    if method is UNSET:
                        # `settle` written out, for a reply as nearly all are: 0.2 us of every call.
                        if message.error is UNSET and message.result is not UNSET:
                            call = calls.pop(message.id, None)  # type: ignore[arg-type]
                            if call is not None:
                                call.settled = True
                                events.append(Reply(call, message.result, None))
                                continue
                        self._read_reply(message, events)
                    elif message.id is UNSET:
                        self._read_notification(message, method, events)
                    else:
                        self._read_request(message, message.id, method, events)
            elif isinstance(piece, Noise):
                self.counts.noise_bytes += len(piece.text)
                events.append(Strayed(piece.text))
            elif isinstance(piece, Broken):
                events += self.close(piece.fault, piece.detail)
                return
            if self.outbox.bytes and self.outbox.is_flooded:
                # Somebody asks and asks, and does not read our answers.
                events += self.close(Fault.NOT_READING, f"{self.outbox.bytes} bytes of answers wait")
            if self.phase is CLOSED:
                return

    def _read_reply(self, message: envelope.Envelope, events: list[Event]) -> None:
        """A reply that is no plain answer to a call in flight."""
        id, result, error = message.id, message.result, message.error
        if (result is UNSET) == (error is UNSET):
            if result is UNSET and (id is UNSET or id is None):
                self._refuse_message(ErrorCode.INVALID_REQUEST, "neither a method nor a result nor an error")
            else:
                self._settle_badly(id, "a reply needs either a result or an error", events)
            return
        if id is None or id is UNSET:  # the peer could not tell which message it refuses
            self.counts.bad_replies += 1
            return
        call = self.outgoing.settle(id)
        if call is None:
            if self.outgoing.forget_abandoned(id):
                self.counts.late_replies += 1
            else:
                self.counts.unknown_replies += 1
        else:
            assert error is not UNSET
            events.append(Reply(call, None, envelope.error_of(error)))

    def _read_request(
        self, message: envelope.Envelope, id: MessageId | None, method: str, events: list[Event]
    ) -> None:
        if id is None:
            self._refuse_message(ErrorCode.INVALID_REQUEST, "the id of a request must not be null")
            return
        if id in self.incoming:
            self._refuse_message(ErrorCode.INVALID_REQUEST, "the id is in flight already")
            return
        self.incoming[id] = method
        if self.phase is not READY or method == "initialize":
            refused = refusal(self.phase, method, from_host=self.role == "plugin")
            if refused:
                self.reply_error(id, RpcError(*refused))
                return
        room = self._room
        if len(self.incoming) > room and method not in NEVER_TOO_MANY:
            data = {"limit": room, "retry_after_ms": 100}
            self.reply_error(id, RpcError(ErrorCode.OVERLOADED, f"{room} requests are in flight", data))
            return
        params = message.params
        if params is UNSET or memoryview(params)[0] not in CONTAINERS:
            if params is not UNSET and bytes(params) != b"null":
                problem = [{"path": "$", "reason": "params must be an object or an array"}]
                self.reply_error(id, RpcError(ErrorCode.INVALID_PARAMS, "params must be an object", problem))
                return
            params = EMPTY
        if method in MOVERS and self.role == "plugin":
            self.phase = after(self.phase, method)
        if message.meta is not None and (credit := message.meta.credit) is not None and credit > 0:
            self.streams.answers[id] = Sending(credit)
        self._unseen[id] = len(events)
        events.append(Request(id, method, params, message.meta))

    def _read_notification(self, message: envelope.Envelope, method: str, events: list[Event]) -> None:
        params = message.params
        if params is UNSET or not envelope.is_structured(params):
            params = EMPTY
        if method in _OWN_BUSINESS:
            try:
                _OWN_BUSINESS[method](self, params, events)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                self.counts.bad_messages += 1
                if method == "$/stream":
                    self._fail(envelope.about(bytes(params)), str(error), events)
            return
        if method in MOVERS and self.role == "plugin":
            self.phase = after(self.phase, method)
        events.append(Notification(method, params))

    def _read_cancel(self, params: Raw, events: list[Event]) -> None:
        try:
            id = _cancel_decoder.decode(params).id
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            self.counts.unknown_cancels += 1
            return
        method = self.incoming.get(id)
        if method is None:
            self.counts.unknown_cancels += 1
        elif method in ("initialize", "shutdown"):
            return  # cannot be cancelled
        elif (index := self._unseen.pop(id, None)) is not None:
            # Request and cancel came together: nobody has seen the request, and nobody will.
            del events[index]
            self._unseen = {other: at - (at > index) for other, at in self._unseen.items()}
            self.reply_error(id, RpcError(ErrorCode.REQUEST_CANCELLED, "cancelled"))
        else:
            events.append(Cancelled(id))

    def _read_items(self, params: Raw, events: list[Event]) -> None:
        event = self.streams.receive_items(params)
        if type(event) is Reply:
            self.cancel(event.call, "flow control")
        if event is not None:
            events.append(event)

    def _read_credit(self, params: Raw, events: list[Event]) -> None:
        if (event := self.streams.receive_credit(params)) is not None:
            events.append(event)

    def _read_progress(self, params: Raw, events: list[Event]) -> None:
        progress = _progress_decoder.decode(params)
        call = self.outgoing.calls.get(progress.token)  # a str finds nothing
        if call is not None:
            events.append(Progressed(call, progress.value))

    def _read_malformed(self, problem: Malformed, events: list[Event]) -> None:
        if not problem.is_reply:
            self._refuse_message(problem.code, problem.message)
            self._fail(problem.about, problem.message, events)
        else:
            self._settle_badly(problem.reply_to, problem.message, events)

    def _fail(self, id: int | None, reason: str, events: list[Event]) -> None:
        """What came of a call cannot be read; of a stream, that was not its end."""
        call = None if id is None else self.outgoing.calls.get(id)
        if call is None:
            return
        if call.stream is not None:
            self.cancel(call, "what came of it cannot be read")
        else:
            self.outgoing.settle(call.id)
        error = RpcError(ErrorCode.INVALID_REQUEST, f"what it answered cannot be read: {reason}")
        events.append(Reply(call, None, error))

    def _settle_badly(self, id: Any, reason: str, events: list[Event]) -> None:
        """A bad reply is never answered; but whoever waits for it is told at once."""
        self.counts.bad_replies += 1
        call = self.outgoing.settle(id)
        if call is not None:
            error = RpcError(ErrorCode.INVALID_REQUEST, f"the reply is malformed: {reason}")
            events.append(Reply(call, None, error))
        else:
            self.outgoing.forget_abandoned(id)

    def _refuse_message(self, code: ErrorCode, reason: str) -> None:
        self.counts.bad_messages += 1
        self.outbox.put(REPLY, frame(envelope.encode(envelope.failure(None, RpcError(code, reason)))))


_OWN_BUSINESS: dict[str, Callable[[Session, Raw, list[Event]], None]] = {
    "$/cancelRequest": Session._read_cancel,
    "$/stream": Session._read_items,
    "$/credit": Session._read_credit,
    "$/progress": Session._read_progress,
}
"""Notifications that nobody but the session itself can make sense of."""
