"""May this call pass? Pure: what is known of the plugin goes in, a verdict comes out.

A call to a plugin that does not serve fails at once. Only a start that is already under way is worth
waiting for, and only inside the caller's deadline.
"""

from __future__ import annotations

from enum import Enum

from host.supervision.states import SERVING, State


class Verdict(Enum):
    PASS = "pass"
    WAIT = "wait"
    """A start is under way."""
    WAKE = "wake"
    """A lazy plugin: this call is what starts it."""
    REFUSE = "refuse"


def admit(state: State, *, lazy: bool, never_started: bool) -> Verdict:
    if state in SERVING:
        return Verdict.PASS
    if state is State.STARTING:
        return Verdict.WAIT
    if lazy and state is State.STOPPED and never_started:
        return Verdict.WAKE
    return Verdict.REFUSE
