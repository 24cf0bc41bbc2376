"""`outboard metrics`."""

from __future__ import annotations

import sys

import click
import msgspec

from host.cli.output import json_option, print_json, socket_option
from host.control.client import Client
from host.observability.escape import escaped


@click.command()
@json_option
@socket_option
def metrics(as_json: bool, socket: str) -> None:
    """What is counted, of the host and of every plugin and method, as OpenMetrics text."""
    with Client(socket) as daemon:
        raw = daemon.ask("metrics", {"format": "json" if as_json else "text"})
    if as_json:
        print_json({"schema": 1, "metrics": raw})
        return
    text = msgspec.json.decode(raw, type=str)
    click.echo(escaped(text) if sys.stdout.isatty() else text, nl=False)
