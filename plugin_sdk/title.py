"""What `ps` and /proc say of this process: its command and its environment, written over in place.

Both are read out of the memory where the kernel put them when the program was executed. A forked process has
what the first one was executed with, and would be taken for it: by people, and by a host that looks for what
a plugin has left by the OUTBOARD_INSTANCE in its environment.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping

_COMM_BYTES = 15


def rename(name: str, command: str, environment: Mapping[str, str]) -> None:
    """Shows `name` where there is room for 15 bytes, `command` for a command line, and `environment`.

    For a process that was executed with more in both places, and whose `os.environ` has been emptied since:
    C would read what is written over. What does not fit is left out, and never the mark of whose this is.
    """
    with open("/proc/self/comm", "wb") as file:
        file.write(name.encode()[:_COMM_BYTES])
    first, last, env_first, env_last = _areas()
    if last - first > 2:
        # The kernel takes it for a title, and ends it at its first zero, if the last byte of all is none.
        title = command.encode(errors="replace").replace(b"\0", b" ")[: last - first - 2]
        ctypes.memmove(first, title.ljust(last - first - 1, b"\0") + b".", last - first)
    size, written = env_last - env_first, b""
    for key, value in sorted(environment.items(), key=lambda item: item[0] != "OUTBOARD_INSTANCE"):
        item = f"{key}={value}".encode(errors="surrogateescape") + b"\0"
        if len(written) + len(item) > size:
            break
        written += item
    ctypes.memmove(env_first, written.ljust(size, b"\0"), size)


def _areas() -> tuple[int, int, int, int]:
    """Where the command is in memory, and the environment: first byte, and the one after the last."""
    with open("/proc/self/stat", "rb") as file:
        line = file.read()
    fields = line[line.rindex(b")") + 2 :].split()
    first, last, env_first, env_last = (int(field) for field in fields[45:49])
    if not 0 < first <= last <= env_first <= env_last:
        return 0, 0, 0, 0
    return first, last, env_first, env_last
