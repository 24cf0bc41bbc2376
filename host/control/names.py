"""Names to choose from, for whoever completes a command line: of plugins, methods and parameters. Pure.

What a plugin says of itself is not trusted: only so much of it, and nothing that a shell would obey.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from host.observability.snapshot import Status
from protocol.lifecycle import MethodInfo

MOST = 200
LONGEST = 100


class Name(msgspec.Struct, kw_only=True):
    name: str
    about: str = ""
    values: list[str] = []
    """What may stand there, if that is known."""


def plugin_names(status: Status) -> list[Name]:
    return [Name(name=plugin.name, about=plugin.state) for plugin in status.plugins]


def point_names(points: Sequence[str]) -> list[Name]:
    return _plain(Name(name=point, about="extension point") for point in points)


def method_names(methods: Sequence[MethodInfo]) -> list[Name]:
    return _plain(Name(name=method.name, about=_about(method.doc)) for method in methods)


def parameter_names(methods: Sequence[MethodInfo], method: str) -> list[Name]:
    schema = next((info.params for info in methods if info.name == method), None)
    properties = (schema or {}).get("properties")
    if not isinstance(properties, dict):
        return []
    return _plain(
        Name(name=name, about=_about(_get(about, "description")), values=_values(about))
        for name, about in properties.items()
    )


def _values(schema: Any) -> list[str]:
    if _get(schema, "type") == "boolean":
        return ["true", "false"]
    choices = _get(schema, "enum")
    if not isinstance(choices, list):
        return []
    values = [value if isinstance(value, str) else json.dumps(value) for value in choices[:MOST]]
    return [value for value in values if _is_plain(value)]


def _get(schema: Any, key: str) -> Any:
    return schema.get(key) if isinstance(schema, dict) else None


def _about(text: Any) -> str:
    if not isinstance(text, str) or not text.strip():
        return ""
    line = text.strip().splitlines()[0][:LONGEST]
    return line if line.isprintable() else ""


def _plain(names: Iterable[Name]) -> list[Name]:
    return [name for name in names if _is_plain(name.name)][:MOST]


def _is_plain(text: str) -> bool:
    return 0 < len(text) <= LONGEST and text.isprintable() and not any(mark in text for mark in " ,=\"'`$\\")
