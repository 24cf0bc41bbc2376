"""Keys and values as they are typed."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host.config.environment import variables
from host.config.layers import merge, plain
from host.config.problems import dotted
from host.config.words import parse_key, parse_value, with_value, without, written

KEYS = st.lists(st.text("ab._ -\u00e9\"'", min_size=1, max_size=4), min_size=1, max_size=4)
NO_KEYS = ["", ".", "a.", "a b", "a = 1\nb", "[a]\nb", "a\nb", "a = 1", "#", "a.b #", "." * 99]
NO_TOML = ["hello", "two words", "1 2", "", "1\nb = 2", "[" * 5000, "{ a = "]
VALUES = st.recursive(
    st.integers() | st.booleans() | st.text(max_size=8) | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@given(KEYS)
def test_a_key_is_read_as_it_is_written(path: list[str]) -> None:
    assert parse_key(dotted(path)) == tuple(path)


@pytest.mark.parametrize("text", NO_KEYS)
def test_what_is_no_key_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="write a dotted path"):
        parse_key(text)


@given(VALUES)
def test_a_value_is_read_as_it_is_written(value: Any) -> None:
    text = written(value)
    assert "\n" not in text
    assert tomllib.loads(f"v = {text}")["v"] == value
    assert parse_value(text) == value


@pytest.mark.parametrize("text", NO_TOML)
def test_what_is_no_toml_is_text(text: str) -> None:
    assert parse_value(text) == text


def test_a_value_goes_in_and_comes_out_again() -> None:
    document = {"a": {"b": 1}, "c": 2}
    more = with_value(document, ("a", "d", "e"), 3)
    assert more == {"a": {"b": 1, "d": {"e": 3}}, "c": 2}
    assert without(more, ("a", "d", "e")) == document
    assert without({"a": {"b": 1}}, ("a", "b")) == {}
    assert without(document, ("a", "b", "c")) == document
    assert without(document, ("x", "y")) == document


def test_variables_are_keys_with_two_underscores_for_a_dot() -> None:
    environ = {"OUTBOARD__PLUGINS__A_B__SETTINGS__KEY": "1", "OUTBOARD_SOCKET": "no", "PATH": "no"}
    assert plain(merge(variables(environ))) == {"plugins": {"a_b": {"settings": {"key": 1}}}}
