"""Who must run before whom: what each plugin lacks of what it requires, told to its supervisor.

A plugin starts when everything it requires serves, and is stopped when something of that is gone for
good; a crash and a restart of it are none of its business, for calls in flight fail by themselves.
Whatever a plugin's state changes, those that require it hear of at once: nobody asks again and again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Protocol

import msgspec

from host.config.effective import PluginPolicy
from host.discovery.catalog import RequirementCycle, start_order
from host.supervision.life import How, Lack, Life
from host.supervision.life_events import Lacks, LifeEvent, Met, Start
from host.supervision.states import LIVE, SERVING, State
from protocol.contract import nearest

__all__ = ["Member", "Requirements", "cycles_of", "lack_of", "stop_plan"]

_WORST_FIRST = ("never", "gone", "down", "coming")


class Member(Protocol):
    """A plugin, as far as this is concerned: a Supervisor."""

    policy: PluginPolicy
    life: Life

    def post(self, event: LifeEvent) -> None: ...

    async def wait_until(self, condition: Callable[[Life], bool]) -> None: ...


class Requirements:
    """`plugins` is the host's own table. `on_cycle` gets each circle, once while it lasts."""

    def __init__(self, plugins: Mapping[str, Member], on_cycle: Callable[[tuple[str, ...]], None]) -> None:
        self._plugins = plugins
        self._on_cycle = on_cycle
        self._cycles: list[tuple[str, ...]] = []
        self._dependants: dict[str, list[str]] = {}
        self._going: Counter[str] = Counter()
        """Those that somebody is about to stop: to the ones that require them they are gone already."""
        self._told: dict[str, tuple[Member, Lack | None]] = {}

    @property
    def graph(self) -> dict[str, tuple[str, ...]]:
        """What each plugin requires, by name."""
        return {name: each.policy.requires for name, each in self._plugins.items()}

    def refresh(self) -> None:
        """Plugins have come or gone, or what they require has changed."""
        before, self._cycles = self._cycles, cycles_of(self.graph)
        for cycle in self._cycles:
            if cycle not in before:
                self._on_cycle(cycle)
        self._dependants = {}
        for name, required in self.graph.items():
            for other in required:
                self._dependants.setdefault(other, []).append(name)
        self._told = {name: told for name, told in self._told.items() if name in self._plugins}
        for name in self._plugins:
            self._tell(name)

    def look_at(self, name: str) -> None:
        """The plugin of that name is in another state."""
        for dependant in self._dependants.get(name, ()):
            self._tell(dependant)
        member = self._plugins.get(name)
        if member is not None and member.life.is_held and member.life.is_wanted:
            self._wake_for(name, member)

    def dependants_of(self, name: str) -> list[str]:
        """Everybody who requires it, also by way of others, sorted."""
        found: set[str] = set()
        new = {name}
        while new:
            new = {other for each in new for other in self._dependants.get(each, ())} - found
            found |= new
        return sorted(found - {name})

    @asynccontextmanager
    async def stood_down(self, name: str) -> AsyncIterator[None]:
        """While a plugin is being stopped: whoever requires it has been stopped before, and waits."""
        circular = {each for cycle in self._cycles for each in cycle}  # they do not run
        above = set(self.dependants_of(name)) - circular
        order = start_order({each: self._plugins[each].policy.requires for each in above})
        going: list[str] = []
        try:
            for tier in reversed([[name], *order]):
                going += tier
                self._going.update(tier)
                names = sorted({each for other in tier for each in self._dependants.get(other, ())})
                for each in names:
                    self._tell(each)
                for member in [self._plugins[each] for each in names]:
                    await member.wait_until(lambda life: life.state not in LIVE)
            yield
        finally:
            self._going.subtract(going)
            for each in list(self._plugins):
                self._tell(each)

    def is_needed(self, name: str) -> bool:
        """Whether a plugin that requires it runs, or is wanted."""
        members = (self._plugins[other] for other in self._dependants.get(name, ()) if other != name)
        return any(member.life.is_wanted for member in members)

    def _tell(self, name: str) -> None:
        member = self._plugins[name]
        lack = self._lack_of(name, member.policy.requires)
        known = self._told.get(name)
        before = known[1] if known is not None and known[0] is member else None
        if lack == before:
            return
        self._told[name] = member, lack
        news: LifeEvent = Met() if lack is None else Lacks(lack)
        member.post(news)

    def _lack_of(self, name: str, required: Sequence[str]) -> Lack | None:
        cycle = next((cycle for cycle in self._cycles if name in cycle), None)
        if cycle is not None:
            return Lack(f"plugins require each other: {' -> '.join(cycle)}", "never")
        lacks = [lack for other in required if (lack := self._lack(other)) is not None]
        return min(lacks, key=lambda lack: _WORST_FIRST.index(lack.how), default=None)

    def _lack(self, name: str) -> Lack | None:
        member = self._plugins.get(name)
        if member is not None and self._going[name] > 0:
            return Lack(f"requires {name}, which is being stopped", "gone", name)
        if member is not None:
            return lack_of(name, member.life, is_lazy=member.policy.start_mode == "lazy")
        close = nearest(name, self._plugins)
        hint = f"; did you mean `{close}`?" if close else ""
        return Lack(f"requires {name}, and there is no plugin of this name{hint}", "gone")

    def _wake_for(self, name: str, member: Member) -> None:
        for other in member.policy.requires:
            required = self._plugins.get(other)
            if required is None or required.policy.start_mode != "lazy":
                continue
            if required.life.may_be_woken:
                required.post(Start(f"required by {name}"))


def lack_of(name: str, life: Life, *, is_lazy: bool) -> Lack | None:
    """What a plugin lacks that requires this one; None if it serves."""
    if life.state in SERVING:
        return None
    how: How = "gone"
    if life.is_held and life.lacks is not None:
        how = "gone" if life.lacks.how == "never" else life.lacks.how
    elif life.is_coming or (life.is_wanted and life.generation == 0 and life.state is State.STOPPED):
        how = "coming"
    elif is_lazy and life.may_be_woken:
        how = "coming"  # whoever needs it has it woken
    elif life.state in (State.BACKOFF, State.WAITING):
        how = "down"
    return Lack(f"requires {name}, which is {life.state}", how, name)


def cycles_of(requires: Mapping[str, Sequence[str]]) -> list[tuple[str, ...]]:
    """Every circle, one at least for each plugin that is part of any; each ends as it begins."""
    left = dict(requires)
    found = []
    while True:
        try:
            start_order(left)
        except RequirementCycle as error:
            found.append(error.cycle)
            left = {name: others for name, others in left.items() if name not in error.cycle}
        else:
            return found


class StopTerms(msgspec.Struct, frozen=True):
    after: tuple[str, ...]
    """Those that have to be gone before it is stopped."""
    share: float
    """The part of the whole time, above 0 and up to 1, after which it has to be gone itself."""


def stop_plan(requires: Mapping[str, Sequence[str]]) -> dict[str, StopTerms]:
    """The reverse of the start: when each plugin may be stopped, and by when it must be.

    Whoever requires another has to be gone before it. So a chain of hung plugins shares one bound,
    and a plugin that has nothing to do with it has all the time there is.
    """
    circular = {name for cycle in cycles_of(requires) for name in cycle}
    graph = {name: [] if name in circular else list(others) for name, others in requires.items()}
    below = _heights(graph)
    turned: dict[str, list[str]] = {name: [] for name in graph}
    for name, others in graph.items():
        for other in others:
            if other in turned:
                turned[other].append(name)
    above = _heights(turned)
    return {
        name: StopTerms(tuple(turned[name]), above[name] / (above[name] + below[name] - 1)) for name in graph
    }


def _heights(graph: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """The length of the longest chain from each name on, itself included."""
    return {name: height for height, tier in enumerate(start_order(graph), 1) for name in tier}
