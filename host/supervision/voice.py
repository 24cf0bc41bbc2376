"""What a plugin says that no call waits for: logs, stderr, a status text, noise, and that it is over.

All of it is untrusted text: capped, its control characters shown and not obeyed, and no more of it than
200 records a second after a burst of 1,000; what is over is counted and said once it calms down.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import anyio
import msgspec

from host.observability.metrics import PluginStats
from host.process.link import Link
from host.process.stderr import printable
from protocol import values
from protocol.errors import FAULT_MEANING
from protocol.events import Cancelled, Ended, Event, Notification, Request, Resumed, Strayed
from protocol.lifecycle import LogRecord, StatusText
from protocol.secrets import masked

RATE_PER_S = 200
BURST = 1000
MAX_NOTE = 200
MAX_DROPPED = 1_000_000
"""What a plugin may say that it dropped before one record: a number of its own making."""
MAX_QUOTE = 500

OnAsk = Callable[[Event, Link], None]
"""Gets the plugin's requests, what it cancels of them, what it acknowledges, and the connection's end."""

OnLog = Callable[[str, str, str, LogRecord | None], None]
"""Gets source, level, message, and the record itself if it came as one."""


class Voice:
    """Of one generation. `now` is the host's clock."""

    def __init__(self, on_log: OnLog, now: Callable[[], float], stats: PluginStats, on_ask: OnAsk) -> None:
        self.note = ""
        """Its own line about what it does."""
        self.noise_bytes = 0
        self.fault = ""
        """Why the connection broke, if it was the plugin's doing."""
        self.broken = anyio.Event()
        self.secrets: set[str] = set()
        """What it has been told and must not repeat where others read it."""
        self._on_log = on_log
        self._on_ask = on_ask
        self._now = now
        self._stats = stats
        self._allowance = float(BURST)
        self._filled_at = now()
        self._dropped = 0

    def hear_stderr(self, line: str) -> None:
        """A line that has been made printable."""
        self._log("stderr", "info", line)

    def hear(self, event: Event, link: Link) -> None:
        """Everything that `link` has no use for itself."""
        if isinstance(event, Strayed):
            self.noise_bytes += len(event.text)
            self._stats.noise_bytes += len(event.text)
            if text := printable(event.text):
                self._log("stdout", "warning", f"plugin wrote to stdout: {text!r}")
        elif isinstance(event, Notification):
            if event.method == "event/ack":
                self._on_ask(event, link)
            else:
                self._hear_notification(event)
        elif isinstance(event, Request | Cancelled | Resumed):
            self._on_ask(event, link)
        elif isinstance(event, Ended):
            self._on_ask(event, link)
            if event.fault is not None:
                meaning = FAULT_MEANING[event.fault]
                self.fault = f"wire fault {event.fault}: {meaning} ({event.detail})"
            self.broken.set()

    def _hear_notification(self, event: Notification) -> None:
        try:
            if event.method == "log/record":
                record = values.decode(event.params, LogRecord)
                self._stats.dropped_records += max(0, min(record.dropped, MAX_DROPPED))
                self._log("log", record.level, printable(record.message.encode(errors="replace")), record)
            elif event.method == "status/text":
                text = values.decode(event.params, StatusText).text
                self.note = one_line(masked(text, self.secrets))[:MAX_NOTE]
        except (msgspec.DecodeError, UnicodeDecodeError):
            pass  # a malformed notification is nobody's business

    def _log(self, source: str, level: str, message: str, record: LogRecord | None = None) -> None:
        now = self._now()
        self._allowance = min(BURST, self._allowance + (now - self._filled_at) * RATE_PER_S)
        self._filled_at = now
        if self._allowance < 1:
            self._dropped += 1
            self._stats.dropped_records += 1
            return
        self._allowance -= 1
        if self._dropped:
            dropped, self._dropped = self._dropped, 0
            self._on_log(source, "warning", f"({dropped} records were dropped: too many at once)", None)
        if self.secrets:
            message = masked(message, self.secrets)
            record = None if record is None else self._masked(record)
        self._on_log(source, level, message, record)

    def masked(self, lines: Sequence[str]) -> list[str]:
        """Without the secrets that it has been told."""
        return [masked(line, self.secrets) for line in lines]

    def _masked(self, record: LogRecord) -> LogRecord:
        whole = msgspec.json.encode(record.fields).decode()
        if (text := masked(whole, self.secrets)) == whole:
            return record
        try:
            fields = msgspec.json.decode(text)
        except msgspec.DecodeError:  # a secret that looks like JSON itself
            fields = {}
        return msgspec.structs.replace(record, fields=fields)


def one_line(text: str) -> str:
    """Text of a plugin's, fit to be quoted in a sentence."""
    return printable(" ".join(text[:MAX_QUOTE].split()).encode(errors="replace"))[:MAX_QUOTE]
