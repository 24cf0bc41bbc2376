"""`outboard events`."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import click
import msgspec

from host.cli.choices import plugin_argument
from host.cli.output import COLOURS, cut, json_option, paint, print_next, socket_option, terminal_width
from host.control.client import Client
from host.observability.escape import escaped

NARROW = 12
WIDE = 24
"""A longer name is cut, on a terminal."""
LONGEST = 64


@click.command()
@plugin_argument(required=False)
@click.option("-f", "--follow", is_flag=True, help="What is, and then what happens, until Ctrl-C.")
@click.option("-n", "--lines", type=click.IntRange(min=0), default=50, show_default=True, help="How many.")
@click.option("--logs", is_flag=True, help="With -f: what plugins log, too.")
@json_option
@socket_option
def events(name: str | None, follow: bool, lines: int, logs: bool, as_json: bool, socket: str) -> None:
    """What has happened: states, failed calls, problems; NAME for one plugin.

    With --json: one object a line, whose key `event` says what it is. With -f the first is a `snapshot`,
    which has all that `status --json` has.
    """
    asked = {"name": name, "follow": follow, "lines": lines, "logs": logs}
    width, widest = NARROW, WIDE if terminal_width() else LONGEST
    with Client(socket) as daemon:
        for batch in daemon.stream("events", asked, reader=1):
            if as_json:
                text = [bytes(item).decode() for item in batch]
            else:
                told = [line for item in batch for line in _lines(msgspec.json.decode(item))]
                width = min(max([width, *(len(line[1]) for line in told)]), widest)
                text = [_shown(line, width) for line in told]
            if text:
                click.echo("\n".join(text))
    if not as_json:
        print_next(f"outboard events {name or ''} -f".replace("  ", " "))


Line = tuple[float, str, str, str]
"""When, who, what, and the rest."""


def _lines(event: dict[str, Any]) -> list[Line]:
    """An event for people; a snapshot has a line for each plugin."""
    kind, at = event["event"], event["at"]
    if kind == "snapshot":
        return [
            (each["since"], each["name"], each["state"], each["reason"] or "") for each in event["plugins"]
        ]
    if kind == "dropped":
        return [(at, "outboard", kind, f"{event['dropped']} events were dropped: this reader was too slow")]
    what = event["state"] if kind == "state" else kind
    rest = (str(event[key]) for key in ("method", "error", "reason", "message") if event.get(key))
    return [(at, event.get("plugin") or "outboard", what, ": ".join(rest))]


def _shown(line: Line, width: int) -> str:
    at, who, what, rest = line
    time = datetime.fromtimestamp(at).strftime("%H:%M:%S")
    colour = COLOURS.get(what, "yellow" if what in ("call", "problem", "dropped") else "bright_black")
    rest = escaped(rest).replace("\n", "\n    ")
    who = paint(cut(who, width).ljust(width), "cyan")
    what = paint(what.ljust(11) if rest else what, colour)
    return f"{paint(time, 'bright_black')} {who}  {what}" + (f"  {rest}" if rest else "")
