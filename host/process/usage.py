"""What the process tree of a plugin uses, and what a reader of it can be asked.

There are two readers: `procfs.py` for Linux, which is made for hundreds of plugins a second, and
`portable.py` for everywhere else.
"""

from __future__ import annotations

from typing import Literal, Protocol

import msgspec

from host.process.table import Process

Measure = Literal["rss", "private", "pss", "uss", "group"]
"""`rss` counts what processes share once for each of them; the others do not. `private` is of one process;
`group` is what the kernel charges to a control group, with files in memory that no process has mapped."""


class Peak(msgspec.Struct, frozen=True, kw_only=True):
    """The most that was seen of each since the process was started."""

    memory_bytes: int = 0
    cpu_percent: float = 0.0
    processes: int = 0
    threads: int = 0
    open_files: int | None = None


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Of a whole process tree, at one moment."""

    memory_bytes: int
    measure: Measure = "rss"
    """How the memory was counted: exactly, where it comes near the limit."""
    cpu_percent: float = 0.0
    """100 is one core; over a second or so."""
    processes: int = 1
    threads: int = 1
    open_files: int | None = None
    """Of the process that has most; None where it cannot be seen."""
    peak: Peak = Peak()


class Bounds(msgspec.Struct, frozen=True):
    """The limits that looking more often can help to keep; None is no limit."""

    memory_bytes: int | None = None
    processes: int | None = None
    threads: int | None = None
    group: str | None = None
    """The folder of the control group in which the kernel counts its memory."""


class Quick(msgspec.Struct, frozen=True):
    """What one look at a tree gives for the price of a system call a process."""

    rss_bytes: int
    cpu_s: float
    """Since they were started, of all that are there and all that they have waited for."""
    processes: int
    threads: int


class Reader(Protocol):
    """Knows the trees below the pids that it follows. For one thread at a time; never raises."""

    def follow(self, roots: set[int]) -> None:
        """These and no others from now on."""

    def find_descendants(self) -> None:
        """Looks who belongs to whom."""

    def below(self, root: int) -> frozenset[Process]:
        """Whom it has found below a root, without it. The same object again: nobody has come or gone."""

    def quick(self, root: int) -> Quick | None:
        """None if it is gone, or cannot be seen just now. The same object again: nothing has changed."""

    def exact_memory(self, root: int) -> tuple[int, Measure] | None:
        """Without counting anything twice, nor what the kernel could drop at any moment. Takes longer."""

    def open_files(self, root: int) -> int | None: ...

    def close(self) -> None: ...
