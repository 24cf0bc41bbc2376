"""Where keys stand in a TOML text, checked against texts that try to fool a scanner, and by property."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from host.config.lines import DEEPEST, KeyPath, line_of, places

TEXT = '''\
# [comment]
name = "[not.a.table]"
text = """
[fake]
key = 1
a \\""" quote
"""""
raw = \'\'\'
[fake2]\'\'\'
"quoted \\u006bey".'odd.key' = 2 # = 3

[restart]
period = "300s"
dotted.child.leaf = 1
list = [
    1.5,
    [2, 3],
    { inner = 4, "and" = [
        5 ] },
]
when = 1979-05-27 07:32:00

[a.b.c]
x = 1
[a]
y = 2
[[points]]
name = "one"
[[points]]
name = "two"
[points.sub]
z = 1
[[points.deep]]
w = 1
'''


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("name",), 2),
        (("text",), 3),
        (("raw",), 8),
        (("quoted key",), 10),
        (("quoted key", "odd.key"), 10),
        (("restart",), 12),
        (("restart", "period"), 13),
        (("restart", "dotted"), 14),
        (("restart", "dotted", "child", "leaf"), 14),
        (("restart", "list"), 15),
        (("restart", "list", "[0]"), 16),
        (("restart", "list", "[1]", "[1]"), 17),
        (("restart", "list", "[2]"), 18),
        (("restart", "list", "[2]", "inner"), 18),
        (("restart", "list", "[2]", "and", "[0]"), 19),
        (("restart", "when"), 21),
        (("a", "b"), 23),
        (("a", "b", "c", "x"), 24),
        (("a",), 25),
        (("a", "y"), 26),
        (("points",), 27),
        (("points", "[0]", "name"), 28),
        (("points", "[1]"), 29),
        (("points", "[1]", "name"), 30),
        (("points", "[1]", "sub", "z"), 32),
        (("points", "[1]", "deep", "[0]", "w"), 34),
    ],
)
def test_a_key_is_found_on_its_line(path: KeyPath, line: int) -> None:
    tomllib.loads(TEXT)
    assert line_of(TEXT, path) == line


@pytest.mark.parametrize("name", ["fake", "fake2", "comment", "not"])
def test_what_a_string_or_a_comment_says_is_no_key(name: str) -> None:
    assert line_of(TEXT, (name,)) is None


def test_a_missing_key_is_on_the_line_of_its_nearest_table() -> None:
    assert line_of(TEXT, ("restart", "missing", "deeper")) == 12


def test_a_missing_table_is_on_no_line() -> None:
    assert line_of(TEXT, ("missing",)) is None
    assert line_of(TEXT, ()) is None


def test_windows_line_ends_count_once() -> None:
    assert line_of("a = 1\r\n\r\n[b]\r\nc = 2\r\n", ("b", "c")) == 4


def test_a_table_that_was_implied_is_on_the_line_that_says_it() -> None:
    assert line_of("[a.b]\n[a]\n", ("a",)) == 2


KEYS = st.text(max_size=6)
VALUES = st.recursive(
    st.one_of(st.integers(-(2**63), 2**63 - 1), st.booleans(), st.text(max_size=20)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=12,
)


def paths_in(value: Any, path: KeyPath = ()) -> set[KeyPath]:
    inner: dict[str, Any] = {}
    if isinstance(value, dict):
        inner = value
    elif isinstance(value, list):
        inner = {f"[{index}]": item for index, item in enumerate(value)}
    return {path, *(found for key, item in inner.items() for found in paths_in(item, (*path, key)))}


@given(st.dictionaries(KEYS, VALUES, max_size=4), st.booleans())
def test_every_path_of_a_written_document_has_a_place_and_nothing_else_has(
    document: dict[str, Any], multiline: bool
) -> None:
    source = tomli_w.dumps(document, multiline_strings=multiline)
    assert set(places(source)) == paths_in(tomllib.loads(source)) - {()}


@given(
    st.text(alphabet="ab=.[]{},\"'\\#\n\r \t1", max_size=80) | st.text(max_size=40),
    st.lists(st.sampled_from(["a", "b", "[0]", "", "]"]), max_size=4),
)
def test_no_text_and_no_path_raises(source: str, path: list[str]) -> None:
    line = line_of(source, tuple(path))
    assert line is None or 1 <= line <= source.count("\n") + 1


@pytest.mark.parametrize(
    "text", ["a." * 200_000, "x=" + "[" * 200_000, "x=" + "{a=" * 100_000, '"""' * 100_000]
)
def test_a_text_that_would_take_quadratic_time_is_cut_off(text: str) -> None:
    assert max(map(len, places(text)), default=0) <= DEEPEST  # or the test would not end
