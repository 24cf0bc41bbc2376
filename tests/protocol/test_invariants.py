"""The ten promises of the sans-IO core, each against random histories of a session.

A history is a list of steps: what we say, what the peer says (well, badly, or not at all), what the
pipe takes and how time passes. I7 (no author code inside the core) is held by the imports.
"""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import protocol
from protocol.errors import ErrorCode, Refused, RpcError
from protocol.events import Ended, Event, Expired, Lost, Reply, Request
from protocol.framing import FrameReader
from protocol.lifecycle import Limits
from protocol.outbox import Lane
from protocol.phases import Phase
from protocol.session import Session
from tests.support.examples import examples
from tests.support.linked_sessions import answers, asks, framed, seen, tells

LIMITS = Limits(max_in_flight=3, queue=2)
BOX = 4000
IDS = st.one_of(st.integers(1, 6), st.sampled_from(["1", "x"]))
VALUES = st.sampled_from([{}, [1], None, "text", "\ud800", {1, 2}, object(), "x" * 1500])
ERRORS = st.sampled_from([{"code": 1, "message": "no"}, {"code": 10**40, "message": ""}, 5, {}])

HONEST = st.one_of(
    st.builds(asks, IDS, st.sampled_from(["work", "lifecycle/ping", "shutdown", "initialize"])),
    st.builds(answers, IDS),
    st.builds(answers, IDS, error=ERRORS),
    st.builds(answers, IDS, result=st.just(1), error=ERRORS),
    st.builds(tells, st.just("$/cancelRequest"), st.fixed_dictionaries({"id": IDS})),
    st.just(tells("news")),
)
MESSAGES = st.lists(HONEST, min_size=1, max_size=4).map(lambda messages: framed(*messages))
NEAR = st.sampled_from(
    [framed([]), framed(b"{"), framed({"id": 1}), b"noise\n", framed(b"[" * 200), framed(b'"\\ud800"')]
)

STEPS = st.one_of(
    st.tuples(st.just("request"), st.sampled_from([None, 1.0, 3.0]), VALUES),
    st.tuples(st.just("notify"), st.sampled_from(list(Lane)), VALUES),
    st.tuples(st.just("cancel"), st.integers(0, 5)),
    st.tuples(st.just("hear"), st.one_of(MESSAGES, NEAR)),
    st.tuples(st.just("reply"), st.integers(0, 5), VALUES),
    st.tuples(st.just("fail"), st.integers(0, 5), VALUES),
    st.tuples(st.just("take"), st.sampled_from([1, 200, 1 << 20])),
    st.tuples(st.just("tick"), st.sampled_from([0.5, 2.0])),
)
HISTORIES = st.lists(STEPS, max_size=40)
Step = tuple[Any, ...]


class History:
    """A session with everything that happened to it."""

    def __init__(self, steps: list[Step]) -> None:
        self.session = Session("peer", limits=LIMITS)
        self.session.outbox.max_bytes = BOX
        self.session.peer_limits = LIMITS
        self.now = 0.0
        self.events: list[Event] = []
        self.written: list[bytes] = []
        self.calls: list[Any] = []
        self.cancelled_by_us: list[int] = []
        for number, step in enumerate(steps):
            self.do(number, *step)

    def do(self, number: int, kind: str, *arguments: Any) -> None:
        session = self.session
        if kind == "request":
            deadline = None if arguments[0] is None else self.now + arguments[0]
            try:
                call = session.request(
                    "work", {"n": number, "a": arguments[1]}, deadline=deadline, token=number
                )
                self.calls.append(call)
            except Refused:
                pass
        elif kind == "notify":
            try:
                session.notify(
                    "news", {"n": number, "lane": arguments[0], "a": arguments[1]}, lane=arguments[0]
                )
            except Refused:
                pass
        elif kind == "cancel" and arguments[0] < len(self.calls):
            call = self.calls[arguments[0]]
            if not call.settled:
                self.cancelled_by_us.append(call.token)
            session.cancel(call)
        elif kind == "hear":
            self.events += session.receive(arguments[0], self.now)
        elif kind in ("reply", "fail"):
            asked = [event.id for event in self.events if isinstance(event, Request)]
            if arguments[0] < len(asked):
                id = asked[-1 - arguments[0]]
                if kind == "reply":
                    session.reply(id, arguments[1])
                else:
                    session.reply_error(id, RpcError(ErrorCode.PLUGIN_ERROR, "no", arguments[1]))
        elif kind == "take":
            self.written.append(session.outbox.take(arguments[0]))
        elif kind == "tick":
            self.now += arguments[0]
            self.events += session.expire(self.now)

    def answer_all(self) -> None:
        for event in self.events:
            if isinstance(event, Request):
                self.session.reply(event.id, {})

    def messages(self) -> list[dict[str, Any]]:
        """Everything written, with what still waits."""
        self.written.append(self.session.outbox.take(1 << 30))
        reader = FrameReader()
        bodies = reader.receive(b"".join(self.written))
        assert not reader.inside_frame
        assert all(isinstance(body, bytes) for body in bodies)
        return [msgspec.json.decode(body) for body in bodies if isinstance(body, bytes)]


quick = examples(200)


@quick
@given(HISTORIES)
def test_i1_every_request_gets_exactly_one_reply(steps: list[Step]) -> None:
    asked: Counter[Any] = Counter()
    for kind, *arguments in steps:
        if kind == "hear":
            for body in FrameReader().receive(arguments[0]):
                message = msgspec.json.decode(body) if isinstance(body, bytes) and body[:2] == b'{"' else {}
                if "method" in message and "id" in message:
                    asked[(type(message["id"]), message["id"])] += 1
    history = History(steps)
    history.answer_all()
    replies = [m for m in history.messages() if "method" not in m]
    answered = Counter((type(m["id"]), m["id"]) for m in replies if m["id"] is not None)
    assert len(history.session.incoming) == 0
    refused = sum(1 for m in replies if m["id"] is None)
    assert answered <= asked
    assert (asked - answered).total() <= refused  # an id in flight used again is refused without one


@quick
@given(HISTORIES)
def test_i2_every_call_is_settled_exactly_once(steps: list[Step]) -> None:
    history = History(steps)
    history.events += history.session.close(None, "over")
    settled = Counter(e.call.token for e in history.events if isinstance(e, Reply | Expired | Lost))
    settled.update(history.cancelled_by_us)
    assert settled == Counter(call.token for call in history.calls)
    assert all(call.settled for call in history.calls)


@quick
@given(HISTORIES)
def test_i3_no_call_outlives_its_deadline_whatever_the_pipe_does(steps: list[Step]) -> None:
    history = History([step for step in steps if step[0] != "take"])
    for _ in range(4):
        history.do(0, "tick", 1.0)
        assert all(c.settled for c in history.calls if c.deadline is not None and c.deadline <= history.now)
    assert history.session.next_deadline() is None


@examples(400)
@given(st.lists(st.binary(max_size=200), max_size=6), st.sampled_from(["host", "plugin", "peer"]))
def test_i4_arbitrary_bytes_never_raise(chunks: list[bytes], role: Any) -> None:
    for data in (chunks, [framed(chunk or b"x") for chunk in chunks]):
        session = Session(role)
        for chunk in data:
            session.receive(chunk, 0.0)
        session.expire(100.0)
        session.receive_eof()
        assert session.phase is Phase.CLOSED


@examples(400)
@given(
    MESSAGES, st.lists(st.tuples(st.integers(0, 400), st.binary(max_size=3), st.integers(0, 4)), max_size=4)
)
def test_i4_mutated_messages_never_raise(data: bytes, edits: list[tuple[int, bytes, int]]) -> None:
    body = bytearray(data)
    inner = bytearray(data[data.index(b"{") :])
    for at, new, removed in edits:
        body[at : at + removed] = new
        inner[at : at + removed] = new
    for hostile in (bytes(body), framed(bytes(inner) or b"x")):
        session = Session("peer")
        for _ in range(3):
            session.request("work", {})
        session.outbox.take(1 << 20)
        session.receive(hostile, 0.0)
        session.receive_eof()
        assert not session.outgoing.calls


@quick
@given(HISTORIES)
def test_i5_tables_and_outbox_stay_within_their_limits(steps: list[Step]) -> None:
    history = History([])
    room = LIMITS.max_in_flight + LIMITS.queue
    for number, step in enumerate(steps):
        history.do(number, *step)
        session = history.session
        uncounted = sum(method in ("lifecycle/ping", "shutdown") for method in session.incoming.values())
        assert len(session.incoming) - uncounted <= room
        assert len(session.outgoing.calls) <= room
        waiting = [
            (lane, len(frame))
            for lane, queue in zip(Lane, session.outbox._lanes, strict=True)
            for frame, _ in queue
        ]
        assert session.outbox.bytes == sum(size for _, size in waiting)
        assert sum(size for lane, size in waiting if lane > Lane.REPLY) <= BOX


@quick
@given(HISTORIES)
def test_i6_frames_never_interleave_and_keep_their_order_in_a_lane(steps: list[Step]) -> None:
    told = [m["params"] for m in History(steps).messages() if m.get("method") == "news"]
    for lane in Lane:
        order = [params["n"] for params in told if params["lane"] == lane]
        assert order == sorted(order)


def test_i6_urgent_lanes_leave_first() -> None:
    session = Session("peer")
    for lane in reversed(Lane):
        session.notify("news", {"n": lane, "lane": lane}, lane=lane)
    sent = [
        msgspec.json.decode(b)
        for b in FrameReader().receive(session.outbox.take(1 << 20))
        if isinstance(b, bytes)
    ]
    assert [message["params"]["n"] for message in sent] == list(Lane)


@pytest.mark.parametrize(
    "path", sorted(Path(protocol.__file__).parent.glob("*.py")), ids=lambda path: path.stem
)
def test_i7_the_core_imports_nothing_that_reads_clocks_waits_or_runs_others(path: Path) -> None:
    imported = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add((node.module or "").split(".")[0])
    allowed = {"__future__", "collections", "difflib", "enum", "fnmatch", "itertools", "msgspec", "protocol"}
    allowed |= {"re", "types", "typing"}
    assert imported <= allowed


@quick
@given(HISTORIES)
def test_i8_reading_waits_for_neither_writing_nor_handling(steps: list[Step]) -> None:
    history = History([step for step in steps if step[0] not in ("take", "reply", "fail")])
    events = history.session.receive(framed(asks("last", "lifecycle/ping")), history.now)
    assert [event.id for event in events if isinstance(event, Request)] == ["last"]


@quick
@given(HISTORIES, st.booleans())
def test_i9_closing_empties_every_table(steps: list[Step], by_eof: bool) -> None:
    history = History(steps)
    session = history.session
    *_, last = session.receive_eof() if by_eof else session.close(None, "over")
    assert isinstance(last, Ended)
    assert not session.outgoing.calls
    assert not session.outgoing.abandoned
    assert len(session.incoming) == 0
    assert session.outbox.bytes == 0
    assert session.outbox.take() == b""
    assert session.next_deadline() is None
    assert session.close(None, "again") == session.receive_eof() == session.expire(1e9) == []
    assert session.receive(framed(asks(1)), 0.0) == []


@quick
@given(HISTORIES)
def test_i10_the_same_inputs_and_times_give_the_same_outputs(steps: list[Step]) -> None:
    one, other = History(steps), History(steps)
    assert seen(one.events) == seen(other.events)
    assert one.written == other.written
    assert one.messages() == other.messages()
    assert one.session.counts == other.session.counts
