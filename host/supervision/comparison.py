"""The plugins that are here, against one look at everything that could have changed."""

from __future__ import annotations

import anyio
import anyio.to_thread
import msgspec

from host.config.load import Configuration
from host.process.rlimits import holds_at_once
from host.supervision.plan import Plan
from host.supervision.planning import Here, plan
from host.supervision.roster import Roster
from host.supervision.scope import Scope
from host.supervision.sources import Seen, Sources
from protocol.lifecycle import Provides

LOOKS = 3


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    made: Plan
    """What would change."""
    seen: Seen
    provided: dict[str, Provides]
    """What is known of those that do not run."""
    here: dict[str, Here]


async def compared(
    roster: Roster, sources: Sources, scope: Scope, *, before: Configuration, after: Configuration
) -> Comparison:
    """Looks again if somebody has said a word about a plugin meanwhile: the last word counts."""
    for _ in range(LOOKS):
        words = _words(roster)
        found = await anyio.to_thread.run_sync(_compare, roster, sources, scope, before, after)
        if _words(roster) == words:
            break
    return found


def _words(roster: Roster) -> dict[str, tuple[bool, bool]]:
    return {name: (each.life.is_wanted, each.policy.enabled) for name, each in roster.plugins.items()}


def _compare(
    roster: Roster, sources: Sources, scope: Scope, before: Configuration, after: Configuration
) -> Comparison:
    """Looks at files, and so blocks."""
    seen = scope.narrow(sources.look(after))
    here = {
        name: Here(
            candidate=supervisor.candidate,
            policy=supervisor.policy,
            is_wanted=supervisor.life.is_wanted,
            changed_file=scope.changed_file(supervisor.candidate, supervisor.spawned_at),
            # A change of the manifest is nobody's decision about a running plugin: it restarts.
            takes_settings=after is not before and supervisor.takes_settings,
        )
        for name, supervisor in list(roster.plugins.items())
        if scope.has(supervisor.candidate.file)
    }
    asked = [
        wanted.candidate
        for name, wanted in seen.wanted.items()
        if name not in roster.plugins or roster.plugins[name].is_asleep
    ]
    made = plan(here, seen, before=before.config.host, holds_at_once=holds_at_once)
    return Comparison(made=made, seen=seen, provided=roster.what_is_known(asked), here=here)
