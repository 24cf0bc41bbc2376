"""MessagePack, where both sides have agreed on it: what is safe, what is which, and what travels as what."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from protocol import values
from protocol.envelope import Meta
from protocol.errors import ErrorCode, Fault
from protocol.events import Ended, Reply, Request, Streamed
from protocol.framing import FrameReader, Packed, frame
from protocol.packed import MAX_VALUES, why_unsafe
from protocol.session import Session
from tests.support.examples import examples
from tests.support.linked_sessions import LinkedSessions

pack = msgspec.msgpack.encode
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=300)
    | st.binary(max_size=300),
    lambda inner: st.lists(inner, max_size=20) | st.dictionaries(st.text(max_size=5), inner, max_size=20),
    max_leaves=60,
)


@examples(300)
@given(VALUES)
def test_what_msgspec_writes_is_safe(value: Any) -> None:
    assert why_unsafe(pack(value)) is None


@examples(500)
@given(st.binary(max_size=60), VALUES, st.integers(0, 400))
def test_what_is_called_safe_can_be_decoded_and_handed_on(noise: bytes, value: Any, at: int) -> None:
    whole = pack(value)
    for body in (noise, whole[: at % (len(whole) + 1)] + noise, whole[at % (len(whole) + 1) :]):
        if why_unsafe(body) is None:
            msgspec.msgpack.decode(body)
            values.as_json(values.told_apart(Raw(body)))


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"\x91" * 129 + b"\x01", "nested more than 128 deep"),
        (b"\x91" * 1_000_000 + b"\x01", "nested more than 128 deep"),
        (pack([1] * (MAX_VALUES + 1)), "values"),
        (b"\xa2\xff\xff", "not UTF-8"),
        (b"\xdb\x00\x00\x00\x09a", "in the middle"),
        (b"\xc6\xff\xff\xff\xff", "in the middle"),
        (b"\xdf\xff\xff\xff\xff", "in the middle"),
        (b"\xc1", "0xc1"),
        (b"\xd4\x05\x01", "0xd4"),
        (b"\x81\x01\x01", "a key"),
        (b"\x81\x80\x01", "a key"),
        (b"\xd7\xff" + b"\xff" * 8, "nanoseconds"),
        (b"\x01\x01", "behind its end"),
        (b"", "in the middle"),
    ],
)
def test_what_is_not_safe_is_named(body: bytes, said: str) -> None:
    assert said in (why_unsafe(body) or "")


def test_128_containers_inside_each_other_are_allowed() -> None:
    assert why_unsafe(b"\x91" * 128 + b"\x01") is None


# -- values ----------------------------------------------------------------------------------------------


@examples(300)
@given(VALUES)
def test_one_byte_tells_how_a_value_is_encoded(value: Any) -> None:
    packed = values.told_apart(Raw(pack(value)))
    assert values.decode(packed) == value
    assert not values.is_packed(Raw(msgspec.json.encode(value)))
    in_json = values.as_json(packed)
    assert not values.is_packed(in_json)
    assert msgspec.json.decode(in_json) == msgspec.json.decode(msgspec.json.encode(value))


class Document(msgspec.Struct):
    name: str
    data: bytes = b""


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (b"", True),
        (bytearray(b"x"), True),
        (memoryview(b"x"), True),
        ({"a": 1, "b": b"x"}, True),
        ({"a": {"b": {"c": [b"x"]}}}, True),
        (Document("a"), True),
        ([Document("a")], True),
        (Raw(pack({"a": b"x"})), True),
        (Raw(b'{"a":1}'), False),
        ({"a": "text", "b": [1, 2], "c": None}, False),
        ("x", False),
        ({}, False),
        ([], False),
        (object(), False),
    ],
)
def test_bytes_are_found_in_a_value(value: Any, found: bool) -> None:
    assert values.holds_bytes(value) is found


# -- frames and sessions -----------------------------------------------------------------------------------


def test_a_frame_says_that_it_is_messagepack() -> None:
    data = frame(pack({"a": b"x"}), packed=True) + frame(b"{}") + frame(pack([1]), packed=True)
    for step in (1, 7, len(data)):
        reader = FrameReader()
        reader.takes_packed = True
        pieces = [piece for at in range(0, len(data), step) for piece in reader.receive(data[at : at + step])]
        assert pieces == [Packed(pack({"a": b"x"})), b"{}", Packed(pack([1]))]


def test_messagepack_that_was_not_agreed_on_is_a_fault() -> None:
    (ended,) = Session("host").receive(frame(b"\x80", packed=True), 0.0)
    assert isinstance(ended, Ended)
    assert ended.fault is Fault.BAD_CONTENT_TYPE


def agreed() -> LinkedSessions:
    pair = LinkedSessions()
    pair.host.speak_packed()
    pair.plugin.speak_packed()
    return pair


def test_frames_with_bytes_are_messagepack_and_all_others_json() -> None:
    pair = agreed()
    pair.host.request("put", {"data": b"\x00\xff", "n": 1})
    (put,) = pair.to_plugin()
    assert isinstance(put, Request)
    assert values.is_packed(put.params)
    assert values.decode(put.params) == {"data": b"\x00\xff", "n": 1}
    pair.plugin.reply(put.id, b"\x01\x02")
    (reply,) = pair.to_host()
    assert isinstance(reply, Reply)
    assert reply.result is not None
    assert values.decode(reply.result) == b"\x01\x02"
    text = pair.ask_plugin("work", {"data": "text"})
    assert not values.is_packed(text.params)


def test_without_the_agreement_bytes_are_base64() -> None:
    pair = LinkedSessions()
    request = pair.ask_plugin("put", {"data": b"\x00\xff"})
    assert bytes(request.params) == b'{"data":"AP8="}'


def test_what_came_as_messagepack_is_handed_on_as_json_to_who_takes_nothing_else() -> None:
    raw = Raw(pack({"data": b"\x00\xff"}))
    assert bytes(LinkedSessions().ask_plugin("put", raw).params) == b'{"data":"AP8="}'
    assert bytes(agreed().ask_plugin("put", raw).params) == bytes(raw)


def test_too_many_values_for_messagepack_go_as_json() -> None:
    request = agreed().ask_plugin("put", {"data": b"x", "many": [1] * MAX_VALUES})
    assert not values.is_packed(request.params)


def test_items_of_both_kinds_may_be_in_one_stream() -> None:
    pair = agreed()
    pair.host.request("lines", {}, meta=Meta(credit=10))
    (request,) = pair.to_plugin()
    assert isinstance(request, Request)
    sending = pair.plugin.streams.sending(request.id)
    assert sending is not None
    sent = [1, b"\x02", {"a": b"\x03"}, "four", 5]
    for value in sent:
        item = pair.plugin.writing.item(value)
        if not sending.fits(item):
            pair.plugin.streams.send_items(request.id)
        sending.add(item)
    pair.plugin.reply(request.id, None)
    *batches, _ = pair.to_host()
    assert [
        values.decode(item) for batch in batches if isinstance(batch, Streamed) for item in batch.items
    ] == sent


def from_a_peer(message: Any) -> bytes:
    return frame(message if isinstance(message, bytes) else pack(message), packed=True)


def test_a_peer_may_pack_everything() -> None:
    session = Session("peer")
    session.speak_packed()
    call = session.request("work", {})
    stream = session.request("lines", {}, meta=Meta(credit=4))
    session.outbox.take()
    params = {"id": stream.id, "seq": 0, "items": [1, "a", 200]}
    batch = {"jsonrpc": "2.0", "method": "$/stream", "params": params}
    events = session.receive(
        from_a_peer(batch) + from_a_peer({"jsonrpc": "2.0", "id": call.id, "result": 7}), 0.0
    )
    items, reply = events
    assert isinstance(items, Streamed)
    assert [values.decode(item) for item in items.items] == [1, "a", 200]
    assert isinstance(reply, Reply)
    assert reply.result is not None
    assert values.decode(reply.result) == 7


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (b"\xc1", ErrorCode.PARSE_ERROR),
        (b"\x91" * 500 + b"\x01", ErrorCode.PARSE_ERROR),
        ([{"jsonrpc": "2.0"}], ErrorCode.INVALID_REQUEST),
        ({"jsonrpc": "2.0", "id": True, "method": "m"}, ErrorCode.INVALID_REQUEST),
        ({"jsonrpc": "1.0", "id": 1, "method": "m"}, ErrorCode.INVALID_REQUEST),
        ({1: 2}, ErrorCode.PARSE_ERROR),
    ],
)
def test_a_bad_message_is_refused_and_the_next_one_served(message: Any, code: ErrorCode) -> None:
    session = Session("peer")
    session.speak_packed()
    good = {"jsonrpc": "2.0", "id": 5, "method": "work", "params": {}}
    (request,) = session.receive(from_a_peer(message) + from_a_peer(good), 0.0)
    assert isinstance(request, Request)
    refused = msgspec.json.decode(session.outbox.take().split(b"\r\n\r\n")[1])
    assert refused["error"]["code"] == code


def test_a_bad_packed_reply_settles_its_call() -> None:
    session = Session("peer")
    session.speak_packed()
    call = session.request("work", {})
    session.outbox.take()
    (reply,) = session.receive(from_a_peer({"jsonrpc": "2.1", "id": call.id, "result": 1}), 0.0)
    assert isinstance(reply, Reply)
    assert reply.call is call
    assert reply.error is not None


@examples(300)
@given(st.binary(min_size=1, max_size=200))
def test_no_packed_body_raises(body: bytes) -> None:
    session = Session("peer")
    session.speak_packed()
    for _ in range(3):
        session.request("work", {}, meta=Meta(credit=1))
    session.outbox.take()
    session.receive(from_a_peer(body), 0.0)
    session.receive_eof()
    assert not session.outgoing.calls
