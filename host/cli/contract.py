"""`outboard contract`: what callers and plugins may rely on, and what a change of it breaks."""

from __future__ import annotations

import os
from typing import Any

import click
import msgspec

from host.cli import choices
from host.cli.output import (
    COLOURS,
    UsageProblem,
    harmless,
    json_option,
    paint,
    print_json,
    print_next,
    socket_option,
)
from host.control.client import Client

MAX_BYTES = 64 * 1024**2
_KINDS = {"breaks": "red", "unclear": "yellow", "harmless": "green"}


@click.group()
@click.pass_context
@json_option
@socket_option
def contract(ctx: click.Context, as_json: bool, socket: str) -> None:
    """What a plugin or an extension point promises, in types."""
    assert ctx.invoked_subcommand is not None
    ctx.default_map = {ctx.invoked_subcommand: {"as_json": as_json, "socket": socket}}


@contract.command()
@click.argument("name", shell_complete=choices.contracts)
@json_option
@socket_option
def show(name: str, as_json: bool, socket: str) -> None:
    """The contract of the plugin, or the extension point, NAME.

    Of a plugin that is not running too, if it has run before. Saved with --json, it can be compared later.
    """
    with Client(socket) as daemon:
        raw = daemon.ask("contract", {"name": name})
    if as_json:
        print_json(raw)
        return
    told = harmless(msgspec.json.decode(raw))
    click.echo("\n".join(_of_plugin(told) if told["kind"] == "plugin" else _of_point(told)))
    print_next(f"outboard contract show {name} --json > {name}.json")


@contract.command()
@click.argument("before", shell_complete=choices.contracts)
@click.argument("after", shell_complete=choices.contracts)
@json_option
@socket_option
def diff(before: str, after: str, as_json: bool, socket: str) -> int:
    """What breaks for those who relied on BEFORE, when it becomes AFTER.

    Each is a plugin's or a point's name, or a file that `contract show --json` was saved to. The exit code
    is 1 if something breaks.
    """
    from host.contracts.compare import NotComparable, changes

    try:
        found = changes(_document(before, socket), _document(after, socket))
    except NotComparable as problem:
        raise UsageProblem(f"{before} and {after}: {problem}") from None
    breaks = any(change.kind == "breaks" for change in found)
    if as_json:
        print_json({"ok": True, "breaks": breaks, "changes": found})
        return int(breaks)
    for change in sorted(found, key=lambda change: list(_KINDS).index(change.kind)):
        word = paint(f"{change.kind:<8}", _KINDS[change.kind])
        click.echo(f"{word}  {harmless(change.what)}  {harmless(change.text)}")
    if not found:
        click.echo("no difference")
    elif not breaks:
        click.echo("nothing breaks")
    return int(breaks)


def _document(name: str, socket: str) -> Any:
    """Of a file, or of the daemon's plugin or point of that name."""
    from host.contracts.document import Document

    if not (os.sep in name or name.endswith(".json") or os.path.isfile(name)):
        with Client(socket) as daemon:
            return msgspec.json.decode(daemon.ask("contract", {"name": name}), type=Document)
    hint = "outboard contract show NAME --json > FILE makes one"
    try:
        with open(name, "rb") as file:
            return msgspec.json.decode(file.read(MAX_BYTES), type=Document)
    except OSError as error:
        raise UsageProblem(f"{name} cannot be read: {error.strerror}", hint=hint) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageProblem(f"{name} is no saved contract: {error}", hint=hint) from None


def _of_plugin(told: dict[str, Any]) -> list[str]:
    from host.contracts.signature import fields, signature, types
    from host.contracts.type_text import type_text

    state = paint(told["state"], COLOURS.get(told["state"]))
    lines = [f"{told['name']} {told['version']}  {state}"]
    if not told["known"]:
        return [*lines, "", "it has never run, so nobody knows what it provides"]
    schemas: list[Any] = []
    if told["methods"]:
        lines += ["", "methods"]
    for each in told["methods"]:
        text = signature(
            each["name"], each["params"], each["result"], stream=each["stream"], takes=each["takes"]
        )
        lines += [f"  {line}" for line in text]
        notes = [each["doc"].strip().split("\n")[0][:100]] if each["doc"].strip() else []
        notes += ["idempotent: it may be called twice"] if each["idempotent"] else []
        notes += [f"timeout {each['timeout_s']:g} s"] if each["timeout_s"] else []
        lines += [paint(f"      {note}", "bright_black") for note in notes]
        schemas += [_inside(each["params"]), *(each["takes"] or {}).values(), each["result"]]
    if told["hooks"]:
        lines += ["", "hooks"]
    for each in told["hooks"]:
        name = each["point"] + (f" {each['version']}" if each["version"] else "")
        lines += [f"  {line}" for line in signature(name, each["params"], each["result"])]
        schemas += [_inside(each["params"]), each["result"]]
    if told["topics"]:
        lines += ["", "topics"]
    for each in told["topics"]:
        about = "" if each["values"] is None else f": {type_text(each['values'])}"
        lines.append(f"  {each['topic']}{about}")
        schemas.append(each["values"])
    if told["settings"] is not None:
        lines += ["", "settings", *(f"  {line}" for line in fields(told["settings"]))]
    return lines + _types(types(schemas))


def _of_point(told: dict[str, Any]) -> list[str]:
    from host.contracts.signature import signature, types

    note = "" if told["declared"] else "  (nobody declares it: plugins alone know of it)"
    asked = ", ".join(told["implementations"]) or "nobody"
    return [
        f"{told['name']} {told['version']}  {told['mode']}{note}",
        "",
        *(f"  {line}" for line in signature(told["name"], told["params"], told["answer"])),
        f"  asked: {asked}",
        *_types(types([told["params"], told["answer"]])),
    ]


def _inside(schema: Any) -> Any:
    """Params without their own name: their fields stand in the signature."""
    return {key: value for key, value in schema.items() if key != "title"} if isinstance(schema, dict) else {}


def _types(found: dict[str, list[str]]) -> list[str]:
    if not found:
        return []
    lines = ["", "types"]
    for name, members in found.items():
        lines += [f"  {name}", *(f"      {member}" for member in members)]
    return lines
