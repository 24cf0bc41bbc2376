"""What holds changes while the host runs: by `reload`, by `configure`, and by files that are watched.

One at a time. Refused by anybody, nothing has changed; what has been written holds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import anyio
import anyio.to_thread
import msgspec

from host import errors
from host.config.effective import effective
from host.config.lines import KeyPath
from host.config.load import Configuration
from host.config.model import HostConfig
from host.config.overrides import Overrides
from host.config.words import same
from host.supervision.app_settings import AppSettings
from host.supervision.apply import apply
from host.supervision.comparison import compared
from host.supervision.complaints import Complaints
from host.supervision.generation import Generation
from host.supervision.overrides import hidden
from host.supervision.plan import Plan
from host.supervision.roster import Roster
from host.supervision.scope import Scope
from host.supervision.settings import ANSWER_S, Change, not_for_plugins
from host.supervision.sources import Sources, Wanted
from host.supervision.starts import Starts
from host.supervision.supervisor import Supervisor


class Reloading:
    """`on_told` is called with every new configuration; `now` is the host's clock."""

    def __init__(
        self,
        told: Configuration,
        sources: Sources,
        roster: Roster,
        complaints: Complaints,
        app: AppSettings,
        *,
        on_told: Callable[[HostConfig], None],
        now: Callable[[], float],
    ) -> None:
        self.told = told
        """The configuration, and who says what of it."""
        self._sources = sources
        self._roster = roster
        self._complaints = complaints
        self._app = app
        self._on_told = on_told
        self._now = now
        self.turn = anyio.Lock()
        """Of everybody who changes anything."""
        self._is_over = False

    def end(self) -> None:
        """Files are not followed any more."""
        self._is_over = True

    async def reload(self, *, dry_run: bool = False) -> Plan:
        """Reads configuration, folders and manifests again and makes it so; returns what changed.

        Returns once everything that was started runs or does not.

        Raises:
            ConfigError: with every problem; nothing was changed.
        """
        async with self.turn:
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

    async def follow(self, scope: Scope) -> None:
        """Makes so what has changed within `scope`, without reading the configuration again.

        Returns once what had to go is gone; what is started takes its time.
        """
        async with self.turn:
            found = await compared(self._roster, self._sources, scope, before=self.told, after=self.told)
            if not self._is_over:
                made, seen = scope.allowed(found.made, found.seen)
                await apply(made, seen, found.provided, self._roster, self._starts())
                self._complaints.renew(found.seen, scope)

    async def change_own(
        self, supervisor: Supervisor, generation: Generation, changes: Mapping[KeyPath, Any]
    ) -> None:
        """Settings that a plugin changes itself, in its `turn`; once this returns it has been told.

        Nothing else is looked at: what files say by now is for an operator to reload.

        Raises:
            ConfigError: with every problem; nothing was changed.
        """
        overrides, told = await anyio.to_thread.run_sync(
            self._sources.overrides.changed_by, supervisor.name, changes, self.told
        )
        policy = msgspec.structs.replace(
            supervisor.policy, settings=effective(supervisor.candidate.manifest, told.config).settings
        )
        change = Change(told, by=f"plugin {supervisor.name}")
        change.problems += not_for_plugins(supervisor.name, generation, self.told, told, changes)
        if not change.problems and not same(policy.settings, supervisor.policy.settings):
            wanted = Wanted(candidate=supervisor.candidate, policy=policy)
            deadline = self._now() + ANSWER_S
            await change.check_one(supervisor, generation, wanted, takes_settings=True, deadline=deadline)
        if change.problems:
            raise errors.ConfigError(change.problems)
        with anyio.CancelScope(shield=True):  # what is written holds, whoever has stopped waiting for it
            if overrides != self.told.overrides:
                await anyio.to_thread.run_sync(self._sources.overrides.keep, overrides)
            self._hold(told)
            for missed in change.announce():
                self._starts().start_soon(missed.restart, "its settings have changed")

    async def _configure(self, changes: Mapping[KeyPath, Any], *, dry_run: bool) -> Plan:
        async with self.turn:
            file = self._sources.overrides
            overrides = await anyio.to_thread.run_sync(file.changed, changes, self.told)
            told = await anyio.to_thread.run_sync(file.told, overrides)
            made = await self._make_so(told, overrides, dry_run=dry_run)
            made.problems.extend(hidden(told, changes))
            return made

    async def _make_so(
        self, told: Configuration, overrides: Overrides | None = None, *, dry_run: bool
    ) -> Plan:
        """`overrides` are written before anything else happens."""
        everything = Scope()
        found = await compared(self._roster, self._sources, everything, before=self.told, after=told)
        made, seen = found.made, found.seen
        if told.config.extension_points != self.told.config.extension_points:
            made.needs_new_host.append("extension_points")
        change = Change(told)
        if overrides is not None:  # what is wrong in a file by now is not the fault of this change
            before = await anyio.to_thread.run_sync(self._sources.look, self.told)
            known = set(map(str, before.problems))
            change.problems += [problem for problem in seen.problems if str(problem) not in known]
        await change.check(self._roster.plugins, found.here, seen, self._now())
        values, wrong = await self._app.read(told)
        made.app.extend(self._app.changed(values))
        if change.problems or wrong:
            raise errors.ConfigError([*change.problems, *wrong])
        if dry_run:
            return made
        starts = self._starts()
        with anyio.CancelScope(shield=True):  # what is written holds, whoever has stopped waiting for it
            if overrides is not None:
                await anyio.to_thread.run_sync(self._sources.overrides.keep, overrides)
            self._hold(told)
            self._app.hold(values)
            for supervisor in change.announce():
                starts.start_soon(supervisor.restart, "its settings have changed")
            await apply(made, seen, found.provided, self._roster, starts)
            self._complaints.renew(seen, everything)
        await starts.wait()
        return msgspec.structs.replace(made, applied=True)

    def _starts(self) -> Starts:
        assert self._roster.tasks is not None
        return Starts(self._roster.tasks)

    def _hold(self, told: Configuration) -> None:
        self.told = told
        self._on_told(told.config)
