"""`outboard reload`."""

from __future__ import annotations

import click
import msgspec

from host.cli.output import json_option, print_json, print_next, socket_option
from host.control.client import Client
from host.supervision.plan import Plan

LONG_S = 330.0


@click.command()
@click.option("--dry-run", is_flag=True, help="Only say what would change.")
@json_option
@socket_option
def reload(dry_run: bool, as_json: bool, socket: str) -> None:
    """Read the configuration, the plugin folders and the manifests again, and make it so.

    If the configuration has a mistake nothing is changed. A plugin whose manifest cannot be read
    goes on as it was.
    """
    with Client(socket) as daemon:
        raw = daemon.ask("reload", {"dry_run": dry_run}, timeout=LONG_S)
    if as_json:
        print_json(raw)
        return
    plan = msgspec.json.decode(raw, type=Plan)
    for line in plan.lines():
        click.echo(line)
    if dry_run and not plan.is_empty:
        print_next("outboard reload")
    else:
        print_next("outboard status")
