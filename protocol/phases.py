"""The life of a connection as two tables: what moves it on, and what is allowed when.

Both sides run the same tables: the host on what it sends, the plugin on what it receives. So neither
can think the other further along than it is (the rule is h11's: the state machine does not know
which side it is on).
"""

from __future__ import annotations

from enum import StrEnum

from protocol.errors import ErrorCode


class Phase(StrEnum):
    SPAWNED = "spawned"
    INITIALIZING = "initializing"
    READY = "ready"
    DRAINING = "draining"
    EXITED = "exited"
    CLOSED = "closed"


READY, DRAINING, CLOSED = Phase.READY, Phase.DRAINING, Phase.CLOSED
"""By names that cost no look into the enum, which is 0.05 us."""

# What the host says moves the connection on.
_MOVES: dict[tuple[Phase, str], Phase] = {
    (Phase.SPAWNED, "initialize"): Phase.INITIALIZING,
    (Phase.INITIALIZING, "initialized"): Phase.READY,
    (Phase.INITIALIZING, "shutdown"): Phase.DRAINING,
    (Phase.READY, "shutdown"): Phase.DRAINING,
    (Phase.SPAWNED, "exit"): Phase.EXITED,
    (Phase.INITIALIZING, "exit"): Phase.EXITED,
    (Phase.READY, "exit"): Phase.EXITED,
    (Phase.DRAINING, "exit"): Phase.EXITED,
}

MOVERS = frozenset(said for _, said in _MOVES)
"""Nearly no message is one: whoever looks here first spares itself the call of `after`."""

# Requests of the host that have phases of their own; every other one needs READY.
_HOST_REQUESTS: dict[str, frozenset[Phase]] = {
    "initialize": frozenset({Phase.SPAWNED}),
    "lifecycle/ping": frozenset({Phase.INITIALIZING, Phase.READY, Phase.DRAINING}),
    "shutdown": frozenset({Phase.INITIALIZING, Phase.READY}),
}
_WHEN_READY = frozenset({Phase.READY})

_PLUGIN_REQUESTS = frozenset({Phase.READY, Phase.DRAINING})

_REFUSALS: dict[Phase, tuple[ErrorCode, str]] = {
    Phase.SPAWNED: (ErrorCode.NOT_INITIALIZED, "not initialized"),
    Phase.INITIALIZING: (ErrorCode.NOT_INITIALIZED, "not initialized"),
    Phase.READY: (ErrorCode.INVALID_STATE, "already initialized"),
    Phase.DRAINING: (ErrorCode.SHUTTING_DOWN, "shutting down"),
    Phase.EXITED: (ErrorCode.SHUTTING_DOWN, "shutting down"),
    Phase.CLOSED: (ErrorCode.SHUTTING_DOWN, "closed"),
}


def after(phase: Phase, host_said: str) -> Phase:
    """The phase after the host's message `host_said`; the same one if it moves nothing."""
    return _MOVES.get((phase, host_said), phase)


def refusal(phase: Phase, method: str, *, from_host: bool) -> tuple[ErrorCode, str] | None:
    """Why a request is not allowed in this phase, or None if it is."""
    if phase is Phase.READY and method != "initialize":
        return None  # the phase of nearly every message
    allowed = _HOST_REQUESTS.get(method, _WHEN_READY) if from_host else _PLUGIN_REQUESTS
    if phase in allowed:
        return None
    if from_host and method in ("initialize", "shutdown"):
        if phase is Phase.SPAWNED:
            return _REFUSALS[phase]
        return ErrorCode.INVALID_STATE, f"{method} has been said already"
    return _REFUSALS[phase]
