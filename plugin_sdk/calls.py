"""The plugin's own requests: to other plugins, and to the app that the host is part of.

A handler waits for the answer where it stands. The answer, and the end of what the handler is asked for,
come from whichever thread reads. A call that has come round to this plugin from the one that is waited
for is run by the thread that waits: nobody else might be free, and it is that thread's own business.
"""

from __future__ import annotations

import time
from queue import Empty, SimpleQueue
from threading import Lock
from types import EllipsisType
from typing import TYPE_CHECKING, Any

import msgspec

from plugin_sdk import errors
from protocol import values
from protocol.envelope import Meta
from protocol.errors import ErrorCode, Refusal, Refused, RpcError
from protocol.events import Expired, Lost, Reply, Resumed, Streamed, Uploaded
from protocol.pending import Call

if TYPE_CHECKING:
    from plugin_sdk.context import Context
    from plugin_sdk.desk import Desk
    from plugin_sdk.jobs import Job

LATE_S = 0.1
"""The host ends a call when its time is over; so much later a plugin does it by itself."""
LONGEST_S = 1e7
"""More than anybody waits: what a host is told for no limit."""
UPDATE = "config/update"
Settled = Reply | Expired | Lost
News = Settled | Streamed | Resumed | Uploaded
"""What a thread may wait for."""
_OVER = RpcError(ErrorCode.REQUEST_CANCELLED, "the call that it was made for is over")


class Question(msgspec.Struct, frozen=True):
    """What is asked of whom. `timeout_s` is `...` for the method's own, else 30 s; None for no limit.

    Either way there is no more time than the call that it is made for has left. Raises ValueError.
    """

    plugin: str
    """`host` for a service of the app's."""
    method: str
    wire_name: str
    params: Any
    timeout_s: float | EllipsisType | None = ...
    result: Any = Any
    """Its type; None for no result worth a word."""
    credit: int | None = None
    """Items that may come at once, where the answer is a stream."""

    def __post_init__(self) -> None:
        timeout_s = self.timeout_s
        if timeout_s is ... or timeout_s is None:
            return
        if not isinstance(timeout_s, int | float) or not 0 <= timeout_s <= LONGEST_S:
            raise ValueError(f"timeout={timeout_s!r}: give seconds, or None for no limit")


class Waiting:
    """A thread that waits. `inbox` gets the answer, None for a cancellation, and jobs to run meanwhile."""

    __slots__ = ("_lock", "_over", "inbox")

    def __init__(self) -> None:
        self.inbox: SimpleQueue[News | Job | None] = SimpleQueue()
        self._lock = Lock()
        self._over = False

    def settle(self, event: News) -> None:
        self.inbox.put(event)

    def cancel(self) -> None:
        self.inbox.put(None)

    def adopt(self, job: Job) -> bool:
        """Whether the job will be run, or answered, here."""
        with self._lock:
            if self._over or job.is_async:
                return False
            self.inbox.put(job)
            return True

    def end(self) -> None:
        """Nothing is waited for any more; jobs that came too late are answered."""
        with self._lock:
            self._over = True
        try:
            while True:
                left = self.inbox.get_nowait()
                if left is not None and not isinstance(left, News):
                    left.come_too_late(_OVER)
        except Empty:
            pass


def ask(desk: Desk, context: Context, question: Question) -> Any:
    """Asks, and blocks until there is an answer. Raises a `CallFailed`."""
    waiting = Waiting()
    deadline = deadline_of(context, question)
    context._waiting.append(waiting)
    desk.begin_to_wait(waiting)
    try:
        if context.cancelled:  # looked at after it can no longer be missed
            raise _cancelled(question)
        call = send(desk, context, question, waiting)
        try:
            settled = desk.wait(waiting, deadline)
        finally:
            if not call.settled:
                desk.channel.cancel(call, "cancelled" if context.cancelled else "deadline")
    finally:
        context._waiting.remove(waiting)
        desk.waiting.remove(waiting)
        waiting.end()
    if settled is None and not context.cancelled:
        settled = gone_by(call)
    return answer_in(settled, question)


def gone_by(call: Call) -> Expired:
    """What has become of a call that the host has not ended in time."""
    return Expired(call)


def deadline_of(context: Context, question: Question) -> float | None:
    """When to give up, should the host not have said by then that the time is over."""
    timeout_s = question.timeout_s
    own = None if timeout_s is None or timeout_s is ... else time.monotonic() + timeout_s
    first = min((at for at in (own, context.deadline) if at is not None), default=None)
    return None if first is None else first + LATE_S


def send(desk: Desk, context: Context, question: Question, token: Any) -> Call:
    """Raises a `CallFailed` if it cannot be sent."""
    meta = Meta()
    if "parent" in desk.features:
        meta.parent = context.request_id
    if "trace" in desk.features:
        meta.traceparent, meta.tracestate = context.traceparent, context.tracestate
    timeout_s = question.timeout_s
    if timeout_s is not ... and "deadline" in desk.features:
        meta.timeout_ms = max(1, int((LONGEST_S if timeout_s is None else timeout_s) * 1000))
    if question.credit is not None:
        if "stream" not in desk.features:
            text = "this host knows no streams"
            raise _made(errors.MethodNotFound, question, ErrorCode.METHOD_NOT_FOUND, text)
        meta.credit = question.credit
    try:
        return desk.channel.request(question.wire_name, question.params, token=token, meta=meta)
    except Refused as refused:
        raise refused_as(refused, question) from None


def answer_in(settled: News | None, question: Question) -> Any:
    if settled is None:
        raise _cancelled(question)
    if isinstance(settled, Reply):
        if settled.error is not None:
            raise _failure(settled.error, question)
        assert settled.result is not None
        return None if question.result is None else values.decode(settled.result, question.result)
    if isinstance(settled, Lost):
        raise _made(errors.PluginUnavailable, question, ErrorCode.SHUTTING_DOWN, "the host is gone")
    raise _made(errors.DeadlineExceeded, question, ErrorCode.DEADLINE_EXCEEDED, "no answer in time")


def _made(
    kind: type[errors.CallFailed], question: Question, code: int, message: str, data: Any = None
) -> errors.CallFailed:
    if question.wire_name == UPDATE and code in (ErrorCode.INVALID_PARAMS, ErrorCode.INVALID_STATE):
        kind = errors.SettingsRefused
    return kind(message, plugin=question.plugin, method=question.method, code=int(code), data=data)


def _cancelled(question: Question) -> errors.CallFailed:
    return _made(errors.CallCancelled, question, ErrorCode.REQUEST_CANCELLED, "cancelled")


def refused_as(refused: Refused, question: Question) -> errors.CallFailed:
    """What could not be sent, as whoever asks is to see it."""
    match refused.reason:
        case Refusal.TOO_MANY_IN_FLIGHT | Refusal.OUTBOX_FULL:
            data = {"retry_after_ms": 100}
            return _made(errors.PluginBusy, question, ErrorCode.OVERLOADED, str(refused), data)
        case Refusal.TOO_LARGE:
            return _made(errors.RemoteError, question, ErrorCode.PAYLOAD_TOO_LARGE, str(refused))
        case Refusal.NOT_SERIALIZABLE:
            text = f"the params cannot be sent: {refused}"
            return _made(errors.RemoteError, question, ErrorCode.INVALID_PARAMS, text)
    return _made(errors.PluginUnavailable, question, ErrorCode.INVALID_STATE, str(refused))


_KINDS: dict[int, type[errors.CallFailed]] = {
    ErrorCode.METHOD_NOT_FOUND: errors.MethodNotFound,
    ErrorCode.INVALID_PARAMS: errors.ContractError,
    ErrorCode.OVERLOADED: errors.PluginBusy,
    ErrorCode.PERMISSION_DENIED: errors.PermissionDenied,
    ErrorCode.DEADLINE_EXCEEDED: errors.DeadlineExceeded,
    ErrorCode.NOT_READY: errors.PluginUnavailable,
    ErrorCode.CALL_CYCLE: errors.CallCycle,
    ErrorCode.REQUEST_CANCELLED: errors.CallCancelled,
}
_HOST_KINDS: dict[str, type[errors.CallFailed]] = {
    "OB402": errors.PluginCrashed,
    "OB420": errors.UnknownTopic,
    "OB505": errors.StoreFull,
    "OB506": errors.StoreUnavailable,
    "OB507": errors.StoreConflict,
}
"""What only the host can know of, by its own code."""


def _failure(error: RpcError, question: Question) -> errors.CallFailed:
    kind = _KINDS.get(error.code, errors.RemoteError)
    if isinstance(error.data, dict):
        kind = _HOST_KINDS.get(error.data.get("host_error", ""), kind)
    return _made(kind, question, error.code, error.message, error.data)
