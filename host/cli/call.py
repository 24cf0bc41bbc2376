"""`outboard call`."""

from __future__ import annotations

import sys
import time

import click
import msgspec

from host.cli import choices
from host.cli.choices import plugin_argument
from host.cli.output import json_option, print_json, print_next, socket_option
from host.control.client import Client
from host.observability.logs import escaped

LONGEST_S = 10_000_000.0
UNTOLD_S = 300.0
"""How long to wait for the daemon when it is the method that says how long it may take."""


@click.command()
@plugin_argument(name="plugin")
@click.argument("method", shell_complete=choices.methods)
@click.argument("arguments", nargs=-1, metavar="[KEY=VALUE]...", shell_complete=choices.parameters)
@click.option("--params", help="All parameters as one JSON object, instead of KEY=VALUE.")
@click.option("--timeout", type=float, help="Seconds, 0 for no limit.  [default: the method's own, or 30]")
@json_option
@socket_option
def call(
    plugin: str,
    method: str,
    arguments: tuple[str, ...],
    params: str | None,
    timeout: float | None,
    as_json: bool,
    socket: str,
) -> None:
    """Call a plugin's METHOD and print its result.

    A VALUE is what the method wants: `n=3` is a number, and a string where it wants a string.
    """
    if timeout is not None and not 0 <= timeout <= LONGEST_S:  # also if it is no number
        raise click.BadParameter(f"a number of seconds, from 0 to {LONGEST_S:.0f}.", param_hint="--timeout")
    asked: dict[str, object] = {"plugin": plugin, "method": method}
    if timeout is not None:
        asked["timeout"] = timeout or None
    if params is not None:
        if arguments:
            raise click.UsageError("Give --params or KEY=VALUE, not both.")
        asked["params"] = _object(params)
    else:
        asked["arguments"] = _pairs(arguments)
    started = time.perf_counter()
    with Client(socket) as daemon:
        patience = UNTOLD_S if timeout is None else timeout or None
        raw = daemon.ask("call", asked, timeout=patience)
    elapsed_ms = round((time.perf_counter() - started) * 1000, 3)
    if as_json:
        print_json({"ok": True, "result": raw, "elapsed_ms": elapsed_ms})
        return
    result = msgspec.json.decode(raw)
    if isinstance(result, str):
        click.echo(escaped(result) if sys.stdout.isatty() else result)
    elif result is not None:
        click.echo(msgspec.json.format(bytes(raw), indent=2).decode())
    print_next(f"outboard status {plugin}")


def _pairs(words: tuple[str, ...]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise click.UsageError(f"`{word}` is not KEY=VALUE.")
        if key in pairs:
            raise click.UsageError(f"`{key}` is given twice.")
        pairs[key] = value
    return pairs


def _object(text: str) -> msgspec.Raw:
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise click.UsageError(f"--params is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise click.UsageError("--params must be a JSON object.")
    return msgspec.Raw(text.encode())
