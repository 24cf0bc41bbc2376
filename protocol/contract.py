"""Types as contracts: JSON Schema out of them, and every problem of a value that breaks them.

msgspec stops at the first problem, which is right where every call passes and wrong where a person
reads the answer. So the fast decoder decides whether a value fits, and only a value that does not is
walked again here, collecting all that is wrong with it. Params, manifests and configuration share it.
"""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Callable
from itertools import islice, pairwise
from typing import Any

import msgspec

LONGEST_WORD = 50
MOST_WORDS = 200
MOST_SIFTED = 5000
DecodeHook = Callable[[type, Any], Any]

_PLACE = r" - at `\$([^`]*)`$"
_CONSTRAINT = r"^Expected "


class Problem(msgspec.Struct, frozen=True):
    """One thing that is wrong with a value."""

    path: tuple[str, ...]
    """Keys from the root to the place, which may be a key that is missing."""
    reason: str
    """What was seen and what was expected, without the path."""
    nearest: str | None = None
    """For an unknown key: the known one that was probably meant."""

    @property
    def json_path(self) -> str:
        return "$" + "".join(part if part.startswith("[") else f".{part}" for part in self.path)

    def as_data(self) -> dict[str, str]:
        """As it travels in the `data` of an INVALID_PARAMS error."""
        return {"path": self.json_path, "reason": self._reason_and_hint()}

    def __str__(self) -> str:
        return f"{self.json_path}: {self._reason_and_hint()}"

    def _reason_and_hint(self) -> str:
        hint = f"; did you mean `{self.nearest}`?" if self.nearest else ""
        return f"{self.reason}{hint}"


def schema_of(type_: Any) -> dict[str, Any]:
    """JSON Schema 2020-12 of a type. Raises TypeError for a type that JSON cannot carry."""
    return _as_taken(msgspec.json.schema(type_, schema_hook=_anything))  # type: ignore[no-any-return]


def _anything(type_: type) -> dict[str, Any]:
    """`object` is what strict type checkers have for Any, where a value is only handed on."""
    if type_ is object:
        return {"title": "anything"}  # msgspec takes an empty one for none
    raise NotImplementedError


def _as_taken(schema: Any) -> Any:
    """What is decoded where msgspec's schema says only what is encoded: a Decimal from a number too."""
    if isinstance(schema, dict):
        if schema.get("format") == "decimal" and schema.get("type") == "string":
            return {**schema, "type": ["string", "number"]}
        return {key: _as_taken(inner) for key, inner in schema.items()}
    return [_as_taken(inner) for inner in schema] if isinstance(schema, list) else schema


def problems_of(
    value: Any,
    type_: Any,
    *,
    decode_hook: DecodeHook | None = None,
    strict: bool = True,
    path: tuple[str, ...] = (),
) -> list[Problem]:
    """Everything that keeps `value` (as JSON or TOML was decoded) from being a `type_`; [] if nothing."""
    struct = _struct_in(type_)
    if struct is not None and isinstance(value, dict):
        return _problems_of_fields(value, struct, decode_hook, strict, path)
    item = _dict_item(type_)
    if item is not None and isinstance(value, dict):
        return [
            problem
            for key, inner in value.items()
            for problem in problems_of(
                inner, item, decode_hook=decode_hook, strict=strict, path=(*path, str(key))
            )
        ]
    element = _list_element(type_)
    if element is not None and isinstance(value, list):
        return [
            problem
            for index, inner in enumerate(value)
            for problem in problems_of(
                inner, element, decode_hook=decode_hook, strict=strict, path=(*path, f"[{index}]")
            )
        ]
    try:
        msgspec.convert(value, type_, strict=strict, dec_hook=decode_hook)
    except msgspec.ValidationError as error:
        return [_read(error, path)]
    return []


def _problems_of_fields(
    value: dict[str, Any],
    struct: type[msgspec.Struct],
    decode_hook: DecodeHook | None,
    strict: bool,
    path: tuple[str, ...],
) -> list[Problem]:
    problems: list[Problem] = []
    fields = {field.encode_name: field for field in msgspec.structs.fields(struct)}
    for key in value:
        if key not in fields and struct.__struct_config__.forbid_unknown_fields:
            problems.append(Problem((*path, str(key)), "unknown key", nearest(str(key), fields)))
    for key, field in fields.items():
        if key in value:
            problems += problems_of(
                value[key], field.type, decode_hook=decode_hook, strict=strict, path=(*path, key)
            )
        elif field.required:
            problems.append(Problem((*path, key), "required, and missing"))
    if not problems:  # a check of the struct as a whole, in its __post_init__
        try:
            msgspec.convert(value, struct, strict=strict, dec_hook=decode_hook)
        except msgspec.ValidationError as error:
            problems.append(_read(error, path))
    return problems


def nearest(word: str, known: typing.Iterable[str]) -> str | None:
    """The known word that `word` was probably meant to be; of long ones none is sought.

    Both may be anybody's. As bounded here it takes 20 ms at the worst, and with 300 keys of 90 it took 150.
    Of more than can be compared in that time, those are that have the most pairs of letters in common with
    it: 7 ms for 5,000 of them.
    """
    if len(word) > LONGEST_WORD:
        return None
    from difflib import get_close_matches  # only needed to explain a mistake

    word = word.lower()
    short = islice((each for each in known if len(each) <= LONGEST_WORD), MOST_SIFTED)
    lowered = {candidate.lower(): candidate for candidate in short}
    few = list(lowered)
    if len(few) > MOST_WORDS:
        pairs = set(pairwise(word))
        few.sort(key=lambda each: -len(pairs.intersection(pairwise(each))))
    found = get_close_matches(word, few[:MOST_WORDS], n=1, cutoff=0.6)
    return lowered[found[0]] if found else None


def _read(error: msgspec.ValidationError, path: tuple[str, ...]) -> Problem:
    text = str(error)
    place = re.search(_PLACE, text)
    if place:
        text = text[: place.start()]
        path = (*path, *re.findall(r"\[[^\]]*\]|[^.\[\]]+", place.group(1)))
    return Problem(path, re.sub(_CONSTRAINT, "expected ", text))


def _struct_in(type_: Any) -> type[msgspec.Struct] | None:
    """The struct that an object must be to fit `type_`, looking through Optional and Annotated."""
    if isinstance(type_, type) and issubclass(type_, msgspec.Struct):
        return type_
    if typing.get_origin(type_) is typing.Annotated:
        return _struct_in(typing.get_args(type_)[0])
    if typing.get_origin(type_) in (typing.Union, types.UnionType):
        structs = [found for part in typing.get_args(type_) if (found := _struct_in(part))]
        return structs[0] if len(structs) == 1 else None
    return None


def _list_element(type_: Any) -> Any:
    """The element type of a plain list of structs, whose problems are worth collecting one by one."""
    if typing.get_origin(type_) is list:
        element = typing.get_args(type_)[0]
        return element if _struct_in(element) else None
    return None


def _dict_item(type_: Any) -> Any:
    if typing.get_origin(type_) is dict:
        item = typing.get_args(type_)[1]
        return None if item is Any else item
    return None
