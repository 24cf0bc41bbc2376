"""The extension points of a host: who implements them, and what is asked of all of those at once.

The lineup of a point is made when it is first needed after a plugin has changed its state, and serves
every dispatch until the next change.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import EllipsisType
from typing import Any

import anyio

from host import errors
from host.contracts.document import PointContract
from host.observability.bus import Bus
from host.observability.events import HostEvent, PluginProblem, StateChanged
from host.process.driver import Driver
from host.routing.dispatch import Dispatch, HookOutcome
from host.routing.explain import Explanation, explanation
from host.routing.extension_points import Point, undeclared
from host.routing.lineup import MAX_HOOKS, Lineup, circular, hooks_of, make_lineup
from host.routing.passage import is_timeout
from host.routing.point_fit import point_contract, unfit
from host.routing.router import Router
from host.supervision.offer import DEFAULT_TIMEOUT_S
from host.supervision.supervisor import Supervisor
from protocol.contract import nearest
from protocol.lifecycle import HookInfo, Provides
from protocol.methods import is_own_name

__all__ = ["Hooks"]

MAX_TOLD = 1000


class Hooks:
    """`points` are the declared ones; `plugins` is the host's own table, read and never changed here."""

    def __init__(
        self,
        points: Mapping[str, Point],
        plugins: Mapping[str, Supervisor],
        router: Router,
        driver: Driver,
        bus: Bus,
    ) -> None:
        self._points = points
        self._plugins = plugins
        self._router = router
        self._driver = driver
        self._bus = bus
        self._lineups: dict[str, Lineup] = {}
        self._told: set[tuple[str, str, str]] = set()
        bus.subscribe(self._look)

    async def dispatch(self, name: str, params: Any, timeout: float | EllipsisType | None) -> HookOutcome:
        """Asks whoever implements `name`. `timeout`, in seconds, is for all of them together.

        A lazy plugin that has never run is started first, because it may be one of them. Cancel-safe:
        the plugins are told.

        Raises:
            UnknownExtensionPoint, HookFailed; ContractError, NotSerializable and HostMisuse for params
            that are wrong whoever is asked.
        """
        if isinstance(timeout, EllipsisType):
            timeout = DEFAULT_TIMEOUT_S
        if not is_timeout(timeout):
            raise errors.HostMisuse(f"{timeout!r} is no timeout", hint="seconds, or None for no limit")
        deadline = None if timeout is None else self._driver.now() + timeout
        lineup = self._lineups.get(name) or self._lineup(name)
        if lineup.unasked:
            lineup = await self._meet(lineup, deadline)
        self._insist_on_somebody(lineup)
        return await Dispatch(
            lineup, params, deadline=deadline, router=self._router, driver=self._driver, bus=self._bus
        ).run()

    def explain(self, name: str) -> Explanation:
        """Who would be asked at `name` now, in what order, and why. Raises UnknownExtensionPoint."""
        lineup = self._lineup(name)
        self._insist_on_somebody(lineup)
        return explanation(lineup)

    def names(self) -> list[str]:
        """Of all points that are declared or implemented, sorted."""
        implemented = {hook.point for plugin in self._plugins.values() for hook in hooks_of(plugin)}
        return sorted({*self._points, *filter(is_own_name, implemented)})

    def schema_of(self, name: str) -> dict[str, Any] | None:
        """JSON Schema of the params: the point's own, else that of the first implementation."""
        lineup = self._lineup(name)
        if lineup.point.declared.params is not None:
            return lineup.point.declared.params
        schemas = (each.info.schema for each in lineup.implementations)
        found = next((schema.get("params") for schema in schemas if schema is not None), None)
        return found if isinstance(found, dict) else None

    def contract(self, name: str) -> PointContract | None:
        """What the point hands over and wants; None if there is no such point."""
        if name not in self.names():
            return None
        lineup = self._lineup(name)
        return point_contract(lineup.point, [each.plugin for each in lineup.implementations])

    def unfit(self, provides: Provides) -> list[str]:
        """Why a plugin that provides this cannot be one of those that are asked, line by line."""
        asked: dict[str, HookInfo] = {}  # of several at one point the first is asked, and no other
        for hook in provides.hooks[:MAX_HOOKS]:
            if hook.point in self._points:
                asked.setdefault(hook.point, hook)
        return [f"{name}: {line}" for name, hook in asked.items() for line in unfit(self._points[name], hook)]

    def forget(self) -> None:
        """Plugins have come or gone: what comes next looks again."""
        self._lineups.clear()

    # -- inside --------------------------------------------------------------------------------

    def _look(self, event: HostEvent) -> None:
        if type(event) is StateChanged:
            self.forget()

    def _lineup(self, name: str) -> Lineup:
        lineup = self._lineups.get(name)
        if lineup is None:
            if not is_own_name(name):
                raise self._unknown(name)
            point = self._points.get(name) or undeclared(name)
            lineup = make_lineup(point, self._plugins.values())
            if point.is_declared or lineup.implementations:  # or anybody could fill the table with names
                self._lineups[name] = lineup
            self._tell(lineup)
        return lineup

    async def _meet(self, lineup: Lineup, deadline: float | None) -> Lineup:
        left_s = lineup.point.declared.timeout_s
        if deadline is not None:
            left_s = min(left_s, max(0.0, deadline - self._driver.now()))
        with anyio.move_on_after(left_s):
            async with anyio.create_task_group() as tasks:
                for supervisor in lineup.unasked:
                    tasks.start_soon(supervisor.start, f"first dispatch of {lineup.point.name}")
        self.forget()
        return self._lineup(lineup.point.name)

    def _tell(self, lineup: Lineup) -> None:
        """Each problem once, however often lineups are made."""
        refused = [
            (each.plugin, f"refused: {circular(each.refused)}")
            for each in lineup.implementations
            if each.refused
        ]
        for plugin, problem in (*lineup.problems, *refused):
            key = (lineup.point.name, plugin, problem)
            if key not in self._told and len(self._told) < MAX_TOLD:
                self._told.add(key)
                file = self._plugins[plugin].candidate.file
                message = f"hook {lineup.point.name}: {problem}"
                self._bus.emit(PluginProblem(file=file, message=message, plugin=plugin))

    def _insist_on_somebody(self, lineup: Lineup) -> None:
        if not (lineup.point.is_declared or lineup.implementations or lineup.left_out):
            raise self._unknown(lineup.point.name)

    def _unknown(self, name: str) -> errors.UnknownExtensionPoint:
        close = nearest(name, self.names())
        hint = f"did you mean `{close}`?" if close else "outboard hooks lists those that there are"
        return errors.UnknownExtensionPoint(f"there is no extension point `{name}`", hint=hint)
