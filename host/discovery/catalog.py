"""The order in which plugins start, so that whatever one requires is there before it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

__all__ = ["RequirementCycle", "start_order"]


class RequirementCycle(ValueError):
    """Plugins that require each other; `cycle` begins and ends with the same name."""

    def __init__(self, cycle: tuple[str, ...]) -> None:
        super().__init__(f"plugins require each other: {' -> '.join(cycle)}")
        self.cycle = cycle


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
