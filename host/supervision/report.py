"""One plugin's line of `status`, and the long answer of `why`. Reads its supervisor, and asks nobody."""

from __future__ import annotations

import sys
import time

from host.contracts.document import PluginContract, of_plugin
from host.discovery.origin import Origin
from host.observability.causes import Cause
from host.observability.snapshot import (
    Calls,
    Changed,
    EventsStatus,
    InstalledStatus,
    LastExit,
    LatencyMs,
    PluginStatus,
    StoreStatus,
    Why,
)
from host.supervision.life import PROBATION
from host.supervision.limits import rows
from host.supervision.states import LIVE, SERVING, State
from host.supervision.supervisor import Supervisor
from host.supervision.voice import one_line

# A picture of a thousand plugins must fit into a frame, whatever they call themselves.
MAX_NAME = 100
MAX_NAMES = 200
MAX_LINE = 500
TAIL = 20


def report(supervisor: Supervisor, *, now: float, store: StoreStatus) -> PluginStatus:
    """`now` is the host's monotonic time."""
    life = supervisor.life
    plugin = supervisor.candidate.manifest.plugin
    provides = supervisor.offer.provides
    generation = supervisor.generation
    process = supervisor.process
    is_live = process is not None and life.state in LIVE
    usage = generation.allowance.usage if generation is not None and is_live else None
    stats, events = supervisor.stats.total(), supervisor.stats.events
    return PluginStatus(
        name=plugin.name,
        version=plugin.version,
        description=plugin.description,
        state=life.state,
        substate=_substate(supervisor),
        stuck=process is not None and process.is_stuck,
        reason=life.reason or None,
        since=round(supervisor.since_unix, 3),
        generation=life.generation,
        pid=process.pid if process is not None and is_live else None,
        start=process.child.how if process is not None and is_live else None,
        uptime_s=round(time.time() - process.started_at, 3) if process is not None and is_live else None,
        restarts=life.crashes,
        cpu_percent=usage.cpu_percent if usage is not None else None,
        memory_bytes=usage.memory_bytes if usage is not None else None,
        memory_limit_bytes=supervisor.policy.memory_bytes,
        processes=usage.processes if usage is not None else None,
        limits=rows(
            supervisor.policy,
            usage,
            process.controllers if process is not None else (),
            platform=sys.platform,
        ),
        store=store,
        events=EventsStatus(
            published=events.published,
            delivered=events.delivered,
            failed=events.failed,
            dropped=events.dropped,
        ),
        calls=Calls(ok=stats.ok, error=stats.error, timeout=stats.timeout, in_flight=stats.in_flight),
        latency_ms=LatencyMs(p50=stats.latency.quantile_ms(0.5), p99=stats.latency.quantile_ms(0.99)),
        next_start_in_s=_next_start_in_s(supervisor, now),
        last_exit=_last_exit(supervisor),
        note=(generation.voice.note or None) if generation is not None else None,
        start_mode=supervisor.policy.start_mode,
        expected=_is_expected(supervisor),
        critical=supervisor.policy.critical,
        methods=[one_line(method.name)[:MAX_NAME] for method in provides.methods[:MAX_NAMES]],
        hooks=[one_line(hook.point)[:MAX_NAME] for hook in provides.hooks[:MAX_NAMES]],
        file=supervisor.candidate.file,
        installed=_installed(supervisor.candidate.origin),
        stdout_noise_bytes=generation.voice.noise_bytes if generation is not None else 0,
        stderr_tail=_stderr(supervisor),
    )


def contract_of(supervisor: Supervisor) -> PluginContract:
    """What it promises, as it was the last time that it ran."""
    plugin = supervisor.candidate.manifest.plugin
    provides = supervisor.offer.provides if supervisor.is_known else None
    return of_plugin(plugin.name, plugin.version, supervisor.life.state, provides)


def explain(supervisor: Supervisor, *, now: float) -> Why:
    """`now` is the host's monotonic time."""
    life = supervisor.life
    causes = [cause for cause in reversed(supervisor.causes) if cause.kind != "asked"]
    newest = causes[0] if causes and life.state is not State.RUNNING else None
    history = [
        Changed(at=change.at, state=change.state, reason=change.reason, generation=change.generation)
        for change in reversed(supervisor.herald.changes)
    ]
    return Why(
        name=supervisor.name,
        state=life.state,
        substate=_substate(supervisor),
        reason=life.reason or None,
        since=round(supervisor.since_unix, 3),
        expected=_is_expected(supervisor),
        generation=life.generation,
        next_start_in_s=_next_start_in_s(supervisor, now),
        fix=newest.fix if newest is not None else None,
        causes=causes,
        history=history,
        stderr=_stderr(supervisor),
        next=_next(supervisor, newest),
        file=supervisor.candidate.file,
    )


def _next(supervisor: Supervisor, newest: Cause | None) -> list[str]:
    """What an operator may type now."""
    name, state = supervisor.name, supervisor.life.state
    log = f"outboard logs {name}"
    if supervisor.life.is_held and supervisor.life.lacks is not None and supervisor.life.lacks.of:
        return [f"outboard why {supervisor.life.lacks.of}", log]
    if state in SERVING:
        return [f"outboard status {name}", log]
    match state:
        case State.DISABLED:
            return [f"outboard enable {name}"]
        case State.QUARANTINED:
            return [f"outboard release {name}", log]
        case State.FAILED | State.BACKOFF | State.WAITING:
            return [f"outboard restart {name}", log]
        case State.STOPPED:
            return [f"outboard start {name}", log] if newest is not None else [f"outboard start {name}"]
    return ["outboard status --watch"]


def _installed(origin: Origin | None) -> InstalledStatus | None:
    if origin is None:
        return None
    return InstalledStatus(source=origin.source, sha256=origin.sha256, at=origin.installed_at)


def _is_expected(supervisor: Supervisor) -> bool:
    """A critical one counts whoever stopped it; one that is asleep is where it ought to be."""
    return supervisor.life.is_wanted or (supervisor.policy.critical and not supervisor.is_asleep)


def _substate(supervisor: Supervisor) -> str | None:
    return PROBATION if supervisor.life.probation_until is not None else None


def _next_start_in_s(supervisor: Supervisor, now: float) -> float | None:
    at = supervisor.life.next_start_at
    return None if at is None else round(max(0.0, at - now), 3)


def _last_exit(supervisor: Supervisor) -> LastExit | None:
    last = next((cause for cause in reversed(supervisor.causes) if cause.up_s is not None), None)
    if last is None:
        return None
    return LastExit(code=last.exit_code, signal=last.signal, cause=last.text, at=round(last.at, 3))


def _stderr(supervisor: Supervisor) -> list[str]:
    generation = supervisor.generation
    return [line[:MAX_LINE] for line in generation.stderr_tail[-TAIL:]] if generation is not None else []
