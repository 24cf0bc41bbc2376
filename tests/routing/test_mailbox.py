"""What waits for a subscriber: bounded, in order, and every event accounted for."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw

from host.routing.mailbox import MAX_WAITING, MAX_WAITING_BYTES, Event, Mailbox
from protocol.topics import MAX_EVENT_BYTES, WINDOW, WINDOW_BYTES

SIZES = st.sampled_from([1, 100, 60_000, MAX_EVENT_BYTES])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), SIZES, st.integers(1, 120)),
        st.tuples(st.just("take"), st.integers(1, 100), st.just(0)),
        st.tuples(st.just("acknowledge"), st.integers(1, 100), st.just(0)),
    ),
    max_size=40,
)


def event(number: int, size: int = 1) -> Event:
    return Event("t", Raw(b"%d" % number), size)


def number_of(event: Event) -> int:
    return int(bytes(event.params))


@settings(deadline=None)
@given(STEPS)
def test_each_event_is_sent_dropped_or_waiting_and_what_is_sent_is_in_order(
    steps: list[tuple[str, int, int]],
) -> None:
    mailbox, put, dropped, acknowledged = Mailbox(), 0, 0, 0
    taken: list[Event] = []
    sizes: list[int] = []
    for what, amount, times in steps:
        if what == "put":
            for _ in range(times):
                dropped += mailbox.put(event(put, amount))
                sizes.append(amount)
                put += 1
        elif what == "take":
            for _ in range(amount):
                if (found := mailbox.take()) is None:
                    break
                taken.append(found)
        else:
            acknowledged += mailbox.acknowledge(amount)
        numbers = [number_of(each) for each in taken]
        assert numbers == sorted(set(numbers))
        assert put == len(taken) + dropped + len(mailbox)
        waiting = sizes[put - len(mailbox) :]  # always the newest
        assert len(waiting) <= MAX_WAITING
        assert sum(waiting) <= MAX_WAITING_BYTES
        on_its_way = taken[acknowledged:]
        assert acknowledged <= len(taken)
        assert len(on_its_way) <= WINDOW
        assert sum(each.size for each in on_its_way) <= max(WINDOW_BYTES, MAX_EVENT_BYTES)


def test_whoever_is_slow_hears_the_newest() -> None:
    mailbox = Mailbox()
    dropped = sum(mailbox.put(event(number)) for number in range(1000))
    assert dropped == 1000 - MAX_WAITING
    first = mailbox.take()
    assert first is not None
    assert number_of(first) == dropped


def test_more_is_sent_only_when_some_is_acknowledged() -> None:
    mailbox = Mailbox()
    for number in range(WINDOW + 2):
        mailbox.put(event(number))
    assert [mailbox.take() is not None for _ in range(WINDOW + 1)] == [True] * WINDOW + [False]
    assert mailbox.acknowledge(1) == 1
    assert [mailbox.take() is not None for _ in range(2)] == [True, False]


def test_nobody_can_acknowledge_more_than_there_was() -> None:
    mailbox = Mailbox()
    mailbox.put(event(1))
    mailbox.take()
    assert mailbox.acknowledge(10**9) == 1
    assert mailbox.acknowledge(1) == 0
