"""`outboard dev`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from host.authoring.findings import readable
from host.cli.output import COLOURS, json_option, paint, print_error, print_json, print_value
from host.errors import ManifestError, OutboardError
from host.observability.escape import escaped
from host.observability.events import HostEvent, PluginLogged, PluginProblem, PluginsChanged, StateChanged
from host.observability.logs import line_of

if TYPE_CHECKING:
    from host.authoring.dev import Errand
    from host.discovery.validate import Candidate
    from protocol.lifecycle import MethodInfo

_ARGUMENT = re.compile(r"[A-Za-z_]\w*=")
_LEVELS = {"warning": "yellow", "error": "red", "critical": "red"}
_QUIET = ("starting", "stopping")
"""States that the next one tells of, too."""


@click.command()
@click.argument("words", nargs=-1, required=True, type=click.Path(), metavar="PATH... [KEY=VALUE]...")
@click.option(
    "--call", "method", metavar="METHOD", help="Call it with each KEY=VALUE, whenever it has started."
)
@click.option("--config", type=click.Path(dir_okay=False), help="An outboard.toml, for settings.")
@json_option
def dev(words: tuple[str, ...], method: str | None, config: str | None, as_json: bool) -> None:
    """Run the plugins at PATH here, and again whenever you save. Needs no daemon.

    \b
    outboard dev greeter
    outboard dev greeter --call greet name=Ada

    Prints what becomes of them, what they log, and tracebacks, on stderr; what --call returns on stdout. With
    several plugins METHOD is that of whoever has it, or PLUGIN/METHOD. What they keep is thrown away at the
    end. Ctrl-C ends it.
    """
    given = [word for word in words if _ARGUMENT.match(word)]
    candidates = _candidates([word for word in words if word not in given])
    if given and method is None:
        raise click.UsageError(f"`{given[0]}` is for a call: say which with --call METHOD.")
    import anyio  # what is left takes a third of a second to import

    from host.authoring.dev import Errand, Workshop

    errand = None
    if method is not None:
        plugin, _, name = method.rpartition("/")
        errand = Errand(name, dict(word.split("=", 1) for word in given), plugin or None)
    width = max(len(each.name) for each in candidates)
    teller = JsonTeller() if as_json else TextTeller(width)
    teller.watching(candidates)
    anyio.run(Workshop(candidates, errand, Path(config) if config else None, teller).run)


def _candidates(paths: Sequence[str]) -> list[Candidate]:
    from host.discovery.validate import load_manifest

    if not paths:
        raise click.UsageError("Which plugin? Give the PATH of its folder, or of its one file.")
    found, problems = [], []
    for path in paths:
        loaded = load_manifest(Path(path))
        if isinstance(loaded, list):
            problems += loaded
        else:
            found.append(loaded)
    if problems:
        raise ManifestError(problems)
    return found


class TextTeller:
    """For a person: a line with the time for each thing, and results as they are."""

    def __init__(self, width: int) -> None:
        self._width = width

    def watching(self, candidates: Sequence[Candidate]) -> None:
        names = ", ".join(each.name for each in candidates)
        click.echo(
            paint(f"{names}: runs again whenever you save; Ctrl-C ends it", "bright_black", err=True),
            err=True,
        )

    def event(self, event: HostEvent) -> None:
        match event:
            case StateChanged(state=state) if state not in _QUIET and event.reason != "the host stops":
                reason = f": {event.reason}" if event.reason else ""
                self._line(event.plugin, paint(state, COLOURS.get(state), err=True) + escaped(reason))
                if event.cause is not None:
                    self._more(readable(event.cause.stderr))
                    self._more([f"hint: {event.cause.fix}"] if event.cause.fix else [])
            case PluginLogged():
                text = escaped(event.message)
                first, *rest = text.splitlines() or [""]
                self._line(event.plugin, paint(first, _LEVELS.get(event.level), err=True))
                self._more(rest)
            case PluginsChanged(plugin=str(name)):
                self._line(name, paint(escaped(event.reason), "cyan", err=True))
            case PluginProblem():
                self._line(event.plugin or "", paint(escaped(event.message), "red", err=True))
            case StateChanged():
                pass
            case _:
                line = line_of(event)
                self._line(line.plugin or "", line.message)

    def provides(self, plugin: str, methods: Sequence[MethodInfo], hooks: Sequence[str]) -> None:
        from host.contracts.signature import signature

        for each in methods:
            shown = signature(each.name, each.params, each.result, stream=each.stream, takes=each.takes)
            self._more(shown)
        self._more([f"hook {point}" for point in hooks])

    def calling(self, plugin: str, errand: Errand) -> None:
        self._line(plugin, paint(f"> {escaped(str(errand))}", "cyan", err=True))

    def result(self, value: Any) -> None:
        print_value(msgspec.Raw(msgspec.json.encode(value)))

    def failed(self, error: OutboardError) -> None:
        print_error(error, as_json=False)

    def _line(self, plugin: str, text: str) -> None:
        now = paint(f"{datetime.now():%H:%M:%S}", "bright_black", err=True)
        click.echo(f"{now} {plugin:<{self._width}}  {text}", err=True)

    def _more(self, lines: Sequence[str]) -> None:
        for line in lines:
            click.echo(f"{'':<{self._width + 9}}  {escaped(line)}", err=True)


class JsonTeller:
    """For a program: one object a line, what happens as `outboard events --json` has it."""

    def watching(self, candidates: Sequence[Candidate]) -> None: ...

    def event(self, event: HostEvent) -> None:
        print_json(event)

    def provides(self, plugin: str, methods: Sequence[MethodInfo], hooks: Sequence[str]) -> None: ...

    def calling(self, plugin: str, errand: Errand) -> None: ...

    def result(self, value: Any) -> None:
        print_json({"ok": True, "result": value})

    def failed(self, error: OutboardError) -> None:
        print_error(error, as_json=True)
