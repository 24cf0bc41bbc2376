"""Takes the protocol's two streams away from file descriptors 0 and 1.

Done before any of the author's code is imported. From then on `print`, C's `puts` and the output of
child processes go to stderr, which the host logs, and a read of stdin finds nothing.
"""

from __future__ import annotations

import fcntl
import os
import sys


def claim() -> tuple[int, int]:
    """Private descriptors for reading from and writing to the host; children do not inherit them."""
    # From 10 up, so that they are not mistaken for the three that everybody knows.
    reading = fcntl.fcntl(0, fcntl.F_DUPFD_CLOEXEC, 10)
    writing = fcntl.fcntl(1, fcntl.F_DUPFD_CLOEXEC, 10)
    for fd in (reading, writing):  # Node, for one, hands out pipes that do not block
        os.set_blocking(fd, True)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    if sys.stdout is not None:
        sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    return reading, writing
