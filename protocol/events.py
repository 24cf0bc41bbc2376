"""What a session tells the shell around it. A closed union: `Event`."""

from __future__ import annotations

import msgspec

from protocol.envelope import MessageId, Meta
from protocol.errors import Fault, RpcError
from protocol.lifecycle import ProgressValue
from protocol.pending import Call


class Request(msgspec.Struct, frozen=True, gc=False):
    """The peer asks. `Session.reply` or `Session.reply_error` is owed, exactly once."""

    id: MessageId
    method: str
    params: msgspec.Raw
    """An object or an array; `{}` if the peer sent none."""
    meta: Meta | None = None


class Notification(msgspec.Struct, frozen=True, gc=False):
    """The peer tells. Nothing is owed."""

    method: str
    params: msgspec.Raw


class Reply(msgspec.Struct, frozen=True, gc=False):
    """A call of ours is settled by its reply: `error` is None, or `result` is."""

    call: Call
    result: msgspec.Raw | None
    error: RpcError | None


class Expired(msgspec.Struct, frozen=True, gc=False):
    """A call of ours is settled by its deadline. Its reply, if one comes, is dropped and counted."""

    call: Call


class Lost(msgspec.Struct, frozen=True, gc=False):
    """A call of ours is settled by the end of the connection."""

    call: Call
    reason: str


class Cancelled(msgspec.Struct, frozen=True, gc=False):
    """The peer no longer wants the reply to a request that was handed out. One is still owed."""

    id: MessageId


class Streamed(msgspec.Struct, frozen=True, gc=False):
    """Items of the answer to a call of ours. `StreamTable.use` is owed for each, once out of our hands."""

    call: Call
    items: list[msgspec.Raw]


class Resumed(msgspec.Struct, frozen=True, gc=False):
    """The peer takes more of the stream that answers its request, after it had not for a while."""

    id: MessageId


class Wanted(msgspec.Struct, frozen=True, gc=False):
    """The peer takes more of the items that go with a call of ours, after it had not for a while."""

    call: Call


class Uploaded(msgspec.Struct, frozen=True, gc=False):
    """Items that go with a request that was handed out. `StreamTable.use` is owed for each."""

    id: MessageId
    items: list[msgspec.Raw]
    is_over: bool = False
    """No more will come."""
    error: RpcError | None = None
    """The peer has broken the rules, which is why no more will."""


class Progressed(msgspec.Struct, frozen=True, gc=False):
    """How far the peer is with a call of ours."""

    call: Call
    value: ProgressValue


class Strayed(msgspec.Struct, frozen=True, gc=False):
    """Somebody wrote to the protocol's stream between two frames."""

    text: bytes


class Ended(msgspec.Struct, frozen=True, gc=False):
    """The connection is over: end of file (`fault` is None), or a fault. Always the last event."""

    fault: Fault | None
    detail: str
    abandoned: list[Call] = []
    """Calls of ours that were given up, and that the peer still owed a reply; the oldest first."""


Event = (
    Request
    | Notification
    | Reply
    | Expired
    | Lost
    | Cancelled
    | Streamed
    | Resumed
    | Wanted
    | Uploaded
    | Progressed
    | Strayed
    | Ended
)
