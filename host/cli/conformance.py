"""`outboard conformance`."""

from __future__ import annotations

import os
import sys
import tempfile
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from host.cli.output import json_option, paint, print_json, terminal_width
from host.discovery.validate import load_manifest
from host.errors import ManifestError
from host.observability.escape import escaped
from protocol.contract import nearest

if TYPE_CHECKING:
    from host.conformance.bench import Subject
    from host.conformance.verdicts import Result

LOOKS = {"PASS": "green", "FAIL": "red", "SKIP": "yellow"}
WORDS = {"PASS": "passed", "FAIL": "failed", "SKIP": "skipped"}
Call = tuple[str, dict[str, Any]]


def _call(ctx: click.Context, param: click.Parameter, value: str | None) -> Call | None:
    if value is None:
        return None
    method, _, params = value.strip().partition(" ")
    try:
        return method, msgspec.json.decode(params or "{}", type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError) as error:
        text = f"""{params!r} is no JSON object ({error}); write 'METHOD {{"PARAM": VALUE}}'."""
        raise click.BadParameter(text) from None


def _config(ctx: click.Context, param: click.Parameter, value: str | None) -> dict[str, Any] | None:
    called = _call(ctx, param, None if value is None else f"config {value}")
    return None if called is None else called[1]


def _names(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    from host.conformance.run import CHECKS

    names = tuple(name for value in values for name in value.split(",") if name)
    for name in names:
        if name not in CHECKS:
            close = nearest(name, CHECKS)
            raise click.BadParameter(
                f"there is no check {name!r}." + (f" Did you mean `{close}`?" if close else "")
            )
    return names


def _complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    from host.conformance.run import CHECKS

    return [name for name in CHECKS if name.startswith(incomplete)]


@click.command()
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="[--] COMMAND...")
@click.option(
    "--only", multiple=True, callback=_names, shell_complete=_complete, metavar="CHECK", help="Repeat."
)
@click.option("--call", callback=_call, metavar="TEXT", help="'METHOD {JSON}': a call that succeeds.")
@click.option("--slow", callback=_call, metavar="TEXT", help="'METHOD {JSON}': a call that takes a while.")
@click.option("--config", callback=_config, metavar="JSON", help="Its settings.  [default: the manifest's]")
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=0.1, max=600.0),
    default=5.0,
    show_default=True,
    help="Seconds that an answer may take.",
)
@json_option
def conformance(
    command: tuple[str, ...],
    only: tuple[str, ...],
    call: Call | None,
    slow: Call | None,
    config: dict[str, Any] | None,
    timeout_s: float,
    as_json: bool,
) -> None:
    """Run COMMAND as a host would run a plugin, and hold it to the protocol, whatever language it is in.

    COMMAND is a program with its arguments, run in this folder; or the folder of a plugin, which is run as
    its manifest says. It needs no daemon.

    Some checks need a call of the plugin's own: --call names one that succeeds, --slow one that takes a
    second or so. They are skipped without.

    Exits with 0 if no check failed, else with 1.
    """
    from host.conformance.run import conformance as checks

    with tempfile.TemporaryDirectory(prefix="outboard-conformance-", ignore_cleanup_errors=True) as folder:
        more: dict[str, Any] = {"call": call, "slow": slow, "timeout_s": timeout_s}
        subject = _subject(command, folder, more if config is None else more | {"config": config})
        results = []
        for result in checks(subject, only):
            results.append(result)
            if not as_json:
                click.echo(_line(result))
    counts = {verdict: sum(each.verdict == verdict for each in results) for verdict in LOOKS}
    ok = not counts["FAIL"]
    if as_json:
        print_json({"ok": ok, "schema": 1, "counts": counts, "checks": results})
    else:
        said = ", ".join(f"{counts[verdict]} {word}" for verdict, word in WORDS.items())
        click.echo(f"{paint('ok' if ok else 'failed', 'green' if ok else 'red')}: {said}")
    sys.exit(0 if ok else 1)


def _subject(command: tuple[str, ...], folder: str, more: dict[str, Any]) -> Subject:
    from host.conformance.subject import of_command, of_plugin

    path = Path(command[0])
    if len(command) > 1 or not (path.is_dir() or path.name == "plugin.toml" or path.suffix == ".py"):
        return of_command(command, os.getcwd(), folder, **more)
    candidate = load_manifest(path)
    if isinstance(candidate, list):
        raise ManifestError(candidate)
    environment = None
    if candidate.manifest.run.dependencies:
        import anyio

        from host.authoring.interpreter import python_with

        python = anyio.run(python_with, candidate, lambda text: click.echo(f"{text} ...", err=True))
        environment = str(Path(python).parent.parent)
    return of_plugin(candidate, folder, environment=environment, **more)


def _line(result: Result) -> str:
    """One line; one that failed says what was expected, and where that is written."""
    verdict = paint(result.verdict, LOOKS[result.verdict])
    name = result.name.ljust(20)
    if result.verdict != "FAIL":
        return _cut(f"{verdict}  {name}  {escaped(result.seen)}", len(verdict) - 4)
    first = _wrapped(f"{verdict}  {name}  seen: {escaped(result.seen)}", len(verdict) - 4)
    below = (f"expected: {result.expected}", result.section)
    return "\n".join([first, *(_wrapped(f"{'':28}{text}", 0) for text in below)])


def _wrapped(text: str, unseen: int) -> str:
    width = terminal_width()
    if width is None or len(text) - unseen <= width:
        return text
    return textwrap.fill(text, width + unseen, subsequent_indent=" " * 30, break_on_hyphens=False)


def _cut(text: str, unseen: int) -> str:
    width = terminal_width()
    return text if width is None or len(text) - unseen <= width else text[: width + unseen - 1] + "…"
