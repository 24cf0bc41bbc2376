"""What a session does with messages: who is answered, who is settled, and what is only counted."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from protocol.errors import ErrorCode, Fault
from protocol.events import Ended, Lost, Notification, Reply, Request, Strayed
from protocol.framing import frame
from protocol.lifecycle import Limits
from protocol.session import STALL_S, Session
from tests.support.linked_sessions import LinkedSessions, answers, asks, codes, framed, heard, said, tells

INVALID = ErrorCode.INVALID_REQUEST


def peer() -> Session:
    return Session("peer")


def calling(count: int = 1, **options: Any) -> Session:
    """A session with calls 1…count on their way."""
    session = peer()
    for _ in range(count):
        session.request("work", {}, **options)
    session.outbox.take(1 << 30)
    return session


def test_a_call_travels_to_the_plugin_and_back() -> None:
    pair = LinkedSessions()
    asked = pair.ask_plugin("greet", {"name": "é\U0001f600"}, token="mine")
    assert msgspec.json.decode(asked.params) == {"name": "é\U0001f600"}
    assert pair.plugin.reply(asked.id, "hello")
    (reply,) = pair.to_host()
    assert isinstance(reply, Reply)
    assert (reply.call.token, reply.error) == ("mine", None)
    assert reply.result is not None
    assert msgspec.json.decode(reply.result) == "hello"
    assert not pair.plugin.reply(asked.id, "again")


def test_both_sides_may_call_each_other_at_once_with_the_same_ids() -> None:
    pair = LinkedSessions()
    pair.plugin.request("config/get", {})
    pair.plugin.request("store/get", {})
    asked = pair.ask_plugin()
    back = pair.to_host()
    assert [type(event) for event in back] == [Request, Request]
    assert asked.id in pair.host.incoming


def test_malformed_json_and_then_a_good_frame_are_both_answered() -> None:
    session = peer()
    (event,) = heard(session, framed(b"{", asks(1)))
    assert isinstance(event, Request)
    session.reply(event.id, {})
    assert codes(session) == [(None, ErrorCode.PARSE_ERROR), (1, None)]


@pytest.mark.parametrize(
    "id", [b"null", b"true", b"1.0", b"9007199254740993", b'"' + b"x" * 200 + b'"', b"[]"]
)
def test_an_id_that_is_none_is_refused_without_an_id(id: bytes) -> None:
    session = peer()
    assert heard(session, framed(b'{"jsonrpc":"2.0","method":"work","id":%b}' % id)) == []
    assert codes(session) == [(None, INVALID)]
    assert len(session.incoming) == 0


def test_an_id_in_flight_cannot_be_used_again_and_the_first_request_completes() -> None:
    session = peer()
    assert len(heard(session, framed(asks(1), asks(1), asks("1")))) == 2
    assert session.reply(1, "one")
    assert session.reply("1", "text one")
    assert codes(session) == [(None, INVALID), (1, None), ("1", None)]
    assert len(heard(session, framed(asks(1)))) == 1  # free again


@pytest.mark.parametrize("id", [2, 0, -1, "1", "x"])
def test_a_reply_to_an_id_that_nobody_used_is_counted_and_dropped(id: int | str) -> None:
    session = calling()
    assert heard(session, framed(answers(id))) == []
    assert session.counts.unknown_replies == 1
    assert list(session.outgoing.calls) == [1]
    assert said(session) == []


def test_a_second_reply_is_counted_and_dropped() -> None:
    session = calling()
    assert len(heard(session, framed(answers(1), answers(1, error={"code": 1, "message": "no"})))) == 1
    assert session.counts.unknown_replies == 1


@pytest.mark.parametrize(
    "members",
    [
        {"result": 1, "error": {"code": 1, "message": "x"}},
        {"neither": 1},
        {"result": 1, "jsonrpc": "1.0"},
        {"error": {"code": 1, "message": "x"}, "meta": 5},
    ],
)
def test_a_malformed_reply_settles_its_call_with_an_error_and_is_not_answered(
    members: dict[str, Any],
) -> None:
    session = calling(2)
    (event,) = heard(session, framed(answers(1, **members)))
    assert isinstance(event, Reply)
    assert event.error is not None
    assert (event.call.id, event.error.code) == (1, INVALID)
    assert session.counts.bad_replies == 1
    assert said(session) == []
    assert list(session.outgoing.calls) == [2]


@pytest.mark.parametrize("error", [5, None, {}, {"code": 1.5, "message": "x"}, {"code": 1}, [], "no"])
def test_a_malformed_error_settles_its_call_with_an_error(error: Any) -> None:
    session = calling()
    (event,) = heard(session, framed(answers(1, error=error)))
    assert isinstance(event, Reply)
    assert event.error is not None
    assert event.error.code == INVALID


@pytest.mark.parametrize(
    "reply",
    [
        b'{"jsonrpc":"2.0","result":1,"error":{"code":1,"message":"x"}}',
        b'{"jsonrpc":"2.0","result":1}',
        b'{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"x"}}',
        b'{"jsonrpc":"2.0","id":true,"result":1}',
        b'{"jsonrpc":"2.0","id":1.0,"result":1}',
        b'{"jsonrpc":"2.0","id":[1],"result":1}',
    ],
)
def test_a_reply_without_a_usable_id_settles_nobody_and_is_not_answered(reply: bytes) -> None:
    session = calling()
    assert heard(session, framed(reply)) == []
    assert session.counts.bad_replies == 1
    assert list(session.outgoing.calls) == [1]
    assert said(session) == []


@pytest.mark.parametrize("params", [b"", b',"params":null', b',"params":{}'])
def test_params_that_are_absent_or_null_are_an_empty_object(params: bytes) -> None:
    (event,) = heard(peer(), framed(b'{"jsonrpc":"2.0","id":1,"method":"work"%b}' % params))
    assert isinstance(event, Request)
    assert bytes(event.params) == b"{}"


@pytest.mark.parametrize("params", [1, True, "text", 1.5])
def test_scalar_params_are_refused_and_those_of_a_notification_ignored(params: Any) -> None:
    session = peer()
    (event,) = heard(session, framed(asks(1, params=params), tells("news", params)))
    assert isinstance(event, Notification)
    assert bytes(event.params) == b"{}"
    (answer,) = said(session)
    assert answer["error"]["code"] == ErrorCode.INVALID_PARAMS
    assert [set(problem) for problem in answer["error"]["data"]] == [{"path", "reason"}]


@pytest.mark.parametrize("batch", [[], [1], [1, 2], [asks(1), asks(2)], [tells("news")]])
def test_a_batch_gets_one_refusal_and_nothing_of_it_is_done(batch: list[Any]) -> None:
    session = peer()
    assert heard(session, framed(batch)) == []
    assert codes(session) == [(None, INVALID)]


def test_a_frame_that_stands_still_ends_the_session_and_a_byte_renews_its_time() -> None:
    session = calling()
    half = frame(b"{}")
    session.receive(half[:-2], 0.0)
    assert session.next_deadline() == STALL_S
    assert session.expire(STALL_S - 0.1) == []
    session.receive(half[-2:-1], 9.0)
    assert session.expire(STALL_S) == []
    lost, ended = session.expire(9.0 + STALL_S)
    assert isinstance(lost, Lost)
    assert isinstance(ended, Ended)
    assert ended.fault is Fault.FRAME_STALLED


def test_a_whole_frame_does_not_stall() -> None:
    session = peer()
    session.receive(frame(b"{}")[:-1], 0.0)
    session.receive(b"}", 1.0)
    assert session.next_deadline() is None
    assert session.expire(1e9) == []


def test_stray_text_is_handed_out_and_counted() -> None:
    session = peer()
    events = heard(session, b"hello\n" + framed(asks(1)))
    assert events[0] == Strayed(b"hello\n")
    assert isinstance(events[1], Request)
    assert session.counts.noise_bytes == 6


@pytest.mark.parametrize(("cut", "fault"), [(0, None), (20, Fault.TRUNCATED)])
def test_the_end_of_file_ends_the_session_and_loses_its_calls(cut: int, fault: Fault | None) -> None:
    session = calling(2)
    session.receive(frame(b"{}")[:cut], 0.0)
    *lost, ended = session.receive_eof()
    assert [event.call.id for event in lost if isinstance(event, Lost)] == [1, 2]
    assert isinstance(ended, Ended)
    assert ended.fault is fault
    assert session.receive_eof() == []
    assert session.receive(framed(asks(1)), 0.0) == []


def test_announced_limits_are_kept_by_the_sender() -> None:
    pair = LinkedSessions(host_limits=Limits(max_frame=2000))
    asked = pair.ask_plugin()
    pair.plugin.reply(asked.id, "x" * 3000)
    (reply,) = pair.to_host()
    assert isinstance(reply, Reply)
    assert reply.error is not None
    assert reply.error.code == ErrorCode.PAYLOAD_TOO_LARGE
