"""A schema, compiled: does a value fit, and if not, everything that is wrong with it.

Asking costs 0.1 us for the params of a small call and 80 us for a megabyte; compiling 4 us to 10 ms.
Nothing is ever fetched, patterns run in linear time, and a schema that is too heavy is not compiled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from host.contracts import words
from host.contracts.weigh import NotHeld, weight
from protocol.contract import Problem

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Checker", "NotHeld", "checker"]

MAX_PATTERN_BYTES = 256 * 1024
"""Of one pattern, compiled."""
MAX_WORK = 1 << 26
"""Bytes of a value, times the weight of its schema: what would take about half a second is let pass."""
LIGHT = 4


class Checker:
    """`fits` is for where every call passes, `problems` for what does not fit."""

    __slots__ = ("_schema", "_validator", "fits", "is_light", "largest")

    def __init__(self, schema: dict[str, Any] | bool, validator: Any, heavy: int) -> None:
        self._schema = schema
        self._validator = validator
        self.fits: Callable[[Any], bool] = validator.is_valid
        """Of what JSON decodes to. Raises ValueError for anything else."""
        self.is_light = heavy <= LIGHT
        """Whether the largest value that a frame can carry is not too large."""
        self.largest = MAX_WORK // heavy
        """Bytes of JSON; a larger value is not to be looked at."""

    def problems(self, value: Any) -> list[Problem]:
        """Everything that keeps `value`, as JSON decodes it, from fitting."""
        return words.problems(self._validator.iter_errors(value), self._schema)


def checker(schema: Any) -> Checker:
    """Raises NotHeld, with the reason."""
    heavy = weight(schema)
    import jsonschema_rs  # 6 ms, once there is something to hold

    options = jsonschema_rs.RegexOptions(size_limit=MAX_PATTERN_BYTES, dfa_size_limit=MAX_PATTERN_BYTES)
    try:
        validator = jsonschema_rs.Draft202012Validator(schema, offline=True, pattern_options=options)
    except ValueError as error:
        raise NotHeld(str(error).split("\n", 1)[0][:300]) from None
    return Checker(schema, validator, heavy)
