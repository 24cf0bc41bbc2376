"""What the source of a Python plugin shows without being run: whom it asks, and where its parts are. Pure.

Only what is written out is seen: `ctx.call("library", ...)`, and not a name that is put together. So what is
found is there, and what is not found may be there as well.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

import msgspec

from protocol.manifest import Permission

__all__ = ["Place", "Shown", "read_source"]

_CONTEXTS = ("Context", "AsyncContext")
_BY_CALL: dict[str, Permission] = {
    "call": "plugins",
    "stream": "plugins",
    "publish": "events",
}
"""Methods of a context, and the permission that each takes."""


class Place(msgspec.Struct, frozen=True):
    file: str
    line: int


class Use(msgspec.Struct, frozen=True):
    """Something that takes a permission."""

    key: Permission
    wanted: str
    place: Place


class Shown(msgspec.Struct):
    """Of one file, or of all together."""

    uses: list[Use] = []
    hooks: dict[str, Place] = {}
    functions: dict[str, Place] = {}
    """By name, wherever in the file."""
    settings: Place | None = None


def read_source(text: str, file: str, shown: Shown) -> None:
    """Adds what `text` shows. Raises SyntaxError, or ValueError for a text that is no source at all."""
    tree = ast.parse(text, file)
    contexts = {"ctx", *_contexts(tree)}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            shown.functions.setdefault(node.name, Place(file, node.lineno))
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            place = Place(file, node.lineno)
            shown.uses += [Use(key, wanted, place) for key, wanted in _uses(node, node.func, contexts)]
            named = _text(node.args[0]) if node.args else None
            if node.func.attr == "hook" and named is not None:
                shown.hooks.setdefault(named, place)
            elif node.func.attr == "settings" and node.args:
                shown.settings = shown.settings or place


def _contexts(tree: ast.AST) -> Iterator[str]:
    """Parameters that are annotated as a context."""
    for node in ast.walk(tree):
        if isinstance(node, ast.arg) and node.annotation is not None:
            kind = node.annotation
            name = kind.attr if isinstance(kind, ast.Attribute) else getattr(kind, "id", _text(kind))
            if name in _CONTEXTS:
                yield node.arg


def _uses(call: ast.Call, function: ast.Attribute, contexts: set[str]) -> Iterator[tuple[Permission, str]]:
    first = _text(call.args[0]) if call.args else None
    if function.attr == "on_event" and first is not None:
        yield "events", first
    elif isinstance(function.value, ast.Name) and function.value.id in contexts:
        if function.attr in _BY_CALL and first is not None:
            yield _BY_CALL[function.attr], first
    else:
        path = _dotted(function)
        if len(path) > 2 and path[0] in contexts and path[1] == "host":
            yield "host", ".".join(path[2:])


def _dotted(node: ast.expr) -> list[str]:
    if isinstance(node, ast.Attribute):
        before = _dotted(node.value)
        return [*before, node.attr] if before else []
    return [node.id] if isinstance(node, ast.Name) else []


def _text(node: ast.expr) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None
