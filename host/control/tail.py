"""`logs`: the end of the log, from memory or from the files, and then what comes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Annotated, Literal, Protocol

import anyio
import msgspec

from host.control.follow import Followers, Tell, tell_all
from host.observability.bounded import Bounded
from host.observability.events import HostEvent
from host.observability.logfiles import LogFiles
from host.observability.logs import LEVELS, RING, RING_CHARACTERS, LogLine, Ring, line_of, own_line, stamp

DEFAULT_LINES = 50
LATEST = 253402300799.0
"""The end of the year 9999: later than that no time can be written."""


class Tail(msgspec.Struct, kw_only=True):
    """Which records. Without `since` they come from the daemon's memory, else from its files too."""

    name: str | None = None
    lines: Annotated[int, msgspec.Meta(ge=0)] | None = None
    """The last so many, at most 4,000; null is 50, or with `since` all of them."""
    since: Annotated[float, msgspec.Meta(ge=0, le=LATEST)] | None = None
    """Unix seconds."""
    level: Literal["debug", "info", "warning", "error", "critical"] = "debug"
    """And above."""
    follow: bool = False

    def wants(self, line: LogLine) -> bool:
        return self.name in (None, line.plugin) and _RANK.get(line.level, 1) >= _RANK[self.level]


class LogFile(Protocol):
    """A log that is written behind our back: where, and when it has caught up."""

    file: str | None

    def settle(self) -> bool: ...


encoded = msgspec.json.encode
_RANK = {level: rank for rank, level in enumerate(LEVELS)}


async def tail(params: Tail, ring: Ring, log: LogFile | None, followers: Followers, tell: Tell) -> None:
    """Tells the records: first what there is, then, if `follow`, what comes."""

    def choose(event: HostEvent) -> bytes | None:
        line = line_of(event)
        return encoded(line) if params.wants(line) else None

    with ExitStack() as stack:
        # What is in memory, how long the files are, and what comes from now on: nothing awaits in
        # between, so nothing is missing and nothing is told twice.
        follower = stack.enter_context(followers.following(choose)) if params.follow else None
        kept = [line for line in ring if params.wants(line)]
        if params.since is None:
            batches = iter([newest(kept, DEFAULT_LINES if params.lines is None else params.lines)])
        else:
            if log is not None:
                log.settle()  # or the file would lack the last moment
            path = log.file if log is not None else None
            files = stack.enter_context(_files(params, path or "", stamp(params.since)))
            batches = _read(files, params.lines) if files.found else _remembered(kept, params)
        while (batch := await anyio.to_thread.run_sync(next, batches, None)) is not None:
            await tell_all(map(encoded, batch), tell)
        if follower is not None:
            await follower.run(tell, lambda count: encoded(lost(count)))


def from_files(params: Tail, log_file: str) -> Iterator[list[LogLine]]:
    """The same without a daemon. Blocks."""
    assert params.since is not None
    with _files(params, log_file, stamp(params.since)) as files:
        yield from _read(files, params.lines)


def _files(params: Tail, log_file: str, since: str) -> LogFiles:
    return LogFiles(log_file, since=since, wanted=params.wants)


def _remembered(kept: list[LogLine], params: Tail) -> Iterator[list[LogLine]]:
    """There is no file that could be read: what the daemon knows itself."""
    since = stamp(params.since or 0.0)
    recent = [line for line in kept if line.time >= since]
    return iter([newest(recent, len(recent) if params.lines is None else params.lines)])


def _read(files: LogFiles, count: int | None) -> Iterator[list[LogLine]]:
    """All of it as it is read, or the last `count` at the end; then how much was unreadable."""
    if count is None:
        yield from files.batches()
    else:
        last: Bounded[LogLine] = Bounded(min(count, RING), RING_CHARACTERS)
        for batch in files.batches():
            for line in batch:
                last.put(line, len(line.message))
            yield []  # so that whoever asks may be told to stop
        yield list(last)
    if files.skipped:
        yield [unreadable(files.skipped)]


def newest(lines: list[LogLine], count: int) -> list[LogLine]:
    return lines[-count:] if count else []


def unreadable(count: int) -> LogLine:
    text = f"{count} lines of the log files are no records, and were skipped"
    return own_line(text, level="warning", event="skipped")


def lost(count: int) -> LogLine:
    return own_line(
        f"{count} records were dropped: this reader was too slow", level="warning", event="dropped"
    )
