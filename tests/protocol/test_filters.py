"""`when`: what a hook's params must be like."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.filters import read_filter

PARAMS = {"doc": {"mime": "image/png", "pages": 3, "ok": True, "lang": None, "tags": ["a"]}, "mode": "fast"}


@pytest.mark.parametrize(
    ("when", "fits"),
    [
        ({"mode": "fast"}, True),
        ({"mode": "slow"}, False),
        ({"doc.mime": "image/png"}, True),
        ({"doc.mime": ["image/jpeg", "image/png"]}, True),
        ({"doc.mime": ["image/jpeg"]}, False),
        ({"doc.mime": {"glob": "image/*"}}, True),
        ({"doc.mime": {"glob": "IMAGE/*"}}, False),
        ({"doc.mime": {"glob": "image"}}, False),
        ({"doc.pages": {"glob": "*"}}, False),
        ({"doc.pages": 3}, True),
        ({"doc.pages": 3.0}, True),
        ({"doc.pages": "3"}, False),
        ({"doc.ok": True}, True),
        ({"doc.ok": 1}, False),
        ({"doc.pages": True}, False),
        ({"doc.lang": None}, True),
        ({"doc.author": None}, True),
        ({"doc.author": "me"}, False),
        ({"doc.author.name.first": [None, "me"]}, True),
        ({"mode.deeper": "fast"}, False),
        ({"doc": "image/png"}, False),
        ({"doc.tags": "a"}, False),
        ({"mode": "fast", "doc.pages": [2, 3]}, True),
        ({"mode": "fast", "doc.pages": [4]}, False),
    ],
)
def test_all_conditions_must_hold(when: dict[str, Any], fits: bool) -> None:
    assert read_filter(when).matches(PARAMS) is fits


@given(st.text(alphabet="ab*?[", max_size=8), st.text(alphabet="ab?[", max_size=12))
def test_a_star_stands_for_anything_and_everything_else_for_itself(glob: str, text: str) -> None:
    pattern = ".*".join(map(re.escape, glob.split("*")))
    assert read_filter({"t": {"glob": glob}}).matches({"t": text}) is bool(re.fullmatch(pattern, text))


def test_no_glob_takes_long() -> None:
    filter = read_filter({"t": {"glob": "*a" * 120 + "*b"}})
    assert not filter.matches({"t": "a" * 1_000_000})


@pytest.mark.parametrize(
    "when",
    [
        *(None, 5, "doc.mime", [], {}, {"": 1}, {"a..b": 1}, {".a": 1}, {5: 1}),
        *({"a": []}, {"a": [[1]]}, {"a": {}}, {"a": {"glob": 5}}, {"a": {"regex": "x"}}),
        *({"a": {"glob": "x", "more": 1}}, {"a": {"glob": "x" * 1000}}, {"a": list(range(1000))}),
        {f"k{n}": 1 for n in range(100)},
    ],
    ids=lambda when: repr(when)[:40],
)
def test_what_cannot_be_read_says_so(when: Any) -> None:
    with pytest.raises(ValueError):
        read_filter(when)


json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(json, json)
def test_nothing_that_a_plugin_sends_raises_anything_else(when: Any, params: Any) -> None:
    try:
        filter = read_filter(when)
    except ValueError:
        return
    assert filter.matches(params) in (True, False)
