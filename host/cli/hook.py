"""`outboard hook` and `outboard hooks`: many plugins asked at once, and who they are."""

from __future__ import annotations

import time
from typing import Any

import click
import msgspec

from host.cli.choices import points
from host.cli.output import (
    COLOURS,
    json_option,
    paint,
    print_json,
    print_next,
    print_value,
    socket_option,
    table,
)
from host.cli.params import arguments_argument, asked, params_option
from host.control.client import Client
from host.observability.escape import escaped

DEFAULT_S = 30.0


class _Outcome(msgspec.Struct):
    value: msgspec.Raw
    results: list[dict[str, Any]]
    errors: list[dict[str, Any]]
    unheard: list[str]


@click.command()
@click.argument("point", shell_complete=points)
@arguments_argument()
@params_option
@click.option("--timeout", type=float, help="Seconds for all of them, 0 for no limit.  [default: 30]")
@json_option
@socket_option
def hook(
    point: str,
    arguments: tuple[str, ...],
    params: str | None,
    timeout: float | None,
    as_json: bool,
    socket: str,
) -> None:
    """Ask every plugin that implements POINT, and print the outcome's value.

    A plugin that fails where this costs nothing but its answer is told on stderr.
    """
    request = {"point": point, **asked(arguments, params, timeout)}
    started = time.perf_counter()
    with Client(socket) as daemon:
        patience = DEFAULT_S if timeout is None else timeout or None
        raw = daemon.ask("hook", request, timeout=patience)
    elapsed_ms = round((time.perf_counter() - started) * 1000, 3)
    if as_json:
        print_json({"ok": True, **msgspec.json.decode(raw), "elapsed_ms": elapsed_ms})
        return
    outcome = msgspec.json.decode(raw, type=_Outcome)
    print_value(outcome.value)
    for error in outcome.errors:
        label = paint("failed", "yellow", err=True)
        line = f"{error['plugin']}[{error['code']}]: {error['message']}"
        click.echo(f"{label} {escaped(line)}", err=True)
    for plugin in outcome.unheard:
        label = paint("not asked", "yellow", err=True)
        click.echo(
            f"{label} {plugin}: it has never run, so nobody knows whether it implements this", err=True
        )
    if outcome.errors or outcome.unheard:
        print_next(f"outboard hooks explain {point}")


@click.group(invoke_without_command=True)
@click.pass_context
@json_option
@socket_option
def hooks(ctx: click.Context, as_json: bool, socket: str) -> None:
    """The extension points: what is asked there, and of whom."""
    if ctx.invoked_subcommand is not None:
        ctx.default_map = {ctx.invoked_subcommand: {"as_json": as_json, "socket": socket}}
        return
    with Client(socket) as daemon:
        points = msgspec.json.decode(daemon.ask("hooks"))
    if as_json:
        print_json({"ok": True, "points": points})
        return
    if not points:
        click.echo("no extension point is declared, and no plugin implements one")
        return
    rows = [["POINT", "MODE", "ON ERROR", "ASKED"]]
    rows += [[p["point"], p["mode"], p["on_error"], _names(p["implementations"])] for p in points]
    click.echo(table(rows, [["bright_black"] * 4] + [[None] * 4 for _ in points]))
    print_next(f"outboard hooks explain {points[0]['point']}")


@hooks.command()
@click.argument("point", shell_complete=points)
@json_option
@socket_option
def explain(point: str, as_json: bool, socket: str) -> None:
    """Who is asked at POINT, in what order, who is not, and why."""
    with Client(socket) as daemon:
        seen = msgspec.json.decode(daemon.ask("hooks/explain", {"point": point}))
    if as_json:
        print_json({"ok": True, **seen})
        return
    click.echo(explained(seen))
    print_next(f"outboard hook {point} KEY=VALUE")


def explained(seen: dict[str, Any]) -> str:
    """The values of a point and where each comes from, then a line for each plugin."""
    origins = seen["origins"]
    default = msgspec.json.encode(seen["default"]).decode()
    facts = [
        ("mode", seen["mode"], origins["mode"]),
        ("on error", seen["on_error"], origins["on_error"]),
        ("timeout", f"{seen['timeout_s']:g} s each", origins["timeout_s"]),
        ("default", default, origins["default"]),
    ]
    width = max(len(value) for _, value, _ in facts)
    note = "" if seen["declared"] else "  (nobody declares it: plugins alone know of it)"
    lines = [seen["point"] + note]
    lines += [f"  {name:<9} {value:<{width}}  {origin}" for name, value, origin in facts]
    rows = [["", "PLUGIN", "STATE", "WHY"]]
    colours: list[list[str | None]] = [["bright_black"] * 4]
    place = 0
    for each in seen["implementations"]:
        place += not each["refused"]
        first, *others = _reasons(each, seen)
        rows.append(["!" if each["refused"] else str(place), each["plugin"], each["state"], first])
        rows += [["", "", "", reason] for reason in others]
        colours.append(["red" if each["refused"] else None, None, COLOURS.get(each["state"]), None])
        colours += [[None] * 4 for _ in others]
    for each in seen["left_out"]:
        rows.append(["-", each["plugin"], "left out", escaped(each["why"])])
        colours.append(["bright_black"] * 4)
    lines += ["", table(rows, colours) if len(rows) > 1 else "no plugin implements it"]
    if seen["problems"]:
        lines += ["", *(paint(f"problem: {escaped(problem)}", "red") for problem in seen["problems"])]
    return "\n".join(lines)


def _reasons(each: dict[str, Any], seen: dict[str, Any]) -> list[str]:
    """A line each: why it stands there, and what else is its own."""
    lines = ["refused: a circle", each["why"]] if each["refused"] else each["why"].split("; ")
    if each["when"] is not None:
        lines.append(f"when {msgspec.json.encode(each['when']).decode()}")
    if each["on_error"] != seen["on_error"]:
        lines.append(f"on error {each['on_error']}, by its own wish")
    return [escaped(line) for line in lines]


def _names(implementations: list[dict[str, Any]]) -> str:
    return ", ".join(each["plugin"] for each in implementations) or "nobody"
