"""`outboard logs`."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import click
import msgspec

from host.cli.choices import Word, plugin_argument
from host.cli.output import json_option, paint, print_next, socket_option
from host.control.client import Client
from host.errors import DaemonError
from host.observability.escape import escaped
from host.observability.logs import LEVELS, LogLine

_COLOURS = {"warning": "yellow", "error": "red", "critical": "red", "debug": "bright_black"}
_SPANS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SPAN = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)(ms|[smhd])")


def _moment(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    """Unix seconds of how long ago, or of a date and time, which is local unless it says where."""
    if value is None:
        return None
    if found := _SPAN.fullmatch(value.strip()):
        return max(0.0, time.time() - float(found.group(1)) * _SPANS[found.group(2)])
    try:
        return max(0.0, datetime.fromisoformat(value.strip()).timestamp())
    except (ValueError, OverflowError):
        raise click.BadParameter(f"{value!r} is no time: 90s, 10m, 2h, 1d, or 2026-01-31T12:00.") from None


@click.command()
@plugin_argument(required=False)
@click.option("-n", "--lines", type=click.IntRange(min=0), help="The last so many.  [default: 50]")
@click.option("-f", "--follow", is_flag=True, help="And then what comes, until Ctrl-C.")
@click.option("--since", callback=_moment, help="From then on, also from files: 90s, 10m, 2h, 1d, or a date.")
@click.option("--level", type=Word(list(LEVELS)), default="debug", help="These, and what is worse.")
@json_option
@socket_option
def logs(
    name: str | None,
    lines: int | None,
    follow: bool,
    since: float | None,
    level: str,
    as_json: bool,
    socket: str,
) -> None:
    """What plugins said, and what became of them; NAME for one of them.

    Without --since from the daemon's memory. With --json: one record a line, as in the daemon's log file.
    """
    asked = {"name": name, "lines": lines, "since": since, "level": level, "follow": follow}
    then = f"outboard logs {name or ''} -f".replace("  ", " ")
    try:
        with Client(socket) as daemon:
            for batch in daemon.stream("logs", asked, reader=1):
                _show([msgspec.json.decode(item, type=LogLine) for item in batch], as_json=as_json)
    except DaemonError as error:
        if since is None or not error.message.startswith("no daemon"):
            raise
        for found in _from_files(asked, socket, error):
            _show(found, as_json=as_json)
        if follow:
            raise
        then = "outboard run --plugins FOLDER"
    if not as_json:
        print_next(then)


def _from_files(asked: dict[str, Any], socket: str, error: DaemonError) -> Iterator[list[LogLine]]:
    """What the daemon would have read, had it been there."""
    from host.config.places import log_file
    from host.control.tail import Tail, from_files

    file = log_file(os.environ, os.getuid(), socket)
    click.echo(f"{error.message}; reading {file}", err=True)
    return from_files(msgspec.convert(asked, Tail), file)


def _show(lines: list[LogLine], *, as_json: bool) -> None:
    if not lines:
        return
    click.echo("\n".join(msgspec.json.encode(line).decode() if as_json else _shown(line) for line in lines))


def _shown(line: LogLine) -> str:
    at = datetime.fromisoformat(line.time).astimezone().strftime("%H:%M:%S.%f")[:-3]
    level = paint(f"{escaped(line.level):<7}", _COLOURS.get(line.level))
    who = paint(escaped(line.plugin or "outboard"), "cyan")
    return f"{paint(at, 'bright_black')} {level} {who} " + escaped(line.message).replace("\n", "\n    ")
