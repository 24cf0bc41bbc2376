"""Plugins that come, change and go while the host runs, without anybody saying `reload`.

One task looks at the folders, waits until what has changed is at rest, and asks the tree to follow it:
a reload of just these plugins, under the configuration as it is. What is half written is waited for:
a manifest that cannot be used, or whose code is not there, changes nothing until it has been left so
for `PATIENCE_S`; only then is it a problem to speak of. There is one look at a time, in a thread; a
file system that hangs holds up this task and nobody else.
"""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable, Collection, Mapping

import anyio
import anyio.to_thread
import msgspec

from host.config.model import HostConfig, WatchTable
from host.discovery.changed import missing_file
from host.discovery.debounce import Debouncer, Ready
from host.discovery.validate import Candidate
from host.discovery.watch import Eyes, Glance
from host.observability.bus import Bus
from host.observability.events import Answer, FileChange, PluginsChanged
from host.supervision.plan import Plan
from host.supervision.scope import Scope
from host.supervision.sources import Seen, Sources
from host.supervision.supervisor import Supervisor

PATIENCE_S = 2.0
"""How long a plugin that is not whole is waited for after its last change."""
REST_PER_WORK = 10.0
"""Looking takes a tenth of a core at the most, however much there is to look at."""


class Due(Scope):
    """What is at rest and whole, of what has changed."""

    def __init__(
        self,
        ready: Mapping[str, Ready],
        table: WatchTable,
        plugins: Mapping[str, Supervisor],
        emit: Callable[[PluginsChanged], None],
        *,
        unix_now: float,
    ) -> None:
        self.ready = dict(ready)
        self.told: list[PluginsChanged] = []
        """What is done about it, or would be."""
        self._table = table
        self._emit = emit
        self._plugins = plugins
        self._unix_now = unix_now

    def narrow(self, seen: Seen) -> Seen:
        candidates = {wanted.candidate.file: wanted.candidate for wanted in seen.wanted.values()}
        broken = {os.path.abspath(problem.file) for problem in seen.problems}
        patience_s = max(PATIENCE_S, self._table.debounce)
        for file, ready in list(self.ready.items()):
            if ready.rested_s < patience_s and _is_unfinished(file, ready, candidates, broken):
                del self.ready[file]
        return Seen(
            config=seen.config,
            wanted={name: wanted for name, wanted in seen.wanted.items() if self.has(wanted.candidate.file)},
            problems=[problem for problem in seen.problems if self.has(problem.file)],
        )

    def has(self, file: str) -> bool:
        return os.path.abspath(file) in self.ready

    def changed_file(self, candidate: Candidate, spawned_at: float | None) -> str | None:
        """Also of files that are older than the process: a folder may be replaced by an old one."""
        ready = self.ready[candidate.file]
        changed_at = self._unix_now - ready.rested_s
        if ready.changed_file is not None and (spawned_at is None or spawned_at < changed_at):
            return ready.changed_file
        return super().changed_file(candidate, spawned_at)

    def allowed(self, made: Plan, seen: Seen) -> tuple[Plan, Seen]:
        files = {name: supervisor.candidate.file for name, supervisor in self._plugins.items()}
        files |= {name: wanted.candidate.file for name, wanted in seen.wanted.items()}
        self.told = announcements(made, files, self._table)
        for event in self.told:
            self._emit(event)
        names = {told.plugin for told in self.told if told.plugin and told.action != "announce"}
        names |= seen.wanted.keys() - {told.plugin for told in self.told}
        wanted = {name: wanted for name, wanted in seen.wanted.items() if name in names}
        return made.only(names), msgspec.structs.replace(seen, wanted=wanted)


def _is_unfinished(
    file: str, ready: Ready, candidates: Mapping[str, Candidate], broken: Collection[str]
) -> bool:
    """Whether a place is not what it seems to become, or no longer what it was at the last glance."""
    if file in broken:
        return True
    if file not in candidates:
        return ready.is_there and not os.path.isdir(file)
    return not ready.is_there or missing_file(candidates[file]) is not None


def announcements(made: Plan, files: Mapping[str, str], table: WatchTable) -> list[PluginsChanged]:
    """What a plan means where the host watches: one event a plugin. `files` has that of each."""

    def told(kind: FileChange, plugin: str, action: Answer, reason: str) -> PluginsChanged:
        if getattr(table, kind) == "announce":
            action = "announce"
        return PluginsChanged(kind=kind, plugin=plugin, file=files[plugin], action=action, reason=reason)

    return [
        *(told("added", name, "load", "a plugin is there") for name in made.added),
        *(told("removed", name, "unload", "its files are gone") for name in made.removed),
        *(told("changed", change.name, "restart", change.why) for change in made.restarted),
        *(told("changed", change.name, "keep", change.why) for change in (*made.live, *made.at_start)),
    ]


class Watching:
    """`follow` is the tree's; `plugins` its table, which is only read here."""

    def __init__(
        self,
        sources: Sources,
        plugins: Mapping[str, Supervisor],
        bus: Bus,
        now: Callable[[], float],
        follow: Callable[[Scope], Awaitable[None]],
    ) -> None:
        self._sources = sources
        self._plugins = plugins
        self._bus = bus
        self._now = now
        self._follow = follow
        self._config = HostConfig()
        self._configured = anyio.Event()
        self._eyes = Eyes()
        self._debouncer = Debouncer()

    def configure(self, config: HostConfig) -> None:
        """From the next look on, which is at once."""
        self._config = config
        self._configured.set()

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            self._configured = anyio.Event()
            table = self._config.watch
            if not table.enabled:
                self._debouncer = Debouncer()  # what happens meanwhile is found as it is
                await self._configured.wait()
                continue
            try:
                worked_s = await self._look(table)
            except (OSError, RuntimeError):
                worked_s = 0.0  # no descriptor to look with, or no thread; the next look may have them
            is_at_rest = self._debouncer.is_at_rest(self._now(), table.debounce)
            pause_s = table.interval if is_at_rest else min(table.interval, table.debounce)
            with anyio.move_on_after(max(pause_s, worked_s * REST_PER_WORK)):
                await self._configured.wait()

    async def _look(self, table: WatchTable) -> float:
        """One look, and what follows from it; returns how long the look took, seconds."""
        began_at = self._now()
        glance = await anyio.to_thread.run_sync(self._glance, self._config, abandon_on_cancel=True)
        now = self._now()
        self._debouncer.quick = table.burst
        self._debouncer.see(glance, now)
        for file, reason in self._debouncer.newly_waiting(now, table.debounce).items():
            self._announce_wait(file, reason, is_there=file in glance.stamps)
        ready = self._debouncer.due(now, table.debounce)
        if ready:
            due = Due(ready, table, self._plugins, self._bus.emit, unix_now=time.time())
            await self._follow(due)
            acted = {told.file for told in due.told}
            for file in due.ready:
                self._debouncer.settle(file, now, acted=file in acted)
        return now - began_at

    def _glance(self, config: HostConfig) -> Glance:
        return self._eyes.glance(self._sources.folders(config), self._sources.added())

    def _announce_wait(self, file: str, reason: str, *, is_there: bool) -> None:
        names = [name for name, plugin in self._plugins.items() if plugin.candidate.file == file]
        kind: FileChange = "changed" if names and is_there else "removed" if names else "added"
        plugin = names[0] if names else None
        event = PluginsChanged(kind=kind, plugin=plugin, file=file, action="wait", reason=reason)
        self._bus.emit(event)
