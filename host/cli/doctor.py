"""`outboard doctor`: what is there, what is not, and what to do about it."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import msgspec

import protocol
from host.cli import checks
from host.cli.checks import Check
from host.cli.output import json_option, paint, print_json, print_next, socket_option, terminal_width
from host.control.client import Client
from host.errors import ConfigError, DaemonError, OutboardError
from host.observability.escape import escaped

MARGIN = " " * 21
MOST = 200
"""Plugins that are asked about."""
_LOOKS = {"ok": "green", "warn": "yellow", "fail": "red"}


@click.command()
@click.option("--config", type=click.Path(dir_okay=False), help="An outboard.toml to look at.")
@click.option("--plugins", multiple=True, type=click.Path(), help="A folder of plugins to look at. Repeat.")
@json_option
@socket_option
def doctor(config: str | None, plugins: tuple[str, ...], as_json: bool, socket: str) -> None:
    """Look whether outboard can work here: installation, machine, daemon, plugins. Changes nothing.

    Exits with 1 if something fails; a warning is none.
    """
    found = [*checks.installation(), *checks.machine(socket)]
    check, seen = _daemon(socket)
    found.append(check)
    found += _plugins(config, plugins, seen)
    if seen is not None:
        found += _settings(socket, [plugin["name"] for plugin in seen["plugins"][:MOST]])
    failed = [check for check in found if check.verdict == "fail"]
    if as_json:
        print_json({"ok": not failed, "checks": found})
    else:
        for check in found:
            click.echo(_shown(check))
        warned = sum(check.verdict == "warn" for check in found)
        click.echo(f"\n{len(found)} checks: {len(failed)} failed, {warned} warned")
        print_next("outboard status" if seen is not None else "outboard run --plugins FOLDER")
    sys.exit(1 if failed else 0)


def _shown(check: Check) -> str:
    lines = _wrapped(check.seen)
    first = f"{paint(f'{check.verdict:<4}', _LOOKS[check.verdict])}  {check.name:<13}  {lines[0]}"
    lines = [first, *(MARGIN + line for line in lines[1:])]
    if check.do is not None:
        does = _wrapped(f"do: {check.do}")
        lines += [
            MARGIN + does[0].replace("do", paint("do", "cyan"), 1),
            *(MARGIN + line for line in does[1:]),
        ]
    return "\n".join(lines)


def _wrapped(text: str) -> list[str]:
    """Beside the margin, on a terminal; a pipe gets each in one line."""
    text = escaped(" ".join(text.split()))
    width = terminal_width()
    return [text] if width is None else textwrap.wrap(text, max(20, width - len(MARGIN)))


def _daemon(socket: str) -> tuple[Check, dict[str, Any] | None]:
    """And what it says of itself, if it is there."""
    try:
        with Client(socket) as client:
            seen = msgspec.json.decode(client.ask("status"))
    except DaemonError as error:
        is_there = os.path.exists(socket)
        do = "look at its log; or remove the socket if no daemon runs" if is_there else error.hint
        return Check(name="daemon", verdict="warn", seen=error.message, do=do), None
    except OutboardError as error:
        return Check(name="daemon", verdict="fail", seen=str(error), do="restart it"), None
    told = seen["host"]
    text = f"{told['version']}, pid {told['pid']}, at {socket}"
    if told["version"] != protocol.__version__:
        do = "restart the daemon, to run what is installed"
        text += f"; this command is {protocol.__version__}"
        return Check(name="daemon", verdict="warn", seen=text, do=do), seen
    return Check(name="daemon", verdict="ok", seen=text), seen


def _plugins(config: str | None, folders: Sequence[str], seen: dict[str, Any] | None) -> Iterator[Check]:
    """Of the folders that are named; else the running daemon's; else the user's own."""
    from host.config.load import load_config
    from host.config.places import places
    from host.discovery.scan import scan
    from host.discovery.validate import Candidate, load_manifest

    problems: list[str] = []
    candidates: list[Candidate] = []
    paths = [Path(folder) for folder in folders]
    if config is not None:
        try:
            paths += map(Path, load_config(Path(config)).host.plugins)
            yield Check(name="configuration", verdict="ok", seen=config)
        except ConfigError as error:
            yield Check(name="configuration", verdict="fail", seen=error.message, do=error.hint)
    if not paths and config is None and seen is not None:
        problems += seen["host"]["problems"]
        for plugin in seen["plugins"]:
            loaded = load_manifest(Path(plugin["file"]))
            if isinstance(loaded, list):
                problems += map(str, loaded)
            else:
                candidates.append(loaded)
    elif paths or config is None:
        own = Path(places(os.environ, os.getuid()).plugins)
        found = scan(paths or ([own] if own.exists() else []))
        problems += map(str, found.problems)
        candidates += found.candidates
    do = "fix the file; outboard explain OB101 says how a manifest is read"
    yield from (Check(name="manifest", verdict="fail", seen=problem, do=do) for problem in problems)
    names = ", ".join(candidate.name for candidate in candidates)
    yield Check(name="plugins", verdict="ok", seen=f"{len(candidates)} found{': ' + names if names else ''}")
    yield from _programs([(each.name, each.manifest.run.command) for each in candidates])


def _settings(socket: str, names: Sequence[str]) -> Iterator[Check]:
    """Schemas that nothing can be held against: no mistake in such settings is found before their plugin."""
    from host.config.schemas import why_not_held

    try:
        with Client(socket) as client:
            for name in names:
                schema = msgspec.json.decode(client.ask("contract", {"name": name}))["settings"]
                if schema is not None and (why := why_not_held(schema)):
                    seen = f"{name}: the schema of its settings is not held: {why}"
                    do = f"mend the schema; until then {name} alone looks at its settings"
                    yield Check(name="settings", verdict="warn", seen=seen, do=do)
    except OutboardError as error:
        yield Check(name="settings", verdict="warn", seen=str(error), do="try again")


def _programs(commands: Sequence[tuple[str, Any]]) -> Iterator[Check]:
    """Whatever plugins are run by: node, perl, or their own."""
    users: dict[str, list[str]] = {}
    for name, command in commands:
        if command and os.sep not in command[0]:
            users.setdefault(command[0], []).append(name)
    for program, names in users.items():
        path = shutil.which(program)
        if path is not None:
            yield Check(name="program", verdict="ok", seen=f"{program} at {path}, for {', '.join(names)}")
        else:
            do = f"install {program}, or remove {', '.join(names)}"
            yield Check(name="program", verdict="fail", seen=f"no {program}, for {', '.join(names)}", do=do)
