"""Who may pass: every state, lazy or not, started before or not."""

from __future__ import annotations

from itertools import product

import pytest

from host.routing.admission import Verdict, admit
from host.supervision.states import SERVING, State

BOTH = [False, True]


@pytest.mark.parametrize(("state", "idempotent", "lazy", "new"), list(product(State, BOTH, BOTH, BOTH)))
def test_a_call_passes_waits_wakes_or_is_refused(
    state: State, idempotent: bool, lazy: bool, new: bool
) -> None:
    verdict = admit(state, idempotent=idempotent, lazy=lazy, never_started=new)
    if state in SERVING:
        assert verdict is Verdict.PASS
    elif state is State.STARTING or (state is State.BACKOFF and idempotent):
        assert verdict is Verdict.WAIT
    elif state is State.STOPPED and lazy and new:
        assert verdict is Verdict.WAKE
    else:
        assert verdict is Verdict.REFUSE


def test_a_lazy_plugin_that_was_stopped_stays_so() -> None:
    assert admit(State.STOPPED, idempotent=True, lazy=True, never_started=False) is Verdict.REFUSE
