"""What `ps` and /proc say of this process: its command and its environment, written over in place.

Both are read out of the memory where the kernel put them when the program was executed. A forked process has
what the first one was executed with, and would be taken for it: by people, and by a host that looks for what
a plugin has left by the OUTBOARD_INSTANCE in its environment.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping

_COMM_BYTES = 15


class Title:
    """Where both are in this process, and in whatever is forked from it.

    For a process that was executed with more than enough in both places, and whose `os.environ` has been
    emptied since: C would read what is written over.
    """

    def __init__(self) -> None:
        with open("/proc/self/stat", "rb") as file:
            line = file.read()
        first, last, env_first, env_last = map(int, line[line.rindex(b")") + 2 :].split()[45:49])
        is_told = 0 < first <= last <= env_first <= env_last
        self._command = (first, last - first) if is_told else (0, 0)
        self._environment = (env_first, env_last - env_first) if is_told else (0, 0)

    def show(self, name: str, command: str, environment: Mapping[str, str]) -> None:
        """`name` where there is room for 15 bytes, `command` for a command line, and `environment`.

        What does not fit is left out, and never the mark of whose this is.
        """
        with open("/proc/self/comm", "wb", buffering=0) as file:
            file.write(name.encode()[:_COMM_BYTES])
        at, size = self._command
        if size > 2:
            # The kernel takes it for a title, and ends it at its first zero, if the last byte of all is none.
            title = command.encode(errors="replace").replace(b"\0", b" ")[: size - 2]
            ctypes.memmove(at, title.ljust(size - 1, b"\0") + b".", size)
        at, size = self._environment
        written = b""
        for key, value in sorted(environment.items(), key=lambda item: item[0] != "OUTBOARD_INSTANCE"):
            item = f"{key}={value}".encode(errors="surrogateescape") + b"\0"
            if len(written) + len(item) > size:
                break
            written += item
        ctypes.memmove(at, written.ljust(size, b"\0"), size)
