"""All plugins of a host: who is here, who comes and who goes.

Holds the supervisors' tasks. They run in the host's own task, where no cancellation around the host
reaches them, because they are what ends the plugins in order; `leave` is their end, and takes a bounded
time whatever the plugins do.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import anyio
import anyio.abc
import anyio.to_thread
import msgspec

from host import errors
from host.config.effective import effective
from host.config.load import Configuration, Layers
from host.config.problems import FileProblem
from host.discovery.validate import Candidate, load_manifest
from host.observability.bus import Bus
from host.observability.events import HostEvent, StateChanged
from host.supervision.app_settings import AppSettings
from host.supervision.complaints import Complaints
from host.supervision.known import Known
from host.supervision.memory import Memory
from host.supervision.reloading import Reloading
from host.supervision.remains import Remains
from host.supervision.requirements import stop_plan
from host.supervision.roster import Roster
from host.supervision.sources import Sources, Wanted
from host.supervision.supervisor import Supervisor
from host.supervision.surroundings import Surroundings
from host.supervision.watching import Watching

STOP_S = 12.0
"""All plugins together, the ones that hang included."""


class SupervisorTree:
    """`plugins` is the table by name, which is only read here and everywhere else but in `roster`."""

    def __init__(
        self,
        told: Configuration,
        layers: Layers,
        folders: Sequence[Path],
        around: Surroundings,
        bus: Bus,
        *,
        app: AppSettings,
        memory_file: Path | None = None,
        known: Known | None = None,
    ) -> None:
        self.complaints = Complaints(bus)
        self.memory = Memory(memory_file, lambda problem: self.complaints.add([problem]))
        self.roster = Roster(around, bus, self.memory, known, self._note_cycle, self.complaints)
        self.plugins = self.roster.plugins
        self.app = app
        self.requirements = self.roster.requirements
        self._sources = Sources(layers, folders, self.memory)
        self._around = around
        self._bus = bus
        self._remains = Remains(
            memory_file,
            around.instance,
            self.plugins,
            tell=bus.emit,
            on_problem=lambda problem: self.complaints.add([problem]),
        )
        self._watching = Watching(
            self._sources, self.plugins, bus, around.driver.now, lambda scope: self.reloading.follow(scope)
        )
        self.reloading = Reloading(
            told,
            self._sources,
            self.roster,
            self.complaints,
            self.app,
            on_told=self._watching.configure,
            now=around.driver.now,
        )
        self._leaving = anyio.Event()
        self._is_leaving = False

    # -- in and out ------------------------------------------------------------------------------

    async def run(self, *, task_status: anyio.abc.TaskStatus[anyio.abc.TaskGroup]) -> None:
        """Holds the supervisors' tasks until `leave` is through."""
        async with anyio.create_task_group() as tasks:
            self.roster.tasks = tasks
            task_status.started(tasks)
            await self._leaving.wait()
            tasks.cancel_scope.cancel()

    async def populate(self) -> None:
        """Finds the plugins, and returns once every eager one has left `starting`.

        A lazy one of which nobody knows yet what it provides is started and stopped again for that.
        """
        tasks = self.roster.tasks
        assert tasks is not None
        values, wrong = await self.app.read(self.reloading.told)
        if wrong:
            raise errors.ConfigError(wrong)
        self.app.hold(values)
        self.memory.load()
        self._bus.subscribe(self._remember)
        tasks.start_soon(self.memory.run)
        await self._remains.begin()
        tasks.start_soon(self._remains.run)
        seen = self._sources.look(self.reloading.told)
        self.complaints.add(seen.problems)
        everybody = [wanted.candidate for wanted in seen.wanted.values()]
        provided = await anyio.to_thread.run_sync(self.roster.what_is_known, everybody)
        for wanted in seen.wanted.values():
            self.roster.admit(wanted, provided)
        self._bus.subscribe(self._tell_dependants)
        self.requirements.refresh()
        self._watching.configure(self.reloading.told.config)
        tasks.start_soon(self._watching.run)
        async with anyio.create_task_group() as starting:
            for supervisor in self.plugins.values():
                if supervisor.starts_by_itself:
                    starting.start_soon(supervisor.start, "started with the host")
                elif supervisor.is_to_be_introduced:
                    starting.start_soon(self.roster.introduce, supervisor)

    async def leave(self) -> None:
        """Ends every plugin and then the tasks. Never takes longer than `STOP_S`, and leaves no process."""
        self.reloading.end()
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
        if name in self.plugins:
            raise self._taken(name)
        await self._admit(self._judged(loaded), added=loaded.file)
        return name

    async def take_installed(self, path: Path) -> str:
        """As `add`, of a plugin that lies in a folder which is looked through anyway. One that is here
        already, in an earlier version, gets a new process if it is to run, and a clean record.

        Raises:
            ManifestError: with every problem. PluginExists: the name is that of a plugin from elsewhere.
        """
        loaded = load_manifest(path)
        if isinstance(loaded, list):
            raise errors.ManifestError(loaded)
        wanted = self._judged(loaded)
        async with self.reloading.turn:
            supervisor = self.plugins.get(loaded.name)
            if supervisor is None:
                await self._admit(wanted, added=None)
            elif supervisor.candidate.origin is None:
                raise self._taken(loaded.name)
            elif supervisor.candidate != loaded:
                supervisor.reconfigure(loaded, wanted.policy)
                if supervisor.life.is_wanted:
                    await supervisor.restart("another version of it is installed")
        return loaded.name

    def _taken(self, name: str) -> errors.PluginExists:
        return errors.PluginExists(
            f"there is a plugin `{name}` already, from {self.plugins[name].candidate.file}",
            hint=f"outboard remove {name}, or give one of them another name",
            plugin=name,
        )

    def _judged(self, loaded: Candidate) -> Wanted:
        judged = self._sources.judge(loaded, self.reloading.told.config)
        if isinstance(judged, list):
            raise errors.ManifestError(judged)
        return judged

    async def _admit(self, wanted: Wanted, *, added: str | None) -> None:
        """`added`: the file that is remembered for the next host, if that would not find it otherwise."""
        candidate = wanted.candidate
        provided = self.roster.what_is_known([candidate])
        self.memory.note(candidate.name, added=added, removed=False)
        supervisor = self.roster.admit(wanted, provided)
        self.requirements.refresh()
        if supervisor.starts_by_itself:
            await supervisor.start("added")
        elif supervisor.is_to_be_introduced:
            await self.roster.introduce(supervisor)
        await self.memory.saved()

    async def remove(self, name: str) -> None:
        """Stops a plugin and forgets it, until it is added again. Raises PluginNotFound."""
        supervisor = self.roster.named(name)
        with anyio.CancelScope(shield=True):  # half a removal would leave a name without a plugin
            async with self.requirements.stood_down(name):
                await self.roster.forget(supervisor, "removed")
            self.memory.forget(name)
            self.memory.note(name, removed=True)
            await self.memory.saved()

    def switch(self, supervisor: Supervisor, *, enabled: bool) -> None:
        """Takes an operator's word, which is remembered while the configuration says otherwise."""
        configured = effective(supervisor.candidate.manifest, self.reloading.told.config).enabled
        self.memory.note(supervisor.name, enabled=None if configured == enabled else enabled)
        policy = msgspec.structs.replace(supervisor.policy, enabled=enabled)
        supervisor.reconfigure(supervisor.candidate, policy)

    # -- inside ------------------------------------------------------------------------------------

    def _tell_dependants(self, event: HostEvent) -> None:
        if isinstance(event, StateChanged) and not self._is_leaving:
            self.requirements.look_at(event.plugin)

    def _note_cycle(self, cycle: tuple[str, ...]) -> None:
        file = self.plugins[cycle[0]].candidate.file
        reason = f"plugins require each other: {' -> '.join(cycle)}"
        self.complaints.add(
            [FileProblem(file, None, "start.requires", reason, "take one of them out of the circle")]
        )

    def _remember(self, event: HostEvent) -> None:
        """What of a plugin's life outlasts this host."""
        if isinstance(event, StateChanged) and not self._is_leaving and event.plugin in self.plugins:
            supervisor = self.plugins[event.plugin]
            self.memory.note_life(event, supervisor.life, supervisor.causes, now=self._around.driver.now())
