"""A plugin's methods as an object with the type of a `Protocol`: calls that a type checker knows.

    class Hello(Protocol):
        async def greet(self, *, name: str, excited: bool = False) -> str: ...

        def lines(self, path: str) -> AsyncIterator[str]: ...

    hello = host.proxy("hello", Hello)
    await hello.greet(name="Ada")

The Protocol is read once and held against what the plugin says of itself: when the proxy is made, if that
is known, and again whenever the plugin comes to say something else.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator, Mapping, Sequence
from types import EllipsisType
from typing import Any

import msgspec

from host import errors
from host.contracts.fit import differences
from host.routing.stream import Stream
from protocol import values
from protocol.contract import Problem, nearest, problems_of, schema_of
from protocol.errors import ErrorCode
from protocol.lifecycle import MethodInfo

__all__ = ["Proxied", "TypedItems", "async_method", "object_of"]

_BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)

Timeout = float | EllipsisType | None
Ask = Callable[[str, str, Any, Timeout], typing.Awaitable[msgspec.Raw]]
"""`Host.call_raw`."""
Open = Callable[[str, str, Any, Timeout], Stream]
"""`Host.stream`."""
Look = Callable[[], tuple[object, Sequence[MethodInfo]] | None]
"""What the plugin says of its methods, and something that is another one once it says another thing."""


class Asked:
    """One method of a Protocol."""

    __slots__ = (
        *("_all", "_defaults", "_needed", "_signature"),
        *("decoder", "is_stream", "name", "params", "result", "type"),
    )

    def __init__(self, api: type, name: str, function: Callable[..., Any], hints: Mapping[str, Any]) -> None:
        self.name = name
        _, *parameters = inspect.signature(function).parameters.values()
        for parameter in parameters:
            if parameter.kind not in _BY_NAME:
                raise _misuse(api, f"`{name}`: the parameter `{parameter.name}` cannot be given by name")
        self._signature = inspect.Signature(parameters)
        given = {parameter.name: parameter.default for parameter in parameters}
        empty = inspect.Parameter.empty
        self._all = given.keys()
        self._needed = {key for key, default in given.items() if default is empty}
        self._defaults = {key: default for key, default in given.items() if default not in (empty, ...)}
        """Sent when nothing is given: what a reader of the Protocol sees is what holds."""
        hint = hints.get("return", Any)
        self.is_stream = _is_stream(hint)
        self.type = _item_of(hint) if self.is_stream else hint
        """Of the result, or of one item."""
        fields = [
            (key, hints.get(key, Any), *([None] if default is ... else [])) for key, default in given.items()
        ]
        try:
            self.params = schema_of(msgspec.defstruct(f"{name}.params", fields, kw_only=True))
            self.result = schema_of(self.type)
            self.decoder = values.Decoder(self.type)
        except TypeError as error:
            raise _misuse(api, f"`{name}`: {str(error).splitlines()[-1]}") from None

    def params_of(self, arguments: tuple[Any, ...], named: dict[str, Any]) -> dict[str, Any]:
        """Raises TypeError, as any function does that is called otherwise than it is declared."""
        if arguments or not self._needed <= named.keys() <= self._all:
            named = self._signature.bind(*arguments, **named).arguments
        return {**self._defaults, **named} if self._defaults else named

    def unlike(self, method: MethodInfo) -> Iterator[str]:
        """What keeps the plugin's method from being this one."""
        if method.stream and not self.is_stream:
            yield f"{self.name}: it is a stream"
        if method.takes:
            yield f"{self.name}: it takes items as `{next(iter(method.takes))}`, which host.call sends"
        if self.is_stream and not method.stream:
            yield f"{self.name}: it answers at once, and is no stream"
        for difference in differences(self.params, method.params or {}):
            if difference.kind == "breaks":
                yield f"{self.name}, params: {difference}"
        if method.result is not None and self.type is not Any:
            for difference in differences(method.result, self.result):
                if difference.kind == "breaks":
                    yield f"{self.name}, result: {difference}"


class Proxied:
    """The methods of one plugin, as one Protocol has them.

    Raises:
        HostMisuse: `api` is nothing that a proxy can be made for.
        ContractError: the plugin does not provide it; `data` lists the differences.
    """

    def __init__(
        self, plugin: str, api: Any, ask: Ask, open: Open, look: Look, timeout: Timeout, *, is_async: bool
    ) -> None:
        self.asked = _read(api, is_async=is_async)
        self.api: type = api
        self._plugin = plugin
        self._ask = ask
        self._open = open
        self._look = look
        self._timeout = timeout
        self._seen: object = None
        self.check()

    async def call(self, asked: Asked, params: dict[str, Any]) -> Any:
        self.check()
        raw = await self._ask(self._plugin, asked.name, params, self._timeout)
        if self._seen is None:  # this very call has started it
            self.check()
        try:
            return asked.decoder.decode(raw)
        except msgspec.ValidationError:
            problems = problems_of(values.decode(raw), asked.type)
        raise self._not_what_it_says(asked, problems)

    def open(self, asked: Asked, params: dict[str, Any]) -> Stream:
        self.check()
        return self._open(self._plugin, asked.name, params, self._timeout)

    def typed(self, asked: Asked, number: int, item: Any) -> Any:
        """The item of that number of a stream, as the Protocol has it."""
        if self._seen is None:  # this very stream has started it
            self.check()
        try:
            return msgspec.convert(item, asked.type, str_keys=True)
        except msgspec.ValidationError:
            problems = problems_of(item, asked.type, path=(f"[{number}]",))
        raise self._not_what_it_says(asked, problems)

    def _not_what_it_says(self, asked: Asked, problems: list[Problem]) -> errors.ContractError:
        return self._error(
            f"its result is not what {self.api.__name__} says: {'; '.join(map(str, problems))}",
            [problem.as_data() for problem in problems],
            asked.name,
        )

    def check(self) -> None:
        """Raises ContractError if the plugin says other things than the Protocol."""
        found = self._look()
        if found is None or found[0] is self._seen:
            return
        methods = {method.name: method for method in found[1]}
        lines: list[str] = []
        for asked in self.asked.values():
            if asked.name in methods:
                lines += asked.unlike(methods[asked.name])
            else:
                close = nearest(asked.name, methods)
                hint = f"; did you mean `{close}`?" if close else ""
                lines.append(f"{asked.name}: no such method{hint}")
        if lines:
            text = f"it is not what {self.api.__name__} says: {'; '.join(lines)}"
            raise self._error(text, lines, None)
        self._seen = found[0]

    def _error(self, text: str, data: Any, method: str | None) -> errors.ContractError:
        return errors.ContractError(
            text,
            remote_code=ErrorCode.PLUGIN_ERROR,
            remote_name=ErrorCode.PLUGIN_ERROR.name,
            data=data,
            hint=f"outboard contract show {self._plugin}",
            plugin=self._plugin,
            method=method,
        )


class TypedItems:
    """What a proxy's method that is a stream returns: a `Stream` whose items have the Protocol's type."""

    def __init__(self, proxied: Proxied, asked: Asked, stream: Stream) -> None:
        self._proxied = proxied
        self._asked = asked
        self._stream = stream
        self._number = 0

    def __aiter__(self) -> TypedItems:
        return self

    async def __anext__(self) -> Any:
        item = await self._stream.__anext__()
        try:
            typed = self._proxied.typed(self._asked, self._number, item)
        except BaseException:
            await self._stream.aclose()
            raise
        self._number += 1
        return typed

    async def aclose(self) -> None:
        """See `Stream.aclose`."""
        await self._stream.aclose()

    async def __aenter__(self) -> TypedItems:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


def async_method(proxied: Proxied, asked: Asked) -> Callable[..., Any]:
    if asked.is_stream:

        def stream(_: object, /, *arguments: Any, **named: Any) -> TypedItems:
            return TypedItems(proxied, asked, proxied.open(asked, asked.params_of(arguments, named)))

        return stream

    async def method(_: object, /, *arguments: Any, **named: Any) -> Any:
        return await proxied.call(asked, asked.params_of(arguments, named))

    return method


def object_of(proxied: Proxied, method_of: Callable[[Asked], Callable[..., Any]]) -> Any:
    """An object whose methods are what `method_of` makes of those of the Protocol."""
    api = proxied.api
    names = {name: method_of(asked) for name, asked in proxied.asked.items()}
    for name, method in names.items():
        method.__name__, method.__qualname__ = name, f"{api.__qualname__}.{name}"
        method.__doc__ = getattr(api, name).__doc__
    return type(f"{api.__name__}Proxy", (), {"__slots__": (), "__module__": api.__module__, **names})()


def _read(api: Any, *, is_async: bool) -> dict[str, Asked]:
    if not (isinstance(api, type) and getattr(api, "_is_protocol", False)):
        raise errors.HostMisuse(f"{api!r} is no Protocol", hint="give a class that is derived from Protocol")
    members: dict[str, Any] = {}
    for base in reversed(api.__mro__):
        if getattr(base, "_is_protocol", False) and base is not typing.Protocol:
            members |= {key: value for key, value in vars(base).items() if not key.startswith("_")}
            for key in base.__annotations__ if "__annotations__" in vars(base) else ():
                members.setdefault(key, None)
    found = {}
    for name, function in members.items():
        if not inspect.isfunction(function):
            raise _misuse(api, f"`{name}` is no method")
        try:
            hints = typing.get_type_hints(function, include_extras=True)
        except Exception as error:  # whatever is in somebody's annotations
            raise _misuse(api, f"`{name}`: its type hints cannot be read: {error}") from None
        if must := _other_kind(function, hints.get("return"), is_async=is_async):
            kind = "Host" if is_async else "BlockingHost"
            raise _misuse(api, f"`{name}` must be `{must}` for a {kind}")
        found[name] = Asked(api, name, function, hints)
    if not found:
        raise _misuse(api, "it has no methods")
    return found


_ASYNC_ITEMS = (AsyncIterator, AsyncGenerator)
_ITEMS = (Iterator, Generator)


def _is_stream(hint: Any) -> bool:
    return _origin(hint) in (*_ASYNC_ITEMS, *_ITEMS)


def _item_of(hint: Any) -> Any:
    return next(iter(typing.get_args(hint)), Any)


def _origin(hint: Any) -> Any:
    return typing.get_origin(hint) or hint


def _other_kind(function: Callable[..., Any], hint: Any, *, is_async: bool) -> str | None:
    """How the method would have to be written; None if it is. A type checker takes both kinds of stream."""
    if _is_stream(hint):
        kind = _ASYNC_ITEMS if is_async else _ITEMS
        is_right = _origin(hint) in kind and not inspect.iscoroutinefunction(function)
        return None if is_right else f"def ... -> {kind[0].__name__}[...]"
    if inspect.iscoroutinefunction(function) is is_async:
        return None
    return "async def" if is_async else "def"


def _misuse(api: type, text: str) -> errors.HostMisuse:
    return errors.HostMisuse(f"{api.__name__}: {text}", hint="mend the Protocol")
