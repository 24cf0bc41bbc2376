"""`outboard status --watch`: the same picture again and again, also across a restart of the daemon."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

import click

from host.cli.output import COLOURS, cut, paint
from host.errors import DaemonError

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult

Look = Callable[[], dict[str, Any]]
"""Asks for the status. Raises DaemonError while there is no daemon."""
Draw = Callable[[dict[str, Any], int | None], str]
"""The picture, in so many columns."""


def watch(look: Look, draw: Draw, *, every_s: float, as_json: bool) -> NoReturn:
    """Until Ctrl-C."""
    if as_json:
        _json_lines(look, every_s)
    elif sys.stdout.isatty():
        _live(look, draw, every_s)
    else:
        _changes(look, every_s)


def _json_lines(look: Look, every_s: float) -> NoReturn:
    """A status a line; while there is no daemon, one error."""
    import msgspec

    lost = False
    while True:
        try:
            told: Any = look()
            lost = False
        except DaemonError as error:
            told = None if lost else {"ok": False, "error": error.as_dict()}
            lost = True
        if told is not None:
            click.echo(msgspec.json.encode(told).decode())
        time.sleep(every_s)


def _changes(look: Look, every_s: float) -> NoReturn:
    """A line a change, and one for each plugin at the beginning."""
    seen: dict[str, Any] = {}
    lost = False
    while True:
        try:
            now = {plugin["name"]: plugin for plugin in look()["plugins"]}
            lines = [_line(plugin) for name, plugin in now.items() if _what(seen.get(name)) != _what(plugin)]
            lines += [_line({"name": name, "state": "removed", "reason": None}) for name in seen.keys() - now]
            seen, lost = now, False
            if lines:
                click.echo("\n".join(lines))
        except DaemonError as error:
            if not lost:
                click.echo(_waiting(error), err=True)
            seen, lost = {}, True
        time.sleep(every_s)


def _what(plugin: dict[str, Any] | None) -> Any:
    return plugin and (plugin["state"], plugin["reason"], plugin["generation"])


def _line(plugin: dict[str, Any]) -> str:
    at = time.strftime("%H:%M:%S", time.localtime(plugin.get("since") or time.time()))
    return f"{at} {plugin['name']:<12}  {plugin['state']:<11}  {plugin['reason'] or ''}".rstrip()


def _waiting(error: DaemonError) -> str:
    return f"no daemon, waiting: {error.message}"


class _Picture:
    """What is on the screen, drawn anew in whatever size the terminal has by then."""

    def __init__(self, draw: Draw) -> None:
        self._draw = draw
        self.seen: dict[str, Any] | None = None
        self.lost: DaemonError | None = None

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.text import Text

        width, height = options.max_width, options.size.height
        lines = self._draw(self.seen, width).splitlines() if self.seen is not None else []
        if self.lost is not None:
            lines = [paint(cut(_waiting(self.lost), width), COLOURS["backoff"]), "", *lines]
        if len(lines) > height:
            lines = [*lines[: height - 1], f"… {len(lines) - height + 1} more lines"]
        yield Text.from_ansi("\n".join(lines), no_wrap=True, overflow="crop", end="")


def _live(look: Look, draw: Draw, every_s: float) -> NoReturn:
    from rich.console import Console
    from rich.live import Live

    picture = _Picture(draw)
    console = Console(highlight=False)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # and give the screen back
    with Live(picture, console=console, screen=True, redirect_stdout=False, redirect_stderr=False) as live:
        while True:
            try:
                picture.seen, picture.lost = look(), None
            except DaemonError as error:
                picture.lost = error
            live.refresh()
            time.sleep(every_s)
