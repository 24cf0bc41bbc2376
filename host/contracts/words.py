"""What a schema has against a value, in the words that the SDK has for it too. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any

import msgspec

from protocol.contract import Problem, nearest

if TYPE_CHECKING:
    from jsonschema_rs import ValidationError

__all__ = ["MAX_PROBLEMS", "UNKNOWN", "problems", "type_word"]

LONGEST_PATTERN = 60
MAX_PROBLEMS = 50
MAX_HINTS = 10
UNKNOWN = "unknown key"

_WORDS = {"string": "str", "integer": "int", "number": "float", "boolean": "bool"}


def type_word(name: str) -> str:
    """A type of JSON Schema as Python and msgspec call it."""
    return _WORDS.get(name, name)


def problems(errors: Iterable[ValidationError], schema: Any) -> list[Problem]:
    """All of `errors`, those about unknown keys first, the others in the schema's own order."""
    known = schema.get("properties") if isinstance(schema, Mapping) else None
    known = list(known) if isinstance(known, Mapping) else []
    found: list[Problem] = []
    for error in errors:
        found += islice(_said(error), MAX_PROBLEMS - len(found))
        if len(found) >= MAX_PROBLEMS:
            break

    def place(problem: Problem) -> tuple[bool, int]:
        first = problem.path[0] if problem.path else ""
        return problem.reason != UNKNOWN, known.index(first) if first in known else len(known)

    found.sort(key=place)
    return [*(_hinted(problem, known) for problem in found[:MAX_HINTS]), *found[MAX_HINTS:]]


def _hinted(problem: Problem, known: list[str]) -> Problem:
    """With the key that was probably meant, which takes time to find."""
    if problem.reason != UNKNOWN or len(problem.path) != 1:
        return problem
    return msgspec.structs.replace(problem, nearest=nearest(problem.path[0], known))


def _said(error: ValidationError) -> Iterator[Problem]:
    path = tuple(part if isinstance(part, str) else f"[{part}]" for part in error.instance_path)
    kind = error.kind
    about = kind.as_dict()
    match kind.name:
        case "additionalProperties" | "unevaluatedProperties":
            for key in about.get("unexpected", []):
                yield Problem((*path, key), UNKNOWN)
        case "required":
            yield Problem((*path, str(about.get("property"))), "required, and missing")
        case "anyOf" | "oneOf" if about.get("context"):
            yield from _of_a_union(error, path)
        case _:
            yield Problem(path, _reason(error))


def _of_a_union(error: ValidationError, path: tuple[str, ...]) -> Iterator[Problem]:
    """What is wrong in the branch that was probably meant; if none was, what all of them are."""
    branches: list[list[ValidationError]] = error.kind.as_dict()["context"]
    depth = len(error.instance_path)
    meant = [
        branch
        for branch in branches
        if not any(each.kind.name == "type" and len(each.instance_path) == depth for each in branch)
    ]
    if len(meant) == 1:
        for inner in meant[0]:
            yield from _said(inner)
    elif meant:
        yield Problem(path, f"fits none of {len(branches)} kinds")
    else:
        types = [word for branch in branches for each in branch for word in _types(each)]
        words = " | ".join(dict.fromkeys(types))
        yield Problem(path, f"expected `{words}`, got `{_type_of(error.instance)}`")


def _types(error: ValidationError) -> list[str]:
    types = error.kind.as_dict().get("types", [])
    return [type_word(name) for name in types]


def _reason(error: ValidationError) -> str:
    about = error.kind.as_dict()
    seen = _quote(error.instance)
    match error.kind.name:
        case "type":
            return f"expected `{' | '.join(_types(error))}`, got `{_type_of(error.instance)}`"
        case "enum":
            return f"expected one of {', '.join(map(_quote, about['options'][:20]))}; got {seen}"
        case "const":
            return f"expected {_quote(about['expected_value'])}, got {seen}"
        case "minimum":
            return f"expected a number >= {about['limit']}, got {seen}"
        case "maximum":
            return f"expected a number <= {about['limit']}, got {seen}"
        case "exclusiveMinimum":
            return f"expected a number > {about['limit']}, got {seen}"
        case "exclusiveMaximum":
            return f"expected a number < {about['limit']}, got {seen}"
        case "minLength" | "maxLength":
            bound = ">=" if error.kind.name == "minLength" else "<="
            return f"expected a length {bound} {about['limit']}, got {_length(error.instance)}"
        case "minItems" | "maxItems":
            bound = ">=" if error.kind.name == "minItems" else "<="
            return f"expected a number of items {bound} {about['limit']}, got {_length(error.instance)}"
        case "pattern":
            return f"expected what matches {about['pattern'][:LONGEST_PATTERN]!r}"
        case _:
            return error.message[:500]


def _length(value: Any) -> int:
    return len(value)


def _type_of(value: Any) -> str:
    if value is None:
        return "null"
    for type_, word in ((bool, "bool"), (int, "int"), (str, "str"), (list, "array"), (dict, "object")):
        if isinstance(value, type_):
            return word
    return "float"


def _quote(value: Any) -> str:
    try:
        text = msgspec.json.encode(value).decode()
    except Exception:  # a value from elsewhere: a number of Decimal's, say
        text = str(value)
    return text if len(text) <= LONGEST_PATTERN else text[: LONGEST_PATTERN - 1] + "…"
