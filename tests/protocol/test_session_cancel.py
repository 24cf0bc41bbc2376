"""Giving up: cancels in both directions, deadlines, and the replies that come after them."""

from __future__ import annotations

from typing import Any

import pytest

from protocol.errors import ErrorCode, RpcError
from protocol.events import Cancelled, Expired, Request
from protocol.session import Session
from tests.support.linked_sessions import answers, asks, codes, framed, heard, said, tells


def peer() -> Session:
    return Session("peer")


def calling(count: int = 1, **options: Any) -> Session:
    """A session with calls 1…count on their way."""
    session = peer()
    for _ in range(count):
        session.request("work", {}, **options)
    session.outbox.take(1 << 30)
    return session


def test_a_request_and_its_cancel_in_one_chunk_are_never_handed_out() -> None:
    session = peer()
    cancel = tells("$/cancelRequest", {"id": 2})
    events = session.receive(framed(asks(1), asks(2), tells("news"), cancel, asks(3), cancel), 0.0)
    assert [getattr(event, "id", None) for event in events] == [1, None, 3]
    assert codes(session) == [(2, ErrorCode.REQUEST_CANCELLED)]
    assert session.counts.unknown_cancels == 1
    assert not session.reply(2, {})
    events = session.receive(framed(tells("$/cancelRequest", {"id": 3})), 0.0)
    assert events == [Cancelled(3)]


def test_several_cancels_in_one_chunk_take_out_the_right_requests() -> None:
    session = peer()
    cancels = [tells("$/cancelRequest", {"id": id}) for id in (1, 3, 2)]
    events = session.receive(framed(asks(1), asks(2), asks(3), asks(4), *cancels), 0.0)
    assert [event.id for event in events if isinstance(event, Request)] == [4]
    assert len(events) == 1


def test_a_cancelled_request_is_still_owed_one_reply() -> None:
    session = peer()
    heard(session, framed(asks(1)))
    twice = framed(tells("$/cancelRequest", {"id": 1}), tells("$/cancelRequest", {"id": 1}))
    assert set(map(type, heard(session, twice))) == {Cancelled}
    assert session.reply(1, "made it anyway")
    assert not session.reply_error(1, RpcError(ErrorCode.REQUEST_CANCELLED, "cancelled"))
    assert codes(session) == [(1, None)]


@pytest.mark.parametrize("params", [{"id": 9}, {"id": "1"}, {"id": True}, {"id": None}, {}, [], 5])
def test_a_cancel_of_nothing_is_counted_and_harmless(params: Any) -> None:
    session = peer()
    heard(session, framed(asks(1)))
    assert heard(session, framed(tells("$/cancelRequest", params))) == []
    assert session.counts.unknown_cancels == 1
    assert 1 in session.incoming


def test_a_cancel_of_initialize_is_ignored_even_in_the_same_chunk() -> None:
    plugin = Session("plugin")
    cancel = tells("$/cancelRequest", {"id": 1})
    (event,) = plugin.receive(framed(asks(1, "initialize"), cancel), 0.0)
    assert isinstance(event, Request)
    assert plugin.receive(framed(cancel), 0.0) == []
    assert plugin.reply(1, {"protocol": 1})


def test_giving_up_initialize_settles_it_and_says_no_cancel() -> None:
    host = Session("host")
    call = host.request("initialize", {}, deadline=1.0)
    host.outbox.take()
    assert host.expire(1.0) == [Expired(call)]
    assert said(host) == []


def test_a_call_whose_deadline_passes_in_the_outbox_is_never_sent_nor_cancelled() -> None:
    session = peer()
    late = session.request("late", {}, deadline=1.0)
    session.request("fine", {})
    assert session.expire(0.999) == []
    assert session.expire(1.0) == [Expired(late)]
    assert [message["method"] for message in said(session)] == ["fine"]
    assert not session.outgoing.abandoned


def test_a_call_that_is_given_up_after_a_part_of_it_was_sent_is_cancelled_behind_it() -> None:
    host, plugin = peer(), peer()
    call = host.request("work", {}, deadline=1.0)
    sent = host.outbox.take()
    assert plugin.receive(sent[:10], 0.0) == []
    assert host.expire(1.0) == [Expired(call)]
    rest = sent[10:] + host.outbox.take()
    assert plugin.receive(rest, 1.0) == []  # request and cancel came together
    assert codes(plugin) == [(1, ErrorCode.REQUEST_CANCELLED)]


def test_a_reply_that_comes_late_is_counted_and_dropped() -> None:
    session = calling(deadline=1.0)
    assert len(session.expire(5.0)) == 1
    assert [message["method"] for message in said(session)] == ["$/cancelRequest"]
    assert heard(session, framed(answers(1), answers(1))) == []
    assert (session.counts.late_replies, session.counts.unknown_replies) == (1, 1)


def test_a_late_reply_that_is_malformed_frees_its_id_too() -> None:
    session = calling(deadline=1.0)
    session.expire(5.0)
    heard(session, framed(answers(1, neither=1)))
    assert not session.outgoing.abandoned


def test_a_deadline_after_the_reply_does_nothing() -> None:
    session = calling(deadline=1.0)
    heard(session, framed(answers(1)))
    assert session.next_deadline() is None
    assert session.expire(2.0) == []
    assert said(session) == []


def test_cancelling_settles_at_once_and_only_once() -> None:
    session = calling()
    call = session.outgoing.calls[1]
    session.cancel(call)
    session.cancel(call)
    assert call.settled
    (cancel,) = said(session)
    assert cancel["params"]["id"] == 1
