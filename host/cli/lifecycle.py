"""`outboard start | stop | restart | add | remove`: one word each, and what has become of it."""

from __future__ import annotations

import os

import click
import msgspec

from host.cli.output import json_option, print_json, print_next, socket_option
from host.control.client import Client
from host.errors import ManifestError

LONG_S = 330.0
"""A start may be extended to 300 s."""


def _do(verb: str, done: str, name: str, as_json: bool, socket: str, then: str) -> None:
    with Client(socket) as daemon:
        daemon.ask(verb, {"name": name}, timeout=LONG_S)
    _tell(name, done, as_json, then.format(name=name))


def _tell(name: str, done: str, as_json: bool, then: str, **more: object) -> None:
    if as_json:
        print_json({"ok": True, "name": name, **more})
        return
    click.echo(f"{name} {done}")
    print_next(then)


@click.command()
@click.argument("name")
@json_option
@socket_option
def start(name: str, as_json: bool, socket: str) -> None:
    """Start a plugin, also one that is quarantined or has failed, and wait until it runs."""
    _do("start", "runs", name, as_json, socket, "outboard status {name}")


@click.command()
@click.argument("name")
@json_option
@socket_option
def stop(name: str, as_json: bool, socket: str) -> None:
    """Stop a plugin, and wait until its process is gone. It stays stopped."""
    _do("stop", "is stopped", name, as_json, socket, "outboard start {name}")


@click.command()
@click.argument("name")
@json_option
@socket_option
def restart(name: str, as_json: bool, socket: str) -> None:
    """Give a plugin a new process and a clean record, and wait until it runs."""
    _do("restart", "runs", name, as_json, socket, "outboard status {name}")


@click.command()
@click.argument("name")
@json_option
@socket_option
def remove(name: str, as_json: bool, socket: str) -> None:
    """Stop a plugin and forget it; its files stay where they are."""
    _do("remove", "is removed", name, as_json, socket, "outboard status")


@click.command()
@click.argument("name")
@json_option
@socket_option
def release(name: str, as_json: bool, socket: str) -> None:
    """Clear the record of a plugin that is quarantined or held back otherwise, and start it."""
    with Client(socket) as daemon:
        told = msgspec.json.decode(daemon.ask("release", {"name": name}, timeout=LONG_S))
    done = "is released and runs" if told["changed"] else f"is not held back: it is {told['state']}"
    _tell(name, done, as_json, f"outboard status {name}", changed=told["changed"])


@click.command()
@click.argument("name")
@json_option
@socket_option
def enable(name: str, as_json: bool, socket: str) -> None:
    """Let a plugin that was disabled run again, and start it unless it is lazy."""
    with Client(socket) as daemon:
        told = msgspec.json.decode(daemon.ask("enable", {"name": name}, timeout=LONG_S))
    done = "is enabled" if told["changed"] else "was enabled already"
    _tell(name, done, as_json, f"outboard status {name}", changed=told["changed"])


@click.command()
@click.argument("name")
@json_option
@socket_option
def disable(name: str, as_json: bool, socket: str) -> None:
    """Stop a plugin and keep it from running, under later daemons too, until it is enabled."""
    with Client(socket) as daemon:
        told = msgspec.json.decode(daemon.ask("disable", {"name": name}, timeout=LONG_S))
    done = "is disabled" if told["changed"] else "was disabled already"
    _tell(name, done, as_json, f"outboard enable {name}", changed=told["changed"])


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
    if as_json:
        print_json({"ok": True, "name": name})
        return
    click.echo(f"{name} is added")
    print_next(f"outboard status {name}")
