"""The limits that the kernel keeps for each process: which they are, and how they change while it lives.

They are set in the child, soft and hard alike, so that no runtime raises them by itself (Go's does).
What is lowered later holds at once. Raising needs a privilege: where the host does not have it, the next
process gets the new limit, and a reload starts one.
"""

from __future__ import annotations

import sys
from functools import cache

from host.config.effective import PluginPolicy

FIELDS = {"DATA": "memory_bytes", "NOFILE": "open_files", "FSIZE": "file_size_bytes"}
"""RLIMIT_… and the field of the policy that settles it."""
_CAP_SYS_RESOURCE = 24


def for_child(policy: PluginPolicy) -> str:
    """As `plugin_sdk/boot.py` reads it: "DATA=268435456,CORE=0"."""
    wanted = {name: getattr(policy, field) for name, field in FIELDS.items()} | {"CORE": 0}
    return ",".join(f"{name}={value}" for name, value in wanted.items() if value is not None)


def change(pid: int, before: PluginPolicy, after: PluginPolicy) -> list[str]:
    """Gives the living process `pid`, which is ours to wait for, what differs; returns what cannot be.

    What it has started keeps what it had.
    """
    import resource

    refused: list[str] = []
    for name, field in FIELDS.items():
        wanted = getattr(after, field)
        if wanted == getattr(before, field):
            continue
        value = resource.RLIM_INFINITY if wanted is None else wanted
        try:
            prlimit = resource.prlimit  # type: ignore[attr-defined, unused-ignore]
            prlimit(pid, getattr(resource, f"RLIMIT_{name}"), (value, value))
        except ProcessLookupError:
            return []
        except (AttributeError, OSError, ValueError) as error:
            refused.append(f"RLIMIT_{name} holds from its next start on: {error}")
    return refused


def holds_at_once(before: int | None, after: int | None) -> bool:
    """Whether a change of one of them reaches a process that runs."""
    if sys.platform != "linux":
        return False
    is_lower = after is not None and (before is None or after <= before)
    return is_lower or _may_raise()


@cache
def _may_raise() -> bool:
    try:
        with open("/proc/self/status") as file:
            text = next(line for line in file if line.startswith("CapEff:"))
    except (OSError, StopIteration):
        return False
    return bool(int(text.split()[1], 16) >> _CAP_SYS_RESOURCE & 1)
