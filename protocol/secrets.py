"""Which settings are secrets, and what stands for one in a file. Pure; both sides use it.

A secret is a key whose schema says `"secret": true`. In a file stands where it is to be had from, and
never the secret itself: `{ file = "/path" }`, or `{ command = ["pass", "show", "x"] }`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from itertools import islice
from typing import Any

__all__ = ["MASK", "is_reference", "masked", "secret_paths", "secret_values", "value_at", "with_value_at"]

MASK = "•••"
"""What is shown in its place."""

DEEPEST = 16
MOST = 10_000

SHORTEST_MASKED = 4
"""What is shorter stands in every other word."""

Path = tuple[str, ...]


def secret_paths(schema: Mapping[str, Any]) -> set[Path]:
    """The keys of an object of this JSON Schema that are secrets, as paths from its root.

    The schema may be anybody's, and refer to itself: not more than `MOST` places in it are looked at, or
    kept to be looked at.
    """
    definitions = schema.get("$defs")
    found: set[Path] = set()
    seen: set[tuple[Path, int]] = set()
    waiting: list[tuple[Path, Any]] = [((), schema)]
    left = MOST

    def look_at(places: Iterable[tuple[Path, Any]]) -> None:
        nonlocal left
        before = len(waiting)
        waiting.extend(islice(places, left))
        left -= len(waiting) - before

    while waiting:
        path, node = waiting.pop()
        if not isinstance(node, Mapping) or len(path) > DEEPEST or (path, id(node)) in seen:
            continue
        seen.add((path, id(node)))
        if node.get("secret") is True and path:
            found.add(path)
            continue
        ref = node.get("$ref")
        if isinstance(ref, str) and isinstance(definitions, Mapping):
            look_at([(path, definitions.get(ref.removeprefix("#/$defs/")))])
        for word in ("anyOf", "oneOf", "allOf"):
            parts = node.get(word)
            if isinstance(parts, list):
                look_at((path, part) for part in parts)
        properties = node.get("properties")
        if isinstance(properties, Mapping):
            look_at(((*path, str(key)), inner) for key, inner in properties.items())
    return found


def is_reference(value: Any) -> bool:
    """Whether it says where a secret is to be had from."""
    if not isinstance(value, Mapping) or len(value) != 1:
        return False
    if isinstance(value.get("file"), str):
        return True
    command = value.get("command")
    return isinstance(command, list) and bool(command) and all(isinstance(word, str) for word in command)


def secret_values(settings: Mapping[str, Any], schema: Mapping[str, Any]) -> set[str]:
    """The secrets that stand in settings, but for those too short to be found in a text."""
    found = [value_at(settings, path) for path in secret_paths(schema)]
    return {value for value in found if isinstance(value, str) and len(value) >= SHORTEST_MASKED}


def masked(text: str, secrets: Collection[str]) -> str:
    """The text without them."""
    for secret in sorted(secrets, key=len, reverse=True):  # one may be a part of another
        text = text.replace(secret, MASK)
    return text


def masked_value(value: Any, secrets: Collection[str]) -> Any:
    """A value that JSON was decoded to, without them, in whatever text of it."""
    if isinstance(value, str):
        return masked(value, secrets)
    if isinstance(value, list):
        return [masked_value(each, secrets) for each in value]
    if isinstance(value, dict):
        return {masked(key, secrets): masked_value(each, secrets) for key, each in value.items()}
    return value


def value_at(settings: Any, path: Path) -> Any:
    """None if nothing is there."""
    for key in path:
        settings = settings.get(key) if isinstance(settings, Mapping) else None
    return settings


def with_value_at(settings: Mapping[str, Any], path: Path, value: Any) -> dict[str, Any]:
    """A copy in which `value` stands at `path`, where something stood already."""
    key, *rest = path
    return {**settings, key: with_value_at(settings[key], tuple(rest), value) if rest else value}
