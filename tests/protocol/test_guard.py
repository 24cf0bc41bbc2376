"""Bodies that would hurt whoever parses them are refused first: too deep, or not text."""

from __future__ import annotations

import subprocess
import sys

import pytest

from protocol.envelope import Malformed, decode
from protocol.errors import ErrorCode
from protocol.guard import MAX_DEPTH, is_too_deep, why_unsafe


def nested(levels: int, opening: bytes = b"[", closing: bytes = b"]") -> bytes:
    return opening * levels + closing * levels


def refuses(body: bytes) -> bool:
    try:
        decode(body)
    except Malformed as problem:
        return problem.code == ErrorCode.PARSE_ERROR
    return False


def with_params(params: bytes) -> bytes:
    return b'{"jsonrpc":"2.0","method":"m","id":1,"params":%b}' % params


@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}"), (b'[{"a":', b"}]")])
def test_128_containers_are_fine_and_one_more_is_refused(opening: bytes, closing: bytes) -> None:
    each = opening.count(b"[") + opening.count(b"{")
    inner = nested(MAX_DEPTH // each, opening, b"1" + closing if each == 1 else closing)
    fine = opening * (MAX_DEPTH // each) + b"1" + closing * (MAX_DEPTH // each)
    assert not is_too_deep(fine)
    assert is_too_deep(b"[" + fine + b"]")
    assert is_too_deep(b"[" + inner + b"]")


def test_the_envelope_is_one_of_the_containers() -> None:
    assert not refuses(with_params(nested(MAX_DEPTH - 1)))
    assert refuses(with_params(nested(MAX_DEPTH)))


def test_many_containers_beside_each_other_are_not_deep() -> None:
    assert not is_too_deep(b"[" + b"[[]]," * 50_000 + b"[]]")
    assert not is_too_deep(b'[{"a":[{}]},' * 1 + b'{"a":[{}]},' * 50_000 + b"[]]")


@pytest.mark.parametrize(
    "text",
    [
        b'"' + b"[" * 1000 + b'"',
        b'"\\"' + b"{" * 1000 + b'"',
        b'"\\\\","' + b"[" * 1000 + b'"',
        b'"\\\\\\"' + b"[" * 999 + b'"',
    ],
)
def test_brackets_inside_strings_do_not_count(text: bytes) -> None:
    assert not is_too_deep(b"[" + text + b"]")


def test_brackets_behind_a_string_that_ends_in_a_backslash_count() -> None:
    assert is_too_deep(b'["\\\\",' + nested(1000) + b"]")


@pytest.mark.parametrize(
    "body", [b"[" * 100_000, nested(100_000), b'{"a":' * 100_000, with_params(nested(100_000))]
)
def test_a_body_100000_deep_is_refused_on_the_main_thread(body: bytes) -> None:
    assert refuses(body)


SCRIPT = """
import sys, threading
from protocol.framing import frame
from protocol.session import Session

sys.setrecursionlimit({recursion_limit})
threading.stack_size({stack})

def work():
    session = Session("peer")
    start = b'{{"jsonrpc":"2.0","id":1,"method":"m","params":'
    for deep in (b"[" * 100_000, b'{{"a":' * 100_000, start + b"[" * 100_000):
        assert session.receive(frame(deep), 0.0) == []
        assert b"-32700" in session.outbox.take()
    good = start + b"[" * 127 + b"]" * 127 + b"}}"
    assert len(session.receive(frame(good), 0.0)) == 1
    print("served")

{start}
"""


@pytest.mark.parametrize("recursion_limit", [1000, 2**31 - 1])
@pytest.mark.parametrize(
    "start", ["work()", "t = threading.Thread(target=work); t.start(); t.join()"], ids=["main", "small stack"]
)
def test_the_next_frame_is_served_after_a_deep_one_whatever_the_stack(
    recursion_limit: int, start: str
) -> None:
    script = SCRIPT.format(recursion_limit=recursion_limit, stack=128 * 1024, start=start)
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env={"PYTHONPATH": ":".join(filter(None, sys.path))},
    )
    assert (done.returncode, done.stdout) == (0, "served\n"), done.stderr


BAD_TEXT = {
    "stray continuation": b"\x80",
    "cut short": b"\xc3",
    "overlong": b"\xc0\xaf",
    "surrogate as UTF-8": b"\xed\xa0\x80",
    "above Unicode": b"\xf5\x80\x80\x80",
    "latin-1": "é".encode("latin-1"),
    "high half": b"\\ud800",
    "low half": b"\\udc00",
    "halves swapped": b"\\uDC00\\uD800",
    "high half twice": b"\\ud800\\uD800\\udc00",
    "low half twice": b"\\ud800\\udc00\\udc00",
    "half behind a backslash": b"\\\\\\ud800",
}


@pytest.mark.parametrize("text", BAD_TEXT.values(), ids=BAD_TEXT.keys())
@pytest.mark.parametrize(
    "body",
    [
        b'{"jsonrpc":"2.0","id":1,"method":"@"}',
        b'{"jsonrpc":"2.0","id":"@","method":"m"}',
        b'{"jsonrpc":"2.0","id":1,"method":"m","params":{"a":["@"]}}',
        b'{"jsonrpc":"2.0","id":1,"method":"m","params":{"@":1}}',
        b'{"jsonrpc":"2.0","id":1,"method":"m","unknown":"@"}',
        b'{"jsonrpc":"2.0","id":1,"method":"m","@":1}',
        b'{"jsonrpc":"2.0","id":1,"result":"@"}',
    ],
)
def test_bad_text_is_refused_wherever_it_stands(body: bytes, text: bytes) -> None:
    assert refuses(body.replace(b"@", text))


@pytest.mark.parametrize(
    "text", [b"\\ud83d\\ude00", b"\\uD83D\\uDE00", b"\\\\ud800", "é\U0001f600".encode(), b"\\u00e9"]
)
def test_good_text_is_let_through(text: bytes) -> None:
    assert why_unsafe(with_params(b'["%b"]' % text)) is None
    decode(with_params(b'["%b"]' % text))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_a_byte_order_mark_and_wider_encodings_are_refused(encoding: str) -> None:
    assert refuses(with_params(b"{}").decode().encode(encoding))
