"""Items that go with a request, between two sessions: nothing unasked, all in order, and one end."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.envelope import Meta
from protocol.errors import ErrorCode, RpcError
from protocol.events import Ended, Reply, Request, Uploaded, Wanted
from protocol.pending import Call
from protocol.session import Session
from protocol.streams import MAX_BATCH_BYTES, MAX_UNUSED_BYTES, size_of
from tests.support.examples import examples
from tests.support.linked_sessions import LinkedSessions, framed, said, tells


def opened(pair: LinkedSessions, credit: int = 4) -> tuple[Call, Request]:
    """A call whose items have been asked for."""
    call = pair.host.request("put", {}, meta=Meta(up=True))
    (request,) = pair.to_plugin()
    assert isinstance(request, Request)
    if credit:
        pair.plugin.streams.take_up(request.id, credit)
        assert pair.to_host() == [Wanted(call)]
    return call, request


def send(session: Session, call: Call, *values: Any, end: bool = False) -> None:
    sending = session.streams.sending(call)
    assert sending is not None
    for value in values:
        sending.add(session.writing.item(value))
    assert session.streams.send_items(call, end=end)


def values_of(event: Any) -> list[Any]:
    assert isinstance(event, Uploaded)
    return [msgspec.json.decode(item) for item in event.items]


@pytest.mark.parametrize("from_host", [True, False], ids=["host to plugin", "plugin to host"])
def test_items_go_in_order_with_the_request_and_an_end(from_host: bool) -> None:
    pair = LinkedSessions()
    asking, answering = (pair.host, pair.plugin) if from_host else (pair.plugin, pair.host)
    there, back = (pair.to_plugin, pair.to_host) if from_host else (pair.to_host, pair.to_plugin)
    call = asking.request("put", {}, meta=Meta(up=True))
    (request,) = there()
    assert isinstance(request, Request)
    answering.streams.take_up(request.id, 4)
    assert back() == [Wanted(call)]
    send(asking, call, 1, {"a": "ü"})
    send(asking, call, 3, end=True)
    first, last = there()
    assert (values_of(first), first.is_over) == ([1, {"a": "ü"}], False)  # type: ignore[union-attr]
    assert (values_of(last), last.is_over) == ([3], True)  # type: ignore[union-attr]
    answering.reply(request.id, 3)
    (reply,) = back()
    assert isinstance(reply, Reply)
    assert reply.call is call


def test_it_says_on_the_wire_whose_request_it_is_and_when_it_ends() -> None:
    pair = LinkedSessions()
    call, request = opened(pair, credit=0)
    pair.plugin.streams.take_up(request.id, 2)
    assert said(pair.plugin)[0]["params"] == {"id": call.id, "n": 2, "up": True}
    call.up.acknowledge(2)  # type: ignore[union-attr]
    send(pair.host, call, "a")
    send(pair.host, call, end=True)
    assert [message["params"] for message in said(pair.host)] == [
        {"id": call.id, "seq": 0, "items": ["a"], "up": True},
        {"id": call.id, "seq": 1, "items": [], "up": True, "end": True},
    ]


def test_nothing_may_go_before_it_is_asked_for() -> None:
    pair = LinkedSessions()
    call, request = opened(pair, credit=0)
    sending = pair.host.streams.sending(call)
    assert sending is not None
    assert not sending.has_room
    early = tells("$/stream", {"id": call.id, "seq": 0, "items": [1], "up": True})
    assert pair.plugin.receive(framed(early), 0.0) == []
    assert pair.plugin.counts.stray_items == 1
    pair.plugin.reply(request.id, None)
    assert len(pair.to_host()) == 1


def test_the_same_id_in_both_directions_is_not_mixed_up() -> None:
    pair = LinkedSessions()
    call, request = opened(pair)
    mine = pair.plugin.request("host/x", {}, meta=Meta(credit=4))
    while mine.id != call.id:  # the handshake has taken an id on one side
        pair.plugin.cancel(mine)
        mine = pair.plugin.request("host/x", {}, meta=Meta(credit=4))
    asked = [event for event in pair.to_host() if isinstance(event, Request)][-1]
    assert asked.id == request.id == call.id
    send(pair.host, call, "up")
    pair.host.streams.sending(asked.id).add(pair.host.writing.item("down"))  # type: ignore[union-attr]
    pair.host.streams.send_items(asked.id)
    up, down = pair.to_plugin()
    assert values_of(up) == ["up"]
    assert type(down).__name__ == "Streamed"
    pair.plugin.streams.use(request.id, 4, 4)
    assert pair.to_host() == []  # it had room
    assert call.up.credit == 7  # type: ignore[union-attr]
    assert pair.host.streams.sending(asked.id).credit == 3  # type: ignore[union-attr]


def test_more_than_there_was_credit_for_ends_the_upload_with_an_error_and_the_request_goes_on() -> None:
    pair = LinkedSessions()
    call, request = opened(pair, credit=1)
    batch = tells("$/stream", {"id": call.id, "seq": 0, "items": [1, 2], "up": True})
    (event,) = pair.plugin.receive(framed(batch), 0.0)
    assert isinstance(event, Uploaded)
    assert event.is_over
    assert event.error is not None
    assert event.error.code == ErrorCode.FLOW_CONTROL
    assert pair.plugin.receive(framed(batch), 0.0) == []
    assert pair.plugin.reply_error(request.id, event.error)


@pytest.mark.parametrize(
    "params",
    [
        {"id": 99, "seq": 0, "items": [1], "up": True},
        {"id": "2", "seq": 0, "items": [1], "up": True},
        {"id": 2, "seq": 0, "items": [1]},
        {"id": 2, "seq": 0, "items": 5, "up": True},
        {"id": 2, "seq": 0, "items": [1], "up": 1},
        {"id": 2, "seq": 0, "items": [], "up": True, "end": "yes"},
    ],
)
def test_items_that_go_with_nothing_change_nothing(params: Any) -> None:
    pair = LinkedSessions()
    call, _ = opened(pair)
    assert call.id == 2
    assert pair.plugin.receive(framed(tells("$/stream", params)), 0.0) == []
    assert pair.plugin.counts.stray_items + pair.plugin.counts.bad_messages == 1


def test_the_reply_ends_it_however_much_is_still_on_its_way() -> None:
    pair = LinkedSessions()
    call, request = opened(pair)
    send(pair.host, call, 1)
    pair.plugin.reply_error(request.id, RpcError(7, "enough"))
    assert pair.to_plugin() == []
    assert pair.plugin.counts.stray_items == 1
    assert len(pair.to_host()) == 1
    assert pair.host.streams.sending(call) is None
    assert pair.host.streams.send_items(call, end=True)
    assert not pair.host.outbox.bytes
    pair.plugin.streams.use(request.id, 4, 4)
    assert not pair.plugin.outbox.bytes


def test_who_waits_for_items_is_told_of_the_end_of_the_connection() -> None:
    pair = LinkedSessions()
    _, request = opened(pair)
    upload, ended = pair.plugin.receive_eof()
    assert isinstance(upload, Uploaded)
    assert (upload.id, upload.is_over) == (request.id, True)
    assert upload.error is not None
    assert upload.error.code == ErrorCode.SHUTTING_DOWN
    assert isinstance(ended, Ended)


def test_a_call_that_is_given_up_takes_its_items_out_of_the_box() -> None:
    pair = LinkedSessions()
    call, _ = opened(pair)
    send(pair.host, call, "x" * 1000)
    pair.host.cancel(call)
    assert [message["method"] for message in said(pair.host)] == ["$/cancelRequest"]


SIZES = st.one_of(st.integers(1, 30), st.sampled_from([MAX_BATCH_BYTES, MAX_UNUSED_BYTES // 2, 3 << 20]))


@examples(60)
@given(st.integers(1, 9), st.lists(SIZES, max_size=25), st.randoms(use_true_random=False))
def test_whatever_the_sizes_and_the_pace_all_items_arrive_and_few_wait(
    credit: int, sizes: list[int], random: Any
) -> None:
    host, plugin = Session("peer"), Session("peer")
    call = host.request("put", {}, meta=Meta(up=True))
    (request,) = plugin.receive(host.outbox.take(1 << 30), 0.0)
    assert isinstance(request, Request)
    plugin.streams.take_up(request.id, credit)
    left, waiting, got, is_over = list(enumerate(sizes)), [], [], False
    for _ in range(50 * len(sizes) + 50):
        sending = host.streams.sending(call)
        assert sending is not None
        while left and sending.has_room and random.random() < 0.8:
            number, size = left.pop(0)
            item = host.writing.item(f"{number}:".ljust(size, "x"))
            if not sending.fits(item):
                host.streams.send_items(call, always=True)
            sending.add(item)
        host.streams.send_items(call, always=True)
        if not left and not is_over:
            host.streams.send_items(call, end=True)
        for event in plugin.receive(host.outbox.take(1 << 30), 0.0):
            assert isinstance(event, Uploaded)
            assert event.error is None
            waiting += event.items
            is_over = is_over or event.is_over
        assert len(waiting) <= credit
        largest = max(map(size_of, [[item] for item in waiting]), default=0)
        assert size_of(waiting) < MAX_UNUSED_BYTES + max(MAX_BATCH_BYTES, largest)
        while waiting and random.random() < 0.6:
            item = waiting.pop(0)
            got.append(msgspec.json.decode(item))
            plugin.streams.use(request.id, 1, size_of([item]))
        host.receive(plugin.outbox.take(1 << 30), 0.0)
        if is_over and not waiting:
            break
    assert is_over
    assert [text.split(":")[0] for text in got] == [str(number) for number in range(len(sizes))]
