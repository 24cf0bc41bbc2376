"""What a host consists of between entering and leaving: its rooms, put together, and the task they run in."""

from __future__ import annotations

import os
import platform
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import msgspec

import protocol
from host import errors
from host.config.load import Layers
from host.environments.store import Environments
from host.observability.bus import Bus
from host.observability.events import HostEvent, PluginProblem, StateChanged
from host.observability.lag import LoopLag
from host.observability.snapshot import HostStatus, Status
from host.process.cgroup import Groups, find_groups, manager_ends_the_rest
from host.process.deadlines import Deadlines
from host.process.delegation import NotDelegated
from host.process.driver import Driver, current_driver
from host.process.starter import Starter
from host.routing.extension_points import ExtensionPoint, settled
from host.routing.hooks import Hooks
from host.routing.host_calls import HostCalls
from host.routing.listeners import Listeners
from host.routing.own_settings import OwnSettings
from host.routing.router import Router
from host.routing.services import Services
from host.routing.store_requests import StoreRequests
from host.routing.topics import Topic, Topics
from host.store.data import Data
from host.store.stores import Stores
from host.supervision.app_settings import AppSettings
from host.supervision.known import Known
from host.supervision.report import report
from host.supervision.states import LIVE, SERVING
from host.supervision.surroundings import Surroundings
from host.supervision.tree import SupervisorTree
from host.supervision.usage import UsageWatch

STORES = ".store"
"""Beside the plugins' own folders; no plugin can have a name like that."""


class Given(msgspec.Struct, frozen=True, kw_only=True):
    """What a host is made of; see `Host` for each."""

    layers: Layers
    app: AppSettings
    folders: list[Path]
    data_root: str
    state_file: Path | None
    environments_root: str
    known: Known
    extension_points: tuple[ExtensionPoint, ...]
    services: dict[str, Callable[..., Any]]
    topics: dict[str, Topic]
    listeners: Listeners
    warm_start: bool | None


class Engine:
    """For one time in and out, on the loop that it is made on.

    Raises:
        ConfigError: with every problem. HostMisuse: there is no event loop, or a service is none.
    """

    def __init__(self, given: Given, bus: Bus) -> None:
        told = given.layers.load()
        config = told.config
        file = told.origin(("extension_points",)).file
        points, wrong = settled(given.extension_points, config.extension_points, file)
        if wrong:
            raise errors.ConfigError(wrong)
        self.driver = _driver_here()
        services = Services(given.services, self.driver)
        self.lag = LoopLag()
        self._given = given
        self._bus = bus
        self._deadlines = Deadlines(self.driver)
        self._usage = UsageWatch(self.driver.now)
        self._environments = Environments(
            given.environments_root, self.driver, timeout_s=config.host.environment_timeout
        )
        instance = uuid.uuid4().hex[:8]
        groups, self._cgroup = _groups(instance)
        self._groups = groups
        self._is_ended_by_manager = manager_ends_the_rest(os.environ, os.getpid())
        is_warm = config.host.warm_start if given.warm_start is None else given.warm_start
        self._starter = Starter(self.driver, instance, given.data_root, is_warm=is_warm, tell=bus.emit)
        around = Surroundings(
            driver=self.driver,
            deadlines=self._deadlines,
            environments=self._environments,
            starter=self._starter,
            starts=anyio.CapacityLimiter(config.host.max_starts or 2 * (os.cpu_count() or 1)),
            instance=instance,
            data_root=given.data_root,
            groups=groups,
            on_ask=lambda plugin, link, event: self._host_calls.hear(plugin, link, event),
            unfit=lambda provides: self.hooks.unfit(provides),
        )
        tree = self.tree = SupervisorTree(
            told,
            given.layers,
            given.folders,
            around,
            bus,
            app=given.app,
            memory_file=given.state_file,
            known=given.known,
        )
        self.router = Router(tree.plugins, self.driver, bus, tree.roster.absent)
        self.hooks = Hooks(points, tree.plugins, self.router, self.driver, bus)
        own_settings = OwnSettings(tree.plugins, tree.reloading, self.driver.now)
        self.stores = Stores(os.path.join(given.data_root, STORES), self._tell_of_store)
        own = StoreRequests(self.stores, tree.plugins).methods
        self.topics = Topics(given.topics, given.listeners, tree.plugins, bus)
        self._host_calls = HostCalls(
            tree.plugins, self.router, services, own_settings, self.driver, bus, self.topics, own
        )
        self._started_at = time.monotonic()
        self._begun, self._over = anyio.Event(), anyio.Event()
        self.failure: BaseException | None = None
        """What went wrong in its own task."""
        bus.subscribe(self._look_at_who_came_or_went)

    async def begin(self) -> None:
        """Returns once every eager plugin has left `starting`."""
        self.driver.spawn(self._live)
        with anyio.CancelScope(shield=True):
            await self._begun.wait()
        await self.tree.populate()

    async def wait_over(self) -> None:
        """Until its own task is over, which `tree.leave` leads to."""
        with anyio.CancelScope(shield=True):
            await self._over.wait()

    async def _live(self) -> None:
        """The host's own task. No scope of the embedder's is around it, and none of ours around the
        embedder's body: so the host may be left in another task than the one that entered it."""
        try:
            async with anyio.create_task_group() as tasks:
                supervision = await tasks.start(self.tree.run)
                await supervision.start(self._environments.run)
                await supervision.start(self._host_calls.run)
                supervision.start_soon(self._usage.run, lambda: self.tree.roster.generations)
                supervision.start_soon(self.lag.run)
                supervision.start_soon(self.stores.run)
                self._begun.set()
        except Exception as error:  # our own fault: it is told to whoever leaves
            self.failure = error
        finally:
            with anyio.CancelScope(shield=True):
                await self.stores.close()
                await self._starter.close()
            if self._groups is not None:
                self._groups.close()
            self._deadlines.close()
            self.driver.close()
            self._begun.set()
            self._over.set()

    def status(
        self, name: str | None, *, mode: str, socket: str | None, metrics_url: str | None, is_guarded: bool
    ) -> Status:
        """Of all plugins, or of one. Raises PluginNotFound."""
        roster = self.tree.roster
        wanted = list(roster.plugins.values()) if name is None else [roster.named(name)]
        now = self.driver.now()
        host = HostStatus(
            pid=os.getpid(),
            version=protocol.__version__,
            uptime_s=round(time.monotonic() - self._started_at, 3),
            socket=socket,
            metrics_url=metrics_url,
            mode=mode,
            descendants_after_host_death=self._after_host_death(is_guarded=is_guarded),
            cgroup=self._cgroup,
            warm_start=self._starter.status(),
            loop_lag_p99_ms=self.lag.p99_ms,
            python=platform.python_version(),
            platform=sys.platform,
            problems=[str(problem) for problem in self.tree.complaints.all],
        )
        by_name = sorted(wanted, key=lambda supervisor: supervisor.name)
        reports = [
            report(each, now=now, store=self.stores.status(each.name, each.policy.store_bytes))
            for each in by_name
        ]
        return Status(host=host, plugins=reports)

    def data_of(self, name: str) -> Data:
        """Raises PluginNotFound, and HostMisuse for a plugin that lives where its own data does."""
        supervisor = self.tree.roster.named(name)
        return Data(self.stores, name, os.path.join(self._given.data_root, name), supervisor.candidate.file)

    def _tell_of_store(self, plugin: str, file: str, text: str) -> None:
        self._bus.emit(PluginProblem(file=file, message=text, plugin=plugin))

    def _after_host_death(self, *, is_guarded: bool) -> str:
        if is_guarded:
            return "guardian"
        if self._is_ended_by_manager:
            return "cgroup"
        remembers = self._given.state_file is not None and sys.platform == "linux"
        return "next-start" if remembers else "none"

    def _look_at_who_came_or_went(self, event: HostEvent) -> None:
        """Of who is there, files are kept open; of who has gone, they are closed."""
        if isinstance(event, StateChanged) and (event.state in SERVING or event.previous in LIVE):
            self._usage.look_soon()


def _driver_here() -> Driver:
    try:
        return current_driver()
    except RuntimeError:
        raise errors.HostMisuse(
            "a host needs asyncio or trio around it",
            hint="use asyncio.run(main()) or trio.run(main), or BlockingHost",
        ) from None


def _groups(instance: str) -> tuple[Groups | None, str]:
    """And what there is to say of it."""
    try:
        groups = find_groups(instance)
    except NotDelegated as why:
        return None, f"none: {why}"
    return groups, f"{', '.join(groups.controllers) or 'no controller'}: {groups.folder}"
