"""The text, read by the parser that monitoring systems have."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import parser as plain_parser
from prometheus_client.openmetrics import parser

from host.observability.metrics import MAX_NAME, Latency, PluginStats
from host.observability.openmetrics import OPENMETRICS, PLAIN, Measures, exposition, families
from host.observability.snapshot import HostStatus, PluginStatus, Status, StoreStatus, WarmStart
from host.supervision.states import SERVING, State

HOST = HostStatus(
    pid=1,
    version='0.1"',
    uptime_s=12.5,
    socket=None,
    metrics_url=None,
    mode="daemon",
    warm_start=WarmStart(state="off", pid=None, reason=None),
    descendants_after_host_death="none",
    cgroup="none",
    loop_lag_p99_ms=None,
    python="3.11",
    platform="linux",
    problems=["one"],
)
WHAT_COUNTS: dict[str, Any] = {
    "name": "echo",
    "version": "1.0",
    "state": "running",
    "generation": 3,
    "uptime_s": 4.5,
    "restarts": 2,
    "cpu_percent": 150.0,
    "memory_bytes": 1000,
    "memory_limit_bytes": None,
    "processes": 2,
    "start_mode": "eager",
    "expected": True,
}
"""Of a plugin's line of `status`."""
NASTY = [
    'quo"te',
    "back\\slash",
    "new\nline",
    "\\n",
    "{a=b}",
    "# EOF",
    "\x1b[31m",
    "\u00fc\u4e16\U0001f600",
    " ",
]


def plugin(name: str = "echo", **changes: Any) -> PluginStatus:
    unread: dict[str, Any] = dict.fromkeys(PluginStatus.__struct_fields__)
    store = StoreStatus(keys=2, bytes=300, limit_bytes=None, set_aside=None)
    return PluginStatus(**unread | WHAT_COUNTS | {"name": name, "store": store} | changes)


def measures(plugins: list[PluginStatus], stats: dict[str, PluginStats]) -> Measures:
    return Measures(
        status=Status(host=HOST, plugins=plugins),
        plugins=stats,
        loop_lag=Latency(),
        states=list(State),
        serving=list(SERVING),
    )


def called(*methods: str) -> PluginStats:
    stats = PluginStats()
    stats.announce(methods)
    for number, method in enumerate(methods):
        one = stats.of(method)
        one.ok += 1
        one.latency.record(0.001 * (number + 1))
        one.note_error("OB404")
    return stats


def read(given: Measures) -> dict[str, Any]:
    text = exposition(families(given))
    return {family.name: family for family in parser.text_string_to_metric_families(text)}


def values(family: Any, suffix: str = "") -> dict[tuple[str, ...], float]:
    """Values by the labels' values, of the samples whose name ends in `suffix`."""
    return {tuple(s.labels.values()): s.value for s in family.samples if s.name == family.name + suffix}


def test_every_metric_is_of_the_type_and_unit_that_its_name_says() -> None:
    seen = read(measures([plugin()], {"echo": called("echo")}))
    assert {name: family.type for name, family in seen.items()} == {
        "outboard_build": "info",
        "outboard_uptime_seconds": "gauge",
        "outboard_problems": "gauge",
        "outboard_loop_lag_seconds": "histogram",
        "outboard_plugin": "info",
        "outboard_plugin_up": "gauge",
        "outboard_plugin_state": "stateset",
        "outboard_plugin_expected": "gauge",
        "outboard_plugin_generation": "gauge",
        "outboard_plugin_uptime_seconds": "gauge",
        "outboard_plugin_processes": "gauge",
        "outboard_plugin_memory_bytes": "gauge",
        "outboard_plugin_memory_limit_bytes": "gauge",
        "outboard_plugin_cpu_ratio": "gauge",
        "outboard_plugin_restarts": "counter",
        "outboard_plugin_ends": "counter",
        "outboard_plugin_stdout_noise_bytes": "counter",
        "outboard_plugin_log_records_dropped": "counter",
        "outboard_plugin_store_bytes": "gauge",
        "outboard_plugin_store_keys": "gauge",
        "outboard_plugin_events_published": "counter",
        "outboard_plugin_events_delivered": "counter",
        "outboard_plugin_events_failed": "counter",
        "outboard_plugin_events_dropped": "counter",
        "outboard_calls": "counter",
        "outboard_calls_in_flight": "gauge",
        "outboard_calls_replayed": "counter",
        "outboard_call_duration_seconds": "histogram",
    }
    units = {"seconds", "bytes", "ratio"}
    for name, family in seen.items():
        last = name.rsplit("_", 1)[1]
        assert family.unit == (last if last in units else "")
        assert family.documentation


def test_a_plugin_is_in_one_state_and_unknown_readings_are_left_out() -> None:
    seen = read(measures([plugin(state="backoff", cpu_percent=None)], {"echo": PluginStats()}))
    states = {labels[1]: value for labels, value in values(seen["outboard_plugin_state"]).items()}
    assert set(states) == set(State)
    assert [state for state, value in states.items() if value] == ["backoff"]
    assert values(seen["outboard_plugin_up"]) == {("echo",): 0}
    assert values(seen["outboard_plugin_memory_bytes"]) == {("echo",): 1000}
    assert not seen["outboard_plugin_memory_limit_bytes"].samples
    assert not seen["outboard_plugin_cpu_ratio"].samples


def test_calls_are_told_apart_by_method_result_and_code() -> None:
    stats = called("echo")
    stats.of("echo").timeout += 2
    stats.of("echo").cancelled += 3
    seen = read(measures([plugin()], {"echo": stats}))
    assert values(seen["outboard_calls"], "_total") == {
        ("echo", "echo", "ok", ""): 1,
        ("echo", "echo", "timeout", ""): 2,
        ("echo", "echo", "cancelled", ""): 3,
        ("echo", "echo", "error", "OB404"): 1,
    }


def test_a_histogram_has_its_exact_sum_and_cumulative_buckets() -> None:
    stats = PluginStats()
    stats.announce(["echo"])
    for seconds in (0.0001, 0.3, 0.3, 100.0):
        stats.of("echo").latency.record(seconds)
    family = read(measures([plugin()], {"echo": stats}))["outboard_call_duration_seconds"]
    buckets = [(s.labels["le"], s.value) for s in family.samples if s.name.endswith("_bucket")]
    assert values(family, "_sum") == {("echo", "echo"): 0.0001 + 0.3 + 0.3 + 100.0}
    assert values(family, "_count") == {("echo", "echo"): 4}
    assert buckets[-1] == ("+Inf", 4)
    assert [count for _, count in buckets] == sorted(count for _, count in buckets)
    assert dict(buckets)["0.262143"] == 1
    assert dict(buckets)["0.524287"] == 3


def test_names_that_plugins_choose_come_back_as_they_were() -> None:
    seen = read(measures([plugin()], {"echo": called(*NASTY)}))
    assert {labels[1] for labels in values(seen["outboard_calls"], "_total")} == set(NASTY)
    assert {labels[1] for labels in values(seen["outboard_call_duration_seconds"], "_count")} == set(NASTY)


@given(
    st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=MAX_NAME), unique=True, max_size=5)
)
def test_no_name_breaks_the_text(names: list[str]) -> None:
    seen = read(measures([plugin()], {"echo": called(*names)}))
    assert {labels[1] for labels in values(seen["outboard_calls_in_flight"])} == set(names)


def test_the_older_format_has_the_same_samples() -> None:
    everything = families(
        measures([plugin(), plugin("other")], {"echo": called(*NASTY), "other": called("a")})
    )
    older = exposition(everything, PLAIN)
    comments = [line for line in older.splitlines() if line.startswith("#")]
    assert all(line.startswith(("# HELP ", "# TYPE ")) for line in comments)
    seen = [s for family in plain_parser.text_string_to_metric_families(older) for s in family.samples]
    newer = parser.text_string_to_metric_families(exposition(everything, OPENMETRICS))
    assert [(s.name, s.labels, s.value) for s in seen] == [
        (s.name, s.labels, s.value) for family in newer for s in family.samples
    ]
    types = {family.type for family in plain_parser.text_string_to_metric_families(older)}
    assert types == {"counter", "gauge", "histogram"}


def test_a_host_without_plugins_has_metrics_too() -> None:
    assert values(read(measures([], {}))["outboard_problems"]) == {(): 1}


@pytest.mark.parametrize("content_type", [OPENMETRICS, PLAIN])
def test_the_text_ends_in_a_newline(content_type: str) -> None:
    assert exposition(families(measures([], {})), content_type).endswith("\n")
