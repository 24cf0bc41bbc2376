"""The order of implementations: constraints, priorities, names, and circles."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host.routing.order import order
from protocol.lifecycle import HookInfo

Hooks = dict[str, HookInfo]


def hook(before: str = "", after: str = "", priority: int = 0) -> HookInfo:
    return HookInfo(point="p", before=before.split(), after=after.split(), priority=priority)


def names(hooks: Hooks) -> list[str]:
    return [place.plugin for place in order(hooks).places]


def reasons(hooks: Hooks) -> dict[str, str]:
    return {place.plugin: place.why for place in order(hooks).places}


@pytest.mark.parametrize(
    ("hooks", "expected"),
    [
        ({}, ""),
        ({"a": hook()}, "a"),
        ({"b": hook(), "a": hook(), "c": hook()}, "a b c"),
        ({"a": hook(), "b": hook(priority=1), "c": hook(priority=-1)}, "b a c"),
        ({"a": hook(after="b"), "b": hook()}, "b a"),
        ({"a": hook(), "b": hook(before="a")}, "b a"),
        ({"a": hook(priority=9, after="b"), "b": hook()}, "b a"),
        ({"a": hook(after="c"), "b": hook(), "c": hook()}, "b c a"),
        ({"a": hook(before="nobody", after="none"), "b": hook()}, "a b"),
        ({"a": hook(before="b b b"), "b": hook(after="a")}, "a b"),
        ({"a": hook(after="b"), "b": hook(after="c"), "c": hook(after="d"), "d": hook()}, "d c b a"),
        ({"low": hook(), "high": hook(priority=5), "first": hook(before="high low")}, "first high low"),
    ],
)
def test_wishes_come_before_priorities_and_priorities_before_names(hooks: Hooks, expected: str) -> None:
    assert names(hooks) == expected.split()
    assert order(hooks).circles == ()


def test_every_place_has_its_reason() -> None:
    hooks = {"a": hook(before="b"), "b": hook(), "c": hook(priority=3), "d": hook(after="a", priority=-1)}
    assert reasons(hooks) == {
        "a": "before b; before d, which wants it so",
        "b": "after a, which wants it so",
        "c": "priority 3",
        "d": "after a; priority -1",
    }
    assert reasons({"a": hook()}) == {"a": "by name"}


@pytest.mark.parametrize(
    ("hooks", "circle", "refused", "left"),
    [
        ({"a": hook(before="b"), "b": hook(before="a"), "c": hook()}, "a before b before a", "a b", "c"),
        ({"a": hook(after="b"), "b": hook(after="a"), "c": hook()}, "a before b before a", "a b", "c"),
        ({"b": hook(before="b"), "c": hook()}, "b before b", "b", "c"),
        (
            {"c": hook(before="a"), "a": hook(before="b"), "b": hook(before="c"), "d": hook(after="c")},
            "a before b before c before a",
            "a b c",
            "d",
        ),
        # whose own words contradict each other: the other one has said nothing, and serves
        (
            {"evil": hook(before="good", after="good"), "good": hook()},
            "evil before good before evil",
            "evil",
            "good",
        ),
    ],
)
def test_a_circle_is_named_and_costs_those_who_want_it(
    hooks: Hooks, circle: str, refused: str, left: str
) -> None:
    ordered = order(hooks)
    assert [str(found) for found in ordered.circles] == [circle]
    assert ordered.circles[0].refused == set(refused.split())
    assert [place.plugin for place in ordered.places] == left.split()


def test_two_circles_are_two() -> None:
    hooks = {"a": hook(before="b"), "b": hook(before="a"), "x": hook(before="y"), "y": hook(before="x")}
    assert {str(circle) for circle in order(hooks).circles} == {"a before b before a", "x before y before x"}
    assert names(hooks) == []


def test_a_thousand_in_a_row_are_no_matter() -> None:
    hooks = {f"p{n:04}": hook(after=f"p{n + 1:04}") for n in range(1000)}
    assert names(hooks) == sorted(hooks, reverse=True)
    hooks["p0000"] = hook(before="p0999", after="p0001")
    (circle,) = order(hooks).circles
    assert circle.refused == set(hooks) - {"p0999"}  # which alone wants nothing
    assert len(str(circle)) < 200


PLUGINS = [f"p{n}" for n in range(8)]
some = st.lists(st.sampled_from(PLUGINS), max_size=3)
any_hooks = st.dictionaries(
    st.sampled_from(PLUGINS),
    st.builds(
        lambda before, after, priority: HookInfo(point="p", before=before, after=after, priority=priority),
        some,
        some,
        st.integers(-2, 2),
    ),
)


@st.composite
def acyclic(draw: st.DrawFn) -> Hooks:
    """Wishes that agree with some order of all."""
    hidden = draw(st.permutations(PLUGINS))
    place = {name: at for at, name in enumerate(hidden)}
    hooks: Hooks = {}
    for name, info in draw(any_hooks).items():
        before = [other for other in info.before if place[other] > place[name]]
        after = [other for other in info.after if place[other] < place[name]]
        hooks[name] = HookInfo(point="p", before=before, after=after, priority=info.priority)
    return hooks


@given(acyclic())
def test_wishes_that_can_be_granted_are(hooks: Hooks) -> None:
    ordered = order(hooks)
    assert ordered.circles == ()
    place = {each.plugin: at for at, each in enumerate(ordered.places)}
    assert set(place) == set(hooks)
    for name, info in hooks.items():
        assert all(place[name] < place[other] for other in info.before if other in hooks)
        assert all(place[name] > place[other] for other in info.after if other in hooks)


@given(any_hooks, st.randoms(use_true_random=False))
def test_the_order_does_not_depend_on_who_came_first(hooks: Hooks, chance: random.Random) -> None:
    items = list(hooks.items())
    chance.shuffle(items)
    assert order(dict(items)) == order(hooks)


@given(any_hooks)
def test_everybody_is_placed_or_refused_and_the_placed_get_what_they_want_of_each_other(hooks: Hooks) -> None:
    ordered = order(hooks)
    place = {each.plugin: at for at, each in enumerate(ordered.places)}
    refused = {name for circle in ordered.circles for name in circle.refused}
    assert set(place) | refused == set(hooks)
    assert not set(place) & refused
    for name in place:
        assert all(place[name] < place[other] for other in hooks[name].before if other in place)
        assert all(place[name] > place[other] for other in hooks[name].after if other in place)
    for circle in ordered.circles:
        assert circle.refused <= set(circle.plugins)
        assert circle.plugins[0] == circle.plugins[-1] == min(circle.plugins)
