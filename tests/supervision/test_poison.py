"""Which calls are convicted of killing their plugin: cases by hand, and random workloads."""

from __future__ import annotations

import random
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host.observability.causes import Cause, Kind
from host.process.fingerprint import Fingerprint, fingerprint, forget_params, worked_on
from host.supervision.poison import MAX_SUSPECTS, WINDOW_S, Poison, is_evidence
from protocol.pending import Call
from protocol.streams import Sending
from tests.support.examples import examples


def call(value: object, method: str = "work") -> Fingerprint:
    return fingerprint(method, {"value": value})


class Record:
    """A plugin's, with a generation and an incident for each crash."""

    def __init__(self) -> None:
        self.poison = Poison()
        self.crashes = 0
        self.now = 1000.0

    def crash(
        self, *in_hand: Fingerprint, kind: Kind = "signal", signal: str | None = "SIGSEGV"
    ) -> list[Fingerprint]:
        self.crashes += 1
        cause = Cause(
            kind=kind, text="it fell", generation=self.crashes, incident=f"i{self.crashes}", signal=signal
        )
        return self.poison.note(cause, in_hand, self.now)

    def refuses(self, mark: Fingerprint) -> bool:
        return bool(self.poison.incidents_of(mark, self.now))


P, A, B = call("poison"), call("a"), call("b")
UNKNOWN = Fingerprint("work", b"")


def test_alone_at_two_crashes_is_guilty_and_one_crash_is_not_enough() -> None:
    record = Record()
    assert record.crash(P) == []
    assert not record.refuses(P)
    assert record.crash(P) == [P]
    told = record.poison.incidents_of(P, record.now)
    assert [(each.incident, each.generation, each.cause) for each in told] == [
        ("i1", 1, "it fell"),
        ("i2", 2, "it fell"),
    ]


def test_the_only_one_that_was_there_both_times_is_guilty() -> None:
    record = Record()
    record.crash(P, A)
    assert record.crash(P, B) == [P]
    assert not record.poison.is_suspected(A)
    assert not record.poison.is_suspected(B)


def test_nobody_is_convicted_in_a_tie_and_the_next_crash_decides() -> None:
    record = Record()
    record.crash(P, A, B)
    assert record.crash(P, A, B) == []
    assert record.crash(P) == [P]
    assert not record.poison.is_suspected(A)


def test_of_a_tie_the_one_that_was_alone_before_is_guilty() -> None:
    record = Record()
    record.crash(P)
    record.crash(A, B)
    assert record.crash(P, A) == [P]
    assert record.poison.is_suspected(A)  # of the second crash, which the conviction does not explain


def test_who_comes_back_is_cleared() -> None:
    record = Record()
    record.crash(P, A)
    record.poison.came_back(A)
    assert record.crash(P, A) == [P]
    assert not record.refuses(A)


def test_a_crash_is_held_against_suspects_until_it_is_explained_by_another_call() -> None:
    record = Record()
    record.crash(P, A)
    assert record.poison.held_against(P) == record.poison.held_against(A) == {"i1"}
    record.crash(P, A, B)
    assert record.poison.held_against(A) == {"i1", "i2"}
    record.crash(P)
    assert record.poison.held_against(P) == {"i1", "i2", "i3"}
    assert record.poison.held_against(A) == record.poison.held_against(B) == set()


def test_when_all_suspects_have_come_back_there_is_nothing_to_watch() -> None:
    record = Record()
    record.crash(A, B)
    assert record.poison.watched
    for mark in (A, B):
        record.poison.came_back(mark)
    assert not record.poison.watched


def test_a_crash_with_a_convicted_call_in_hand_is_held_against_nobody_else() -> None:
    record = Record()
    for _ in range(2):
        record.crash(P)
    for _ in range(5):
        assert record.crash(P, A) == []
    assert not record.poison.is_suspected(A)


@pytest.mark.parametrize(
    ("kind", "signal", "counts"),
    [
        ("signal", "SIGSEGV", True),
        ("signal", "SIGABRT", True),
        ("signal", "SIGKILL", False),
        ("signal", "SIGTERM", False),
        ("out-of-memory", "SIGKILL", True),
        ("unresponsive", "SIGKILL", True),
        ("exit-code", None, True),
        ("exception", None, True),
        ("limit", None, True),
        ("broken-wire", None, True),
        ("asked", None, False),
        ("clean-exit", None, False),
        ("host-fault", None, False),
        ("start-timeout", None, False),
    ],
)
def test_only_an_end_of_its_own_making_says_something_about_calls(
    kind: Kind, signal: str | None, *, counts: bool
) -> None:
    assert is_evidence(Cause(kind=kind, text="", signal=signal)) is counts
    record = Record()
    for _ in range(2):
        record.crash(P, kind=kind, signal=signal)
    assert record.refuses(P) is counts


def test_a_call_whose_params_are_not_known_is_company_and_never_convicted() -> None:
    record = Record()
    record.crash(UNKNOWN, A)
    record.crash(UNKNOWN, A)
    record.crash(UNKNOWN)
    record.crash(UNKNOWN)
    assert not record.refuses(A)
    assert not record.refuses(UNKNOWN)


def test_crashes_and_convictions_lapse_after_the_window() -> None:
    record = Record()
    record.crash(P)
    record.now += WINDOW_S
    assert record.crash(P) == []
    assert record.crash(P) == [P]
    record.now += WINDOW_S - 1
    assert record.refuses(P)
    record.now += 1
    assert not record.refuses(P)
    assert not record.poison.watched


def test_forgetting_lets_everything_pass_and_says_whether_anything_was_refused() -> None:
    record = Record()
    record.crash(P)
    assert record.poison.forget() is False
    for _ in range(2):
        record.crash(P)
    assert record.poison.forget() is True
    assert not record.refuses(P)
    assert not record.poison.watched


def test_the_table_is_bounded_and_the_oldest_crash_goes_as_a_whole() -> None:
    record = Record()
    first = [call(number) for number in range(10)]
    record.crash(*first)
    record.crash(*(call(f"other {number}") for number in range(MAX_SUSPECTS)))
    assert not any(record.poison.is_suspected(mark) for mark in first)
    assert record.poison.is_suspected(call("other 0"))


def test_the_order_of_keys_makes_no_other_call_and_any_other_value_does() -> None:
    assert fingerprint("m", {"a": 1, "b": {"x": 1, "y": 2}}) == fingerprint(
        "m", {"b": {"y": 2, "x": 1}, "a": 1}
    )
    others = [{"a": 1}, {"a": 1.0}, {"a": True}, {"a": "1"}, {"a": [1]}, {1: 1}, {}, None]
    assert len({fingerprint("m", params) for params in others}) == len(others)
    assert fingerprint("m", {}) != fingerprint("n", {})


@pytest.mark.parametrize("params", [{"a": object()}, {"a": 1 << 80_000}, {(1, 2): object()}])
def test_params_that_cannot_be_encoded_raise_nothing(params: object) -> None:
    assert not fingerprint("m", params).is_known


class Plant:
    """A plugin with calls of random length, one kind of which kills it; suspects take turns at it."""

    def __init__(self, luck: random.Random, innocents: int, room: int, slow: float) -> None:
        self.luck = luck
        self.record = Record()
        self.innocents = [call(number) for number in range(innocents)]
        self.room = room
        self.slow = slow
        """Which share of turns is over before the call is."""
        self.in_hand: dict[Fingerprint, int] = {}
        self.turn: Fingerprint | None = None

    def run(self, steps: int) -> None:
        for _ in range(steps):
            if self.record.refuses(P):
                return
            self.record.now += 0.01
            self._admit(self.luck.choice([P, *self.innocents, *self.innocents]))
            for mark in list(self.in_hand):
                self.in_hand[mark] -= 1
                if self.in_hand[mark] <= 0:
                    if mark == P:
                        self.record.crash(*self.in_hand)
                        self.in_hand, self.turn = {}, None
                        break
                    self._come_back(mark)

    def _admit(self, mark: Fingerprint) -> None:
        if mark in self.in_hand or len(self.in_hand) >= self.room or self.record.refuses(mark):
            return
        if self.record.poison.is_suspected(mark):
            if self.turn is not None and self.luck.random() >= self.slow:
                return
            self.turn = mark
        self.in_hand[mark] = self.luck.randint(1, 12)

    def _come_back(self, mark: Fingerprint) -> None:
        del self.in_hand[mark]
        self.record.poison.came_back(mark)
        self.turn = None if self.turn == mark else self.turn

    def convicted(self, marks: Iterable[Fingerprint]) -> list[Fingerprint]:
        return [mark for mark in marks if self.record.refuses(mark)]


@examples(300)
@given(st.integers(0, 2**32), st.integers(0, 40), st.integers(1, 30))
def test_one_poison_among_innocents_is_refused_after_two_deaths(seed: int, innocents: int, room: int) -> None:
    plant = Plant(random.Random(seed), innocents, room, slow=0.0)
    plant.run(20_000)
    assert plant.convicted([P]) == [P]
    assert plant.record.crashes == 2
    assert plant.convicted(plant.innocents) == []


@examples(300)
@given(st.integers(0, 2**32), st.integers(0, 40), st.integers(1, 30), st.floats(0, 1))
def test_also_if_turns_are_too_short_no_innocent_is_ever_refused(
    seed: int, innocents: int, room: int, slow: float
) -> None:
    plant = Plant(random.Random(seed), innocents, room, slow)
    plant.run(20_000)
    assert plant.convicted(plant.innocents) == []
    assert plant.convicted([P]) == [P]
    assert plant.record.crashes <= 8


@pytest.mark.parametrize("is_given_up", [False, True], ids=["waited for", "given up"])
def test_a_call_that_takes_items_is_never_convicted_and_hides_nobody(is_given_up: bool) -> None:
    """Its params are not all that it was given, so the next one with the same may be another."""

    def in_hand(*, up: bool) -> list[Fingerprint]:
        params = {"name": "x"}
        taken = Call(1, "put", params, None, None, sent=True, up=Sending(0) if up else None)
        if is_given_up:
            forget_params(taken)
        return worked_on([taken])

    plain, taking = Record(), Record()
    assert [plain.crash(*in_hand(up=False)) for _ in range(2)][1] == in_hand(up=False)
    assert [taking.crash(*in_hand(up=True)) for _ in range(3)] == [[], [], []]
    assert not taking.refuses(fingerprint("put", {"name": "x"}))
    assert taking.crash(call("poison")) == []
    assert taking.crash(call("poison")) == [call("poison")]
