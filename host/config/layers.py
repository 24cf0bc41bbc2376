"""Layers of configuration, merged so that every value keeps its origin. Pure.

A layer is a tree: tables, whose leaves are values. Of two layers the higher one wins, table by table and
key by key; everything that is not a table is replaced whole. Merging is associative, so it does not
matter in which order layers are put together, as long as their own order is kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import reduce
from typing import Any, TypeAlias

import msgspec

from host.config.lines import KeyPath, nearest_line
from protocol.secrets import is_reference

__all__ = ["Leaf", "Origin", "Table", "Tree", "at", "leaves", "merge", "nearest_origin", "plain", "tree"]


class Origin(msgspec.Struct, frozen=True):
    """Who says so."""

    layer: str
    """`built-in`, `manifest`, `system`, `user`, `config`, `conf.d`, `overrides`, `environment`, `flags`."""
    file: str = ""
    """Or the variable; empty where there is neither."""
    line: int | None = None
    by: str = ""
    """Whoever has written it, if that was not a person: `plugin NAME`."""

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        by = self.by and f"by the {self.by}"
        return " ".join(part for part in (self.layer, place, by) if part)


class Leaf(msgspec.Struct, frozen=True):
    value: Any
    origin: Origin


class Table(msgspec.Struct, frozen=True):
    items: dict[str, Tree]
    origin: Origin
    """Of the highest layer that has the table."""
    replaces: bool = False
    """Whether it stands where a value stood, and so hides any table below. Without it merging would not
    be associative."""


Tree: TypeAlias = Leaf | Table


def tree(
    value: Mapping[str, Any],
    layer: str,
    file: str = "",
    lines: Mapping[KeyPath, int] | None = None,
    *,
    path: KeyPath = (),
    by: Mapping[KeyPath, str] | None = None,
) -> Table:
    """A document as a layer. `lines` are the document's, as `lines.places` finds them; `by` says of values
    who has written them."""
    known = dict(lines) if lines is not None else {}
    writers = by or {}

    def node(value: Any, path: KeyPath) -> Tree:
        origin = Origin(layer, file, nearest_line(known, path), writers.get(path, ""))
        if isinstance(value, Mapping):
            return Table({key: node(inner, (*path, key)) for key, inner in value.items()}, origin)
        return Leaf(value, origin)

    made = node(value, path)
    assert isinstance(made, Table)
    return made


def merge(layers: Iterable[Table]) -> Table:
    """All layers, the lowest first, as one."""
    nothing: Tree = Table({}, Origin("built-in"))
    merged = reduce(_over, layers, nothing)
    assert isinstance(merged, Table)
    return merged


def _over(low: Tree, high: Tree) -> Tree:
    if isinstance(high, Leaf) or high.replaces:
        return high
    if isinstance(low, Leaf):
        return msgspec.structs.replace(high, replaces=True)
    if len(low.items) == len(high.items) == 1 and is_reference(plain(low)) and is_reference(plain(high)):
        return high  # where a secret comes from is one thing to say, though it is written as a table
    items = dict(low.items)
    for key, value in high.items.items():
        items[key] = _over(items[key], value) if key in items else value
    return Table(items, high.origin, low.replaces)


def plain(node: Tree) -> Any:
    """What it says, without who says so."""
    if isinstance(node, Leaf):
        return node.value
    return {key: plain(inner) for key, inner in node.items.items()}


def at(node: Tree, path: KeyPath) -> Tree | None:
    """What is at `path`; None if nothing is."""
    for key in path:
        inner = node.items.get(key) if isinstance(node, Table) else None
        if inner is None:
            return None
        node = inner
    return node


def nearest_origin(node: Tree, path: KeyPath) -> Origin:
    """Of what is at `path`, or of the nearest table around it."""
    for key in path:
        inner = node.items.get(key) if isinstance(node, Table) else None
        if inner is None:
            break
        node = inner
    return node.origin


def leaves(node: Tree, path: KeyPath = ()) -> Iterator[tuple[KeyPath, Leaf]]:
    """Every value and its path, in order; an empty table counts as a value."""
    if isinstance(node, Leaf):
        yield path, node
    elif not node.items:
        yield path, Leaf({}, node.origin)
    else:
        for key, inner in node.items.items():
            yield from leaves(inner, (*path, key))
