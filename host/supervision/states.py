"""The states of a plugin, public and stable, and what each of them means for a call."""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    STOPPED = "stopped"
    STARTING = "starting"
    RUNNING = "running"
    DEGRADED = "degraded"
    WAITING = "waiting"
    STOPPING = "stopping"
    BACKOFF = "backoff"
    QUARANTINED = "quarantined"
    FAILED = "failed"
    DISABLED = "disabled"


SERVING = frozenset({State.RUNNING, State.DEGRADED})
"""Calls go through."""

LIVE = frozenset({State.STARTING, State.RUNNING, State.DEGRADED, State.STOPPING})
"""There is a process."""

SETTLED = frozenset({State.STOPPED, State.FAILED, State.QUARANTINED, State.DISABLED, State.WAITING})
"""It does not serve, and will not in the next moment."""

AT_REST = frozenset({State.STOPPED, State.FAILED, State.QUARANTINED, State.DISABLED})
"""Nothing happens until somebody asks."""

HELD_BACK = frozenset({State.QUARANTINED, State.FAILED, State.BACKOFF, State.WAITING})
"""It ought to run, and waits for a timer, a mend or an operator."""
