"""JSON-RPC 2.0 messages: one pass to read one, one pass to write one.

A message is decoded once, into a flat struct whose `params` and `result` stay raw; what it *is*
follows from which members are there. `decode` raises `Malformed` and nothing else, whatever the
bytes. No batches: the specification lets a server refuse them, and nobody who multiplexes by id
needs them.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Raw, UnsetType

from protocol.errors import ErrorCode, RpcError
from protocol.guard import MAX_DEPTH, is_too_deep, why_unsafe

MAX_ID = 2**31 - 1

MessageId = int | str
_WireId = (
    Annotated[int, msgspec.Meta(ge=-(2**53) + 1, le=2**53 - 1)] | Annotated[str, msgspec.Meta(max_length=128)]
)


class Meta(msgspec.Struct, omit_defaults=True, gc=False):
    """What travels beside `params`, once both sides have announced the feature it belongs to."""

    timeout_ms: int | None = None
    """Time remaining when the frame was queued."""
    traceparent: str | None = None
    tracestate: str | None = None
    progress: bool = False
    parent: int | str | None = None
    """Of the request that this one is made for; its id is the receiver's request's, as the receiver knows it:
    a plugin names a call that the host made, the host one that the plugin made."""
    idempotency_key: str | None = None


class ErrorObject(msgspec.Struct):
    """The `error` member of a reply."""

    code: int
    message: str
    data: Any | UnsetType = UNSET


# gc=False: message structs hold no cycles, so the collector need not count and visit them.
class Envelope(msgspec.Struct, gc=False):
    """Any message, classified by which members are present."""

    jsonrpc: Literal["2.0"]
    id: _WireId | UnsetType | None = UNSET
    method: str | UnsetType = UNSET
    params: Raw | UnsetType = UNSET
    result: Raw | UnsetType = UNSET
    error: Raw | UnsetType = UNSET
    meta: Meta | None = None


class _Request(msgspec.Struct, gc=False):
    jsonrpc: str
    id: MessageId
    method: str
    params: Any
    meta: Meta | UnsetType = UNSET


class _Notification(msgspec.Struct, gc=False):
    jsonrpc: str
    method: str
    params: Any


class _Success(msgspec.Struct, gc=False):
    jsonrpc: str
    id: MessageId
    result: Any


class _Failure(msgspec.Struct, gc=False):
    jsonrpc: str
    id: MessageId | None
    error: ErrorObject


class Malformed(Exception):
    """A body that is no message. `reply_to` says whose call a bad reply was meant to settle."""

    def __init__(
        self, code: ErrorCode, message: str, *, is_reply: bool = False, reply_to: Any = None
    ) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message
        self.is_reply = is_reply
        self.reply_to = reply_to


class NotSerializable(Exception):
    """A value that JSON cannot carry."""


_decoder = msgspec.json.Decoder(Envelope)
_error_decoder = msgspec.json.Decoder(ErrorObject)
_raw_decoder = msgspec.json.Decoder(Raw)
_members_decoder = msgspec.json.Decoder(dict[str, Raw])
_id_decoder: msgspec.json.Decoder[MessageId] = msgspec.json.Decoder(MessageId)
_encoder = msgspec.json.Encoder()
EMPTY = Raw(b"{}")
_OBJECT, _ARRAY = 0x7B, 0x5B


def decode(body: bytes) -> Envelope:
    """The message in `body`.

    Raises:
        Malformed: with PARSE_ERROR for what is not JSON, INVALID_REQUEST for what is not a message.
    """
    if reason := why_unsafe(body):
        raise Malformed(ErrorCode.PARSE_ERROR, reason)
    try:
        return _decoder.decode(body)
    except msgspec.ValidationError as error:
        raise _explain(body, str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(ErrorCode.PARSE_ERROR, str(error)) from None


def _explain(body: bytes, reason: str) -> Malformed:
    """Why a JSON value is no message; slow, and only for what was refused already."""
    reason = reason[:200]  # it quotes what was sent, and goes back in an answer
    try:  # raw: what is in it may be large, and is of no interest
        _raw_decoder.decode(body)
        if body.lstrip()[:1] == b"[":
            reason = "batches are not supported: send one message a frame"
            return Malformed(ErrorCode.INVALID_REQUEST, reason)
        members = _members_decoder.decode(body)
    except msgspec.ValidationError:
        return Malformed(ErrorCode.INVALID_REQUEST, reason)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return Malformed(ErrorCode.PARSE_ERROR, str(error)[:200])
    if "method" in members or not ("result" in members or "error" in members):
        return Malformed(ErrorCode.INVALID_REQUEST, reason)
    try:
        reply_to = _id_decoder.decode(members["id"])  # strict: true is not call 1
    except (KeyError, msgspec.DecodeError):
        reply_to = None
    return Malformed(ErrorCode.INVALID_REQUEST, reason, is_reply=True, reply_to=reply_to)


def is_structured(params: Raw) -> bool:
    """Whether params are an object or an array, as the specification wants them."""
    return memoryview(params)[0] in (_OBJECT, _ARRAY)


def error_of(raw: Raw) -> RpcError:
    """The error in a reply; a malformed one becomes an INVALID_REQUEST that says so."""
    try:
        error = _error_decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as problem:
        return RpcError(ErrorCode.INVALID_REQUEST, f"the error in the reply is malformed: {problem}")
    return RpcError(error.code, error.message, None if error.data is UNSET else error.data)


def encode_request(id: MessageId, method: str, params: Any, meta: Meta | None = None) -> bytes:
    """Raises `NotSerializable`."""
    return _encode(_Request("2.0", id, method, params, UNSET if meta is None else meta))


def encode_notification(method: str, params: Any) -> bytes:
    """Raises `NotSerializable`."""
    return _encode(_Notification("2.0", method, params))


def encode_result(id: MessageId, result: Any) -> bytes:
    """Raises `NotSerializable`."""
    return _encode(_Success("2.0", id, result))


def encode_error(id: MessageId | None, error: RpcError) -> bytes:
    """Raises `NotSerializable`."""
    data = UNSET if error.data is None else error.data
    return _encode(_Failure("2.0", id, ErrorObject(error.code, error.message, data)))


def _encode(message: msgspec.Struct) -> bytes:
    # Whatever a value's own code raises while it is encoded is the value's fault, so this is one of
    # the few places that catch every exception.
    try:
        body = _encoder.encode(message)
    except Exception as error:
        raise NotSerializable(f"{type(error).__name__}: {_text_of(error)}") from None
    # Here all that opens is closed again, so what is shorter than that needs no counting: 0.3 us.
    if len(body) > 2 * MAX_DEPTH and is_too_deep(body):
        raise NotSerializable("nested more than 128 deep")
    return body


def _text_of(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:
        return "(its text cannot be had)"
