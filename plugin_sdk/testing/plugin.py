"""`running`, and what a test has inside of it."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from plugin_sdk import errors
from plugin_sdk.calls import Question
from plugin_sdk.declarations import Declarations
from plugin_sdk.signature import Handler
from plugin_sdk.testing.asking import Begun, Items
from plugin_sdk.testing.life import Life
from plugin_sdk.testing.settings import Settings
from plugin_sdk.testing.source import Source, source_of
from plugin_sdk.testing.store import MemoryStore
from plugin_sdk.testing.surroundings import Asked, Fake, LogLine, Published, Surroundings
from protocol.contract import nearest
from protocol.errors import ErrorCode, RpcError
from protocol.filters import read_filter
from protocol.lifecycle import PluginIdentity
from protocol.streams import CREDIT
from protocol.topics import EventParams

TIMEOUT_S = 5.0


@contextmanager
def running(
    plugin: str | os.PathLike[str] | Declarations,
    *,
    settings: Mapping[str, Any] | None = None,
    services: Mapping[str, Fake] | None = None,
    plugins: Mapping[str, Mapping[str, Fake]] | None = None,
    store: Mapping[str, Any] | None = None,
    timeout: float = TIMEOUT_S,
) -> Iterator[RunningPlugin]:
    """Runs the plugin at a path, or a `Plugin`, for as long as the block lasts.

    `plugin`: a folder, its plugin.toml, or a one-file plugin. `settings` are laid over the manifest's.
    `services` are functions in the place of the app's, by name: `{"mail.send": send}`. `plugins` are
    functions in the place of other plugins' methods: `{"library": {"find": find}}`. What such a function
    returns is the answer, items for a stream; what it raises is an error: a `PluginError` as it is,
    `TimeoutError` as `DeadlineExceeded`, `ConnectionError` as `PluginUnavailable`, another as `RemoteError`.
    `store` is what is in `ctx.store`. `timeout` is how long anything may take, seconds.

    A `Plugin` has no manifest: it may ask for anything, and its module stays as it is.

    Raises:
        What the plugin's module raises. ValueError: the manifest is wrong. NotReady: start code says so.
        SettingsRefused: with every problem. CallFailed: start code raised, or stop code did.
        TimeoutError: a handler of it is still at work at the end of the block.
    """
    with tempfile.TemporaryDirectory(prefix="outboard-test-", ignore_cleanup_errors=True) as folder:
        entered = RunningPlugin(
            source_of(plugin),
            dict(settings or {}),
            dict(services or {}),
            dict(plugins or {}),
            MemoryStore(store or {}),
            Path(folder, "data"),
            timeout,
        )
        try:
            yield entered
        finally:
            entered._life.end()


class RunningPlugin:
    """A plugin that runs, for a test: to be called, and looked at."""

    def __init__(
        self,
        source: Source,
        settings: dict[str, Any],
        services: Mapping[str, Fake],
        plugins: Mapping[str, Mapping[str, Fake]],
        store: MemoryStore,
        data_dir: Path,
        timeout_s: float,
    ) -> None:
        manifest = source.manifest
        self.name = manifest.plugin.name
        self.store = store
        """What is in `ctx.store`: a mapping, which the test may change."""
        self.data_dir = data_dir
        """Its `ctx.data_dir`, which is removed at the end."""
        self._source = source
        self._timeout_s = timeout_s
        self._settings = Settings(manifest.settings, settings, lambda: self._life)
        self._generation = 0
        self._around = Surroundings(
            self.name,
            manifest.permissions if source.is_stated else None,
            store,
            services,
            plugins,
            {"config/get": lambda params: self._settings.told(), "config/update": self._settings.update},
            lambda topic: self._plugin.topic_types.get(topic, Any),
        )
        self._begin()

    # -- what it is asked ----------------------------------------------------------------------

    def call(self, method: str, /, *, timeout: float | None = None, params: Any = None, **named: Any) -> Any:
        """The result of a method, as JSON decodes it. Like `ctx.call` of another plugin.

        A parameter that takes items gets them from any iterable. An exception of the plugin's has its
        traceback as a note.

        Raises:
            CallFailed: RemoteError with the `code` of a PluginError, ContractError, MethodNotFound,
            DeadlineExceeded, and so on.
        """
        return self.begin(method, timeout=timeout, params=params, **named).result()

    def begin(
        self, method: str, /, *, timeout: float | None = None, params: Any = None, **named: Any
    ) -> Begun:
        """Makes a call, and does not wait: `result()` does, and `cancel()` gives it up."""
        given = named if params is None else params
        handler = self._plugin.methods.get(method)
        items = None
        if handler is not None and handler.takes:
            if not isinstance(given, Mapping):
                kind = type(given).__name__
                raise TypeError(f"params of `{method}` have to be a dict, as it takes items, not a {kind}")
            given = dict(given)  # it is the caller's
            items = given.pop(handler.takes, ())
        return Begun(
            *self._about(method, method, given, handler),
            timeout_s=self._within(timeout, handler),
            items=items,
        )

    def stream(
        self, method: str, /, *, timeout: float | None = None, params: Any = None, **named: Any
    ) -> Items:
        """The items of a method that answers in items, one by one. Leaving early is told to the plugin."""
        handler = self._plugin.methods.get(method)
        about = self._about(method, method, named if params is None else params, handler, CREDIT)
        return Items(*about, timeout_s=self._within(timeout, handler))

    def hook(self, point: str, /, *, timeout: float | None = None, params: Any = None, **named: Any) -> Any:
        """What its implementation of an extension point answers.

        Raises:
            LookupError: it has none, or its `when` says that it is not to be asked this. CallFailed.
        """
        given = named if params is None else params
        if not self.wants(point, params=given):
            when = self._plugin.hooks[point][1].when
            raise LookupError(f"a host would not ask `{self.name}`: its hook `{point}` has when={when!r}")
        handler = self._plugin.hooks[point][0]
        return Begun(
            *self._about(point, f"hook/{point}", given, handler), timeout_s=self._within(timeout, None)
        ).result()

    def wants(self, point: str, /, *, params: Any = None, **named: Any) -> bool:
        """Whether a host would ask it, by the `when` of its hook. Raises LookupError if it has none."""
        if point not in self._plugin.hooks:
            raise LookupError(f"`{self.name}` has no hook `{point}`{_meant(point, self._plugin.hooks)}")
        when = self._plugin.hooks[point][1].when
        given = msgspec.to_builtins(named if params is None else params)
        return when is None or read_filter(when).matches(given)

    def publish(self, topic: str, value: Any, /, *, publisher: str | None = None) -> None:
        """Tells it of an event, by another plugin or by the app; returns once it has been handled.

        Raises:
            LookupError: it does not hear of the topic. RemoteError: its function raised.
        """
        if topic not in self._plugin.subscriptions:
            meant = _meant(topic, self._plugin.subscriptions)
            raise LookupError(f"`{self.name}` has no function for the topic `{topic}`{meant}")
        self._around._check("events", topic)
        around = self._around
        with around.heard:
            wanted, failed = around.acknowledged + 1, around.failed
        told = EventParams(value=msgspec.Raw(msgspec.json.encode(value)), publisher=publisher)
        self._life.channel.notify(f"event/{topic}", told)
        with around.heard:
            if not around.heard.wait_for(lambda: around.acknowledged >= wanted, self._timeout_s):
                raise TimeoutError(f"`{self.name}` has not handled the event in {self._timeout_s:g} s")
            if around.failed == failed:
                return
        text = next((line.message for line in reversed(self.logs) if line.level == "error"), "")
        error = errors.RemoteError(
            text.strip().rpartition("\n")[2] or "it raised",
            plugin=self.name,
            method=f"event/{topic}",
            code=ErrorCode.PLUGIN_ERROR,
        )
        error.add_note(text)
        raise error

    def wait_idle(self) -> None:
        """Until it works on nothing: after a `cancel`, say. Raises TimeoutError."""
        self._life.wait_idle(self._timeout_s)

    # -- what becomes of it --------------------------------------------------------------------

    def configure(self, **changes: Any) -> None:
        """Changes its settings as an operator would; UNSET (of msgspec) takes a change back.

        It is asked whether it takes them, and told; one without `on_config_change` is restarted.

        Raises:
            SettingsRefused: with every problem; nothing has changed.
        """
        try:
            is_other = self._settings.change(changes, tell=self._life.takes_settings)
        except RpcError as error:
            raise errors.SettingsRefused(
                error.message, plugin=self.name, method="settings", code=error.code, data=error.data
            ) from None
        if is_other and not self._life.takes_settings:
            self.restart()

    def restart(self) -> None:
        """Stops it, and starts it anew: what is in its modules is gone, its store and data are not."""
        self._life.end()
        self._begin()

    # -- what it has said ----------------------------------------------------------------------

    @property
    def logs(self) -> list[LogLine]:
        """Its log, the oldest first; also tracebacks of its handlers."""
        return self._around.logs

    @property
    def events(self) -> list[Published]:
        """What it has published."""
        return self._around.events

    @property
    def asked(self) -> list[Asked]:
        """What it has asked of other plugins and of the app."""
        return self._around.asked

    @property
    def status(self) -> str | None:
        """What it said last with `ctx.status`."""
        return self._around.status

    @property
    def settings(self) -> dict[str, Any]:
        """Its settings as a host tells them: what its struct has defaults for need not be there."""
        return self._settings.value

    # -- inside --------------------------------------------------------------------------------

    @property
    def _plugin(self) -> Declarations:
        assert self._life.plugin is not None
        return self._life.plugin

    def _begin(self) -> None:
        self._generation += 1
        identity = PluginIdentity(
            name=self.name, instance="test", generation=self._generation, data_dir=str(self.data_dir)
        )
        self._life = Life(self._source, self.name, self._around.hear, self._explain)
        try:
            self._life.begin(identity, self.settings)
        except BaseException:
            self._life.end()
            raise

    def _about(
        self, method: str, wire_name: str, params: Any, handler: Handler | None, credit: int | None = None
    ) -> tuple[Any, ...]:
        question = Question(self.name, method, wire_name, params, None, credit=credit)
        return self._life.channel, question, handler, self._explain

    def _within(self, timeout: float | None, handler: Handler | None) -> float:
        own = None if handler is None else handler.info.timeout_s
        return timeout if timeout is not None else own if own is not None else self._timeout_s

    def _explain(self, error: errors.CallFailed) -> None:
        """Adds the traceback that the log has for an error of the plugin's."""
        error_id = error.data.get("error_id") if isinstance(error.data, dict) else None
        for line in self.logs if error_id else ():
            if re.match(rf"(?:\S+: )?error {error_id}\n", line.message):
                error.add_note(f"in the plugin:\n{line.message.partition(chr(10))[2].rstrip()}")


def _meant(name: str, known: Mapping[str, Any]) -> str:
    close = nearest(name, known)
    return f"; did you mean `{close}`?" if close else f"; it has: {', '.join(known) or 'none'}"
