"""`outboard why`: the cause chain of one plugin, for a person who has never seen it."""

from __future__ import annotations

import textwrap
from datetime import datetime
from itertools import groupby
from typing import Any

import click
import msgspec

from host.cli.choices import plugin_argument
from host.cli.output import (
    COLOURS,
    harmless,
    json_option,
    paint,
    print_json,
    print_next,
    socket_option,
    span,
    terminal_width,
    wrapped,
)
from host.control.client import Client

SHOWN_CAUSES = 3
SHOWN_CHANGES = 8
SHOWN_STDERR = 8
SHOWN_DIFFERENCES = 40
SHOWN_STACK = 20


@click.command()
@plugin_argument()
@json_option
@socket_option
def why(name: str, as_json: bool, socket: str) -> None:
    """Why a plugin is as it is: its ends, its last words, its next try, and what to type."""
    with Client(socket) as daemon:
        raw = daemon.ask("why", {"name": name})
    if as_json:
        print_json(raw)
        return
    told = harmless(msgspec.json.decode(raw))
    click.echo(explained(told))
    print_next(told["next"][0])


def explained(told: dict[str, Any]) -> str:
    """The whole answer. `told` is `Why` as JSON decodes it."""
    state = paint(told["state"], COLOURS.get(told["state"]))
    since = f"since {_time(told['since'])}"
    at = "in " if told["state"] == "backoff" else ""
    reason = f": {told['reason']}" if told["reason"] else ""
    width = terminal_width()
    head = wrapped(f"{told['name']} is {at}{told['state']} {since}{reason}", width)
    lines = [head.replace(f" {told['state']} ", f" {state} ", 1)]
    if told["fix"]:
        lines.append(
            wrapped(f"  fix: {told['fix']}", width, indent="    ").replace("fix", paint("fix", "cyan"), 1)
        )
    if told["next_start_in_s"] is not None:
        lines.append(f"  next try by itself: in {span(told['next_start_in_s'])}")
    elif told["expected"] and told["state"] in ("failed", "stopped"):
        lines.append("  nothing is tried by itself")
    if told["causes"]:
        lines += ["", "how it ended, the newest first"]
        groups = [list(group) for _, group in groupby(told["causes"], key=_sameness)]
        for number, group in enumerate(groups[:SHOWN_CAUSES]):
            lines += _causes(told["name"], group, with_stderr=number == 0)
        if len(groups) > SHOWN_CAUSES:
            lines.append(f"  and more before: outboard why {told['name']} --json")
    if told["history"]:
        lines += ["", "what it has been, the newest first"]
        for change in told["history"][:SHOWN_CHANGES]:
            word = paint(f"{change['state']:<11}", COLOURS.get(change["state"]))
            lines.append(f"  {_time(change['at'])}  {word} {_short(change['reason'])}".rstrip())
    lines += ["", "what may help", *(f"  {command}" for command in told["next"])]
    return "\n".join(lines)


def _sameness(cause: dict[str, Any]) -> tuple[str, str]:
    return cause["kind"], cause["text"]


def _causes(name: str, same: list[dict[str, Any]], *, with_stderr: bool) -> list[str]:
    """Ends of one kind, one after the other: the newest in full, the others counted."""
    cause = same[0]
    up = "" if cause["up_s"] is None else f" after {span(cause['up_s'])}"
    killed = ", killed by the host" if cause["killed_by_host"] else ""
    incident = f", incident {cause['incident']}" if cause.get("incident") else ""
    lines = [
        f"  {_time(cause['at'])}  generation {cause['generation']}{up}  {cause['kind']}{killed}{incident}",
        *textwrap.wrap(cause["text"], 74, initial_indent="    ", subsequent_indent="    "),
    ]
    if len(same) > 1:
        times = "once" if len(same) == 2 else f"{len(same) - 1} times"
        when = "at" if len(same) == 2 else "since"
        lines.append(f"    and {times} before in the same way, {when} {_time(same[-1]['at'])}")
    if cause["in_flight"]:
        lines.append(f"    while it worked on {', '.join(cause['in_flight'][:5])}")
    if with_stderr and cause["stack"]:
        lines.append("    where it hung:")
        lines += [f"      {paint(line, 'bright_black')}" for line in cause["stack"][:SHOWN_STACK]]
        if len(cause["stack"]) > SHOWN_STACK:
            lines.append("      and more: --json has all of it")
    elif with_stderr and cause["kind"] == "contract":
        lines.append("    what does not fit:")
        lines += [f"      {paint(line, 'bright_black')}" for line in cause["stderr"][:SHOWN_DIFFERENCES]]
        if (left := len(cause["stderr"]) - SHOWN_DIFFERENCES) > 0:
            lines.append(f"      and {left} more: outboard why {name} --json")
    elif with_stderr and cause["stderr"]:
        lines.append("    its last words:")
        lines += [f"      {paint(line, 'bright_black')}" for line in cause["stderr"][-SHOWN_STDERR:]]
    return lines


def _time(unix_s: float) -> str:
    at = datetime.fromtimestamp(unix_s)
    return at.strftime("%H:%M:%S" if at.date() == datetime.now().date() else "%Y-%m-%d %H:%M")


def _short(reason: str) -> str:
    return reason if len(reason) <= 56 else reason[:55] + "…"
