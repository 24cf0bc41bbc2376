"""Words of a command line as values."""

from __future__ import annotations

from typing import Any

import pytest

from host.control.arguments import typed_arguments

STRING = {"type": "string"}


@pytest.mark.parametrize(
    ("word", "schema", "value"),
    [
        ("42", STRING, "42"),
        ("true", STRING, "true"),
        ("", STRING, ""),
        ('"quoted"', STRING, '"quoted"'),
        ("42", {"type": "integer"}, 42),
        ("-4.5", {"type": "number"}, -4.5),
        ("true", {"type": "boolean"}, True),
        ("null", {"type": "null"}, None),
        ("[1, 2]", {"type": "array"}, [1, 2]),
        ('{"a": 1}', {"type": "object"}, {"a": 1}),
        ("many", {"type": "integer"}, "many"),
        ("42", {"anyOf": [STRING, {"type": "null"}]}, 42),
        ("42", {}, 42),
        ("42", True, 42),
        ("[1", {}, "[1"),
        ("1 2", {}, "1 2"),
        ("01", {}, "01"),
        ("NaN", {}, "NaN"),
        ("1e999", {}, "1e999"),
        ("[" * 5000, {}, "[" * 5000),
        ("", {}, ""),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_word_is_what_the_schema_says_else_json_else_itself(word: str, schema: Any, value: Any) -> None:
    assert typed_arguments({"key": word}, {"properties": {"key": schema}}) == {"key": value}


@pytest.mark.parametrize("schema", [None, {}, {"type": "object"}, {"properties": {}}], ids=str)
def test_without_a_schema_a_word_is_json_if_it_reads_as_json(schema: dict[str, Any] | None) -> None:
    assert typed_arguments({"a": "1", "b": "x"}, schema) == {"a": 1, "b": "x"}
