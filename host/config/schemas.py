"""Settings against the schema that a plugin gives of them. Pure.

Nothing in here repeats a value that may be a secret: reasons are made with values masked, and only then
is a value added that no secret is in.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import Any

import msgspec

from host.config.words import written
from host.contracts.checker import Checker, NotHeld, checker
from host.contracts.explain import NOWHERE
from protocol.contract import Problem, nearest
from protocol.secrets import MASK, secret_paths

__all__ = ["settings_problems", "why_not_held"]

MAX_PROBLEMS = 50
MAX_HINTS = 10
LONGEST_QUOTE = 60


def why_not_held(schema: Any) -> str | None:
    """Why no settings can be held against it, so that the plugin alone looks at them; None if they can."""
    try:
        checker(schema, mask=MASK)
    except NotHeld as problem:
        return str(problem)
    return None


def settings_problems(settings: Mapping[str, Any], schema: Mapping[str, Any]) -> list[Problem]:
    """What the schema has against them, at most `MAX_PROBLEMS` of each kind. One not held has nothing."""
    try:
        check = checker(dict(schema), mask=MASK)
        plain = msgspec.to_builtins(dict(settings))  # as the plugin gets them: a date is a string
        is_small = len(msgspec.json.encode(plain)) <= check.largest
        fits = not is_small or check.fits(plain)
    except (NotHeld, ValueError):
        return []
    return [*([] if fits else _unfit(plain, schema, check)), *_unknown(settings, schema)]


def _unfit(settings: Mapping[str, Any], schema: Mapping[str, Any], check: Checker) -> list[Problem]:
    errors = check.errors(settings)
    if errors is None:
        return [Problem((), NOWHERE)]
    secrets = secret_paths(schema)
    problems = []
    for error in islice(errors, MAX_PROBLEMS):
        path = tuple(part if isinstance(part, str) else f"[{part}]" for part in error.instance_path)
        seen = _at(settings, error.instance_path)
        is_open = isinstance(seen, str | int | float | bool) and path not in secrets
        quote = written(seen) if is_open else MASK
        reason = error.message.replace(MASK, quote if len(quote) <= LONGEST_QUOTE else "it")
        problems.append(Problem(path, reason))
    return problems


def _unknown(settings: Mapping[str, Any], schema: Mapping[str, Any]) -> list[Problem]:
    """Keys that a struct would ignore. Somebody who sets one has mistyped another."""
    root = _root(schema)
    known = root.get("properties")
    if not isinstance(known, Mapping) or "additionalProperties" in root or "patternProperties" in root:
        return []
    unknown = list(islice((key for key in settings if key not in known), MAX_PROBLEMS))
    close = {key: nearest(key, known) for key in unknown[:MAX_HINTS]}
    return [Problem((key,), "unknown key", close.get(key)) for key in unknown]


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
