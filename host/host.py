"""`Host`: plugins inside an asyncio or trio program. A façade; every method hands on to the room that knows.

    async with Host(plugins=["plugins/"]) as host:
        await host.call("hello", "greet", name="Ada", timeout=1)

Entering returns once every eager plugin has left `starting`; a plugin's failure never raises there.
Leaving stops all of them, inside a bounded time, also when the body was cancelled. Installs no signal
handler, no log handler, and reads no configuration but the one it is given.
"""

from __future__ import annotations

import os
import platform
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import EllipsisType, TracebackType
from typing import Any

import anyio
import anyio.abc
import msgspec

import protocol
from host import errors
from host.config.json_schema import json_schema
from host.config.lines import KeyPath
from host.config.load import LayerFile, Layers
from host.config.places import user_places
from host.config.shown import Configured, Shown, shown
from host.config.words import parse_key
from host.environments.store import Environments
from host.observability.bus import Bus
from host.observability.events import HostEvent, StateChanged
from host.observability.lag import LoopLag
from host.observability.openmetrics import Measures, exposition, families
from host.observability.snapshot import HostStatus, Status, Why
from host.process.cgroup import Groups, NotDelegated, find_groups
from host.process.deadlines import Deadlines
from host.process.driver import current_driver
from host.routing.dispatch import HookOutcome
from host.routing.extension_points import ExtensionPoint, settled
from host.routing.hooks import Hooks
from host.routing.host_calls import HostCalls
from host.routing.router import Router
from host.routing.services import Services
from host.supervision.known import Known
from host.supervision.operator import Operator
from host.supervision.plan import Plan
from host.supervision.report import explain, report
from host.supervision.states import SERVING, State
from host.supervision.surroundings import Surroundings
from host.supervision.tree import SupervisorTree
from host.supervision.usage import UsageWatch
from protocol.lifecycle import MethodInfo

_Path = str | os.PathLike[str]


class Host:
    """Starts, supervises and calls plugins.

    `plugins`: folders to look for plugins in, or plugins themselves. `config`: an `outboard.toml`.
    `data_dir`: where each plugin's own folder is made. `state_file`: where it is kept which plugins are
    disabled, removed, added or quarantined, for the next host; without it nothing is kept.
    `extension_points`: what `hook` asks of many plugins at once.
    `cache_dir`: where the environments of plugins with dependencies are built, and where it is kept what
    lazy plugins provide; hosts may share it.
    `services`: functions that plugins may call if their manifests ask for it, by names like `mail.send`;
    async ones run on the loop, others each in a thread.
    `overrides`: where `configure` keeps what it changes; without it that holds until the host is left.

    Raises (on entering):
        ConfigError: with every problem of the configuration.
    """

    def __init__(
        self,
        *,
        config: _Path | Layers | None = None,
        plugins: Sequence[_Path] = (),
        data_dir: _Path | None = None,
        state_file: _Path | None = None,
        extension_points: Sequence[ExtensionPoint] = (),
        cache_dir: _Path | None = None,
        services: Mapping[str, Callable[..., Any]] | None = None,
        overrides: _Path | None = None,
    ) -> None:
        self._layers = config if isinstance(config, Layers) else _given(config, overrides)
        self._folders = [Path(folder) for folder in plugins]
        self._state_file = Path(state_file) if state_file is not None else None
        usual = user_places(os.environ, os.getuid())
        self._data_root = str(data_dir or usual.data)
        cache = os.path.abspath(cache_dir or usual.cache)
        self._environments_root = os.path.join(cache, "environments")
        self._known = Known(Path(cache, "provides"))
        self._extension_points = tuple(extension_points)
        self._services = dict(services or {})
        self._bus = Bus()
        self._usage: UsageWatch
        self._lag = LoopLag()
        self._bus.subscribe(self._look_at_new_processes)
        self._started_at = time.monotonic()
        self._failure: BaseException | None = None
        self._over: anyio.Event
        self._tree: SupervisorTree | None = None
        self._router: Router | None = None
        self._hooks: Hooks | None = None
        self._was_entered = False
        self.mode = "embedded"
        self.socket: str | None = None
        self.metrics_url: str | None = None
        self.is_guarded = False
        """Whether somebody ends what plugins have started if this process is killed."""

    # -- in and out ------------------------------------------------------------------------------

    async def __aenter__(self) -> Host:
        if self._was_entered:
            raise errors.HostMisuse("this host has been entered already", hint="make another Host")
        told = self._layers.load()
        config = told.config
        file = told.origin(("extension_points",)).file
        points, wrong = settled(self._extension_points, config.extension_points, file)
        if wrong:
            raise errors.ConfigError(wrong)
        try:
            self._driver = current_driver()
        except RuntimeError:
            raise errors.HostMisuse(
                "a host needs asyncio or trio around it",
                hint="use asyncio.run(main()) or trio.run(main), or BlockingHost",
            ) from None
        provided = Services(self._services, self._driver)
        self._was_entered = True
        self._deadlines = Deadlines(self._driver)
        self._usage = UsageWatch(self._driver.now)
        environments = Environments(
            self._environments_root, self._driver, timeout_s=config.host.environment_timeout
        )
        around = Surroundings(
            driver=self._driver,
            deadlines=self._deadlines,
            environments=environments,
            starts=anyio.CapacityLimiter(config.host.max_starts or 2 * (os.cpu_count() or 1)),
            instance=uuid.uuid4().hex[:8],
            data_root=self._data_root,
            groups=self._find_groups(),
            on_ask=lambda plugin, link, event: host_calls.hear(plugin, link, event),
        )
        tree = self._tree = SupervisorTree(
            told,
            self._layers,
            self._folders,
            around,
            self._bus,
            memory_file=self._state_file,
            known=self._known,
        )
        self._router = Router(tree.plugins, self._driver, self._bus)
        self._hooks = Hooks(points, tree.plugins, self._router, self._driver, self._bus)
        host_calls = HostCalls(tree.plugins, self._router, provided, self._driver, self._bus)
        self._started_at = time.monotonic()
        begun, self._over = anyio.Event(), anyio.Event()
        self._driver.spawn(partial(self._live, tree, environments, host_calls, begun))
        try:
            with anyio.CancelScope(shield=True):
                await begun.wait()
            await tree.populate()
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        tree = self._entered
        self._router = self._hooks = None
        try:
            await tree.leave()
        finally:  # also when it was cut short: what it has killed is to be reaped
            self._tree = None
            with anyio.CancelScope(shield=True):
                await self._over.wait()
        if self._failure is not None:
            raise self._failure

    async def _live(
        self, tree: SupervisorTree, environments: Environments, host_calls: HostCalls, begun: anyio.Event
    ) -> None:
        """The host's own task. No scope of the embedder's is around it, and none of ours around the
        embedder's body: so the host may be left in another task than the one that entered it."""
        try:
            async with anyio.create_task_group() as tasks:
                supervision = await tasks.start(tree.run)
                await supervision.start(environments.run)
                await supervision.start(host_calls.run)
                supervision.start_soon(self._usage.run, lambda: tree.generations)
                supervision.start_soon(self._lag.run)
                begun.set()
        except Exception as error:  # our own fault: it is told to whoever leaves
            self._failure = error
        finally:
            self._deadlines.close()
            self._driver.close()
            begun.set()
            self._over.set()

    # -- calls -----------------------------------------------------------------------------------

    async def call(
        self,
        plugin: str,
        method: str,
        /,
        *,
        timeout: float | EllipsisType | None = ...,
        params: Any = None,
        **named: Any,
    ) -> Any:
        """The result of a plugin's method, as JSON decodes it.

        `timeout` is in seconds, None for none; not given, it is the method's own, else 30 s.
        Parameters are given by name; `params` takes a dict or a struct for names that collide.
        Cancel-safe: the plugin is told.

        Raises:
            PluginNotFound, PluginUnavailable, PluginCrashed, DeadlineExceeded, RemoteError,
            MethodNotFound, ContractError, PluginBusy, PoisonCall, PayloadTooLarge, NotSerializable,
            HostMisuse.
        """
        raw = await self.call_raw(plugin, method, named if params is None else params, timeout)
        return msgspec.json.decode(raw)

    async def call_raw(
        self, plugin: str, method: str, params: Any, timeout: float | EllipsisType | None
    ) -> msgspec.Raw:
        """Like `call`, with the result as raw JSON: for handing it on as it is."""
        router = self._router
        if router is None or not self._driver.is_current():  # 0.1 us: an identity, and no lock
            raise self._misuse()
        return await router.call(plugin, method, params, timeout)

    async def hook(
        self,
        point: str,
        /,
        *,
        timeout: float | EllipsisType | None = ...,
        params: Any = None,
        **named: Any,
    ) -> HookOutcome:
        """Asks every plugin that implements an extension point, as its mode says.

        `timeout`, in seconds, is for all of them together: 30 unless given, None for none. Who has not
        answered by then has failed, which costs what the point says. Cancel-safe: the plugins are told.

        Raises:
            UnknownExtensionPoint, HookFailed; ContractError, NotSerializable and HostMisuse for params
            that are wrong whoever is asked.
        """
        return await self.hooks.dispatch(point, named if params is None else params, timeout)

    # -- plugins come and go -----------------------------------------------------------------------

    async def add(self, path: _Path) -> str:
        """Registers the plugin at `path` and starts it if it is eager; returns its name.

        Raises:
            ManifestError: with every problem. PluginExists: the name is taken.
        """
        name = await self._entered.add(Path(path))
        self.hooks.forget()  # a lazy plugin comes without a change of state
        return name

    async def remove(self, name: str) -> None:
        """Stops a plugin and forgets it. Raises PluginNotFound."""
        await self._entered.remove(name)

    async def reload(self, *, dry_run: bool = False) -> Plan:
        """Reads configuration, folders and manifests again and makes it so; returns what changed.

        `dry_run` only says what would change. Raises ConfigError, and then nothing was changed.
        """
        made = await self._entered.reload(dry_run=dry_run)
        self.hooks.forget()
        return made

    async def configure(self, changes: Mapping[str, Any], *, dry_run: bool = False) -> Plan:
        """Changes keys of the configuration, like `plugins.hello.settings.greeting`; returns what it did.

        All of `changes` hold together, or none. `UNSET` (of msgspec) takes back what was configured so.
        A plugin that takes changes while it runs is told; another one is restarted.

        Raises:
            ConfigError: with every problem; nothing was changed.
        """
        paths = dict(zip(_keys(changes), changes.values(), strict=True))
        made = await self._entered.configure(paths, dry_run=dry_run)
        self.hooks.forget()
        return made

    def configuration(self, prefix: str = "") -> list[Shown]:
        """Every key that holds, at and below `prefix`, with its origin; secrets are masked.

        Raises ConfigError for a prefix that is no key.
        """
        path = _keys([prefix])[0] if prefix else ()
        return shown(self._entered.told, self._configured(), path)

    def configuration_schema(self) -> dict[str, Any]:
        """JSON Schema of an `outboard.toml`, with the settings of the plugins that have told theirs."""
        return json_schema({name: plugin.schema for name, plugin in self._configured().items()})

    async def start(self, name: str) -> None:
        """Starts a plugin and waits until it runs, or does not.

        Raises:
            PluginNotFound, PluginDisabled, PluginUnavailable.
        """
        await Operator(self._entered).start(name)

    async def stop(self, name: str) -> None:
        """Stops a plugin; it stays stopped. Raises PluginNotFound."""
        await Operator(self._entered).stop(name)

    async def restart(self, name: str) -> None:
        """A new process, with a clean record. Raises PluginNotFound, PluginDisabled, PluginUnavailable."""
        await Operator(self._entered).restart(name)

    async def release(self, name: str) -> bool:
        """Clears a plugin's record, and starts it if it is held back; False if there was nothing to clear.

        Raises:
            PluginNotFound, PluginDisabled, PluginUnavailable.
        """
        return await Operator(self._entered).release(name)

    async def enable(self, name: str) -> bool:
        """Lets a plugin run again, and starts it if it is eager; False if it was enabled already.

        Raises:
            PluginNotFound, PluginUnavailable.
        """
        return await Operator(self._entered).enable(name)

    async def disable(self, name: str) -> bool:
        """Stops a plugin and keeps it from running until it is enabled; False if it was disabled already.

        Raises:
            PluginNotFound.
        """
        return await Operator(self._entered).disable(name)

    # -- looking -----------------------------------------------------------------------------------

    def status(self, name: str | None = None) -> Status:
        """A frozen picture of everything, or of one plugin. Asks no plugin. Raises PluginNotFound."""
        tree = self._entered
        wanted = list(tree.plugins.values()) if name is None else [tree.known(name)]
        now = self._driver.now()
        reports = []
        for supervisor in sorted(wanted, key=lambda supervisor: supervisor.name):
            reports.append(report(supervisor, now=now))
        host = HostStatus(
            pid=os.getpid(),
            version=protocol.__version__,
            uptime_s=round(time.monotonic() - self._started_at, 3),
            socket=self.socket,
            metrics_url=self.metrics_url,
            mode=self.mode,
            descendants_after_host_death=self._after_death,
            loop_lag_p99_ms=self._lag.p99_ms,
            python=platform.python_version(),
            platform=sys.platform,
            problems=[str(problem) for problem in tree.problems],
        )
        return Status(host=host, plugins=reports)

    def why(self, name: str) -> Why:
        """Why a plugin is as it is, with how its processes ended. Raises PluginNotFound."""
        return explain(self._entered.known(name), now=self._driver.now())

    def measures(self) -> Measures:
        """A frozen picture of everything that is counted. Asks no plugin."""
        return Measures(
            status=self.status(),
            plugins={name: supervisor.stats.copy() for name, supervisor in self._entered.plugins.items()},
            loop_lag=self._lag.latency.copy(),
            states=list(State),
            serving=list(SERVING),
        )

    def metrics(self) -> str:
        """What `measures` says, as OpenMetrics text."""
        return exposition(families(self.measures()))

    def methods_of(self, plugin: str) -> list[MethodInfo]:
        """What a plugin says of its methods; nothing before it has run once. Raises PluginNotFound."""
        return self._entered.known(plugin).offer.provides.methods

    @property
    def hooks(self) -> Hooks:
        """The extension points, and who implements them."""
        if self._hooks is None or not self._driver.is_current():
            raise self._misuse()
        return self._hooks

    def on_event(self, subscriber: Callable[[HostEvent], None]) -> Callable[[], None]:
        """Calls `subscriber` with everything that happens; returns the function that ends it.

        May be asked from anywhere, also before entering. It is called on the loop, and must not block.
        """
        return self._bus.subscribe(subscriber)

    # -- inside ------------------------------------------------------------------------------------

    def _configured(self) -> dict[str, Configured]:
        return {
            name: Configured(
                manifest=plugin.candidate.manifest,
                file=plugin.candidate.file,
                policy=plugin.policy,
                schema=plugin.offer.provides.config_schema,
            )
            for name, plugin in self._entered.plugins.items()
        }

    @property
    def _entered(self) -> SupervisorTree:
        if self._tree is None or not self._driver.is_current():
            raise self._misuse()
        return self._tree

    def _misuse(self) -> errors.HostMisuse:
        if self._tree is None:
            what = "this host has been left" if self._was_entered else "this host has not been entered"
            return errors.HostMisuse(what, hint="use it inside `async with Host(...) as host:`")
        return errors.HostMisuse(
            "this host belongs to another event loop",
            hint="use it from the loop and the thread that entered it; from any thread, use BlockingHost",
        )

    def _find_groups(self) -> Groups | None:
        try:
            return find_groups(settle=self.mode == "daemon")
        except NotDelegated:
            return None

    @property
    def _after_death(self) -> str:
        if self.is_guarded:
            return "guardian"
        return "next-start" if self._state_file is not None and sys.platform == "linux" else "none"

    def _look_at_new_processes(self, event: HostEvent) -> None:
        if isinstance(event, StateChanged) and event.state in SERVING:
            self._usage.look_soon()


def _given(config: _Path | None, overrides: _Path | None) -> Layers:
    """Of an embedded host: what it is given, and nothing of the machine's or the user's."""
    files = () if config is None else (LayerFile("config", Path(config), required=True),)
    return Layers(files=files, overrides=None if overrides is None else Path(overrides))


def _keys(texts: Iterable[str]) -> list[KeyPath]:
    """Raises ConfigError."""
    try:
        return [parse_key(text) for text in texts]
    except ValueError as mistake:
        raise errors.ConfigError([mistake]) from None
