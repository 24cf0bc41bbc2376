"""What the use of a plugin means against its limits: nothing, a concern, or its end. Pure.

A soft limit is a part of the hard one. What reaches it is a concern (the plugin is degraded, and says
why), and is over once it has stayed below for 30 s, so that nobody is told of every swing. What exceeds a
hard limit is killed. Each limit is one row of a table.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

import msgspec

from host.config.effective import PluginPolicy
from host.observability.snapshot import LimitStatus
from host.process.usage import Peak, Usage

EASED_AFTER_S = 30.0
NICE = "nobody (nice 5)"


class Limit(msgspec.Struct, frozen=True, kw_only=True):
    """A limit that is kept by looking. `name` is its key in [limits]."""

    name: str
    field: str
    """Of the policy."""
    soft_part: float
    soft_after_s: float = 0.0
    """For how long the soft limit has to be exceeded before it is a concern."""
    kills: bool = True
    """Whether more than the hard limit is the end, if nobody else sees to it."""
    used: Callable[[Usage | Peak], float | None]
    unit: str
    fix: str

    def soft(self, hard: int) -> float:
        """From here on it is a concern. Two at least: one process, or thread, is what there has to be."""
        return max(hard * self.soft_part, 2)


LIMITS = (
    Limit(
        name="memory",
        field="memory_bytes",
        soft_part=0.8,
        used=lambda usage: usage.memory_bytes,
        unit="bytes",
        fix="raise limits.memory, or have it use less",
    ),
    Limit(
        name="processes",
        field="processes",
        soft_part=0.8,
        used=lambda usage: usage.processes,
        unit="count",
        fix="raise limits.processes, or have it start fewer",
    ),
    Limit(
        name="threads",
        field="threads",
        soft_part=0.8,
        used=lambda usage: usage.threads,
        unit="count",
        fix="raise limits.threads, or have it start fewer",
    ),
    Limit(
        name="open_files",
        field="open_files",
        soft_part=0.25,  # 256 of 1,024: who has so many open has probably forgotten to close some
        kills=False,
        used=lambda usage: usage.open_files,
        unit="count",
        fix="raise limits.open_files, or have it close some",
    ),
    Limit(
        name="cpu_percent",
        field="cpu_percent",
        soft_part=0.9,
        soft_after_s=30.0,
        kills=False,
        used=lambda usage: usage.cpu_percent,
        unit="percent",
        fix="raise limits.cpu_percent, or have it compute less",
    ),
)


class Breach(msgspec.Struct, frozen=True):
    """A hard limit that was exceeded."""

    limit: str
    text: str
    fix: str


class Watch(msgspec.Struct, frozen=True):
    """Of one limit: whether it is a concern, and since when its use has been saying otherwise."""

    is_concern: bool = False
    otherwise_since: float | None = None


Watches = dict[str, Watch]
"""By name of the limit; what is not in it is at rest."""


class Judgement(msgspec.Struct, frozen=True):
    watches: Watches
    concerns: dict[str, str] = {}
    """New ones: name and text."""
    eased: tuple[str, ...] = ()
    breach: Breach | None = None


def judge(policy: PluginPolicy, usage: Usage, watches: Watches, now: float) -> Judgement:
    """What `usage` at `now` means, after what `watches` says of the looks before. Never raises."""
    concerns: dict[str, str] = {}
    eased: list[str] = []
    breach: Breach | None = None
    after = watches
    for limit in LIMITS:
        hard = getattr(policy, limit.field)
        used = limit.used(usage) if hard is not None else None
        is_high = used is not None and used >= limit.soft(hard)
        watch = watches.get(limit.name)
        if not is_high and watch is None:
            continue  # as nearly always: this is done for every plugin every second
        if limit.kills and used is not None and used > hard and breach is None:
            breach = _breach(limit, used, hard, usage)
        was, watch = watch, _watched(limit, watch or Watch(), is_high, now)
        if breach is None and watch.is_concern and not (was is not None and was.is_concern):
            assert used is not None
            concerns[limit.name] = f"{limit.name}: {_of(limit, used, hard)}"
        elif was is not None and was.is_concern and not watch.is_concern:
            eased.append(limit.name)
        after = dict(after)
        if watch == Watch():
            after.pop(limit.name, None)
        else:
            after[limit.name] = watch
    return Judgement(after, concerns, tuple(eased), breach)


def _watched(limit: Limit, watch: Watch, is_high: bool, now: float) -> Watch:
    if is_high == watch.is_concern:
        return Watch(watch.is_concern)
    since = now if watch.otherwise_since is None else watch.otherwise_since
    needed_s = EASED_AFTER_S if watch.is_concern else limit.soft_after_s
    return Watch(is_high) if now - since >= needed_s else Watch(watch.is_concern, since)


def _breach(limit: Limit, used: float, hard: int, usage: Usage) -> Breach:
    text = f"{limit.name}: {_of(limit, used, hard)}"
    if limit.name == "memory":
        count = "1 process" if usage.processes == 1 else f"{usage.processes} processes"
        text += f" ({_MEASURES[usage.measure]} of {count})"
    return Breach(limit.name, f"{text}, killed by the host", limit.fix)


def killed_by_kernel(policy: PluginPolicy) -> Breach:
    """Where the control group has seen to it."""
    hard = policy.memory_bytes
    of = "its limit" if hard is None else _mib(hard)
    return Breach(
        "memory", f"memory: more than {of}, killed by the kernel (cgroup memory.max)", LIMITS[0].fix
    )


_MEASURES = {"rss": "RSS", "private": "private memory", "pss": "PSS", "uss": "USS", "group": "control group"}


def _of(limit: Limit, used: float, hard: int) -> str:
    if limit.unit == "bytes":
        return f"{_mib(used)} of {_mib(hard)}"
    if limit.unit == "percent":
        return f"{used:.0f} % of {hard} %"
    return f"{used:.0f} of {hard}"


def _mib(count: float) -> str:
    return f"{count / 1024**2:.1f}".removesuffix(".0") + " MiB"


# -- for status ----------------------------------------------------------------------------------

_BY_HOST = "the host"
"""Which looks, and kills the tree."""


def mechanisms(policy: PluginPolicy, controllers: Collection[str], *, platform: str) -> dict[str, str]:
    """Who keeps each limit, by name; `controllers` are those of the plugin's own control group."""
    memory = "cgroup memory.max" if "memory" in controllers else _BY_HOST
    found = {
        "memory": f"RLIMIT_DATA, {memory}" if platform == "linux" else memory,
        "processes": _BY_HOST,
        "threads": "cgroup pids.max" if "pids" in controllers else _BY_HOST,
        "open_files": "RLIMIT_NOFILE",
        "cpu_percent": "cgroup cpu.max" if "cpu" in controllers else NICE,
        "file_size": "RLIMIT_FSIZE",
        "core": "RLIMIT_CORE",
    }
    for limit in LIMITS:
        if getattr(policy, limit.field) is None:
            del found[limit.name]
    if policy.file_size_bytes is None:
        del found["file_size"]
    return found


def rows(
    policy: PluginPolicy, usage: Usage | None, controllers: Collection[str], *, platform: str
) -> list[LimitStatus]:
    """Every limit of a plugin, with its use and who keeps it."""
    kept_by = mechanisms(policy, controllers, platform=platform)
    watched = [
        LimitStatus(
            name=limit.name,
            unit=limit.unit,
            soft=None if (hard := getattr(policy, limit.field)) in (None, 1) else int(limit.soft(hard)),
            hard=hard,
            usage=limit.used(usage) if usage is not None else None,
            peak=limit.used(usage.peak) if usage is not None else None,
            mechanism=kept_by.get(limit.name),
        )
        for limit in LIMITS
    ]
    of_a_file = [
        LimitStatus(
            name=name,
            unit="bytes",
            soft=None,
            hard=hard,
            usage=None,
            peak=None,
            mechanism=kept_by.get(name),
        )
        for name, hard in (("file_size", policy.file_size_bytes), ("core", 0))
    ]
    return watched + of_a_file
