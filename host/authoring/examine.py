"""Everything that can be known of a plugin before anybody uses it.

First what its files say, all problems at once. If they let it run, it is run: in a process of its own, within
its limits, by a host; what it provides then is held against its manifest and its code.
"""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import anyio
import msgspec

from host.authoring.files import document_of, of_files, of_permissions, path_in
from host.authoring.findings import Finding, in_order, of_manifest, place_in, readable
from host.authoring.provided import of_provided
from host.authoring.source import Shown
from host.authoring.trial import trial
from host.config.read import Document
from host.contracts.document import PluginContract
from host.discovery.validate import Candidate, load_manifest
from host.errors import OutboardError
from host.host import Host
from host.observability.events import HostEvent, PluginLogged, PluginProblem, StateChanged
from host.observability.snapshot import PluginStatus
from host.supervision.states import SERVING, State

__all__ = ["Report", "examine"]

BUILDING = "environment: building"
NOT_PERMITTED = "its manifest needs `"
"""In what a host says of a topic: that is told with its line already."""
SLOW = "importing its module, or @plugin.on_start, hangs, or takes longer than start.timeout"
LONGEST_S = 900.0
"""The host's own bounds end it earlier: 10 min for an environment, 5 for a start that tells of progress."""
_SETTING = re.compile(r"\$((?:\.[\w-]+|\[\d+\])*): (.+?)(?=; \$(?:\.|\[|:)|$)")


class Report(msgspec.Struct, kw_only=True):
    """What was found, and what the plugin provides."""

    file: str
    name: str | None = None
    version: str | None = None
    findings: list[Finding] = []
    is_read: bool = False
    """Whether there is a manifest that can be used."""
    started_in_s: float | None = None
    contract: PluginContract | None = None

    @property
    def is_misconfigured(self) -> bool:
        """Whether it is the manifest that keeps it from being used."""
        return not self.is_read or any(
            each.severity == "error" and each.in_manifest for each in self.findings
        )

    @property
    def ok(self) -> bool:
        return not any(each.severity == "error" for each in self.findings)


async def examine(path: Path, say: Callable[[str], object] = lambda text: None) -> Report:
    """Of the plugin at `path`. `say` is told of what takes its time. Never raises for what a plugin does."""
    candidate = load_manifest(path)
    if isinstance(candidate, list):
        return Report(file=str(path), findings=list(map(of_manifest, candidate)))
    report = Report(
        file=candidate.file, name=candidate.name, version=candidate.manifest.plugin.version, is_read=True
    )
    shown = Shown()
    may_run = True
    for finding in of_files(candidate, shown):
        report.findings.append(finding)
        may_run = may_run and finding.severity != "error"
    document = document_of(candidate)
    report.findings += of_permissions(candidate, document, shown)
    if may_run:
        await _run(candidate, document, shown, report, say)
    report.findings = in_order(report.findings)
    return report


async def _run(
    candidate: Candidate, document: Document, shown: Shown, report: Report, say: Callable[[str], object]
) -> None:
    seen: list[HostEvent] = []
    name = candidate.name
    with tempfile.TemporaryDirectory(prefix="outboard-check-", ignore_cleanup_errors=True) as folder:
        host = trial([candidate], folder, alone=True)
        begun_at = time.monotonic()
        settled = anyio.Event()

        def hear(event: HostEvent) -> None:
            seen.append(event)
            if isinstance(event, StateChanged):
                if event.reason.startswith(BUILDING):
                    say(event.reason.removeprefix("environment: "))
                elif event.state != State.STARTING:
                    settled.set()

        host.on_event(hear)
        async with host:
            with anyio.move_on_after(LONGEST_S):
                await settled.wait()
            status = host.status(name).plugins[0]
            if status.state in SERVING:
                report.started_in_s = round(time.monotonic() - begun_at, 3)
                contract = host.contract(name)
                assert isinstance(contract, PluginContract)
                report.contract = contract
                report.findings += of_provided(candidate, document, shown, host.provides_of(name))
                await _stop(host, name)
                status = host.status(name).plugins[0]
            else:
                report.findings += _of_start(candidate, document, shown, status, host, seen)
    report.findings += _of_conduct(candidate, status, seen)


async def _stop(host: Host, name: str) -> None:
    try:
        await host.stop(name)
    except OutboardError:
        pass  # it has ended meanwhile, which is told below


def _of_start(
    candidate: Candidate,
    document: Document,
    shown: Shown,
    status: PluginStatus,
    host: Host,
    seen: list[HostEvent],
) -> Iterator[Finding]:
    """Why it does not serve."""
    causes = host.why(candidate.name).causes
    reason = status.reason or f"it is {status.state}"
    if status.state == State.WAITING and causes and causes[0].kind == "not-ready":
        yield Finding(severity="warning", file=candidate.file, message=f"it is not ready: {reason}")
        return
    settings = _SETTING.findall(reason) if reason.startswith("configuration refused: settings") else []
    for path, text in settings:
        keys = re.findall(r"[\w-]+|\[\d+\]", path)
        where = path_in(candidate, "settings", *keys)
        found = of_manifest(document.problem(where, text))
        if found.line is None and shown.settings is not None:  # nothing of it is in the manifest
            found = msgspec.structs.replace(found, file=shown.settings.file, line=shown.settings.line)
        yield found
    if settings:
        return
    cause = causes[0] if causes else None
    trace = list(cause.stderr) if cause is not None and cause.kind != "environment" else []
    logged = [each.message for each in seen if isinstance(each, PluginLogged) and each.level == "error"]
    if not any(line.startswith("Traceback") for line in trace):
        trace = [line for message in logged for line in message.splitlines()[1:]] or trace
    place = place_in(trace, candidate.folder)
    kind = cause.kind if cause is not None else None
    key, line = "", None
    if kind == "environment":
        listed = document.problem(("dependencies",) if candidate.single_file else ("run", "dependencies"), "")
        key, line = listed.key, listed.line
    yield Finding(
        file=place[0] if place else candidate.file,
        line=place[1] if place else line,
        key=key,
        message=reason,
        hint=(cause.fix if cause is not None else None) or (SLOW if kind == "start-timeout" else None),
        in_manifest=bool(key),
        detail=tuple(readable(trace)),
    )


def _of_conduct(candidate: Candidate, status: PluginStatus, seen: list[HostEvent]) -> Iterator[Finding]:
    for event in seen:
        if isinstance(event, StateChanged) and event.state == State.STOPPED:
            yield from _of_stop(candidate, event)
        elif isinstance(event, PluginProblem) and NOT_PERMITTED not in event.message:
            yield Finding(severity="warning", file=candidate.file, message=event.message)
    if status.stdout_noise_bytes:
        text = f"it wrote {status.stdout_noise_bytes} bytes to stdout that are not the protocol's"
        yield Finding(
            severity="warning", file=candidate.file, message=text, hint="write to stderr, which is logged"
        )


def _of_stop(candidate: Candidate, event: StateChanged) -> Iterator[Finding]:
    cause = event.cause
    if cause is None or cause.signal is None:
        return
    yield Finding(
        severity="warning",
        file=candidate.file,
        message=f"it did not end when it was asked to, and went on until {cause.signal}",
        hint="@plugin.on_stop takes longer than start.stop_timeout, or a thread of its own goes on",
    )
