"""The machine under random histories: what never happens, whatever comes in whatever order."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host.config.effective import PluginPolicy
from host.supervision import machine
from host.supervision.life import Life
from host.supervision.life_events import (
    Cleared,
    Concern,
    Condemned,
    Eased,
    Enable,
    Ended,
    Idle,
    Learn,
    NotNow,
    Start,
    Started,
    Stop,
    Unfit,
    Woke,
)
from host.supervision.restart import History
from host.supervision.states import AT_REST, State
from tests.support.lives import ANEW, BAN, WORDS, World, act, actions, explored, news

policies = st.builds(
    PluginPolicy,
    restart_policy=st.sampled_from(["on-failure", "always", "never"]),
    intensity=st.integers(1, 6),
    period_s=st.floats(60, 600),
)
histories = st.lists(actions | st.tuples(st.just("news"), news) | st.just(("idle",)), max_size=80)


@given(policy=policies, history=histories)
def test_whatever_happens_there_is_one_generation_and_restarts_are_bounded(
    policy: PluginPolicy, history: list[tuple[Any, ...]]
) -> None:
    world = World(policy)
    for action in history:
        act(world, action)
        for at in world.restarts:
            assert sum(at <= other < at + policy.period_s for other in world.restarts) <= policy.intensity
    assert world.generations == list(range(1, len(world.generations) + 1))


@given(policy=policies, history=histories)
def test_after_a_stop_the_life_comes_to_rest(policy: PluginPolicy, history: list[tuple[Any, ...]]) -> None:
    world = World(policy)
    for action in history:
        act(world, action)
    was_disabled = world.life.state is State.DISABLED
    world.ask(Stop("enough"))
    if world.live is not None:
        assert world.life.state is State.STOPPING
        world.end()
    at_rest = State.DISABLED if was_disabled else State.STOPPED
    assert world.life.state is at_rest
    world.sleep(100_000)
    assert world.life.state is at_rest
    assert world.live is None


@given(
    history=histories,
    kind=st.sampled_from([Started, Ended, NotNow, Unfit]),
    back=st.integers(1, 5),
)
def test_what_an_earlier_generation_says_changes_nothing(
    history: list[tuple[Any, ...]], kind: Any, back: int
) -> None:
    world = World()
    for action in history:
        act(world, action)
    number = world.life.generation - back
    event = kind(number) if kind is Started else kind(number, "late")
    assert machine.step(world.life, event, world.clock.now, world.policy) == (world.life, [])


@given(words=st.lists(st.sampled_from(WORDS), max_size=8))
def test_while_it_stops_the_last_word_wins_and_only_enable_lifts_a_ban(words: list[Any]) -> None:
    world = World()
    world.ask(Start("go"))
    world.feed(Started(1))
    words = [Stop("halt"), *words]
    for word in words:
        world.ask(word)
        assert world.live == 1
    world.end()
    wanted = State.STOPPED
    for word in words:
        if isinstance(word, Stop):
            wanted = word.then
        elif isinstance(word, Enable) and wanted is State.DISABLED:
            wanted = State.STARTING if word.start else State.STOPPED
        elif isinstance(word, Start) and wanted is not State.DISABLED:
            wanted = State.STARTING
    assert world.life.state is wanted
    assert world.live == (2 if wanted is State.STARTING else None)
    assert world.life.is_wanted == (wanted is State.STARTING)


def test_every_state_of_the_table_is_reached() -> None:
    world = World(PluginPolicy(intensity=1, period_s=300.0))
    world.ask(Start("go"))
    world.say(NotNow(1, "no model yet", 3.0))
    world.sleep(3.0)
    world.feed(Started(2))
    world.end()
    world.sleep(0.2)
    world.feed(Started(3))
    world.end()
    assert world.life.state is State.QUARANTINED
    world.ask(Start("go"))
    world.say(Unfit(4, "too old"))
    world.ask(Start("go"))
    world.ask(BAN)
    world.end()
    assert world.visited == {state for state, _ in machine.TABLE}


def test_every_row_of_the_table_is_taken_by_some_history() -> None:
    assert explored().keys() == machine.TABLE.keys()


@given(history=histories)
def test_what_lacks_something_for_good_does_not_run(history: list[tuple[Any, ...]]) -> None:
    world = World()
    for action in history:
        act(world, action)
        lack = world.life.lacks
        if lack is not None and lack.how in ("gone", "never"):
            assert world.life.state not in (State.STARTING, State.RUNNING, State.DEGRADED)
        assert not world.life.is_held or lack is not None


def test_one_that_was_started_to_learn_is_stopped_as_soon_as_it_has_said_what_it_provides() -> None:
    world = World(PluginPolicy(start_mode="lazy"))
    world.feed(Learn())
    assert (world.life.state, world.life.is_wanted) == (State.STARTING, False)
    world.feed(Started(1))
    assert (world.life.state, world.asked_to_end) == (State.STOPPING, True)
    world.end()
    assert world.life.state is State.STOPPED
    assert world.life.may_be_woken


def test_a_call_meanwhile_makes_it_a_real_start() -> None:
    world = World(PluginPolicy(start_mode="lazy"))
    world.feed(Learn())
    world.ask(Start("a call came"))
    world.feed(Started(1))
    assert world.life.state is State.RUNNING


@pytest.mark.parametrize("word", [Stop("halt"), Stop("no more", then=State.DISABLED)])
def test_nobody_wakes_one_that_was_stopped_by_hand(word: Stop) -> None:
    world = running(PluginPolicy(start_mode="lazy"))
    world.ask(word)
    world.end()
    assert not world.life.may_be_woken


def test_an_idle_one_may_be_woken_also_while_it_stops() -> None:
    world = running(PluginPolicy(start_mode="lazy"))
    world.feed(Idle(1, "idle: no call for 300 s"))
    assert (world.life.state, world.life.may_be_woken) == (State.STOPPING, True)
    world.ask(Start("a call came"))
    world.end()
    assert (world.life.state, world.life.generation) == (State.STARTING, 2)


def test_a_disabled_plugin_runs_only_when_it_is_enabled() -> None:
    world = World()
    world.life = Life(state=State.DISABLED)
    for event in (Woke(), Start("go"), ANEW, Stop("halt"), Started(0)):
        world.feed(event)
        assert world.life.state is State.DISABLED
    world.ask(Enable("again", start=True))
    assert world.life.state is State.STARTING


@pytest.mark.parametrize(("crashes", "needed_s"), [(1, 1.0), (2, 2.0), (5, 5.0), (6, 5.0)])
def test_after_crashes_it_has_to_stay_up_before_it_counts_as_running(crashes: int, needed_s: float) -> None:
    world = World(PluginPolicy(intensity=9))
    world.ask(Start("go"))
    for _ in range(crashes):
        world.feed(Started(world.life.generation))
        world.end()
        world.sleep(31.0 * 1.2)
    world.feed(Started(world.life.generation))
    assert world.life.state is State.DEGRADED
    world.sleep(needed_s - 0.01)
    assert world.life.state is State.DEGRADED
    world.sleep(0.02)
    assert world.life.state is State.RUNNING


def test_a_crash_loop_is_never_called_running_again() -> None:
    world = World()
    world.ask(Start("go"))
    world.feed(Started(1))
    world.end()
    world.visited.clear()
    while world.life.state is not State.QUARANTINED:
        world.sleep(1.0)
        if world.life.state is State.STARTING:
            world.feed(Started(world.life.generation))
            world.sleep(0.5)
            world.end()
    assert State.RUNNING not in world.visited


def test_a_quarantined_plugin_is_probed_more_and_more_seldom_until_it_stays_up() -> None:
    world = World(PluginPolicy(intensity=1))
    world.ask(Start("go"))
    for _ in range(2):
        world.end()
        world.sleep(1.0)
    waits = []
    for _ in range(8):
        assert world.life.state is State.QUARANTINED
        assert world.life.next_start_at is not None
        waits.append(world.life.next_start_at - world.clock.now)
        world.sleep(waits[-1])
        assert world.life.state is State.STARTING
        world.feed(Started(world.life.generation))
        world.sleep(30.0)
        world.end()
    assert waits == pytest.approx([599.0, 1200, 2400, 4800, 9600, 19200, 21600, 21600], abs=1.5)
    world.sleep(21600)
    world.feed(Started(world.life.generation))
    assert world.life.state is State.DEGRADED
    world.sleep(60.0)
    assert world.life.state is State.RUNNING
    assert world.life.probes == 0
    assert world.life.history == History()


@pytest.mark.parametrize(
    ("policy", "mode", "wanted"),
    [("on-failure", "eager", True), ("never", "eager", False), ("on-failure", "lazy", False)],
)
def test_one_that_ended_by_itself_is_missed_unless_it_may_end(policy: Any, mode: Any, wanted: bool) -> None:
    world = World(PluginPolicy(restart_policy=policy, start_mode=mode))
    world.ask(Start("go"))
    world.feed(Started(1))
    world.end(clean=True)
    assert world.life.state is State.STOPPED
    assert world.life.is_wanted is wanted


@pytest.mark.parametrize(
    ("policy", "clean", "state"),
    [
        ("on-failure", True, State.STOPPED),
        ("on-failure", False, State.BACKOFF),
        ("always", True, State.BACKOFF),
        ("never", True, State.STOPPED),
        ("never", False, State.FAILED),
    ],
)
def test_the_restart_policy_decides_about_an_end_nobody_asked_for(
    policy: Any, clean: bool, state: State
) -> None:
    world = World(PluginPolicy(restart_policy=policy))
    world.ask(Start("go"))
    world.feed(Started(1))
    world.end(clean=clean)
    assert world.life.state is state


def test_a_clean_exit_before_it_ran_is_a_failed_start() -> None:
    world = World()
    world.ask(Start("go"))
    world.end(clean=True)
    assert world.life.state is State.BACKOFF


def running(policy: PluginPolicy | None = None) -> World:
    world = World(policy)
    world.ask(Start("go"))
    world.feed(Started(1))
    return world


def test_it_is_degraded_while_anything_is_wrong_with_it_and_says_all_of_it() -> None:
    world = running()
    world.sleep(5.0)
    world.feed(Concern(1, "memory", "much memory"))
    since = world.life.since
    world.sleep(1.0)
    world.feed(Concern(1, "pings", "a ping missed"))
    assert (world.life.state, world.life.reason) == (State.DEGRADED, "much memory; a ping missed")
    assert world.life.since == since
    world.feed(Concern(1, "memory", "more memory"))
    assert world.life.reason == "more memory; a ping missed"
    world.feed(Eased(1, "memory"))
    assert (world.life.state, world.life.reason) == (State.DEGRADED, "a ping missed")
    world.feed(Eased(1, "pings"))
    assert (world.life.state, world.life.reason, world.life.since) == (State.RUNNING, "", world.clock.now)


def test_the_end_of_probation_ends_no_other_concern_nor_the_other_way_round() -> None:
    world = running()
    world.end()
    world.sleep(1.0)
    world.feed(Started(2))
    world.feed(Concern(2, "memory", "much memory"))
    assert world.life.reason == "on probation for 1 s after a crash; much memory"
    world.sleep(1.1)
    assert (world.life.state, world.life.reason) == (State.DEGRADED, "much memory")
    world.end()
    world.sleep(2.0)
    world.feed(Started(3))
    world.feed(Concern(3, "memory", "much memory"))
    world.feed(Eased(3, "memory"))
    assert world.life.state is State.DEGRADED
    world.sleep(2.1)
    assert world.life.state is State.RUNNING


def test_what_was_wrong_while_it_started_is_known_once_it_serves() -> None:
    world = World()
    world.ask(Start("go"))
    world.feed(Concern(1, "memory", "much memory"))
    assert (world.life.state, world.life.reason) == (State.STARTING, "go")
    world.feed(Started(1))
    assert (world.life.state, world.life.reason) == (State.DEGRADED, "much memory")
    world.end()
    world.sleep(1.0)
    assert world.life.concerns == ()


@pytest.mark.parametrize("begun", [True, False])
def test_one_that_is_condemned_is_stopping_until_its_end_which_is_a_crash(begun: bool) -> None:
    world = running() if begun else World()
    if not begun:
        world.ask(Start("go"))
    world.feed(Condemned(1, "too much"))
    assert (world.life.state, world.life.reason) == (State.STOPPING, "too much")
    world.end()
    assert world.life.state is State.BACKOFF
    assert world.life.is_wanted
    world.sleep(1.0)
    assert world.life.state is State.STARTING
    assert world.life.crashes == 1


def test_a_stop_of_one_that_is_condemned_is_a_stop() -> None:
    world = running()
    world.feed(Condemned(1, "too much"))
    world.ask(Stop("halt"))
    world.end()
    assert world.life.state is State.STOPPED


def test_waiting_is_not_a_crash() -> None:
    world = World(PluginPolicy(intensity=1))
    world.ask(Start("go"))
    for generation in range(1, 20):
        world.say(NotNow(generation, "no model yet", 3.0))
        assert world.life.state is State.WAITING
        world.sleep(3.0)
    assert world.life.crashes == 0
    assert world.life.history == History()


def test_what_waits_for_something_under_way_starts_when_that_is_there_and_not_before() -> None:
    world = World()
    world.ask(Start("go"))
    world.say(NotNow(1, "it is being built", None))
    assert world.life.state is State.WAITING
    assert world.life.next_start_at is None
    world.sleep(100_000)
    assert world.life.generation == 1
    world.feed(Cleared(1, "built"))
    assert world.life.state is State.STARTING
    world.feed(Cleared(1, "built"))
    assert world.life.generation == 2


def test_what_it_waits_for_may_come_to_nothing() -> None:
    world = World()
    world.ask(Start("go"))
    world.say(NotNow(1, "it is being built", None))
    world.feed(NotNow(1, "it cannot be built", 30.0))
    assert world.life.state is State.WAITING
    assert world.life.reason == "it cannot be built"
    world.sleep(30.0)
    assert world.life.state is State.STARTING
    assert world.life.crashes == 0


@pytest.mark.parametrize("word", [Stop("halt"), BAN, ANEW, Start("go")])
def test_nobody_is_started_by_news_for_an_earlier_wait(word: Start | Stop) -> None:
    world = World()
    world.ask(Start("go"))
    world.say(NotNow(1, "it is being built", None))
    world.ask(word)
    before = world.life
    world.feed(Cleared(1, "built"))
    world.feed(NotNow(1, "it cannot be built", 30.0))
    assert world.life is before


def test_a_timer_that_fires_early_is_set_again() -> None:
    world = World()
    world.ask(Start("go"))
    world.end()
    due = world.life.next_start_at
    world.wake_at = None
    world.feed(Woke())
    assert world.life.state is State.BACKOFF
    assert world.wake_at == due


def test_a_crash_every_twenty_seconds_ends_in_quarantine_and_a_start_releases_it() -> None:
    world = World()
    world.ask(Start("go"))
    while world.life.state is not State.QUARANTINED:
        assert world.life.generation <= 6
        world.feed(Started(world.life.generation))
        world.sleep(20.0)
        world.end()
        if world.life.state is State.BACKOFF:
            world.sleep(40.0)
    assert world.life.generation == 6
    assert "5 restarts" in world.life.reason
    assert "it died" in world.life.reason
    world.sleep(500)
    assert world.life.state in AT_REST
    world.ask(Start("release"))
    world.feed(Started(7))
    assert world.life.state is State.RUNNING
    world.end()
    assert world.life.state is State.BACKOFF


@pytest.mark.parametrize("begin", [State.RUNNING, State.QUARANTINED])
def test_a_restart_that_somebody_asked_for_begins_with_a_clean_record(begin: State) -> None:
    world = World(PluginPolicy(intensity=1))
    world.ask(Start("go"))
    world.feed(Started(1))
    world.end()
    world.sleep(1.0)
    world.feed(Started(2))
    world.sleep(1.0)
    if begin is State.QUARANTINED:
        world.end()
    assert world.life.state is begin
    world.ask(ANEW)
    if world.live == 2:
        world.end()
    world.feed(Started(3))
    world.end()
    assert world.life.state is State.BACKOFF
