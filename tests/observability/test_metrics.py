"""Counters and histograms: what they say is what was recorded, and they do not grow."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host.observability.metrics import MAX_METHODS, MAX_NAME, OTHER, CallStats, Latency, PluginStats

DURATIONS = st.lists(st.floats(0, 4000, allow_nan=False), max_size=60)


def recorded(durations: list[float]) -> Latency:
    latency = Latency()
    for seconds in durations:
        latency.record(seconds)
    return latency


@given(DURATIONS)
def test_the_sum_is_that_of_the_durations_and_not_of_the_buckets(durations: list[float]) -> None:
    latency = recorded(durations)
    assert latency.count == len(durations)
    assert math.isclose(latency.total_s, math.fsum(durations), rel_tol=1e-12)


@given(DURATIONS)
def test_every_exported_bucket_counts_exactly_what_was_shorter(durations: list[float]) -> None:
    for edge_s, count in recorded(durations).cumulative():
        clear = [seconds for seconds in durations if abs(seconds - edge_s) > 1e-12]
        ties = len(durations) - len(clear)
        assert 0 <= count - sum(seconds < edge_s for seconds in clear) <= ties


def test_the_exported_buckets_reach_from_calls_that_take_microseconds_to_the_default_timeout() -> None:
    edges = [edge_s for edge_s, _ in Latency().cumulative()]
    assert len(edges) == 20
    assert edges == sorted(edges)
    assert edges[0] == 63e-6
    assert edges[-1] > 30


def test_a_duration_beyond_all_buckets_is_counted() -> None:
    latency = recorded([1e6])
    assert latency.count == 1
    assert all(count == 0 for _, count in latency.cumulative())


@given(DURATIONS, DURATIONS)
def test_two_histograms_add_up_to_the_one_of_both(ours: list[float], theirs: list[float]) -> None:
    added = recorded(ours)
    added.add(recorded(theirs))
    both = recorded(ours + theirs)
    assert list(added.cumulative()) == list(both.cumulative())
    assert added.quantile_ms(0.5) == both.quantile_ms(0.5)


def test_without_calls_there_is_no_quantile() -> None:
    assert Latency().quantile_ms(0.99) is None


def test_made_up_names_are_counted_together_and_cost_nothing() -> None:
    stats = PluginStats()
    stats.announce(["echo"])
    for number in range(10_000):
        stats.of(f"made_up_{number}").ok += 1
    stats.of("echo").ok += 1
    assert {name: method.ok for name, method in stats.methods.items()} == {OTHER: 10_000, "echo": 1}


def test_a_plugin_that_announces_other_methods_with_every_start_is_bounded() -> None:
    stats = PluginStats()
    for start in range(100):
        names = [f"m{start}_{number}" for number in range(50)]
        stats.announce(names)
        for name in names:
            stats.of(name).ok += 1
    assert len(stats.methods) <= MAX_METHODS + 1
    assert stats.total().ok == 5000
    assert stats.methods[OTHER].ok == 5000 - MAX_METHODS


@pytest.mark.parametrize("name", ["x" * (MAX_NAME + 1), OTHER])
def test_a_name_that_is_too_long_or_taken_by_us_is_counted_with_the_others(name: str) -> None:
    stats = PluginStats()
    stats.announce([name])
    stats.of(name).ok += 1
    stats.of("made_up").ok += 1
    assert {name: method.ok for name, method in stats.methods.items()} == {OTHER: 2}


def test_what_was_counted_stays_when_a_method_is_no_longer_announced() -> None:
    stats = PluginStats()
    stats.announce(["old"])
    stats.of("old").ok += 1
    stats.announce(["new"])
    stats.of("old").ok += 1
    assert stats.methods["old"].ok == 2


def test_a_copy_does_not_change_any_more() -> None:
    stats = PluginStats()
    stats.announce(["echo"])
    stats.of("echo").note_error("OB404")
    stats.note_end("signal")
    copy = stats.copy()
    method = stats.of("echo")
    method.note_error("OB404")
    method.in_flight += 1
    method.latency.record(1.0)
    stats.of("made_up").ok += 1
    stats.note_end("signal")
    assert copy.ends == {"signal": 1}
    assert list(copy.methods) == ["echo"]
    seen = copy.methods["echo"]
    assert (seen.errors, seen.in_flight, seen.latency.count) == ({"OB404": 1}, 0, 0)


def test_a_total_is_the_sum_over_methods() -> None:
    stats = PluginStats()
    stats.announce(["a", "b"])
    for name, took in (("a", 0.5), ("b", 1.5)):
        method: CallStats = stats.of(name)
        method.ok += 1
        method.timeout += 2
        method.cancelled += 3
        method.in_flight += 4
        method.note_error("OB404")
        method.latency.record(took)
    total = stats.total()
    assert (total.ok, total.timeout, total.cancelled, total.in_flight, total.error) == (2, 4, 6, 8, 2)
    assert total.errors == {"OB404": 2}
    assert total.latency.total_s == 2.0
