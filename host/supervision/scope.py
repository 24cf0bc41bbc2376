"""How much of what is on disk a reload is about."""

from __future__ import annotations

from host.discovery.changed import changed_since
from host.discovery.validate import Candidate
from host.supervision.plan import Plan
from host.supervision.sources import Seen


class Scope:
    """Everything, as long as nothing is overridden."""

    def narrow(self, seen: Seen) -> Seen:
        """The part of what was seen that it is about. Runs in a thread, and may look at files."""
        return seen

    def has(self, file: str) -> bool:
        """Whether it is about the plugin, or the problem, of that file."""
        return True

    def changed_file(self, candidate: Candidate, spawned_at: float | None) -> str | None:
        """A file of the plugin's code that is newer than its process. Unix time; None for no process."""
        return changed_since(candidate, spawned_at) if spawned_at is not None else None

    def allowed(self, made: Plan, seen: Seen) -> tuple[Plan, Seen]:
        """The part that is to be acted upon."""
        return made, seen
