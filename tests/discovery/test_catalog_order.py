"""The order in which plugins start."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host.discovery.catalog import RequirementCycle, start_order


def test_plugins_start_in_tiers_after_what_they_require() -> None:
    requires = {"app": ["db", "mail"], "mail": ["db"], "db": [], "alone": []}
    assert start_order(requires) == [["alone", "db"], ["mail"], ["app"]]


def test_nothing_starts_in_no_tiers() -> None:
    assert start_order({}) == []


def test_a_requirement_that_does_not_exist_orders_nothing() -> None:
    assert start_order({"a": ["missing"], "b": ["a", "a"]}) == [["a"], ["b"]]


@pytest.mark.parametrize(
    ("requires", "cycle"),
    [
        ({"a": ["a"]}, ("a", "a")),
        ({"b": ["c"], "c": ["b"]}, ("b", "c", "b")),
        ({"a": ["d"], "d": ["c"], "c": ["b"], "b": ["d"], "free": []}, ("b", "d", "c", "b")),
    ],
)
def test_a_cycle_is_refused_by_name(requires: dict[str, list[str]], cycle: tuple[str, ...]) -> None:
    with pytest.raises(RequirementCycle, match=" -> ".join(cycle)) as caught:
        start_order(requires)
    assert caught.value.cycle == cycle


def test_a_chain_of_many_plugins_is_not_too_deep() -> None:
    names = [f"p{number}" for number in range(5000)]
    requires = {name: [before] for before, name in pairwise(names)} | {"p0": []}
    assert start_order(requires) == [[name] for name in names]


NAMES = st.sampled_from("abcdefg")


@given(st.dictionaries(NAMES, st.lists(NAMES, max_size=3), max_size=7))
def test_every_order_is_complete_and_right_and_every_cycle_is_one(requires: dict[str, list[str]]) -> None:
    cycle: tuple[str, ...] = ()
    tiers: list[list[str]] = []
    try:
        tiers = start_order(requires)
    except RequirementCycle as error:
        cycle = error.cycle
    if cycle:
        assert cycle[0] == cycle[-1]
        assert all(other in requires[name] for name, other in pairwise(cycle))
        return
    tier_of = {name: index for index, tier in enumerate(tiers) for name in tier}
    assert sum(map(len, tiers)) == len(tier_of) == len(requires)
    for name, others in requires.items():
        assert all(tier_of[other] < tier_of[name] for other in others if other in requires)
