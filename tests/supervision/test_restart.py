"""When a plugin that crashed is started again, and when no more."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host.config.effective import PluginPolicy
from host.supervision.restart import Again, History, TooMany, after_crash
from tests.support.fake_clock import FakeClock

SEQUENCE = [0.1, 0.26, 0.67, 1.7, 4.5, 11.6, 30.0, 30.0]
PATIENT = PluginPolicy(intensity=100, period_s=100_000.0)


def delays(policy: PluginPolicy, luck: float, ups_s: list[float]) -> list[float]:
    """The delay after each of the crashes that follow `ups_s` seconds of running."""
    clock, history, found = FakeClock(), History(), []
    for up_s in ups_s:
        clock.advance(up_s)
        decided = after_crash(history, policy, now=clock.now, up_s=up_s, luck=luck)
        assert isinstance(decided, Again)
        found.append(decided.delay_s)
        history = decided.history
        clock.advance(decided.delay_s)
    return found


def test_delays_grow_in_six_steps_from_a_tenth_of_a_second_to_thirty() -> None:
    assert delays(PATIENT, 0.5, [0.0] * 8) == pytest.approx(SEQUENCE, rel=0.03)


@given(luck=st.floats(0, 1))
def test_luck_spreads_a_delay_by_a_fifth_at_most(luck: float) -> None:
    middle = delays(PATIENT, 0.5, [0.0] * 8)
    for delay, expected in zip(delays(PATIENT, luck, [0.0] * 8), middle, strict=True):
        assert expected * 0.8 - 1e-9 <= delay <= expected * 1.2 + 1e-9


def test_luck_reaches_both_ends_of_the_spread() -> None:
    assert delays(PATIENT, 0.0, [0.0])[0] == pytest.approx(0.08)
    assert delays(PATIENT, 1.0, [0.0])[0] == pytest.approx(0.12)


def test_a_healthy_minute_resets_the_delay_and_less_does_not() -> None:
    assert delays(PATIENT, 0.5, [0, 0, 60])[2] == pytest.approx(0.1)
    assert delays(PATIENT, 0.5, [0, 0, 59])[2] == pytest.approx(0.67, rel=0.03)


def test_after_a_long_delay_healthy_means_twice_as_long() -> None:
    slow = PluginPolicy(intensity=100, period_s=100_000.0, backoff_min_s=50.0, backoff_max_s=50.0)
    history = History(streak=3, last_delay_s=50.0)
    for up_s, streak in ((99.0, 4), (100.0, 1)):
        decided = after_crash(history, slow, now=0.0, up_s=up_s, luck=0.5)
        assert isinstance(decided, Again)
        assert decided.history.streak == streak


def test_the_reset_of_the_delay_does_not_forget_the_restarts() -> None:
    history = History(restarts=(1.0, 2.0), streak=2)
    decided = after_crash(history, PluginPolicy(), now=70.0, up_s=65.0, luck=0.5)
    assert isinstance(decided, Again)
    assert decided.history.restarts[:2] == (1.0, 2.0)


@pytest.mark.parametrize("up_s", [0.0, 20.0, 40.0])
def test_a_plugin_that_crashes_again_and_again_is_given_up(up_s: float) -> None:
    clock, history, restarts = FakeClock(), History(), 0
    while True:
        clock.advance(up_s)
        decided = after_crash(history, PluginPolicy(), now=clock.now, up_s=up_s, luck=0.5)
        if isinstance(decided, TooMany):
            break
        history = decided.history
        clock.advance(decided.delay_s)
        restarts += 1
        assert restarts <= 5
    assert restarts == 5
    assert decided.count == 5
    assert decided.span_s <= 300


def test_a_plugin_that_crashes_every_two_minutes_is_never_given_up() -> None:
    assert len(delays(PluginPolicy(), 0.5, [120.0] * 50)) == 50


@given(
    ups=st.lists(st.floats(0, 500), max_size=60),
    luck=st.floats(0, 1),
    intensity=st.integers(1, 8),
    period_s=st.floats(1, 600),
)
def test_no_window_holds_more_restarts_than_the_intensity(
    ups: list[float], luck: float, intensity: int, period_s: float
) -> None:
    policy = PluginPolicy(intensity=intensity, period_s=period_s)
    clock, history, restarts = FakeClock(), History(), []
    for up_s in ups:
        clock.advance(up_s)
        decided = after_crash(history, policy, now=clock.now, up_s=up_s, luck=luck)
        if isinstance(decided, TooMany):
            break
        history = decided.history
        restarts.append(clock.advance(decided.delay_s))
        assert len(history.restarts) <= intensity
    for at in restarts:
        assert sum(at <= other < at + period_s for other in restarts) <= intensity
