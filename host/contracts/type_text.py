"""A schema in a few words, as an author would have written the type: `list[str] | null`. Pure."""

from __future__ import annotations

from itertools import islice
from typing import Any

import msgspec

from host.contracts.weigh import NotHeld, definition
from host.contracts.words import type_word

__all__ = ["quote", "type_text"]

LONGEST = 120
LONGEST_QUOTE = 60
MAX_DEPTH = 6
MAX_PARTS = 60
"""Schemas that are gone through; more are longer than `LONGEST` anyhow."""
_FORMATS = {"date-time": "datetime", "date": "date", "time": "time", "duration": "timedelta", "uuid": "UUID"}


def type_text(schema: Any, root: Any = None) -> str:
    """`root` is what its `$ref`s refer into. Never raises."""
    try:
        text = _Words(schema if root is None else root).of(schema)
    except Exception:  # a schema is anybody's, and may be anything
        text = "?"
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def quote(value: Any) -> str:
    """A value as JSON, not too much of it."""
    try:
        text = msgspec.json.encode(value).decode()
    except Exception:  # a value from elsewhere: a number of Decimal's, say
        text = str(value)
    return text if len(text) <= LONGEST_QUOTE else text[: LONGEST_QUOTE - 1] + "…"


class _Words:
    """Of one schema, and those inside it."""

    def __init__(self, root: Any) -> None:
        self._root = root
        self._parts = 0

    def of(self, schema: Any, depth: int = MAX_DEPTH) -> str:
        self._parts += 1
        if schema is True or schema == {}:
            return "any"
        if schema is False:
            return "nothing"
        if depth == 0 or self._parts > MAX_PARTS:
            return "…"
        if "$ref" in schema:
            try:
                return self.of(definition(self._root, schema["$ref"]), depth - 1)
            except NotHeld:
                return "?"
        for key in ("anyOf", "oneOf"):
            if key in schema:
                parts = [self.of(each, depth - 1) for each in schema[key][:MAX_PARTS]]
                return " | ".join(dict.fromkeys(parts))
        if "const" in schema or "enum" in schema:
            return " | ".join(map(quote, schema.get("enum", [schema.get("const")])[:MAX_PARTS]))
        type_ = schema.get("type", "object" if "properties" in schema else None)
        if type_ is None:
            return "any"
        if isinstance(type_, list):
            return " | ".join(self._one(each, schema, depth) for each in type_[:MAX_DEPTH])
        return self._one(type_, schema, depth)

    def _one(self, type_: str, schema: Any, depth: int) -> str:
        if type_ == "object":
            return self._object(schema, depth)
        if type_ == "array":
            if "prefixItems" in schema:
                parts = [self.of(each, depth - 1) for each in schema["prefixItems"][:MAX_PARTS]]
                return f"tuple[{', '.join(parts)}]"
            items = schema.get("items", True)
            return "list" if items is True or items == {} else f"list[{self.of(items, depth - 1)}]"
        if type_ == "string":
            if schema.get("contentEncoding") == "base64":
                return "bytes"
            return _FORMATS.get(schema.get("format"), "str") + _bounds(schema, "Length", "length ")
        return type_word(type_) + _range(schema)

    def _object(self, schema: Any, depth: int) -> str:
        title = schema.get("title")
        if isinstance(title, str) and "properties" in schema:
            return title
        values = schema.get("additionalProperties")
        if "properties" not in schema and isinstance(values, dict):
            return f"dict[str, {self.of(values, depth - 1)}]"
        if "properties" in schema:
            some = islice(schema["properties"].items(), MAX_PARTS)
            parts = [f"{key}: {self.of(each, depth - 1)}" for key, each in some]
            return "{" + ", ".join(parts) + "}"
        return "object"


def _bounds(schema: Any, what: str, name: str) -> str:
    parts = [
        f"{sign}= {schema[key + what]}" for key, sign in (("min", ">"), ("max", "<")) if key + what in schema
    ]
    return f"({name}{', '.join(parts)})" if parts else ""


def _range(schema: Any) -> str:
    keys = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}
    parts = [f"{sign} {schema[key]}" for key, sign in keys.items() if key in schema]
    return f"({', '.join(parts)})" if parts else ""
