"""One word, one plugin, and what has become of it: `start`, `stop`, `disable` and the like; and `add`."""

from __future__ import annotations

import os

import click
import msgspec

from host.cli.choices import plugin_argument
from host.cli.output import json_option, print_json, print_next, socket_option
from host.control.client import Client
from host.errors import ManifestError

LONG_S = 330.0
"""A start may be extended to 300 s."""


def _verb(word: str, help: str, *, done: str, then: str, unchanged: str = "") -> click.Command:
    """A command of the control socket that takes a name; `then` is what to type next.

    A daemon that answers whether anything has changed has `unchanged` said if nothing has.
    """

    @click.command(word, help=help)
    @plugin_argument()
    @json_option
    @socket_option
    def command(name: str, as_json: bool, socket: str) -> None:
        with Client(socket) as daemon:
            told = msgspec.json.decode(daemon.ask(word, {"name": name}, timeout=LONG_S)) or {}
        became = done if told.get("changed", True) else unchanged.format(**told)
        more = {key: told[key] for key in ("changed",) if key in told}
        _print_done(name, became, as_json=as_json, then=then.format(name=name), **more)

    return command


start = _verb(
    "start",
    "Start a plugin, also one that is quarantined or has failed, and wait until it runs.",
    done="runs",
    then="outboard status {name}",
)
stop = _verb(
    "stop",
    "Stop a plugin, and wait until its process is gone. It stays stopped.",
    done="is stopped",
    then="outboard start {name}",
)
restart = _verb(
    "restart",
    "Give a plugin a new process and a clean record, and wait until it runs.",
    done="runs",
    then="outboard status {name}",
)
release = _verb(
    "release",
    "Clear the record of a plugin that is quarantined or held back otherwise, and start it.",
    done="is released and runs",
    unchanged="is not held back: it is {state}",
    then="outboard status {name}",
)
enable = _verb(
    "enable",
    "Let a plugin that was disabled run again, and start it unless it is lazy.",
    done="is enabled",
    unchanged="was enabled already",
    then="outboard status {name}",
)
disable = _verb(
    "disable",
    "Stop a plugin and keep it from running, under later daemons too, until it is enabled.",
    done="is disabled",
    unchanged="was disabled already",
    then="outboard enable {name}",
)


@click.command()
@plugin_argument()
@click.option("--purge", is_flag=True, help="Also remove what it keeps: its store and its data folder.")
@json_option
@socket_option
def remove(name: str, purge: bool, as_json: bool, socket: str) -> None:
    """Stop a plugin and forget it; its files stay, and what it keeps, for when it comes back."""
    with Client(socket) as daemon:
        daemon.ask("remove", {"name": name, "purge": purge}, timeout=LONG_S)
    done = "is removed, with what it kept" if purge else "is removed"
    _print_done(name, done, as_json=as_json, then="outboard status")


@click.command()
@click.argument("path", type=click.Path())
@json_option
@socket_option
def add(path: str, as_json: bool, socket: str) -> None:
    """Register the plugin in the folder or file PATH, in place, and start it."""
    if not os.path.isdir(path) and not (os.path.isfile(path) and path.endswith((".py", ".toml"))):
        wrong = ManifestError([f"`{path}` is neither a folder nor a one-file plugin"])
        wrong.hint = "name a folder with a plugin.toml, or a .py with [tool.outboard]"
        raise wrong
    with Client(socket) as daemon:
        raw = daemon.ask("add", {"path": os.path.abspath(path)}, timeout=LONG_S)
    name = msgspec.json.decode(raw)["name"]
    _print_done(name, "is added", as_json=as_json, then=f"outboard status {name}")


def _print_done(name: str, done: str, *, as_json: bool, then: str, **more: object) -> None:
    if as_json:
        print_json({"ok": True, "name": name, **more})
        return
    click.echo(f"{name} {done}")
    print_next(then)
