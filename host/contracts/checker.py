"""A schema, compiled: does a value fit, and if not, everything that is wrong with it.

Asking costs 0.1 us for the params of a small call and 80 us for a megabyte; compiling 4 us to 10 ms.
Nothing is ever fetched, patterns run in linear time, and a schema that is too heavy is not compiled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from host.contracts import words
from host.contracts.explain import explain
from host.contracts.weigh import NotHeld, weight
from protocol.contract import Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from jsonschema_rs import Draft202012Validator, ValidationError

__all__ = ["Checker", "NotHeld", "checker"]

MAX_PATTERN_BYTES = 256 * 1024
"""Of one pattern, compiled."""
MAX_WORK = 1 << 26
"""Bytes of a value, times the weight of its schema: what would take about half a second is let pass."""
LIGHT = 4
SMALL = 32 * 1024
"""Bytes of a value, times the weight: of a larger one the parts are told of that do not fit."""


class Checker:
    """`fits` is for where every call passes, `problems` for what does not fit."""

    __slots__ = ("_heavy", "_schema", "_validator", "fits", "is_light", "largest")

    def __init__(self, schema: dict[str, Any] | bool, heavy: int, mask: str | None = None) -> None:
        self._schema = schema
        self._validator = _compiled(schema, mask)
        self._heavy = heavy
        self.fits: Callable[[Any], bool] = self._validator.is_valid
        """Of what JSON decodes to. Raises ValueError for anything else."""
        self.is_light = heavy <= LIGHT
        """Whether the largest value that a frame can carry is not too large."""
        self.largest = MAX_WORK // heavy
        """Bytes of JSON; a larger value is not to be looked at."""

    def problems(self, value: Any) -> list[Problem]:
        """What keeps `value`, as JSON decodes it, from fitting: at most `MAX_PROBLEMS`."""
        if (found := self.errors(value)) is not None:
            return words.problems(found, self._schema)
        return explain(self._schema, value, Parts(self._schema), small_bytes=SMALL // self._heavy)

    def errors(self, value: Any) -> Iterator[ValidationError] | None:
        """All that is wrong, as jsonschema-rs has it; None for a value too large to be told of as a whole."""
        is_small = len(msgspec.json.encode(value)) <= SMALL // self._heavy
        return self._validator.iter_errors(value) if is_small else None


class Parts:
    """The schemas inside of one, each compiled when it is first asked for."""

    def __init__(self, root: Any) -> None:
        self._named = {key: root[key] for key in ("$defs", "definitions") if key in root}
        self._compiled: dict[int, tuple[Any, Any]] = {}

    def fits(self, part: Any, value: Any) -> bool:
        return self._of(part).is_valid(value)  # type: ignore[no-any-return]

    def problems(self, part: Any, value: Any) -> list[Problem]:
        return words.problems(self._of(part).iter_errors(value), part)

    def _of(self, part: Any) -> Any:
        if id(part) not in self._compiled:
            whole = {**part, **self._named} if isinstance(part, dict) else part
            self._compiled[id(part)] = part, _compiled(whole)
        return self._compiled[id(part)][1]


def checker(schema: Any, *, mask: str | None = None) -> Checker:
    """Raises NotHeld, with the reason. `mask` stands for values in what `errors` say."""
    heavy = weight(schema)
    try:
        return Checker(schema, heavy, mask)
    except ValueError as error:
        raise NotHeld(str(error).split("\n", 1)[0][:300]) from None


def _compiled(schema: Any, mask: str | None = None) -> Draft202012Validator:
    """Raises ValueError. `mask`: what stands for a value in what it says of it."""
    import jsonschema_rs  # 6 ms, once there is something to hold

    options = jsonschema_rs.RegexOptions(size_limit=MAX_PATTERN_BYTES, dfa_size_limit=MAX_PATTERN_BYTES)
    return jsonschema_rs.Draft202012Validator(schema, offline=True, mask=mask, pattern_options=options)
