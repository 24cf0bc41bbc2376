"""What a function is and takes, read off its code.

`inspect` says the same of everything that can be called, and costs as much to import as all of the SDK's own
code. So it is asked about what is not just a `def` or an `async def`: a method, a partial, something wrapped.
"""

from __future__ import annotations

from types import FunctionType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

_VAR_POSITIONAL, _VAR_KEYWORD, _GENERATOR, _COROUTINE, _ASYNC_GENERATOR = 0x4, 0x8, 0x20, 0x80, 0x200
"""Flags of a code object; `inspect.CO_VARARGS` and so on."""

MISSING: Any = object()
"""The default of a parameter that has none."""


class Parameter:
    """One of a function. `is_rest` for `**rest`; neither that nor `by_name` if it cannot be given by name."""

    __slots__ = ("by_name", "default", "is_rest", "name")

    def __init__(
        self, name: str, default: Any = MISSING, *, by_name: bool = True, is_rest: bool = False
    ) -> None:
        self.name = name
        self.default = default
        self.by_name = by_name
        self.is_rest = is_rest


def is_coroutine_function(function: Any) -> bool:
    """Whether calling it gives something to be awaited."""
    return _is(function, _COROUTINE, "iscoroutinefunction")


def is_async_generator(function: Any) -> bool:
    return _is(function, _ASYNC_GENERATOR, "isasyncgenfunction")


def yields(function: Any) -> bool:
    """Whether it is a generator, of either kind."""
    return is_async_generator(function) or _is(function, _GENERATOR, "isgeneratorfunction")


def _is(function: Any, flag: int, question: str) -> bool:
    """What its code says; `question` is what `inspect` is asked about anything else."""
    if function is None or _is_plain(function):
        return function is not None and bool(function.__code__.co_flags & flag)
    import inspect

    return bool(getattr(inspect, question)(function))


def parameters_of(function: Callable[..., Any]) -> list[Parameter]:
    """In their order. Raises what `inspect.signature` raises."""
    if not _is_plain(function):
        return _inspected(function)
    code = function.__code__
    named, keywords = code.co_argcount, code.co_kwonlyargcount
    names = code.co_varnames
    defaults: tuple[Any, ...] = function.__defaults__ or ()
    of_keywords: dict[str, Any] = function.__kwdefaults__ or {}
    found = [
        Parameter(name, default, by_name=number >= code.co_posonlyargcount)
        for number, (name, default) in enumerate(
            zip(names[:named], (MISSING,) * (named - len(defaults)) + defaults, strict=True)
        )
    ]
    after = named + keywords
    if code.co_flags & _VAR_POSITIONAL:
        found.append(Parameter(names[after], by_name=False))
        after += 1
    found += [Parameter(name, of_keywords.get(name, MISSING)) for name in names[named : named + keywords]]
    if code.co_flags & _VAR_KEYWORD:
        found.append(Parameter(names[after], by_name=False, is_rest=True))
    return found


def _is_plain(function: Any) -> bool:
    """A `def` that nothing was hung on: what `functools.wraps` does and `__signature__` are attributes."""
    return type(function) is FunctionType and not function.__dict__


def _inspected(function: Callable[..., Any]) -> list[Parameter]:
    from inspect import Parameter as Inspected
    from inspect import signature

    by_name = (Inspected.POSITIONAL_OR_KEYWORD, Inspected.KEYWORD_ONLY)
    return [
        Parameter(
            each.name,
            MISSING if each.default is Inspected.empty else each.default,
            by_name=each.kind in by_name,
            is_rest=each.kind is Inspected.VAR_KEYWORD,
        )
        for each in signature(function).parameters.values()
    ]
