"""`outboard call`."""

from __future__ import annotations

import os
import time

import click

from host.cli import choices
from host.cli.choices import plugin_argument
from host.cli.output import json_option, print_items, print_json, print_next, print_value, socket_option
from host.cli.params import arguments_argument, asked, params_option
from host.cli.progress import Bar, wants_bar
from host.control.client import Client

UNTOLD_S = 300.0
"""How long to wait for the daemon when it is the method that says how long it may take."""


@click.command()
@plugin_argument(name="plugin")
@click.argument("method", shell_complete=choices.methods)
@arguments_argument(shell_complete=choices.parameters)
@params_option
@click.option("--timeout", type=float, help="Seconds, 0 for no limit.  [default: the method's own, or 30]")
@click.option("--stream", "as_stream", is_flag=True, help="METHOD answers in items: print each as it comes.")
@json_option
@socket_option
def call(
    plugin: str,
    method: str,
    arguments: tuple[str, ...],
    params: str | None,
    timeout: float | None,
    as_stream: bool,
    as_json: bool,
    socket: str,
) -> None:
    """Call a plugin's METHOD and print its result.

    A VALUE is what the method wants: `n=3` is a number, and a string where it wants a string.

    With --stream each item is a line: a string as it is, anything else as JSON; with --json all as JSON.
    Ctrl-C, and the end of whoever reads the lines, end the stream in the plugin too.
    """
    request = {"plugin": plugin, "method": method, **asked(arguments, params, timeout)}
    for name in ("traceparent", "tracestate"):  # by convention, whoever starts a program hands them on so
        if said := os.environ.get(name.upper()):
            request[name] = said
    started = time.perf_counter()
    patience = UNTOLD_S if timeout is None else timeout or None
    with Client(socket) as daemon, Bar() as bar:
        if as_stream:
            for items in daemon.items("call/stream", request, timeout=patience, reader=1):
                print_items(items, as_json=as_json)
            return
        on_progress = bar.show if wants_bar() and not as_json else None
        raw = daemon.ask("call", request, timeout=patience, on_progress=on_progress)
    elapsed_ms = round((time.perf_counter() - started) * 1000, 3)
    if as_json:
        print_json({"ok": True, "result": raw, "elapsed_ms": elapsed_ms})
        return
    print_value(raw)
    print_next(f"outboard status {plugin}")
