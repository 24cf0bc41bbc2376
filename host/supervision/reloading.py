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
from host.config.lines import KeyPath
from host.config.load import Configuration
from host.config.model import HostConfig
from host.supervision.apply import apply
from host.supervision.comparison import compared
from host.supervision.complaints import Complaints
from host.supervision.overrides import hidden
from host.supervision.plan import Plan
from host.supervision.roster import Roster
from host.supervision.scope import Scope
from host.supervision.settings import Change
from host.supervision.sources import Sources


class Reloading:
    """`on_told` is called with every new configuration; `now` is the host's clock."""

    def __init__(
        self,
        told: Configuration,
        sources: Sources,
        roster: Roster,
        complaints: Complaints,
        *,
        on_told: Callable[[HostConfig], None],
        now: Callable[[], float],
    ) -> None:
        self.told = told
        """The configuration, and who says what of it."""
        self._sources = sources
        self._roster = roster
        self._complaints = complaints
        self._on_told = on_told
        self._now = now
        self._one_at_a_time = anyio.Lock()
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
        async with self._one_at_a_time:
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
        tasks = self._roster.tasks
        assert tasks is not None
        async with self._one_at_a_time:
            found = await compared(self._roster, self._sources, scope, before=self.told, after=self.told)
            if not self._is_over:
                made, seen = scope.allowed(found.made, found.seen)
                await apply(made, seen, found.provided, self._roster, tasks)
                self._complaints.renew(found.seen, scope)

    async def _configure(self, changes: Mapping[KeyPath, Any], *, dry_run: bool) -> Plan:
        async with self._one_at_a_time:
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
        found = await compared(self._roster, self._sources, everything, before=self.told, after=told)
        made, seen = found.made, found.seen
        if told.config.extension_points != self.told.config.extension_points:
            made.needs_new_host.append("extension_points")
        change = Change(told, found.here, seen)
        if overrides is not None:  # what is wrong in a file by now is not the fault of this change
            before = await anyio.to_thread.run_sync(self._sources.look, self.told)
            known = set(map(str, before.problems))
            change.problems += [problem for problem in seen.problems if str(problem) not in known]
        await change.check(self._roster.plugins, self._now())
        if change.problems:
            raise errors.ConfigError(change.problems)
        if dry_run:
            return made
        with anyio.CancelScope(shield=True):  # what is written holds, whoever has stopped waiting for it
            if overrides is not None:
                await anyio.to_thread.run_sync(self._sources.overrides.keep, overrides)
        self.told = told
        self._on_told(told.config)
        async with anyio.create_task_group() as starting:
            for supervisor in change.announce():
                starting.start_soon(supervisor.restart, "its settings have changed")
            await apply(made, seen, found.provided, self._roster, starting)
        self._complaints.renew(seen, everything)
        return msgspec.structs.replace(made, applied=True)
