"""What a session refuses: by phase, by load, and because a value cannot be sent."""

from __future__ import annotations

from typing import Any

import pytest

from protocol.errors import ErrorCode, Fault, Refusal, Refused, RpcError
from protocol.events import Ended, Notification, Request
from protocol.lifecycle import Limits
from protocol.outbox import Lane
from protocol.phases import Phase
from protocol.session import Session
from tests.support.linked_sessions import LinkedSessions, answers, asks, codes, framed, heard, said, tells


def refused(call: Any, *args: Any, **options: Any) -> Refusal:
    with pytest.raises(Refused) as caught:
        call(*args, **options)
    assert str(caught.value)
    return caught.value.reason


def cycle() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


def deep(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels - 1):
        value = [value]
    return value


UNSENDABLE: dict[str, tuple[Any, ErrorCode]] = {
    "surrogate": ("\ud800", ErrorCode.RESULT_NOT_SERIALIZABLE),
    "surrogate as a key": ({"\udfff": 1}, ErrorCode.RESULT_NOT_SERIALIZABLE),
    "cycle": (cycle(), ErrorCode.RESULT_NOT_SERIALIZABLE),
    "unknown type": (object(), ErrorCode.RESULT_NOT_SERIALIZABLE),
    "a type": (int, ErrorCode.RESULT_NOT_SERIALIZABLE),
    "too deep": (deep(128), ErrorCode.RESULT_NOT_SERIALIZABLE),
    "too large": ("x" * 5000, ErrorCode.PAYLOAD_TOO_LARGE),
}


@pytest.mark.parametrize(("result", "code"), UNSENDABLE.values(), ids=UNSENDABLE.keys())
def test_the_caller_is_answered_whatever_the_result_is(result: Any, code: ErrorCode) -> None:
    session = Session("peer")
    session.peer_limits = Limits(max_frame=4000)
    heard(session, framed(asks(1)))
    assert session.reply(1, result)
    assert codes(session) == [(1, code)]
    assert not session.reply(1, {})


@pytest.mark.parametrize("value", [pair[0] for pair in UNSENDABLE.values()], ids=UNSENDABLE.keys())
@pytest.mark.parametrize("code", [7, ErrorCode.PLUGIN_ERROR, 10**30])
def test_the_caller_is_answered_whatever_the_error_carries(value: Any, code: int) -> None:
    session = Session("peer")
    session.peer_limits = Limits(max_frame=4000)
    heard(session, framed(asks(1), asks(2)))
    assert session.reply_error(1, RpcError(code, "no", value))
    assert session.reply_error(2, RpcError(code, value if isinstance(value, str) else "no", value))
    assert codes(session) == [(1, code), (2, code)]


@pytest.mark.parametrize("limit", [-1, 0, 1, 100])
def test_a_peer_that_announces_a_tiny_frame_is_still_answered_and_told_of_cancels(limit: int) -> None:
    session = Session("peer", limits=Limits(max_in_flight=1, queue=0))
    session.peer_limits = Limits(max_frame=limit)
    session.request("work", {}, deadline=1.0)
    session.outbox.take()
    assert len(session.expire(1.0)) == 1
    long_id = "\x01" * 128
    heard(session, framed(asks(1), asks(long_id)))
    session.reply(1, {})
    assert [message.get("id") for message in said(session)] == [None, long_id, 1]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("\ud800", Refusal.NOT_SERIALIZABLE),
        (cycle(), Refusal.NOT_SERIALIZABLE),
        ("x" * 5000, Refusal.TOO_LARGE),
    ],
    ids=["surrogate", "cycle", "too large"],
)
def test_a_call_that_cannot_be_sent_spends_nothing(value: Any, reason: Refusal) -> None:
    session = Session("peer")
    session.peer_limits = Limits(max_frame=4000)
    assert refused(session.request, "work", {"a": value}) is reason
    assert refused(session.notify, "news", {"a": value}) is reason
    assert not session.outgoing.calls
    assert session.outbox.bytes == 0
    assert session.request("work", {}).id == 1


# -- phases ------------------------------------------------------------------------------------------


def plugin_in(phase: Phase) -> Session:
    """A plugin that the host has brought to `phase`, with nothing in flight."""
    plugin = Session("plugin")
    path = [asks(1, "initialize"), tells("initialized"), asks(2, "shutdown"), tells("exit")]
    for message in path[: list(Phase).index(phase)]:
        plugin.receive(framed(message), 0.0)
        plugin.reply(message.get("id", 0), {})
    plugin.outbox.clear()
    assert plugin.phase is phase
    return plugin


NI, SD, IS = ErrorCode.NOT_INITIALIZED, ErrorCode.SHUTTING_DOWN, ErrorCode.INVALID_STATE
METHODS = ["initialize", "lifecycle/start", "lifecycle/ping", "shutdown", "work"]


@pytest.mark.parametrize(
    ("phase", "wanted"),
    [
        (Phase.SPAWNED, [None, NI, NI, NI, NI]),
        (Phase.INITIALIZING, [IS, NI, None, None, NI]),
        (Phase.READY, [IS, None, None, None, None]),
        (Phase.DRAINING, [IS, SD, None, IS, SD]),
        (Phase.EXITED, [IS, SD, SD, IS, SD]),
    ],
)
def test_a_plugin_refuses_what_its_phase_does_not_allow(phase: Phase, wanted: list[ErrorCode | None]) -> None:
    for method, code in zip(METHODS, wanted, strict=True):
        plugin = plugin_in(phase)
        events = heard(plugin, framed(asks(9, method)))
        assert [type(event) for event in events] == ([] if code else [Request])
        assert codes(plugin) == ([(9, code)] if code else [])


@pytest.mark.parametrize("phase", [Phase.SPAWNED, Phase.INITIALIZING])
def test_before_it_is_ready_a_plugin_may_tell_and_not_ask(phase: Phase) -> None:
    plugin = plugin_in(phase)
    assert refused(plugin.request, "config/get", {}) is Refusal.WRONG_PHASE
    assert plugin.notify("log/record", {"level": "info", "message": "up"})
    host = Session("host")
    if phase is Phase.INITIALIZING:
        host.request("initialize", {})
        host.outbox.take()
    (event,) = heard(host, framed(tells("status/text", {"text": "hi"}), asks(1, "config/get")))
    assert isinstance(event, Notification)
    assert codes(host) == [(1, NI)]


def test_the_host_is_held_to_the_same_phases_before_anything_is_sent() -> None:
    host = Session("host")
    assert refused(host.request, "work", {}) is Refusal.WRONG_PHASE
    host.request("initialize", {})
    assert refused(host.request, "initialize", {}) is Refusal.WRONG_PHASE
    assert refused(host.request, "lifecycle/start", {}) is Refusal.WRONG_PHASE
    host.notify("initialized", {})
    host.request("lifecycle/start", {})
    host.request("shutdown", {})
    assert refused(host.request, "shutdown", {}) is Refusal.WRONG_PHASE
    assert refused(host.request, "work", {}) is Refusal.WRONG_PHASE
    host.notify("exit", {})
    assert host.phase is Phase.EXITED


def test_both_sides_agree_on_the_phase_all_the_way() -> None:
    pair = LinkedSessions()
    asked = pair.ask_plugin("shutdown")
    assert pair.host.phase is pair.plugin.phase is Phase.DRAINING
    pair.plugin.request("store/set", {})  # work in flight may still ask
    assert len(pair.to_host()) == 1
    pair.plugin.reply(asked.id, None)
    pair.to_host()
    pair.host.notify("exit", {})
    pair.to_plugin()
    assert pair.host.phase is pair.plugin.phase is Phase.EXITED


def test_the_host_does_not_move_on_by_a_word_that_found_no_room() -> None:
    host = LinkedSessions().host
    host.outbox.max_bytes = 10
    host.request("work", {})
    assert not host.notify("exit", {})
    assert host.phase is Phase.READY


def test_a_closed_session_refuses_calls_and_swallows_the_rest() -> None:
    session = Session("peer")
    heard(session, framed(asks(1)))
    session.close(None, "enough")
    assert refused(session.request, "work", {}) is Refusal.CLOSED
    assert session.notify("news", {}) is False
    assert session.reply(1, {}) is False
    assert session.outbox.take() == b""


# -- load --------------------------------------------------------------------------------------------


def test_one_request_too_many_is_answered_overloaded_at_once() -> None:
    session = Session("peer", limits=Limits(max_in_flight=2, queue=1))
    events = heard(
        session, framed(*(asks(id) for id in range(1, 5)), asks(5, "lifecycle/ping"), asks(6, "shutdown"))
    )
    assert [event.id for event in events if isinstance(event, Request)] == [1, 2, 3, 5, 6]
    (answer,) = said(session)
    assert (answer["id"], answer["error"]["code"]) == (4, ErrorCode.OVERLOADED)
    assert set(answer["error"]["data"]) == {"limit", "retry_after_ms"}


def test_the_sender_keeps_the_announced_number_of_calls_and_may_still_ping() -> None:
    session = LinkedSessions().host
    session.peer_limits = Limits(max_in_flight=2, queue=1)
    for _ in range(3):
        session.request("work", {})
    assert refused(session.request, "work", {}) is Refusal.TOO_MANY_IN_FLIGHT
    session.request("lifecycle/ping", {})
    session.request("shutdown", {})


def test_a_full_outbox_refuses_calls_and_spends_no_id() -> None:
    session = Session("peer")
    session.outbox.max_bytes = 200
    session.request("work", {"a": "x" * 150})
    assert refused(session.request, "work", {"a": "x" * 150}) is Refusal.OUTBOX_FULL
    assert session.notify("news", {"a": "x" * 150}) is False
    assert list(session.outgoing.calls) == [1]


def test_whoever_asks_and_never_reads_the_answers_is_cut_off() -> None:
    session = Session("peer")
    session.outbox.max_bytes = 64 * 1024
    session.request("work", {})
    chunk = framed(*[b"no json"] * 100)
    for _ in range(100):
        events = session.receive(chunk, 0.0)
        if events:
            break
        assert session.outbox.bytes < 256 * 1024
    assert isinstance(events[-1], Ended)
    assert events[-1].fault is Fault.NOT_READING
    assert session.phase is Phase.CLOSED
    assert session.outbox.bytes == 0


def test_an_answer_does_not_echo_a_large_message() -> None:
    session = Session("peer")
    heard_nothing = session.receive(framed({"jsonrpc": "x" * 1_000_000, "id": 1, "method": "m"}), 0.0)
    assert heard_nothing == []
    assert session.outbox.bytes < 1000


def test_a_caller_that_reads_is_never_cut_off() -> None:
    session = Session("peer")
    session.outbox.max_bytes = 1000
    for id in range(1, 3000):
        assert len(session.receive(framed(asks(id)), 0.0)) == 1
        session.reply(id, "x" * 2000)
        assert len(said(session)) == 1


# -- ids ---------------------------------------------------------------------------------------------


def test_ids_wrap_and_skip_those_in_flight_and_those_abandoned() -> None:
    session = Session("peer")
    session.outgoing._max_id = 5
    calls = [session.request("work", {}) for _ in range(5)]
    session.outbox.take()
    session.cancel(calls[1])  # 2 is abandoned, 1 and 5 stay in flight
    session.outbox.take(1 << 20)
    heard(session, framed(answers(3), answers(4)))
    assert [session.request("work", {}).id for _ in range(2)] == [3, 4]
    heard(session, framed(answers(2)))
    assert session.request("work", {}).id == 2
    assert session.counts.late_replies == 1


def test_the_table_of_abandoned_ids_is_bounded_and_forgets_the_oldest() -> None:
    session = Session("peer")
    for _ in range(1100):
        call = session.request("work", {})
        session.outbox.take(1 << 20)
        session.cancel(call)
    assert len(session.outgoing.abandoned) == 1024
    assert next(iter(session.outgoing.abandoned)) == 1100 - 1024 + 1
    assert min(Lane) == Lane.CONTROL
