"""All plugins of a host: who is here, who comes and who goes.

Holds the supervisors' tasks. They run in the host's own task, where no cancellation around the host
reaches them, because they are what ends the plugins in order; `leave` is their end, and takes a bounded
time whatever the plugins do.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.abc
import anyio.to_thread
import msgspec

from host import errors
from host.config.effective import effective
from host.config.lines import KeyPath
from host.config.load import Configuration, Layers
from host.config.model import HostConfig
from host.config.problems import FileProblem
from host.discovery.validate import Candidate, load_manifest
from host.observability.bus import Bus
from host.observability.events import HostEvent, PluginProblem, StateChanged
from host.process.rlimits import holds_at_once
from host.supervision.generation import Generation
from host.supervision.known import Known
from host.supervision.memory import Memory, Quarantine, first_life
from host.supervision.overrides import hidden
from host.supervision.plan import Plan
from host.supervision.reload import Here, plan
from host.supervision.remains import Remains
from host.supervision.requirements import Requirements, stop_plan
from host.supervision.scope import Scope
from host.supervision.settings import Change
from host.supervision.sources import Seen, Sources, Wanted
from host.supervision.states import State
from host.supervision.supervisor import Supervisor
from host.supervision.surroundings import Surroundings
from host.supervision.watching import Watching
from protocol.lifecycle import Provides

STOP_S = 12.0
"""All plugins together, the ones that hang included."""
INTRODUCTION_S = 5.0
"""How long a host that begins waits for lazy plugins of which nobody knows yet what they provide."""
LOOKS = 3


class _Compared(msgspec.Struct, frozen=True, kw_only=True):
    """The plugins that are here against one look at everything."""

    made: Plan
    seen: Seen
    provided: dict[str, Provides]
    """What is known of those that do not run."""
    here: dict[str, Here]


class SupervisorTree:
    """`plugins` is the table by name; everybody else reads it, and only the tree changes it."""

    def __init__(
        self,
        told: Configuration,
        layers: Layers,
        folders: Sequence[Path],
        around: Surroundings,
        bus: Bus,
        *,
        memory_file: Path | None = None,
        known: Known | None = None,
    ) -> None:
        self.plugins: dict[str, Supervisor] = {}
        self.problems: list[FileProblem] = []
        """Manifests, folders and keys that cannot be used; nothing else is affected by them."""
        self.memory = Memory(memory_file, lambda problem: self._note([problem]))
        self.requirements = Requirements(self.plugins, self._note_cycle)
        self._known = known
        self._sources = Sources(layers, folders, self.memory)
        self.told = told
        """The configuration, and who says what of it."""
        self._around = around
        self._bus = bus
        self._remains = Remains(
            memory_file, around.instance, self.plugins, tell=bus.emit, on_problem=lambda p: self._note([p])
        )
        self._watching = Watching(self._sources, self.plugins, bus, around.driver.now, self.follow)
        self._reloading = anyio.Lock()
        self._leaving = anyio.Event()
        self._is_leaving = False
        self._tasks: anyio.abc.TaskGroup | None = None

    @property
    def _config(self) -> HostConfig:
        return self.told.config

    # -- in and out ------------------------------------------------------------------------------

    async def run(self, *, task_status: anyio.abc.TaskStatus[anyio.abc.TaskGroup]) -> None:
        """Holds the supervisors' tasks until `leave` is through."""
        async with anyio.create_task_group() as self._tasks:
            task_status.started(self._tasks)
            await self._leaving.wait()
            self._tasks.cancel_scope.cancel()

    async def populate(self) -> None:
        """Finds the plugins, and returns once every eager one has left `starting`.

        A lazy one of which nobody knows yet what it provides is started and stopped again for that.
        """
        assert self._tasks is not None
        self.memory.load()
        self._bus.subscribe(self._remember)
        self._tasks.start_soon(self.memory.run)
        await self._remains.begin()
        self._tasks.start_soon(self._remains.run)
        seen = self._sources.look(self.told)
        self._note(seen.problems)
        everybody = [wanted.candidate for wanted in seen.wanted.values()]
        provided = await anyio.to_thread.run_sync(self._what_is_known, everybody)
        for wanted in seen.wanted.values():
            self._admit(wanted, provided)
        self._bus.subscribe(self._tell_dependants)
        self.requirements.refresh()
        self._watching.configure(self._config)
        self._tasks.start_soon(self._watching.run)
        async with anyio.create_task_group() as starting:
            for supervisor in self.plugins.values():
                if supervisor.starts_by_itself:
                    starting.start_soon(supervisor.start, "started with the host")
                elif supervisor.is_to_be_introduced:
                    starting.start_soon(self._introduce, supervisor)

    async def leave(self) -> None:
        """Ends every plugin and then the tasks. Never takes longer than `STOP_S`, and leaves no process."""
        self._is_leaving = True  # from here on what happens is not anybody's word about tomorrow
        plan = stop_plan(self.requirements.graph)
        gone = {name: anyio.Event() for name in plan}

        async def end(supervisor: Supervisor) -> None:
            """After those that require it, and inside its part of the time, so that the parts are no sum."""
            terms = plan[supervisor.name]
            try:
                with anyio.move_on_after(STOP_S * terms.share):
                    for name in terms.after:
                        await gone[name].wait()
                    await supervisor.leave("the host stops")
                    return
                supervisor.kill()
            finally:
                gone[supervisor.name].set()

        try:
            with anyio.CancelScope(shield=True), anyio.move_on_after(STOP_S):
                async with anyio.create_task_group() as stopping:
                    stopping.start_soon(self.memory.saved)
                    for supervisor in self.plugins.values():
                        stopping.start_soon(end, supervisor)
        finally:  # also when asyncio, which knows no shield, cancels us a second time
            for supervisor in self.plugins.values():
                supervisor.kill()  # whatever is left
            self._remains.end()
            self._leaving.set()

    # -- plugins come and go -----------------------------------------------------------------------

    async def add(self, path: Path) -> str:
        """Registers the plugin at `path` and starts it if it is eager; returns its name.

        Raises:
            ManifestError: with every problem. PluginExists: the name is taken.
        """
        loaded = load_manifest(path)
        if isinstance(loaded, list):
            raise errors.ManifestError(loaded)
        name = loaded.name
        provided = self._what_is_known([loaded])
        if name in self.plugins:
            raise errors.PluginExists(
                f"there is a plugin `{name}` already, from {self.plugins[name].candidate.file}",
                hint=f"outboard remove {name}, or give one of them another name",
                plugin=name,
            )
        judged = self._sources.judge(loaded, self._config)
        if isinstance(judged, list):
            raise errors.ManifestError(judged)
        self.memory.note(name, added=loaded.file, removed=False)
        supervisor = self._admit(judged, provided)
        self.requirements.refresh()
        if supervisor.starts_by_itself:
            await supervisor.start("added")
        elif supervisor.is_to_be_introduced:
            await self._introduce(supervisor)
        await self.memory.saved()
        return name

    async def remove(self, name: str) -> None:
        """Stops a plugin and forgets it, until it is added again. Raises PluginNotFound."""
        supervisor = self.known(name)
        with anyio.CancelScope(shield=True):  # half a removal would leave a name without a plugin
            async with self.requirements.stood_down(name):
                await self._forget(supervisor, "removed")
            self.memory.forget(name)
            self.memory.note(name, removed=True)
            await self.memory.saved()

    async def reload(self, *, dry_run: bool = False) -> Plan:
        """Reads configuration, folders and manifests again and makes it so; returns what changed.

        Returns once everything that was started runs or does not. One at a time.

        Raises:
            ConfigError: with every problem; nothing was changed.
        """
        async with self._reloading:
            told = await anyio.to_thread.run_sync(self._sources.overrides.told)
            return await self._make_so(told, dry_run=dry_run)

    async def configure(self, changes: Mapping[KeyPath, Any], *, dry_run: bool = False) -> Plan:
        """Sets keys of the overrides, or with UNSET removes them; then as `reload`.

        The configuration has to be right as a whole, and every plugin whose settings change has to take
        them; only then are the overrides written.

        Raises:
            ConfigError: with every problem; nothing was changed.
        """
        try:
            return await self._configure(changes, dry_run=dry_run)
        except errors.ConfigError as wrong:  # which is not in a file yet
            there = f"{self._sources.overrides.name}: "
            lines = [line.removeprefix(there) for line in wrong.data]
            raise errors.ConfigError(lines, hint="nothing was changed") from None

    async def _configure(self, changes: Mapping[KeyPath, Any], *, dry_run: bool) -> Plan:
        async with self._reloading:
            overrides = self._sources.overrides
            document = await anyio.to_thread.run_sync(overrides.changed, changes, self.told)
            told = await anyio.to_thread.run_sync(overrides.told, document)
            made = await self._make_so(told, document, dry_run=dry_run)
            made.problems.extend(hidden(told, changes))
            return made

    async def _make_so(
        self, told: Configuration, overrides: dict[str, Any] | None = None, *, dry_run: bool
    ) -> Plan:
        """`overrides` are written before anything else happens."""
        everything = Scope()
        found = await self._compared(told, everything)
        made, seen = found.made, found.seen
        if told.config.extension_points != self._config.extension_points:
            made.needs_new_host.append("extension_points")
        change = Change(told, found.here, seen)
        if overrides is not None:  # what is wrong in a file by now is not the fault of this change
            before = await anyio.to_thread.run_sync(self._sources.look, self.told)
            known = set(map(str, before.problems))
            change.problems += [problem for problem in seen.problems if str(problem) not in known]
        await change.check(self.plugins, self._around.driver.now())
        if change.problems:
            raise errors.ConfigError(change.problems)
        if dry_run:
            return made
        with anyio.CancelScope(shield=True):  # what is written holds, whoever has stopped waiting for it
            if overrides is not None:
                await anyio.to_thread.run_sync(self._sources.overrides.keep, overrides)
        self.told = told
        self._watching.configure(told.config)
        async with anyio.create_task_group() as starting:
            for supervisor in change.announce():
                starting.start_soon(supervisor.restart, "its settings have changed")
            await self._apply(made, seen, found.provided, starting)
        self._renew_problems(seen, everything)
        return msgspec.structs.replace(made, applied=True)

    async def follow(self, scope: Scope) -> None:
        """Makes so what has changed within `scope`, without reading the configuration again.

        Returns once what had to go is gone; what is started takes its time.
        """
        assert self._tasks is not None
        async with self._reloading:
            found = await self._compared(self.told, scope)
            if not self._is_leaving:
                await self._apply(*scope.allowed(found.made, found.seen), found.provided, self._tasks)
                self._renew_problems(found.seen, scope)

    def switch(self, supervisor: Supervisor, *, enabled: bool) -> None:
        """Takes an operator's word, which is remembered while the configuration says otherwise."""
        configured = effective(supervisor.candidate.manifest, self._config).enabled
        self.memory.note(supervisor.name, enabled=None if configured == enabled else enabled)
        policy = msgspec.structs.replace(supervisor.policy, enabled=enabled)
        supervisor.reconfigure(supervisor.candidate, policy)

    # -- looking ---------------------------------------------------------------------------------

    def known(self, name: str) -> Supervisor:
        """The supervisor of that name. Raises PluginNotFound, with the name that was probably meant."""
        supervisor = self.plugins.get(name)
        if supervisor is None:
            raise errors.not_found(name, self.plugins)
        return supervisor

    @property
    def generations(self) -> list[Generation]:
        """Those with a process."""
        generations = [supervisor.generation for supervisor in self.plugins.values()]
        return [
            each
            for each in generations
            if each is not None and each.process is not None and each.process.is_alive
        ]

    @property
    def pids(self) -> list[int]:
        """Of the plugins' own processes that are there."""
        return [each.process.pid for each in self.generations if each.process is not None]

    # -- inside ------------------------------------------------------------------------------------

    async def _compared(self, told: Configuration, scope: Scope) -> _Compared:
        """Looks again if somebody has said a word about a plugin meanwhile: the last word counts."""
        for _ in range(LOOKS):
            words = self._words()
            found = await anyio.to_thread.run_sync(self._compare, told, scope)
            if self._words() == words:
                break
        return found

    def _words(self) -> dict[str, tuple[bool, bool]]:
        return {name: (each.life.is_wanted, each.policy.enabled) for name, each in self.plugins.items()}

    def _compare(self, told: Configuration, scope: Scope) -> _Compared:
        """What would change, what was seen, and against what. Looks at files, and so blocks."""
        seen = scope.narrow(self._sources.look(told))
        here = {
            name: Here(
                candidate=supervisor.candidate,
                policy=supervisor.policy,
                is_wanted=supervisor.life.is_wanted,
                changed_file=scope.changed_file(supervisor.candidate, supervisor.spawned_at),
                # A change of the manifest is nobody's decision about a running plugin: it restarts.
                takes_settings=told is not self.told and supervisor.takes_settings,
            )
            for name, supervisor in list(self.plugins.items())
            if scope.has(supervisor.candidate.file)
        }
        asked = [
            wanted.candidate
            for name, wanted in seen.wanted.items()
            if name not in self.plugins or self.plugins[name].is_asleep
        ]
        made = plan(here, seen, before=self._config.host, holds_at_once=holds_at_once)
        return _Compared(made=made, seen=seen, provided=self._what_is_known(asked), here=here)

    async def _apply(
        self, made: Plan, seen: Seen, provided: Mapping[str, Provides], starting: anyio.abc.TaskGroup
    ) -> None:
        """Returns once what had to go is gone, and what is to start has its task in `starting`."""
        wanted = seen.wanted
        # Somebody may have added or removed one by hand while the files were read.
        made = made.only(self.plugins.keys() ^ set(made.added))
        async with anyio.create_task_group() as leaving:
            for name in made.removed:
                leaving.start_soon(self._forget, self.plugins[name], "its files are gone")
            for name, supervisor in self.plugins.items():
                if name in wanted:
                    supervisor.reconfigure(wanted[name].candidate, wanted[name].policy)
                    if supervisor.is_asleep:  # its code may be another by now
                        supervisor.recall(provided.get(name))
            for change in made.restarted:
                starting.start_soon(self.plugins[change.name].restart, f"reloaded: {change.why}")
            for name in made.enabled:
                starting.start_soon(self.plugins[name].enable, "enabled by the configuration")
            for name in made.disabled:
                starting.start_soon(self.plugins[name].disable, "disabled by the configuration")
            for name in made.added:
                self._admit(wanted[name], provided)
            self.requirements.refresh()
            for name, supervisor in self.plugins.items():
                if name in made.added and supervisor.starts_by_itself:
                    starting.start_soon(supervisor.start, "added")
                elif supervisor.is_to_be_introduced:
                    starting.start_soon(self._introduce, supervisor)

    def _renew_problems(self, seen: Seen, scope: Scope) -> None:
        known = set(map(str, self.problems))
        fresh = [problem for problem in seen.problems if str(problem) not in known]
        elsewhere = [problem for problem in self.problems if not scope.has(problem.file)]
        self.problems = elsewhere + [problem for problem in seen.problems if problem not in fresh]
        self._note(fresh)

    async def _forget(self, supervisor: Supervisor, reason: str) -> None:
        await supervisor.leave(reason)
        if self.plugins.get(supervisor.name) is supervisor:
            del self.plugins[supervisor.name]
            self.requirements.refresh()

    def _admit(self, wanted: Wanted, provided: Mapping[str, Provides]) -> Supervisor:
        candidate, policy = wanted.candidate, wanted.policy
        assert self._tasks is not None
        remembered = self.memory.of(candidate.name)
        life = first_life(policy, remembered, now=self._around.driver.now(), unix_now=time.time())
        causes = remembered.quarantine.causes if remembered.quarantine is not None else []
        supervisor = Supervisor(
            candidate,
            policy,
            self._around,
            self._bus,
            life=life,
            causes=causes,
            is_needed=self.requirements.is_needed,
            on_introduced=self._keep,
        )
        supervisor.recall(provided.get(candidate.name))
        self.plugins[supervisor.name] = supervisor
        self._tasks.start_soon(supervisor.run)
        return supervisor

    def _what_is_known(self, candidates: Iterable[Candidate]) -> dict[str, Provides]:
        """What each of them provides, of those that some host has run with the same files. Blocks."""
        if self._known is None:
            return {}
        found = [(each.name, self._known.of(each)) for each in candidates]
        return {name: provides for name, provides in found if provides is not None}

    async def _introduce(self, supervisor: Supervisor) -> None:
        with anyio.move_on_after(INTRODUCTION_S):
            await supervisor.introduce()

    def _keep(self, supervisor: Supervisor) -> None:
        """What it provides, for the next host. Off the loop."""
        spawned_at = supervisor.spawned_at
        if self._known is None or self._tasks is None or spawned_at is None:
            return
        keep = partial(self._known.keep, supervisor.candidate, supervisor.offer.provides, spawned_at)
        self._tasks.start_soon(anyio.to_thread.run_sync, keep)

    def _tell_dependants(self, event: HostEvent) -> None:
        if isinstance(event, StateChanged) and not self._is_leaving:
            self.requirements.look_at(event.plugin)

    def _note_cycle(self, cycle: tuple[str, ...]) -> None:
        file = self.plugins[cycle[0]].candidate.file
        reason = f"plugins require each other: {' -> '.join(cycle)}"
        self._note([FileProblem(file, None, "start.requires", reason, "take one of them out of the circle")])

    def _remember(self, event: HostEvent) -> None:
        """What of a plugin's life outlasts this host."""
        if not isinstance(event, StateChanged) or self._is_leaving or event.plugin not in self.plugins:
            return
        if event.state == State.QUARANTINED:
            supervisor = self.plugins[event.plugin]
            life, now = supervisor.life, self._around.driver.now()
            self.memory.note(
                event.plugin,
                quarantine=Quarantine(
                    reason=life.reason,
                    since=event.at,
                    next_probe_at=event.at + ((life.next_start_at or now) - now),
                    probes=life.probes,
                    causes=list(supervisor.causes),
                ),
            )
        elif event.state in (State.RUNNING, State.STOPPED, State.DISABLED) or (
            event.previous == State.QUARANTINED and not self.plugins[event.plugin].life.is_probe
        ):
            self.memory.note(event.plugin, quarantine=None)

    def _note(self, problems: Sequence[FileProblem]) -> None:
        self.problems += problems
        for problem in problems:
            self._bus.emit(PluginProblem(file=problem.file, message=str(problem)))
