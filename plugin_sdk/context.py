"""What a handler may ask for: `ctx`. One per call, cheap to make, gone with the call."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextvars import ContextVar
from types import EllipsisType
from typing import TYPE_CHECKING, Any

import msgspec

from plugin_sdk import calls
from plugin_sdk.calls import Question, Waiting
from plugin_sdk.store import AsyncStore, Store
from protocol.envelope import MessageId, Meta
from protocol.lifecycle import ConfigUpdate, ProgressValue, StatusText
from protocol.streams import CREDIT

if TYPE_CHECKING:
    import logging
    from pathlib import Path

    from plugin_sdk.desk import Desk

_PROGRESS_EVERY_S = 0.05
NOTHING_SAID = Meta()

current_traceparent: ContextVar[str | None] = ContextVar("current_traceparent", default=None)
"""Of the call that this thread, or this task, works on: for its log records."""


class Context(msgspec.Struct, eq=False):
    """The call that a handler works on, and the plugin that it belongs to."""

    # A struct, because one is made for every call: a third of what a class costs.
    _desk: Desk
    request_id: MessageId | None
    _meta: Meta
    _cancelled: bool = False
    _said_at: float = 0.0
    _progress: ProgressValue | None = None
    """What is to be said next."""
    _waiting: list[Waiting] = []
    _taken_at: float = msgspec.field(default_factory=time.monotonic)

    @property
    def settings(self) -> Any:
        """The plugin's settings: an instance of what was given to `plugin.settings`, else a dict."""
        return self._desk.settings

    @property
    def settings_revision(self) -> int:
        """Rises with each change of the settings; for `update_settings` that must not undo another's."""
        return self._desk.settings_revision

    @property
    def log(self) -> logging.Logger:
        """The plugin's logger; its records go to the host."""
        return self._desk.logs.logger

    @property
    def deadline(self) -> float | None:
        """When the caller gives up, on `time.monotonic()`'s clock; None if it does not say."""
        timeout_ms = self._meta.timeout_ms
        return None if timeout_ms is None else self._taken_at + timeout_ms / 1000

    @property
    def traceparent(self) -> str | None:
        """Which trace the call belongs to, as a W3C `traceparent`; None if the host does not say."""
        return self._meta.traceparent

    @property
    def tracestate(self) -> str | None:
        """What goes with `traceparent`, for whoever hands the trace on."""
        return self._meta.tracestate

    @property
    def cancelled(self) -> bool:
        """Whether the caller no longer wants the answer. A long loop looks at it now and then."""
        return self._cancelled

    def call(
        self,
        plugin: str,
        method: str,
        /,
        *,
        timeout: float | EllipsisType | None = ...,
        params: Any = None,
        **named: Any,
    ) -> Any:
        """The result of another plugin's method, as JSON decodes it. In an `AsyncContext`, to be awaited.

        The manifest has to name the plugin: `[permissions] plugins = [...]`. `timeout` is in seconds; not
        given, it is the method's own, else 30 s; None is no limit of its own. There is never more time than
        what is left of this call's own. Raises a `CallFailed`, whose subclasses say what went wrong.
        """
        given = named if params is None else params
        asked = {"plugin": plugin, "method": method, "params": given}
        return self._ask(Question(plugin, method, "plugin/call", asked, timeout))

    def publish(self, topic: str, value: Any) -> Any:
        """Tells every plugin that hears of `topic`; in an `AsyncContext`, to be awaited.

        Waits for the host's word that the value fits, and for no subscriber. The topic has to be declared,
        by `plugin.topic` or by the app, and the manifest has to name it: `[permissions] events = [...]`.
        Raises a `CallFailed`: `ContractError`, `UnknownTopic`, `PermissionDenied`.
        """
        asked = {"topic": topic, "value": value}
        return self._ask(Question("host", "event.publish", "event/publish", asked, result=None))

    def stream(
        self,
        plugin: str,
        method: str,
        /,
        *,
        timeout: float | EllipsisType | None = ...,
        params: Any = None,
        **named: Any,
    ) -> Any:
        """The items of another plugin's method, one by one; in an `AsyncContext`, for `async for`.

        Like `call`; `timeout` is for all of it. The other plugin is told of whoever leaves early, and stops.
        """
        given = named if params is None else params
        asked = {"plugin": plugin, "method": method, "params": given}
        return self._items(Question(plugin, method, "plugin/call", asked, timeout, credit=CREDIT))

    @property
    def host(self) -> Services:
        """The services of the app that the host is part of: `ctx.host.mail.send(to="ada")`."""
        return Services(self)

    def update_settings(
        self, changes: Mapping[str, Any] | None = None, seen_revision: int | None = None, /, **named: Any
    ) -> Any:
        """Changes the plugin's own settings, for now and for later; in an `AsyncContext`, to be awaited.

        `ctx.settings` is the new value once it returns, and what is returned. All of it holds, or none. A
        value of `msgspec.UNSET` takes back what was changed so before. `changes` is for names that cannot
        be a keyword. With `seen_revision`, a `ctx.settings_revision`, it is refused if the settings have
        changed since. A secret cannot be changed so: where one comes from is the operator's to say.

        Raises:
            SettingsRefused: with every problem. PluginBusy: too often; `retry_after` says when again.
        """
        wanted = {**(changes or {}), **named}
        asked = ConfigUpdate(
            set={name: value for name, value in wanted.items() if value is not msgspec.UNSET},
            unset=[name for name, value in wanted.items() if value is msgspec.UNSET],
            config_revision=seen_revision,
        )
        return self._ask_for_settings(Question("host", "update_settings", calls.UPDATE, asked))

    def _ask_for_settings(self, question: Question) -> Any:
        self._ask(question)
        return self.settings  # which were told before the answer

    @property
    def store(self) -> Store:
        """What the plugin keeps: a key-value store that survives restarts and crashes."""
        return Store(self)

    def _ask(self, question: Question) -> Any:
        return calls.ask(self._desk, self, question)

    def _items(self, question: Question) -> Any:
        from plugin_sdk.inflow import Items

        return Items(self._desk, self, question)

    @property
    def data_dir(self) -> Path:
        """A folder of the plugin's own that survives restarts and updates; made when first asked for."""
        from pathlib import Path  # for those who have files

        folder = Path(self._desk.identity.data_dir or ".")
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def status(self, text: str) -> None:
        """One line about what the plugin is doing, shown by `outboard status`."""
        self._desk.channel.notify("status/text", StatusText(text=text))

    def progress(self, done: float, total: float | None = None, message: str = "") -> None:
        """How far this call is. Sent only if the caller asked for it; every 50 ms at most, the latest."""
        if not self._meta.progress or self.request_id is None:
            return
        waits = self._progress is not None
        self._progress = ProgressValue(done=done, total=total, message=message)
        if not waits:
            wait_s = self._said_at + _PROGRESS_EVERY_S - time.monotonic()
            if wait_s <= 0:
                self._say_progress()
            else:
                self._desk.later.call(wait_s, self._say_progress)

    def _say_progress(self) -> None:
        value, self._progress = self._progress, None
        if value is not None and self.request_id is not None and self.request_id in self._desk.active:
            self._said_at = time.monotonic()
            self._desk.channel.progress(self.request_id, value)


class AsyncContext(Context):
    """The context of an `async def` handler: what it is asked to fetch is awaited."""

    @property
    def store(self) -> AsyncStore:  # type: ignore[override]  # the same names, awaited
        """What the plugin keeps: a key-value store that survives restarts and crashes."""
        return AsyncStore(self)

    async def _ask(self, question: Question) -> Any:
        from plugin_sdk.async_calls import ask_async  # asyncio: only for those who asked for it

        return await ask_async(self._desk, self, question)

    async def _ask_for_settings(self, question: Question) -> Any:
        await self._ask(question)
        return self.settings

    def _items(self, question: Question) -> Any:
        from plugin_sdk.async_streams import AsyncItems

        return AsyncItems(self._desk, self, question)


class Services:
    """Services of the app, by name: an attribute for each part of it, and a call.

    The manifest has to name them: `[permissions] host = ["mail.*"]`.
    """

    __slots__ = ("_context", "_name")

    def __init__(self, context: Context, name: str = "") -> None:
        self._context = context
        self._name = name

    def __getattr__(self, part: str) -> Services:
        return Services(self._context, f"{self._name}.{part}" if self._name else part)

    def __call__(
        self, *, timeout: float | EllipsisType | None = ..., params: Any = None, **named: Any
    ) -> Any:
        """What the service returns; to be awaited in an `async def` handler. Raises a `CallFailed`.

        `timeout` is in seconds; not given, 30 s; None is no limit but that of the call it is made for.
        """
        given = named if params is None else params
        return self._context._ask(Question("host", self._name, f"host/{self._name}", given, timeout))
