"""Catalogs compared, and the order in which plugins start."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host.config.read import read_toml
from host.discovery.catalog import CatalogDiff, RequirementCycle, diff, start_order
from host.discovery.validate import Candidate
from protocol.manifest import Manifest


def plugin(name: str, extra: str = "", folder: str = "/plugins") -> Candidate:
    source = f'[plugin]\nname = "{name}"\nversion = "1"\n[run]\ncommand = ["x"]\n{extra}'
    manifest, problems = read_toml("plugin.toml", Manifest, source=source)
    assert problems == []
    assert manifest is not None
    return Candidate(f"{folder}/{name}", f"{folder}/{name}/plugin.toml", manifest, False)


def test_the_same_catalog_has_no_difference() -> None:
    assert diff([plugin("a"), plugin("b")], [plugin("b"), plugin("a")]) == CatalogDiff()


def test_what_came_what_changed_and_what_went_is_told_by_name() -> None:
    changed = plugin("b", "[limits]\nmemory = '1MiB'\n[restart]\nperiod = '1m'\n")
    found = diff([plugin("c"), plugin("b"), plugin("a")], [plugin("d"), changed, plugin("a")])
    assert found == CatalogDiff(added=(plugin("d"),), changed=(changed,), removed=(plugin("c"),))


def test_a_plugin_that_moved_has_changed() -> None:
    assert diff([plugin("a")], [plugin("a", folder="/other")]).changed == (plugin("a", folder="/other"),)


@pytest.mark.parametrize(("old", "new"), [("1", "true"), ("1", "1.0"), ("0", "false"), ("'a'", "'b'")])
def test_settings_that_python_takes_for_equal_have_changed(old: str, new: str) -> None:
    before, after = (plugin("a", f"[settings]\nx = {value}\n") for value in (old, new))
    assert len(diff([before], [after]).changed) == 1


def test_the_order_of_keys_is_no_change() -> None:
    before, after = plugin("a", "[settings]\nx = 1\ny = 2\n"), plugin("a", "[settings]\ny = 2\nx = 1\n")
    assert diff([before], [after]) == CatalogDiff()


def test_dates_in_settings_are_compared_too() -> None:
    extra = "[settings]\nday = 2026-01-0{}\nnow = 07:32:00\n"
    assert diff([plugin("a", extra.format(1))], [plugin("a", extra.format(1))]) == CatalogDiff()
    assert len(diff([plugin("a", extra.format(1))], [plugin("a", extra.format(2))]).changed) == 1


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
