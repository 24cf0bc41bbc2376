"""How many processes the kernel has killed for memory, as far as this process may know.

A SIGKILL looks the same whoever sent it. The kernel counts its own: for the control group that the host
is in, and for the whole machine. A count that rose while a plugin ended is as good an answer as there is.
"""

from __future__ import annotations

import os
import re

_CGROUP = re.compile(r"^0::(/.*)$", re.MULTILINE)


def oom_kills() -> int | None:
    """The count so far; None where the kernel does not say. Reads two small files of the kernel's."""
    for path, pattern in ((_events_file(), rb"^oom_kill (\d+)$"), ("/proc/vmstat", rb"^oom_kill (\d+)$")):
        try:
            with open(path, "rb") as file:
                found = re.search(pattern, file.read(65536), re.MULTILINE)
        except OSError:
            continue
        if found is not None:
            return int(found.group(1))
    return None


def _events_file() -> str:
    try:
        with open("/proc/self/cgroup") as file:
            group = _CGROUP.search(file.read(65536))
    except OSError:
        group = None
    return os.path.join("/sys/fs/cgroup", (group.group(1) if group else "/").lstrip("/"), "memory.events")
