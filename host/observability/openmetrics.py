"""What is measured, as metric families; and families as the text that monitoring systems read. Pure.

`families` says which metrics there are; docs/reference/metrics.md describes them. `exposition` writes
OpenMetrics 1.0 (https://prometheus.io/docs/specs/om/open_metrics_spec/), or the format that Prometheus had
before, 0.0.4. Plugins choose the names of their methods, so label values are escaped; all else is ours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Literal

import msgspec

from host.observability.metrics import CallStats, Latency, PluginStats
from host.observability.snapshot import PluginStatus, Status

OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
PLAIN = "text/plain; version=0.0.4; charset=utf-8"

Kind = Literal["counter", "gauge", "histogram", "info", "stateset"]
Labels = dict[str, str]


class Sample(msgspec.Struct, frozen=True, gc=False):
    name: str
    labels: Labels
    value: float


class Family(msgspec.Struct, frozen=True):
    """One metric, with all its labels. The name of one that has a unit ends in it."""

    name: str
    type: Kind
    unit: str
    help: str
    samples: list[Sample]


class Measures(msgspec.Struct, frozen=True, kw_only=True):
    """A picture of one moment: nothing in it changes any more, so any thread may look at it."""

    status: Status
    plugins: dict[str, PluginStats]
    loop_lag: Latency
    states: list[str]
    """All that a plugin can be in."""
    serving: list[str]
    """Those of them in which it takes calls."""


def families(measures: Measures) -> list[Family]:
    """Everything there is to tell, in a fixed order."""
    return [*_of_host(measures), *_of_plugins(measures), *_of_calls(measures.plugins)]


# -- which metrics there are -----------------------------------------------------------------------


def _of_host(measures: Measures) -> Iterator[Family]:
    host = measures.status.host
    about = {"version": host.version, "python": host.python, "platform": host.platform, "mode": host.mode}
    yield _family("build", "info", "What runs here.", [("_info", about, 1)])
    yield _family("uptime_seconds", "gauge", "Time since the host began.", [("", {}, host.uptime_s)])
    help = "Manifests, folders and keys of the configuration that cannot be used."
    yield _family("problems", "gauge", help, [("", {}, len(host.problems))])
    help = "How late the host's event loop was, looked at four times a second."
    yield _family("loop_lag_seconds", "histogram", help, _histogram({}, measures.loop_lag))


_READINGS: list[tuple[str, str, Callable[[PluginStatus], float | None]]] = [
    ("expected", "Whether it ought to be running.", lambda plugin: int(plugin.expected)),
    ("generation", "The number of its process; it only rises.", lambda plugin: plugin.generation),
    ("uptime_seconds", "Age of its process.", lambda plugin: plugin.uptime_s),
    ("processes", "Processes in its tree.", lambda plugin: plugin.processes),
    ("memory_bytes", "Memory of its process tree.", lambda plugin: plugin.memory_bytes),
    ("memory_limit_bytes", "The limit for it.", lambda plugin: plugin.memory_limit_bytes),
    ("store_bytes", "What it keeps in its store.", lambda plugin: plugin.store.bytes),
    ("store_keys", "Keys in its store.", lambda plugin: plugin.store.keys),
    (
        "cpu_ratio",
        "Use of processors by its process tree; 1 is one core.",
        lambda plugin: None if plugin.cpu_percent is None else plugin.cpu_percent / 100,
    ),
]
"""Gauges of a plugin, from its line of `status`; None is left out."""


_EVENTS = {
    "published": "Events that it has published.",
    "delivered": "Events that were sent to it.",
    "failed": "Events that were sent to it, and that it could not handle.",
    "dropped": "Events that it was too slow for, or that waited for it when it ended.",
}


def _of_plugins(measures: Measures) -> Iterator[Family]:
    plugins = measures.status.plugins
    about = [({"plugin": p.name, "version": p.version, "start_mode": p.start_mode}, 1) for p in plugins]
    yield _family("plugin", "info", "The plugins.", [("_info", *row) for row in about])
    up = [("", {"plugin": p.name}, int(p.state in measures.serving)) for p in plugins]
    yield _family("plugin_up", "gauge", "Whether it takes calls.", up)
    states = [
        ("", {"plugin": p.name, "outboard_plugin_state": state}, int(p.state == state))
        for p in plugins
        for state in measures.states
    ]
    yield _family("plugin_state", "stateset", "The state it is in.", states)
    for name, help, reading in _READINGS:
        rows = [("", {"plugin": p.name}, v) for p in plugins if (v := reading(p)) is not None]
        yield _family(f"plugin_{name}", "gauge", help, rows)
    restarts = [("_total", {"plugin": p.name}, p.restarts) for p in plugins]
    yield _family("plugin_restarts", "counter", "Restarts after a crash.", restarts)
    ends = [
        ("_total", {"plugin": name, "cause": cause}, count)
        for name, stats in measures.plugins.items()
        for cause, count in stats.ends.items()
    ]
    yield _family("plugin_ends", "counter", "Ends of its processes, by cause.", ends)
    noise = [("_total", {"plugin": name}, stats.noise_bytes) for name, stats in measures.plugins.items()]
    yield _family("plugin_stdout_noise_bytes", "counter", "Text on its stdout that was no frame.", noise)
    dropped = [("_total", {"plugin": n}, stats.dropped_records) for n, stats in measures.plugins.items()]
    for outcome, help in _EVENTS.items():
        counts = [
            ("_total", {"plugin": name}, getattr(stats.events, outcome))
            for name, stats in measures.plugins.items()
        ]
        yield _family(f"plugin_events_{outcome}", "counter", help, counts)
    help = "Log records and lines of its that were dropped, because they were too many at once."
    yield _family("plugin_log_records_dropped", "counter", help, dropped)


def _of_calls(plugins: dict[str, PluginStats]) -> Iterator[Family]:
    methods = [
        ({"plugin": plugin, "method": method}, stats)
        for plugin, of_plugin in plugins.items()
        for method, stats in of_plugin.methods.items()
    ]
    rows = [row for labels, stats in methods for row in _results(labels, stats)]
    yield _family("calls", "counter", "Calls that are over, by what became of them.", rows)
    rows = [("", labels, stats.in_flight) for labels, stats in methods]
    yield _family("calls_in_flight", "gauge", "Calls that wait for their answer.", rows)
    rows = [("_total", labels, stats.replayed) for labels, stats in methods]
    help = "Calls of idempotent methods that were sent again, because the process ended."
    yield _family("calls_replayed", "counter", help, rows)
    rows = [row for labels, stats in methods for row in _histogram(labels, stats.latency)]
    help = "How long calls took that succeeded, with the way there and back."
    yield _family("call_duration_seconds", "histogram", help, rows)


_Row = tuple[str, Labels, float]
"""What a sample's name has after the family's, its labels, and its value."""


def _results(labels: Labels, stats: CallStats) -> Iterator[_Row]:
    for result in ("ok", "timeout", "cancelled"):
        yield "_total", labels | {"result": result, "code": ""}, getattr(stats, result)
    for code, count in stats.errors.items():
        yield "_total", labels | {"result": "error", "code": code}, count


def _histogram(labels: Labels, latency: Latency) -> Iterator[_Row]:
    for edge_s, count in latency.cumulative():
        yield "_bucket", labels | {"le": str(edge_s)}, count
    count = latency.count
    yield "_bucket", labels | {"le": "+Inf"}, count
    yield "_count", labels, count
    yield "_sum", labels, latency.total_s


def _family(name: str, type: Kind, help: str, rows: Iterable[_Row]) -> Family:
    name = f"outboard_{name}"
    unit = next((unit for unit in ("seconds", "bytes", "ratio") if name.endswith(f"_{unit}")), "")
    return Family(name, type, unit, help, [Sample(name + suffix, labels, v) for suffix, labels, v in rows])


# -- how they are written --------------------------------------------------------------------------

_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


def exposition(families: Iterable[Family], content_type: str = OPENMETRICS) -> str:
    """The text, of either `OPENMETRICS` or `PLAIN`."""
    lines: list[str] = []
    for family in families:
        lines += _head(family) if content_type == OPENMETRICS else _plain_head(family)
        lines += [f"{sample.name}{_labels(sample.labels)} {sample.value}" for sample in family.samples]
    if content_type == OPENMETRICS:
        lines.append("# EOF")
    return "\n".join(lines) + "\n"


def _head(family: Family) -> Iterator[str]:
    yield f"# TYPE {family.name} {family.type}"
    if family.unit:
        yield f"# UNIT {family.name} {family.unit}"
    yield f"# HELP {family.name} {family.help}"


def _plain_head(family: Family) -> Iterator[str]:
    """0.0.4 knows neither info nor stateset, no unit, and calls a counter by its sample's name."""
    name = family.name + {"counter": "_total", "info": "_info"}.get(family.type, "")
    yield f"# HELP {name} {family.help}"
    yield f"# TYPE {name} {'gauge' if family.type in ('info', 'stateset') else family.type}"


def _labels(labels: Labels) -> str:
    if not labels:
        return ""
    return "{" + ",".join([f'{name}="{value.translate(_ESCAPES)}"' for name, value in labels.items()]) + "}"
