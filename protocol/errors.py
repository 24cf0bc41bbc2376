"""What can go wrong on the wire, by name.

Three families, kept apart on purpose (the split between local and remote faults is h11's):

* `ErrorCode` / `RpcError`: an error *reply*, a value that travels in a frame;
* `Fault`: why a connection had to end, a reason that never travels;
* `Refused`: what the session answers its own caller when a message cannot be sent.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import Any


class ErrorCode(IntEnum):
    """Error codes of replies. Codes above zero belong to plugin authors."""

    PARSE_ERROR = -32700
    INVALID_REQUEST = -32600
    METHOD_NOT_FOUND = -32601
    INVALID_PARAMS = -32602
    INTERNAL_ERROR = -32603
    PLUGIN_ERROR = -32000
    NOT_INITIALIZED = -32002
    INVALID_STATE = -32003
    SHUTTING_DOWN = -32004
    OVERLOADED = -32005
    PAYLOAD_TOO_LARGE = -32006
    RESULT_NOT_SERIALIZABLE = -32007
    UNSUPPORTED_PROTOCOL = -32008
    PERMISSION_DENIED = -32009
    FLOW_CONTROL = -32010
    DEADLINE_EXCEEDED = -32011
    NOT_READY = -32012
    CALL_CYCLE = -32013
    REQUEST_CANCELLED = -32800


class RpcError(Exception):
    """An error reply: `code`, one line of `message`, and any JSON-compatible `data`."""

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(code, message)
        self.code = int(code)
        self.message = message
        self.data = data
        self.call_id: int | None = None
        """Of the call that it answers, where somebody knows."""

    @property
    def name(self) -> str:
        """The code's name, or `APPLICATION` for a code that is not the protocol's."""
        try:
            return ErrorCode(self.code).name
        except ValueError:
            return "APPLICATION"

    def __str__(self) -> str:
        return f"{self.name} ({self.code}): {self.message}"


class Fault(StrEnum):
    """Why a stream of frames cannot go on. Each is fatal for the connection."""

    NO_LENGTH = "no_length"
    DUP_LENGTH = "dup_length"
    BAD_LENGTH = "bad_length"
    FRAME_TOO_LARGE = "frame_too_large"
    HEADER_TOO_LONG = "header_too_long"
    BAD_CHARSET = "bad_charset"
    BAD_CONTENT_TYPE = "bad_content_type"
    TEXT_MODE = "text_mode"
    BARE_LF = "bare_lf"
    TRUNCATED = "truncated"
    FRAME_STALLED = "frame_stalled"
    STDOUT_POLLUTED = "stdout_polluted"
    NOT_READING = "not_reading"


FAULT_MEANING: dict[Fault, str] = {
    Fault.NO_LENGTH: "a header block without Content-Length",
    Fault.DUP_LENGTH: "Content-Length given twice",
    Fault.BAD_LENGTH: "Content-Length is not 1 to 10 digits, or is zero",
    Fault.FRAME_TOO_LARGE: "a frame larger than the limit that was announced",
    Fault.HEADER_TOO_LONG: "a header block longer than 1 KiB",
    Fault.BAD_CHARSET: "a charset other than utf-8",
    Fault.BAD_CONTENT_TYPE: "a content type that was not negotiated",
    Fault.TEXT_MODE: "CR CR LF: the stream was opened in text mode",
    Fault.BARE_LF: "header lines end in LF instead of CR LF",
    Fault.TRUNCATED: "the stream ended inside a frame",
    Fault.FRAME_STALLED: "no byte for 10 s inside a frame",
    Fault.STDOUT_POLLUTED: "more than 64 KiB of text that is not a frame",
    Fault.NOT_READING: "it sends, and does not read what it is answered",
}


class Refusal(StrEnum):
    """Why the session did not send what it was asked to send."""

    WRONG_PHASE = "wrong_phase"
    CLOSED = "closed"
    TOO_LARGE = "too_large"
    NOT_SERIALIZABLE = "not_serializable"
    OUTBOX_FULL = "outbox_full"
    TOO_MANY_IN_FLIGHT = "too_many_in_flight"


class Refused(Exception):
    """The session will not send this message. Nothing was queued and no id was spent."""

    def __init__(self, reason: Refusal, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail

    def __str__(self) -> str:
        return self.detail
