"""JSON-RPC 2.0 messages: one pass to read one, one pass to write one.

A message is decoded once, into a flat struct whose `params` and `result` stay raw; what it *is*
follows from which members are there. `decode` raises `Malformed` and nothing else, whatever the
bytes. No batches: the specification lets a server refuse them, and nobody who multiplexes by id
needs them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Raw, UnsetType

from protocol import values
from protocol.errors import ErrorCode, RpcError
from protocol.guard import BACKSLASH, CANNOT_BE_DEEP, MAX_DEPTH, is_too_deep, why_unsafe
from protocol.packed import why_unsafe as why_unsafe_packed

MAX_ID = 2**31 - 1
ITEM_DEPTH = MAX_DEPTH - 3
"""Of an item of a stream: the batch, its params and the message are around it."""

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
    credit: int | None = None
    """The answer may come as a stream, and so many items of it at once."""
    up: bool = False
    """Items go with the request, as the receiver gives credit for them."""
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


class Message(msgspec.Struct, gc=False, tag_field="jsonrpc", tag="2.0"):
    """Any message that is to be encoded."""


class Request(Message):
    id: MessageId
    method: str
    params: Any
    meta: Meta | UnsetType = UNSET


class Notification(Message):
    method: str
    params: Any


class Success(Message):
    id: MessageId
    result: Any


class Failure(Message):
    id: MessageId | None
    error: ErrorObject


def failure(id: MessageId | None, error: RpcError) -> Failure:
    data = UNSET if error.data is None else error.data
    return Failure(id, ErrorObject(error.code, error.message, data))


class Malformed(Exception):
    """A body that is no message. `reply_to` says whose call a bad reply was meant to settle.

    `about` is the call that a body which cannot be read seems to have answered, or to have sent items of.
    """

    def __init__(
        self,
        code: ErrorCode,
        message: str,
        *,
        is_reply: bool = False,
        reply_to: Any = None,
        about: int | None = None,
    ) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message
        self.is_reply = is_reply
        self.reply_to = reply_to
        self.about = about


class NotSerializable(Exception):
    """A value that JSON cannot carry."""


class _Format:
    """Both encodings have the same of everything."""

    def __init__(self, module: Any) -> None:
        self.message: msgspec.json.Decoder[Envelope] = module.Decoder(Envelope)
        self.anything = module.Decoder(Raw)
        self.members = module.Decoder(dict[str, Raw])
        self.id = module.Decoder(MessageId)
        self.encode: Callable[[Any], bytes] = module.Encoder().encode


_JSON, _PACKED = _Format(msgspec.json), _Format(msgspec.msgpack)
_decoder, encode_json = _JSON.message, _JSON.encode  # of nearly every message
_error_decoder = values.Decoder(ErrorObject)
EMPTY = Raw(b"{}")
CONTAINERS = frozenset([*b"{[", *range(0x80, 0xA0), *range(0xDC, 0xE0)])
"""How an object or an array begins, in either encoding."""


def decode(body: bytes) -> Envelope:
    """The message in `body`.

    Raises:
        Malformed: with PARSE_ERROR for what is not JSON, INVALID_REQUEST for what is not a message.
    """
    # Nearly every message needs no more than this look, of 0.1 us: it is short, and text without escapes.
    if (len(body) > CANNOT_BE_DEEP or BACKSLASH in body or not body.isascii()) and (
        reason := why_unsafe(body)
    ):
        raise Malformed(ErrorCode.PARSE_ERROR, reason, about=about(body))
    try:
        return _decoder.decode(body)
    except msgspec.ValidationError as error:
        raise _explain(body, str(error), _JSON) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(ErrorCode.PARSE_ERROR, str(error), about=about(body)) from None


_ID = rb'"id"\s*:\s*(\d{1,10})\b'
_METHOD = rb'"method"\s*:\s*"((?:[^"\\]|\\/)*)"'
_ABOUT_BYTES = 256


def about(body: bytes) -> int | None:
    """A guess, or somebody would wait until the deadline, or for ever, for an answer that has come.

    Python's own `json` writes NaN for instance, which is no JSON. Nobody but the peer's own calls is hurt by
    a guess that is wrong.
    """
    ends = body[:_ABOUT_BYTES] + b" " + body[-_ABOUT_BYTES:]
    method, id = re.search(_METHOD, ends), re.search(_ID, ends)
    if id is None or (method is not None and method[1].replace(b"\\/", b"/") != b"$/stream"):
        return None
    return int(id[1])


def decode_packed(body: bytes) -> Envelope:
    """The message in `body`, which is MessagePack. Raises `Malformed`."""
    if reason := why_unsafe_packed(body):
        raise Malformed(ErrorCode.PARSE_ERROR, reason)
    try:
        message: Envelope = _PACKED.message.decode(body)
    except msgspec.ValidationError as error:
        raise _explain(body, str(error), _PACKED) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(ErrorCode.PARSE_ERROR, str(error)) from None
    if message.result is not UNSET:
        message.result = values.told_apart(message.result)
    if message.params is not UNSET:
        message.params = values.told_apart(message.params)
    return message


def _explain(body: bytes, reason: str, form: _Format) -> Malformed:
    """Why a value is no message; slow, and only for what was refused already."""
    reason = reason[:200]  # it quotes what was sent, and goes back in an answer
    try:  # raw: what is in it may be large, and is of no interest
        form.anything.decode(body)
        if form is _JSON and body.lstrip()[:1] == b"[":
            reason = "batches are not supported: send one message a frame"
            return Malformed(ErrorCode.INVALID_REQUEST, reason)
        members = form.members.decode(body)
    except msgspec.ValidationError:
        return Malformed(ErrorCode.INVALID_REQUEST, reason)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return Malformed(ErrorCode.PARSE_ERROR, str(error)[:200])
    if "method" in members or not ("result" in members or "error" in members):
        return Malformed(ErrorCode.INVALID_REQUEST, reason)
    try:
        reply_to = form.id.decode(members["id"])  # strict: true is not call 1
    except (KeyError, msgspec.DecodeError):
        reply_to = None
    return Malformed(ErrorCode.INVALID_REQUEST, reason, is_reply=True, reply_to=reply_to)


def is_structured(params: Raw) -> bool:
    """Whether params are an object or an array, as the specification wants them."""
    return memoryview(params)[0] in CONTAINERS


def error_of(raw: Raw) -> RpcError:
    """The error in a reply; a malformed one becomes an INVALID_REQUEST that says so."""
    try:
        error = _error_decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as problem:
        return RpcError(ErrorCode.INVALID_REQUEST, f"the error in the reply is malformed: {problem}")
    return RpcError(error.code, error.message, None if error.data is UNSET else error.data)


def items(id: MessageId, seq: int, items: list[Raw], *, up: bool = False, end: bool = False) -> Notification:
    """A batch of a stream. Each item is an encoded value already, and none of them too deep."""
    params: dict[str, Any] = {"id": id, "seq": seq, "items": items}
    if up:
        params["up"] = True
    if end:
        params["end"] = True
    return Notification("$/stream", params)


def encode(message: Any, depth: int = MAX_DEPTH) -> bytes:
    """A message, or a value, as JSON. Raises `NotSerializable`."""
    # Whatever a value's own code raises while it is encoded is the value's fault, so this is one of
    # the few places that catch every exception.
    try:
        body = encode_json(message)
    except Exception as error:
        raise not_serializable(error) from None
    # Here all that opens is closed again, so what is shorter than that needs no counting: 0.3 us.
    if len(body) > 2 * depth and is_too_deep(body, depth):
        raise NotSerializable(f"nested more than {depth} deep")
    return body


def encode_packed(message: Any, depth: int = MAX_DEPTH) -> bytes:
    """The same as MessagePack."""
    try:
        body = _PACKED.encode(message)
    except Exception as error:
        raise not_serializable(error) from None
    if reason := why_unsafe_packed(body, depth):
        raise NotSerializable(reason)
    return body


def encode_items(message: Notification, *, packed: bool) -> bytes:
    """Of `items`, whose parts have been looked at."""
    return _PACKED.encode(message) if packed else encode_json(message)


def not_serializable(error: Exception) -> NotSerializable:
    """What it means that a message could not be encoded."""
    return NotSerializable(f"{type(error).__name__}: {_text_of(error)}")


def _text_of(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:
        return "(its text cannot be had)"
