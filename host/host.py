"""`Host`: plugins inside an asyncio or trio program. A façade; every method hands on to the room that knows.

    async with Host(plugins=["plugins/"]) as host:
        await host.call("hello", "greet", name="Ada", timeout=1)

Entering returns once every eager plugin has left `starting`; a plugin's failure never raises there.
Leaving stops all of them, inside a bounded time, also when the body was cancelled. Installs no signal
handler, no log handler, and reads no configuration but the one it is given.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import EllipsisType, TracebackType
from typing import Any, TypeVar, overload

import msgspec

from host import errors
from host.config.json_schema import json_schema
from host.config.lines import KeyPath
from host.config.load import LayerFile, Layers
from host.config.places import user_places
from host.config.sections import Sections
from host.config.shown import Shown, shown
from host.config.words import parse_key
from host.contracts.document import PluginContract, PointContract
from host.engine import Engine, Given
from host.observability.bus import Bus
from host.observability.events import HostEvent, PluginProblem
from host.observability.openmetrics import Measures, exposition, families
from host.observability.snapshot import Status, Why
from host.process.link import OnProgress
from host.proxy import Proxied, async_method, object_of
from host.routing.dispatch import HookOutcome
from host.routing.extension_points import ExtensionPoint
from host.routing.hooks import Hooks
from host.routing.listeners import Listeners, Published
from host.routing.router import Router
from host.routing.stream import Stream
from host.routing.topics import Topic, by_name, encoded
from host.store.stores import Stores
from host.supervision.app_settings import AppSettings
from host.supervision.known import Known
from host.supervision.operator import Operator
from host.supervision.plan import Plan
from host.supervision.report import contract_of, explain
from host.supervision.states import SERVING, State
from host.supervision.tree import SupervisorTree
from protocol.lifecycle import MethodInfo, Provides

_Path = str | os.PathLike[str]
S = TypeVar("S", bound=msgspec.Struct)
T = TypeVar("T")


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
    `overrides`: where `configure` and plugins keep what they change; without it that holds until the host is
    left.
    `sections`: the app's own tables of `config`, each with the struct that it has to be: see `settings`.
    `topics`: those that the app publishes, or has a word to say about; see `publish`.
    `warm_start`: whether Python plugins are forked from a process that has the SDK imported; None leaves it
    to `host.warm_start` of the configuration.

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
        sections: Mapping[str, type[msgspec.Struct]] | None = None,
        topics: Sequence[Topic] = (),
        warm_start: bool | None = None,
    ) -> None:
        usual = user_places(os.environ, os.getuid())
        cache = os.path.abspath(cache_dir or usual.cache)
        self._bus = Bus()
        own = Sections(dict(sections or {}))
        if mistake := own.misuse():
            raise errors.HostMisuse(mistake, hint="see `sections` of Host")
        self._app = AppSettings(own, lambda text: self._bus.emit(PluginProblem(file="", message=text)))
        layers = config if isinstance(config, Layers) else _layers(config, overrides)
        self._given = Given(
            layers=msgspec.structs.replace(layers, sections=own),
            app=self._app,
            folders=[Path(folder) for folder in plugins],
            data_root=os.path.abspath(data_dir or usual.data),  # plugins have a working folder of their own
            state_file=Path(state_file) if state_file is not None else None,
            environments_root=os.path.join(cache, "environments"),
            known=Known(Path(cache, "provides")),
            extension_points=tuple(extension_points),
            services=dict(services or {}),
            topics=by_name(topics),
            listeners=Listeners(self._bus.told_off),
            warm_start=warm_start,
        )
        self._engine: Engine | None = None
        self._router: Router | None = None
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
        engine = Engine(self._given, self._bus)
        self._was_entered = True
        self._engine, self._router, self._driver = engine, engine.router, engine.driver
        try:
            await engine.begin()
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
        engine = self._entered
        self._router = None
        try:
            await engine.tree.leave()
        finally:  # also when it was cut short: what it has killed is to be reaped
            self._engine = None
            try:
                await engine.wait_over()
            finally:
                self._bus.told_off.end()
        if engine.failure is not None:
            raise engine.failure

    # -- calls -----------------------------------------------------------------------------------

    async def call(
        self,
        plugin: str,
        method: str,
        /,
        *,
        timeout: float | EllipsisType | None = ...,
        params: Any = None,
        on_progress: OnProgress | None = None,
        **named: Any,
    ) -> Any:
        """The result of a plugin's method, as JSON decodes it.

        `timeout` is in seconds, None for none; not given, it is the method's own, else 30 s.
        Parameters are given by name; `params` takes a dict or a struct for names that collide.
        One that takes items gets them from any iterable, also an async one, as far as the plugin uses them.
        `on_progress` is called on the loop, with done, total and message, as the plugin gets on.
        Cancel-safe: the plugin is told.

        Raises:
            PluginNotFound, ManifestError, PluginUnavailable, PluginCrashed, DeadlineExceeded, RemoteError,
            MethodNotFound, ContractError, PluginBusy, PoisonCall, PayloadTooLarge, NotSerializable,
            HostMisuse.
        """
        router = self._router
        if router is None or not self._driver.is_current():  # 0.1 us: an identity, and no lock
            raise self._misuse()
        if params is None:
            params = named
        supervisor, timeout = router.found(plugin, method, timeout)
        # Not by way of `Router.call`, nor through a coroutine more: 0.3 us each.
        return await router.ask(supervisor, method, params, timeout, True, on_progress)

    async def call_raw(
        self,
        plugin: str,
        method: str,
        params: Any,
        timeout: float | EllipsisType | None,
        on_progress: OnProgress | None = None,
    ) -> msgspec.Raw:
        """Like `call`, with the result as raw JSON: for handing it on as it is."""
        router = self._router
        if router is None or not self._driver.is_current():
            raise self._misuse()
        return await router.call(plugin, method, params, timeout, on_progress)  # type: ignore[no-any-return]

    def proxy(
        self, plugin: str, api: Callable[..., T], /, *, timeout: float | EllipsisType | None = ...
    ) -> T:
        """The plugin as an object of the type `api`, a `typing.Protocol` of `async def` methods.

        Each method calls the plugin's method of that name; arguments may be positional, defaults are the
        Protocol's, a result is what its annotation says, structs too. `timeout` is each call's, as in `call`.
        A plain `def` that returns `AsyncIterator[T]` is a `stream`.

        Raises:
            PluginNotFound; HostMisuse: `api` is no such Protocol. ContractError: the plugin does not provide
            it, with every difference. Of a plugin that has never run, the first call says so.
        """
        proxied = self._proxied(plugin, api, timeout, is_async=True)
        return object_of(proxied, partial(async_method, proxied))  # type: ignore[no-any-return]

    def stream(
        self,
        plugin: str,
        method: str,
        /,
        *,
        timeout: float | EllipsisType | None = ...,
        params: Any = None,
        on_progress: OnProgress | None = None,
        **named: Any,
    ) -> Stream:
        """The items of a plugin's method, one by one, for `async for`. Like `call`, which see.

            async for line in host.stream("tail", "lines", path="x", timeout=None): ...

        It begins with the first item. Who reads slowly slows the plugin down. Leaving early tells the
        plugin; `async with` does so at a certain point. `timeout` is for all of it.

        Raises (while it is iterated): what `call` raises, after the items that came until then.
        """
        router = self._router
        if router is None or not self._driver.is_current():
            raise self._misuse()
        return router.stream(plugin, method, named if params is None else params, timeout, on_progress)

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

    # -- events between plugins --------------------------------------------------------------------

    async def publish(self, topic: str, value: Any) -> None:
        """Tells every plugin, and every `subscribe`, that hears of `topic`. Waits for none of them.

        The topic is one of those that the host was given.

        Raises:
            UnknownTopic, ContractError (the value does not fit), PayloadTooLarge, NotSerializable.
        """
        self._entered.topics.publish(topic, encoded(value), None)

    def subscribe(self, topic: str, subscriber: Callable[[Published], None]) -> Callable[[], None]:
        """Calls `subscriber` with everything that is published as `topic`; returns the function that ends it.

        May be asked from anywhere, also before entering. It is called on the loop, and must not block.
        """
        return self._given.listeners.subscribe(topic, subscriber)

    # -- plugins come and go -----------------------------------------------------------------------

    async def add(self, path: _Path) -> str:
        """Registers the plugin at `path` and starts it if it is eager; returns its name.

        Raises:
            ManifestError: with every problem. PluginExists: the name is taken.
        """
        name = await self._tree.add(Path(path))
        self.hooks.forget()  # a lazy plugin comes without a change of state
        return name

    async def take_installed(self, path: _Path) -> str:
        """As `add`, of a plugin in a folder that this host looks through; another version of one that is
        here already takes its place, with a new process. Returns its name.

        Raises:
            ManifestError: with every problem. PluginExists: the name is that of a plugin from elsewhere.
        """
        name = await self._tree.take_installed(Path(path))
        self.hooks.forget()
        return name

    async def remove(self, name: str, *, purge: bool = False) -> None:
        """Stops a plugin and forgets it; `purge` also removes its store and its data folder, for good.

        Raises:
            PluginNotFound. StoreUnavailable: it is removed, and not all of its data is.
        """
        data = self._entered.data_of(name) if purge else None
        await self._tree.remove(name)
        if data is not None:
            await data.purge()

    async def reload(self, *, dry_run: bool = False) -> Plan:
        """Reads configuration, folders and manifests again and makes it so; returns what changed.

        `dry_run` only says what would change. Raises ConfigError, and then nothing was changed.
        """
        made = await self._tree.reloading.reload(dry_run=dry_run)
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
        made = await self._tree.reloading.configure(paths, dry_run=dry_run)
        self.hooks.forget()
        return made

    def configuration(self, prefix: str = "") -> list[Shown]:
        """Every key that holds, at and below `prefix`, with its origin; secrets are masked.

        Raises ConfigError for a prefix that is no key.
        """
        path = _keys([prefix])[0] if prefix else ()
        tree = self._tree
        return shown(tree.reloading.told, tree.roster.configured, path, self._app.sections)

    def configuration_schema(self) -> dict[str, Any]:
        """JSON Schema of an `outboard.toml`, with the settings of the plugins that have told theirs."""
        known = {name: plugin.schema for name, plugin in self._tree.roster.configured.items()}
        return json_schema(known, self._app.sections.schemas)

    @overload
    def settings(self, section: type[S]) -> S: ...

    @overload
    def settings(self, section: str) -> Any: ...

    def settings(self, section: type[S] | str) -> Any:
        """The app's own settings in one of its `sections`, by its struct or its name, as they hold now."""
        _ = self._tree
        return self._app.values[self._section(section)]

    @overload
    def on_config_change(
        self, section: type[S], subscriber: Callable[[S, S], None]
    ) -> Callable[[], None]: ...

    @overload
    def on_config_change(
        self, section: str, subscriber: Callable[[Any, Any], None]
    ) -> Callable[[], None]: ...

    def on_config_change(
        self, section: type[S] | str, subscriber: Callable[[Any, Any], None]
    ) -> Callable[[], None]:
        """Calls `subscriber` with a section as it was and as it is, whenever it has changed; returns the
        function that ends it.

        May be asked from anywhere, also before entering. It is called on the loop, and must not block.
        """
        return self._app.subscribe(self._section(section), subscriber)

    async def start(self, name: str) -> None:
        """Starts a plugin and waits until it runs, or does not.

        Raises:
            PluginNotFound, PluginDisabled, PluginUnavailable.
        """
        await Operator(self._tree).start(name)

    async def stop(self, name: str) -> None:
        """Stops a plugin; it stays stopped. Raises PluginNotFound."""
        await Operator(self._tree).stop(name)

    async def restart(self, name: str) -> None:
        """A new process, with a clean record. Raises PluginNotFound, PluginDisabled, PluginUnavailable."""
        await Operator(self._tree).restart(name)

    async def release(self, name: str) -> bool:
        """Clears a plugin's record, and starts it if it is held back; False if there was nothing to clear.

        Raises:
            PluginNotFound, PluginDisabled, PluginUnavailable.
        """
        return await Operator(self._tree).release(name)

    async def enable(self, name: str) -> bool:
        """Lets a plugin run again, and starts it if it is eager; False if it was enabled already.

        Raises:
            PluginNotFound, PluginUnavailable.
        """
        return await Operator(self._tree).enable(name)

    async def disable(self, name: str) -> bool:
        """Stops a plugin and keeps it from running until it is enabled; False if it was disabled already.

        Raises:
            PluginNotFound.
        """
        return await Operator(self._tree).disable(name)

    # -- looking -----------------------------------------------------------------------------------

    def status(self, name: str | None = None) -> Status:
        """A frozen picture of everything, or of one plugin. Asks no plugin. Raises PluginNotFound."""
        return self._entered.status(
            name,
            mode=self.mode,
            socket=self.socket,
            metrics_url=self.metrics_url,
            is_guarded=self.is_guarded,
        )

    def why(self, name: str) -> Why:
        """Why a plugin is as it is, with how its processes ended. Raises PluginNotFound."""
        return explain(self._tree.roster.named(name), now=self._driver.now())

    def measures(self) -> Measures:
        """A frozen picture of everything that is counted. Asks no plugin."""
        return Measures(
            status=self.status(),
            plugins={name: supervisor.stats.copy() for name, supervisor in self._tree.plugins.items()},
            loop_lag=self._entered.lag.latency.copy(),
            states=list(State),
            serving=list(SERVING),
        )

    def metrics(self) -> str:
        """What `measures` says, as OpenMetrics text."""
        return exposition(families(self.measures()))

    def methods_of(self, plugin: str) -> list[MethodInfo]:
        """What a plugin says of its methods; nothing before it has run once. Raises PluginNotFound."""
        return self.provides_of(plugin).methods

    def provides_of(self, plugin: str) -> Provides:
        """All that a plugin says of itself; nothing before it has run once. Raises PluginNotFound."""
        return self._tree.roster.named(plugin).offer.provides

    @property
    def stores(self) -> Stores:
        """What plugins keep."""
        return self._entered.stores

    @property
    def hooks(self) -> Hooks:
        """The extension points, and who implements them."""
        if self._router is None:  # it is being left
            raise self._misuse()
        return self._entered.hooks

    def contract(self, name: str) -> PluginContract | PointContract:
        """What a plugin, or else an extension point, of that name promises. Raises PluginNotFound."""
        found = self._tree.roster.plugins.get(name)
        if found is None:
            point = self.hooks.contract(name)
            return point if point is not None else contract_of(self._tree.roster.named(name))
        return contract_of(found)

    def on_event(self, subscriber: Callable[[HostEvent], None]) -> Callable[[], None]:
        """Calls `subscriber` with everything that happens; returns the function that ends it.

        May be asked from anywhere, also before entering. It is called on the loop, and must not block.
        """
        return self._bus.subscribe(subscriber)

    # -- inside ------------------------------------------------------------------------------------

    def _proxied(
        self, plugin: str, api: Any, timeout: float | EllipsisType | None, *, is_async: bool
    ) -> Proxied:
        """What is behind a `proxy`, for those who make another kind of it."""
        roster = self._tree.roster
        roster.named(plugin)

        def look() -> tuple[object, Sequence[MethodInfo]] | None:
            found = roster.plugins.get(plugin)
            if found is None or not found.is_known:
                return None
            return found.offer.contract, found.offer.provides.methods

        def begin(plugin: str, method: str, params: Any, timeout: float | EllipsisType | None) -> Stream:
            return self.stream(plugin, method, params=params, timeout=timeout)

        return Proxied(plugin, api, self.call_raw, begin, look, timeout, is_async=is_async)

    @property
    def _entered(self) -> Engine:
        if self._engine is None or not self._driver.is_current():
            raise self._misuse()
        return self._engine

    @property
    def _tree(self) -> SupervisorTree:
        return self._entered.tree

    def _section(self, section: type[msgspec.Struct] | str) -> str:
        name = self._app.sections.name_of(section)
        if name is None:
            what = section if isinstance(section, str) else section.__name__
            known = ", ".join(self._app.sections.types) or "none"
            hint = f"it has: {known}; Host(sections={{...}}) declares them"
            raise errors.HostMisuse(f"this host has no section `{what}`", hint=hint)
        return name

    def _misuse(self) -> errors.HostMisuse:
        if self._engine is None:
            what = "this host has been left" if self._was_entered else "this host has not been entered"
            return errors.HostMisuse(what, hint="use it inside `async with Host(...) as host:`")
        return errors.HostMisuse(
            "this host belongs to another event loop",
            hint="use it from the loop and the thread that entered it; from any thread, use BlockingHost",
        )


def _layers(config: _Path | None, overrides: _Path | None) -> Layers:
    """Of an embedded host: what it is given, and nothing of the machine's or the user's."""
    files = () if config is None else (LayerFile("config", Path(config), required=True),)
    return Layers(files=files, overrides=None if overrides is None else Path(overrides))


def _keys(texts: Iterable[str]) -> list[KeyPath]:
    """Raises ConfigError."""
    try:
        return [parse_key(text) for text in texts]
    except ValueError as mistake:
        raise errors.ConfigError([mistake]) from None
