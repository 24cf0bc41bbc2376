"""What one end says: requests, notifications, replies, cancels and progress, and the tables behind them.

Everything is queued in the outbox, from which whoever owns the pipe takes it. `session` continues this with
what the end hears.
"""

from __future__ import annotations

from typing import Any, Literal

from msgspec import UNSET

from protocol import envelope, values
from protocol.counts import Counts
from protocol.envelope import MessageId, Meta
from protocol.errors import ErrorCode, Refusal, Refused, RpcError
from protocol.framing import frame
from protocol.lifecycle import CancelParams, Limits, ProgressParams, ProgressValue
from protocol.outbox import REPLY, REQUEST, Lane, Outbox
from protocol.pending import Call, Outgoing
from protocol.phases import MOVERS, READY, Phase, after, refusal
from protocol.progress import LatestWords
from protocol.stream_table import StreamTable
from protocol.streams import Receiving, Sending
from protocol.writing import Writing

Role = Literal["host", "plugin", "peer"]
"""A `peer` has no lifecycle: both ends may ask from the first byte. The control socket uses it."""

_LANES = {
    "$/progress": Lane.PROGRESS,
    "log/record": Lane.LOG,
    "lifecycle/ping": Lane.CONTROL,
    "config/changed": Lane.REPLY,  # before the answer to whoever asked for it, and never without room
}
NEVER_TOO_MANY = ("lifecycle/ping", "shutdown")  # a full peer can still be asked how it is, and to stop


class Speaking:
    """The half of a session that says something. A class to inherit from: a call costs no hop for it."""

    def __init__(self, role: Role) -> None:
        self.role = role
        self.phase = Phase.READY if role == "peer" else Phase.SPAWNED
        self.counts = Counts()
        self.outgoing = Outgoing()
        self.incoming: dict[MessageId, str] = {}
        """The peer's requests that are owed a reply, each with its method."""
        self.outbox = Outbox()
        self.writing = Writing()
        self.streams = StreamTable(self.outgoing, self.incoming, self.outbox, self.writing, self.counts)
        self._told = LatestWords()

    @property
    def peer_limits(self) -> Limits:
        """What the peer has said that it takes."""
        return self.writing.peer_limits

    @peer_limits.setter
    def peer_limits(self, limits: Limits) -> None:
        self.writing.peer_limits = limits

    def request(
        self,
        method: str,
        params: Any,
        deadline: float | None = None,
        token: Any = None,
        meta: Meta | None = None,
        has_bytes: bool | None = None,
    ) -> Call:
        """Queues a request. `deadline` is on the caller's clock, the one given to `expire`.

        `has_bytes`: whether there are bytes in `params`, if that is known already.

        Raises:
            Refused: nothing was queued, and `reason` says why.
        """
        if self.phase is not READY or method == "initialize":
            self._check_phase(method)
        outgoing, writing = self.outgoing, self.writing
        if len(outgoing.calls) >= writing.room and method not in NEVER_TOO_MANY:
            raise Refused(Refusal.TOO_MANY_IN_FLIGHT, f"{len(outgoing.calls)} calls are in flight")
        call = outgoing.open(method, params, deadline, token)
        try:
            if writing.packs and (values.holds_bytes(params) if has_bytes is None else has_bytes):
                asked = envelope.Request(call.id, method, params, UNSET if meta is None else meta)
                data = writing.framed_packed(asked, params)
            else:
                value = params if writing.packs else writing.for_json(params)
                data = writing.framed(
                    envelope.Request(call.id, method, value, UNSET if meta is None else meta)
                )
                if b"null" in data:
                    writing.check_whole(value, data)
        except Refused:
            outgoing.take_back(call)
            raise
        if meta is not None:
            if meta.credit is not None:
                call.stream = Receiving(meta.credit)
            if meta.up:
                call.up = Sending(0)
        if not self.outbox.put(_LANES.get(method, REQUEST), data, call):
            outgoing.take_back(call)
            raise Refused(Refusal.OUTBOX_FULL, f"{self.outbox.bytes} bytes wait for the peer to read")
        if method in MOVERS and self.role == "host":
            self.phase = after(self.phase, method)
        return call

    def notify(self, method: str, params: Any, *, lane: Lane | None = None) -> bool:
        """Queues a notification; False if there was no room for it or it is too late.

        Raises:
            Refused: it cannot be sent as it is.
        """
        if self.phase is Phase.CLOSED:
            return False
        data = self.writing.framed(envelope.Notification(method, params))
        queued = self.outbox.put(_LANES.get(method, REQUEST) if lane is None else lane, data)
        if queued and method in MOVERS and self.role == "host":
            self.phase = after(self.phase, method)
        return queued

    def reply(self, id: MessageId, result: Any) -> bool:
        """Answers a request; False if no answer is owed (any more).

        A result that cannot be sent becomes the error that says so: the caller is always answered.
        """
        if id not in self.incoming:
            return False
        try:
            writing = self.writing
            if writing.packs and type(result) not in values.PLAIN and values.holds_bytes(result):
                data = writing.framed_packed(envelope.Success(id, result), result)
            else:
                value = result if writing.packs else writing.for_json(result)
                data = writing.framed(envelope.Success(id, value))
                if b"null" in data:
                    writing.check_whole(value, data)
        except Refused as refused:
            code = (
                ErrorCode.PAYLOAD_TOO_LARGE
                if refused.reason is Refusal.TOO_LARGE
                else ErrorCode.RESULT_NOT_SERIALIZABLE
            )
            return self.reply_error(id, RpcError(code, f"the result cannot be sent: {refused.detail}"))
        if self.streams.answers or self.streams.uploads or self._told.by_id:
            return self._answer(id, data)
        del self.incoming[id]  # as there, when there is nothing but the answer: nearly always
        return self.outbox.put(REPLY, data, always=True)

    def reply_error(self, id: MessageId, error: RpcError) -> bool:
        """Answers a request with an error; False if no answer is owed (any more)."""
        if id not in self.incoming:
            return False
        try:
            data = self.writing.framed(envelope.failure(id, error))
        except Refused as refused:
            bare = RpcError(error.code, f"(the error's own text cannot be sent: {refused.reason})")
            data = frame(envelope.encode(envelope.failure(id, bare)))
        return self._answer(id, data)

    def _answer(self, id: MessageId, data: bytes) -> bool:
        lane = REPLY
        if id in self.streams.answers:
            self.streams.finish_answer(id)
            lane = Lane.STREAM  # behind its items, which would be lost otherwise
        self.streams.uploads.pop(id, None)
        self._told.forget(id)
        del self.incoming[id]
        return self.outbox.put(lane, data, always=True)

    def progress(self, id: MessageId, value: ProgressValue) -> bool:
        """Says how far a request is; False if nobody wants to know (any more). The latest word wins.

        Raises:
            Refused: it cannot be sent as it is.
        """
        if id not in self.incoming:
            return False
        word = ProgressParams(token=id, value=value)
        data = self.writing.framed(envelope.Notification("$/progress", word))
        return self.outbox.put(Lane.PROGRESS, data, self._told.replace(id))

    def cancel(self, call: Call, reason: str = "") -> None:
        """Settles our own call at once; the peer is told, unless it has not seen the call yet."""
        if call.settled:
            return
        if not call.sent:
            self.outgoing.settle(call.id)
            return
        self.outgoing.abandon(call)
        if call.method != "initialize":  # which cannot be cancelled
            self.notify("$/cancelRequest", CancelParams(id=call.id, reason=reason), lane=Lane.CONTROL)

    def _check_phase(self, method: str) -> None:
        if self.phase is Phase.CLOSED:
            raise Refused(Refusal.CLOSED, "the connection is closed")
        if refused := refusal(self.phase, method, from_host=self.role == "host"):
            raise Refused(Refusal.WRONG_PHASE, f"{method}: {refused[1]}")
