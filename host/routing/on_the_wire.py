"""An error of ours as the error reply that a plugin gets, which asked for the call. Pure."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from host import errors
from protocol import values
from protocol.errors import ErrorCode, RpcError

P = TypeVar("P")
_CODES: dict[type[errors.OutboardError], ErrorCode] = {
    errors.DeadlineExceeded: ErrorCode.DEADLINE_EXCEEDED,
    errors.PayloadTooLarge: ErrorCode.PAYLOAD_TOO_LARGE,
    errors.NotSerializable: ErrorCode.RESULT_NOT_SERIALIZABLE,
    errors.CallCancelled: ErrorCode.REQUEST_CANCELLED,
}


def params_of(raw: msgspec.Raw, type_: type[P]) -> P:
    """Raises RpcError for what a plugin has sent in the place of params."""
    try:
        return values.decode(raw, type_)  # type: ignore[no-any-return]
    except (msgspec.DecodeError, UnicodeDecodeError) as problem:
        data = [{"path": "$", "reason": str(problem)}]
        raise RpcError(ErrorCode.INVALID_PARAMS, str(problem), data) from None


def wire_error(error: Exception) -> RpcError:
    """The callee's own error as it is; what happened at the host, with the host's code as `host_error`."""
    if isinstance(error, RpcError):
        return error
    if not isinstance(error, errors.OutboardError):  # a slip of ours must cost one request, never the host
        text = f"the host's own fault: {type(error).__name__}: {error}"
        return RpcError(ErrorCode.INTERNAL_ERROR, text)
    if isinstance(error, errors.RemoteError):
        data = error.data
        if isinstance(data, dict):  # only a host says what a host has seen
            data = {key: value for key, value in data.items() if key != "host_error"}
        return RpcError(error.remote_code, error.message, data)
    if isinstance(error, errors.PluginBusy):
        after_ms = round(error.retry_after * 1000)
        return RpcError(ErrorCode.OVERLOADED, error.message, {"retry_after_ms": after_ms})
    if isinstance(error, errors.PluginUnavailable | errors.PluginNotFound | errors.ManifestError):
        about: dict[str, Any] = {"host_error": error.code}
        if isinstance(error, errors.PluginUnavailable):
            about |= {"state": error.state, "reason": error.reason}
            if error.retry_after is not None:
                about["retry_after_ms"] = round(error.retry_after * 1000)
        return RpcError(ErrorCode.NOT_READY, error.message, about)
    code = _CODES.get(type(error))
    if code is not None:
        return RpcError(code, error.message)
    data = {"type": type(error).__name__, "message": error.message, "host_error": error.code}
    if isinstance(error, errors.StoreFull | errors.StoreConflict):
        data |= error.data
    return RpcError(ErrorCode.PLUGIN_ERROR, error.message, data)
