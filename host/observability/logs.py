"""Events become log records here, and nowhere else. For the daemon: an embedded host logs nothing.

For people on stderr, as JSON lines in a file that is rotated at 10 MiB and kept five times, and the
last few thousand in memory for `outboard logs`. One record a line, with the same keys everywhere, and a
message that a terminal can be shown: it may be a plugin's, so it is cut, and control characters are
escapes. Nothing here waits for whoever reads: stderr and the file have an `Outlet` each.
"""

from __future__ import annotations

import copy
import os
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from time import time
from typing import TYPE_CHECKING, Any

import msgspec

from host.observability.bounded import Bounded
from host.observability.escape import escaped
from host.observability.events import (
    CallFailed,
    CallReplayed,
    HostEvent,
    PluginLogged,
    PluginProblem,
    PluginsChanged,
    ProcessesLeaked,
    ProcessesSwept,
    SettingsChanged,
    StateChanged,
    WarmStarts,
)
from host.observability.outlet import Outlet, OutletStream, write_to
from host.observability.regular import check_regular
from host.observability.traceparent import trace_id_of, valid_parent

if TYPE_CHECKING:
    from loguru import Logger, Record

LEVELS = {"debug": "DEBUG", "info": "INFO", "warning": "WARNING", "error": "ERROR", "critical": "CRITICAL"}
ROTATE_BYTES = 10 * 1024 * 1024
KEEP_FILES = 5
RING = 4000
RING_CHARACTERS = 2 * 1024 * 1024
"""All messages in memory together: in the worst case still less than a frame."""
MAX_MESSAGE = 32 * 1024
SETTLE_S = 0.25
FILE_LIMIT_CHARACTERS = 8 * 1024 * 1024
"""What may wait for the disk. Nobody else is asked to keep records, so this one has patience."""
MAX_PIDS = 20
"""A message names no more than so many."""
_TROUBLE = ("backoff", "failed", "quarantined")
_ACTIONS = {
    "load": "it is loaded",
    "restart": "it is restarted",
    "unload": "it is unloaded",
    "keep": "no new process is needed",
    "announce": "nothing is done about it, as [watch] says",
    "wait": "nothing is done about it yet",
}
"""Of what the host does about changed files."""


class LogLine(msgspec.Struct, kw_only=True, frozen=True):
    """One record, as it stands in the file and in `outboard logs --json`."""

    time: str
    level: str
    event: str
    plugin: str | None
    pid: int | None
    generation: int | None
    call_id: str | None
    message: str
    trace_id: str | None = None
    """Of the trace that the call belonged to, or the call that a plugin worked on when it said this."""


def line_of(event: HostEvent) -> LogLine:
    """What the log says of an event."""
    fields: dict[str, Any] = {"plugin": None, "pid": None, "generation": None, "call_id": None}
    match event:
        case StateChanged():
            level = "warning" if event.state in _TROUBLE else "info"
            message = event.state + (f": {event.reason}" if event.reason else "")
            fields.update(plugin=event.plugin, pid=event.pid, generation=event.generation)
            name = "state"
        case PluginLogged():
            level = event.level if event.level in LEVELS else "info"
            message = event.message
            parent = valid_parent(event.fields.get("traceparent"))
            fields.update(plugin=event.plugin, pid=event.pid, generation=event.generation)
            fields.update(trace_id=trace_id_of(parent) if parent else None)
            name = event.source
        case CallFailed():
            level = "warning"
            message = f"{event.method}: {event.error}: {event.message}"
            fields.update(plugin=event.plugin, call_id=event.call_id, trace_id=event.trace_id)
            name = "call"
        case CallReplayed():
            level, name = "info", "replay"
            message = f"{event.method}: sent again, cut off by incident {event.incident}"
            fields.update(plugin=event.plugin, call_id=event.call_id, trace_id=event.trace_id)
        case PluginProblem():
            level, message, name = "error", event.message, "problem"
            fields.update(plugin=event.plugin)
        case PluginsChanged():
            level = "warning" if event.action == "wait" else "info"
            message, name = f"{event.kind} on disk: {event.reason}; {_ACTIONS[event.action]}", "watch"
            fields.update(plugin=event.plugin)
        case ProcessesSwept():
            whose = "it" if event.plugin is not None else "an earlier host"
            level, message, name = "info", f"{_processes(event.count)} that {whose} had left: killed", "swept"
            fields.update(plugin=event.plugin, generation=event.generation)
        case ProcessesLeaked():
            pids = ", ".join(map(str, event.pids[:MAX_PIDS])) + (", ..." if event.pids[MAX_PIDS:] else "")
            message = f"{_processes(len(event.pids))} left behind and cannot be ended: pid {pids}"
            level, name = "error", "leaked"
            fields.update(plugin=event.plugin, generation=event.generation)
        case SettingsChanged():
            by = f", by the {event.by}" if event.by else ""
            level, name, message = "info", "settings", f"settings changed: {', '.join(event.keys)}{by}"
            fields.update(plugin=event.plugin)
        case WarmStarts():
            level, name = "info" if event.are_possible else "warning", "warm"
            again = f"; tried again in {event.again_in_s:g} s" if event.again_in_s is not None else ""
            message = f"{'warm' if event.are_possible else 'cold'} starts: {event.reason}{again}"
    message = escaped(message[:MAX_MESSAGE])
    return LogLine(time=stamp(event.at), level=level, event=name, message=message, **fields)


def _processes(count: int) -> str:
    return "1 process" if count == 1 else f"{count} processes"


def stamp(at: float) -> str:
    """A Unix time as records have it: of one length, so that text sorts as time does."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def own_line(message: str, *, level: str = "info", event: str = "daemon") -> LogLine:
    """A record that is of no plugin."""
    none: dict[str, None] = {"plugin": None, "pid": None, "generation": None, "call_id": None}
    message = escaped(message[:MAX_MESSAGE])
    return LogLine(time=stamp(time()), level=level, event=event, message=message, **none)


class Ring:
    """The newest records, in memory."""

    def __init__(self, size: int = RING) -> None:
        self._lines: Bounded[LogLine] = Bounded(size, RING_CHARACTERS)

    def __call__(self, event: HostEvent) -> None:
        line = line_of(event)
        self._lines.put(line, len(line.message))

    def __iter__(self) -> Iterator[LogLine]:
        """Oldest first."""
        return iter(self._lines)

    def tail(self, plugin: str | None, count: int) -> list[LogLine]:
        """The last `count` records, of one plugin or of all, oldest first."""
        chosen = [line for line in self._lines if plugin is None or line.plugin == plugin]
        return chosen[-count:] if count > 0 else []


class LoguruSubscriber:
    """Hands records to loguru, set up for a daemon. Until `close` it replaces loguru's default handler,
    and `sys.stderr` by something that does not block."""

    def __init__(
        self, *, level: str, format: str, file: str | None, rotate_bytes: int = ROTATE_BYTES
    ) -> None:
        from loguru import logger  # 65 ms: the daemon's business alone

        self._logger: Logger = logger
        self._outlets: list[Outlet] = []
        self.file: str | None = file
        self._format = format
        self._coloured = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
        logger.remove()
        files = copy.deepcopy(logger)
        shown = self._outlet(write_to(2), "stderr", format)
        self._shown = shown.put
        self._stderr, sys.stderr = sys.stderr, OutletStream(shown)
        self._show(level)
        if file is not None:
            try:
                self._keep(files, file, rotate_bytes)
            except OSError as error:  # a log is not worth a daemon
                self.say(f"there is no log file {file}: {error.strerror or error}", level="warning")

    def _outlet(self, write: Callable[[str], object], place: str, format: str, **more: Any) -> Outlet:
        outlet = Outlet(
            write,
            dropped=lambda count: _dropped_line(count, format),
            on_trouble=lambda error: self.say(
                f"the log cannot be written to {place}: {error.strerror or error}", level="warning"
            ),
            **more,
        )
        self._outlets.append(outlet)
        return outlet

    def _show(self, level: str) -> None:
        form = _as_json if self._format == "json" else _as_text
        self._level = level
        self._handler = self._logger.add(
            self._shown, level=LEVELS[level], format=form, colorize=self._coloured
        )

    def _keep(self, files: Logger, file: str, rotate_bytes: int) -> None:
        """`files` is a loguru of its own, called on the outlet's thread: it rotates and removes."""
        check_regular(file)  # opening a FIFO would wait for a reader
        files.add(
            file.replace("{", "{{").replace("}", "}}"),
            level=0,
            format="{message}",
            rotation=rotate_bytes,
            retention=KEEP_FILES,
            watch=True,  # somebody else may move it away
            catch=False,
        )
        write = files.opt(raw=True).info
        limit = FILE_LIMIT_CHARACTERS
        outlet = self._outlet(write, file, "json", limit_characters=limit, finish=files.remove)
        self._logger.add(outlet.put, level="DEBUG", format=_as_json)

    def __call__(self, event: HostEvent) -> None:
        self.write(line_of(event))

    def write(self, line: LogLine) -> None:
        self._logger.bind(line=line).log(LEVELS[line.level], "{}", line.message)

    def say(self, message: str, *, level: str = "info") -> None:
        """A record of the daemon itself."""
        self.write(own_line(message, level=level))

    def settle(self, within_s: float = SETTLE_S) -> bool:
        """Waits until what was said so far is in the file; whether it is."""
        return all(outlet.settle(within_s) for outlet in self._outlets[1:])

    def close(self) -> None:
        """Writes what is waiting, as far as it is taken in a moment."""
        self._logger.remove()
        sys.stderr = self._stderr
        for outlet in self._outlets:
            outlet.close()


def _dropped_line(count: int, format: str) -> str:
    line = own_line(f"{count} records are missing here: they could not be written in time", level="warning")
    if format == "json":
        return msgspec.json.encode(line).decode() + "\n"
    return f"{datetime.now():%H:%M:%S.%f}"[:-3] + f" WARNING outboard {line.message}\n"


def _as_json(record: Record) -> str:
    record["extra"]["json"] = msgspec.json.encode(record["extra"]["line"]).decode()
    return "{extra[json]}\n"


def _as_text(record: Record) -> str:
    line: LogLine = record["extra"]["line"]
    record["extra"]["who"] = line.plugin or "outboard"
    return "<dim>{time:HH:mm:ss.SSS}</dim> <level>{level: <7}</level> <cyan>{extra[who]}</cyan> {message}\n"
