"""When a change on disk may be acted upon, in virtual time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host.discovery.debounce import HELD_FIRST_S, HELD_MOST_S, QUICK, RESTLESS_S, SOON_S, Debouncer, held_s
from host.discovery.watch import Glance, Stamp
from tests.support.fake_clock import FakeClock

DEBOUNCE_S = 0.5
A = "/plugins/a/plugin.toml"


def stamp(version: int) -> Stamp:
    return {"plugin.toml": (0,), "main.py": (version,)}


class Disk:
    """Places with versions, and a debouncer that looks at them."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.debouncer = Debouncer()
        self.versions: dict[str, int] = {}
        self.hidden: tuple[str, ...] = ()

    def look(self, after_s: float = 0.0) -> set[str]:
        """What is due after a while."""
        stamps = {path: stamp(version) for path, version in self.versions.items()}
        self.debouncer.see(Glance(stamps, self.hidden), self.clock.advance(after_s))
        return set(self.due())

    def due(self) -> dict[str, object]:
        return dict(self.debouncer.due(self.clock.now, DEBOUNCE_S))

    def settle(self, *, acted: bool = True) -> None:
        for path in self.due():
            self.debouncer.settle(path, self.clock.now, acted=acted)

    def waiting(self) -> dict[str, str]:
        return self.debouncer.newly_waiting(self.clock.now, DEBOUNCE_S)


@pytest.fixture
def disk() -> Disk:
    """With one place, which is settled."""
    disk = Disk()
    disk.versions[A] = 1
    disk.look()
    assert disk.look(DEBOUNCE_S) == {A}
    disk.settle(acted=False)
    return disk


def test_a_change_is_due_once_it_has_rested_and_then_no_more(disk: Disk) -> None:
    disk.versions[A] = 2
    assert disk.look() == set()
    assert disk.look(0.4) == set()
    assert disk.look(0.1) == {A}
    assert disk.look(9) == {A}
    disk.settle()
    assert disk.look(9) == set()


def test_every_further_change_begins_the_wait_anew_and_only_for_that_place(disk: Disk) -> None:
    disk.versions["/plugins/b.py"] = 1
    disk.look()
    for version in range(2, 20):
        disk.versions[A] = version
        assert A not in disk.look(0.4)
    assert disk.look(0.1) == {"/plugins/b.py"}
    assert disk.look(0.4) == {"/plugins/b.py", A}


def test_what_goes_and_comes_back_in_time_has_changed_or_not(disk: Disk) -> None:
    del disk.versions[A]
    assert disk.look(0.1) == set()
    disk.versions[A] = 2
    disk.look(0.1)
    [ready] = disk.debouncer.due(disk.clock.advance(DEBOUNCE_S), DEBOUNCE_S).values()
    assert (ready.is_there, ready.changed_file) == (True, "main.py")
    del disk.versions[A]
    disk.look()
    disk.versions[A] = 1
    disk.look(0.1)
    assert disk.look(9) == set()


def test_what_is_gone_is_due_as_gone(disk: Disk) -> None:
    del disk.versions[A]
    disk.look()
    assert disk.look(DEBOUNCE_S) == {A}
    [ready] = disk.debouncer.due(disk.clock.now, DEBOUNCE_S).values()
    assert not ready.is_there


def test_what_cannot_be_seen_has_not_gone(disk: Disk) -> None:
    del disk.versions[A]
    disk.hidden = ("/plugins",)
    assert disk.look() == disk.look(9) == set()
    disk.hidden = ("/plug",)
    disk.look()
    assert disk.look(9) == {A}


def test_what_seemed_to_go_just_before_it_was_hidden_has_not_gone(disk: Disk) -> None:
    del disk.versions[A]
    disk.look()
    disk.hidden = ("/plugins",)
    assert disk.look(0.1) == disk.look(9) == set()
    disk.hidden = ()
    disk.versions[A] = 1
    assert disk.look(0.1) == disk.look(9) == set()


def test_a_place_that_changes_after_every_time_waits_longer_and_longer_and_says_so_once(disk: Disk) -> None:
    waits = []
    for version in range(2, 14):
        disk.versions[A] = version
        disk.look(0.1)
        began_at = disk.clock.now
        said: list[str] = []
        while not disk.look(0.5):
            said += disk.waiting().values()
        waits.append(disk.clock.now - began_at)
        assert len(said) == (waits[-1] > 1)
        disk.settle()
    assert waits[:QUICK] == [0.5] * QUICK
    assert waits[QUICK] == pytest.approx(HELD_FIRST_S, abs=1)
    assert waits == sorted(waits)
    assert waits[-1] == pytest.approx(HELD_MOST_S, abs=1)


def test_how_often_in_a_row_nothing_waits_can_be_said(disk: Disk) -> None:
    disk.debouncer.quick = 20
    for version in range(2, 20):
        disk.versions[A] = version
        disk.look(0.1)
        assert disk.look(0.5) == {A}
        disk.settle()


def test_a_place_that_is_changed_at_a_persons_pace_never_waits(disk: Disk) -> None:
    for version in range(2, 50):
        disk.versions[A] = version
        disk.look(SOON_S + 1)
        assert disk.look(DEBOUNCE_S) == {A}
        disk.settle()
        assert not disk.waiting()


def test_one_that_never_rests_is_spoken_of_once(disk: Disk) -> None:
    said: list[float] = []
    for version in range(2, 500):
        disk.versions[A] = version
        assert disk.look(0.4) == set()
        said += [disk.clock.now for _ in disk.waiting()]
    assert len(said) == 1
    assert said[0] - 1000 > RESTLESS_S


def test_places_that_are_gone_for_good_are_forgotten(disk: Disk) -> None:
    for number in range(100):
        path = f"/plugins/{number}.py"
        disk.versions[path] = 1
        disk.look()
        disk.look(DEBOUNCE_S)
        disk.settle()
        del disk.versions[path]
        disk.look()
        disk.look(DEBOUNCE_S)
        disk.settle()
    disk.look(10 * HELD_MOST_S)
    assert set(disk.debouncer._places) == {A}


Steps = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "c"]), st.integers(0, 3), st.sampled_from([0.0, 0.1, 0.4, 0.5, 3.0, 20.0])
    ),
    max_size=60,
)


@given(Steps)
def test_whatever_happens_nothing_is_due_before_it_rests_and_everything_is_due_in_the_end(
    steps: list[tuple[str, int, float]],
) -> None:
    disk = Disk()
    touched: dict[str, float] = {}
    dealt_with: dict[str, int] = {}
    acted: dict[str, list[float]] = {}

    def act() -> None:
        for path in disk.due():
            now = disk.clock.now
            assert now - touched[path] >= DEBOUNCE_S
            assert disk.versions.get(path, 0) != dealt_with.get(path)
            times = acted.setdefault(path, [])
            times.append(now)
            assert len([time for time in times if now - time < HELD_FIRST_S]) <= QUICK + 1
            dealt_with[path] = disk.versions.get(path, 0)
        disk.settle()

    for path, version, after_s in steps:  # version 0 is: not there
        if disk.versions.get(path, 0) != version:
            touched[path] = disk.clock.now
        disk.versions |= {path: version}
        if not version:
            del disk.versions[path]
        disk.look()
        act()
        disk.look(after_s)
        act()
    disk.look(HELD_MOST_S)
    act()
    assert disk.look(HELD_MOST_S) == set()
    assert all(dealt_with.get(path, 0) == version for path, version in disk.versions.items())


@given(st.integers(0, 10**6))
def test_no_wait_is_longer_than_the_longest(streak: int) -> None:
    assert 0 <= held_s(streak) <= HELD_MOST_S
    assert held_s(streak) <= held_s(streak + 1)
