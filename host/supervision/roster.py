"""Who is here: the table of plugins, whom it admits, and whom it forgets. What a plugin provides is kept.

Nobody else changes the table. A plugin's task runs from its admission until it has been forgotten.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial

import anyio
import anyio.abc
import anyio.to_thread

from host import errors
from host.config.shown import Configured
from host.discovery.validate import Candidate
from host.observability.bus import Bus
from host.supervision.complaints import Complaints
from host.supervision.generation import Generation
from host.supervision.known import Known
from host.supervision.memory import Memory, first_life
from host.supervision.requirements import Requirements
from host.supervision.sources import Wanted
from host.supervision.supervisor import Supervisor
from host.supervision.surroundings import Surroundings
from protocol.lifecycle import Provides

INTRODUCTION_S = 5.0
"""How long a host that begins waits for lazy plugins of which nobody knows yet what they provide."""


class Roster:
    """`plugins` is the table by name, which everybody else only reads."""

    def __init__(
        self,
        around: Surroundings,
        bus: Bus,
        memory: Memory,
        known: Known | None,
        on_cycle: Callable[[tuple[str, ...]], None],
        complaints: Complaints,
    ) -> None:
        self.plugins: dict[str, Supervisor] = {}
        self.requirements = Requirements(self.plugins, on_cycle)
        self.tasks: anyio.abc.TaskGroup | None = None
        """Where the plugins' own tasks run."""
        self._around = around
        self._bus = bus
        self._memory = memory
        self._known = known
        self._complaints = complaints

    def named(self, name: str) -> Supervisor:
        """The supervisor of that name. Raises PluginNotFound, or ManifestError: see `absent`."""
        supervisor = self.plugins.get(name)
        if supervisor is None:
            raise self.absent(name)
        return supervisor

    def absent(self, name: str) -> errors.OutboardError:
        """Why there is no plugin of that name: its manifest cannot be used, or nobody has heard of it."""
        problems = self._complaints.of_plugin(name)
        if problems:
            return errors.ManifestError(
                problems,
                plugin=name,
                intro="it is there, and its manifest cannot be used",
                hint="fix the manifest, and then: outboard reload",
            )
        return errors.not_found(name, [*self.plugins, *self._complaints.plugins])

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
    def configured(self) -> dict[str, Configured]:
        """What each of them has of the configuration."""
        return {
            name: Configured(
                manifest=plugin.candidate.manifest,
                file=plugin.candidate.file,
                policy=plugin.policy,
                schema=plugin.offer.provides.config_schema,
            )
            for name, plugin in self.plugins.items()
        }

    def admit(self, wanted: Wanted, provided: Mapping[str, Provides]) -> Supervisor:
        """It is here from now on, and not started. `provided`: what is known of it, by name."""
        candidate, policy = wanted.candidate, wanted.policy
        assert self.tasks is not None
        remembered = self._memory.of(candidate.name)
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
        self.tasks.start_soon(supervisor.run)
        return supervisor

    async def forget(self, supervisor: Supervisor, reason: str) -> None:
        """Stops it for good; then it is not here any more."""
        await supervisor.leave(reason)
        if self.plugins.get(supervisor.name) is supervisor:
            del self.plugins[supervisor.name]
            self.requirements.refresh()

    def what_is_known(self, candidates: Iterable[Candidate]) -> dict[str, Provides]:
        """What each of them provides, of those that some host has run with the same files. Blocks."""
        if self._known is None:
            return {}
        found = [(each.name, self._known.of(each)) for each in candidates]
        return {name: provides for name, provides in found if provides is not None}

    async def introduce(self, supervisor: Supervisor) -> None:
        """Has it say what it provides, for which it is started and stopped; waits for that, and not long."""
        with anyio.move_on_after(INTRODUCTION_S):
            await supervisor.introduce()

    def _keep(self, supervisor: Supervisor) -> None:
        """What it provides, for the next host. Off the loop."""
        spawned_at = supervisor.spawned_at
        if self._known is None or self.tasks is None or spawned_at is None:
            return
        keep = partial(self._known.keep, supervisor.candidate, supervisor.offer.provides, spawned_at)
        self.tasks.start_soon(anyio.to_thread.run_sync, keep)
