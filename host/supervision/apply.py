"""A plan is made so: plugins go, come, are told other terms, and are started again."""

from __future__ import annotations

from collections.abc import Mapping

import anyio

from host.supervision.plan import Plan
from host.supervision.roster import Roster
from host.supervision.sources import Seen
from host.supervision.starts import Starts
from protocol.lifecycle import Provides


async def apply(
    made: Plan,
    seen: Seen,
    provided: Mapping[str, Provides],
    roster: Roster,
    starting: Starts,
) -> None:
    """Returns once what had to go is gone, and what is to start is under way in `starting`."""
    wanted, plugins = seen.wanted, roster.plugins
    # Somebody may have added or removed one by hand while the files were read.
    made = made.only(plugins.keys() ^ set(made.added))
    async with anyio.create_task_group() as leaving:
        for name in made.removed:
            leaving.start_soon(roster.forget, plugins[name], "its files are gone")
        for name, supervisor in plugins.items():
            if name in wanted:
                supervisor.reconfigure(wanted[name].candidate, wanted[name].policy)
                if supervisor.is_asleep:  # its code may be another by now
                    supervisor.recall(provided.get(name))
        for change in made.restarted:
            starting.start_soon(plugins[change.name].restart, f"reloaded: {change.why}")
        for name in made.enabled:
            starting.start_soon(plugins[name].enable, "enabled by the configuration")
        for name in made.disabled:
            starting.start_soon(plugins[name].disable, "disabled by the configuration")
        for name in made.added:
            roster.admit(wanted[name], provided)
        roster.requirements.refresh()
        for name, supervisor in plugins.items():
            if name in made.added and supervisor.starts_by_itself:
                starting.start_soon(supervisor.start, "added")
            elif supervisor.is_to_be_introduced:
                starting.start_soon(roster.introduce, supervisor)
