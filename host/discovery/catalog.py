"""Catalogs compared, and the order in which plugins start. Pure.

A plugin is the same while its name, its place and all that its manifest says are the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from host.discovery.validate import Candidate

__all__ = ["CatalogDiff", "RequirementCycle", "diff", "start_order"]


class CatalogDiff(msgspec.Struct, frozen=True):
    """By name, sorted. Of what changed, the new candidate; of what was removed, the old one."""

    added: tuple[Candidate, ...] = ()
    changed: tuple[Candidate, ...] = ()
    removed: tuple[Candidate, ...] = ()


class RequirementCycle(ValueError):
    """Plugins that require each other; `cycle` begins and ends with the same name."""

    def __init__(self, cycle: tuple[str, ...]) -> None:
        super().__init__(f"plugins require each other: {' -> '.join(cycle)}")
        self.cycle = cycle


def diff(old: Iterable[Candidate], new: Iterable[Candidate]) -> CatalogDiff:
    """What turns the catalog `old` into `new`; names are unique in each, as `scan` sees to."""
    before = {candidate.name: candidate for candidate in sorted(old, key=_name)}
    after = {candidate.name: candidate for candidate in sorted(new, key=_name)}
    return CatalogDiff(
        added=tuple(candidate for name, candidate in after.items() if name not in before),
        changed=tuple(
            candidate
            for name, candidate in after.items()
            if name in before and _content(candidate) != _content(before[name])
        ),
        removed=tuple(candidate for name, candidate in before.items() if name not in after),
    )


def start_order(requires: Mapping[str, Sequence[str]]) -> list[list[str]]:
    """Tiers of names, sorted in each: whatever a plugin requires is in an earlier tier.

    A requirement that is not a key of `requires` orders nothing. Raises RequirementCycle.
    """
    waiting = {
        name: {other for other in others if other in requires} for name, others in sorted(requires.items())
    }
    dependants: dict[str, list[str]] = {name: [] for name in waiting}
    for name, others in waiting.items():
        for other in others:
            dependants[other].append(name)
    tiers: list[list[str]] = []
    ready = [name for name, others in waiting.items() if not others]
    while ready:
        tiers.append(ready)
        freed = []
        for name in ready:
            del waiting[name]
            for dependant in dependants[name]:
                waiting[dependant].discard(name)
                if not waiting[dependant]:
                    freed.append(dependant)
        ready = sorted(freed)
    if waiting:
        raise RequirementCycle(_cycle_in(waiting))
    return tiers


def _cycle_in(waiting: Mapping[str, set[str]]) -> tuple[str, ...]:
    """A cycle, where each name waits for at least one other: follow any until a name comes again."""
    trail: dict[str, int] = {}
    name = min(waiting)
    while name not in trail:
        trail[name] = len(trail)
        name = min(waiting[name])
    cycle = list(trail)[trail[name] :]
    first = cycle.index(min(cycle))  # the same cycle reads the same wherever it was entered
    cycle = cycle[first:] + cycle[:first]
    return (*cycle, cycle[0])


def _name(candidate: Candidate) -> str:
    return candidate.name


def _content(candidate: Candidate) -> bytes:
    """Text, not values: `1`, `1.0` and `true` are equal in Python, and not to a plugin."""
    return msgspec.json.encode(candidate, enc_hook=float, order="deterministic")
