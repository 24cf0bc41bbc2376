"""What a reload changes, as data and in lines."""

from __future__ import annotations

from collections.abc import Collection

import msgspec


class Change(msgspec.Struct, frozen=True):
    name: str
    why: str


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Names, each in one list at most. `applied` is False for a dry run."""

    applied: bool = False
    added: list[str] = []
    removed: list[str] = []
    restarted: list[Change] = []
    live: list[Change] = []
    """What holds at once, without a new process."""
    at_start: list[Change] = []
    """What waits for a plugin's next start, because it does not run."""
    app: list[str] = []
    """Keys of the app's own sections, which hold at once."""
    enabled: list[str] = []
    disabled: list[str] = []
    needs_new_host: list[str] = []
    """Keys that changed and that only the next host will heed."""
    problems: list[str] = []
    """What could not be used; whatever it is about goes on as it was."""

    @property
    def is_empty(self) -> bool:
        plugins = (self.added, self.removed, self.restarted, self.live, self.enabled, self.disabled)
        return not any((*plugins, self.at_start, self.app))

    def only(self, names: Collection[str]) -> Plan:
        """What it says of these plugins."""
        changes = {
            key: [change for change in getattr(self, key) if change.name in names]
            for key in ("restarted", "live", "at_start")
        }
        others = {
            key: [name for name in getattr(self, key) if name in names]
            for key in ("added", "removed", "enabled", "disabled")
        }
        return msgspec.structs.replace(self, **changes, **others)

    def lines(self) -> list[str]:
        """For people, one line a change."""
        told = [
            *(f"added      {name}" for name in self.added),
            *(f"removed    {name}" for name in self.removed),
            *(f"restarted  {change.name}: {change.why}" for change in self.restarted),
            *(f"live       {change.name}: {change.why}" for change in self.live),
            *(f"at start   {change.name}: {change.why}" for change in self.at_start),
            *(f"live       {key}" for key in self.app),
            *(f"enabled    {name}" for name in self.enabled),
            *(f"disabled   {name}" for name in self.disabled),
            *(f"not yet    {key}: heeded by the next daemon" for key in self.needs_new_host),
            *(f"problem    {problem}" for problem in self.problems),
        ]
        return told or ["nothing has changed"]
