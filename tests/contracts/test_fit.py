"""What is sent and what is taken, schema against schema; and whether a yes can be relied on."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import jsonschema_rs
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta

from host.contracts.fit import differences
from protocol.contract import schema_of
from tests.support.examples import examples


class Doc(msgspec.Struct):
    name: str
    size: int = 0


class Nullable(msgspec.Struct):
    name: str
    size: int | None = 0


class Named(msgspec.Struct):
    name: str


class Longer(msgspec.Struct):
    name: str
    language: str


class Closed(msgspec.Struct, forbid_unknown_fields=True):
    name: str


class Chain(msgspec.Struct):
    value: int
    next: Chain | None = None


class OtherChain(msgspec.Struct):
    value: str
    next: OtherChain | None = None


class Cat(msgspec.Struct, tag=True):
    lives: int


class Dog(msgspec.Struct, tag=True):
    name: str


class OtherCat(msgspec.Struct, tag="Cat"):
    lives: str


FITS = [
    *((int, int), (int, float), (str, str | None), (Doc, Nullable), (Doc, Named), (Named, Doc)),
    *((Chain, Chain), (Cat | Dog, Cat | Dog), (Cat, Cat | Dog), (Literal["a", "b"], str)),
    *((Literal["a", 1], str | int), (list[int], list[float]), (tuple[int, str], list[int | str])),
    *((dict[str, int], dict[str, float]), (int, Any), (bytes, str), (Doc, dict[str, str | int])),
    (Annotated[int, Meta(ge=3)], Annotated[int, Meta(ge=1)]),
    (Annotated[int, Meta(gt=2, lt=9)], Annotated[int, Meta(ge=3, le=8)]),
]
BREAKS = [
    *((float, int, "$"), (str | None, str, "$"), (Nullable, Doc, "$.size"), (Named, Longer, "$.language")),
    *((Doc, Closed, "$.size"), (Chain, OtherChain, "$.value"), (OtherCat, Cat | Dog, "$.lives")),
    *((str, Literal["a"], "$"), (str, bytes, "$"), (list[str], list[int], "$[*]")),
    *((list[int], tuple[int, str], "$"), (dict[str, str], dict[str, int], "$.*")),
    *((Cat | Dog, Cat, "$.type"), (str, Doc, "$"), (Literal["b"], Literal["a"], "$")),
    (Annotated[int, Meta(ge=3)], Annotated[int, Meta(gt=3)], "$"),
    (int, Annotated[int, Meta(le=9)], "$"),
]


def between(sends: Any, takes: Any) -> list[Any]:
    return differences(schema_of(sends), schema_of(takes))


@pytest.mark.parametrize(("sends", "takes"), FITS)
def test_what_fits_has_no_difference(sends: Any, takes: Any) -> None:
    assert between(sends, takes) == []


@pytest.mark.parametrize(("sends", "takes", "path"), BREAKS)
def test_what_does_not_fit_breaks_at_its_place(sends: Any, takes: Any, path: str) -> None:
    found = between(sends, takes)
    assert path in [each.path for each in found]
    assert {each.kind for each in found} == {"breaks"}


UNCLEAR: list[tuple[Any, Any]] = [
    ({}, {"type": "string"}),
    ({"type": "string"}, {"not": {"const": "x"}}),
    ({"type": "string"}, {"oneOf": [{"type": "string"}, {"minLength": 3}]}),
    ({"type": "array"}, {"type": "array", "items": {"type": "string"}}),
    ({"type": "string", "pattern": "^a"}, {"type": "string", "pattern": "^.a?"}),
    ({"type": "string"}, {"$ref": "https://example.org/schema"}),
    ({"type": "integer"}, {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "integer", "maximum": 0}]}),
    ({"type": "string"}, 7),
    ({"type": "string"}, {"type": "string", "minLength": "x"}),
]


@pytest.mark.parametrize(("sends", "takes"), UNCLEAR)
def test_what_cannot_be_told_is_no_break_and_no_promise(sends: Any, takes: Any) -> None:
    assert {each.kind for each in differences(sends, takes)} == {"unclear"}


def test_a_schema_without_end_is_compared_in_bounded_time() -> None:
    wide: dict[str, Any] = {"$ref": "#/$defs/0", "$defs": {}}
    for level in range(60):
        wide["$defs"][str(level)] = {
            "type": "object",
            "properties": {key: {"anyOf": [{"$ref": f"#/$defs/{level + 1}"}] * 2} for key in "abc"},
        }
    wide["$defs"]["60"] = {"type": "string"}
    assert {each.kind for each in differences(wide, schema_of(Chain))} <= {"breaks", "unclear"}
    assert differences(wide, {**wide, "title": "another"})[-1].kind == "unclear"


# -- a yes is a promise --------------------------------------------------------------------------

NAMES = st.sampled_from(["a", "b", "c"])
LITERALS = st.sampled_from([None, True, False, 0, 1, 2, 1.5, "", "a", "bb"])


def ranges(type_: str) -> st.SearchStrategy[dict[str, Any]]:
    keys = st.sampled_from(["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"])
    return st.dictionaries(keys, st.integers(-2, 3), max_size=2).map(lambda ends: {"type": type_, **ends})


def sizes(type_: str, least: str, most: str) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {"type": st.just(type_)}, optional={least: st.integers(0, 2), most: st.integers(0, 3)}
    )


LEAVES = st.one_of(
    st.sampled_from([{}, {"type": "null"}, {"type": "boolean"}, {"type": ["string", "null"]}]),
    ranges("integer"),
    ranges("number"),
    sizes("string", "minLength", "maxLength"),
    st.lists(LITERALS, min_size=1, max_size=3).map(lambda values: {"enum": values}),
    LITERALS.map(lambda value: {"const": value}),
    st.sampled_from([{"$ref": "#/$defs/leaf"}, {"$ref": "#/$defs/tree"}]),
)


def nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    objects = st.fixed_dictionaries(
        {"type": st.just("object"), "properties": st.dictionaries(NAMES, inner, max_size=3)},
        optional={
            "required": st.lists(NAMES, unique=True, max_size=2),
            "additionalProperties": st.one_of(st.just(False), inner),
        },
    )
    arrays = st.tuples(sizes("array", "minItems", "maxItems"), inner).map(lambda t: {**t[0], "items": t[1]})
    pairs = st.lists(inner, min_size=1, max_size=2).map(
        lambda items: {
            "type": "array",
            "prefixItems": items,
            "items": False,
            "minItems": len(items),
            "maxItems": len(items),
        }
    )
    unions = st.lists(inner, min_size=1, max_size=3).map(lambda kinds: {"anyOf": kinds})
    return st.one_of(objects, arrays, pairs, unions)


TREE = {
    "type": "object",
    "properties": {"a": {"anyOf": [{"$ref": "#/$defs/tree"}, {"type": "null"}]}, "b": {"type": "integer"}},
    "required": ["b"],
}
SCHEMAS = st.tuples(st.recursive(LEAVES, nested, max_leaves=6), LEAVES).map(
    lambda t: {
        **t[0],
        "$defs": {"leaf": {"type": "integer"} if "$ref" in t[1] else t[1], "tree": TREE},
    }
)


def values(schema: Any, root: Any, depth: int = 4) -> st.SearchStrategy[Any]:
    """Of a schema, with none but its own keys in objects."""
    if schema is True or not set(schema) - {"$defs"}:
        return LITERALS
    if "$ref" in schema:
        return values(root["$defs"][schema["$ref"].removeprefix("#/$defs/")], root, depth)
    if "anyOf" in schema:
        return st.one_of([values(each, root, depth) for each in schema["anyOf"]])
    if "enum" in schema or "const" in schema:
        return st.sampled_from(schema.get("enum", [schema.get("const")]))
    if isinstance(schema["type"], list):
        return st.one_of([values({**schema, "type": each}, root, depth) for each in schema["type"]])
    return made(schema, root, depth).filter(lambda value: fits(value, schema, root))


def made(schema: Any, root: Any, depth: int) -> st.SearchStrategy[Any]:
    match schema["type"]:
        case "null":
            return st.none()
        case "boolean":
            return st.booleans()
        case "integer":
            return st.integers(-4, 5)
        case "number":
            return st.one_of(st.integers(-4, 5), st.floats(-4, 5))
        case "string":
            return st.text("ab", max_size=4)
        case "array":
            items = schema.get("items", True)
            if "prefixItems" in schema:
                return st.tuples(*(values(each, root, depth - 1) for each in schema["prefixItems"])).map(list)
            return st.just([]) if depth <= 0 else st.lists(values(items, root, depth - 1), max_size=3)
    required = set(schema.get("required", []))
    more = schema.get("additionalProperties", False)
    known = {key: values(each, root, depth - 1) for key, each in schema["properties"].items() if depth > 0}
    if more is not False:
        known = {key: values(more, root, depth - 1) for key in "abc"} | known
    return st.fixed_dictionaries(
        {key: each for key, each in known.items() if key in required},
        optional={key: each for key, each in known.items() if key not in required},
    )


def fits(value: Any, schema: Any, root: Any) -> bool:
    whole = {**schema, "$defs": root["$defs"]} if isinstance(schema, dict) else schema
    return jsonschema_rs.Draft202012Validator(whole, offline=True).is_valid(value)


@examples(300)
@given(SCHEMAS, SCHEMAS, st.data())
def test_if_nothing_differs_every_value_that_may_be_sent_is_taken(
    sends: dict[str, Any], takes: dict[str, Any], data: st.DataObject
) -> None:
    for taken in (takes, {**sends, "$defs": takes["$defs"]}, sends):
        if not differences(sends, taken):
            value = data.draw(values(sends, sends))
            assert fits(value, taken, taken), (value, sends, taken)


@examples(200)
@given(SCHEMAS)
def test_every_schema_fits_itself_or_says_too_little(schema: dict[str, Any]) -> None:
    assert all(each.kind == "unclear" for each in differences(schema, schema))
