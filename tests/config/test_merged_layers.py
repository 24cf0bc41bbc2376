"""Layers, merged: who wins, and that everything says where it comes from."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from host.config.layers import Leaf, Origin, at, leaves, merge, nearest_origin, plain, tree

KEYS = st.sampled_from("abc")
VALUES = st.recursive(
    st.integers(0, 3) | st.lists(st.integers(0, 3), max_size=2),
    lambda inner: st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)
DOCUMENTS = st.dictionaries(KEYS, VALUES, max_size=3)


def expected(low: Any, high: Any) -> Any:
    """The rule, in the words of dicts."""
    if not isinstance(low, dict) or not isinstance(high, dict):
        return high
    return low | {key: expected(low[key], value) if key in low else value for key, value in high.items()}


@given(st.lists(DOCUMENTS, max_size=5))
def test_tables_are_merged_key_by_key_and_the_highest_value_wins(documents: list[dict[str, Any]]) -> None:
    said: Any = {}
    for document in documents:
        said = expected(said, document)
    merged = merge(tree(document, str(number)) for number, document in enumerate(documents))
    assert plain(merged) == said


@given(DOCUMENTS, DOCUMENTS, DOCUMENTS)
def test_merging_is_associative(a: Any, b: Any, c: Any) -> None:
    one, two, three = (tree(document, name) for document, name in ((a, "a"), (b, "b"), (c, "c")))
    assert merge([merge([one, two]), three]) == merge([one, merge([two, three])])


@given(st.lists(DOCUMENTS, min_size=1, max_size=4))
def test_the_origin_of_a_value_is_the_highest_layer_that_has_it(documents: list[dict[str, Any]]) -> None:
    layers = [tree(document, str(number)) for number, document in enumerate(documents)]
    for path, leaf in leaves(merge(layers)):
        if path:
            giver = layers[int(leaf.origin.layer)]
            found = at(giver, path)
            assert found is not None
            assert plain(found) == leaf.value
            for higher in layers[int(leaf.origin.layer) + 1 :]:
                assert at(higher, path) is None


def test_an_origin_has_the_line_of_the_key() -> None:
    layer = tree({"a": {"b": 1, "c": 2}}, "user", "x.toml", {("a",): 1, ("a", "b"): 2})
    assert at(layer, ("a", "b")) == Leaf(1, Origin("user", "x.toml", 2))
    assert nearest_origin(layer, ("a", "nowhere")).line == 1
    assert str(nearest_origin(layer, ("a", "c"))) == "user x.toml:1"


def test_an_empty_table_is_not_lost() -> None:
    assert list(leaves(tree({"watch": {}}, "user"))) == [(("watch",), Leaf({}, Origin("user")))]
