"""Commands as forks of one process that has loaded them all: a command without its start.

    test  ---  one byte and five descriptors  -->  `serve`, a process of its own
          ---  words, environment, folder     -->  its fork, which becomes the command
          <--  pid, then how it ended         ---  `serve`

What is forked is a real process: it has stdin, stdout and stderr of its own, takes signals, ends with a
code and is called by the same `main` as the console script. What it lacks is a start: an interpreter, its
warnings and encodings, and imports. `can_fork` says for which environments that makes no difference; the
tests of starting, and one run of every command (test_whole_processes.py), are not forked.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import select
import selectors
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import IO, Any

Word = str | bytes | os.PathLike[str]

USUAL = {"LANG": "C.UTF-8", "PYTHONWARNINGS": "error"}
"""What of an environment is heeded at the start of Python, as every test here has it."""
LIBRARIES = ("anyio._backends._asyncio", "h11", "rich.live", "rich.markdown", "rich.progress", "uvloop")
"""What commands import in the middle of their work."""
_STATUS = struct.Struct("!i")
_CHUNK = 65536


def can_fork(env: Mapping[str, str]) -> bool:
    """Whether nothing in `env` is for the start of an interpreter but what the server was started with."""
    heeded = {name: env[name] for name in env if name.startswith(("PYTHON", "LANG", "LC_"))}
    return heeded == USUAL and hasattr(os, "pidfd_open")


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
        request = {
            "words": [os.fsdecode(word) for word in words],
            "env": dict(env),
            "cwd": os.fsdecode(cwd or os.getcwd()),
            "session": start_new_session,
        }
        self._said.sendall(json.dumps(request).encode())
        self._said.shutdown(socket.SHUT_WR)
        self.pid = self._hear(5.0)

    def _hear(self, timeout: float | None) -> int:
        """The next number that the server says. Raises TimeoutError."""
        self._said.settimeout(timeout)
        data = self._said.recv(_STATUS.size, socket.MSG_WAITALL)
        assert len(data) == _STATUS.size, "the process that commands are forked of has ended"
        return int(_STATUS.unpack(data)[0])

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
            [sys.executable, __file__, str(theirs.fileno())],
            env={"PATH": os.environ["PATH"]} | USUAL,
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
        )
    atexit.register(process.wait, 10)
    atexit.register(ours.close)
    return ours


# -- in the process of the server, and in its forks ------------------------------------------------------


def _load() -> None:
    """Everything that a command may need."""
    from host.cli.app import COMMANDS

    rooms = {f"host.cli.{room}" for room, _ in COMMANDS.values()}
    for name in (*sorted(rooms), "host.control.daemon", "host.control.http", *LIBRARIES):
        import_module(name)
    gc.collect()
    gc.freeze()  # what is never looked at again stays common to all forks


def _serve(control: socket.socket) -> socket.socket:
    """Returns in every fork, with the connection to whoever asked for it."""
    with selectors.DefaultSelector() as selector:
        selector.register(control, selectors.EVENT_READ, None)
        while True:
            for key, _ in selector.select():
                if key.fileobj is control:
                    _, fds, _, _ = socket.recv_fds(control, 1, 4)
                    if not fds:
                        os._exit(0)  # nobody is there any more
                    asking = socket.socket(fileno=fds.pop())
                    pid = os.fork()
                    if pid == 0:
                        for number, fd in enumerate(fds):
                            os.dup2(fd, number)
                        _close_all(selector, fds)
                        return asking
                    for fd in fds:
                        os.close(fd)
                    asking.sendall(_STATUS.pack(pid))
                    selector.register(os.pidfd_open(pid), selectors.EVENT_READ, (pid, asking))
                elif key.fileobj is not key.data[1]:
                    pid, asking = key.data
                    ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
                    assert ended is not None
                    status = ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status
                    with suppress(ConnectionError):
                        asking.sendall(_STATUS.pack(status))
                    selector.unregister(key.fileobj)
                    os.close(key.fd)
                    selector.register(asking, selectors.EVENT_READ, key.data)
                else:  # whoever asked has closed the connection: the pid is not needed any more
                    pid, asking = key.data
                    selector.unregister(asking)
                    asking.close()
                    os.waitpid(pid, 0)


def _close_all(selector: selectors.BaseSelector, more: list[int]) -> None:
    """What belongs to the server, and to other forks."""
    for key in list(selector.get_map().values()):
        if isinstance(key.fileobj, socket.socket):
            key.fileobj.close()
        else:
            os.close(key.fd)
            key.data[1].close()
    for fd in more:
        os.close(fd)


def _become(asking: socket.socket) -> None:
    """The command that is asked for, but for running it."""
    with asking, asking.makefile("rb") as said:
        request = json.load(said)
    if request["session"]:
        os.setsid()
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    sys.argv = ["outboard", *request["words"]]
    for fd, name in enumerate(("stdin", "stdout", "stderr")):
        was = getattr(sys, name)
        line_by_line = 1 if fd == 2 or os.isatty(fd) else -1
        mode = "w" if fd else "r"
        stream = open(fd, mode, line_by_line, was.encoding, was.errors, closefd=False)  # noqa: SIM115
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def _end(code: int) -> None:
    """Ends as the interpreter does, but for taking apart all that was loaded, which takes the longest."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        sys.exit(code)  # it is for the interpreter to say what that comes to
    os._exit(code)


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # Ctrl-C is for those who run the tests
    sys.path[0] = str(Path(__file__).parents[2])
    _load()
    _become(_serve(socket.socket(fileno=int(sys.argv[1]))))
    from host.cli import main

    try:
        main()
    except SystemExit as ended:
        if not isinstance(ended.code, int | None):
            raise
        _end(ended.code or 0)
