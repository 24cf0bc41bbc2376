"""May this call pass? Pure: what is known of the plugin goes in, a verdict comes out.

A call to a plugin that does not serve fails at once. Only a start that is already under way is worth
waiting for, and for a call that may be made twice the restart after a crash; both inside the caller's
deadline. So whoever declares a method idempotent hears of a crash as of a longer call, if at all.
"""

from __future__ import annotations

from enum import Enum

from host.supervision.life import Life
from host.supervision.states import SERVING, State


class Verdict(Enum):
    PASS = "pass"
    WAIT = "wait"
    """A start is under way, or will be."""
    WAKE = "wake"
    """A lazy plugin that nobody stopped by hand: this call is what starts it, also if it is just stopping."""
    REFUSE = "refuse"


def admit(life: Life, *, idempotent: bool, lazy: bool) -> Verdict:
    if life.state in SERVING:
        return Verdict.PASS
    if lazy and life.may_be_woken:
        return Verdict.WAKE
    if life.is_coming or (life.state is State.BACKOFF and idempotent):
        return Verdict.WAIT
    return Verdict.REFUSE
