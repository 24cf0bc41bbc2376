"""The other end of a plugin's pipes, by hand: whatever bytes are wanted, and everything that comes back.

One thread, one process, every wait in one `select` with a deadline. `close` leaves no process behind.
"""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import tempfile
import time
from collections import deque
from contextlib import suppress
from typing import Any

import msgspec

from host.process.launchers import LaunchSpec
from protocol.framing import Broken, FrameReader, Noise, Packed, frame

__all__ = ["Gone", "Late", "Message", "Peer"]

Message = dict[str, Any]
_STRICT = re.compile(rb"Content-Length: \d{1,10}\r\n(Content-Type: application/msgpack\r\n)?\r\n")
LAST_LINES = 2
_NO_WORDS = re.compile(r"[\^~\s]*|at .*|Node\.js v.*")
"""Lines of a traceback that say nothing to a person."""
EXIT_S = 1.0
"""How long the exit code of a plugin is waited for that has closed its output."""

MAX_RECEIVED = 64 * 1024 * 1024
"""Bytes of a plugin's whole life, to stdout as to stderr. Whoever writes more floods, and is ended."""
MAX_KEPT = 10_000
"""Messages that nobody has taken yet: small ones take many times their bytes."""
MAX_NOISE = 64 * 1024
LOOK_S = 0.1
"""How often the size of its stderr is looked at while nothing else happens."""


class Gone(Exception):
    """The plugin has ended, or its output has, or cannot be read any further."""


class Late(Exception):
    """It has not happened within its time."""


class Peer:
    """A plugin's process. `timeout_s` is the time that each answer may take."""

    def __init__(self, spec: LaunchSpec, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self.heard: deque[Message] = deque()
        """Notifications, and requests of the plugin's own, which are answered with -32601."""
        self.replies: deque[Message] = deque()
        """Those that nobody has taken yet."""
        self.noise = b""
        self.odd_headers: list[str] = []
        self.unreadable: list[str] = []
        """Frames that are no message."""
        self._reader = FrameReader()
        self._head = b""
        self._unsent = bytearray()
        self._next_id = 0
        self.is_shut_down = False
        self._is_over = ""
        self._is_closed = False
        """Its stdin."""
        self._received = 0
        self._has_flooded = False
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115  # as long as the process
        self.process = subprocess.Popen(
            spec.argv,
            cwd=spec.folder,
            env=spec.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            start_new_session=True,
            bufsize=0,
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self._to, self._from = self.process.stdin.fileno(), self.process.stdout.fileno()
        os.set_blocking(self._to, False)

    # -- saying ------------------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Bytes as they are. They leave while something is waited for. None do after `close_stdin`."""
        if not self._is_closed:
            self._unsent += data

    def send(self, message: Any) -> None:
        self.write(framed(message))

    def notify(self, method: str, params: Any = None) -> None:
        self.send({"jsonrpc": "2.0", "method": method, "params": {} if params is None else params})

    def ask(self, method: str, params: Any = None, **more: Any) -> int:
        """Sends a request; its id."""
        self._next_id += 1
        given = {} if params is None else params
        self.send({"jsonrpc": "2.0", "id": self._next_id, "method": method, "params": given} | more)
        return self._next_id

    def flush(self) -> None:
        """Returns once everything is in the pipe. Raises Late, Gone."""
        ends_at = time.monotonic() + self.timeout_s
        while self._unsent:
            self._step(ends_at)

    def takes_packed(self) -> None:
        """From now on it may answer in MessagePack."""
        self._reader.takes_packed = True

    def close_stdin(self) -> None:
        self.flush()
        self._is_closed = True
        assert self.process.stdin is not None
        self.process.stdin.close()

    # -- hearing -----------------------------------------------------------------------------------

    def call(
        self, method: str, params: Any = None, *, timeout_s: float | None = None, **more: Any
    ) -> Message:
        return self.reply_to(self.ask(method, params, **more), timeout_s=timeout_s)

    def reply_to(self, *ids: Any, timeout_s: float | None = None) -> Message:
        """The next reply to one of `ids`, types and all. Raises Late, Gone."""
        ends_at = time.monotonic() + (timeout_s or self.timeout_s)
        while True:
            for reply in self.replies:
                if any(type(reply.get("id")) is type(id) and reply.get("id") == id for id in ids):
                    self.replies.remove(reply)
                    return reply
            self._step(ends_at)

    def ping(self, *, timeout_s: float | None = None) -> Message:
        return self.call("lifecycle/ping", timeout_s=timeout_s)

    def next_heard(self, method: str, timeout_s: float | None = None) -> Message:
        """The params of the next notification `method`. Raises Late, Gone."""
        ends_at = time.monotonic() + (timeout_s or self.timeout_s)
        while True:
            while self.heard:
                message = self.heard.popleft()
                if message.get("method") == method and "id" not in message:
                    params: Message = message.get("params") or {}
                    return params
            self._step(ends_at)

    def listen(self, seconds: float) -> None:
        """Hears whatever comes meanwhile, also its end."""
        ends_at = time.monotonic() + seconds
        try:
            while True:
                self._step(ends_at)
        except (Late, Gone):
            pass

    def exit_code(self) -> int | None:
        """Waits for its end; None if it goes on. Negative for a signal. Raises Gone if it has flooded."""
        ends_at = time.monotonic() + self.timeout_s
        self.listen(self.timeout_s)
        if self._has_flooded:  # its end is none of its own
            raise Gone(self._is_over)
        try:
            return self.process.wait(max(0.1, ends_at - time.monotonic()))
        except subprocess.TimeoutExpired:
            return None

    def close(self) -> None:
        """Ends what is left of it, with whatever it has started."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.kill()
        self.process.wait(self.timeout_s)
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None and not pipe.closed:
                pipe.close()
        self._stderr.close()

    def take_unasked(self) -> Message | None:
        """A reply to nobody, or to an id that was never one of a request."""
        for reply in self.replies:
            id = reply.get("id")
            if id is None or not (type(id) is int and 0 < id <= self._next_id):
                self.replies.remove(reply)
                return reply
        return None

    # -- pipes -------------------------------------------------------------------------------------

    def _step(self, ends_at: float) -> None:
        """Reads what there is and writes what there is room for; waits for either until `ends_at`."""
        if self._is_over:
            raise Gone(self._is_over)
        left = ends_at - time.monotonic()
        if left <= 0:
            raise Late
        writing = [self._to] if self._unsent else []
        readable, writable, _ = select.select([self._from], writing, [], min(left, LOOK_S))
        if writable:
            try:
                del self._unsent[: os.write(self._to, self._unsent[:65536])]
            except BlockingIOError:
                pass
            except BrokenPipeError:
                self._unsent.clear()  # the reading side tells how it ended
        if readable:
            data = os.read(self._from, 65536)
            if data:
                self._received += len(data)
                self._note_headers(data)
                self._take(self._reader.receive(data))
            else:
                self._take(self._reader.end())
                self._is_over = self._is_over or self._how_it_ended()
        self._end_a_flood()

    def _end_a_flood(self) -> None:
        """Everything that is kept here is memory, or disk, of whoever runs the check."""
        if self._received > MAX_RECEIVED:
            flooded = f"stdout: more than {MAX_RECEIVED >> 20} MiB"
        elif os.fstat(self._stderr.fileno()).st_size > MAX_RECEIVED:
            flooded = f"stderr: more than {MAX_RECEIVED >> 20} MiB"
        elif len(self.heard) + len(self.replies) + len(self.unreadable) > MAX_KEPT:
            flooded = f"stdout: more than {MAX_KEPT} messages that nobody asked for"
        else:
            return
        self._is_over = f"it floods {flooded}"
        self._has_flooded = True
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)  # or its stderr would go on to grow

    def _take(self, pieces: list[Any]) -> None:
        for piece in pieces:
            if isinstance(piece, Noise):
                self.noise = (self.noise + piece.text[:4096])[:MAX_NOISE]
            elif isinstance(piece, Broken):
                self._is_over = f"its output cannot be read any further: {piece.fault.value}: {piece.detail}"
            else:
                self._hear(piece)

    def _hear(self, body: bytes | Packed) -> None:
        try:
            message = (
                msgspec.msgpack.decode(body.body) if isinstance(body, Packed) else msgspec.json.decode(body)
            )
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as wrong:
            self.unreadable.append(f"{wrong}: {bytes(body[0] if isinstance(body, Packed) else body)[:60]!r}")
            return
        if not isinstance(message, dict):
            self.unreadable.append(f"no object: {str(message)[:60]}")
        elif isinstance(message.get("method"), str):
            self.heard.append(message)
            if "id" in message:
                error = {"code": -32601, "message": "nothing may be asked of a check"}
                self.send({"jsonrpc": "2.0", "id": message["id"], "error": error})
        elif message.get("jsonrpc") != "2.0" or ("result" in message) == ("error" in message):
            self.unreadable.append(f"neither a result nor an error of JSON-RPC 2.0: {str(message)[:60]}")
        else:
            self.replies.append(message)

    def _note_headers(self, data: bytes) -> None:
        """Of the first frame alone: who writes one as it ought to be writes all of them so."""
        if len(self._head) >= 64 or self.noise:
            return
        self._head += data[:64]
        if len(self._head) >= 64 and self._head[:8].lower() == b"content-" and not _STRICT.match(self._head):
            self.odd_headers.append(repr(self._head[:40]))

    def _how_it_ended(self) -> str:
        try:
            code = self.process.wait(EXIT_S)
        except subprocess.TimeoutExpired:
            return "it closed its stdout, and goes on"
        how = f"it ended with exit code {code}" if code >= 0 else f"it ended by {signal.Signals(-code).name}"
        said = self.last_words()
        return f"{how}: {said}" if said else how

    def last_words(self) -> str:
        """The end of what it wrote to stderr."""
        self._stderr.seek(0, os.SEEK_END)
        self._stderr.seek(max(0, self._stderr.tell() - 4096))
        lines = self._stderr.read().decode(errors="replace").split("\n")
        telling = [line.strip() for line in lines if not _NO_WORDS.fullmatch(line.strip())]
        return " | ".join(telling[-LAST_LINES:])[-300:]


def framed(message: Any) -> bytes:
    return frame(msgspec.json.encode(message))
