"""Commands as forks of one process that has loaded them all: a command without its start.

This is the side of the tests; the other is fork_server.py.

    test  ---  stdin, stdout, stderr, a connection  -->  the server
          ---  words, environment, folder           -->  its fork, which becomes the command
          <--  pid, then how it ended               ---  the server

What is forked is a real process: it has stdin, stdout and stderr of its own, takes signals, ends with a
code and is called by the same `main` as the console script. What it lacks is a start: an interpreter, its
warnings and encodings, and imports. `can_fork` says for which environments that makes no difference; the
tests of starting, and one run of every command (test_whole_processes.py), are not forked.
"""

from __future__ import annotations

import atexit
import marshal
import os
import select
import selectors
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import IO, Any

Word = str | bytes | os.PathLike[str]

USUAL = {"LANG": "C.UTF-8", "PYTHONWARNINGS": "error"}
"""What of an environment is heeded at the start of Python, as every test here has it."""
HAS_PIDFD = hasattr(os, "pidfd_open")
_NUMBER = struct.Struct("!i")
_CHUNK = 65536


def can_fork(env: Mapping[str, str]) -> bool:
    """Whether nothing in `env` is for the start of an interpreter but what the server was started with."""
    heeded = {name: env[name] for name in env if name.startswith(("PYTHON", "LANG", "LC_"))}
    return heeded == USUAL and HAS_PIDFD


class Fork:
    """A command that has begun; to whoever waits for it like a `subprocess.Popen`.

    `stdin`, `stdout` and `stderr` are what they are to a Popen; no test has anything to say to a command.
    """

    def __init__(
        self,
        words: Sequence[Word],
        *,
        env: Mapping[str, str],
        cwd: Word | None = None,
        stdin: int | IO[bytes] | None = None,
        stdout: int | IO[bytes] | None = None,
        stderr: int | IO[bytes] | None = None,
        start_new_session: bool = False,
    ) -> None:
        self.returncode: int | None = None
        self.stdout: IO[bytes] | None = None
        self.stderr: IO[bytes] | None = None
        with ExitStack() as closing:

            def given(number: int, stream: int | IO[bytes] | None) -> int:
                if stream == subprocess.DEVNULL:
                    stream = os.open(os.devnull, os.O_RDWR)
                    closing.callback(os.close, stream)
                elif stream == subprocess.PIPE:
                    ours, stream = os.pipe()
                    closing.callback(os.close, stream)
                    name = ("stdin", "stdout", "stderr")[number]
                    setattr(self, name, open(ours, "rb", buffering=0))  # noqa: SIM115
                elif stream is None:
                    return number
                return stream if isinstance(stream, int) else stream.fileno()

            standard = [given(number, stream) for number, stream in enumerate((stdin, stdout, stderr))]
            self._said, said = socket.socketpair()
            closing.enter_context(said)
            socket.send_fds(_server(), [b"\0"], [*standard, said.fileno()])
        folder = os.fsdecode(cwd or os.getcwd())
        argv = ["outboard", *map(os.fsdecode, words)]
        request = marshal.dumps((argv, dict(env), folder, start_new_session))
        self._said.sendall(_NUMBER.pack(len(request)) + request)
        self.pid = self._hear(5.0)

    def _hear(self, timeout: float | None) -> int:
        """The next number that the server says. Raises TimeoutError."""
        self._said.settimeout(timeout)
        data = self._said.recv(_NUMBER.size, socket.MSG_WAITALL)
        assert len(data) == _NUMBER.size, "the process that commands are forked of has ended"
        return int(_NUMBER.unpack(data)[0])

    def poll(self) -> int | None:
        if self.returncode is None and select.select([self._said], [], [], 0)[0]:
            self.wait(5.0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            try:
                self.returncode = self._hear(timeout)
            except TimeoutError:
                raise subprocess.TimeoutExpired("outboard", timeout or 0.0) from None
            self._said.close()  # which lets the server reap it: until now its pid was nobody else's
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def communicate(self, timeout: float | None = None) -> tuple[bytes, bytes]:
        """What it has written until it ended, of what is a pipe."""
        ends_at = None if timeout is None else time.monotonic() + timeout
        seen: dict[Any, list[bytes]] = {}
        with selectors.DefaultSelector() as selector:
            for pipe in (self.stdout, self.stderr):
                if pipe is not None and not pipe.closed:
                    selector.register(pipe, selectors.EVENT_READ, seen.setdefault(pipe, []))
            while selector.get_map():
                left = None if ends_at is None else ends_at - time.monotonic()
                ready = [] if left is not None and left < 0 else selector.select(left)
                if not ready:
                    raise subprocess.TimeoutExpired("outboard", timeout or 0.0)
                for key, _ in ready:
                    data = os.read(key.fd, _CHUNK)
                    key.data.append(data)
                    if not data:
                        selector.unregister(key.fileobj).fileobj.close()  # type: ignore[union-attr]
        self.wait(None if ends_at is None else max(0.001, ends_at - time.monotonic()))
        out, err = (b"".join(seen.get(pipe, [])) for pipe in (self.stdout, self.stderr))
        return out, err


@cache
def _server() -> socket.socket:
    """Its end that hears of new commands. The process ends when nobody holds ours any more."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        process = subprocess.Popen(
            [sys.executable, Path(__file__).with_name("fork_server.py"), str(theirs.fileno())],
            env={"PATH": os.environ["PATH"]} | USUAL,
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
        )
    atexit.register(process.wait, 10)
    atexit.register(ours.close)
    atexit.register(ours.shutdown, socket.SHUT_RDWR)  # shells may hold it too
    return ours


def in_shells(folder: Path) -> tuple[dict[str, str], list[int]]:
    """Makes programs in `folder` that are forked; the environment and the descriptors that they need.

    They are `outboard`, and a `python` that forks whatever is a file.
    """
    if not HAS_PIDFD:
        return {}, []
    client = Path(__file__).with_name("fork_client.py").read_text()
    for name in ("outboard", "python"):
        program = folder / name
        program.write_text(f"#!{sys.executable} -IS\n{client}")
        program.chmod(0o755)
    fd = _server().fileno()
    return {"OUTBOARD_FORKS": str(fd)}, [fd]
