"""A schema that somebody else wrote: held against values, or not at all, and never for long."""

from __future__ import annotations

import time
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest
from msgspec import Raw

from host.contracts.checker import NotHeld, checker
from host.contracts.held import Contract, Held, ResultUnfit
from host.contracts.weigh import weight
from protocol.contract import schema_of
from protocol.errors import RpcError
from protocol.lifecycle import MethodInfo
from tests.support.schemas import doubling

REF = {"$ref": "#"}


HOSTILE: dict[str, Any] = {
    "doubling": doubling(40),
    "doubling as it goes deeper": {"allOf": [{"items": REF}, {"items": REF}]},
    "a union that meets itself twice": {"anyOf": [{"properties": {"a": REF}}, {"properties": {"a": REF}}]},
    "itself": REF,
    "itself, by way of another": {"allOf": [{"$ref": "#/$defs/a"}], "$defs": {"a": {"not": REF}}},
    "elsewhere": {"$ref": "https://example.org/x"},
    "a file": {"$ref": "file:///etc/passwd"},
    "a base elsewhere": {"properties": {"a": {"$id": "https://example.org/x", "type": "object"}}},
    "patterns that all fit": {"patternProperties": {f"a{{0,{n}}}": {"allOf": [{}] * 20} for n in range(20)}},
    "what is left over": {"unevaluatedProperties": False},
    "nowhere": {"$ref": "#/$defs/x"},
    "a dynamic reference": {"$dynamicRef": "#x"},
    "large": {"description": "x" * 300_000},
    "many": {"properties": {str(n): {"type": "null"} for n in range(2000)}},
    "a long chain": {
        "$ref": "#/$defs/0",
        "$defs": {str(n): {"$ref": f"#/$defs/{n + 1}"} for n in range(900)} | {"900": {}},
    },
    "no schema": {"type": "strange"},
    "no schema at all": [1],
    "a number in it": {"properties": {"a": 7}},
    "an expression that looks ahead": {"pattern": "(?=a)a"},
    "an expression that is large": {"pattern": "(((a{100}){100}){100})"},
    "an expression that is none": {"pattern": "("},
    "very many expressions": {"properties": {str(n): {"pattern": f"a{n}"} for n in range(100)}},
    "many literals, many times": {"allOf": [{"enum": list(range(2000))}] * 10},
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_schema_that_could_hang_the_host_or_leads_elsewhere_is_not_held(what: str) -> None:
    started = time.process_time()
    with pytest.raises(NotHeld):
        checker(HOSTILE[what])
    assert time.process_time() - started < 5


def test_an_expression_runs_in_linear_time() -> None:
    started = time.process_time()
    assert not checker({"pattern": "^(a+)+$"}).fits("a" * 100_000 + "b")
    assert time.process_time() - started < 5


class Node(msgspec.Struct):
    value: int
    next: Node | None = None
    others: list[Node] = []


def test_types_that_hold_themselves_are_held() -> None:
    check = checker(schema_of(Node))
    value: dict[str, Any] = {"value": 1}
    for _ in range(50):
        value = {"value": 1, "next": value, "others": [{"value": 2}]}
    assert check.fits(value)
    value["next"]["next"]["others"][0]["value"] = "x"
    assert [str(problem) for problem in check.problems(value)] == [
        "$.next.next.others[0].value: expected `int`, got `str`"
    ]


@pytest.mark.parametrize(
    ("schema", "expected"),
    [({"type": "string"}, 1), ({"anyOf": [{}, {}]}, 3), (REF | {"$defs": {}}, None), (schema_of(Node), 4)],
)
def test_the_weight_is_how_often_one_place_is_looked_at(schema: Any, expected: int | None) -> None:
    if expected is None:
        with pytest.raises(NotHeld):
            weight(schema)
    else:
        assert weight(schema) == expected


SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 2},
        "size": {"anyOf": [{"type": "integer", "maximum": 9}, {"type": "null"}]},
        "doc": {"anyOf": [{"type": "null"}, {"type": "object", "properties": {"a": {"type": "number"}}}]},
        "tags": {"type": "array", "items": {"enum": ["a", 1]}, "maxItems": 2},
        "code": {"type": "string", "pattern": "^x"},
    },
    "required": ["name"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    ("value", "problems"),
    [
        ({"name": "Ada"}, []),
        ({}, ["$.name: required, and missing"]),
        (
            {"nme": "Ada", "size": "x"},
            [
                "$.nme: unknown key; did you mean `name`?",
                "$.name: required, and missing",
                "$.size: expected `int | null`, got `str`",
            ],
        ),
        ({"name": "A"}, ["$.name: expected a length >= 2, got 1"]),
        ({"name": "Ada", "size": 10}, ["$.size: expected a number <= 9, got 10"]),
        ({"name": "Ada", "doc": {"a": "x"}}, ["$.doc.a: expected `float`, got `str`"]),
        ({"name": "Ada", "tags": ["a", 2]}, ['$.tags[1]: expected one of "a", 1; got 2']),
        ({"name": "Ada", "tags": ["a"] * 3}, ["$.tags: expected a number of items <= 2, got 3"]),
        ({"name": "Ada", "code": "secret"}, ["$.code: expected what matches '^x'"]),
    ],
)
def test_all_that_is_wrong_is_told_with_its_path(value: Any, problems: list[str]) -> None:
    assert [str(problem) for problem in checker(SCHEMA).problems(value)] == problems


def test_of_very_many_problems_some_are_told() -> None:
    assert len(checker({"items": {"type": "string"}}).problems(list(range(10_000)))) == 50


def test_a_schema_may_have_a_name() -> None:
    named = {"$id": "https://example.org/x", "items": {"$ref": "#/$defs/a"}, "$defs": {"a": {"type": "null"}}}
    assert checker(named).fits([None])
    assert [str(problem) for problem in checker(named).problems([1])] == ["$[0]: expected `null`, got `int`"]


class Row(msgspec.Struct, forbid_unknown_fields=True):
    key: str
    cells: list[int] | None
    more: dict[str, int] = {}


ROWS: list[dict[str, Any]] = [{"key": "k", "cells": [number] * 10} for number in range(20_000)]
NUMBERS = list(range(20_000))
MANY = {f"k{number}": number for number in range(20_000)}


@pytest.mark.parametrize(
    ("at", "row", "problem"),
    [
        (19_999, {"key": 1, "cells": []}, "$[19999].key: expected `str`, got `int`"),
        (
            0,
            {"key": "k", "cells": [*NUMBERS, "x"]},
            "$[0].cells[20000]: expected `int`, got `str`",
        ),
        (7, {"key": "k", "cells": None, "more": MANY | {"z": "x"}}, "$[7].more.z: expected `int`, got `str`"),
        (7, {"cells": None, "more": MANY}, "$[7].key: required, and missing"),
        (7, {"key": "k", "cells": None, "more": list(MANY)}, "$[7].more: expected `object`, got `array`"),
        (7, {"key": "k", "cells": MANY}, "$[7].cells: does not fit, and is too large to say where"),
    ],
)
def test_in_a_large_value_the_place_is_found(at: int, row: dict[str, Any], problem: str) -> None:
    rows = [*ROWS[:at], row, *ROWS[at + 1 :]]
    assert [str(each) for each in checker(schema_of(list[Row])).problems(rows)] == [problem]


def test_of_a_million_wrong_items_the_first_are_told_at_once() -> None:
    started = time.process_time()
    check = checker({"items": {"type": "string"}})
    assert len(check.problems(list(range(1_000_000)))) == 50
    closed = checker({"properties": {f"key{n}": {} for n in range(400)}, "additionalProperties": False})
    assert len(closed.problems(MANY)) == 50
    assert len(closed.problems(dict(list(MANY.items())[:500]))) == 50
    assert time.process_time() - started < 5


def held(params: Any = None, result: Any = None) -> Held:
    said = MethodInfo(
        name="m",
        params=None if params is None else schema_of(msgspec.defstruct("P", [("value", params)])),
        result=None if result is None else schema_of(result),
    )
    return Contract([said])["m"]


class Point(msgspec.Struct):
    x: int


ENCODABLE: list[tuple[Any, Any]] = [
    (datetime, datetime(2026, 1, 1)),
    (UUID, uuid4()),
    (Decimal, Decimal("1.5")),
    (bytes, b"abc"),
    (Point, Point(1)),
    (set[int], {1, 2}),
    (tuple[int, str], (1, "x")),
    (dict[int, str], {1: "x"}),
    (float | None, float("nan")),
]


@pytest.mark.parametrize(("type_", "value"), ENCODABLE)
def test_params_are_looked_at_as_they_are_encoded(type_: Any, value: Any) -> None:
    held(type_).check_params({"value": value})
    held(type_).check_params(Raw(msgspec.json.encode({"value": value})))
    held(type_).check_params(msgspec.defstruct("S", [("value", Any)])(value))


def test_a_decimal_is_no_number_where_a_number_is_wanted() -> None:
    with pytest.raises(RpcError, match="expected `float`, got `str`"):
        held(float).check_params({"value": Decimal("1.5")})


@pytest.mark.parametrize("params", [{"value": object()}, {"value": "\ud800"}, [1], Raw(b"[1]"), None])
def test_what_is_not_an_object_of_json_is_left_to_whoever_sends_it(params: Any) -> None:
    held(int).check_params(params)


def test_a_result_is_looked_at_as_it_comes() -> None:
    assert held(result=list[int]).decode_result(Raw(b"[1,2]")) == [1, 2]
    with pytest.raises(ResultUnfit) as caught:
        held(result=list[int]).check_result(Raw(b'[1,"x"]'))
    assert str(caught.value) == "$[1]: expected `int`, got `str`"
    assert held().decode_result(Raw(b'"anything"')) == "anything"


def test_a_schema_that_is_not_held_is_told_once_and_its_method_passes() -> None:
    told: list[str] = []
    contract = Contract([MethodInfo(name="m", params=REF), MethodInfo(name="n")], told.append)
    for _ in range(3):
        contract["m"].check_params({"any": "thing"})
        contract["n"].check_params({"any": "thing"})
        contract["unknown"].check_params({"any": "thing"})
    assert len(told) == 1
    assert "unknown" not in contract, "names come from callers, and are without end"
