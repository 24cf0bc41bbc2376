"""`outboard install` and `outboard uninstall`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from host.cli.choices import plugin_argument
from host.cli.lifecycle import LONG_S
from host.cli.output import json_option, print_json, print_next, socket_option
from host.config.places import places, state_file
from host.control.client import Client
from host.errors import DaemonError, DaemonRefused, OutboardError, PluginExists, not_found

if TYPE_CHECKING:
    from host.packing.installed import Placed

PLACE_S = 5.0
"""A daemon that is well says at once where things go."""
SERVING = ("running", "degraded")


@click.command()
@click.argument("source", type=click.Path())
@click.option("--sha256", metavar="HEX", help="Install it only if this is the sha256 of the pack.")
@json_option
@socket_option
def install(source: str, sha256: str | None, as_json: bool, socket: str) -> None:
    """Copy the plugin at SOURCE into the host's data folder, and start it.

    SOURCE is a pack that `outboard pack` has made, a folder or a one-file plugin. If the plugin is installed
    already, the new version takes its place, and everything that it keeps stays: settings, store and data
    folder. Without a daemon it is installed, and the next daemon starts it.

    Exits with 6 if the pack or its manifest cannot be used, with 7 if the sha256 is another.
    """
    from host.packing.installed import InstalledPlugins
    from host.packing.source import as_pack, check_digest
    from host.supervision.memory import bring_back

    daemon = _folder_of_daemon(socket)
    folder = daemon or places(os.environ, os.getuid()).plugins
    plugins = InstalledPlugins(folder)
    with _disk(folder), plugins.turn(), as_pack(Path(source), os.path.join(folder, ".versions")) as pack:
        digest = check_digest(pack, sha256)
        staged = plugins.stage(pack, source=os.path.abspath(source), sha256=digest)
        try:
            if daemon is not None:
                _check_name(socket, staged.candidate.name)
            placed = plugins.place(staged)
            if daemon is None:
                bring_back(Path(state_file(os.environ, os.getuid(), socket)), placed.name)
        except BaseException:
            plugins.discard(staged)
            raise
    became = None
    if daemon is not None:
        became = _ask(socket, "install/take", {"path": placed.path})
        with _disk(folder), plugins.turn():
            plugins.clean(placed.name)  # only now is it sure that no process uses the version before
    if as_json:
        told = msgspec.structs.asdict(placed) | {"sha256": digest, "state": became and became["state"]}
        print_json({"ok": True, **told})
        return
    click.echo(f"{_said(placed)}{_state(became)}")
    if became is None:
        print_next("outboard run")
    elif became["expected"] and became["state"] not in SERVING:
        print_next(f"outboard why {placed.name}")
    else:
        print_next(f"outboard status {placed.name}")


@click.command()
@plugin_argument()
@click.option("--purge", is_flag=True, help="Also remove what it keeps: its store and its data folder.")
@json_option
@socket_option
def uninstall(name: str, purge: bool, as_json: bool, socket: str) -> None:
    """Stop an installed plugin, forget it and remove its files; what it keeps stays, for when it comes back.

    `outboard remove` is for plugins that are used where their author has them, and leaves the files.
    """
    from host.packing.installed import InstalledPlugins

    daemon = _folder_of_daemon(socket)
    if daemon is None and purge:
        raise DaemonError(
            "what a plugin keeps is removed by the daemon, and none answers", hint="start one: outboard run"
        )
    folder = daemon or places(os.environ, os.getuid()).plugins
    plugins = InstalledPlugins(folder)
    there = _place(socket, name) if daemon is not None else {"file": None}
    is_used = there["file"] is not None and there["installed"]
    is_another_used = there["file"] is not None and not is_used
    with _disk(folder), plugins.turn():
        is_there = bool(plugins.paths_of(name))
        if is_another_used and (purge or not is_there):  # what the name keeps is that one's
            raise DaemonRefused(
                f"what the daemon runs is not installed: it is used where it is, in {there['file']}",
                hint=f"outboard remove {name}",
                plugin=name,
            )
        if not is_there:
            raise not_found(name, [])
        if is_used:
            _ask(socket, "remove", {"name": name, "purge": purge})
        plugins.remove(name)
    if as_json:
        print_json({"ok": True, "name": name})
        return
    click.echo(f"{name} is uninstalled{', with what it kept' if purge else ''}")
    print_next("outboard status")


def _folder_of_daemon(socket: str) -> str | None:
    """Where the daemon has its installed plugins; None if there is no daemon.

    Raises:
        DaemonRefused. DaemonError: there is one, and it does not answer.
    """
    try:
        told = _place(socket, "")
    except DaemonError as error:
        if isinstance(error.__context__, FileNotFoundError | ConnectionRefusedError):
            return None  # nobody listens there; anything else may be a daemon with the plugin's process
        raise
    if told["folder"] is None:
        raise DaemonRefused(
            "this daemon has no folder for installed plugins, and cannot make one",
            hint="its log says why; outboard add PATH takes a plugin where it is",
        )
    folder: str = told["folder"]
    return folder


def _check_name(socket: str, name: str) -> None:
    there = _place(socket, name)
    if there["file"] is not None and not there["installed"]:
        raise PluginExists(
            f"there is a plugin `{name}` already, from {there['file']}",
            hint=f"outboard remove {name}, or give one of them another name",
            plugin=name,
        )


def _place(socket: str, name: str) -> Any:
    with Client(socket, slack_s=PLACE_S) as daemon:
        return msgspec.json.decode(daemon.ask("install/place", {"name": name}))


def _ask(socket: str, method: str, params: dict[str, Any]) -> Any:
    with Client(socket) as daemon:
        return msgspec.json.decode(daemon.ask(method, params, timeout=LONG_S))


@contextmanager
def _disk(folder: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if isinstance(error, OutboardError):  # a deadline that has passed is both
            raise
        raise click.FileError(str(error.filename or folder), error.strerror or str(error)) from None


def _said(placed: Placed) -> str:
    who = f"{placed.name} {placed.version}"
    match placed.change:
        case "unchanged":
            return f"{who} is installed already, the same files"
        case "upgrade":
            return f"{who} is installed in place of {placed.before}"
        case "downgrade":
            return f"{who} is installed in place of {placed.before}, which is newer"
        case "replaced":
            return f"{who} is installed in place of other files of the same version"
    return f"{who} is installed"


def _state(became: dict[str, Any] | None) -> str:
    if became is None:
        return "; no daemon answers, so the next one starts it"
    reason = f": {became['reason']}" if became["reason"] and became["state"] not in SERVING else ""
    return f", and {became['state']}{reason}"
