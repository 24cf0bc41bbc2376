"""Who may pass: every state, lazy or not, and whoever stopped it."""

from __future__ import annotations

from itertools import product

import pytest

from host.routing.admission import Verdict, admit
from host.supervision.life import Lack, Life
from host.supervision.states import SERVING, State

BOTH = [False, True]


@pytest.mark.parametrize(("state", "idempotent", "lazy", "by_hand"), list(product(State, BOTH, BOTH, BOTH)))
def test_a_call_passes_waits_wakes_or_is_refused(
    state: State, idempotent: bool, lazy: bool, by_hand: bool
) -> None:
    life = Life(state=state, is_wanted=True, by_hand=by_hand)
    verdict = admit(life, idempotent=idempotent, lazy=lazy)
    if state in SERVING:
        assert verdict is Verdict.PASS
    elif state is State.STARTING or (state is State.BACKOFF and idempotent):
        assert verdict is Verdict.WAIT
    elif state in (State.STOPPED, State.STOPPING) and lazy and not by_hand:
        assert verdict is Verdict.WAKE
    else:
        assert verdict is Verdict.REFUSE


@pytest.mark.parametrize(
    ("then", "verdict"),
    [
        (State.STARTING, Verdict.WAIT),
        (State.STOPPED, Verdict.WAKE),
        (State.DISABLED, Verdict.REFUSE),
        (State.WAITING, Verdict.REFUSE),
        (State.BACKOFF, Verdict.REFUSE),
    ],
)
def test_while_it_stops_it_counts_what_comes_afterwards(then: State, verdict: Verdict) -> None:
    assert admit(Life(state=State.STOPPING, then=then), idempotent=True, lazy=True) is verdict


def test_a_start_that_is_only_to_learn_becomes_a_real_one() -> None:
    assert admit(Life(state=State.STARTING, is_wanted=False), idempotent=True, lazy=True) is Verdict.WAKE


@pytest.mark.parametrize(
    ("how", "verdict"),
    [("coming", Verdict.WAIT), ("down", Verdict.REFUSE), ("gone", Verdict.REFUSE)],
)
def test_one_that_is_held_is_worth_waiting_for_if_what_it_requires_is(how: str, verdict: Verdict) -> None:
    held = Life(state=State.WAITING, is_held=True, is_wanted=True, lacks=Lack("requires a", how))  # type: ignore[arg-type]
    assert admit(held, idempotent=False, lazy=False) is verdict
