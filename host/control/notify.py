"""What the daemon tells the service manager that started it: sd_notify, in whole datagrams.

Without a NOTIFY_SOCKET everything here does nothing. Nothing waits: a manager that does not read for a
while is told later.
"""

from __future__ import annotations

import os
import socket
import time
from collections import deque
from collections.abc import MutableMapping

MAX_UNTOLD = 16
STATUS_CHARACTERS = 512


class Notifier:
    """One per daemon. `watchdog_s` is how long the manager waits for a sign of life; None for ever."""

    def __init__(self, address: str | None, *, watchdog_s: float | None = None) -> None:
        self.watchdog_s = watchdog_s if address else None
        self._untold: deque[bytes] = deque(maxlen=MAX_UNTOLD)
        self._status = ""
        self._socket: socket.socket | None = None
        if address:
            self._address = "\0" + address[1:] if address.startswith("@") else address
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._socket.setblocking(False)

    @classmethod
    def take(cls, environ: MutableMapping[str, str], pid: int) -> Notifier:
        """By what the manager has put into the environment, from which it is removed: it is for us."""
        address = environ.pop("NOTIFY_SOCKET", None)
        period_us, whose = environ.pop("WATCHDOG_USEC", ""), environ.pop("WATCHDOG_PID", "")
        is_ours = period_us.isdecimal() and int(period_us) > 0 and whose in ("", str(pid))
        return cls(address, watchdog_s=int(period_us) / 1_000_000 if is_ours else None)

    @property
    def is_heard(self) -> bool:
        """Whether there is a manager at all."""
        return self._socket is not None

    def ready(self) -> None:
        self._tell("READY=1")

    def reloading(self) -> None:
        """`ready` has to follow."""
        self._tell("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self, *, within_s: float) -> None:
        self._tell("STOPPING=1", f"EXTEND_TIMEOUT_USEC={int(within_s * 1_000_000)}")

    def status(self, text: str) -> None:
        """One line for `systemctl status`; told if it is news."""
        text = " ".join(text.split())[:STATUS_CHARACTERS]
        if text != self._status:
            self._status = text
            for old in [each for each in self._untold if each.startswith(b"STATUS=")]:
                self._untold.remove(old)
            self._tell(f"STATUS={text}")

    def alive(self) -> None:
        """The sign of life, and another try for what could not be told before."""
        self._send()
        if self.watchdog_s is not None and not self._untold:
            self._tell("WATCHDOG=1")

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _tell(self, *lines: str) -> None:
        if self._socket is not None:
            self._untold.append("\n".join(lines).encode())
            self._send()

    def _send(self) -> None:
        while self._untold and self._socket is not None:
            try:
                self._socket.sendto(self._untold[0], self._address)
            except BlockingIOError:
                return
            except OSError:
                pass  # there is nobody, which is no reason to stop
            self._untold.popleft()


def given_socket(environ: MutableMapping[str, str], pid: int) -> socket.socket | None:
    """The listening unix socket that a service manager hands over (LISTEN_FDS), if it does."""
    whose, count = environ.pop("LISTEN_PID", ""), environ.pop("LISTEN_FDS", "")
    environ.pop("LISTEN_FDNAMES", None)
    if whose != str(pid) or not count.isdecimal():
        return None
    found = None
    for fd in range(3, 3 + min(int(count), 64)):
        try:
            os.set_inheritable(fd, False)
            given = socket.socket(fileno=fd)
        except OSError:
            continue
        kind = (given.family, given.type, given.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
        if found is None and kind == (socket.AF_UNIX, socket.SOCK_STREAM, 1):
            found = given
        else:
            given.detach()
            os.close(fd)
    return found
