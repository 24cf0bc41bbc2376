"""Text goes in without waiting, and a thread of its own writes it: whoever logs is never held up.

What stands behind a log may stop reading at any time (`outboard run | less`), be gone (a closed
terminal) or be full (a disk). So an outlet is bounded: what has no room is dropped and counted, and the
count is written as soon as writing goes on.
"""

from __future__ import annotations

import errno
import io
import os
import select
import threading
from collections.abc import Callable

LIMIT_CHARACTERS = 1024 * 1024
CLOSE_S = 1.0
PIECE_CHARACTERS = 64 * 1024
_GONE = (errno.EPIPE, errno.EIO, errno.EBADF, errno.ENXIO)


class ReaderGone(OSError):
    """Nobody reads any more, and nobody will: a closed pipe or terminal."""


class Outlet:
    """`write` may block and may raise OSError; it is called on the outlet's thread alone.

    `dropped` makes the line that says how many were dropped. `on_trouble` is told once of an error,
    and again only after a write that went well. `finish` is the thread's last call.
    """

    def __init__(
        self,
        write: Callable[[str], object],
        *,
        dropped: Callable[[int], str],
        on_trouble: Callable[[OSError], None],
        finish: Callable[[], object] = lambda: None,
        limit_characters: int = LIMIT_CHARACTERS,
    ) -> None:
        self._write = write
        self._line_of = dropped
        self._on_trouble = on_trouble
        self._finish = finish
        self._limit = limit_characters
        self._waiting: list[str] = []
        self._characters = 0
        self._dropped = 0
        self._in_trouble = False
        self._closed = False
        self._is_writing = False
        self._news = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="outboard-log", daemon=True)
        self._thread.start()

    def put(self, text: str) -> None:
        """From any thread, in no time."""
        with self._news:
            if self._closed:
                return
            if self._characters + len(text) > self._limit:
                self._dropped += 1
                return
            self._waiting.append(str(text))
            self._characters += len(text)
            self._news.notify_all()

    def settle(self, within_s: float) -> bool:
        """Waits until all that was put has been written; whether it has been."""
        with self._news:
            return self._news.wait_for(lambda: not self._waiting and not self._is_writing, within_s)

    def close(self) -> None:
        """Gives what is still waiting a moment to be written."""
        with self._news:
            self._closed = True
            self._news.notify_all()
        self._thread.join(CLOSE_S)

    # -- on the thread ---------------------------------------------------------------------------

    def _run(self) -> None:
        while (taken := self._take()) is not None:
            texts, dropped = taken
            pieces = _pieces(texts)
            lost = sum(len(piece) for piece in pieces if not self._write_one("".join(piece)))
            if dropped and not lost and self._write_one(self._line_of(dropped)):
                dropped = 0
            with self._news:
                self._dropped += lost + dropped
                if self._closed and (lost or dropped):  # as much as could be done
                    self._is_writing = False
                    self._news.notify_all()
                    break
        self._finish()

    def _take(self) -> tuple[list[str], int] | None:
        """Everything that waits, and what was dropped since; None at the end."""
        with self._news:
            self._is_writing = False
            self._news.notify_all()
            while not self._waiting and not self._closed:
                self._news.wait()
            if not self._waiting and not self._dropped:
                return None
            texts, dropped = self._waiting, self._dropped
            self._waiting, self._characters, self._dropped = [], 0, 0
            self._is_writing = True
            return texts, dropped

    def _write_one(self, text: str) -> bool:
        try:
            self._write(text)
        except OSError as error:
            if isinstance(error, ReaderGone):  # what comes from now on is for the other outlets
                with self._news:
                    self._closed = True
                    self._waiting, self._characters, self._dropped = [], 0, 0
            if not self._in_trouble:
                self._in_trouble = True
                self._on_trouble(error)
            return False
        self._in_trouble = False
        return True


def _pieces(texts: list[str]) -> list[list[str]]:
    """As few writes as possible, each of a size that a slow reader can take."""
    pieces: list[list[str]] = []
    room = 0
    for text in texts:
        if room < len(text) or not pieces:
            pieces.append([])
            room = PIECE_CHARACTERS
        pieces[-1].append(text)
        room -= len(text)
    return pieces


def write_to(fd: int) -> Callable[[str], None]:
    """A `write` for a descriptor, also for one that somebody has made non-blocking."""

    def write(text: str) -> None:
        data = memoryview(text.encode(errors="backslashreplace"))
        while data:
            try:
                data = data[os.write(fd, data) :]
            except BlockingIOError:
                ready = select.poll()
                ready.register(fd, select.POLLOUT)
                ready.poll()
            except OSError as error:
                if error.errno in _GONE:
                    raise ReaderGone(error.errno, error.strerror) from None
                raise

    return write


class OutletStream(io.TextIOBase):
    """An outlet as `sys.stderr`: what libraries and tracebacks print does not block either."""

    def __init__(self, outlet: Outlet) -> None:
        self._outlet = outlet

    def write(self, text: str, /) -> int:
        self._outlet.put(text)
        return len(text)

    def writable(self) -> bool:
        return True
