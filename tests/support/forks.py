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
import marshal
import os
import runpy
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
from typing import IO, Any, NamedTuple

Word = str | bytes | os.PathLike[str]

USUAL = {"LANG": "C.UTF-8", "PYTHONWARNINGS": "error"}
"""What of an environment is heeded at the start of Python, as every test here has it."""
LIBRARIES = (
    *("anyio._backends._asyncio", "uvloop", "h11", "host.blocking"),
    *("rich.live", "rich.markdown", "rich.progress"),
)
"""What commands import in the middle of their work."""
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
            [sys.executable, __file__, str(theirs.fileno())],
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


# -- in the process of the server, and in its forks ------------------------------------------------------


def _load() -> None:
    """Everything that a command may need."""
    from host.cli.app import COMMANDS

    rooms = {f"host.cli.{room}" for room, _ in COMMANDS.values()}
    for name in (*sorted(rooms), "host.control.daemon", "host.control.http", *LIBRARIES):
        import_module(name)
    gc.collect()
    gc.freeze()  # what is never looked at again stays common to all forks


class _Child(NamedTuple):
    pid: int
    pidfd: int
    asking: socket.socket
    """The connection to whoever asked for it."""


Request = tuple[list[str], dict[str, str], str, bool]


def _serve(control: socket.socket) -> Request:
    """Returns in every fork, with what it is to be."""
    with selectors.DefaultSelector() as selector:
        selector.register(control, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if selector.get_map().get(key.fd) is not key:
                    continue  # it was closed just now
                if key.fileobj is control:
                    _, fds, _, _ = socket.recv_fds(control, 1, 4)
                    if not fds:
                        os._exit(0)  # nobody is there any more
                    asking = socket.socket(fileno=fds.pop())
                    with asking.makefile("rb") as said:
                        request: Request = marshal.loads(said.read(_NUMBER.unpack(said.read(4))[0]))
                    pid = os.fork()
                    if pid == 0:
                        for number, fd in enumerate(fds):
                            os.dup2(fd, number)
                        _close_all(selector, asking, fds)
                        return request
                    for fd in fds:
                        os.close(fd)
                    _tell(asking, pid)
                    child = _Child(pid, os.pidfd_open(pid), asking)
                    selector.register(child.pidfd, selectors.EVENT_READ, child)
                    selector.register(child.asking, selectors.EVENT_READ, child)
                elif key.fd == key.data.pidfd:
                    ended = os.waitid(os.P_PID, key.data.pid, os.WEXITED | os.WNOWAIT)
                    assert ended is not None
                    _tell(key.data.asking, ended.si_status * (1 if ended.si_code == os.CLD_EXITED else -1))
                    selector.unregister(key.fd)
                else:  # whoever asked needs the pid no more: it has been told, or it has ended
                    os.kill(key.data.pid, signal.SIGKILL)
                    os.waitpid(key.data.pid, 0)
                    with suppress(KeyError):
                        selector.unregister(key.data.pidfd)
                    selector.unregister(key.fd)
                    os.close(key.data.pidfd)
                    key.data.asking.close()


def _tell(asking: socket.socket, number: int) -> None:
    with suppress(ConnectionError):
        asking.sendall(_NUMBER.pack(number))


def _close_all(selector: selectors.BaseSelector, asking: socket.socket, fds: list[int]) -> None:
    """In a fork: what belongs to the server, and to other forks."""
    asking.close()
    for fd in fds:
        os.close(fd)
    for key in selector.get_map().values():
        if isinstance(key.fileobj, socket.socket):
            key.fileobj.close()
            if key.data is not None:
                os.close(key.data.pidfd)


def _become(request: Request) -> None:
    """The command that is asked for, but for running it."""
    argv, env, folder, is_session = request
    if is_session:
        os.setsid()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(env)
    sys.argv = argv
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


def _run() -> None:
    """What a command line says: `outboard` with its words, or `python` with a file."""
    if sys.argv[0] == "python":
        del sys.argv[0]
        sys.path[0] = os.path.dirname(sys.argv[0])
        runpy.run_path(sys.argv[0], run_name="__main__")
    else:
        from host.cli import main

        main()


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # Ctrl-C is for those who run the tests
    sys.path[0] = str(Path(__file__).parents[2])
    _load()
    _become(_serve(socket.socket(fileno=int(sys.argv[1]))))
    try:
        _run()
    except SystemExit as ended:
        if not isinstance(ended.code, int | None):
            raise
        _end(ended.code or 0)
    _end(0)
