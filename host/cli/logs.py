"""`outboard logs`."""

from __future__ import annotations

from datetime import datetime

import click
import msgspec

from host.cli.output import json_option, paint, socket_option
from host.control.client import Client
from host.observability.logs import LogLine

_COLOURS = {"warning": "yellow", "error": "red", "critical": "red", "debug": "bright_black"}


@click.command()
@click.argument("name", required=False)
@click.option(
    "-n",
    "--lines",
    type=click.IntRange(min=0),
    default=50,
    show_default=True,
    help="How many, counted from the end.",
)
@json_option
@socket_option
def logs(name: str | None, lines: int, as_json: bool, socket: str) -> None:
    """What plugins said, and what became of them; NAME for one of them.

    With --json: one record a line, as in the daemon's log file.
    """
    with Client(socket) as daemon:
        raw = daemon.ask("logs", {"name": name, "lines": lines})
    for line in msgspec.json.decode(raw, type=list[LogLine]):
        if as_json:
            click.echo(msgspec.json.encode(line).decode())
            continue
        at = datetime.fromisoformat(line.time).astimezone().strftime("%H:%M:%S.%f")[:-3]
        level = paint(f"{line.level:<7}", _COLOURS.get(line.level))
        who = paint(line.plugin or "outboard", "cyan")
        message = line.message.replace("\n", "\n    ")
        click.echo(f"{paint(at, 'bright_black')} {level} {who} {message}")
