"""What the daemon answers over HTTP: three pages for whoever watches it, and nothing that changes anything.

`/healthz`: this process answers, so its event loop does. `/readyz`: every plugin that ought to be running
takes calls. `/metrics`: what is counted. Knows no socket; `http.py` has the connection.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import anyio
import anyio.to_thread
import msgspec

from host.errors import HostMisuse
from host.host import Host
from host.observability.openmetrics import OPENMETRICS, PLAIN, Measures, exposition, families
from host.observability.snapshot import Status
from host.supervision.states import SERVING

MAX_NAMED = 100
"""Plugins that `/readyz` names."""

# A page of somebody else's, open in a browser here, can have its own name resolve to 127.0.0.1 and would
# then be let read what we answer (DNS rebinding). Its requests say that name in Host.
_OWN_HOST = re.compile(r"(localhost|127\.0\.0\.1|\[::1\])(:\d{1,5})?", re.IGNORECASE)


class Page(msgspec.Struct, frozen=True):
    """An answer."""

    status: int
    body: bytes
    content_type: str = "text/plain; charset=utf-8"
    headers: tuple[tuple[str, str], ...] = ()


def said(status: int, text: str, *headers: tuple[str, str]) -> Page:
    """A line for a person."""
    return Page(status, f"{text}\n".encode(), headers=headers)


class Pages:
    """Of one host. `is_started` says whether it has got through starting its plugins once."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self.is_started = False
        self._rendering = anyio.Lock()

    async def answer(self, method: str, target: str, headers: Mapping[str, str]) -> Page:
        """`headers` by names in lower case."""
        own = headers.get("host")
        if own is not None and not _OWN_HOST.fullmatch(own):
            return said(403, "this is for localhost, and the Host header names another one")
        try:
            path = urlsplit(target).path
        except ValueError:
            path = ""
        if path not in ("/metrics", "/healthz", "/readyz"):
            return said(404, "there are: /metrics /healthz /readyz")
        if method not in ("GET", "HEAD"):
            return said(405, "GET and HEAD alone", ("Allow", "GET, HEAD"))
        if path == "/healthz":
            return self._health()
        if path == "/readyz":
            return self._readiness()
        return await self._metrics(headers.get("accept", ""))

    def _health(self) -> Page:
        status = self._status()
        seen: dict[str, Any] = {"status": "ok", "uptime_s": None, "loop_lag_p99_ms": None}
        if status is not None:
            seen.update(uptime_s=status.host.uptime_s, loop_lag_p99_ms=status.host.loop_lag_p99_ms)
        return _json(200, seen)

    def _readiness(self) -> Page:
        status = self._status()
        plugins = status.plugins if status is not None else []
        missing = [
            {"name": plugin.name, "state": plugin.state, "reason": plugin.reason}
            for plugin in plugins
            if plugin.expected and plugin.state not in SERVING
        ]
        ready = self.is_started and not missing
        seen = {"ready": ready, "starting": not self.is_started, "missing": missing[:MAX_NAMED]}
        return _json(200 if ready else 503, seen)

    async def _metrics(self, accept: str) -> Page:
        async with self._rendering:  # one at a time, however many ask
            try:
                measures = self._host.measures()
            except HostMisuse:
                return said(503, "the host has not begun yet")
            kind = OPENMETRICS if wants_openmetrics(accept) else PLAIN
            # 0.1 ms a method: of thousands, the loop would feel it.
            return Page(200, await anyio.to_thread.run_sync(_rendered, measures, kind), kind)

    def _status(self) -> Status | None:
        try:
            return self._host.status()
        except HostMisuse:  # it has not begun yet, or is over
            return None


def wants_openmetrics(accept: str) -> bool:
    """Whether an Accept header names OpenMetrics; `*/*` means people, and they get the plain format."""
    for part in accept.lower().split(","):
        kind, *parameters = [piece.strip() for piece in part.split(";")]
        if kind == "application/openmetrics-text":
            return not any(re.fullmatch(r"q\s*=\s*0(\.0*)?", each) for each in parameters)
    return False


def _rendered(measures: Measures, content_type: str) -> bytes:
    return exposition(families(measures), content_type).encode()


def _json(status: int, value: Any) -> Page:
    return Page(status, msgspec.json.encode(value) + b"\n", "application/json")
