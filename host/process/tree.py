"""All that a plugin's process has started, and what that has started: found, and ended with it.

While the plugin lives, everything below it stays below it: it is a subreaper. So to end it, it is stopped
first, then whoever is below it is killed, and it last of all (`end`). When it has died by itself, they
have come to the daemon, which adopts from plugins alone. An embedded host adopts nobody; it knows its
plugin's by the process group, by the OUTBOARD_INSTANCE that they were started with, and by having seen
them below the plugin before (`sweep`).

Work is done on a thread, for it reads a few files a process. Judging who is a child that the host itself
has started is done on the loop's thread, where all of them are started.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Collection, Iterable
from typing import NamedTuple, TypeVar, TypeVarTuple

import anyio
import anyio.to_thread

from host.process.adopted import adopts_only_from_plugins, reap
from host.process.kill import kill, send
from host.process.spawn import Child, started
from host.process.table import Process, children, instance_of, look, scan, walk

ROUNDS = 3
ROUND_S = 0.25
"""How long what was killed may take to end; one that has much memory takes its time."""
END_S = 0.5
HOPS = 50
"""So often a tree is looked at while it is ended: who forks faster than it is read is met in the end."""
MAX_KNOWN = 4096

_Arguments = TypeVarTuple("_Arguments")
_Result = TypeVar("_Result")


class Swept(NamedTuple):
    """What a sweep has found."""

    killed: frozenset[Process]
    left: frozenset[Process]
    """Who is there still."""


class Tree:
    """Of one generation of one plugin, which alone calls `look`, `end` and `sweep`, one at a time."""

    def __init__(self, child: Child, instance: str) -> None:
        self._root = child.process
        self._instance = instance
        self._limiter = anyio.CapacityLimiter(1)  # its own: nobody else's threads hold up an end
        self.known: frozenset[Process] = frozenset()
        """Who has been seen below the plugin, and was still there at the last look."""
        self._seen: frozenset[Process] = frozenset()

    def see(self, below: frozenset[Process]) -> None:
        """Whom the look at all trees has found below the plugin, in place of whom it had found before."""
        if below is not self._seen:
            before, self._seen = self._seen, below
            self._remember(below, instead_of=before)

    async def look(self) -> None:
        """At this tree alone, before something happens to the plugin: once it has ended it is too late."""
        if self._root is not None:
            self._remember(await self._on_thread(_walk, self._root))

    async def end(self) -> None:
        """Ends the plugin, which lives, and everybody below it. Does not wait for the plugin's own end."""
        if self._root is not None:
            self._remember(await self._on_thread(_end, self._root))

    async def sweep(self) -> Swept:
        """Kills what is left of a plugin that has ended.

        Takes 0.2 ms if nothing is left and the host is a daemon, and a second at the very most.
        """
        killed: set[Process] = set()
        for _ in range(ROUNDS):
            left = await self._left()
            if not left:
                return Swept(frozenset(killed), frozenset())
            killed |= left
            await self._on_thread(kill, left, ROUND_S)
        left = await self._left()
        return Swept(frozenset(killed - left), frozenset(left))

    def _remember(self, found: Collection[Process], *, instead_of: frozenset[Process] = frozenset()) -> None:
        """Whom to look for once the plugin has ended."""
        everybody = (self.known - instead_of).union(found)
        self.known = frozenset(sorted(everybody)[:MAX_KNOWN]) if len(everybody) > MAX_KNOWN else everybody

    async def _left(self) -> set[Process]:
        if not adopts_only_from_plugins():
            return await self._on_thread(_marked, self._instance, self.known)
        orphans = [pid for pid in children(os.getpid()) if pid not in started]
        if not orphans:
            return set()
        others = set(started.values()) - {self._instance}
        found = await self._on_thread(_families, orphans, others)
        for pid in orphans:
            if pid not in started:  # by now it may be somebody else's number
                reap(pid)
        return found

    async def _on_thread(self, work: Callable[[*_Arguments], _Result], *arguments: *_Arguments) -> _Result:
        try:
            return await anyio.to_thread.run_sync(work, *arguments, limiter=self._limiter)
        except RuntimeError:  # there can be no more threads; then the loop waits for some ms
            return work(*arguments)


def _walk(root: Process) -> list[Process]:
    entry = look(root.pid)
    return walk(root.pid) if entry is not None and entry.start == root.start else []


def _end(root: Process) -> list[Process]:
    """The plugin last: until then whoever loses its parent stays below it."""
    ends_at = time.monotonic() + END_S
    send(root, signal.SIGSTOP)  # it starts nobody any more
    found = _walk(root)
    for _ in range(HOPS):
        if not found or time.monotonic() > ends_at:
            break
        kill(found, max(0.0, ends_at - time.monotonic()))
        found = _walk(root)
    send(root, signal.SIGKILL)
    return found


def _families(orphans: Iterable[int], others: Collection[str]) -> set[Process]:
    """Everybody who came to us from a plugin that is dead: not from one of `others`, which live."""
    found: set[Process] = set()
    for pid in orphans:
        entry = look(pid)
        if entry is None or entry.is_dead or entry.parent != os.getpid():
            continue
        if instance_of(pid) not in others:
            found |= {entry.process, *walk(pid)}
    return found


def _marked(instance: str, known: Iterable[Process]) -> set[Process]:
    """Everybody who bears the plugin's mark, or was seen below it, and everybody below those."""
    table = scan()
    roots = {one for one in known if table.has(one)}
    roots |= {entry.process for entry in table.alive() if instance_of(entry.pid) == instance}
    return roots | table.below(roots)
