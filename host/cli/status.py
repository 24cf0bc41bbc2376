"""`outboard status`."""

from __future__ import annotations

import math
import sys
import textwrap
import time
from collections.abc import Sequence
from typing import Any

import click
import msgspec

from host.cli.choices import plugin_argument
from host.cli.output import (
    COLOURS,
    cut,
    harmless,
    json_option,
    paint,
    print_json,
    print_next,
    size,
    socket_option,
    span,
    table,
    terminal_width,
)
from host.control.client import Client

SERVING = ("running", "degraded")
NAME_BEFORE_REASON = 24
"""Columns of a name on a terminal, where a reason is to have room behind it."""


@click.command()
@plugin_argument(required=False)
@click.option("-w", "--watch", is_flag=True, help="Again and again, until Ctrl-C.")
@click.option(
    "-n",
    "--every",
    type=click.FloatRange(min=0.1, max=86400.0),
    default=2.0,
    show_default=True,
    help="With --watch: seconds.",
)
@json_option
@socket_option
def status(name: str | None, watch: bool, every: float, as_json: bool, socket: str) -> None:
    """What runs, what does not, and why. NAME shows one plugin in full.

    Exits with 3 if a plugin that ought to be running is not. With --watch in a pipe: one line a change.
    """

    def look() -> Any:
        with Client(socket) as daemon:
            return msgspec.json.decode(daemon.ask("status", {"name": name}))

    if watch:
        from host.cli.watch import watch as watch_it

        if not every < math.inf:
            raise click.BadParameter("a number of seconds.", param_hint="--every")
        watch_it(
            look if as_json else lambda: harmless(look()),
            overview if name is None else _one_of,
            every_s=every,
            as_json=as_json,
        )
    seen = look()
    down = [plugin for plugin in seen["plugins"] if is_down(plugin)]
    if as_json:
        print_json(seen)
    elif name is not None:
        click.echo(one(harmless(seen)["plugins"][0]))
    else:
        click.echo(overview(harmless(seen), terminal_width()))
    if not as_json:
        if down:
            print_next(f"outboard why {down[0]['name']}")
        elif name is None and seen["host"]["problems"]:
            print_next("outboard doctor")
        elif name is not None:
            print_next(f"outboard call {name} {(seen['plugins'][0]['methods'] or ['METHOD'])[0]} KEY=VALUE")
        elif seen["plugins"]:
            print_next(f"outboard status {seen['plugins'][0]['name']}")
        else:
            print_next("outboard add PATH")
    sys.exit(3 if down else 0)


def is_down(plugin: dict[str, Any]) -> bool:
    """Whether it ought to run and does not; one that has just crashed has to stay up to be believed."""
    return plugin["expected"] and (plugin["state"] not in SERVING or plugin["substate"] == "probation")


def overview(seen: dict[str, Any], width: int | None = None) -> str:
    """All plugins, a line each, and below the table the reasons that need more room.

    In `width` columns, if there is such a limit: no line is longer, and what had to be cut ends with ….
    """
    host, plugins = seen["host"], seen["plugins"]
    running = sum(plugin["state"] in SERVING for plugin in plugins)
    facts = [f"outboard {host['version']}", f"pid {host['pid']}", f"up {span(host['uptime_s'])}"]
    facts.append(f"{running} of {len(plugins)} running")
    if host["problems"]:  # or all would seem to be well: what cannot be used has no line in the table
        facts.append("1 problem" if len(host["problems"]) == 1 else f"{len(host['problems'])} problems")
    lines = [cut("  ".join(facts), width)]
    if plugins:
        rows = [["", "PLUGIN", "STATE", "UP", "MEMORY", "CALLS", "ERRORS", "RESTARTS", "P50"]]
        colours: list[list[str | None]] = [["bright_black"] * 9]
        for plugin in plugins:
            calls, p50 = plugin["calls"], plugin["latency_ms"]["p50"]
            failed = calls["error"] + calls["timeout"]
            colour = COLOURS.get(plugin["state"], "bright_black")
            rows.append(
                [
                    "●" if plugin["state"] in SERVING else "○",
                    plugin["name"],
                    plugin["state"],
                    span(plugin["uptime_s"]),
                    size(plugin["memory_bytes"]),
                    str(calls["ok"]),
                    str(failed),
                    str(plugin["restarts"]),
                    "-" if p50 is None else f"{p50:.2f} ms",
                ]
            )
            colours.append([colour, None, colour, None, None, None, "red" if failed else None, None, None])
        lines += ["", table(rows, colours, width=width, shrinks=1)]
    widest = None if width is None else NAME_BEFORE_REASON
    names = [cut(plugin["name"], widest) for plugin in plugins]
    reasons = [
        f"{name}: {each['reason']}" for name, each in zip(names, plugins, strict=True) if each["reason"]
    ]
    notes = [f"{name}: {each['note']}" for name, each in zip(names, plugins, strict=True) if each["note"]]
    for extra in (reasons, notes):
        if extra:
            lines += ["", *(_fitting(text, width) for text in extra)]
    if host["problems"]:
        lines += ["", "cannot be used", *(paint(line, "red") for line in _wrapped(host["problems"], width))]
    return "\n".join(lines)


def _wrapped(texts: Sequence[str], width: int | None) -> list[str]:
    """Whole: what is at the end of a problem says what to do about it."""
    if width is None:
        return list(texts)
    lines = [
        line
        for text in texts
        for line in textwrap.wrap(text, max(width, 10), initial_indent="  ", subsequent_indent="    ")
    ]
    return [cut(line, width) for line in lines]


def _fitting(text: str, width: int | None) -> str:
    return text if width is None else cut(" ".join(text.split()), width)


def _process(plugin: dict[str, Any]) -> str:
    if not plugin["pid"]:
        return "-"
    how = ", warm start" if plugin["start"] == "warm" else ""
    return f"pid {plugin['pid']}, generation {plugin['generation']}{how}"


def _one_of(seen: dict[str, Any], width: int | None) -> str:
    return one(seen["plugins"][0])


def one(plugin: dict[str, Any]) -> str:
    """Everything about one plugin, a fact a line."""
    calls, latency, last = plugin["calls"], plugin["latency_ms"], plugin["last_exit"]
    state = paint(plugin["state"], COLOURS.get(plugin["state"]))
    counts = f"{calls['ok']} ok, {calls['error']} errors, {calls['timeout']} late"
    p50, p99 = latency["p50"], latency["p99"]
    facts = [
        ("state", state + (f": {plugin['reason']}" if plugin["reason"] else "")),
        ("version", plugin["version"]),
        ("about", plugin["description"] or "-"),
        ("file", plugin["file"]),
        *_installed(plugin["installed"]),
        ("process", _process(plugin)),
        ("up", span(plugin["uptime_s"])),
        ("memory", f"{size(plugin['memory_bytes'])} of {size(plugin['memory_limit_bytes'])}"),
        ("cpu", _amount(plugin["cpu_percent"], "percent")),
        ("calls", f"{counts}, {calls['in_flight']} in flight"),
        ("latency", "-" if p50 is None else f"p50 {p50:.2f} ms, p99 {p99:.2f} ms"),
        ("restarts", str(plugin["restarts"])),
        ("methods", ", ".join(plugin["methods"]) or "-"),
    ]
    if plugin["hooks"]:
        facts.append(("hooks", ", ".join(plugin["hooks"])))
    if store := _store(plugin["store"]):
        facts.append(("store", store))
    if any(plugin["events"].values()):
        facts.append(("events", ", ".join(f"{count} {what}" for what, count in plugin["events"].items())))
    if plugin["next_start_in_s"] is not None:
        facts.append(("next try", f"in {span(plugin['next_start_in_s'])}"))
    if last is not None:
        facts.append(("last end", last["cause"]))
    if plugin["note"]:
        facts.append(("note", plugin["note"]))
    if plugin["stdout_noise_bytes"]:
        facts.append(("noise", f"{size(plugin['stdout_noise_bytes'])} on stdout that were no frames"))
    lines = [plugin["name"], *(f"  {name:<9} {value}" for name, value in facts)]
    lines += [f"  {line}" for line in _limits(plugin["limits"]).splitlines()]
    if plugin["stderr_tail"]:
        lines += ["  stderr", *(f"    {line}" for line in plugin["stderr_tail"][-10:])]
    return "\n".join(lines)


def _installed(installed: dict[str, Any] | None) -> list[tuple[str, str]]:
    if installed is None:
        return []
    at = time.strftime("%Y-%m-%d %H:%M", time.localtime(installed["at"]))
    return [("from", f"{installed['source']}, {at}"), ("sha256", installed["sha256"])]


def _store(store: dict[str, Any]) -> str:
    """Nothing for one in which nothing is."""
    keys = store["keys"]
    many = f"{keys} key{'' if keys == 1 else 's'}, {size(store['bytes'])} of {size(store['limit_bytes'])}"
    if store["set_aside"]:
        return f"{many}; it was damaged, and begun anew: see {store['set_aside']}"
    return many if keys else ""


def _limits(limits: list[dict[str, Any]]) -> str:
    rows = [["limits", "USED", "PEAK", "SOFT", "HARD", "KEPT BY"]]
    for limit in limits:
        amounts = [_amount(limit[key], limit["unit"]) for key in ("usage", "peak", "soft", "hard")]
        rows.append([f"  {limit['name']}", *amounts, limit["mechanism"] or "-"])
    return table(rows)


def _amount(value: float | None, unit: str) -> str:
    if value is None:
        return "-"
    if unit == "bytes":
        return size(int(value))
    return f"{value:.0f} %" if unit == "percent" else f"{value:.0f}"
