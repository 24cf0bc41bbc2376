"""Events become log records here, and nowhere else. For the daemon: an embedded host logs nothing.

For people on stderr, as JSON lines in a file that is rotated at 10 MiB and kept five times, and the
last few thousand in memory for `outboard logs`. One record a line, with the same keys everywhere, and a
message that a terminal can be shown: it may be a plugin's, so it is cut, and control characters are
escapes.
"""

from __future__ import annotations

import os
import re
import sys
from collections import deque
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from host.observability.events import CallFailed, HostEvent, PluginLogged, PluginProblem, StateChanged
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
_TROUBLE = ("backoff", "failed", "quarantined")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


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


def escaped(text: str) -> str:
    """`text` for a terminal: control characters other than tab and newline are shown, not obeyed."""
    return _CONTROL.sub(lambda match: f"\\x{ord(match.group()):02x}", text)


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
        case PluginProblem():
            level, message, name = "error", event.message, "problem"
            fields.update(plugin=event.plugin)
    time = datetime.fromtimestamp(event.at, UTC).isoformat(timespec="milliseconds")
    message = escaped(message[:MAX_MESSAGE])
    return LogLine(time=time.replace("+00:00", "Z"), level=level, event=name, message=message, **fields)


class Ring:
    """The newest records, in memory."""

    def __init__(self, size: int = RING) -> None:
        self._lines: deque[LogLine] = deque()
        self._most = size
        self._characters = 0

    def __call__(self, event: HostEvent) -> None:
        line = line_of(event)
        self._lines.append(line)
        self._characters += len(line.message)
        while len(self._lines) > self._most or self._characters > RING_CHARACTERS:
            self._characters -= len(self._lines.popleft().message)

    def tail(self, plugin: str | None, count: int) -> list[LogLine]:
        """The last `count` records, of one plugin or of all, oldest first."""
        chosen = [line for line in self._lines if plugin is None or line.plugin == plugin]
        return chosen[-count:] if count > 0 else []


class LoguruSubscriber:
    """Hands records to loguru, set up for a daemon. Replaces loguru's default handler."""

    def __init__(self, *, level: str, format: str, file: str | None) -> None:
        from loguru import logger  # 65 ms: the daemon's business alone

        self._logger: Logger = logger
        logger.remove()
        logger.add(
            sys.stderr,
            level=LEVELS[level],
            format=_as_json if format == "json" else _as_text,
            colorize=sys.stderr.isatty() and not os.environ.get("NO_COLOR"),
        )
        if file is not None:
            try:
                logger.add(file, level="DEBUG", format=_as_json, rotation=ROTATE_BYTES, retention=KEEP_FILES)
            except OSError as error:  # a log is not worth a daemon
                self.say(f"there is no log file {file}: {error.strerror or error}", level="warning")

    def __call__(self, event: HostEvent) -> None:
        self.write(line_of(event))

    def write(self, line: LogLine) -> None:
        self._logger.bind(line=line).log(LEVELS[line.level], "{}", line.message)

    def say(self, message: str, *, level: str = "info") -> None:
        """A record of the daemon itself."""
        time = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        self.write(
            LogLine(
                time=time,
                level=level,
                event="daemon",
                plugin=None,
                pid=None,
                generation=None,
                call_id=None,
                message=message,
            )
        )


def _as_json(record: Record) -> str:
    record["extra"]["json"] = msgspec.json.encode(record["extra"]["line"]).decode()
    return "{extra[json]}\n"


def _as_text(record: Record) -> str:
    line: LogLine = record["extra"]["line"]
    record["extra"]["who"] = line.plugin or "outboard"
    return "<dim>{time:HH:mm:ss.SSS}</dim> <level>{level: <7}</level> <cyan>{extra[who]}</cyan> {message}\n"
