"""`logs`: the end of the log, from memory or from the files, and then what comes."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Annotated, Literal

import anyio
import msgspec

from host.control.follow import Followers, Tell, tell_all
from host.observability.events import HostEvent
from host.observability.logfiles import LogFiles
from host.observability.logs import LEVELS, RING, LogLine, Ring, line_of, own_line, stamp

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


encoded = msgspec.json.encode
_RANK = {level: rank for rank, level in enumerate(LEVELS)}


async def tail(params: Tail, ring: Ring, log_file: str | None, followers: Followers, tell: Tell) -> None:
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
            await tell_all(map(encoded, newest(kept, params.lines)), tell)
        else:
            since = stamp(params.since)
            files = stack.enter_context(LogFiles(log_file or "", since=since, wanted=params.wants))
            batches = (
                files.batches() if files.found else iter([[line for line in kept if line.time >= since]])
            )
            await _tell_batches(batches, params.lines, tell)
            if files.skipped:
                await tell([encoded(unreadable(files.skipped))])
        if follower is not None:
            await follower.run(tell, lambda count: encoded(lost(count)))


async def _tell_batches(batches: Iterator[list[LogLine]], count: int | None, tell: Tell) -> None:
    last: deque[LogLine] = deque(maxlen=min(count or 0, RING))
    while (batch := await anyio.to_thread.run_sync(next, batches, None)) is not None:
        if count is None:
            await tell_all(map(encoded, batch), tell)
        else:
            last.extend(batch)
    await tell_all(map(encoded, last), tell)


def newest(lines: list[LogLine], count: int | None) -> list[LogLine]:
    count = DEFAULT_LINES if count is None else count
    return lines[-count:] if count else []


def unreadable(count: int) -> LogLine:
    return own_line(f"{count} lines of the log files are no records, and were skipped", level="warning")


def lost(count: int) -> LogLine:
    return own_line(
        f"{count} records were dropped: this reader was too slow", level="warning", event="dropped"
    )
