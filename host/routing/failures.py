"""What went wrong with a call, as an error that says for whom, what was seen and what to do next. Pure.

`Link` and a plugin's replies say what; here it gets the plugin, the method, the call's id and a hint.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from host import errors
from host.contracts.held import ResultUnfit
from host.process.link import Expired
from host.supervision.states import SERVING, State
from host.supervision.supervisor import Supervisor
from host.supervision.voice import one_line
from protocol.contract import nearest
from protocol.errors import ErrorCode, Refusal, Refused, RpcError
from protocol.methods import belongs_to_protocol
from protocol.secrets import masked, masked_value

LISTED = 20
LONGEST_NAME = 100
"""Of methods, in a hint."""


_WRONG_PARAMS = (Refusal.NOT_SERIALIZABLE, Refusal.TOO_LARGE)


def named(
    problem: Exception, supervisor: Supervisor, method: str, timeout: float | None, now: float
) -> errors.OutboardError:
    generation = getattr(problem, "generation", supervisor.life.generation)
    where: dict[str, Any] = {
        "plugin": supervisor.name,
        "method": method,
        "call_id": f"{generation}.{getattr(problem, 'call_id', None) or 'unsent'}",
    }
    if isinstance(problem, RpcError):
        problem = _without_secrets(problem, supervisor)
        return _remote(problem, where, _methods(supervisor))
    if isinstance(problem, ResultUnfit):
        return _result_unfit(problem, where)
    if isinstance(problem, Expired):
        hint = "give it more time with a longer timeout, or see what it does in its log"
        return errors.DeadlineExceeded(f"no answer within {timeout:g} s", hint=hint, **where)
    if isinstance(problem, Refused):
        return _refused(problem, supervisor, method, where, now)
    hint = f"outboard status {supervisor.name} says what becomes of it"
    if again := _about_another_try(supervisor, method):
        hint += f"; {again}"
    data = {"incident": getattr(problem, "incident", ""), "cause": str(problem)}
    return errors.PluginCrashed(str(problem), hint=hint, data=data, **where)


def _about_another_try(supervisor: Supervisor, method: str) -> str:
    """What a caller may make of it that a crash has cut off a call, or a stream, of the method."""
    offer = supervisor.offer
    if method in offer.uploads:
        return "a call that takes items is never made again by the host: its items are used up"
    if method in offer.streams:
        if method in offer.idempotent:
            return "it is begun anew as long as none of its items has been taken"
        return (
            "a stream that may be asked for twice can be declared idempotent, and is then begun anew "
            "as long as none of its items has been taken"
        )
    if method in offer.idempotent or belongs_to_protocol(method):
        return ""
    return "a method that may be called twice can be declared idempotent, and is then called again"


def _refused(
    problem: Refused, supervisor: Supervisor, method: str, where: dict[str, Any], now: float
) -> errors.OutboardError:
    if problem.reason in (Refusal.TOO_MANY_IN_FLIGHT, Refusal.OUTBOX_FULL):
        return errors.PluginBusy(str(problem), hint="try again a little later", **where)
    known = _methods(supervisor)
    if problem.reason in _WRONG_PARAMS and known and not (method in known or belongs_to_protocol(method)):
        return _method_unknown(f"no method `{method}`", known, where)  # whatever it is given
    if problem.reason is Refusal.TOO_LARGE:
        return errors.PayloadTooLarge(str(problem), hint="send it in parts", **where)
    if problem.reason is Refusal.NOT_SERIALIZABLE:
        hint = "send what JSON can carry: numbers, strings, lists, dicts, structs, dates"
        return errors.NotSerializable(f"the params cannot be sent: {problem}", hint=hint, **where)
    return unavailable(supervisor, method, now)


def _without_secrets(problem: RpcError, supervisor: Supervisor) -> RpcError:
    """Errors are logged, told and printed, so what a plugin puts into one is masked like its log."""
    generation = supervisor.generation
    secrets = generation.voice.secrets if generation is not None else ()
    if not secrets:
        return problem
    return RpcError(problem.code, masked(problem.message, secrets), masked_value(problem.data, secrets))


def unavailable(supervisor: Supervisor, method: str, now: float) -> errors.PluginUnavailable:
    life = supervisor.life
    retry_after = None
    if life.next_start_at is not None:
        retry_after = round(max(0.0, life.next_start_at - now), 3)
    reason = life.reason
    if life.state in SERVING:  # the link is gone, and the supervisor is about to say so
        reason = "its process has just ended"
    kind = errors.PluginUnavailable
    hint = f"outboard why {supervisor.name} says why, and when it is tried again"
    if life.state is State.QUARANTINED:
        kind = errors.PluginQuarantined
        hint = f"outboard why {supervisor.name} shows why; outboard start {supervisor.name} tries again"
    elif supervisor.is_unfit:
        kind = errors.PluginUnfit
        hint = f"outboard why {supervisor.name} shows every difference"
    elif life.state in (State.STOPPED, State.FAILED):
        hint = f"outboard start {supervisor.name}"
    return kind(
        f"it is {'in ' if life.state is State.BACKOFF else ''}{life.state}"
        + (f": {reason}" if reason else ""),
        state=life.state,
        reason=reason,
        retry_after=retry_after,
        hint=hint,
        plugin=supervisor.name,
        method=method,
    )


def is_a_stream(plugin: str, method: str) -> errors.ContractError:
    return no_stream(
        plugin,
        method,
        "it answers in items: it is a stream",
        f"outboard call {plugin} {method} --stream, or host.stream(…)",
    )


def answers_at_once(plugin: str, method: str) -> errors.ContractError:
    return no_stream(
        plugin,
        method,
        "it answers at once, and is no stream",
        "outboard call without --stream, or host.call(…)",
    )


def no_stream(plugin: str, method: str, text: str, hint: str) -> errors.ContractError:
    return errors.ContractError(
        text,
        remote_code=ErrorCode.INVALID_PARAMS,
        remote_name=ErrorCode.INVALID_PARAMS.name,
        data=[{"path": "$", "reason": text}],
        hint=hint,
        plugin=plugin,
        method=method,
    )


def not_callable(plugin: str, method: str) -> errors.MethodNotFound:
    return errors.MethodNotFound(
        f"`{method}` is the protocol's own, and no method of a plugin",
        remote_code=ErrorCode.METHOD_NOT_FOUND,
        remote_name=ErrorCode.METHOD_NOT_FOUND.name,
        hint="outboard status NAME lists a plugin's methods",
        plugin=plugin,
        method=method,
    )


def _result_unfit(problem: ResultUnfit, where: dict[str, Any]) -> errors.ContractError:
    return errors.ContractError(
        f"its result is not what it says that it returns: {problem}",
        remote_code=ErrorCode.PLUGIN_ERROR,
        remote_name=ErrorCode.PLUGIN_ERROR.name,
        data=[each.as_data() for each in problem.problems],
        hint=f"mend {where['plugin']}: the params were right; outboard contract show {where['plugin']}",
        **(where | {"call_id": None}),
    )


def _remote(problem: RpcError, where: dict[str, Any], provided: Sequence[str]) -> errors.OutboardError:
    remote: dict[str, Any] = {
        "remote_code": problem.code,
        "remote_name": problem.name,
        "data": problem.data,
        **where,
    }
    match problem.code:
        case ErrorCode.METHOD_NOT_FOUND:
            return _method_unknown(problem.message, provided, where, problem.data)
        case ErrorCode.INVALID_PARAMS:
            return errors.ContractError(problem.message, hint="fix the params", **remote)
        case ErrorCode.OVERLOADED:
            data = problem.data if isinstance(problem.data, dict) else {}
            after = data.get("retry_after_ms", 100)
            return errors.PluginBusy(
                problem.message,
                retry_after=min(after, 60_000) / 1000 if isinstance(after, int | float) else 0.1,
                hint="try again a little later",
                **where,
            )
        case ErrorCode.PAYLOAD_TOO_LARGE:
            return errors.PayloadTooLarge(
                problem.message, hint="ask for it in parts", data=problem.data, **where
            )
        case ErrorCode.RESULT_NOT_SERIALIZABLE:
            hint = "the plugin has to return what JSON can carry"
            return errors.NotSerializable(problem.message, hint=hint, data=problem.data, **where)
        case ErrorCode.REQUEST_CANCELLED:
            return errors.CallCancelled(problem.message, data=problem.data, **where)
    kind = _ESCAPED.get(_first_cause(problem), errors.RemoteError)
    data = problem.data if isinstance(problem.data, dict) else {}
    error_id = data.get("error_id")
    hint = f"the traceback is in the log as error {error_id}" if error_id else "the error is the plugin's own"
    if kind is not errors.RemoteError:
        hint = "a call that a plugin made did not pass; the message says what to do"
    return kind(problem.message, hint=hint, **remote)


def _method_unknown(
    message: str, provided: Sequence[str], where: dict[str, Any], data: Any = None
) -> errors.MethodNotFound:
    hint = "see outboard status"
    if provided:
        more = len(provided) - LISTED
        hint = f"it has: {', '.join(one_line(name)[:LONGEST_NAME] for name in provided[:LISTED])}"
        hint += f", and {more} more: outboard status {where['plugin']}" if more > 0 else ""
    close = nearest(where["method"], provided)
    if close and close not in message:  # our SDK has said so itself
        hint = f"did you mean `{one_line(close)}`? {hint}"
    return errors.MethodNotFound(
        message,
        hint=hint,
        remote_code=ErrorCode.METHOD_NOT_FOUND,
        remote_name=ErrorCode.METHOD_NOT_FOUND.name,
        data=data,
        **where,
    )


def _methods(supervisor: Supervisor) -> list[str]:
    return [method.name for method in supervisor.offer.provides.methods]


_ESCAPED: dict[int, type[errors.RemoteError]] = {
    ErrorCode.CALL_CYCLE: errors.CallCycle,
    ErrorCode.PERMISSION_DENIED: errors.PermissionDenied,
}
"""Failures of calls between plugins that are worth a class of their own, however many let them escape."""


def _first_cause(problem: RpcError) -> int:
    """The code of the call that failed first, of those inside one another; else the problem's own."""
    code, inner = problem.code, problem.data
    while isinstance(inner, dict) and isinstance(inner := inner.get("cause"), dict):
        code = inner["code"] if isinstance(inner.get("code"), int) else code
    return code
