"""Frames in a stream of bytes: `Content-Length: N`, a blank line, N bytes.

Strict when sending, named faults when receiving, and text that strays into the stream between
two frames is handed out as `Noise` without losing a frame. The format is that of the Language
Server Protocol's base protocol; `docs/design/decisions/0002-framing.md` says why.

Rules of this file:

1. Every byte is looked at a bounded number of times, however the stream is cut into chunks: the
   search for the end of a line resumes where the last chunk ended.
2. A length is checked against the limit before anything is kept for it.
3. After a fault the reader is dead: it drops what it is given and reports nothing more.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from protocol.errors import Fault

MAX_FRAME = 16 * 1024 * 1024
MAX_HEADER = 1024
MAX_NOISE = 64 * 1024

_HEADER = re.compile(rb"Content-Length: ([0-9]{1,10})\r\n\r\n")
"""As everybody sends it."""
_MARK = b"Content-Length:"
# What follows is for unusual headers, and compiled when one comes: together it would be 3 % of a plugin's
# start. The first two are bounded, because they are tried again with every chunk.
_OURS = rb"(?i:content-(?:length|type))[ \t]{0,16}:"
_FOREIGN = rb"[A-Za-z][A-Za-z0-9-]{0,63}:[ \t]"
_FOREIGN_LINE = rb"[A-Za-z][A-Za-z0-9-]{0,63}:[ \t](?s:.*[^\r])?\r"
_WRONG_LINE_END = rb"\r\r\n|(?<!\r)\n"


class Noise(NamedTuple):
    """Bytes between two frames that are not a header: somebody wrote to the protocol's stream."""

    text: bytes


class Packed(NamedTuple):
    """The body of a frame that is MessagePack, where that has been agreed on."""

    body: bytes


class Broken(NamedTuple):
    """The stream cannot be read any further."""

    fault: Fault
    detail: str


Piece = bytes | Packed | Noise | Broken
"""What a stream is made of; `bytes` is the body of a frame."""


def frame(body: bytes, *, packed: bool = False) -> bytes:
    """The frame that carries `body` (at least one byte): one buffer, for one write."""
    if packed:
        return b"Content-Length: %d\r\nContent-Type: application/msgpack\r\n\r\n%b" % (len(body), body)
    return b"Content-Length: %d\r\n\r\n%b" % (len(body), body)


class _Fatal(Exception):
    """Ends the reading, from wherever the fault is seen. Never leaves this file."""

    def __init__(self, fault: Fault, detail: str) -> None:
        self.broken = Broken(fault, detail)


class FrameReader:
    """Cuts a stream into frames. `receive` and `end` are the whole interface."""

    def __init__(
        self, *, max_frame: int = MAX_FRAME, max_header: int = MAX_HEADER, max_noise: int = MAX_NOISE
    ) -> None:
        self.takes_packed = False
        """Whether MessagePack has been agreed on."""
        self._is_packed = False  # the current body
        self._max_frame = max_frame
        self._max_header = max_header
        self._max_noise = max_noise
        self._kept = bytearray()  # the unfinished header block or noise at the boundary
        self._searched = 0  # how much of `_kept` is known to hold no line end
        self._text = 0  # how much of the front of `_kept` is known to be no header
        self._missing = 0  # bytes of the current body still to come
        self._parts: list[bytes] = []  # of the current body
        self._noise_run = 0  # bytes of noise since the last frame
        self._broken = False
        self.rests = True
        """Whether nothing is kept of what was received: it ended where a frame did."""

    @property
    def inside_frame(self) -> bool:
        """Whether a frame has begun and is not complete."""
        return self._missing > 0 or (bool(self._kept) and re.match(_OURS, self._kept) is not None)

    @property
    def missing(self) -> int:
        """Bytes of the current body that are still to come."""
        return self._missing

    def receive(self, data: bytes) -> list[Piece]:
        """What `data` completes, in order: frame bodies, noise, and at most one final fault."""
        out: list[Piece] = []
        if self._broken:
            return out
        position = 0
        size = len(data)
        try:
            while position < size:
                if self._missing:
                    position = self._take_body(data, position, out)
                    continue
                # The common case, and the only one written for speed: nothing kept, and a whole
                # header as everybody sends it. Five times as fast.
                if not self._kept and (header := _HEADER.match(data, position)) is not None:
                    length = int(header[1])
                    if 0 < length <= self._max_frame:
                        start = header.end()
                        position = start + length
                        self._noise_run = 0
                        if position <= size:
                            out.append(data[start:position])
                        else:
                            position = start
                            self._missing = length
                        continue
                # Anything else goes through the buffer, a header's length at a time, so that a
                # large chunk behind it is not copied for a few bytes of noise in front.
                step = data[position : position + self._max_header]
                self._kept += step
                position += len(step) - self._read_boundary(out)
        except _Fatal as fatal:
            self._broken = True
            self._kept = bytearray()
            self._parts = []
            self._missing = 0
            out.append(fatal.broken)
        self.rests = not (self._missing or self._kept)
        return out

    def end(self) -> list[Piece]:
        """The stream has ended: what was left over, as noise or as a truncated frame."""
        if self._broken:
            return []
        self._broken = True
        if self._missing:
            return [Broken(Fault.TRUNCATED, f"{self._missing} bytes of a frame never came")]
        if self.inside_frame:
            return [Broken(Fault.TRUNCATED, "the stream ended inside a header")]
        return [Noise(bytes(self._kept))] if self._kept else []

    def _take_body(self, data: bytes, position: int, out: list[Piece]) -> int:
        part = data[position : position + self._missing]
        self._missing -= len(part)
        self._parts.append(part)
        if not self._missing:
            body = b"".join(self._parts) if len(self._parts) > 1 else part
            out.append(Packed(body) if self._is_packed else body)
            self._parts = []
            self._is_packed = False
        return position + len(part)

    def _read_boundary(self, out: list[Piece]) -> int:
        """Reads noise and at most one header from `_kept`; returns how many bytes lie behind it."""
        kept = self._kept
        while kept:
            if not self._text and (
                re.match(_OURS, kept) or (re.match(_FOREIGN, kept) and not self._is_text_with_a_colon())
            ):
                end = kept.find(b"\r\n\r\n", 0, self._max_header + 4)
                self._check_line_ends()
                if end < 0:
                    if len(kept) >= self._max_header + 4:
                        raise _Fatal(Fault.HEADER_TOO_LONG, f"more than {self._max_header} bytes")
                    return 0
                self._missing = self._length(bytes(kept[:end]))
                self._noise_run = 0
                behind = len(kept) - end - 4
                self._drop(len(kept))
                return behind
            if not self._take_noise(out):
                return 0
        return 0

    def _is_text_with_a_colon(self) -> bool:
        """Whether a block that begins with a header we do not know is noise.

        It is a header block only if every line of it is a header and one of them is ours.
        """
        # Not more than the longest header is looked at, or long text in small chunks would take
        # quadratic time, and what it is taken for would depend on the chunks.
        head = self._kept[: self._max_header + 4]
        block, blank, _ = head.partition(b"\r\n\r\n")
        *lines, unfinished = (block + b"\r\n" if blank else block).split(b"\n")
        for line in lines:
            if re.match(_OURS, line):
                return False
            if _MARK in line or not re.fullmatch(_FOREIGN_LINE, line):
                return True
        if _MARK in unfinished and not re.match(_OURS, unfinished):  # text that a frame is glued to
            return True
        if len(head) == self._max_header + 4:
            # None of these lines can begin a header any more: they are not looked at one by one.
            self._text = head.rfind(b"\n") + 1 or len(head)
            return True
        return bool(blank)

    def _take_noise(self, out: list[Piece]) -> bool:
        """Takes one run of noise from the front of `_kept`; False if its end is not here yet."""
        kept = self._kept
        line_end = kept.find(b"\n", self._searched)
        stop = line_end + 1 or len(kept)
        mark = kept.find(_MARK, max(0, self._searched - len(_MARK)), stop)
        if mark > 0:
            stop = mark
        elif line_end < 0:
            self._searched = len(kept)
            self._check_pollution(len(kept), out)
            return False
        out.append(Noise(bytes(kept[:stop])))
        self._noise_run += stop
        self._drop(stop)
        self._check_pollution(0, out)
        return True

    def _drop(self, count: int) -> None:
        del self._kept[:count]
        self._searched = 0
        self._text = max(0, self._text - count)

    def _check_pollution(self, unfinished: int, out: list[Piece]) -> None:
        if self._noise_run + unfinished <= self._max_noise:
            return
        if unfinished:
            out.append(Noise(bytes(self._kept)))
        raise _Fatal(Fault.STDOUT_POLLUTED, f"more than {self._max_noise} bytes of text and no frame")

    def _check_line_ends(self) -> None:
        """Looks at them first, complete or not, so that the fault is the same however it was cut."""
        head, blank, _ = self._kept[: self._max_header + 4].partition(b"\r\n\r\n")
        wrong = re.search(_WRONG_LINE_END, head + blank)
        if wrong is None:
            return
        if wrong.group() == b"\n":
            raise _Fatal(Fault.BARE_LF, "a header line that ends in LF alone")
        raise _Fatal(Fault.TEXT_MODE, "CR CR LF in a header")

    def _length(self, block: bytes) -> int:
        """The body length that a complete header block states."""
        length: int | None = None
        for line in block.split(b"\r\n"):
            name, _, value = line.partition(b":")
            name, value = name.strip().lower(), value.strip(b" \t")
            if name == b"content-type":
                self._is_packed = _is_packed(value, self.takes_packed)
            elif name == b"content-length":
                if length is not None:
                    raise _Fatal(Fault.DUP_LENGTH, "Content-Length twice")
                # isdigit() of bytes is ASCII only, so signs, blanks and other digits are out.
                if not value.isdigit() or len(value) > 10 or int(value) == 0:
                    raise _Fatal(Fault.BAD_LENGTH, f"Content-Length: {value[:32]!r}")
                length = int(value)
                if length > self._max_frame:
                    raise _Fatal(Fault.FRAME_TOO_LARGE, f"{length} bytes, and the limit is {self._max_frame}")
        if length is None:
            raise _Fatal(Fault.NO_LENGTH, repr(block[:64]))
        return length


def _is_packed(value: bytes, allowed: bool) -> bool:
    """Whether a content type is MessagePack. Raises for what was not agreed on."""
    media, *parameters = (part.strip().lower() for part in value.split(b";"))
    if media == b"application/msgpack" and allowed:
        return True
    if media not in (b"application/json", b"application/vscode-jsonrpc"):
        raise _Fatal(Fault.BAD_CONTENT_TYPE, f"Content-Type: {value[:64]!r}")
    for parameter in parameters:
        name, _, charset = parameter.partition(b"=")
        if name.strip() == b"charset" and charset.strip(b' "') not in (b"utf-8", b"utf8"):
            raise _Fatal(Fault.BAD_CHARSET, f"Content-Type: {value[:64]!r}")
    return False
