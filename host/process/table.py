"""The kernel's table of processes: who is there, whose child it is, and which life of a number it is.

A process is its number and its start time, never the number alone: numbers come back. Linux alone says
all this; elsewhere the table is empty, and nobody is found. Nothing raises for a process that has just
ended.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import NamedTuple

_MAX_ENVIRONMENT = 1 << 20


class Process(NamedTuple):
    """One life of a number. `start` is in ticks since the machine was started."""

    pid: int
    start: int


class Entry(NamedTuple):
    pid: int
    start: int
    parent: int
    state: str

    @property
    def process(self) -> Process:
        return Process(self.pid, self.start)

    @property
    def is_dead(self) -> bool:
        """It has ended, and its parent has not asked how."""
        return self.state in "ZX"


def parse(stat: bytes) -> Entry:
    """A line of /proc/PID/stat. The name in it is in brackets, and may hold anything, brackets too."""
    fields = stat[stat.rindex(b")") + 2 :].split(None, 20)
    return Entry(int(stat[: stat.index(b" ")]), int(fields[19]), int(fields[1]), fields[0].decode())


def look(pid: int) -> Entry | None:
    """Who has that number now."""
    try:
        fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY)
        try:
            return parse(os.read(fd, 4096))  # the kernel gives it out whole
        finally:
            os.close(fd)
    except (OSError, ValueError):
        return None


def is_alive(process: Process) -> bool:
    """Whether exactly this one has not ended."""
    entry = look(process.pid)
    return entry is not None and entry.start == process.start and not entry.is_dead


class Table:
    """Everybody who was there in one pass."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        self.entries = {entry.pid: entry for entry in entries}
        self._children: dict[int, list[Entry]] = defaultdict(list)
        for entry in self.entries.values():
            self._children[entry.parent].append(entry)

    def has(self, process: Process) -> bool:
        """Whether exactly this one was alive."""
        entry = self.entries.get(process.pid)
        return entry is not None and entry.start == process.start and not entry.is_dead

    def alive(self) -> Iterator[Entry]:
        return (entry for entry in self.entries.values() if not entry.is_dead)

    def below(self, roots: Iterable[Process]) -> set[Process]:
        """Everybody alive who descends from `roots`, without them."""
        found: set[Process] = set()
        queue = [root.pid for root in roots if self.has(root)]
        seen = set(queue)  # a table that is read in passing may have a ring
        while queue:
            for entry in self._children.get(queue.pop(), ()):
                if entry.pid not in seen:
                    seen.add(entry.pid)
                    queue.append(entry.pid)
                    if not entry.is_dead:
                        found.add(entry.process)
        return found


def scan() -> Table:
    """Reads the whole table: 7 ms for 600 processes, so not on the loop's thread."""
    try:
        numbers = [int(name) for name in os.listdir("/proc") if name.isdecimal()]
    except OSError:
        numbers = []
    return Table(entry for entry in map(look, numbers) if entry is not None)


def children(pid: int) -> list[int]:
    """Whose parent `pid` is, dead ones too. Costs a small file a thread, and no pass over the table."""
    found: list[int] = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            found += map(int, _read(f"/proc/{pid}/task/{thread}/children", 1 << 20).split())
    except OSError:
        pass
    return found


def walk(pid: int) -> list[Process]:
    """Everybody alive below `pid`, from the top down. Costs what that tree costs, whatever else runs."""
    found: list[Process] = []
    queue, seen = [pid], {pid}
    while queue:
        for child in children(queue.pop()):
            entry = look(child)
            if entry is not None and child not in seen:
                seen.add(child)
                queue.append(child)
                if not entry.is_dead:
                    found.append(entry.process)
    return found


def instance_of(pid: int) -> str | None:
    """The OUTBOARD_INSTANCE that a process was started with; None also if we may not know."""
    try:
        environment = _read(f"/proc/{pid}/environ", _MAX_ENVIRONMENT)
    except OSError:
        return None
    for item in environment.split(b"\0") if b"OUTBOARD_INSTANCE=" in environment else ():
        name, _, value = item.partition(b"=")
        if name == b"OUTBOARD_INSTANCE":
            return value.decode(errors="replace")
    return None


def boot_id() -> str:
    """Of this run of the machine: start times mean nothing in another."""
    try:
        return _read("/proc/sys/kernel/random/boot_id", 64).decode().strip()
    except OSError:
        return ""


def _read(path: str, size: int) -> bytes:
    fd = os.open(path, os.O_RDONLY)
    try:
        data = os.read(fd, size)
        while len(data) < size and (more := os.read(fd, size - len(data))):
            data += more  # the kernel gives out long files a page at a time
        return data
    finally:
        os.close(fd)
