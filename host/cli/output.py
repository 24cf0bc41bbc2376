"""What commands print: data on stdout, everything else on stderr; JSON whenever it is asked for."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

import click
import msgspec

from host.config.places import default_socket
from host.errors import OutboardError
from host.observability.logs import escaped

COLOURS = {
    "running": "green",
    "degraded": "yellow",
    "starting": "cyan",
    "stopping": "cyan",
    "waiting": "yellow",
    "backoff": "yellow",
    "quarantined": "red",
    "failed": "red",
}


class UsageProblem(OutboardError):
    """The command line cannot be understood."""

    exit_code = 2


def _path(ctx: click.Context, param: click.Parameter, value: str) -> str:
    if not value or not value.isprintable():
        raise click.BadParameter(f"{value!r} is no path for a socket.")
    return value


socket_option = click.option(
    "--socket",
    default=default_socket,
    show_default="the user's own",
    callback=_path,
    help="The daemon's control socket.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def print_json(value: Any) -> None:
    """One value on stdout; indented for a person, on one line for a pipe."""
    data = msgspec.json.encode(value)
    if sys.stdout.isatty():
        data = msgspec.json.format(data, indent=2)
    click.echo(data.decode())


def print_value(raw: msgspec.Raw) -> None:
    """What a call returned: a string as it is, anything else as JSON; null prints nothing."""
    value = msgspec.json.decode(raw)
    if isinstance(value, str):
        click.echo(escaped(value) if sys.stdout.isatty() else value)
    elif value is not None:
        click.echo(msgspec.json.format(bytes(raw), indent=2).decode())


def print_error(error: OutboardError, *, as_json: bool) -> None:
    """Who, what was seen, what to do next."""
    if as_json:
        print_json({"ok": False, "error": error.as_dict()})
        return
    label = paint("error", "red", err=True)
    click.echo(f"{label}[{error.code}]: {escaped(str(error))}", err=True)
    if error.hint:
        click.echo(f"  {paint('hint', 'cyan', err=True)}: {escaped(error.hint)}", err=True)


def print_next(text: str) -> None:
    """The last line of a command: what to type now. Only for a person."""
    if sys.stdout.isatty():
        click.echo(paint(f"next: {text}", "bright_black", err=True), err=True)


def paint(text: str, colour: str | None, *, err: bool = False) -> str:
    """Coloured on a terminal, unless NO_COLOR says otherwise."""
    stream = sys.stderr if err else sys.stdout
    if colour is None or not stream.isatty() or os.environ.get("NO_COLOR"):
        return text
    return click.style(text, fg=colour)


def table(rows: Sequence[Sequence[str]], colours: Sequence[Sequence[str | None]] | None = None) -> str:
    """Columns as wide as their widest cell, two spaces apart; the last one as long as it likes."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for number, row in enumerate(rows):
        cells = []
        for column, cell in enumerate(row):
            padded = cell if column == len(row) - 1 else cell.ljust(widths[column])
            cells.append(paint(padded, colours[number][column] if colours else None))
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def span(seconds: float | None) -> str:
    """ "2h 5m", as a person says it; "-" for None."""
    if seconds is None:
        return "-"
    if seconds < 60:
        return f"{seconds:.0f}s" if seconds >= 10 else f"{seconds:.1f}s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes}m {rest}s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h {minutes}m" if hours < 48 else f"{hours // 24}d {hours % 24}h"


def size(count: int | None) -> str:
    """ "12.3 MiB"; "-" for None."""
    if count is None:
        return "-"
    amount = float(count)
    for unit in ("B", "KiB", "MiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if amount >= 100 or unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} GiB"
