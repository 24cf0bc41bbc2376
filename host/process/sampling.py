"""When to look at which process tree, and what comes of it: one sampler for all plugins of a host.

A tree at rest is looked at once a second, all of them in one go; one that may reach a limit soon, up to
twenty times a second: a quarter of the time that it would need at its present speed. Memory is counted
quickly (RSS) until that comes near the limit, and then exactly, at no more than a twentieth of one core
for each tree; what was shared at the last exact count is taken off meanwhile, and when the rest exceeds the
limit it is counted at once. Times are given. Blocks for the time that reading takes.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping

from host.process.cgroup import memory_in_use
from host.process.table import Process
from host.process.usage import Bounds, Measure, Peak, Quick, Reader, Usage

STEPS_S = (1.0, 0.5, 0.25, 0.1, 0.05)
"""How often; each a part of the one before, so that what is due is due together."""
NEAR = 0.8
"""The part of a limit from which on it is looked at more closely."""
NEAR_STEP_S = 0.25
NEWS_STEP_S = 0.1
LOOKS_TO_LIMIT = 4
SCAN_S = 1.0
FASTEST_SCAN_S = 0.1
OPEN_FILES_S = 5.0
CPU_S = 0.9
"""The kernel counts time in hundredths of a second: a shorter span would be noise."""
EXACT_REST = 20
"""So many times what an exact count took, it is not repeated."""
CONFIRM_REST = 4
"""The same where the limit seems to be exceeded, and all that is wanted is to be certain of it."""


class _Tree:
    """What is remembered of one from look to look."""

    def __init__(self, now: float) -> None:
        self.due = now
        self.step_s = STEPS_S[0]
        self.looked_at: float | None = None
        self.fill = 0.0
        self.growth_per_s = 0.0
        self.quick: Quick | None = None
        self.usage: Usage | None = None
        self.cpu_at: float | None = None
        self.cpu_s = 0.0
        self.cpu_percent = 0.0
        self.files_due = now
        self.open_files: int | None = None
        self.exact_due = self.confirm_due = now
        self.shared = 0
        self.measure: Measure = "rss"
        self.bounds = Bounds()
        self.peak = Peak()


class Sampler:
    """Given to one thread at a time. Trees are named by the pid of their root."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._trees: dict[int, _Tree] = {}
        self._scan_due = 0.0

    def look(self, wanted: Mapping[int, Bounds], now: float) -> dict[int, Usage]:
        """What those use whose time has come. Knows `wanted` and no others from now on."""
        if self._trees.keys() != wanted.keys():
            self._reader.follow(set(wanted))
            self._trees = {root: self._trees.get(root) or _Tree(now) for root in wanted}
        if now >= self._scan_due:
            self._reader.find_descendants()
            fastest = min((tree.step_s for tree in self._trees.values()), default=SCAN_S)
            self._scan_due = now + (SCAN_S if fastest >= SCAN_S else max(fastest, FASTEST_SCAN_S)) * 0.9
        seen: dict[int, Usage] = {}
        for root, bounds in wanted.items():
            tree = self._trees[root]
            if bounds is not tree.bounds and bounds != tree.bounds:
                tree.bounds, tree.due = bounds, now
            if tree.due <= now:
                quick = self._reader.quick(root)
                if quick is not None:
                    seen[root] = self._again(tree, quick, now) or self._judge(tree, root, quick, now)
                tree.due = _next(now, tree.step_s)
        return seen

    def below(self, root: int) -> frozenset[Process]:
        """Whom the last looks have found below a root. The same object again: nothing has changed."""
        return self._reader.below(root)

    def due(self, now: float) -> float:
        """When to look next."""
        return min((tree.due for tree in self._trees.values()), default=now + STEPS_S[0])

    def close(self) -> None:
        self._reader.close()

    # -- inside ----------------------------------------------------------------------------------

    def _again(self, tree: _Tree, quick: Quick, now: float) -> Usage | None:
        """What was found last time, for one that has done nothing since and is far from its limits."""
        if quick is not tree.quick or tree.cpu_percent or tree.step_s < STEPS_S[0] or now >= tree.files_due:
            return None
        tree.looked_at = tree.cpu_at = now
        tree.growth_per_s = 0.0
        return tree.usage

    def _judge(self, tree: _Tree, root: int, quick: Quick, now: float) -> Usage:
        memory = self._memory(tree, root, quick.rss_bytes, now)
        if now >= tree.files_due:
            tree.files_due = now + OPEN_FILES_S
            tree.open_files = self._reader.open_files(root)
        self._note_cpu(tree, quick.cpu_s, now)
        is_more = tree.quick is not None and quick.processes > tree.quick.processes
        tree.step_s = self._step(tree, _fill(tree.bounds, memory, quick), now)
        if is_more:  # nobody knows yet how fast the newcomers are
            tree.step_s = min(tree.step_s, NEWS_STEP_S)
        tree.quick = quick
        peak = tree.peak
        if (
            memory > peak.memory_bytes
            or tree.cpu_percent > peak.cpu_percent
            or quick.processes > peak.processes
            or quick.threads > peak.threads
            or (tree.open_files or 0) > (peak.open_files or 0)
        ):
            peak = tree.peak = Peak(
                memory_bytes=max(memory, peak.memory_bytes),
                cpu_percent=max(tree.cpu_percent, peak.cpu_percent),
                processes=max(quick.processes, peak.processes),
                threads=max(quick.threads, peak.threads),
                open_files=max(tree.open_files or 0, peak.open_files or 0) or None,
            )
        tree.usage = Usage(
            memory_bytes=memory,
            measure=tree.measure,
            cpu_percent=tree.cpu_percent,
            processes=quick.processes,
            threads=quick.threads,
            open_files=tree.open_files,
            peak=peak,
        )
        return tree.usage

    def _memory(self, tree: _Tree, root: int, rss: int, now: float) -> int:
        """Never above the limit unless it has just been counted exactly: nobody is killed for a guess."""
        limit, group = tree.bounds.memory_bytes, tree.bounds.group
        if group is not None and (counted := memory_in_use(group)) is not None:
            tree.measure, tree.shared = "group", 0
            return counted
        if limit is None or rss < NEAR * limit:
            tree.measure, tree.shared = "rss", 0
            return rss
        if now >= (tree.confirm_due if rss - tree.shared > limit else tree.exact_due):
            began = time.thread_time()  # what it has cost, and not how long others were in the way
            exact = self._reader.exact_memory(root)
            cost_s = time.thread_time() - began
            tree.exact_due, tree.confirm_due = now + EXACT_REST * cost_s, now + CONFIRM_REST * cost_s
            if exact is not None:
                found, tree.measure = exact
                tree.shared = max(0, rss - found)
                return found
        return max(0, min(rss - tree.shared, limit))

    def _note_cpu(self, tree: _Tree, cpu_s: float, now: float) -> None:
        if tree.cpu_at is None:
            tree.cpu_at, tree.cpu_s = now, cpu_s
        elif (span := now - tree.cpu_at) >= CPU_S:
            tree.cpu_percent = round(max(0.0, cpu_s - tree.cpu_s) / span * 100, 1)
            tree.cpu_at, tree.cpu_s = now, cpu_s

    def _step(self, tree: _Tree, fill: float, now: float) -> float:
        """Seconds to the next look. What grew a moment ago is not trusted to have stopped."""
        growth = 0.0
        if tree.looked_at is not None and now > tree.looked_at:
            growth = max(0.0, fill - tree.fill) / (now - tree.looked_at)
        tree.growth_per_s = max(growth, tree.growth_per_s / 2)
        tree.fill, tree.looked_at = fill, now
        wanted = NEAR_STEP_S if fill >= NEAR else STEPS_S[0]
        if tree.growth_per_s > 0:
            wanted = min(wanted, (1 - fill) / tree.growth_per_s / LOOKS_TO_LIMIT)
        return next((step for step in STEPS_S if step <= wanted), STEPS_S[-1])


def _fill(bounds: Bounds, memory: int, quick: Quick) -> float:
    """The part of that limit of which least is left."""
    fill = 0.0
    if bounds.memory_bytes is not None:
        fill = memory / bounds.memory_bytes
    if bounds.processes is not None:
        fill = max(fill, quick.processes / bounds.processes)
    if bounds.threads is not None:
        fill = max(fill, quick.threads / bounds.threads)
    return fill


def _next(now: float, step_s: float) -> float:
    """A common moment of all with that step, and at least half a step from now."""
    return ((now + step_s / 2) // step_s + 1) * step_s


def reader() -> Reader:
    """The best one that there is here."""
    if sys.platform == "linux":
        from host.process.procfs import ProcReader

        return ProcReader()
    from host.process.portable import PsutilReader

    return PsutilReader()
