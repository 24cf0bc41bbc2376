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
from host.observability.escape import escaped

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


NARROWEST = 12
"""A column of a table is not made narrower than this, as long as others can be left out instead."""


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
    try:
        value = msgspec.json.decode(raw)
    except msgspec.DecodeError:  # a number without end: shown as it came
        click.echo(bytes(raw).decode(errors="replace"))
        return
    if isinstance(value, str):
        click.echo(escaped(value) if sys.stdout.isatty() else value, color=True)  # a pipe gets it as it is
    elif value is not None:
        click.echo(msgspec.json.format(bytes(raw), indent=2).decode())


def print_items(items: Sequence[msgspec.Raw], *, as_json: bool) -> None:
    """A line each, in one piece: a string as it is unless all is to be JSON, anything else as JSON."""
    on_terminal = sys.stdout.isatty()

    def line(item: msgspec.Raw) -> str:
        value = msgspec.json.decode(item)
        if isinstance(value, str) and not as_json:
            return escaped(value) if on_terminal else value
        return msgspec.json.encode(value).decode()

    click.echo("\n".join(map(line, items)), color=True)  # a pipe gets them as they are


def harmless(value: Any) -> Any:
    """What the daemon told, with every text in it fit for a terminal: manifests and plugins wrote some."""
    if isinstance(value, str):
        return escaped(value)
    if isinstance(value, list):
        return [harmless(each) for each in value]
    if isinstance(value, dict):
        return {escaped(key): harmless(each) for key, each in value.items()}
    return value


def print_error(error: OutboardError, *, as_json: bool) -> None:
    """Who, what was seen, what to do next."""
    if as_json:
        print_json({"ok": False, "error": error.as_dict()})
        return
    width = terminal_width(err=True)
    text = wrapped(f"error[{error.code}]: {escaped(str(error))}", width)
    click.echo(text.replace("error", paint("error", "red", err=True), 1), err=True)
    if error.hint:
        text = wrapped(f"  hint: {escaped(error.hint)}", width, indent="    ")
        click.echo(text.replace("hint", paint("hint", "cyan", err=True), 1), err=True)


def wrapped(text: str, width: int | None, *, indent: str = "  ") -> str:
    """Its lines, cut between words where they are longer than a terminal is wide; a pipe has no width."""
    if width is None:
        return text

    def fitting(line: str) -> str:
        if len(line) <= width:
            return line
        import textwrap

        return textwrap.fill(
            line, max(20, width), subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
        )

    return "\n".join(map(fitting, text.split("\n")))


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


def terminal_width(*, err: bool = False) -> int | None:
    """Columns of the terminal that stdout (stderr) is; None if it is none, where nothing is ever cut."""
    if not (sys.stderr if err else sys.stdout).isatty():
        return None
    from shutil import get_terminal_size  # a pipe is not asked

    return get_terminal_size().columns


def cut(text: str, width: int | None) -> str:
    """`text` in at most `width` columns, the last of them … if something is missing."""
    if width is None or _columns(text) <= width:
        return text
    while text and _columns(text) > max(0, width - 1):
        text = text[: min(len(text) - 1, width)]
    return text + "…" if width > 0 else ""


def _columns(text: str) -> int:
    if text.isascii():
        return len(text)
    from unicodedata import combining, east_asian_width

    return sum(0 if combining(c) else 2 if east_asian_width(c) in "WF" else 1 for c in text)


def table(
    rows: Sequence[Sequence[str]],
    colours: Sequence[Sequence[str | None]] | None = None,
    *,
    width: int | None = None,
    shrinks: int = 0,
) -> str:
    """Columns as wide as their widest cell, two spaces apart; the last one as long as it likes.

    If that is more than `width`, the column `shrinks` gets narrower; if that is not enough, columns on
    the right are left out.
    """
    widths = [max(_columns(row[column]) for row in rows) for column in range(len(rows[0]))]
    if width is not None:
        while _room(widths, width, shrinks) < min(widths[shrinks], NARROWEST) and len(widths) > shrinks + 1:
            widths.pop()
        widths[shrinks] = max(1, min(widths[shrinks], _room(widths, width, shrinks)))
    lines = []
    for number, row in enumerate(rows):
        cells = []
        for column, wide in enumerate(widths):
            cell = cut(row[column], wide)
            padded = cell if column == len(widths) - 1 else cell + " " * (wide - _columns(cell))
            cells.append(paint(padded, colours[number][column] if colours else None))
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _room(widths: Sequence[int], width: int, column: int) -> int:
    """What is left for `column` beside the others."""
    return width - sum(widths) + widths[column] - 2 * (len(widths) - 1)


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
