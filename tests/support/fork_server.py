"""The process that commands are forked of: loads everything once, and becomes each command in a fork.

It is told by one message with four descriptors that a command is wanted, and ends when nobody can tell it
any more. Whoever has asked holds a connection: when that ends, so does the command. A pid is reaped after
that, so that it is nobody else's as long as somebody may signal it. See forks.py, which is its client.
"""

from __future__ import annotations

import atexit
import gc
import marshal
import os
import runpy
import selectors
import signal
import socket
import struct
import sys
import threading
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

LIBRARIES = (
    *("anyio._backends._asyncio", "uvloop", "h11", "host.blocking"),
    *("rich.live", "rich.markdown", "rich.progress"),
)
"""What commands import in the middle of their work."""
REQUEST_S = 3.0
"""How long a request is waited for once its connection is there: all others wait meanwhile."""
_NUMBER = struct.Struct("!i")


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
                    request = _heard(asking)
                    if request is None:
                        for fd in fds:
                            os.close(fd)
                        asking.close()
                        continue
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


def _heard(asking: socket.socket) -> Request | None:
    """What is asked for; None if whoever asks has ended, or been stopped, before saying so."""
    asking.settimeout(REQUEST_S)
    try:
        with asking.makefile("rb") as said:
            request: Request = marshal.loads(said.read(_NUMBER.unpack(said.read(4))[0]))
    except (OSError, EOFError, ValueError, TypeError, struct.error):
        return None
    asking.settimeout(None)
    return request


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
