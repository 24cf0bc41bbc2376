"""Processes that are ours without our having started them: orphans, which a subreaper inherits.

The daemon is a subreaper, and as pid 1 of a container it is the last parent anyway. Three things follow:
what has ended must be reaped, or it stays in the table for ever; whoever ends at once must take all of
them along; and whatever a dead plugin leaves behind comes to us, however it hides. A plugin is a
subreaper too (`plugin_sdk/boot.py`), so what a living one leaves behind stays with it.

An embedded host does none of this: its program's children are its program's.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Collection

import anyio

from host.process.kill import kill
from host.process.table import Process, children, look, walk

EVERY_S = 1.0
KILL_S = 2.5
ROUND_S = 0.5
_PR_SET_CHILD_SUBREAPER = 36

_only_from_plugins = False
"""Whether whoever comes to this process was below a plugin, or a build. There is one truth a process."""

_born_with: frozenset[Process] = frozenset()
"""Children that somebody had before this process became us: none of our business."""


def become_subreaper() -> bool:
    """Whether orphans of our descendants come to us from now on; Linux alone knows how.

    To be called before anything is started. As pid 1, or with children that somebody had before this
    process became us (a shell that ends in `exec`), orphans come to us that are none of our plugins'.
    """
    global _only_from_plugins, _born_with
    if sys.platform != "linux":
        return False
    import ctypes

    done = ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
    _born_with = frozenset(entry.process for entry in map(look, children(os.getpid())) if entry is not None)
    _only_from_plugins = done and os.getpid() != 1 and not _born_with
    return bool(done)


def adopts_only_from_plugins() -> bool:
    """Whether a child that we have not started can only be what a plugin, or a build, left behind."""
    return _only_from_plugins


async def reap_adopted(ours: Callable[[], Collection[int]]) -> None:
    """Reaps what nobody else does, until it is cancelled.

    `ours` are the pids whose exit code somebody is waiting for. Whoever else started a child (a
    subprocess of a library) takes its exit code at once, so only what has been dead for a whole round
    is taken for an orphan. Not driven by SIGCHLD, which belongs to the event loop's own subprocesses
    (uvloop refuses it); the look costs one system call a second while nothing is dead.
    """
    seen: set[int] = set()
    while True:
        await anyio.sleep(EVERY_S)
        dead = _dead_children()
        orphans = dead & seen
        if orphans:
            orphans -= set(ours())
        for pid in orphans:
            reap(pid)
        seen = dead - orphans


def _dead_children() -> set[int]:
    """Pids that wait to be reaped, and go on waiting."""
    first = _look(os.P_ALL, 0)
    if first is None:
        return set()
    return {pid for pid in _children() or {first} if _look(os.P_PID, pid) is not None}


def _look(kind: int, pid: int) -> int | None:
    try:
        found = os.waitid(kind, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return None
    return found.si_pid if found is not None else None


def _children() -> set[int]:
    """Of all our threads. Empty where the kernel does not list them: then one after the other is seen."""
    return set(children(os.getpid()))


def reap(pid: int) -> None:
    """Takes the exit code of a child that has ended; nothing if it has not, or is no child of ours."""
    try:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG)
    except ChildProcessError:
        pass


def kill_descendants() -> None:
    """SIGKILL for everything below us, whatever group or session it is in. Blocks for some ms.

    More than one round: what loses its parent in the first comes to us before the next.
    """
    if sys.platform != "linux":
        _kill_once()
    me, ends_at = os.getpid(), time.monotonic() + KILL_S
    while (found := _below_us()) and time.monotonic() < ends_at:
        kill(found, ROUND_S)
        for pid in children(me):
            entry = look(pid)
            if entry is not None and entry.is_dead:
                reap(pid)


def _below_us() -> list[Process]:
    found: list[Process] = []
    for child in map(look, children(os.getpid())):
        if child is not None and child.process not in _born_with:
            found += [*([] if child.is_dead else [child.process]), *walk(child.pid)]
    return found


def _kill_once() -> None:
    """Where nobody comes to us: what is below us now, as far as psutil can tell."""
    import psutil

    for each in psutil.Process().children(recursive=True):
        try:
            each.kill()
        except psutil.Error:
            pass
