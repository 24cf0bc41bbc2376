"""`outboard config`: what holds, who says so, and changing it while the daemon runs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import click
import msgspec

from host.cli.output import json_option, paint, print_json, print_next, socket_option, terminal_width
from host.config.words import parse_key, parse_value, written
from host.control.client import Client
from host.errors import ConfigError, DaemonError, UnknownKey
from host.observability.escape import escaped
from protocol.contract import nearest

LONG_S = 330.0
"""A plugin that is restarted by a change may take its time."""


def _key(ctx: click.Context, param: click.Parameter, value: str) -> str:
    try:
        parse_key(value)
    except ValueError as mistake:
        raise click.BadParameter(str(mistake)) from None
    return value


key_argument = click.argument("key", callback=_key)
dry_run_option = click.option("--dry-run", is_flag=True, help="Only say what would change.")


@click.group()
@click.pass_context
@json_option
@socket_option
def config(ctx: click.Context, as_json: bool, socket: str) -> None:
    """What holds, who says so, and changing it.

    A key is a dotted path, like plugins.NAME.settings.KEY.
    """
    assert ctx.invoked_subcommand is not None
    ctx.default_map = {ctx.invoked_subcommand: {"as_json": as_json, "socket": socket}}


@config.command()
@click.argument("prefix", required=False, default="")
@click.option("--origin", is_flag=True, help="Also who says so: the layer, the file and the line.")
@click.option("--all", "everything", is_flag=True, help="Also what is built in.")
@json_option
@socket_option
def show(prefix: str, origin: bool, everything: bool, as_json: bool, socket: str) -> None:
    """Every key that somebody has set, at and below PREFIX, as TOML.

    With a PREFIX also the settings that are a plugin's own defaults.
    """
    rows = _rows(socket, prefix)
    if not everything:
        hidden = ("built-in",) if prefix else ("built-in", "plugin")
        rows = [row for row in rows if row["layer"] not in hidden]
    if as_json:
        print_json(rows)
        return
    _print_rows(rows, origin=origin)


@config.command()
@key_argument
@click.option("--origin", is_flag=True, help="Also who says so.")
@json_option
@socket_option
def get(key: str, origin: bool, as_json: bool, socket: str) -> None:
    """What holds at KEY: a text as it is, everything else as TOML."""
    rows = _rows(socket, key)
    if not rows:
        close = nearest(key, [row["key"] for row in _rows(socket, "")])
        hint = f"did you mean {close}?" if close else "outboard config show --all lists the keys"
        raise UnknownKey(f"{key} is not configured", hint=hint)
    own = next((row for row in rows if parse_key(row["key"]) == parse_key(key)), None)
    if as_json:
        print_json(own if own is not None else rows)
    elif own is not None:
        value = own["value"]
        click.echo(escaped(value) if isinstance(value, str) else written(value))
        if origin:
            click.echo(f"# {_origin(own)}")
    else:
        _print_rows(rows, origin=origin)


def _print_rows(rows: list[dict[str, Any]], *, origin: bool) -> None:
    width = terminal_width()
    for row in rows:
        line = f"{row['key']} = {written(row['value'])}"
        said = f"  # {_origin(row)}" if origin else ""
        if width is not None and len(line) + len(said) > width:  # nothing of either is cut off
            said = f"\n  # {_origin(row)}"
        click.echo(escaped(line) + (paint(said, "bright_black") if origin else ""))


@config.command("set")
@key_argument
@click.argument("value")
@dry_run_option
@json_option
@socket_option
def set_(key: str, value: str, dry_run: bool, as_json: bool, socket: str) -> None:
    """Make VALUE hold at KEY, from now on and under later daemons.

    VALUE is TOML, else text. The whole configuration is checked first, by the plugin too; on any problem
    nothing is changed. It is written into a file of the daemon's own, never into yours.
    """
    _change({"set": {key: parse_value(value)}, "dry_run": dry_run}, as_json=as_json, socket=socket, key=key)


@config.command()
@key_argument
@dry_run_option
@json_option
@socket_option
def unset(key: str, dry_run: bool, as_json: bool, socket: str) -> None:
    """Take back what `config set` has set at KEY, or below it."""
    _change({"unset": [key], "dry_run": dry_run}, as_json=as_json, socket=socket, key=key)


@config.command()
@click.argument("file", required=False, type=click.Path(dir_okay=False))
@json_option
@socket_option
def validate(file: str | None, as_json: bool, socket: str) -> None:
    """Whether the configuration could be used as it is now. Changes nothing.

    Of the running daemon, plugins included; without one, or for FILE in the place of --config, the files
    alone.
    """
    plan: dict[str, Any] | None = None
    if file is None:
        try:
            with Client(socket) as daemon:
                plan = msgspec.json.decode(daemon.ask("reload", {"dry_run": True}, timeout=LONG_S))
        except DaemonError:
            pass
    if plan is None:
        _check_files(file, socket)
    problems: Sequence[str] = plan["problems"] if plan is not None else []
    if problems:
        raise ConfigError(problems, hint="fix the files; nothing was changed")
    if as_json:
        print_json({"ok": True})
    else:
        click.echo("the configuration is valid")


@config.command()
@json_option
@socket_option
def schema(as_json: bool, socket: str) -> None:
    """JSON Schema of an outboard.toml, for editors.

    Save it, and write `#:schema outboard.schema.json` into the first line of the file. With a daemon it
    has the settings of its plugins.
    """
    try:
        with Client(socket) as daemon:
            found = msgspec.json.decode(daemon.ask("config/schema"))
    except DaemonError:
        from host.config.json_schema import json_schema

        found = json_schema({})
    if as_json:
        print_json(found)
    else:
        click.echo(msgspec.json.format(msgspec.json.encode(found), indent=2).decode())


def _rows(socket: str, prefix: str) -> list[dict[str, Any]]:
    with Client(socket) as daemon:
        rows: list[dict[str, Any]] = msgspec.json.decode(daemon.ask("config/show", {"prefix": prefix}))
    return rows


def _origin(row: dict[str, Any]) -> str:
    place = row["file"] if row["line"] is None else f"{row['file']}:{row['line']}"
    by = row["by"] and f"by the {row['by']}"
    return escaped(" ".join(part for part in (row["layer"], place, by) if part))


def _change(params: dict[str, Any], *, as_json: bool, socket: str, key: str) -> None:
    from host.supervision.plan import Plan

    with Client(socket) as daemon:
        raw = daemon.ask("config/set", params, timeout=LONG_S)
    if as_json:
        print_json(raw)
        return
    for line in msgspec.json.decode(raw, type=Plan).lines():
        click.echo(line)
    print_next(f"outboard config get {key} --origin")


def _check_files(file: str | None, socket: str) -> None:
    """Raises ConfigError."""
    from host.config.load import daemon_layers
    from host.config.places import overrides_file, places

    whose = os.environ, os.getuid()
    daemon_layers(
        os.environ,
        configuration=places(*whose).configuration,
        config=file,
        overrides=overrides_file(*whose, socket),
    ).load()
