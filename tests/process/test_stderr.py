"""What is made of a plugin's stderr, on a real pipe."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from host.process.driver import current_driver
from host.process.stderr import KEPT_LINES, MAX_LINE, MAX_RATE, StderrReader, printable

pytestmark = pytest.mark.anyio


class Lines:
    def __init__(self) -> None:
        self.seen: list[str] = []
        self._more = anyio.Event()

    def take(self, line: str) -> None:
        self.seen.append(line)
        self._more.set()
        self._more = anyio.Event()

    async def until(self, count: int) -> list[str]:
        with anyio.fail_after(5):
            while len(self.seen) < count:
                await self._more.wait()
        return self.seen


@contextmanager
def piped() -> Iterator[tuple[int, StderrReader, Lines]]:
    """The end to write to, the reader and its lines; the test closes the reader."""
    read_fd, write_fd = os.pipe()
    lines = Lines()
    driver = current_driver()
    reader = StderrReader(driver, read_fd, lines.take)
    try:
        yield write_fd, reader, lines
    finally:
        os.close(write_fd)
        driver.close()


async def write_all(fd: int, data: bytes) -> None:
    os.set_blocking(fd, False)
    view = memoryview(data)
    with anyio.fail_after(10):
        while view:
            await anyio.wait_writable(fd)
            view = view[os.write(fd, view[:4096]) :]


async def test_lines_come_whole_however_they_were_written() -> None:
    with piped() as (fd, reader, lines):
        os.write(fd, b"one\r\ntw")
        await lines.until(1)
        os.write(fd, b"o\n\n\nthree\n")
        assert await lines.until(3) == ["one", "two", "three"]
        os.write(fd, b"unfinished")
        reader.close()
        assert lines.seen[3:] == ["unfinished"]
        assert list(reader.tail) == lines.seen


async def test_control_characters_are_shown_and_not_obeyed() -> None:
    with piped() as (fd, reader, lines):
        os.write(fd, b"\x1b[31mred\x07\x00 \xff \xc2\x9b caf\xc3\xa9\n")
        (line,) = await lines.until(1)
        assert line == "\\x1b[31mred\\x07\\x00 \N{REPLACEMENT CHARACTER} \\x9b caf\xe9"
        reader.close()


async def test_a_line_without_an_end_is_cut() -> None:
    with piped() as (fd, reader, lines):
        await write_all(fd, b"x" * (3 * MAX_LINE) + b"\n")
        seen = await lines.until(2)
        assert all(len(line) <= MAX_LINE for line in seen)
        assert set("".join(seen)) == {"x"}
        reader.close()


async def test_a_flood_is_dropped_and_counted_and_never_blocks_the_writer() -> None:
    with piped() as (fd, reader, lines):
        await write_all(fd, (b"y" * 999 + b"\n") * (4 * MAX_RATE // 1000))
        reader.close()
        assert reader.dropped_bytes > MAX_RATE
        assert len(reader.tail) == KEPT_LINES
        assert f"{reader.dropped_bytes} bytes of stderr were dropped" in lines.seen[-1]
        assert sum(map(len, lines.seen)) < 3 * MAX_RATE


async def test_the_end_of_the_pipe_and_a_close_after_it_are_quiet() -> None:
    read_fd, write_fd = os.pipe()
    lines = Lines()
    driver = current_driver()
    reader = StderrReader(driver, read_fd, lines.take)
    os.write(write_fd, b"last\n")
    os.close(write_fd)
    assert await lines.until(1) == ["last"]
    reader.close()
    driver.close()


@given(raw=st.binary())
def test_what_is_printable_is_text_without_control_characters(raw: bytes) -> None:
    text = printable(raw)
    assert all(character.isprintable() or character in "\t\n" or ord(character) > 0x9F for character in text)
