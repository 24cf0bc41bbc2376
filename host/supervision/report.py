"""One plugin's line of `status`, from its supervisor. Reads, and asks nobody."""

from __future__ import annotations

import time

from host.observability.snapshot import Calls, LastExit, LatencyMs, PluginStatus
from host.supervision.states import LIVE
from host.supervision.supervisor import Supervisor
from host.supervision.usage import Usage
from host.supervision.voice import one_line

# A picture of a thousand plugins must fit into a frame, whatever they call themselves.
MAX_NAME = 100
MAX_NAMES = 200
MAX_LINE = 500
TAIL = 20


def report(supervisor: Supervisor, usage: Usage | None, *, now: float) -> PluginStatus:
    """`now` is the host's monotonic time."""
    life = supervisor.life
    plugin = supervisor.candidate.manifest.plugin
    generation = supervisor.generation
    child = generation.child if generation is not None and life.state in LIVE else None
    stats = supervisor.stats
    last = supervisor.last_exit
    return PluginStatus(
        name=plugin.name,
        version=plugin.version,
        description=plugin.description,
        state=life.state,
        reason=life.reason or None,
        since=round(supervisor.since_unix, 3),
        generation=life.generation,
        pid=child.pid if child is not None else None,
        uptime_s=round(time.time() - child.started_at, 3) if child is not None else None,
        restarts=life.crashes,
        cpu_percent=usage.cpu_percent if usage is not None and child is not None else None,
        memory_bytes=usage.memory_bytes if usage is not None and child is not None else None,
        memory_limit_bytes=supervisor.policy.memory_bytes,
        processes=usage.processes if usage is not None and child is not None else None,
        calls=Calls(ok=stats.ok, error=stats.error, timeout=stats.timeout, in_flight=stats.in_flight),
        latency_ms=LatencyMs(p50=stats.latency.quantile_ms(0.5), p99=stats.latency.quantile_ms(0.99)),
        next_start_in_s=None if life.next_start_at is None else round(max(0.0, life.next_start_at - now), 3),
        last_exit=None
        if last is None
        else LastExit(
            code=last[0].code if last[0] else None,
            signal=last[0].signal if last[0] else None,
            cause=last[1],
            at=round(last[2], 3),
        ),
        note=(generation.voice.note or None) if generation is not None else None,
        start_mode=supervisor.policy.start_mode,
        expected=supervisor.is_expected,
        methods=[one_line(method.name)[:MAX_NAME] for method in supervisor.provides.methods[:MAX_NAMES]],
        hooks=[one_line(hook.point)[:MAX_NAME] for hook in supervisor.provides.hooks[:MAX_NAMES]],
        file=supervisor.candidate.file,
        stdout_noise_bytes=generation.voice.noise_bytes if generation is not None else 0,
        stderr_tail=[line[:MAX_LINE] for line in generation.stderr_tail[-TAIL:]] if generation else [],
    )
