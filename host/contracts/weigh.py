"""What it costs to hold a value against a schema that somebody else wrote, before it is held. Pure.

A schema of thirty lines can ask for 2**30 looks at one string. So a schema is weighed first: its weight
is how often one place of a value may be looked at, however deep the value is. A schema that is too heavy,
or that refers to anything outside of itself, is not held against anything.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

__all__ = ["MAX_WEIGHT", "NotHeld", "definition", "weight"]

MAX_BYTES = 256 * 1024
"""Of one schema, as JSON."""
MAX_NODES = 1000
MAX_PATTERNS = 64
"""Different ones: to compile one takes up to 2 ms."""
MAX_WEIGHT = 256
MAX_DEPTH = 128
"""Of a value: no frame has a deeper one."""
MAX_LOOKS = 20_000
"""Schemas weighed, one at each depth of a value counted again: takes 40 ms. A plugin's own have hundreds."""

_NOT_HELD = {
    **dict.fromkeys(("$id", "$anchor", "$dynamicRef", "$dynamicAnchor"), "is not followed"),
    **dict.fromkeys(("unevaluatedProperties", "unevaluatedItems"), "looks at everything once more"),
}
_SAME_PLACE = (
    *("$ref", "not", "if", "then", "else", "dependentSchemas", "dependencies"),
    *("allOf", "anyOf", "oneOf"),
)
_BELOW = ("additionalProperties", "propertyNames", "items", "additionalItems", "contains")
_LISTS = ("enum", "required")


class NotHeld(Exception):
    """Why no value is held against this schema."""


class _Node:
    __slots__ = ("below", "own", "same")

    def __init__(self, own: int) -> None:
        self.own = own
        """Looks at the place itself."""
        self.same: list[_Node] = []
        """Schemas that look at the same place once more."""
        self.below: list[list[_Node]] = []
        """Schemas of the places below; of each inner list one looks at a place."""


Looks = dict[int, int]


def weight(schema: Any) -> int:
    """Looks at one place of a value, in the worst case. Raises NotHeld."""
    if not isinstance(schema, dict | bool):
        raise NotHeld("it is neither an object nor true nor false")
    try:
        size = len(msgspec.json.encode(schema))
        if size > MAX_BYTES:
            raise NotHeld(f"it has {size} bytes, and at most {MAX_BYTES} are looked at")
        graph = _Graph(schema)
        nodes = list(graph.nodes.values())
        heaviest, at_depth = 1, _looks(nodes, None)
        for depth in range(MAX_DEPTH):
            if depth * len(nodes) > MAX_LOOKS:
                raise NotHeld("it is too large for how deep it goes")
            heaviest = max(heaviest, at_depth.get(id(graph.root), 1))
            above, at_depth = at_depth, _looks(nodes, at_depth)
            if at_depth == above:
                break
        return heaviest
    except (RecursionError, TypeError, UnicodeEncodeError):
        raise NotHeld("it is nested too deeply, or is no JSON") from None


def _looks(nodes: list[_Node], below: Looks | None) -> Looks:
    """How often each looks at a place that is deeper by one than those of `below`; None: at its own."""
    looks: Looks = {}

    def of(node: _Node) -> int:
        known = looks.get(id(node))
        if known is None:
            looks[id(node)] = -1
            known = sum(map(of, node.same))
            if below is None:
                known += node.own
            else:
                known += sum(max((below[id(each)] for each in group), default=0) for group in node.below)
            if known > MAX_WEIGHT:
                raise NotHeld("to look at one place of a value it has to be gone through too often")
            looks[id(node)] = known
        elif known < 0:
            raise NotHeld("it refers to itself without going deeper")
        return known

    for node in nodes:
        of(node)
    return looks


class _Graph:
    """The schemas inside a schema, and which looks where."""

    def __init__(self, schema: dict[str, Any] | bool) -> None:
        self._schema = schema
        self.nodes: dict[int, _Node] = {}
        self._patterns: set[str] = set()
        self.root = self._node(schema)

    def _node(self, schema: Any) -> _Node:
        if not isinstance(schema, dict | bool):
            raise NotHeld("a schema in it is no schema")
        known = self.nodes.get(id(schema))
        if known is None:
            if len(self.nodes) >= MAX_NODES:
                raise NotHeld(f"it has more than {MAX_NODES} schemas in it")
            known = self.nodes[id(schema)] = _Node(1)
            if isinstance(schema, dict):
                self._look_into(schema, known)
        return known

    def _look_into(self, schema: dict[str, Any], node: _Node) -> None:
        for key, reason in _NOT_HELD.items():
            if key in schema and not (key == "$id" and schema is self._schema):  # it may have a name
                raise NotHeld(f"`{key}` {reason}")
        self._patterns.update(_patterns(schema))
        if len(self._patterns) > MAX_PATTERNS:
            raise NotHeld(f"it has more than {MAX_PATTERNS} patterns in it")
        node.own += sum(len(schema[key]) for key in _LISTS if isinstance(schema.get(key), list)) // 16
        node.same = [self._node(inner) for inner in self._same_place(schema)]
        node.below = [
            [self._node(inner) for inner in _values(schema.get("properties"))],
            [self._node(inner) for inner in _listed(schema.get("prefixItems"))],
            *([self._node(inner)] for inner in _values(schema.get("patternProperties"))),
            *([self._node(schema[key])] for key in _BELOW if key in schema),
        ]

    def _same_place(self, schema: Mapping[str, Any]) -> Iterator[Any]:
        for key in _SAME_PLACE:
            value = schema.get(key)
            if key == "$ref" and key in schema:
                yield definition(self._schema, value)
            elif key in ("dependentSchemas", "dependencies"):  # the older one may name properties instead
                yield from (each for each in _values(value) if not isinstance(each, list))
            elif key in schema:
                yield from value if isinstance(value, list) else [value]


def definition(root: Any, reference: Any) -> Any:
    """What a `$ref` into its own schema leads to. Raises NotHeld for any other."""
    if not isinstance(reference, str) or not (reference == "#" or reference.startswith("#/")):
        raise NotHeld(f"it refers to {str(reference)[:80]!r}, and only what is inside it is looked at")
    found = root
    for part in reference.split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        if not isinstance(found, dict) or key not in found:
            raise NotHeld(f"there is nothing at {reference[:80]!r}")
        found = found[key]
    return found


def _patterns(schema: Mapping[str, Any]) -> Iterator[str]:
    if isinstance(schema.get("pattern"), str):
        yield schema["pattern"]
    if isinstance(schema.get("patternProperties"), dict):
        yield from schema["patternProperties"]


def _values(value: Any) -> list[Any]:
    return list(value.values()) if isinstance(value, dict) else []


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
