"""`outboard check`."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import click

from host.cli.output import json_option, paint, print_json, print_next, terminal_width
from host.observability.escape import escaped

if TYPE_CHECKING:
    from host.authoring.examine import Report
    from host.authoring.findings import Finding

_LOOKS = {"error": "red", "warning": "yellow", "note": "cyan"}
MOST_DETAIL = 20


@click.command()
@click.argument("path", type=click.Path(exists=True))
@click.option("--strict", is_flag=True, help="A warning fails the check, too.")
@json_option
def check(path: str, strict: bool, as_json: bool) -> None:
    """Find out everything about the plugin at PATH that can be known before anybody uses it.

    Reads its manifest and its source, then runs it in a process of its own, within its limits, and looks at
    what it provides. PATH is a folder, a plugin.toml or a one-file plugin. It needs no daemon, and what the
    plugin keeps meanwhile is thrown away.

    Exits with 6 if the manifest keeps the plugin from being used, with 1 if anything else does.
    """
    import anyio

    from host.authoring.examine import examine

    report = anyio.run(examine, Path(path), _say)
    failed = not report.ok or (strict and any(each.severity == "warning" for each in report.findings))
    if as_json:
        print_json(_document(report, ok=not failed))
    else:
        for finding in report.findings:
            click.echo(_shown(finding))
        click.echo(_summary(report, failed=failed))
        if not failed:
            print_next(f"outboard test {path}")
    sys.exit(0 if not failed else 6 if report.is_misconfigured else 1)


def _say(text: str) -> None:
    click.echo(f"{escaped(text)} ...", err=True)


def _shown(finding: Finding) -> str:
    """`FILE:LINE: error: what`, as editors and people know it from compilers."""
    key = f"{finding.key}: " if finding.key else ""
    place = escaped(_short(finding.place))
    text = _wrapped(f"{place}: {finding.severity}: {escaped(f'{key}{finding.message}')}")
    painted = f": {paint(finding.severity, _LOOKS[finding.severity])}:"
    lines = [text.replace(f": {finding.severity}:", painted, 1)]
    lines += [f"  | {escaped(line)}" for line in finding.detail[-MOST_DETAIL:]]
    if finding.hint:
        hint = _wrapped(f"  hint: {escaped(finding.hint)}")
        lines.append(hint.replace("hint", paint("hint", "cyan"), 1))
    return "\n".join(lines)


def _wrapped(text: str) -> str:
    """Between words, on a terminal; a pipe gets each in one line."""
    width = terminal_width()
    if width is None:
        return text
    return textwrap.fill(
        text, width, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False
    )


def _short(place: str) -> str:
    here = f"{Path.cwd()}/"
    return place.removeprefix(here)


def _summary(report: Report, *, failed: bool) -> str:
    counts = [
        f"{count} {severity}{'s' if count > 1 else ''}"
        for severity in _LOOKS
        if (count := sum(each.severity == severity for each in report.findings))
    ]
    said = ", ".join(counts)
    who = f"{report.name} {report.version}" if report.name else _short(report.file)
    parts = [part for part in (said, _provided(report)) if part]
    verdict = "failed" if failed else "ok"
    text = _wrapped(f"{verdict}: {escaped('; '.join([who, *parts]))}")
    return text.replace(verdict, paint(verdict, "red" if failed else "green"), 1)


def _provided(report: Report) -> str:
    contract = report.contract
    if contract is None:
        return ""
    what = {
        "method": len(contract.methods),
        "hook": len(contract.hooks),
        "topic": len(contract.topics),
    }
    parts = [f"{count} {word}{'s' if count > 1 else ''}" for word, count in what.items() if count]
    if contract.settings is not None:
        parts.append("settings")
    return f"{', '.join(parts) or 'nothing'}, ready in {report.started_in_s:.2f} s"


def _document(report: Report, *, ok: bool) -> dict[str, object]:
    return {
        "ok": ok,
        "schema": 1,
        "name": report.name,
        "version": report.version,
        "file": report.file,
        "findings": report.findings,
        "started_in_s": report.started_in_s,
        "contract": report.contract,
    }
