"""Settings against the schema that a plugin gives of them. Pure, but for what a validator costs.

Nothing in here repeats a value that may be a secret: reasons are made with values masked, and only then
is a value added that no secret is in.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from host.config.words import written
from protocol.contract import Problem, nearest
from protocol.secrets import MASK, secret_paths

__all__ = ["settings_problems"]

MAX_PROBLEMS = 50
LONGEST_QUOTE = 60


def settings_problems(settings: Mapping[str, Any], schema: Mapping[str, Any]) -> list[Problem]:
    """Everything that the schema has against them. A schema that is none has nothing."""
    import jsonschema_rs  # for those whose settings change

    try:
        validator = jsonschema_rs.Draft202012Validator(dict(schema), offline=True, mask=MASK)
        errors = list(validator.iter_errors(dict(settings)))
    except ValueError:
        return []
    secrets = secret_paths(schema)
    problems = []
    for error in errors[:MAX_PROBLEMS]:
        path = tuple(part if isinstance(part, str) else f"[{part}]" for part in error.instance_path)
        seen = _at(settings, error.instance_path)
        is_open = isinstance(seen, str | int | float | bool) and path not in secrets
        quote = written(seen) if is_open else MASK
        reason = error.message.replace(MASK, quote if len(quote) <= LONGEST_QUOTE else "it")
        problems.append(Problem(path, reason))
    return problems + _unknown(settings, schema)


def _unknown(settings: Mapping[str, Any], schema: Mapping[str, Any]) -> list[Problem]:
    """Keys that a struct would ignore. Somebody who sets one has mistyped another."""
    root = _root(schema)
    known = root.get("properties")
    if not isinstance(known, Mapping) or "additionalProperties" in root or "patternProperties" in root:
        return []
    return [Problem((key,), "unknown key", nearest(key, known)) for key in settings if key not in known]


def _root(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a `$ref` at the top leads to."""
    definitions = schema.get("$defs")
    if not isinstance(definitions, Mapping):
        return schema
    named = definitions.get(str(schema.get("$ref", "")).removeprefix("#/$defs/"))
    return named if isinstance(named, Mapping) else schema


def _at(value: Any, path: list[str | int]) -> Any:
    for part in path:
        try:
            value = value[part]
        except (LookupError, TypeError):
            return None
    return value
