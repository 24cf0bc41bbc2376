"""Reads process trees through psutil: everywhere, and too slowly for hundreds of plugins a second.

One pass over the machine's table of processes serves all trees; psutil's own `children` would read it
once a plugin.
"""

from __future__ import annotations

import psutil

from host.process.table import Process
from host.process.usage import Measure, Quick


class PsutilReader:
    """See `host.process.usage.Reader`."""

    def __init__(self) -> None:
        self._trees: dict[int, dict[int, psutil.Process]] = {}

    def follow(self, roots: set[int]) -> None:
        self._trees = {root: self._trees.get(root) or self._alone(root) for root in roots}

    def find_descendants(self) -> None:
        children: dict[int, list[psutil.Process]] = {}
        for process in psutil.process_iter(["ppid"]):
            children.setdefault(process.info["ppid"], []).append(process)
        for known in self._trees.values():
            queue = list(known.values())
            while queue:
                for child in children.get(queue.pop().pid, ()):
                    if child.pid not in known:
                        known[child.pid] = child
                        queue.append(child)

    def below(self, root: int) -> frozenset[Process]:
        """Nobody: elsewhere than on Linux a process cannot be told from another with its pid."""
        return frozenset()

    def quick(self, root: int) -> Quick | None:
        rss, cpu_s, threads, processes = 0, 0.0, 0, 0
        members = self._trees.get(root, {})
        for pid, process in list(members.items()):
            try:
                with process.oneshot():
                    if not process.is_running():
                        raise psutil.NoSuchProcess(pid)
                    if process.status() == psutil.STATUS_ZOMBIE:
                        continue
                    times = process.cpu_times()
                    rss += process.memory_info().rss
                    threads += process.num_threads()
                    cpu_s += times.user + times.system
                    cpu_s += getattr(times, "children_user", 0.0) + getattr(times, "children_system", 0.0)
                    processes += 1
            except psutil.AccessDenied:
                continue
            except psutil.Error:
                del members[pid]
        return Quick(rss, cpu_s, processes, threads) if processes else None

    def exact_memory(self, root: int) -> tuple[int, Measure] | None:
        found = 0
        for process in list(self._trees.get(root, {}).values()):
            try:
                found += process.memory_full_info().uss
            except psutil.AccessDenied:
                found += process.memory_info().rss
            except psutil.Error:
                continue
        return (found, "uss") if found else None

    def open_files(self, root: int) -> int | None:
        most: int | None = None
        for process in self._trees.get(root, {}).values():
            try:
                count = process.num_fds()
            except psutil.Error:
                continue
            most = count if most is None else max(most, count)
        return most

    def close(self) -> None:
        self._trees = {}

    def _alone(self, root: int) -> dict[int, psutil.Process]:
        try:
            return {root: psutil.Process(root)}
        except psutil.Error:
            return {}
