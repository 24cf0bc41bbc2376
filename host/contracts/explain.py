"""What is wrong with a large value: only the places that do not fit are looked at closely.

To be told all that is wrong with a million numbers that ought to be texts takes half a minute, and whether
one of them fits 0.1 us. So a large value is gone through part by part, and a part that does not fit again,
until it is small. Not every keyword says which part it is about: then the value as a whole does not fit.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any, Protocol

import msgspec

from host.contracts.weigh import NotHeld, definition
from host.contracts.words import MAX_PROBLEMS, UNKNOWN
from protocol.contract import Problem

__all__ = ["explain"]

DEEPEST = 16
"""How deep into a large value: each level is measured."""
NOWHERE = "does not fit, and is too large to say where"

Path = tuple[str, ...]


class Parts(Protocol):
    """Parts of the schema, held."""

    def fits(self, part: Any, value: Any) -> bool: ...

    def problems(self, part: Any, value: Any) -> list[Problem]:
        """All of them: `value` is small."""


def explain(schema: Any, value: Any, parts: Parts, *, small_bytes: int) -> list[Problem]:
    """At most `MAX_PROBLEMS` of what keeps `value` from fitting."""
    if b'"$ref":"#"' in msgspec.json.encode(schema):  # whose parts mean something else by themselves
        return [Problem((), NOWHERE)]
    try:
        return list(islice(_Explanation(schema, parts, small_bytes).of(schema, value, ()), MAX_PROBLEMS))
    except (ValueError, NotHeld):  # a part that means nothing by itself
        return [Problem((), NOWHERE)]


class _Explanation:
    def __init__(self, root: Any, parts: Parts, small_bytes: int) -> None:
        self._root = root
        self._parts = parts
        self._small_bytes = small_bytes

    def of(self, schema: Any, value: Any, path: Path) -> Iterator[Problem]:
        if not isinstance(value, dict | list) or len(msgspec.json.encode(value)) <= self._small_bytes:
            for problem in self._parts.problems(schema, value):
                yield Problem((*path, *problem.path), problem.reason, problem.nearest)
            return
        said = False
        if len(path) < DEEPEST:
            for problem in self._of_a_large_one(self._meant(schema, value), value, path):
                said = True
                yield problem
        if not said:
            yield Problem(path, NOWHERE)

    def _of_a_large_one(self, schema: Any, value: Any, path: Path) -> Iterator[Problem]:
        if not isinstance(schema, dict):
            return
        wrong = self._parts.problems({"type": schema["type"]}, type(value)()) if "type" in schema else []
        if wrong:
            yield Problem(path, wrong[0].reason)
        elif isinstance(value, list):
            prefix = schema.get("prefixItems") or []
            rest = schema.get("items", True)
            parts = ((prefix[n] if n < len(prefix) else rest, each) for n, each in enumerate(value))
            for number, (part, each) in enumerate(parts):
                yield from self._part(part, each, (*path, f"[{number}]"))
        else:
            yield from self._of_keys(schema, value, path)

    def _of_keys(self, schema: Any, value: dict[str, Any], path: Path) -> Iterator[Problem]:
        known = schema.get("properties") or {}
        others = schema.get("additionalProperties", True)
        for key in value.keys() - known.keys() if others is False else ():
            yield Problem((*path, key), UNKNOWN)
        for key in schema.get("required") or ():
            if key not in value:
                yield Problem((*path, key), "required, and missing")
        for key, each in value.items():
            if key in known or others is not False:
                yield from self._part(known.get(key, others), each, (*path, key))

    def _part(self, schema: Any, value: Any, path: Path) -> Iterator[Problem]:
        if schema is not True and not self._parts.fits(schema, value):
            yield from self.of(schema, value, path)

    def _meant(self, schema: Any, value: Any) -> Any:
        """What a reference leads to, and of a union the one member of the value's own type."""
        for _ in range(8):
            if not isinstance(schema, dict):
                break
            if "$ref" in schema:
                schema = definition(self._root, schema["$ref"])
                continue
            wanted = "array" if isinstance(value, list) else "object"
            kinds = [self._resolved(each) for each in schema.get("anyOf") or ()]
            kinds = [each for each in kinds if isinstance(each, dict) and each.get("type") == wanted]
            if len(kinds) != 1:
                break
            schema = kinds[0]
        return schema

    def _resolved(self, schema: Any) -> Any:
        if isinstance(schema, dict) and "$ref" in schema:
            try:
                return definition(self._root, schema["$ref"])
            except NotHeld:
                return None
        return schema
