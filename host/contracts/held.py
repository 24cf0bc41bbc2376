"""One plugin, held to what it says of itself: params before they are sent, results and events as they come.

A schema is compiled when its method is first called, and kept for as long as the plugin says the same of
itself. One that cannot be held is told of once, and its method passes as one without a schema does: what
an SDK checks, it still checks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec
from msgspec import Raw

from host.contracts.checker import Checker, NotHeld, checker
from protocol import values
from protocol.contract import Problem
from protocol.errors import ErrorCode, RpcError
from protocol.lifecycle import EventInfo, MethodInfo

__all__ = ["Contract", "Held", "ResultUnfit", "Topics"]


Tell = Callable[[str], object]


class ResultUnfit(Exception):
    """A result is not what its plugin says that its method returns."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("; ".join(map(str, problems)))
        self.problems = problems

    def of_item(self, number: int) -> ResultUnfit:
        """The same of one item of a stream, counted from 0."""
        place = f"[{number}]"
        return ResultUnfit(
            [msgspec.structs.replace(each, path=(place, *each.path)) for each in self.problems]
        )


class Held:
    """One method."""

    __slots__ = ("_params", "_result")

    def __init__(self, params: Checker | None, result: Checker | None) -> None:
        self._params = params
        self._result = result

    def check_params(self, params: Any) -> None:
        """Raises `RpcError` INVALID_PARAMS with every problem, as the plugin would have answered.

        `params` are what is to be sent: a dict or a struct of what JSON can carry, or JSON.
        """
        check = self._params
        if check is None:
            return
        try:
            # 0.2 us for a small call. As they will be encoded: a date as a string, a struct as an object.
            if check.is_light and type(params) is not Raw and check.fits(msgspec.to_builtins(params)):
                return
            raw = params if type(params) is Raw else msgspec.json.encode(params)
            if len(raw) > check.largest:
                return
            value = msgspec.json.decode(raw)
            if not isinstance(value, dict) or check.fits(value):  # by position it is the plugin's to say
                return
        except Exception:  # whatever the code of a value raises: told when it is sent, as ever
            return
        if problems := check.problems(value):
            data = [problem.as_data() for problem in problems]
            raise RpcError(ErrorCode.INVALID_PARAMS, "; ".join(map(str, problems)), data)

    def decode_result(self, raw: Raw) -> Any:
        """The result as it decodes; one with bytes in it is not held. Raises ResultUnfit."""
        try:
            value = msgspec.json.decode(raw)
        except msgspec.DecodeError as problem:
            if values.is_packed(raw):
                return values.decode(raw)
            raise ResultUnfit([Problem((), f"it cannot be read: {problem}")]) from None  # an endless number
        check = self._result
        if check is not None and len(raw) <= check.largest and not check.fits(value):
            raise ResultUnfit(check.problems(value))
        return value

    def check_result(self, raw: Raw) -> None:
        """For those who hand it on as it is. Raises ResultUnfit."""
        if self._result is not None and len(raw) <= self._result.largest:
            self.decode_result(raw)


_NOTHING_SAID = Held(None, None)


class Contract(dict[str, Held]):
    """By method, for any name. `tell` gets what is wrong with a schema."""

    def __init__(self, methods: Iterable[MethodInfo] = (), tell: Tell = lambda text: None) -> None:
        super().__init__()
        self._said = {method.name: method for method in methods}
        self._tell = tell

    def __missing__(self, method: str) -> Held:
        said = self._said.get(method)
        if said is None:
            return _NOTHING_SAID
        held = self[method] = Held(
            _checker(f"method {method[:100]}: the schema of its params", said.params, self._tell),
            _checker(f"method {method[:100]}: the schema of its result", said.result, self._tell),
        )
        return held


class Topics(dict[str, Checker | None]):
    """By topic, of those that the plugin declares: what holds its values. None: anything goes."""

    def __init__(self, declared: Iterable[EventInfo], tell: Tell) -> None:
        super().__init__()
        self.said = {each.topic: each.schema for each in declared}
        self._tell = tell

    def __missing__(self, topic: str) -> Checker | None:
        """Raises KeyError for one that is not declared."""
        held = self[topic] = _checker(
            f"topic {topic[:100]}: the schema of its values", self.said[topic], self._tell
        )
        return held


def _checker(what: str, schema: Any, tell: Tell) -> Checker | None:
    if schema is None:
        return None
    try:
        return checker(schema)
    except NotHeld as problem:
        tell(f"{what} is not held: {problem}")
        return None
