"""`outboard run`: a host, its control socket and its log, until a signal ends it."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import stat
import sys
from collections.abc import Sequence
from pathlib import Path

import anyio
import anyio.abc

from host.config.load import load_config
from host.config.places import default_log_file, default_state_file
from host.control.commands import Commands
from host.control.server import serve
from host.errors import DaemonRefused
from host.host import Host
from host.observability.logs import LoguruSubscriber, Ring

LONGEST_PATH = 107 if sys.platform == "linux" else 103
"""Bytes that the kernel has room for in a socket's address."""


def run(
    *,
    config: str | None,
    plugins: Sequence[str],
    socket: str,
    log_level: str | None,
    log_format: str | None,
) -> None:
    """Blocks until SIGTERM or SIGINT. What is None is the configuration's to say.

    Raises:
        ConfigError, DaemonRefused.
    """
    told = load_config(Path(config) if config is not None else None).host
    log = LoguruSubscriber(
        level=log_level or told.log_level, format=log_format or told.log_format, file=default_log_file()
    )
    main = _Daemon(config, plugins, socket, log).main
    try:
        import uvloop
    except ImportError:
        asyncio.run(main())
    else:
        uvloop.run(main())


class _Daemon:
    def __init__(
        self, config: str | None, plugins: Sequence[str], socket: str, log: LoguruSubscriber
    ) -> None:
        self._config = config
        self._plugins = plugins
        self._socket = socket
        self._log = log

    async def main(self) -> None:
        lock = _only_one(self._socket)
        ring = Ring()
        host = Host(config=self._config, plugins=self._plugins, state_file=default_state_file(self._socket))
        host.mode = "daemon"
        host.socket = self._socket
        host.on_event(ring)
        host.on_event(self._log)
        try:
            listener = await _listen(self._socket)
            async with anyio.create_task_group() as tasks:
                stopping = anyio.Event()
                tasks.start_soon(self._until_signal, stopping)
                await self._run_host(host, listener, Commands(host, ring, default_log_file()), stopping)
                tasks.cancel_scope.cancel()
        finally:
            _unlink(self._socket)
            os.close(lock)
        self._log.say("stopped")

    async def _run_host(
        self, host: Host, listener: anyio.abc.SocketListener, commands: Commands, stopping: anyio.Event
    ) -> None:
        async with listener, anyio.create_task_group() as tasks:

            async def stop_early() -> None:
                await stopping.wait()
                _unlink(self._socket)  # or clients would queue up where nobody answers any more
                tasks.cancel_scope.cancel()
                with anyio.CancelScope(shield=True):
                    await listener.aclose()

            # The socket answers before the plugins have started: one that takes its time must not
            # keep an operator from seeing that it does, nor from stopping the daemon.
            tasks.start_soon(serve, listener, commands)
            tasks.start_soon(stop_early)
            async with host:
                plugins = host.status().plugins
                running = sum(plugin.state == "running" for plugin in plugins)
                self._log.say(
                    f"ready: {running} of {len(plugins)} plugins running, listening at {self._socket}"
                )
                await stopping.wait()

    async def _until_signal(self, stopping: anyio.Event) -> None:
        with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async for number in signals:
                if stopping.is_set():
                    self._log.say("asked twice: still stopping the plugins, which takes 12 s at most")
                self._log.say(f"{signal.Signals(number).name}: stopping")
                stopping.set()


def _unlink(socket: str) -> None:
    Path(socket).unlink(missing_ok=True)


async def _listen(socket: str) -> anyio.abc.SocketListener:
    """The control socket; one that a killed daemon left there is replaced: we hold the lock."""
    try:
        return await anyio.create_unix_listener(socket, mode=0o600)
    except OSError as error:
        raise _no_room(socket, error.strerror or str(error)) from None


def _no_room(socket: str, why: str) -> DaemonRefused:
    return DaemonRefused(f"cannot listen at {socket}: {why}", hint="--socket gives it another place")


def _only_one(socket: str) -> int:
    """The lock that a running daemon holds. Raises DaemonRefused if another one does, or none can be."""
    if len(os.fsencode(socket)) > LONGEST_PATH:
        raise _no_room(socket, f"the path has more than {LONGEST_PATH} bytes")
    try:
        if not stat.S_ISSOCK(os.lstat(socket).st_mode):
            raise _no_room(socket, "something that is no socket is there")
    except OSError:
        pass
    try:
        Path(socket).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(socket + ".lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _no_room(socket, error.strerror or str(error)) from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise DaemonRefused(
            f"a daemon is running at {socket} already",
            hint="outboard status shows it; --socket gives this one another place",
        ) from None
    return lock
