"""Messages as the JSON-RPC 2.0 specification has them, and what is no message."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec import UNSET

from protocol import envelope
from protocol.envelope import MAX_ID, Malformed, Meta, NotSerializable, decode
from protocol.errors import ErrorCode, RpcError
from protocol.events import Notification, Reply, Request
from protocol.session import Session
from tests.support.linked_sessions import codes, framed, heard

PARSE, INVALID = ErrorCode.PARSE_ERROR, ErrorCode.INVALID_REQUEST


def code_of(body: bytes) -> ErrorCode:
    with pytest.raises(Malformed) as caught:
        decode(body)
    assert caught.value.message
    return caught.value.code


# The examples of section 7 of the specification, in its order.
SPEC_REQUESTS = [
    (b'{"jsonrpc": "2.0", "method": "subtract", "params": [42, 23], "id": 1}', 1, [42, 23]),
    (b'{"jsonrpc": "2.0", "method": "subtract", "params": [23, 42], "id": 2}', 2, [23, 42]),
    (
        b'{"jsonrpc": "2.0", "method": "subtract", "params": {"subtrahend": 23, "minuend": 42}, "id": 3}',
        3,
        {"subtrahend": 23, "minuend": 42},
    ),
    (
        b'{"jsonrpc": "2.0", "method": "subtract", "params": {"minuend": 42, "subtrahend": 23}, "id": 4}',
        4,
        {"subtrahend": 23, "minuend": 42},
    ),
    (b'{"jsonrpc": "2.0", "method": "foobar", "id": "1"}', "1", {}),
]
SPEC_NOTIFICATIONS = [
    (b'{"jsonrpc": "2.0", "method": "update", "params": [1,2,3,4,5]}', [1, 2, 3, 4, 5]),
    (b'{"jsonrpc": "2.0", "method": "foobar"}', {}),
]
SPEC_REFUSED = [
    (b'{"jsonrpc": "2.0", "method": "foobar, "params": "bar", "baz]', PARSE),
    (b'{"jsonrpc": "2.0", "method": 1, "params": "bar"}', INVALID),
    (
        b'[{"jsonrpc": "2.0", "method": "sum", "params": [1,2,4], "id": "1"}, {"jsonrpc": "2.0", "method"]',
        PARSE,
    ),
    (b"[]", INVALID),
    (b"[1]", INVALID),
    (b"[1,2,3]", INVALID),
    (
        b'[{"jsonrpc": "2.0", "method": "sum", "params": [1,2,4], "id": "1"},'
        b'{"jsonrpc": "2.0", "method": "notify_hello", "params": [7]},'
        b'{"jsonrpc": "2.0", "method": "subtract", "params": [42,23], "id": "2"},{"foo": "boo"},'
        b'{"jsonrpc": "2.0", "method": "foo.get", "params": {"name": "myself"}, "id": "5"},'
        b'{"jsonrpc": "2.0", "method": "get_data", "id": "9"}]',
        INVALID,
    ),
    (
        b'[{"jsonrpc": "2.0", "method": "notify_sum", "params": [1,2,4]},'
        b'{"jsonrpc": "2.0", "method": "notify_hello", "params": [7]}]',
        INVALID,
    ),
]
SPEC_REPLIES = [
    (b'{"jsonrpc": "2.0", "result": 19, "id": 1}', None),
    (b'{"jsonrpc": "2.0", "error": {"code": -32601, "message": "Method not found"}, "id": 1}', -32601),
]


@pytest.mark.parametrize(("body", "id", "params"), SPEC_REQUESTS)
def test_the_requests_of_the_specification_are_handed_out(body: bytes, id: Any, params: Any) -> None:
    session = Session("peer")
    (event,) = heard(session, framed(body))
    assert isinstance(event, Request)
    assert (event.id, msgspec.json.decode(event.params)) == (id, params)
    session.reply_error(event.id, RpcError(ErrorCode.METHOD_NOT_FOUND, "Method not found"))
    assert codes(session) == [(id, ErrorCode.METHOD_NOT_FOUND)]


@pytest.mark.parametrize(("body", "params"), SPEC_NOTIFICATIONS)
def test_the_notifications_of_the_specification_are_not_answered(body: bytes, params: Any) -> None:
    session = Session("peer")
    (event,) = heard(session, framed(body))
    assert isinstance(event, Notification)
    assert msgspec.json.decode(event.params) == params
    assert codes(session) == []


@pytest.mark.parametrize(("body", "code"), SPEC_REFUSED)
def test_what_the_specification_refuses_gets_one_error_without_an_id(body: bytes, code: ErrorCode) -> None:
    session = Session("peer")
    assert heard(session, framed(body)) == []
    assert codes(session) == [(None, code)]
    assert code_of(body) == code


@pytest.mark.parametrize(("body", "code"), SPEC_REPLIES)
def test_the_replies_of_the_specification_settle_their_call(body: bytes, code: int | None) -> None:
    session = Session("peer")
    session.request("subtract", [42, 23])
    (event,) = heard(session, framed(body))
    assert isinstance(event, Reply)
    assert (event.error and event.error.code) == code


@pytest.mark.parametrize(
    "id",
    [
        b"true",
        b"1.0",
        b"1e0",
        b"9007199254740993",
        b"-9007199254740993",
        b"[]",
        b"{}",
        b'"%b"' % (b"x" * 200),
    ],
)
def test_an_id_of_another_kind_is_refused(id: bytes) -> None:
    assert code_of(b'{"jsonrpc":"2.0","method":"m","id":%b}' % id) == INVALID


@pytest.mark.parametrize("id", [0, -1, 1, MAX_ID, 2**53 - 1, "", "1", "é" * 128])
def test_an_id_keeps_its_type(id: int | str) -> None:
    read = decode(envelope.encode(envelope.Request(id, "m", {}))).id
    assert (type(read), read) == (type(id), id)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"x",
        b"{",
        b'{"a"}',
        b"nul",
        b"\x00",
        b'{"jsonrpc":"2.0","method":"m","params":{"a":01}}',
        b'{"x":NaN}',
        b"{}{}",
    ],
)
def test_what_is_not_json_is_a_parse_error(body: bytes) -> None:
    assert code_of(body) == PARSE


@pytest.mark.parametrize(
    "body",
    [
        b"null",
        b"1",
        b'"text"',
        b"{}",
        b'{"method":"m","id":1}',
        b'{"jsonrpc":"1.0","method":"m"}',
        b'{"jsonrpc":2.0,"method":"m"}',
        b'{"jsonrpc":"2.0","method":null}',
        b'{"jsonrpc":"2.0","method":"m","meta":{"timeout_ms":"soon"}}',
    ],
)
def test_json_that_is_no_message_is_an_invalid_request(body: bytes) -> None:
    assert code_of(body) == INVALID


def test_unknown_members_are_ignored_everywhere() -> None:
    message = decode(b'{"x":[{}],"jsonrpc":"2.0","method":"m","id":1,"meta":{"y":1,"progress":true}}')
    assert message.meta == Meta(progress=True)
    assert message.params is UNSET


@pytest.mark.parametrize("params", [b"1", b"true", b'"x"', b"null"])
def test_scalar_params_are_not_structured(params: bytes) -> None:
    assert not envelope.is_structured(msgspec.Raw(params))
    assert envelope.is_structured(msgspec.Raw(b"[]"))
    assert envelope.is_structured(msgspec.Raw(b"{}"))


def test_an_error_travels_with_its_code_message_and_data() -> None:
    body = decode(envelope.encode(envelope.failure(1, RpcError(7, "no", {"a": [1]}))))
    assert isinstance(body.error, msgspec.Raw)
    read = envelope.error_of(body.error)
    assert (read.code, read.message, read.data) == (7, "no", {"a": [1]})


class Sulky:
    def __repr__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize("value", ["\udc80", {1, "\ud800"}, Sulky(), {"a": Sulky()}, {(1, 2): 3}, float])
def test_what_json_cannot_carry_raises_one_kind_of_error(value: Any) -> None:
    with pytest.raises(NotSerializable):
        envelope.encode(envelope.Success(1, value))


@pytest.mark.parametrize(
    ("body", "about"),
    [
        (b'{"jsonrpc": "2.0", "id": 7, "result": NaN}', 7),
        (b'{"result": [' + b"1," * 5000 + b'NaN], "id" : 7}', 7),
        (b'{"jsonrpc": "2.0", "method": "$/stream", "params": {"id": 7, "seq": 0, "items": [NaN]}}', 7),
        (b'{"jsonrpc": "2.0", "method": "$\\/stream", "params": {"id": 7, "seq": 0, "items": [NaN]}}', 7),
        (b'{"jsonrpc": "2.0", "method": "plugin/call", "id": 7, "params": NaN}', None),
        (b'{"jsonrpc": "2.0", "id": "7", "result": NaN}', None),
        (b"7", None),
        (b"", None),
    ],
)
def test_a_body_that_cannot_be_read_tells_perhaps_whose_call_it_was(body: bytes, about: int | None) -> None:
    assert envelope.about(body) == about
