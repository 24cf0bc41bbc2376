"""May this call pass? Pure: what is known of the plugin goes in, a verdict comes out.

A call to a plugin that does not serve fails at once. Only a start that is already under way is worth
waiting for, and only inside the caller's deadline.
"""

from __future__ import annotations

from enum import Enum

from host.supervision.life import Life
from host.supervision.states import SERVING


class Verdict(Enum):
    PASS = "pass"
    WAIT = "wait"
    """A start is under way."""
    WAKE = "wake"
    """A lazy plugin that nobody stopped by hand: this call is what starts it, also if it is just stopping."""
    REFUSE = "refuse"


def admit(life: Life, *, lazy: bool) -> Verdict:
    if life.state in SERVING:
        return Verdict.PASS
    if lazy and life.may_be_woken:
        return Verdict.WAKE
    if life.is_coming:
        return Verdict.WAIT
    return Verdict.REFUSE
