"""`outboard store`: what a plugin keeps, for who looks after it."""

from __future__ import annotations

from typing import Any

import click
import msgspec

from host.cli.choices import plugin_argument
from host.cli.output import json_option, print_json, socket_option
from host.control.client import Client
from host.errors import UnknownKey
from host.observability.escape import escaped


@click.group()
@click.pass_context
@json_option
@socket_option
def store(ctx: click.Context, as_json: bool, socket: str) -> None:
    """What a plugin keeps in its store, whether it runs or not."""
    assert ctx.invoked_subcommand is not None
    ctx.default_map = {ctx.invoked_subcommand: {"as_json": as_json, "socket": socket}}


@store.command("list")
@plugin_argument()
@click.argument("prefix", required=False, default="")
@json_option
@socket_option
def list_(name: str, prefix: str, as_json: bool, socket: str) -> None:
    """The keys of plugin NAME that begin with PREFIX, one a line."""
    keys: list[str] = []
    more = True
    with Client(socket) as daemon:
        while more:
            asked = {"name": name, "prefix": prefix, "after": keys[-1] if keys else ""}
            page = msgspec.json.decode(daemon.ask("store/list", asked))
            keys += page["keys"]
            more = page["more"]
    if as_json:
        print_json({"ok": True, "name": name, "keys": keys})
    else:
        for key in keys:
            click.echo(escaped(key))


@store.command()
@plugin_argument()
@click.argument("key")
@json_option
@socket_option
def get(name: str, key: str, as_json: bool, socket: str) -> None:
    """The value at KEY of plugin NAME, as JSON."""
    with Client(socket) as daemon:
        entry = msgspec.json.decode(daemon.ask("store/get", {"name": name, "key": key}))
    if not entry["revision"]:
        raise UnknownKey(
            f"`{name}` keeps nothing at `{key}`", hint=f"outboard store list {name}", plugin=name
        )
    if as_json:
        print_json({"ok": True, "name": name, "key": key, **entry})
    else:
        click.echo(msgspec.json.format(msgspec.json.encode(entry["value"])))


@store.command("set")
@plugin_argument()
@click.argument("key")
@click.argument("value")
@json_option
@socket_option
def set_(name: str, key: str, value: str, as_json: bool, socket: str) -> None:
    """Put VALUE, which is JSON or else text, at KEY of plugin NAME. A plugin that runs sees it at once."""
    try:
        decoded: Any = msgspec.json.decode(value)
    except msgspec.DecodeError:
        decoded = value
    _change("store/set", {"name": name, "key": key, "value": decoded}, f"{key} is set", socket, as_json)


@store.command()
@plugin_argument()
@click.argument("key")
@json_option
@socket_option
def delete(name: str, key: str, as_json: bool, socket: str) -> None:
    """Remove what is at KEY of plugin NAME."""
    _change("store/delete", {"name": name, "key": key}, f"{key} is deleted", socket, as_json)


def _change(what: str, asked: dict[str, Any], done: str, socket: str, as_json: bool) -> None:
    with Client(socket) as daemon:
        told = msgspec.json.decode(daemon.ask(what, asked))
    if as_json:
        print_json({"ok": True, "name": asked["name"], "key": asked["key"], **told})
    else:
        click.echo(escaped(done if told.get("deleted", True) else f"{asked['key']} is not there"))
