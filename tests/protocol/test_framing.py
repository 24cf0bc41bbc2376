"""Frames out of bytes: no frame is lost to noise or cuts, and every fault has its name."""

from __future__ import annotations

import itertools
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import FAULT_MEANING, Fault
from protocol.framing import MAX_FRAME, MAX_HEADER, MAX_NOISE, Broken, FrameReader, Noise, Piece, frame
from tests.support.examples import examples


def read(*chunks: bytes, end: bool = False) -> list[Piece]:
    reader = FrameReader()
    pieces = [piece for chunk in chunks for piece in reader.receive(chunk)]
    return pieces + reader.end() if end else pieces


def read_bytewise(data: bytes) -> list[Piece]:
    return read(*(data[i : i + 1] for i in range(len(data))))


def bodies(pieces: list[Piece]) -> list[bytes]:
    return [piece for piece in pieces if type(piece) is bytes]


def noise(pieces: list[Piece]) -> bytes:
    return b"".join(piece.text for piece in pieces if isinstance(piece, Noise))


def fault_of(data: bytes) -> Fault:
    """The one fault of `data`, which is the same whole, byte by byte and cut anywhere."""
    faults = set()
    ways = [[data], [data[i : i + 1] for i in range(len(data))]]
    # Anywhere in a header; in a long run of one letter one place is as good as another.
    ways += [[data[:i], data[i:]] for i in range(1, len(data), max(1, len(data) // 100 * 4))]
    for chunks in ways:
        *before, last = read(*chunks)
        assert isinstance(last, Broken)
        assert not any(isinstance(piece, Broken) for piece in before)
        faults.add(last.fault)
    (fault,) = faults
    return fault


BAD_HEADERS = {
    "no length": (b"Content-Type: application/json\r\n\r\n", Fault.NO_LENGTH),
    "length twice": (b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}", Fault.DUP_LENGTH),
    "length twice, other case": (b"Content-Length: 2\r\ncontent-length: 2\r\n\r\n{}", Fault.DUP_LENGTH),
    "plus": (b"Content-Length: +2\r\n\r\n{}", Fault.BAD_LENGTH),
    "minus": (b"Content-Length: -2\r\n\r\n{}", Fault.BAD_LENGTH),
    "letters": (b"Content-Length: two\r\n\r\n{}", Fault.BAD_LENGTH),
    "hex": (b"Content-Length: 0x2\r\n\r\n{}", Fault.BAD_LENGTH),
    "fraction": (b"Content-Length: 2.0\r\n\r\n{}", Fault.BAD_LENGTH),
    "underscore": (b"Content-Length: 1_0\r\n\r\n{}", Fault.BAD_LENGTH),
    "blank inside": (b"Content-Length: 1 0\r\n\r\n{}", Fault.BAD_LENGTH),
    "empty": (b"Content-Length: \r\n\r\n{}", Fault.BAD_LENGTH),
    "nothing": (b"Content-Length:\r\n\r\n{}", Fault.BAD_LENGTH),
    "zero": (b"Content-Length: 0\r\n\r\n", Fault.BAD_LENGTH),
    "many zeros": (b"Content-Length: 0000000000\r\n\r\n", Fault.BAD_LENGTH),
    "11 digits": (b"Content-Length: 00000000002\r\n\r\n{}", Fault.BAD_LENGTH),
    "arabic digits": ("Content-Length: ٢\r\n\r\n{}".encode(), Fault.BAD_LENGTH),
    "superscript": (b"Content-Length: \xb2\r\n\r\n{}", Fault.BAD_LENGTH),
    "too large": (b"Content-Length: %d\r\n\r\n" % (MAX_FRAME + 1), Fault.FRAME_TOO_LARGE),
    "far too large": (b"Content-Length: 9999999999\r\n\r\n", Fault.FRAME_TOO_LARGE),
    "header too long": (b"Content-Length: 2\r\nX-Pad: " + b"x" * MAX_HEADER, Fault.HEADER_TOO_LONG),
    "latin-1": (
        b"Content-Length: 2\r\nContent-Type: application/json; charset=latin-1\r\n\r\n{}",
        Fault.BAD_CHARSET,
    ),
    "utf-16": (
        b'Content-Type: application/json; charset="utf-16"\r\nContent-Length: 2\r\n\r\n{}',
        Fault.BAD_CHARSET,
    ),
    "html": (b"Content-Length: 2\r\nContent-Type: text/html\r\n\r\n{}", Fault.BAD_CONTENT_TYPE),
    "msgpack unasked": (
        b"Content-Length: 1\r\nContent-Type: application/msgpack\r\n\r\n\x80",
        Fault.BAD_CONTENT_TYPE,
    ),
    "text mode": (b"Content-Length: 2\r\r\n\r\r\n{}", Fault.TEXT_MODE),
    "text mode once": (b"Content-Length: 2\r\r\n\r\n{}", Fault.TEXT_MODE),
    "bare LF": (b"Content-Length: 2\n\n{}", Fault.BARE_LF),
    "bare LF in one line": (b"Content-Length: 2\nX-A: b\r\n\r\n{}", Fault.BARE_LF),
    "bare LF before a bad length": (b"Content-Length: x\nX-A: b\r\n\r\n{}", Fault.BARE_LF),
    "polluted by a line": (b"x" * (MAX_NOISE + 1), Fault.STDOUT_POLLUTED),
    "polluted by lines": (b"0123456\n" * (MAX_NOISE // 8 + 1), Fault.STDOUT_POLLUTED),
}


@pytest.mark.parametrize(("data", "fault"), BAD_HEADERS.values(), ids=BAD_HEADERS.keys())
def test_a_bad_header_is_named_however_it_is_cut(data: bytes, fault: Fault) -> None:
    assert fault_of(data) is fault


def test_every_fault_has_a_meaning() -> None:
    assert set(FAULT_MEANING) == set(Fault)


@pytest.mark.parametrize("cut", range(1, len(frame(b"{}"))))
def test_a_stream_that_ends_inside_a_frame_is_truncated_once_the_header_is_recognised(cut: int) -> None:
    last = read(frame(b"{}")[:cut], end=True)[-1]
    if cut < len("Content-Length:"):
        assert isinstance(last, Noise)
    else:
        assert isinstance(last, Broken)
        assert last.fault is Fault.TRUNCATED


def test_a_stream_that_ends_between_frames_is_no_fault() -> None:
    assert read(frame(b"{}"), end=True) == [b"{}"]
    assert read(frame(b"{}") + b"bye", end=True) == [b"{}", Noise(b"bye")]


def test_a_frame_of_exactly_the_limit_is_read_and_one_more_byte_is_refused_before_it_comes() -> None:
    reader = FrameReader(max_frame=10)
    assert reader.receive(frame(b"0123456789")) == [b"0123456789"]
    (broken,) = reader.receive(b"Content-Length: 11\r\n\r\n")
    assert isinstance(broken, Broken)
    assert broken.fault is Fault.FRAME_TOO_LARGE
    assert not reader.inside_frame


@pytest.mark.parametrize("spare", range(-6, 1))
def test_a_header_of_the_longest_legal_size_is_read_however_it_is_cut(spare: int) -> None:
    start = b"Content-Length: 2\r\nX-Pad: "
    block = start + b"x" * (MAX_HEADER + spare - len(start))
    data = block + b"\r\n\r\n{}"
    assert read(data) == read_bytewise(data) == [b"{}"]
    assert fault_of(block + b"x" * (1 - spare) + b"\r\n\r\n{}") is Fault.HEADER_TOO_LONG


def test_foreign_headers_longer_than_a_header_may_be_are_noise_however_they_are_cut() -> None:
    data = b"X-Pad: " + b"x" * (MAX_HEADER - 4) + b"\r\n" + frame(b"{}")
    assert read(data) == read_bytewise(data)
    assert bodies(read(data)) == [b"{}"]


def test_after_a_fault_nothing_more_is_read() -> None:
    reader = FrameReader()
    assert reader.receive(b"Content-Length: 0\r\n\r\n" + frame(b"{}"))
    assert reader.receive(frame(b"{}")) == []
    assert reader.end() == []


@pytest.mark.parametrize(
    "header",
    [
        b"content-length: 2\r\n",
        b"CONTENT-LENGTH: 2\r\n",
        b"Content-Length:2\r\n",
        b"Content-Length: \t 2 \t\r\n",
        b"Content-Length: 0000000002\r\n",
        b"Content-Type: application/json\r\nContent-Length: 2\r\n",
        b"Content-Length: 2\r\nContent-Type: application/json; charset=utf-8\r\n",
        b"Content-Length: 2\r\ncontent-type: application/vscode-jsonrpc; charset=UTF8\r\n",
        b'Content-Length: 2\r\nContent-Type: application/json; charset="utf-8"; x=y\r\n',
        b"Content-Length: 2\r\nX-Trace: 1\r\n",
        b"X-Trace: 1\r\nContent-Length: 2\r\n",
        b"X-Trace: 1\r\nY: 2\r\ncontent-length: 2\r\nZ: 3\r\n",
    ],
)
def test_header_names_have_any_case_and_order_and_unknown_ones_are_ignored(header: bytes) -> None:
    data = header + b"\r\n{}" + frame(b"[]")
    assert read(data) == read_bytewise(data) == [b"{}", b"[]"]


@pytest.mark.parametrize(
    "text",
    [
        b"hello\n",
        b"hello\r\n\r\n",
        b"hello",
        b"\n",
        b"\r\n",
        b"Note: text with colon\n",
        b"Note: text with colon",
        b"Note: one\nNote: two\n",
        b"Note: text\r\nmore text\r\n",
        b"Note: all of a block\r\n\r\n",
        b"Content-",
        b"Content-Length\n",
        b"\x00\xff\xfe\n",
        b'{"jsonrpc":"2.0"}',
        "schöne Grüße".encode(),
        b"x" * (MAX_NOISE - 100),
    ],
)
def test_noise_before_between_and_glued_to_frames_loses_no_frame(text: bytes) -> None:
    data = text + frame(b"[1]") + text + frame(b"[2]") + text
    whole, bytewise = read(data, end=True), [*read_bytewise(data)]
    assert bodies(whole) == bodies(bytewise) == [b"[1]", b"[2]"]
    assert noise(whole) == text * 3
    assert noise(bytewise) in (text * 3, text * 2 + text[: text.rfind(b"\n") + 1])


def test_a_line_of_noise_is_one_event_however_it_is_cut() -> None:
    data = b"one\ntwo\n" + frame(b"{}") + b"three\n"
    expected = [Noise(b"one\n"), Noise(b"two\n"), b"{}", Noise(b"three\n")]
    assert read(data) == read_bytewise(data) == expected


def test_a_frame_forgives_the_noise_before_it() -> None:
    some = b"x" * 40_000 + b"\n"
    assert bodies(read(*[some + frame(b"{}")] * 5)) == [b"{}"] * 5


def test_six_hundred_frames_in_one_chunk_are_six_hundred_bodies() -> None:
    wanted = [b"%d" % i for i in range(600)]
    data = b"".join(map(frame, wanted))
    assert read(data) == read_bytewise(data) == wanted


def test_a_body_may_look_like_a_header_or_like_noise() -> None:
    wanted = [frame(b"{}"), b"\r\n\r\n", b"Content-Length: 3\r\n", b"\n"]
    data = b"".join(map(frame, wanted))
    assert read(data) == read_bytewise(data) == wanted


def test_bodies_are_bytes_and_not_views_of_a_buffer() -> None:
    assert all(type(body) is bytes for body in read(bytes(frame(b"{}") * 2)) + read_bytewise(frame(b"{}")))


BODIES = st.binary(min_size=1, max_size=60)
LINES = (
    st.binary(max_size=40)
    .filter(lambda line: b":" not in line)
    .map(lambda line: line.replace(b"\n", b"") + b"\n")
)
GLUED = st.text("abc {}\t[1]é", min_size=1, max_size=20).map(str.encode)


@examples(150)
@given(
    st.lists(st.tuples(st.one_of(st.just(b""), LINES, GLUED), BODIES), max_size=8),
    st.lists(st.integers(0, 1000), max_size=12),
)
def test_any_stream_of_frames_and_noise_gives_the_same_bodies_cut_anywhere(
    stream: list[tuple[bytes, bytes]], places: list[int]
) -> None:
    data = b"".join(text + frame(body) for text, body in stream)
    edges = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    cut = [data[a:b] for a, b in itertools.pairwise(edges)]
    whole = read(data)
    assert bodies(whole) == [body for _, body in stream]
    assert noise(whole) == b"".join(text for text, _ in stream)
    assert read(*cut) == read_bytewise(data) == whole


@examples(1500)
@given(
    st.lists(
        st.sampled_from([b"Content-Length: ", b"2", b"\r\n", b"\n", b"\r", b"{}", b"X-A: b", b"note"]),
        max_size=14,
    )
)
def test_even_a_broken_stream_gives_the_same_pieces_cut_anywhere(tokens: list[bytes]) -> None:
    data = b"".join(tokens)
    kinds = [
        [p if type(p) is not Broken else p.fault for p in pieces]
        for pieces in (read(data), read_bytewise(data))
    ]
    assert kinds[0] == kinds[1]


@pytest.mark.parametrize("text", [b"x" * 60_000, b"Note: " + b"x" * 60_000, b"Note: x\r\n" * 1_000])
def test_much_noise_in_single_bytes_is_read_fast(text: bytes) -> None:
    began = time.process_time()
    read_bytewise(text)
    assert time.process_time() - began < 3


def test_a_large_body_in_small_chunks_is_read_fast() -> None:
    body = bytes(4 * 1024 * 1024)
    data = frame(body)
    began = time.perf_counter()
    pieces = read(*(data[i : i + 1024] for i in range(0, len(data), 1024)))
    assert time.perf_counter() - began < 2
    assert pieces == [body]
