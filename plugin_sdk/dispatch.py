"""Where an author's exception becomes an error reply: the only such place.

Author code may raise anything, also SystemExit, also an exception whose own text raises. Whatever it
is, the caller is answered.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

from plugin_sdk.errors import CallFailed, NotReady, PluginError
from protocol.errors import ErrorCode, RpcError

MAX_TEXT = 8192


def error_from(exception: BaseException, log: Callable[[str], None]) -> RpcError:
    """The error reply for what a handler raised; the traceback goes to the log, under its id."""
    try:
        return _error_from(exception, log)
    except BaseException:  # even to look at it runs author code
        kind = type(exception).__name__
        data = {"type": kind, "message": "", "error_id": uuid.uuid4().hex[:8]}
        return RpcError(ErrorCode.PLUGIN_ERROR, f"{kind} (it raises when it is looked at)", data)


def _error_from(exception: BaseException, log: Callable[[str], None]) -> RpcError:
    if isinstance(exception, RpcError):
        return exception
    if isinstance(exception, PluginError):
        return RpcError(exception.code, exception.message, exception.data)
    data: dict[str, Any]
    if isinstance(exception, NotReady):
        data = {"retry_after_ms": round(exception.retry_after * 1000)}
        return RpcError(ErrorCode.NOT_READY, exception.reason, data)
    error_id = uuid.uuid4().hex[:8]
    kind = type(exception).__name__
    message = text_of(exception)
    log(f"error {error_id}\n{traceback_of(exception)}")
    data = {"type": kind, "message": message, "error_id": error_id}
    if isinstance(exception, CallFailed):
        data["cause"] = _cause(exception)
    return RpcError(ErrorCode.PLUGIN_ERROR, f"{kind}: {message}" if message else kind, data)


def _cause(failed: CallFailed) -> dict[str, Any]:
    """Which call it was that failed; and why that one did, if it has a cause of its own."""
    cause = {"plugin": failed.plugin, "code": failed.code, "message": text_of(failed)}
    deeper = failed.data.get("cause") if isinstance(failed.data, dict) else None
    return cause if deeper is None else cause | {"cause": deeper}


def text_of(exception: BaseException) -> str:
    """`str(exception)`, for exceptions that cannot even do that."""
    try:
        return _clean(str(exception))
    except BaseException:
        return "(the exception's own text raises)"


def traceback_of(exception: BaseException) -> str:
    """The traceback as Python prints it, without our own frames at the top."""
    try:
        from traceback import format_exception  # for the first that is raised

        trace = exception.__traceback__
        while trace is not None and trace.tb_frame.f_globals.get("__package__") == __package__:
            trace = trace.tb_next
        return _clean("".join(format_exception(type(exception), exception, trace)))
    except BaseException:
        return f"{type(exception).__name__} (the traceback cannot be formatted)"


def _clean(text: Any) -> str:
    return str(text)[:MAX_TEXT].encode(errors="replace").decode()
