"""SIGKILL for processes that are not children of ours, or may not be, and never for a stranger.

A pidfd is opened, and then the start time is compared: whoever the pidfd means cannot become another.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Iterable

from host.process.table import Process, look

BATCH = 64
"""So many descriptors at once: a host with many plugins has few to spare."""


def kill(processes: Iterable[Process], within_s: float) -> None:
    """Kills them, and waits until they have ended, or the time is over. Blocks."""
    wanted, ends_at = list(processes), time.monotonic() + within_s
    for first in range(0, len(wanted), BATCH):
        fds = [fd for fd in map(_killed, wanted[first : first + BATCH]) if fd is not None]
        _wait(fds, ends_at)


def send(process: Process, number: int) -> bool:
    """One signal to exactly this process; whether it went out."""
    fd = _sent(process, number)
    if fd is not None:
        os.close(fd)
    return fd is not None


def _killed(process: Process) -> int | None:
    return _sent(process, signal.SIGKILL)


def _sent(process: Process, number: int) -> int | None:
    """A pidfd of the process that the signal went to; None if it is no more."""
    try:
        fd = os.pidfd_open(process.pid)
    except OSError:  # it is gone; or there are no descriptors left, and it is told of as left over
        return None
    try:
        entry = look(process.pid)
        if entry is not None and entry.start == process.start:
            signal.pidfd_send_signal(fd, number)
            return fd
    except OSError:
        pass
    os.close(fd)
    return None


def _wait(fds: list[int], ends_at: float) -> None:
    """Until all have ended. Closes the descriptors."""
    waiting = select.poll()
    for fd in fds:
        waiting.register(fd, select.POLLIN)
    left = len(fds)
    while left and (time_s := ends_at - time.monotonic()) > 0:
        for fd, _ in waiting.poll(time_s * 1000 + 1):
            waiting.unregister(fd)
            left -= 1
    for fd in fds:
        os.close(fd)
