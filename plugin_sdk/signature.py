"""A function as a contract: its parameters become a struct, its docstring the description.

The struct's decoder checks and converts the params in one pass, in C, before the function is called.
"""

from __future__ import annotations

import collections.abc
import typing
from collections.abc import Callable
from typing import Any

import msgspec
from msgspec.structs import asdict

from plugin_sdk.context import Context
from plugin_sdk.errors import AuthorMistake
from plugin_sdk.functions import (
    MISSING,
    Parameter,
    is_async_generator,
    is_coroutine_function,
    parameters_of,
    yields,
)
from protocol import values
from protocol.contract import problems_of, schema_of
from protocol.errors import ErrorCode, RpcError
from protocol.lifecycle import MethodInfo


class Handler:
    """An author's function, ready to be called with raw params.

    `takes_some`: params that it does not name are left out, and no mistake. A hook is asked what all are
    asked, and an app may come to ask for more.
    """

    __slots__ = (
        "_decode",
        "_decode_packed",
        "_takes_any",
        "brief_runs",
        "context",
        "function",
        "info",
        "is_async",
        "is_plain",
        "item_type",
        "names",
        "params",
        "result",
        "takes",
    )

    def __init__(self, function: Callable[..., Any], info: MethodInfo, *, takes_some: bool = False) -> None:
        self.function = function
        self.info = info
        """What the host is told: the name, the docstring, and JSON Schema of params and result."""
        self.is_async = is_coroutine_function(function) or is_async_generator(function)
        _check_kind(function, info)
        hints = _hints(function)
        self.brief_runs = 0
        """How often in a row it came back at once; see `company`."""
        self.context: str | None = None
        """The name of the parameter that takes the context, if there is one."""
        self.takes = ""
        """The name of the parameter that takes items, of `item_type`, if there is one."""
        self.item_type: Any = Any
        self._takes_any = False
        fields: list[Any] = []
        for parameter in parameters_of(function):
            name = parameter.name
            hint = hints.get(name, Any)
            if _is_context(hint) or (name == "ctx" and hint is Any):
                self.context = name
            elif parameter.is_rest:
                self._takes_any = True
            elif not parameter.by_name:
                raise AuthorMistake(f"{_where(function)}: parameter `{name}` cannot be given by name")
            elif (typing.get_origin(hint) or hint) in _UPLOADS:
                self._take_items(name, hint, parameter)
            else:
                fields.append(_field(name, hint, parameter.default))
        self.names = [field[0] for field in fields]
        """Of its parameters, in their order."""
        self.params = msgspec.defstruct(
            f"{info.name}.params",
            fields,
            kw_only=True,
            forbid_unknown_fields=not (self._takes_any or takes_some),
        )
        self.result = hints.get("return", Any)
        if info.stream:
            self.result = _item_type(function, self.result)
        self.is_plain = not (info.stream or self.takes)
        """Whether neither its answer nor what it takes comes in items."""
        try:
            self._decode = msgspec.json.Decoder(self.params).decode
            self._decode_packed = msgspec.msgpack.Decoder(self.params).decode
            values.Decoder(self.result)
            if self.takes:
                values.Decoder(self.item_type)
                info.takes = {self.takes: {} if self.item_type is Any else _schema(self.item_type)}
            info.params = _schema(self.params)
            info.result = None if self.result is Any else _schema(self.result)
        except TypeError as error:
            raise AuthorMistake(f"{_where(function)}: {unsupported(error)}") from None

    def _take_items(self, name: str, hint: Any, parameter: Parameter) -> None:
        where = _where(self.function)
        fitting = _UPLOADS[self.is_async]
        if (typing.get_origin(hint) or hint) is not fitting:
            kind = "`async def`" if self.is_async else "`def`"
            raise AuthorMistake(f"{where}: `{name}` of {kind} has to be an {fitting.__name__}[T]")
        if self.takes:
            raise AuthorMistake(f"{where}: `{self.takes}` and `{name}` both take items; one of them can")
        if parameter.default is not MISSING:
            raise AuthorMistake(f"{where}: `{name}` takes items, and cannot have a default")
        if self.info.stream or self.info.idempotent:
            word = "answer in items as well" if self.info.stream else "be idempotent: they come once"
            raise AuthorMistake(f"{where}: `{name}` takes items, so it cannot {word}")
        self.takes = name
        self.item_type = (*typing.get_args(hint), Any)[0]

    def arguments(self, raw: msgspec.Raw) -> dict[str, Any]:
        """Keyword arguments for the function. Raises `RpcError` INVALID_PARAMS with every problem."""
        if not self._takes_any:
            try:  # JSON first, straight from the decoder: what is not costs microseconds more, and is large
                return asdict(self._decode(raw))
            except (msgspec.DecodeError, UnicodeDecodeError):
                if values.is_packed(raw):
                    try:
                        return asdict(self._decode_packed(raw))
                    except (msgspec.DecodeError, UnicodeDecodeError):
                        pass
        return self._arguments_one_by_one(raw)

    def _arguments_one_by_one(self, raw: msgspec.Raw) -> dict[str, Any]:
        value = values.decode(raw)
        if isinstance(value, list):  # a foreign host that sends params by position
            if len(value) > len(self.names):
                reason = f"{len(value)} positional params, and `{self.info.name}` takes {len(self.names)}"
                raise RpcError(ErrorCode.INVALID_PARAMS, reason, [{"path": "$", "reason": reason}])
            value = dict(zip(self.names, value, strict=False))
        if problems := problems_of(value, self.params):
            data = [problem.as_data() for problem in problems]
            raise RpcError(ErrorCode.INVALID_PARAMS, "; ".join(map(str, problems)), data)
        arguments = asdict(msgspec.convert(value, self.params))
        if self._takes_any:
            arguments.update({name: value[name] for name in value if name not in arguments})
        return arguments


_UPLOADS = (collections.abc.Iterator, collections.abc.AsyncIterator)
"""What a parameter that takes items is: in a `def`, and in an `async def`."""
_STREAMS = (
    collections.abc.Iterator,
    collections.abc.Iterable,
    collections.abc.Generator,
    collections.abc.AsyncIterator,
    collections.abc.AsyncIterable,
    collections.abc.AsyncGenerator,
    list,
)


def _check_kind(function: Callable[..., Any], info: MethodInfo) -> None:
    if yields(function) and not info.stream:
        raise AuthorMistake(f"{_where(function)}: it yields, so declare it: @plugin.method(stream=True)")
    if info.stream and is_coroutine_function(function):
        raise AuthorMistake(f"{_where(function)}: a stream that is `async def` has to yield its items")


def _item_type(function: Callable[..., Any], hint: Any) -> Any:
    """Of what a stream yields, by what it says that it returns."""
    if hint is Any:
        return Any
    if (typing.get_origin(hint) or hint) not in _STREAMS:
        raise AuthorMistake(f"{_where(function)}: a stream returns an Iterator[T], or an AsyncIterator[T]")
    return (*typing.get_args(hint), Any)[0]


def unsupported(error: TypeError) -> str:
    """What is wrong with a type, out of what msgspec says, whose advice is not for authors."""
    return f"{str(error).splitlines()[-1].rstrip('.')}: JSON cannot carry it"


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function, include_extras=True)
    except Exception as error:
        raise AuthorMistake(f"{_where(function)}: its type hints cannot be read: {error}") from error


def _field(name: str, hint: Any, default: Any) -> Any:
    if default is MISSING:
        return (name, hint)
    if isinstance(default, list | dict | set | bytearray):
        import copy  # for those who have such a default

        return (name, hint, msgspec.field(default_factory=lambda: copy.copy(default)))
    return (name, hint, default)


def _schema(type_: Any) -> dict[str, Any]:
    schema = schema_of(type_)
    inner = schema.get("$defs", {})
    if schema.get("$ref", "").startswith("#/$defs/"):  # one level less to read
        schema = inner.pop(schema["$ref"].removeprefix("#/$defs/")) | ({"$defs": inner} if inner else {})
    return schema


def _is_context(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, Context)


def _where(function: Callable[..., Any]) -> str:
    code = getattr(function, "__code__", None)
    place = f" ({code.co_filename}:{code.co_firstlineno})" if code else ""
    return f"{getattr(function, '__qualname__', function)}{place}"
