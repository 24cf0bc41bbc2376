"""What the end of a generation means: for the machine an event, for people and programs a cause. Pure."""

from __future__ import annotations

import random
from collections.abc import Sequence

import msgspec

from host.environments.outcome import Failure
from host.observability.causes import Cause, Kind
from host.process.diagnose import Diagnosis, missing_module, raised
from host.process.exits import Exit
from host.process.launchers import CannotLaunch
from host.process.stderr import printable
from host.supervision.life_events import Ended, LifeEvent, NotNow, Unfit
from host.supervision.voice import one_line
from protocol.errors import ErrorCode, RpcError

SHORTEST_RETRY_S = 0.5
LONGEST_RETRY_S = 3600.0
LAUNCH_AGAIN_S = 30.0
"""When a missing program, say, is looked for again."""
KEPT_LINES = 40
KEPT_DIFFERENCES = 200
KEPT_STACK = 80
KEPT_CALLS = 64
MAX_LINE = 500

_CONFIGURATION_IS_WRONG = 78
_RETRY_LATER = 75  # of sysexits.h, both of them


class Verdict(msgspec.Struct, kw_only=True):
    """Why a generation ends, and what the machine makes of it."""

    kind: Kind
    text: str
    fix: str | None = None
    becomes: type[Ended | Unfit | NotNow] = Ended
    retry_after_s: float | None = 5.0
    """None: once what it waits for is there."""
    is_clean: bool = False
    traceback: list[str] = []
    """What was said of it elsewhere than on its stderr: in an error reply, or by an installer."""


def from_exit(exit: Exit | None, found: Diagnosis) -> Verdict:
    """An end that nobody asked for. Its exit code may say what is to follow."""
    verdict = Verdict(kind=found.kind, text=found.text, fix=found.fix)
    if exit is not None and exit.code == _CONFIGURATION_IS_WRONG:
        verdict.becomes = Unfit
        verdict.kind, verdict.text = "refused", f"it says its configuration is wrong ({found.text})"
    elif exit is not None and exit.code == _RETRY_LATER:
        verdict.becomes, verdict.kind = NotNow, "not-ready"
    verdict.is_clean = exit is not None and exit.is_clean
    return verdict


def refused_to_start(error: RpcError) -> Verdict | None:
    """Start code that failed. None if it chose to exit: the exit code, a moment behind, says more."""
    data = error.data if isinstance(error.data, dict) else {}
    if data.get("type") == "SystemExit":
        return None
    if error.code == ErrorCode.INVALID_PARAMS:  # its settings: nothing changes by trying again
        text = f"configuration refused: {error.message}"
        return Verdict(becomes=Unfit, kind="refused", text=text)
    if error.code != ErrorCode.NOT_READY:
        missing, found = missing_module(error.message), raised(error.message)
        return Verdict(
            kind=missing.kind if missing else found.kind,
            text=f"its start code failed: {found.text}",
            fix=missing.fix if missing else found.fix,
        )
    after = data.get("retry_after_ms")
    retry_after_s = 5.0
    if isinstance(after, int | float) and after >= 0:
        retry_after_s = max(SHORTEST_RETRY_S, min(after, LONGEST_RETRY_S * 1000) / 1000)
    text = f"not ready: {error.message}"
    return Verdict(becomes=NotNow, kind="not-ready", text=text, retry_after_s=retry_after_s)


def not_launched(problem: CannotLaunch) -> Verdict:
    return Verdict(
        becomes=NotNow,
        kind=problem.kind,
        text=str(problem),
        fix=problem.fix,
        retry_after_s=LAUNCH_AGAIN_S,
    )


def environment_being_built(summary: str) -> Verdict:
    text = f"environment: building ({summary})"
    return Verdict(becomes=NotNow, kind="environment", text=text, retry_after_s=None)


def environment_failed(failure: Failure) -> Verdict:
    return Verdict(
        becomes=NotNow,
        kind="environment",
        text=f"environment: {failure.text}",
        fix=failure.fix,
        retry_after_s=failure.retry_after_s,
        traceback=failure.lines,
    )


def event_of(
    verdict: Verdict,
    *,
    generation: int,
    incident: str,
    exit: Exit | None,
    killed_by_host: bool,
    up_s: float | None,
    in_flight: Sequence[str],
    stderr: Sequence[str],
    stack: Sequence[str] = (),
) -> LifeEvent:
    """The last word of a generation, with the whole cause. What is a plugin's text in it is harmless."""
    reason = one_line(verdict.text)
    if verdict.retry_after_s is None:
        return NotNow(generation, reason, None)  # nothing has gone wrong, so there is no cause
    cause = Cause(
        kind=verdict.kind,
        text=reason,
        fix=verdict.fix,
        incident=incident,
        generation=generation,
        exit_code=exit.code if exit is not None else None,
        signal=exit.signal if exit is not None else None,
        killed_by_host=killed_by_host,
        up_s=up_s,
        in_flight=[one_line(method) for method in in_flight[:KEPT_CALLS]],
        stderr=_kept(verdict, stderr),
        stack=[line[:MAX_LINE] for line in stack[:KEPT_STACK]],
    )
    if verdict.becomes is NotNow:
        return NotNow(generation, reason, verdict.retry_after_s, cause)
    if verdict.becomes is Unfit:
        return Unfit(generation, reason, cause)
    return Ended(generation, reason, clean=verdict.is_clean, luck=random.random(), cause=cause)


def _kept(verdict: Verdict, stderr: Sequence[str]) -> list[str]:
    """Of what it wrote the last lines; of what does not fit the first, and nothing that it wrote between."""
    told = [printable(line.encode(errors="replace"))[:MAX_LINE] for line in verdict.traceback]
    if verdict.kind != "contract":
        return [line[:MAX_LINE] for line in [*stderr, *told][-KEPT_LINES:]]
    if len(told) > KEPT_DIFFERENCES:
        return [*told[: KEPT_DIFFERENCES - 1], f"and {len(told) - KEPT_DIFFERENCES + 1} more"]
    return told
