"""What an author declares: methods, hooks, lifecycle functions, settings. Runs nothing."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, overload

import msgspec

from plugin_sdk.errors import AuthorMistake
from plugin_sdk.functions import is_coroutine_function
from plugin_sdk.signature import Handler, unsupported
from protocol.contract import schema_of
from protocol.lifecycle import EventInfo, HookInfo, MethodInfo, Provides
from protocol.methods import is_own_name

F = TypeVar("F", bound=Callable[..., Any])

_VERSION = r"(0|[1-9][0-9]{0,8})\.(0|[1-9][0-9]{0,8})"


class Declarations:
    """A plugin's methods, hooks and lifecycle functions. Name and version come from the manifest.

    Sync handlers run one at a time, so that author code needs no locks; `threads=N` lets N of them
    run at once. Async handlers are always concurrent.
    """

    def __init__(self, *, threads: int = 1) -> None:
        if threads < 1:
            raise ValueError("threads must be at least 1")
        self.threads = threads
        self.methods: dict[str, Handler] = {}
        self.hooks: dict[str, tuple[Handler, HookInfo]] = {}
        self.topics: dict[str, EventInfo] = {}
        self.topic_types: dict[str, Any] = {}
        self.subscriptions: dict[str, Handler] = {}
        self.start: Callable[..., Any] | None = None
        self.stop: Callable[..., Any] | None = None
        self.settings_type: type[msgspec.Struct] | None = None
        self.config_change: Callable[..., Any] | None = None
        self.validator: Callable[[Any], Any] | None = None

    @overload
    def method(self, function: F, /) -> F: ...

    @overload
    def method(
        self,
        /,
        *,
        name: str | None = None,
        stream: bool = False,
        idempotent: bool = False,
        timeout_s: float | None = None,
    ) -> Callable[[F], F]: ...

    def method(
        self,
        function: Any = None,
        /,
        *,
        name: str | None = None,
        stream: bool = False,
        idempotent: bool = False,
        timeout_s: float | None = None,
    ) -> Any:
        """Makes a function callable by the host, by its own name. Type hints are the contract.

        `stream`: it answers in items, those that it yields; `-> Iterator[T]` or `-> AsyncIterator[T]`.
        A parameter that is an `Iterator[T]`, or an `AsyncIterator[T]` of an `async def`, takes items one by
        one, as the caller has them. `idempotent` says that calling it twice does no harm; `timeout_s` is how
        long it may take when the caller does not say.
        """

        def register(function: F) -> F:
            info = MethodInfo(
                name=name or function.__name__,
                doc=(function.__doc__ or "").strip(),
                stream=stream,
                idempotent=idempotent,
                timeout_s=timeout_s,
            )
            if not is_own_name(info.name):
                raise AuthorMistake(
                    f"`{info.name}` cannot be a method's name: use lower case letters, digits and _, "
                    "in parts joined by dots, and none of initialize, initialized, shutdown, exit"
                )
            if info.name in self.methods:
                raise AuthorMistake(f"there are two methods called `{info.name}`")
            self.methods[info.name] = Handler(function, info)
            return function

        return register if function is None else register(function)

    def hook(
        self,
        point: str,
        *,
        before: Sequence[str] = (),
        after: Sequence[str] = (),
        priority: int = 0,
        on_error: str | None = None,
        when: Mapping[str, Any] | None = None,
        idempotent: bool = False,
        version: str | None = None,
    ) -> Callable[[F], F]:
        """Fills an extension point of the app.

        `before` and `after` name other plugins. `when` spares the plugin calls it would not act on:
        `when={"doc.mime": "application/pdf"}` asks it for those params only; see `protocol.filters`.
        `idempotent` says that being asked twice does no harm, as for a method.
        `version` is the point's that this was written for, like "1.2": a host that offers another major
        version, or an older minor one, does not take the plugin.
        """

        def register(function: F) -> F:
            if not is_own_name(point):
                raise AuthorMistake(f"`{point}` cannot be an extension point's name")
            if point in self.hooks:
                raise AuthorMistake(f"there are two implementations of `{point}` in this plugin")
            if when is not None:
                from protocol.filters import read_filter  # most hooks have none

                try:
                    read_filter(when)
                except ValueError as problem:
                    raise AuthorMistake(f"`when` of the hook `{point}`: {problem}") from None
            if version is not None and not re.fullmatch(_VERSION, version):
                raise AuthorMistake(f"`version` of the hook `{point}` is {version!r}, and has to be like 1.0")
            about = MethodInfo(name=point, doc=(function.__doc__ or "").strip())
            handler = Handler(function, about, takes_some=True)
            if handler.takes:
                raise AuthorMistake(
                    f"the hook `{point}`: `{handler.takes}` takes items, as methods alone can"
                )
            info = HookInfo(
                point=point,
                before=list(before),
                after=list(after),
                priority=priority,
                on_error=on_error,
                when=None if when is None else dict(when),
                idempotent=idempotent,
                version=version,
            )
            self.hooks[point] = (handler, info)
            return function

        return register

    def topic(self, name: str, type: Any = Any) -> None:
        """Declares a topic that the plugin publishes, and what its values are: see `ctx.publish`.

        The host refuses a value that is no `type`. The manifest has to name it: `[permissions] events`.
        """
        if not is_own_name(name):
            raise AuthorMistake(f"`{name}` cannot be a topic's name: it is like `mail.received`")
        if name in self.topics:
            raise AuthorMistake(f"the topic `{name}` is declared twice")
        try:
            schema = None if type is Any else schema_of(type)
        except TypeError as error:
            raise AuthorMistake(f"the topic `{name}`: {unsupported(error)}") from None
        self.topics[name] = EventInfo(topic=name, schema=schema)
        self.topic_types[name] = type

    def on_event(self, topic: str) -> Callable[[F], F]:
        """Is called with each value that others publish as `topic`, from now on; one at a time, in order.

        Its first parameter takes the value, converted to its type; one that is called `publisher` the name
        of the plugin, None for the app. The manifest has to name the topic: `[permissions] events`.
        """

        def register(function: F) -> F:
            if not is_own_name(topic):
                raise AuthorMistake(f"`{topic}` cannot be a topic's name: it is like `mail.received`")
            if topic in self.subscriptions:
                raise AuthorMistake(f"there are two functions for the topic `{topic}`")
            handler = Handler(function, MethodInfo(name=topic), takes_some=True)
            if handler.takes:
                raise AuthorMistake(
                    f"the topic `{topic}`: `{handler.takes}` takes items, as methods alone can"
                )
            if len(set(handler.names) - {"publisher"}) > 1:
                raise AuthorMistake(
                    f"the function for the topic `{topic}` takes more than the value, `publisher` and `ctx`"
                )
            self.subscriptions[topic] = handler
            return function

        return register

    def on_start(self, function: F) -> F:
        """Runs once before the first call. What it raises is why the plugin did not start."""
        self.start = function
        return function

    def on_stop(self, function: F) -> F:
        """Runs once after the last call, inside the grace that the host gives."""
        self.stop = function
        return function

    def on_config_change(self, function: F) -> F:
        """Runs whenever the settings have changed; `ctx.settings` is the new value by then.

        It takes nothing, or `ctx`, or `ctx, old, new`: the settings as they were, and as this change has
        made them. A plugin that has no such function is restarted instead, unless it has asked for the
        change itself.
        """
        self.config_change = function
        return function

    def validate_settings(self, function: F) -> F:
        """May refuse settings that fit their types, by raising; what it raises is the reason.

        It gets the settings, at the start and before every change, and must not act on them: they may
        yet be refused by another plugin.
        """
        if is_coroutine_function(function):
            raise AuthorMistake("the function that validates settings cannot be `async def`")
        self.validator = function
        return function

    def settings(self, type_: type[msgspec.Struct]) -> None:
        """Declares the plugin's settings: a msgspec.Struct, whose defaults are the settings' own."""
        try:
            schema_of(type_)
        except TypeError as error:
            raise AuthorMistake(f"settings {type_.__qualname__}: {unsupported(error)}") from None
        self.settings_type = type_

    def handler_of(self, wire_name: str) -> Handler | None:
        """The handler for a method as it is named on the wire: `greet`, or `hook/document.extract`."""
        handler = self.methods.get(wire_name)
        if handler is None and wire_name.startswith("hook/"):
            found = self.hooks.get(wire_name.removeprefix("hook/"))
            return found[0] if found else None
        return handler

    @property
    def needs_loop(self) -> bool:
        """Whether anything here is `async def`, so that asyncio is worth its import."""
        handlers = [*self.methods.values(), *(handler for handler, _ in self.hooks.values())]
        handlers += self.subscriptions.values()
        functions = [self.start, self.stop, self.config_change]
        return any(handler.is_async for handler in handlers) or any(map(is_coroutine_function, functions))

    def provides(self) -> Provides:
        """What the handshake tells the host."""
        hooks = []
        for handler, info in self.hooks.values():
            info.schema = {"params": handler.info.params, "result": handler.info.result}
            hooks.append(info)
        return Provides(
            methods=[handler.info for handler in self.methods.values()],
            hooks=hooks,
            events=list(self.topics.values()),
            subscribes=list(self.subscriptions),
            config_schema=None if self.settings_type is None else schema_of(self.settings_type),
        )
