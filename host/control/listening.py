"""The place where a daemon listens: one daemon a socket, whoever else was there before.

The lock is held by the process and not by a file's being there, so a killed daemon leaves no obstacle.
"""

from __future__ import annotations

import fcntl
import os
import socket
import stat
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import anyio
import anyio.abc

from host.errors import DaemonRefused

LONGEST_PATH = 107 if sys.platform == "linux" else 103
"""Bytes that the kernel has room for in a socket's address."""

AGAIN_S = 0.1
"""How soon it is tried again to accept, where that has failed."""


async def accept_all(
    listener: anyio.abc.SocketListener, handle: Callable[[anyio.abc.SocketStream], Coroutine[Any, Any, None]]
) -> None:
    """Gives every connection to `handle`, each in a task of its own, until it is cancelled.

    While there is no descriptor left, or no memory, whoever connects waits: anyio's own `serve` would end
    there, and the daemon with it.
    """
    async with anyio.create_task_group() as tasks:
        while True:
            try:
                stream = await listener.accept()
            except (OSError, anyio.BrokenResourceError):
                await anyio.sleep(AGAIN_S)
            else:
                tasks.start_soon(handle, stream)


class Place:
    """`path`, locked from the moment it is made; `given` is a socket that already listens there.

    Raises DaemonRefused: another daemon has it, or it cannot be used.
    """

    def __init__(self, path: str, given: socket.socket | None = None) -> None:
        self.path = path
        self._given = given
        # Who hands out a socket starts one daemon for it, and keeps it when we end.
        self._lock = _only_one(path) if given is None else None

    async def listen(self) -> anyio.abc.SocketListener:
        """The control socket; one that a killed daemon left there is replaced: we hold the lock."""
        if self._given is not None:
            return await anyio.abc.SocketListener.from_socket(self._given)
        try:
            return await anyio.create_unix_listener(self.path, mode=0o600)
        except OSError as error:
            raise _no_room(self.path, error.strerror or str(error)) from None

    def leave(self) -> None:
        """Nobody is answered here any more; the place stays ours."""
        if self._given is None:
            Path(self.path).unlink(missing_ok=True)

    def free(self) -> None:
        """The place is anybody's."""
        self.leave()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _no_room(path: str, why: str) -> DaemonRefused:
    return DaemonRefused(f"cannot listen at {path}: {why}", hint="--socket gives it another place")


def _only_one(path: str) -> int:
    """The lock that a running daemon holds."""
    if len(os.fsencode(path)) > LONGEST_PATH:
        raise _no_room(path, f"the path has more than {LONGEST_PATH} bytes")
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise _no_room(path, "something that is no socket is there")
    except OSError:
        pass
    try:
        Path(path).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(path + ".lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _no_room(path, error.strerror or str(error)) from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise DaemonRefused(
            f"a daemon is running at {path} already",
            hint="outboard status shows it; --socket gives this one another place",
        ) from None
    return lock
