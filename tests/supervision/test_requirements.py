"""Three plugins that require each other, under random histories, and what follows from a graph of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host.config.effective import PluginPolicy
from host.supervision.life import Life
from host.supervision.life_events import Enable, Idle, Lacks, Learn, LifeEvent, Start, Started, Stop
from host.supervision.requirements import Requirements, cycles_of, lack_of, stop_plan
from host.supervision.states import AT_REST, SERVING, State
from tests.support.lives import World, act, actions

CHAIN = {"a": (), "b": ("a",), "c": ("b", "a")}


class Plugin(World):
    """A world whose events come by post, one after the other."""

    def __init__(self, together: Together, name: str, policy: PluginPolicy) -> None:
        super().__init__(policy)
        self.clock = together.clock
        self.name = name
        self.together = together
        self.life = Life(is_wanted=policy.start_mode == "eager")

    def post(self, event: LifeEvent) -> None:
        self.together.posted.append((self, event))

    async def wait_until(self, condition: Callable[[Life], bool]) -> None:
        raise NotImplementedError("nothing here waits")

    def feed(self, event: LifeEvent) -> None:
        before = self.life.state
        super().feed(event)
        if self.life.state is not before or isinstance(event, Lacks):
            self.together.requirements.look_at(self.name)
        self.together.deliver()


class Together:
    def __init__(self, requires: dict[str, tuple[str, ...]], lazy: frozenset[str] = frozenset()) -> None:
        first = World()
        self.clock = first.clock
        self.posted: list[tuple[Plugin, LifeEvent]] = []
        self.cycles: list[tuple[str, ...]] = []
        self.plugins: dict[str, Plugin] = {}
        self.requirements = Requirements(self.plugins, self.cycles.append)
        self._delivering = False
        for name, others in requires.items():
            mode: Any = "lazy" if name in lazy else "eager"
            self.plugins[name] = Plugin(self, name, PluginPolicy(requires=others, start_mode=mode))
        self.requirements.refresh()
        self.deliver()

    def deliver(self) -> None:
        if self._delivering:
            return
        self._delivering = True
        while self.posted:
            plugin, event = self.posted.pop(0)
            plugin.feed(event)
        self._delivering = False

    def start(self, name: str) -> None:
        self.plugins[name].ask(Start("go"))

    def serve(self, name: str) -> None:
        self.plugins[name].feed(Started(self.plugins[name].life.generation))

    def run(self, *names: str) -> None:
        for name in names:
            self.start(name)
        for name in names:
            self.serve(name)

    def __getitem__(self, name: str) -> Life:
        return self.plugins[name].life

    def is_sound(self) -> None:
        """What holds at any moment, once everybody has heard everything."""
        for name, plugin in self.plugins.items():
            for other in plugin.policy.requires:
                required = self[other]
                gone = required.state in (State.QUARANTINED, State.FAILED, State.DISABLED)
                gone |= required.state is State.STOPPED and not (
                    required.may_be_woken and self.plugins[other].policy.start_mode == "lazy"
                )
                first_start = required.generation == 0 and required.is_wanted
                if gone and not first_start:
                    assert self[name].state not in {State.STARTING, *SERVING}, (name, other)
            held = self[name].is_held
            assert not held or self[name].state in (State.WAITING, State.FAILED)
            if held:
                assert self[name].lacks is not None


moves = st.lists(st.tuples(st.sampled_from("abc"), actions), max_size=60)


@given(history=moves, lazy=st.sets(st.sampled_from("abc")), running=st.booleans())
def test_nobody_runs_while_what_it_requires_is_gone(
    history: list[tuple[str, Any]], lazy: set[str], running: bool
) -> None:
    together = Together(CHAIN, frozenset(lazy))
    if running:
        together.run("a", "b", "c")
    for name, action in history:
        if action[0] == "sleep":
            together.plugins[name].sleep(action[1])
        else:
            act(together.plugins[name], action)
        together.is_sound()


@given(history=moves)
def test_whatever_has_happened_all_of_them_run_once_everybody_is_let(history: list[tuple[str, Any]]) -> None:
    together = Together(CHAIN)
    for name, action in history:
        if action[0] != "sleep":
            act(together.plugins[name], action)
    for name in "abc":
        plugin = together.plugins[name]
        if plugin.live is not None and plugin.life.state is State.STOPPING:
            plugin.end()
        together.plugins[name].ask(Enable("again", start=True))
        together.plugins[name].ask(Stop("anew", then=State.STARTING))
    for name in "cba":  # whoever is stopping ends; dependants first, as a stop has it
        plugin = together.plugins[name]
        if plugin.life.state is State.STOPPING:
            plugin.end()
    for name in "abc":
        if together[name].state is State.STARTING:
            together.serve(name)
        plugin = together.plugins[name]
        if plugin.life.state is State.STOPPING:
            plugin.end()
    for name in "abc":
        if together[name].state is State.STARTING:
            together.serve(name)
    assert [together[name].state for name in "abc"] == [State.RUNNING] * 3


def test_they_start_in_order_however_they_are_asked() -> None:
    together = Together(CHAIN)
    for name in "cba":
        together.start(name)
    assert [together[name].state for name in "abc"] == [State.STARTING, State.WAITING, State.WAITING]
    assert together["b"].reason == "requires a, which is starting"
    assert together["b"].is_coming
    assert together["c"].is_coming
    together.serve("a")
    assert [together[name].state for name in "abc"] == [State.RUNNING, State.STARTING, State.WAITING]
    together.serve("b")
    assert together["c"].state is State.STARTING


def test_a_crash_of_what_is_required_stops_nobody_but_holds_who_starts() -> None:
    together = Together(CHAIN)
    together.run("a", "b")
    together.plugins["a"].end()
    assert together["a"].state is State.BACKOFF
    assert together["b"].state is State.RUNNING
    together.start("c")
    assert together["c"].state is State.WAITING
    assert not together["c"].is_coming
    together.plugins["a"].sleep(1)
    together.serve("a")
    assert together["b"].generation == 1
    assert together["c"].state is State.STARTING


def test_what_requires_a_quarantined_one_waits_and_resumes_by_itself() -> None:
    together = Together(CHAIN)
    together.plugins["a"].policy = PluginPolicy(intensity=1)
    together.run("a", "b", "c")
    for _ in range(2):
        together.plugins["a"].end()
        together.plugins["a"].sleep(1)
    assert together["a"].state is State.QUARANTINED
    assert together["b"].state is State.STOPPING
    together.plugins["c"].end()
    together.plugins["b"].end()
    assert together["b"].reason == "requires a, which is quarantined"
    assert together["c"].state is State.WAITING
    assert together["b"].is_wanted
    together.start("a")
    together.serve("a")
    together.serve("b")
    together.serve("c")
    assert [together[name].state for name in "abc"] == [State.RUNNING] * 3


def test_a_stop_for_want_of_something_costs_no_record() -> None:
    together = Together({"a": (), "b": ("a",)})
    together.run("a", "b")
    together.plugins["b"].end()
    together.plugins["b"].sleep(1)
    together.serve("b")
    history = together["b"].history
    together.plugins["a"].ask(Stop("halt"))
    together.plugins["b"].end()
    assert together["b"].state is State.WAITING
    assert together["b"].history == history


def test_a_lazy_one_that_is_required_is_woken_and_does_not_sleep_while_it_is_needed() -> None:
    together = Together({"a": (), "b": ("a",)}, lazy=frozenset("a"))
    assert together["a"].state is State.STOPPED
    together.start("b")
    assert together["a"].state is State.STARTING
    assert together["a"].reason == "required by b"
    together.serve("a")
    together.serve("b")
    assert together.requirements.is_needed("a")
    together.plugins["b"].ask(Stop("halt"))
    together.plugins["b"].end()
    assert not together.requirements.is_needed("a")
    together.plugins["a"].feed(Idle(1, "idle"))
    together.plugins["a"].end()
    assert together["a"].state is State.STOPPED
    together.start("b")
    assert together["a"].state is State.STARTING


def test_a_lazy_one_that_an_operator_stopped_is_not_woken() -> None:
    together = Together({"a": (), "b": ("a",)}, lazy=frozenset("a"))
    together.plugins["a"].ask(Stop("halt"))
    together.start("b")
    assert (together["a"].state, together["b"].state) == (State.STOPPED, State.WAITING)


def test_nothing_is_started_only_to_learn_from_it_what_cannot_start() -> None:
    together = Together({"a": (), "b": ("a",)}, lazy=frozenset("b"))
    together.plugins["b"].feed(Learn())
    assert together["b"].state is State.STOPPED
    assert together["a"].generation == 0


def test_an_unknown_name_is_waited_for_with_the_one_that_was_meant() -> None:
    together = Together({"other": (), "b": ("othr",)})
    together.start("b")
    assert together["b"].state is State.WAITING
    assert "did you mean `other`?" in together["b"].reason
    together.plugins["othr"] = Plugin(together, "othr", PluginPolicy())
    together.requirements.refresh()
    together.deliver()
    together.run("othr")
    assert together["b"].state is State.STARTING


def test_a_circle_fails_its_own_members_by_name_and_is_told_once() -> None:
    together = Together({"a": ("b",), "b": ("a",), "c": ("a",), "d": ()})
    for name in "abcd":
        together.start(name)
    assert together["a"].state is together["b"].state is State.FAILED
    assert "a -> b -> a" in together["a"].reason
    assert together["c"].state is State.WAITING
    assert together["d"].state is State.STARTING
    together.requirements.refresh()
    assert together.cycles == [("a", "b", "a")]
    together.plugins["a"].policy = PluginPolicy()
    together.requirements.refresh()
    together.deliver()
    assert together["a"].state is State.STARTING
    together.serve("a")
    assert together["b"].state is State.STARTING


@pytest.mark.parametrize(
    ("life", "lazy", "how"),
    [
        (Life(state=State.RUNNING), False, None),
        (Life(state=State.DEGRADED), False, None),
        (Life(state=State.STARTING, is_wanted=True), False, "coming"),
        (Life(is_wanted=True), False, "coming"),
        (Life(is_wanted=True, generation=3), False, "gone"),
        (Life(), True, "coming"),
        (Life(by_hand=True), True, "gone"),
        (Life(state=State.BACKOFF), False, "down"),
        (Life(state=State.WAITING), False, "down"),
        (Life(state=State.STOPPING, then=State.STARTING), False, "coming"),
        (Life(state=State.STOPPING, then=State.STOPPED, by_hand=True), True, "gone"),
        (Life(state=State.QUARANTINED), False, "gone"),
        (Life(state=State.FAILED), False, "gone"),
        (Life(state=State.DISABLED), True, "gone"),
    ],
)
def test_what_the_state_of_one_means_for_those_that_require_it(life: Life, lazy: bool, how: str) -> None:
    lack = lack_of("a", life, is_lazy=lazy)
    assert (lack.how if lack is not None else None) == how


def test_all_circles_are_found() -> None:
    assert cycles_of(CHAIN) == []
    assert cycles_of({"a": ["a"], "b": ["c"], "c": ["b"], "d": ["a", "nobody"]}) == [
        ("a", "a"),
        ("b", "c", "b"),
    ]


def test_a_stop_is_the_start_reversed_and_its_parts_are_no_sum() -> None:
    plan = stop_plan({"a": [], "b": ["a"], "c": ["b"], "alone": []})
    assert plan["alone"].share == 1
    assert {name: plan[name].after for name in "abc"} == {"a": ("b",), "b": ("c",), "c": ()}
    assert [plan[name].share for name in "cba"] == pytest.approx([1 / 3, 2 / 3, 1])


graphs = st.dictionaries(st.sampled_from("abcdef"), st.lists(st.sampled_from("abcdef"), max_size=3))


@given(graph=graphs)
def test_whoever_requires_another_has_to_be_gone_before_it_and_nobody_waits_in_a_circle(
    graph: dict[str, list[str]],
) -> None:
    plan = stop_plan(graph)
    assert plan.keys() == graph.keys()
    for terms in plan.values():
        assert 0 < terms.share <= 1
    for name, terms in plan.items():
        assert all(plan[before].share < terms.share for before in terms.after), name


def test_at_rest_means_that_nobody_is_held_by_mistake() -> None:
    together = Together(CHAIN)
    together.run("a", "b", "c")
    for name in "cba":
        together.plugins[name].ask(Stop("halt"))
        together.plugins[name].end()
    assert all(together[name].state in AT_REST for name in "abc")
    assert all(plugin.live is None for plugin in together.plugins.values())
    assert not any(together[name].is_held for name in "abc")
