"""Schemas that somebody wrote to hurt whoever holds a value against them."""

from __future__ import annotations

from typing import Any

LONG = "a" * 100_000 + "b"


def doubling(levels: int) -> dict[str, Any]:
    """Asks for 2**levels looks at one value."""
    inner = {str(n): {"allOf": [{"$ref": f"#/$defs/{n + 1}"}] * 2} for n in range(levels)}
    return {"$ref": "#/$defs/0", "$defs": {**inner, str(levels): {"type": "string"}}}


def deep(levels: int, word: str = "not") -> dict[str, Any]:
    schema: dict[str, Any] = {}
    for _ in range(levels):
        schema = {word: schema}
    return schema


def branching(width: int) -> dict[str, Any]:
    """In words it would have width**3 of them."""
    union = {"anyOf": [{"$ref": "#/$defs/a"}] * width}
    return {"$ref": "#/$defs/a", "$defs": {"a": union}}


def spread(width: int) -> dict[str, Any]:
    """Has width**16 keys that may be secrets."""
    keys = {str(n): {"$ref": "#/$defs/a"} for n in range(width)}
    return {"$ref": "#/$defs/a", "$defs": {"a": {"type": "object", "properties": keys}}}


SENT: dict[str, Any] = {
    "doubling": {
        "type": "object",
        "properties": {"a": {"$ref": "#/$defs/0"}},
        "$defs": doubling(40)["$defs"],
    },
    "backtracking": {"type": "object", "properties": {"a": {"type": "string", "pattern": "^(a+)+$"}}},
    "elsewhere": {"type": "object", "properties": {"a": {"$ref": "http://127.0.0.1:9/x"}}},
    "branching": branching(200),
    "spread": spread(2000),
    "many patterns": {"properties": {f"k{n}": {"pattern": rf"\p{{L}}{{3}}{n}"} for n in range(900)}},
    "like keys": {
        "type": "object",
        "properties": {f"k{n:090d}": {"type": "null"} for n in range(900)},
        "additionalProperties": False,
    },
}
"""Those that fit into a frame."""
HOSTILE: dict[str, Any] = {**SENT, "deep": deep(100_000), "deep unions": {"allOf": [deep(100_000, "items")]}}
