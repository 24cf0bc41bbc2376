"""Processes that are ours without our having started them: orphans, which a subreaper inherits.

The daemon is a subreaper, and as pid 1 of a container it is the last parent anyway. Two things follow:
what has ended must be reaped, or it stays in the table for ever; and whoever ends at once must take all
of them along. An embedded host does neither: its program's children are its program's.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Collection

import anyio
import psutil

EVERY_S = 1.0
KILL_ROUNDS = 5
KILL_ROUND_S = 0.5
_PR_SET_CHILD_SUBREAPER = 36


def become_subreaper() -> bool:
    """Whether orphans of our descendants come to us from now on; Linux alone knows how."""
    if sys.platform != "linux":
        return False
    import ctypes

    return ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0  # type: ignore[no-any-return]


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
            _reap(pid)
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
    found: set[int] = set()
    try:
        for thread in os.listdir("/proc/self/task"):
            with open(f"/proc/self/task/{thread}/children") as listed:
                found.update(map(int, listed.read().split()))
    except OSError:
        pass
    return found


def _reap(pid: int) -> None:
    try:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG)
    except ChildProcessError:
        pass


def kill_descendants() -> None:
    """SIGKILL for everything below us, whatever group or session it is in. Blocks for some ms.

    More than one round: what loses its parent in the first comes to us before the next.
    """
    me = psutil.Process()
    for _ in range(KILL_ROUNDS):
        below = me.children(recursive=True)
        if not below:
            return
        for each in below:
            try:
                each.kill()
            except psutil.Error:
                pass
        psutil.wait_procs(below, timeout=KILL_ROUND_S)
