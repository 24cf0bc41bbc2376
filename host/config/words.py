"""Keys and values as somebody types them, and as they are shown. Pure.

A key is a dotted path, as in TOML. A value is TOML if it can be read as that, and else it is the text
itself, so that nobody has to quote for two languages at once.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from typing import Any

import msgspec

from host.config.lines import DEEPEST, KeyPath, places
from host.config.problems import dotted, key_text

__all__ = ["changed_keys", "parse_key", "parse_value", "same", "with_value", "without", "written"]


def parse_key(text: str) -> KeyPath:
    """`plugins.hello.settings."a b"` as a path. Raises ValueError that says how to write one."""
    mistake = ValueError(f"{text[:200]!r} is no key: write a dotted path, like plugins.NAME.settings.KEY")
    if not text.isprintable() or "=" in text or text.count(".") >= DEEPEST:
        raise mistake
    try:
        value: Any = tomllib.loads(f"{text} = 0")
    except (ValueError, RecursionError):
        raise mistake from None
    path: list[str] = []
    while isinstance(value, dict):
        if len(value) != 1:
            raise mistake
        [(key, value)] = value.items()
        path.append(key)
    return tuple(path)


def parse_value(text: str) -> Any:
    """TOML, else the text as it is."""
    source = f"value = {text}"
    if len(max(places(source), key=len, default=())) >= DEEPEST:
        return text
    try:
        found = tomllib.loads(source)
    except (ValueError, RecursionError):
        return text
    return found["value"] if found.keys() == {"value"} else text


def written(value: Any) -> str:
    """A value on one line, as TOML; only for what TOML can say."""
    import tomli_w  # for who writes or shows, and not for every command

    if isinstance(value, Mapping):
        inside = ", ".join(f"{key_text(key)} = {written(inner)}" for key, inner in value.items())
        return f"{{ {inside} }}" if inside else "{}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(written, value))}]"
    return tomli_w.dumps({"v": value}).removeprefix("v = ").rstrip("\n")


def with_value(document: Mapping[str, Any], path: KeyPath, value: Any) -> dict[str, Any]:
    """A copy of `document` that says `value` at `path`; what stood in the way is gone."""
    key, *rest = path
    inner = document.get(key)
    below = inner if isinstance(inner, Mapping) else {}
    return {**document, key: with_value(below, tuple(rest), value) if rest else value}


def without(document: Mapping[str, Any], path: KeyPath) -> dict[str, Any]:
    """A copy of `document` that says nothing at `path`; tables that become empty by it are gone too."""
    key, *rest = path
    copy = dict(document)
    inner = copy.pop(key, None)
    if rest and isinstance(inner, Mapping) and (left := without(inner, tuple(rest))):
        copy[key] = left
    elif rest and not isinstance(inner, Mapping) and inner is not None:
        copy[key] = inner
    return copy


def same(one: object, other: object) -> bool:
    """`1`, `1.0` and `true` are equal in Python, and not to a plugin."""
    first, second = (msgspec.json.encode(value, order="deterministic") for value in (one, other))
    return first == second


def changed_keys(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """The keys at the top, as one writes them, whose values differ; in order."""
    return [
        dotted((key,))
        for key in sorted(before.keys() | after.keys())
        if key not in before or key not in after or not same(before[key], after[key])
    ]
