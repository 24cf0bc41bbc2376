"""What a plugin writes to stderr: drained always, kept a little, passed on in lines.

It is untrusted text. Lines are cut at 32 KiB and control characters are shown, not obeyed; over 1 MiB a
second is dropped and counted, and a plugin that writes is never made to wait for whoever reads its log:
one that floods gets rid of a pipe's worth every 5 ms.
"""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Callable

from host.process.driver import Driver, Timer

READ_BYTES = 65536
MAX_LINE = 32 * 1024
MAX_RATE = 1024 * 1024
KEPT_LINES = 100
PAUSE_S = 0.005
"""How long the pipe of one that writes too much is left to fill up."""

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\x80-\x9f]")


def printable(raw: bytes) -> str:
    """Text that a terminal can be shown: bad UTF-8 replaced, control characters as escapes."""
    text = raw[:MAX_LINE].decode(errors="replace").rstrip("\r\n")
    return _CONTROL.sub(lambda match: f"\\x{ord(match.group()):02x}", text)[:MAX_LINE]


class StderrReader:
    """`on_line` gets each line; `tail` holds the last hundred."""

    def __init__(self, driver: Driver, fd: int, on_line: Callable[[str], None]) -> None:
        self.tail: deque[str] = deque(maxlen=KEPT_LINES)
        self.dropped_bytes = 0
        self._driver = driver
        self._fd = fd
        self._on_line = on_line
        self._unfinished = b""
        self._allowance = float(MAX_RATE)
        self._filled_at = driver.now()
        self._pause: Timer | None = None
        os.set_blocking(fd, False)
        driver.add_reader(fd, self._on_readable)

    def _on_readable(self) -> None:
        dropped = self.dropped_bytes
        if self._read() and self.dropped_bytes > dropped:
            # Woken for each line of a flood, four plugins took 45 % of a core; so, 8 %.
            self._driver.remove_reader(self._fd)
            self._pause = self._driver.call_at(self._driver.now() + PAUSE_S, self._go_on)

    def _go_on(self) -> None:
        self._pause = None
        self._driver.add_reader(self._fd, self._on_readable)

    def _read(self) -> bool:
        """Reads one chunk; False if there is none."""
        try:
            data = os.read(self._fd, READ_BYTES)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            self._driver.remove_reader(self._fd)
            return False
        now = self._driver.now()
        self._allowance = min(MAX_RATE, self._allowance + (now - self._filled_at) * MAX_RATE)
        self._filled_at = now
        if len(data) > self._allowance:
            self.dropped_bytes += len(data)
            return True
        self._allowance -= len(data)
        *lines, self._unfinished = (self._unfinished + data).split(b"\n")
        if len(self._unfinished) > MAX_LINE:
            lines.append(self._unfinished)
            self._unfinished = b""
        for line in lines:
            self._take(line)
        return True

    def _take(self, line: bytes) -> None:
        text = printable(line)
        if text:
            self.tail.append(text)
            self._on_line(text)

    def drain(self) -> None:
        """Reads what is there, at most a pipe's worth: somebody else may hold the pipe and write on."""
        for _ in range(16):
            if not self._read():
                break

    def close(self) -> None:
        """Reads what is there and lets go."""
        self.drain()
        if self._pause is not None:
            self._pause.cancel()
        self._driver.remove_reader(self._fd)
        os.close(self._fd)
        if self._unfinished:
            self._take(self._unfinished)
        if self.dropped_bytes:
            self._on_line(f"(outboard: {self.dropped_bytes} bytes of stderr were dropped)")
