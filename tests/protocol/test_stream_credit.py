"""Streams: what may be on its way, between any sender and any receiver, and what a session makes of them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from protocol.envelope import ITEM_DEPTH, Meta
from protocol.errors import ErrorCode, Refusal, Refused, RpcError
from protocol.events import Cancelled, Lost, Progressed, Reply, Request, Resumed, Streamed
from protocol.framing import frame
from protocol.lifecycle import Limits, ProgressValue
from protocol.pending import Call
from protocol.session import Session
from protocol.streams import MAX_BATCH_BYTES, MAX_UNUSED_BYTES, Receiving, Sending, size_of
from tests.support.examples import examples
from tests.support.linked_sessions import LinkedSessions, codes, framed, said, tells

SIZES = st.one_of(
    st.integers(1, 30), st.sampled_from([MAX_BATCH_BYTES, MAX_UNUSED_BYTES // 2, MAX_UNUSED_BYTES, 3 << 20])
)


class Pipe:
    """A sender and a receiver who do whatever they may, in any order."""

    def __init__(self, credit: int) -> None:
        self.sending, self.receiving = Sending(credit), Receiving(credit)
        self.credit = credit
        self.on_the_way: list[tuple[int, list[Raw]]] = []
        self.came: list[Raw] = []
        self.granted: list[int] = []
        self.got: list[bytes] = []

    def add(self, item: bytes) -> bool:
        if not self.sending.has_room:
            return False
        if not self.sending.fits(Raw(item)):
            self.leave()
        if self.sending.add(Raw(item)):
            self.leave()
        return True

    def leave(self) -> None:
        if self.sending.waiting:
            self.on_the_way.append(self.sending.take())

    def carry(self) -> None:
        for seq, items in self.on_the_way:
            assert self.receiving.accept(seq, len(items), size_of(items)) == ""
            self.came += items
        self.on_the_way.clear()

    def use(self, count: int) -> None:
        for item in self.came[:count]:
            self.got.append(bytes(item))
            if credit := self.receiving.use(1, size_of([item])):
                self.granted.append(credit)
        del self.came[:count]

    def acknowledge(self) -> None:
        for count in self.granted:
            self.sending.acknowledge(count)
        self.granted.clear()

    def check(self) -> None:
        unused = [*self.came, *(item for _, items in self.on_the_way for item in items)]
        assert len(unused) + self.sending.waiting <= self.credit
        largest = max(map(len, map(memoryview, unused)), default=0)
        assert size_of(unused) < MAX_UNUSED_BYTES + max(MAX_BATCH_BYTES, largest)
        for _, items in self.on_the_way:
            assert len(items) == 1 or size_of(items) <= MAX_BATCH_BYTES


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), SIZES),
        st.tuples(st.sampled_from(["leave", "carry", "acknowledge"])),
        st.tuples(st.just("use"), st.integers(1, 9)),
    ),
    max_size=60,
)


@examples(300)
@given(st.integers(1, 12), STEPS)
def test_whatever_both_do_all_items_arrive_in_order_and_never_too_many_are_on_their_way(
    credit: int, steps: list[tuple[Any, ...]]
) -> None:
    pipe = Pipe(credit)
    sent = []
    for number, (what, *arguments) in enumerate(steps):
        if what == "add":
            item = b"%d" % (number % 10) * arguments[0]
            if pipe.add(item):
                sent.append(item)
        else:
            getattr(pipe, what)(*arguments)
        pipe.check()
    pipe.leave()
    pipe.carry()
    pipe.use(1 << 30)
    assert pipe.got == sent


@examples(300)
@given(st.integers(1, 12), st.lists(SIZES, min_size=1, max_size=40))
def test_a_receiver_that_has_used_all_has_given_so_much_credit_that_the_sender_never_stands_still(
    credit: int, sizes: list[int]
) -> None:
    pipe = Pipe(credit)
    for size in sizes:
        if not pipe.add(b"x" * size):
            pipe.leave()
            pipe.carry()
            pipe.use(1 << 30)
            pipe.acknowledge()
            assert pipe.add(b"x" * size)
        pipe.check()


def test_a_receiver_gives_credit_back_when_half_of_it_is_used_up_or_half_of_the_bytes() -> None:
    many, large = Receiving(10), Receiving(10)
    assert many.accept(0, 10, 100) == large.accept(0, 3, 900_000) == ""
    assert [many.use(1, 10) for _ in range(5)] == [0, 0, 0, 0, 5]
    assert [large.use(1, 300_000), large.use(1, 300_000)] == [0, 2]


@pytest.mark.parametrize(
    ("batches", "wrong"),
    [
        ([(1, 1, 1)], "batch 1 came where 0 was due"),
        ([(0, 1, 1), (0, 1, 1)], "batch 0 came where 1 was due"),
        ([(0, 5, 5)], "5 items came, and there was credit for 4"),
        ([(0, 1, 2 * MAX_UNUSED_BYTES), (1, 1, 1)], "bytes are unused"),
    ],
)
def test_a_receiver_says_what_is_wrong_with_a_batch(batches: list[tuple[int, int, int]], wrong: str) -> None:
    receiving = Receiving(4)
    assert wrong in [receiving.accept(*batch) for batch in batches][-1]


def test_credit_for_more_than_there_ever_was_is_harmless() -> None:
    sending = Sending(1)
    assert not sending.acknowledge(1 << 40)
    assert sending.credit == 1_000_000
    sending.add(Raw(b"1"))
    sending.take()
    sending.acknowledge(5)
    assert sending.unused_bytes == 0


# -- sessions ------------------------------------------------------------------------------------------


def opened(pair: LinkedSessions, credit: int = 4) -> tuple[Call, Request]:
    call = pair.host.request("lines", {}, meta=Meta(credit=credit))
    (request,) = pair.to_plugin()
    assert isinstance(request, Request)
    return call, request


def send(session: Session, id: Any, *values: Any) -> None:
    sending = session.streams.sending(id)
    assert sending is not None
    for value in values:
        sending.add(session.writing.item(value))
    assert session.streams.send_items(id)


def items_of(event: Any) -> list[Any]:
    assert isinstance(event, Streamed)
    return [msgspec.json.decode(item) for item in event.items]


@pytest.mark.parametrize("from_host", [False, True], ids=["plugin to host", "host to plugin"])
def test_items_come_in_order_and_the_reply_ends_them(from_host: bool) -> None:
    pair = LinkedSessions()
    asking, answering = (pair.plugin, pair.host) if from_host else (pair.host, pair.plugin)
    there, back = (pair.to_host, pair.to_plugin) if from_host else (pair.to_plugin, pair.to_host)
    call = asking.request("lines", {}, meta=Meta(credit=4))
    (request,) = there()
    assert isinstance(request, Request)
    send(answering, request.id, 1, {"a": "ü"})
    send(answering, request.id, [3])
    answering.streams.sending(request.id).add(answering.writing.item(4))  # type: ignore[union-attr]  # and not sent
    answering.reply(request.id, None)
    *batches, reply = back()
    assert [items_of(batch) for batch in batches] == [[1, {"a": "ü"}], [[3]], [4]]
    assert isinstance(reply, Reply)
    assert reply.call is call
    assert answering.streams.sending(request.id) is None


def test_an_error_comes_after_the_items_that_came_before_it() -> None:
    pair = LinkedSessions()
    _, request = opened(pair)
    send(pair.plugin, request.id, 1, 2, 3)
    pair.plugin.reply_error(request.id, RpcError(7, "no more"))
    batch, reply = pair.to_host()
    assert items_of(batch) == [1, 2, 3]
    assert isinstance(reply, Reply)
    assert reply.error is not None
    assert reply.error.code == 7


def test_a_sender_without_room_is_told_when_there_is_some_again() -> None:
    pair = LinkedSessions()
    call, request = opened(pair, credit=2)
    send(pair.plugin, request.id, 1, 2)
    sending = pair.plugin.streams.sending(request.id)
    assert sending is not None
    assert not sending.has_room
    assert len(pair.to_host()) == 1
    pair.host.streams.use(call, 1, 1)
    assert pair.to_plugin() == [Resumed(request.id)]
    assert sending.has_room
    pair.host.streams.use(call, 1, 1)
    assert pair.to_plugin() == []  # it had room


def test_more_than_there_was_credit_for_ends_the_call_and_the_sender_is_told() -> None:
    pair = LinkedSessions()
    call, request = opened(pair, credit=1)
    batch = tells("$/stream", {"id": call.id, "seq": 0, "items": [1, 2]})
    (reply,) = pair.host.receive(framed(batch), 0.0)
    assert isinstance(reply, Reply)
    assert reply.error is not None
    assert reply.error.code == ErrorCode.FLOW_CONTROL
    assert call.settled
    assert pair.to_plugin() == [Cancelled(request.id)]
    assert pair.host.receive(framed(batch), 0.0) == []
    assert pair.host.counts.stray_items == 1


@pytest.mark.parametrize(
    "params",
    [
        {"id": 99, "seq": 0, "items": [1]},
        {"id": "1", "seq": 0, "items": [1]},
        {"id": 3, "seq": 0},
        {"id": 3, "seq": "0", "items": [1]},
        {"id": 3, "seq": 0, "items": 5},
        {},
        5,
    ],
)
def test_items_of_no_stream_change_nothing(params: Any) -> None:
    pair = LinkedSessions()
    call, _ = opened(pair)
    assert call.id == 2
    assert pair.host.receive(framed(tells("$/stream", params)), 0.0) == []
    assert pair.host.counts.stray_items + pair.host.counts.bad_messages == 1
    assert not call.settled


def test_items_after_the_reply_or_of_a_call_that_is_no_stream_are_ignored() -> None:
    pair = LinkedSessions()
    plain = pair.host.request("work", {})
    pair.to_plugin()
    call, request = opened(pair)
    pair.plugin.reply(request.id, None)
    pair.to_host()
    for id in (plain.id, call.id):
        assert pair.host.receive(framed(tells("$/stream", {"id": id, "seq": 0, "items": [1]})), 0.0) == []
    assert pair.host.counts.stray_items == 2
    assert not plain.settled


@pytest.mark.parametrize(
    "params", [{"id": 99, "n": 1}, {"id": 2, "n": 0}, {"id": 2, "n": -5}, {"id": 2}, {"id": 2, "n": 1.5}, 5]
)
def test_credit_that_makes_no_sense_changes_nothing(params: Any) -> None:
    pair = LinkedSessions()
    _, request = opened(pair, credit=1)
    send(pair.plugin, request.id, 1)
    pair.to_host()
    assert pair.plugin.receive(framed(tells("$/credit", params)), 0.0) == []
    assert not pair.plugin.streams.sending(request.id).has_room  # type: ignore[union-attr]


def test_a_request_and_its_cancel_together_leave_no_stream_behind() -> None:
    plugin = LinkedSessions().plugin
    plugin.outbox.clear()
    asked = {"jsonrpc": "2.0", "id": 9, "method": "lines", "params": {}, "meta": {"credit": 4}}
    assert plugin.receive(framed(asked, tells("$/cancelRequest", {"id": 9})), 0.0) == []
    assert plugin.streams.sending(9) is None
    assert codes(plugin) == [(9, ErrorCode.REQUEST_CANCELLED)]


def test_a_reply_does_not_overtake_its_items_however_full_the_box_is() -> None:
    pair = LinkedSessions()
    _, request = opened(pair)
    pair.plugin.outbox.max_bytes = 100
    send(pair.plugin, request.id, "x" * 200)
    sending = pair.plugin.streams.sending(request.id)
    assert sending is not None
    sending.add(pair.plugin.writing.item("y"))
    assert not pair.plugin.streams.send_items(request.id)  # full: the producer waits
    pair.plugin.reply(request.id, None)
    assert [message.get("method", "reply") for message in said(pair.plugin)] == ["$/stream"] * 2 + ["reply"]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (object(), Refusal.NOT_SERIALIZABLE),
        ("x" * 2000, Refusal.TOO_LARGE),
        (Raw(b"[" * (ITEM_DEPTH + 1) + b"]" * (ITEM_DEPTH + 1)), Refusal.NOT_SERIALIZABLE),
    ],
)
def test_what_cannot_be_an_item_is_refused_before_it_is_one(value: Any, reason: Refusal) -> None:
    session = LinkedSessions(host_limits=Limits(max_frame=2000)).plugin
    with pytest.raises(Refused) as refused:
        session.writing.item(value)
    assert refused.value.reason is reason


def test_the_largest_and_deepest_item_fits_into_a_frame_that_the_peer_takes() -> None:
    pair = LinkedSessions(host_limits=Limits(max_frame=4000))
    _, request = opened(pair)
    deep = Raw(b"[" * ITEM_DEPTH + b"]" * ITEM_DEPTH)
    large = "x" * (4000 - 512 - 2)
    sending = pair.plugin.streams.sending(request.id)
    assert sending is not None
    for item in (deep, large):
        sending.add(pair.plugin.writing.item(item))
        pair.plugin.streams.send_items(request.id)
    assert [type(event) for event in pair.host.receive(pair.plugin.outbox.take(1 << 20), 0.0)] == [
        Streamed
    ] * 2


def test_progress_reaches_the_call_and_the_latest_word_wins() -> None:
    pair = LinkedSessions()
    call = pair.host.request("work", {}, meta=Meta(progress=True))
    (request,) = pair.to_plugin()
    assert isinstance(request, Request)
    for done in (1, 2, 3):
        assert pair.plugin.progress(request.id, ProgressValue(done=done))
    assert pair.to_host() == [Progressed(call, ProgressValue(done=3))]
    pair.plugin.progress(request.id, ProgressValue(done=4))
    pair.plugin.reply(request.id, None)
    assert not pair.plugin.progress(request.id, ProgressValue(done=5))
    (reply,) = pair.to_host()  # and nothing behind it
    assert isinstance(reply, Reply)


@examples(200)
@given(
    st.lists(
        st.one_of(
            st.tuples(
                st.just("$/stream"),
                st.fixed_dictionaries(
                    {
                        "id": st.integers(1, 3),
                        "seq": st.integers(-1, 3),
                        "items": st.lists(st.integers(), max_size=4),
                    }
                ),
            ),
            st.tuples(
                st.just("$/credit"), st.fixed_dictionaries({"id": st.integers(1, 3), "n": st.integers(-2, 9)})
            ),
            st.tuples(st.just("$/progress"), st.just({"token": 1, "value": {"done": 1}})),
            st.tuples(st.sampled_from(["$/stream", "$/credit", "$/progress"]), st.just({"id": None})),
        ),
        max_size=12,
    )
)
def test_nothing_that_a_peer_says_of_streams_raises_and_each_call_is_settled_once(
    told: list[tuple[str, Any]],
) -> None:
    session = Session("peer")
    calls = [session.request("lines", {}, meta=Meta(credit=3)) for _ in range(2)]
    session.outbox.take()
    asked = {"jsonrpc": "2.0", "id": 1, "method": "m", "params": {}, "meta": {"credit": 2}}
    session.receive(frame(msgspec.json.encode(asked)), 0.0)
    events = [
        event for method, params in told for event in session.receive(framed(tells(method, params)), 0.0)
    ]
    events += session.close(None, "over")
    for call in calls:
        about = [event for event in events if getattr(event, "call", None) is call]
        items = [event.items for event in about if isinstance(event, Streamed)]
        assert sum(isinstance(event, Reply | Lost) for event in about) == 1
        assert sum(map(len, items)) <= 3
    assert not session.streams.answers
