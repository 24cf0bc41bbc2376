"""Does what one side sends fit what the other takes? Two schemas, and every place where it may not. Pure.

Made for what msgspec writes. Whoever sends, sends the keys that its schema names, and no others: a struct
does. A keyword that is not known here, and that both do not have alike, is no break but `unclear`: no
`breaks` is a guess, and no difference at all is a promise.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from host.contracts.bounds import Difference, Kind, bounds
from host.contracts.type_text import quote, type_text
from host.contracts.weigh import NotHeld, definition, weight
from protocol.contract import nearest

__all__ = ["MAX_DIFFERENCES", "Difference", "differences"]

MAX_STEPS = 5000
MAX_DIFFERENCES = 50
"""Of each kind: with so many breaks nothing else is looked for."""
MAX_DEPTH = 60
MAX_LITERALS = 200
COMPILING = 20
"""Steps that it counts as, to compile a schema and hold one value against it."""
GUESSING = 500
"""Steps that it counts as, to find the key that was meant."""
PER_STEP = 64
"""Keys, or bytes of a schema in tens, that are gone through within one step."""

_TYPES = ("null", "boolean", "integer", "number", "string", "array", "object")
_ABOUT = {
    *("title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly", "secret"),
    *("discriminator", "$comment", "$defs", "$schema", "$id", "definitions", "contentMediaType"),
}
"""Keywords that no value depends on."""
_KNOWN = {
    *("$ref", "type", "enum", "const", "anyOf", "properties", "required", "additionalProperties"),
    *("items", "prefixItems", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
    *("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties", "uniqueItems"),
    *("pattern", "format", "contentEncoding"),
}


class _TooMuch(Exception):
    pass


def differences(sends: Any, takes: Any) -> list[Difference]:
    """What keeps values of `sends` from being values of `takes`; [] if nothing does. Never raises."""
    found: list[Difference] = []
    counts: Counter[Kind] = Counter()
    try:
        weight(sends)
        weight(takes)
        for difference in _Comparison(sends, takes).walk(sends, takes, "$", 0):
            counts[difference.kind] += 1
            if counts[difference.kind] <= MAX_DIFFERENCES:  # of each kind: guesses must not hide a break
                found.append(difference)
            if counts["breaks"] == MAX_DIFFERENCES:
                break
    except (_TooMuch, RecursionError):
        found.append(Difference("$", "unclear", "more than can be compared", "more than can be compared"))
    except NotHeld as problem:
        found.append(Difference("$", "unclear", "a schema that cannot be read", str(problem)))
    except Exception as error:  # a schema is anybody's, and may be anything
        found.append(Difference("$", "unclear", "a schema that is none", type(error).__name__))
    return found


class _Comparison:
    def __init__(self, sends: Any, takes: Any) -> None:
        self._roots = (sends, takes)
        self._steps = 0
        self._under_way: set[tuple[int, int]] = set()
        """Pairs that are being compared: inside of themselves they fit if they fit."""
        self._kept: list[Any] = []
        """So that no identity is used twice."""

    def walk(self, sends: Any, takes: Any, path: str, depth: int) -> Iterator[Difference]:
        if depth > MAX_DEPTH:
            raise _TooMuch
        sends, takes = self._resolved(sends, 0), self._resolved(takes, 1)
        self._spend(1 + (_size(sends) + _size(takes)) // PER_STEP)
        if takes is True or sends is False or not _says_something(takes):
            return
        if isinstance(takes, dict) and set(takes) - _KNOWN - _ABOUT and self._are_alike(sends, takes):
            return
        pair = (id(sends), id(takes))
        if pair in self._under_way:
            return
        self._kept += [sends, takes]
        self._under_way.add(pair)
        yield from self._each(sends, takes, path, depth)
        self._under_way.discard(pair)

    def _spend(self, steps: int) -> None:
        self._steps += steps
        if self._steps > MAX_STEPS:
            raise _TooMuch

    def _each(self, sends: Any, takes: Any, path: str, depth: int) -> Iterator[Difference]:
        kinds = list(_alternatives(sends))
        if len(kinds) != 1 or kinds[0] is not sends:
            for kind in kinds:
                yield from self.walk(kind, takes, path, depth + 1)
        elif takes is False:
            yield Difference(path, "breaks", self._text(sends, 0), "nothing")
        elif not _says_something(sends):
            yield Difference(path, "unclear", "anything", self._text(takes, 1))
        elif "const" in sends:
            yield from self._value(sends["const"], takes, path)
        elif "enum" in takes or "const" in takes:
            yield from self._literal(sends, takes, path, depth)
        elif "anyOf" in takes or isinstance(takes.get("type"), list):
            yield from self._one_of(sends, takes, path, depth)
        else:
            yield from self._plain(sends, takes, path, depth)

    def _one_of(self, sends: Any, takes: Any, path: str, depth: int) -> Iterator[Difference]:
        """What is sent is to fit one of those that are taken; if none, the nearest one says why."""
        possible = []
        for kind in _alternatives(takes):
            found = list(self.walk(sends, kind, path, depth + 1))
            if not found:
                return
            if self._may_be(sends, self._resolved(kind, 1)):
                possible.append(found)
        if not possible:
            yield Difference(path, "breaks", self._text(sends, 0), self._text(takes, 1))
            return
        nearest_one = min(
            possible, key=lambda found: (any(each.kind == "breaks" for each in found), len(found))
        )
        for each in nearest_one:  # of two, either may take a part of what is sent
            yield each if len(possible) == 1 else msgspec.structs.replace(each, kind="unclear")

    def _may_be(self, sends: Any, takes: Any) -> bool:
        """Whether any value at all may be both: not of two types, or of two members of a tagged union."""
        if not isinstance(takes, dict):
            return False
        types = takes.get("type", sends.get("type"))
        if sends.get("type") not in types if isinstance(types, list) else sends.get("type") != types:
            return {sends.get("type"), types if isinstance(types, str) else ""} == {"integer", "number"}
        sent, taken = _mapping(sends.get("properties")), _mapping(takes.get("properties"))
        for key in sent.keys() & taken.keys():
            one, other = self._resolved(sent[key], 0), self._resolved(taken[key], 1)
            values, accepted = _literals(one), _literals(other)
            if values and accepted and not any(_same(a, b) for a in values for b in accepted):
                return False
        return True

    # -- no union on either side -----------------------------------------------------------------

    def _plain(self, sends: Any, takes: Any, path: str, depth: int) -> Iterator[Difference]:
        type_, wanted = sends.get("type"), takes.get("type")
        if type_ not in _TYPES:
            yield Difference(path, "unclear", self._text(sends, 0), self._text(takes, 1))
        elif wanted is not None and type_ != wanted and (type_, wanted) != ("integer", "number"):
            yield Difference(path, "breaks", self._text(sends, 0), self._text(takes, 1))
        else:
            yield from bounds(sends, takes, path, type_)
            if type_ == "object":
                yield from self._object(sends, takes, path, depth)
            elif type_ == "array":
                yield from self._array(sends, takes, path, depth)
            for key in set(takes) - _KNOWN - _ABOUT:
                if not self._are_alike(sends.get(key), takes[key]):
                    yield Difference(path, "unclear", self._text(sends, 0), f"what `{key}` says")

    def _literal(self, sends: Any, takes: Any, path: str, depth: int) -> Iterator[Difference]:
        """No literal is sent, and one of some literals taken."""
        values = {"null": (None,), "boolean": (True, False)}.get(sends.get("type"), ())
        for value in values:
            yield from self.walk({"const": value}, takes, path, depth + 1)
        if not values:
            kind: Kind = "breaks" if sends.get("type") in _TYPES else "unclear"
            yield Difference(path, kind, self._text(sends, 0), self._text(takes, 1))

    def _value(self, value: Any, takes: Any, path: str) -> Iterator[Difference]:
        """One value that is sent, against whatever is taken."""
        from host.contracts.checker import checker

        self._spend(COMPILING)
        if set(takes) - _ABOUT == {"enum"} and any(_same(value, each) for each in _list(takes["enum"])):
            return
        root = _mapping(self._roots[1])
        definitions = {key: root[key] for key in ("$defs", "definitions") if key in root}
        if not checker({**takes, **definitions}).fits(value):
            yield Difference(path, "breaks", quote(value), self._text(takes, 1))

    def _object(self, sends: Any, takes: Any, path: str, depth: int) -> Iterator[Difference]:
        sent, taken = _mapping(sends.get("properties")), _mapping(takes.get("properties"))
        more, others = sends.get("additionalProperties", False), takes.get("additionalProperties", True)
        always = set(_list(sends.get("required")))
        for key in _list(takes.get("required")):
            if key not in always:
                how = "not always sent" if key in sent else "never sent"
                yield Difference(f"{path}.{key}", "breaks", how, "required")
        for key, schema in sent.items():
            if key in taken:
                yield from self.walk(schema, taken[key], f"{path}.{key}", depth + 1)
            elif others is False:
                yield Difference(f"{path}.{key}", "breaks", "sent", f"no such key{self._hint(key, taken)}")
            else:
                yield from self.walk(schema, others, f"{path}.{key}", depth + 1)
        if more is not False and more is not True:  # True: said of no key in particular
            for key in taken:
                if key not in sent:
                    yield from self.walk(more, taken[key], f"{path}.{key}", depth + 1)
            yield from self.walk(more, others, f"{path}.*", depth + 1)
        elif more is True and (others is not True or taken):
            yield Difference(path, "unclear", "any key", self._text(takes, 1))

    def _hint(self, key: str, taken: Mapping[str, Any]) -> str:
        if self._steps > MAX_STEPS // 2:  # what is left is for the differences
            return ""
        self._spend(GUESSING)
        close = nearest(key, taken)
        return f"; did you mean `{close}`?" if close else ""

    def _array(self, sends: Any, takes: Any, path: str, depth: int) -> Iterator[Difference]:
        sent, taken = _list(sends.get("prefixItems")), _list(takes.get("prefixItems"))
        longest = sends.get("maxItems", float("inf"))
        for index in range(max(len(sent), len(taken))):
            if index >= longest:
                return
            one = sent[index] if index < len(sent) else sends.get("items", True)
            other = taken[index] if index < len(taken) else takes.get("items", True)
            yield from self.walk(one, other, f"{path}[{index}]", depth + 1)
        if longest > len(sent):
            one, other = sends.get("items", True), takes.get("items", True)
            yield from self.walk(one, other, f"{path}[*]", depth + 1)

    # -- schemas ---------------------------------------------------------------------------------

    def _resolved(self, schema: Any, side: int) -> Any:
        for _ in range(MAX_DEPTH):
            if not isinstance(schema, dict) or "$ref" not in schema or set(schema) - _ABOUT != {"$ref"}:
                return schema
            schema = definition(self._roots[side], schema["$ref"])
        raise _TooMuch

    def _are_alike(self, one: Any, other: Any) -> bool:
        """Whether both mean the same: written alike, and referring to nothing that is not."""
        text = msgspec.json.encode(one, order="sorted")
        self._spend(len(text) // (10 * PER_STEP))
        if text != msgspec.json.encode(other, order="sorted"):
            return False
        return b'"$ref"' not in text or self._roots[0] == self._roots[1]

    def _text(self, schema: Any, side: int) -> str:
        return type_text(schema, self._roots[side])


def _size(schema: Any) -> int:
    """How much there is to go through, of one schema and not of those inside."""
    if not isinstance(schema, dict):
        return 0
    return len(schema) + sum(len(each) for each in schema.values() if isinstance(each, dict | list))


def _says_something(schema: Any) -> bool:
    return schema is not True and not (isinstance(schema, dict) and not set(schema) - _ABOUT)


def _alternatives(schema: Any) -> Iterator[Any]:
    """The schemas without a union that it is one of; itself, if it is none. Raises NotHeld."""
    if not isinstance(schema, dict):
        yield schema
        return
    for key in ("anyOf", "oneOf"):
        if isinstance(schema.get(key), list):
            if len(schema[key]) > MAX_LITERALS:
                raise NotHeld(f"`{key}` of more than {MAX_LITERALS}")
            rest = {name: value for name, value in schema.items() if name != key and name not in _ABOUT}
            for each in schema[key]:
                if rest and (not isinstance(each, dict) or {"$ref", *rest} & set(each)):
                    raise NotHeld(f"what is beside `{key}` is not read")
                yield {**rest, **each} if rest else each
            return
    if isinstance(schema.get("type"), list):
        for type_ in schema["type"][: len(_TYPES)]:
            yield {**schema, "type": type_}
    elif isinstance(schema.get("enum"), list) and len(schema["enum"]) <= MAX_LITERALS:
        for value in schema["enum"]:
            yield {"const": value}
    else:
        yield schema


def _literals(schema: Any) -> list[Any]:
    if not isinstance(schema, dict):
        return []
    return [schema["const"]] if "const" in schema else _list(schema.get("enum"))


def _same(one: Any, other: Any) -> bool:
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
