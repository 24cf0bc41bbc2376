"""A contract in words: signatures as an author would write them, and the types that they name. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from host.contracts.type_text import quote, type_text

__all__ = ["fields", "signature", "types"]

WIDEST = 78
MAX_TYPES = 50


def signature(
    name: str, params: Any, result: Any, *, stream: bool = False, takes: Mapping[str, Any] | None = None
) -> list[str]:
    """`greet(name: str, excited: bool = false) -> str`, on as many lines as that takes."""
    answer = "" if result is None else type_text(result)
    if stream:
        answer = f"stream of {answer}" if answer else "stream"
    arrow = f" -> {answer}" if answer else ""
    parts = ["…"] if params is None else list(fields(params))
    parts += [f"{each}: stream of {type_text(about)}" for each, about in (takes or {}).items()]
    whole = f"{name}({', '.join(parts)}){arrow}"
    if len(whole) <= WIDEST or len(parts) < 2:
        return [whole]
    return [f"{name}(", *(f"    {part}," for part in parts), f"){arrow}"]


def fields(schema: Any, root: Any = None) -> Iterator[str]:
    """`name: str`, `size: int = 0`, for each property of an object."""
    root = schema if root is None else root
    if not isinstance(schema, dict):
        return
    if isinstance(schema.get("$ref"), str):
        schema = _mapping(_definitions(schema).get(schema["$ref"].removeprefix("#/$defs/")))
    required = schema.get("required") or []
    for name, about in _mapping(schema.get("properties")).items():
        default = ""
        if isinstance(about, dict) and "default" in about:
            default = f" = {quote(about['default'])}"
        elif name not in required:
            default = " = …"
        yield f"{name}: {type_text(about, root)}{default}"
    if "additionalProperties" in schema and schema["additionalProperties"] is not False:
        yield f"**: {type_text(schema['additionalProperties'], root)}"


def types(schemas: list[Any]) -> dict[str, list[str]]:
    """The objects with a name that the schemas refer to, and their fields."""
    found: dict[str, list[str]] = {}
    for schema in schemas:
        named = schema if isinstance(schema, dict) else {}
        for about in (named, *_definitions(schema).values()):
            title = about.get("title") if isinstance(about, dict) else None
            if isinstance(title, str) and "properties" in about and len(found) < MAX_TYPES:
                found.setdefault(title, list(fields(about, schema)))
    return found


def _definitions(schema: Any) -> Mapping[str, Any]:
    return _mapping(schema.get("$defs")) if isinstance(schema, dict) else {}


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
