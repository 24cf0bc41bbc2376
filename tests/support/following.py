"""Commands that go on: what they print is read as it comes, with a bound on every wait."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Callable
from typing import Any, Self

from tests.support.daemon import PATIENCE_S, begin

_ESCAPE = re.compile(r"\x1b(?:\[[0-9;?]*[A-Za-z]|[()][A-Z0-9])")


class Following:
    """A command with its stdout in a pipe, or all of it on a terminal of `columns`. Leaving ends it."""

    def __init__(
        self, *words: str | os.PathLike[str], env: dict[str, str], columns: int | None = None, rows: int = 24
    ) -> None:
        self.seen = ""
        self._said = ""
        if columns is None:
            self._fd, theirs = os.pipe()
            said: Any = subprocess.PIPE
            given: Any = subprocess.DEVNULL
        else:
            self._fd, theirs = pty.openpty()
            said = given = theirs
            env = env | {"TERM": "xterm-256color"}
        self._terminal = theirs if columns is not None else None
        if columns is not None:
            self.resize(columns, rows)
        self.process = begin(words, env=env, stdin=given, stdout=theirs, stderr=said, start_new_session=True)
        if self._terminal is None:
            os.close(theirs)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()
        os.close(self._fd)
        if self._terminal is not None:
            os.close(self._terminal)

    def until(self, condition: Callable[[str], Any]) -> Any:
        """Reads until `condition` of all that was printed is true, and returns what it returns."""
        ends_at = time.monotonic() + PATIENCE_S
        while not (value := condition(self.text)):
            ready = select.select([self._fd], [], [], max(0.0, ends_at - time.monotonic()))[0]
            data = os.read(self._fd, 65536) if ready else b""
            assert data, f"not within {PATIENCE_S:g} s; seen: {self.text[-3000:]}"
            self.seen += data.decode(errors="replace")
        return value

    def until_said(self, words: str) -> None:
        """Reads stderr, which is no terminal, until there are `words` in it."""
        stderr = self.process.stderr
        assert stderr is not None
        ends_at = time.monotonic() + PATIENCE_S
        while words not in self._said:
            ready = select.select([stderr], [], [], max(0.0, ends_at - time.monotonic()))[0]
            data = os.read(stderr.fileno(), 65536) if ready else b""
            assert data, f"not within {PATIENCE_S:g} s; said: {self._said}"
            self._said += data.decode()

    @property
    def text(self) -> str:
        """What was printed so far, without escape codes."""
        return _ESCAPE.sub("", self.seen).replace("\r\n", "\n")

    def forget(self) -> None:
        self.seen = ""

    def resize(self, columns: int, rows: int) -> None:
        assert self._terminal is not None
        fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))

    def end(self, number: int = signal.SIGINT) -> tuple[int, str]:
        """The exit code after a signal, and what is on stderr, if that is not the terminal."""
        self.process.send_signal(number)
        if self._terminal is not None:
            return self.process.wait(PATIENCE_S), ""
        _, said = self.process.communicate(timeout=PATIENCE_S)
        assert b"Traceback" not in said
        return self.process.returncode, self._said + said.decode()

    def hang_up(self) -> None:
        """Nobody reads any more."""
        os.close(self._fd)
        self._fd = os.open(os.devnull, os.O_RDONLY)
