"""A host in one thread, for tests of plugins: a real process, a `Session("host")`, and bounded waits.

Everything that waits has a deadline and waits in `select`. `close` leaves no process behind.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections import deque
from pathlib import Path
from typing import Any

import msgspec

from protocol import values
from protocol.envelope import Meta
from protocol.errors import RpcError
from protocol.events import Ended, Event, Lost, Notification, Progressed, Reply, Request, Streamed
from protocol.lifecycle import FEATURES
from protocol.pending import Call
from protocol.session import Session

SDK = [sys.executable, "-P", "-m", "plugin_sdk", "run"]


class Gone(Exception):
    """The plugin has closed its side before it answered."""


class RawHost:
    """Starts a plugin in `folder` and talks to it. Use as a context manager."""

    def __init__(
        self,
        folder: Path,
        file: str = "main.py",
        *,
        command: list[str] | None = None,
        env: dict[str, str] | None = None,
        log_folder: Path | None = None,
    ) -> None:
        self.session = Session("host")
        self.heard: deque[Event] = deque()
        """What the plugin said unasked."""
        self._replies: dict[int, Reply | Lost] = {}
        self._unsent = b""
        self._stderr_path = (log_folder or folder) / "stderr.txt"
        with open(self._stderr_path, "wb") as stderr:
            self.process = subprocess.Popen(
                command or [*SDK, file],
                cwd=folder,
                env=os.environ | (env or {}),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                start_new_session=True,
                bufsize=0,
            )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self._write_fd = self.process.stdin.fileno()
        self._read_fd = self.process.stdout.fileno()
        os.set_blocking(self._write_fd, False)

    def __enter__(self) -> RawHost:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- the life of a plugin --------------------------------------------------------------------

    def initialize(
        self, config: dict[str, Any] | None = None, features: tuple[str, ...] = FEATURES, **more: Any
    ) -> Any:
        params = {
            "protocol": [1],
            "plugin": {"name": "tested"},
            "config": config or {},
            "features": list(features),
        }
        return self.call("initialize", params | more, timeout=10)

    def begin(
        self, config: dict[str, Any] | None = None, features: tuple[str, ...] = FEATURES, **more: Any
    ) -> RawHost:
        """The whole handshake, after which the plugin serves."""
        self.initialize(config, features, **more)
        self.notify("initialized")
        self.call("lifecycle/start")
        return self

    def end(self, timeout: float = 5.0) -> int:
        """The polite end; returns the exit code."""
        self.call("shutdown")
        self.notify("exit")
        return self.wait_exit(timeout)

    def wait_exit(self, timeout: float = 5.0) -> int:
        """The exit code, negative for a signal; raises subprocess.TimeoutExpired."""
        return self.process.wait(timeout)

    def close(self) -> None:
        """Kills what is left of the plugin, with its children."""
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait(10)

    # -- talking ---------------------------------------------------------------------------------

    def call(self, method: str, params: Any = None, timeout: float = 5.0, *, meta: Meta | None = None) -> Any:
        """The result. Raises `RpcError` for an error reply, `Gone`, or TimeoutError."""
        return self.result_of(self.send(method, params, meta=meta), timeout)

    def send(self, method: str, params: Any = None, *, meta: Meta | None = None) -> Call:
        call = self.session.request(method, {} if params is None else params, meta=meta)
        self._flush()
        return call

    def send_together(self, *questions: tuple[str, Any]) -> list[Call]:
        """In one write, so that the plugin reads them at once: methods and their params."""
        calls = [self.session.request(method, params) for method, params in questions]
        self._flush()
        return calls

    def result_of(self, call: Call, timeout: float = 5.0) -> Any:
        deadline = time.monotonic() + timeout
        while call.id not in self._replies:
            self._step(deadline, f"no answer to {call.method}")
        reply = self._replies.pop(call.id)
        if isinstance(reply, Lost):
            raise Gone(reply.reason)
        if reply.error is not None:
            raise reply.error
        assert reply.result is not None
        return msgspec.json.decode(reply.result)

    def notify(self, method: str, params: Any = None) -> None:
        self.session.notify(method, {} if params is None else params)
        self._flush()

    def send_cancel(self, call: Call) -> None:
        """Tells the plugin, and goes on waiting for its answer: `Session.cancel` would not."""
        self.notify("$/cancelRequest", {"id": call.id})

    def write(self, data: bytes) -> None:
        """Raw bytes, past the session."""
        self._unsent += data
        self._flush()

    def close_stdin(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()

    def nudge(self) -> None:
        self.process.send_signal(signal.SIGURG)

    def next_event(self, timeout: float = 5.0) -> Event:
        """What the plugin said unasked, in order."""
        deadline = time.monotonic() + timeout
        while not self.heard:
            self._step(deadline, "no event")
        return self.heard.popleft()

    def hear_more(self, timeout: float = 5.0) -> None:
        """Returns when the plugin has said something."""
        self._step(time.monotonic() + timeout, "nothing")

    def flush(self) -> None:
        """Writes what the session has to say."""
        self._flush()

    def next_notification(self, method: str, timeout: float = 5.0) -> Any:
        """The params of the next notification of that method; others are skipped."""
        deadline = time.monotonic() + timeout
        while True:
            event = self.next_event(max(0.0, deadline - time.monotonic()))
            if isinstance(event, Notification) and event.method == method:
                return msgspec.json.decode(event.params)

    def next_progress(self, timeout: float = 5.0) -> Progressed:
        """How far the plugin says that it is, the next time; what else it says until then is skipped."""
        deadline = time.monotonic() + timeout
        while True:
            event = self.next_event(max(0.0, deadline - time.monotonic()))
            if isinstance(event, Progressed):
                return event

    def next_items(self, timeout: float = 5.0) -> list[Any]:
        """The next batch of a stream, decoded; what else the plugin says until then is skipped."""
        deadline = time.monotonic() + timeout
        while True:
            event = self.next_event(max(0.0, deadline - time.monotonic()))
            if isinstance(event, Streamed):
                return [values.decode(item) for item in event.items]

    def use(self, call: Call, count: int, size: int | None = None) -> None:
        """Gives credit back: so many items, of so many bytes, or else of one each, have been used."""
        self.session.streams.use(call, count, count if size is None else size)
        self._flush()

    def next_request(self, method: str, timeout: float = 5.0) -> Request:
        """The next request of the plugin's of that method; what else it says until then is skipped."""
        deadline = time.monotonic() + timeout
        while True:
            event = self.next_event(max(0.0, deadline - time.monotonic()))
            if isinstance(event, Request) and event.method == method:
                return event

    def answer(self, request: Request, result: Any) -> None:
        """Answers a request of the plugin's; with an error if `result` is one."""
        if isinstance(result, RpcError):
            self.session.reply_error(request.id, result)
        else:
            self.session.reply(request.id, result)
        self._flush()

    def wait_ended(self, timeout: float = 5.0) -> Ended:
        """How the plugin's output ended; what else it says until then is skipped."""
        deadline = time.monotonic() + timeout
        while True:
            event = self.next_event(max(0.0, deadline - time.monotonic()))
            if isinstance(event, Ended):
                return event

    def stderr(self) -> str:
        """What the plugin and its children have written so far."""
        return self._stderr_path.read_text(errors="replace")

    # -- pipes -----------------------------------------------------------------------------------

    def _flush(self) -> None:
        while True:
            if not self._unsent:
                self._unsent = self.session.outbox.take()
                if not self._unsent:
                    return
            try:
                written = os.write(self._write_fd, self._unsent)
            except BlockingIOError:
                return
            except BrokenPipeError:  # the reading side will tell
                self._unsent = b""
                return
            self._unsent = self._unsent[written:]

    def _step(self, deadline: float, what: str) -> None:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError(f"{what}; stderr: {self.stderr()[-2000:]}")
        writing = [self._write_fd] if self._unsent else []
        readable, writable, _ = select.select([self._read_fd], writing, [], left)
        if writable:
            self._flush()
        if readable:
            data = os.read(self._read_fd, 65536)
            events = self.session.receive(data, 0.0) if data else self.session.receive_eof()
            if not data and not events:
                raise Gone("the plugin's output has ended")
            for event in events:
                if isinstance(event, Reply | Lost):
                    self._replies[event.call.id] = event
                else:
                    self.heard.append(event)
            self._flush()


def frame(message: dict[str, Any]) -> bytes:
    """A frame as any program could have written it."""
    body = msgspec.json.encode({"jsonrpc": "2.0"} | message)
    return b"Content-Length: %d\r\n\r\n%b" % (len(body), body)


def error_of(host: RawHost, method: str, params: Any = None, timeout: float = 5.0) -> RpcError:
    """The error that a call is answered with; fails if it is answered with a result."""
    try:
        result = host.call(method, params, timeout)
    except RpcError as error:
        return error
    raise AssertionError(f"{method} succeeded: {result!r}")
