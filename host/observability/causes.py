"""Why a life of a plugin's process ended, as data: what `why`, `status`, the events and the log tell.

A `Cause` is made where the end is seen, kept by the plugin's supervisor, and written down with a
quarantine, so that the chain of them is still there after the host has been restarted.
"""

from __future__ import annotations

import time
from typing import Literal

import msgspec

Kind = Literal[
    "clean-exit",
    "exit-code",
    "exception",
    "missing-module",
    "missing-program",
    "environment",
    "signal",
    "out-of-memory",
    "limit",
    "start-timeout",
    "unresponsive",
    "blocked",
    "broken-wire",
    "refused",
    "contract",
    "not-ready",
    "not-spawned",
    "asked",
    "host-fault",
]
"""A closed list, for programs; `text` is for people."""


class Cause(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=False):
    """How one generation ended. Keys are always present, null where unknown."""

    kind: Kind
    text: str
    """One line a person understands."""
    fix: str | None = None
    """One thing to do about it, if the cause shows one."""
    incident: str = ""
    """What this end is called: errors of calls that it cut off have the same, 8 hex digits."""
    generation: int = 0
    exit_code: int | None = None
    signal: str | None = None
    killed_by_host: bool = False
    """Whether the signal was ours."""
    up_s: float | None = None
    """From spawn to the end, seconds; None if there was no process."""
    in_flight: list[str] = []
    """Methods that were being worked on when it ended, the longest running first."""
    stderr: list[str] = []
    """The last lines it wrote; of kind `contract`, what does not fit, line by line."""
    stack: list[str] = []
    """Of one that hung: where, thread by thread, as it printed it when it was told to end."""
    at: float = msgspec.field(default_factory=time.time)
    """Unix time."""
