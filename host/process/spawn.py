"""Starts a child and holds what belongs to it: pid, pipes, the end.

No `preexec_fn`, no `user`: either makes Python fork instead of vfork, which costs a large host 20 ms with
its loop standing still. What has to happen in the child happens in the child (`plugin_sdk/boot.py`).

A plugin has a session of its own, which vfork can do. Linux weighs sessions against each other, as groups:
what a plugin of the host's own session computes is charged to the host, which then waits for its turn as if
it had computed it. Eight burners on a busy machine, p99 of the host's loop: 21 to 72 ms in one session, 4 in
their own (docs/design/decisions/0011-sessions.md). It leads a process group too, and has no terminal.

Call it on the loop's own thread only: Linux sends a child its death signal when the *thread* that
started it ends.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable
from threading import Thread
from typing import Any, Literal, Protocol

import anyio

from host.process.driver import Driver
from host.process.exits import Exit
from host.process.launchers import LaunchSpec
from host.process.table import look

started: dict[int, str] = {}
"""The children that this process has started and not reaped: the OUTBOARD_INSTANCE of each, by pid. Changed
on the loop's thread alone; there, whoever is a child of ours and not in here has come as an orphan."""

StartKind = Literal["cold", "warm"]
"""Executed, or forked from a process that has the SDK imported."""

HELD_S = 0.1
"""How often it is looked whether a process that has ended, and is held by its tracer, can be reaped."""


class Running(Protocol):
    """A child of this process, however it came to be: what `Popen` has of it."""

    pid: int
    returncode: Any
    """As `Popen` has it: None until it has been reaped, a signal as a negative number."""

    def poll(self) -> int | None: ...
    def wait(self) -> int: ...
    def send_signal(self, sig: int, /) -> None: ...


class Child:
    """A process that was started and the three descriptors to it. `exit` is None while it lives."""

    def __init__(
        self,
        process: Running,
        fds: tuple[int, int, int],
        driver: Driver,
        instance: str = "",
        *,
        how: StartKind = "cold",
    ) -> None:
        self.pid = process.pid
        self.how = how
        started[process.pid] = instance
        entry = look(process.pid)
        self.process = entry.process if entry is not None else None
        """Which life of that number; None where the kernel does not say."""
        # Whoever reads or writes them closes them.
        self.stdin_fd, self.stdout_fd, self.stderr_fd = fds
        self.started_at = time.time()
        self.exited = anyio.Event()
        self.on_exit: Callable[[], None] = _nobody
        """Called once, before anybody who waits for `exited` is woken."""
        self._process = process
        # What is left of its group ends with it, and while the group's number is still its own.
        when_ended(process, driver, lambda: self._to_group(signal.SIGKILL), self._ended)

    @property
    def exit(self) -> Exit | None:
        code = self._process.returncode
        return None if code is None else Exit.from_returncode(code)

    def _ended(self) -> None:
        started.pop(self.pid, None)
        self.on_exit()
        self.exited.set()

    def signal_group(self, number: int) -> None:
        """To the plugin and everything in its process group; to nobody once it has been reaped."""
        if self.exit is None:
            self._to_group(number)

    def _to_group(self, number: int) -> None:
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:  # one that was forked has no group yet: see plugin_sdk/zygote.py
            self.signal(number)
        except PermissionError:
            pass

    def signal(self, number: int) -> None:
        """To the plugin alone. Never to a stranger with its pid: Popen knows whether it was reaped."""
        try:
            self._process.send_signal(number)
        except ProcessLookupError:
            pass

    def kill(self) -> None:
        """The end of every argument: signals only, nobody is asked."""
        self.signal_group(signal.SIGKILL)
        self.signal(signal.SIGKILL)


def _nobody() -> None:
    pass


def when_ended(
    process: Running,
    driver: Driver,
    before_reaping: Callable[[], None],
    callback: Callable[[], None],
) -> None:
    """Calls back once, when the process has ended and has been reaped.

    `before_reaping` is called while its pid, and so its process group, cannot be anybody else's.
    """
    if hasattr(os, "pidfd_open"):
        pidfd = os.pidfd_open(process.pid)

        def ended() -> None:
            driver.remove_reader(pidfd)
            os.close(pidfd)
            before_reaping()
            reap()

        def reap() -> None:
            if process.poll() is None:  # whoever traces it has it first: a debugger, or strace
                driver.call_at(driver.now() + HELD_S, reap)
            else:
                callback()

        driver.add_reader(pidfd, ended)
    else:

        def wait() -> None:
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
            before_reaping()
            process.wait()
            try:
                driver.call_from_thread(callback)
            except RuntimeError:
                pass  # the loop is gone, and whoever waited with it

        Thread(target=wait, name=f"wait-{process.pid}", daemon=True).start()


class Pipes:
    """The three of a child, made before there is one: afterwards a pidfd is all that may be wanting.

    `theirs` are its stdin, stdout and stderr, which are closed here once it has them; `ours` the other ends.
    Raises OSError.
    """

    def __init__(self) -> None:
        fds: list[int] = []
        try:
            for _ in range(3):
                fds += os.pipe()
        except OSError:
            _close(fds)
            raise
        stdin, to_stdin, from_stdout, stdout, from_stderr, stderr = fds
        self.theirs = (stdin, stdout, stderr)
        self.ours = (to_stdin, from_stdout, from_stderr)

    def close_theirs(self) -> None:
        _close(self.theirs)

    def close(self) -> None:
        _close((*self.theirs, *self.ours))


def _close(fds: Iterable[int]) -> None:
    for fd in fds:
        os.close(fd)


def spawn(spec: LaunchSpec, driver: Driver) -> Child:
    """Executes `spec`. Blocks for the 1 ms that it takes; raises OSError, and then nothing is left of it."""
    pipes = Pipes()
    stdin, stdout, stderr = pipes.theirs
    try:
        process = subprocess.Popen(
            spec.argv,
            cwd=spec.folder,
            env=spec.environment,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
        )
    except OSError:
        pipes.close()
        raise
    pipes.close_theirs()
    return adopt(process, pipes.ours, spec, driver)


def adopt(
    process: Running, fds: tuple[int, int, int], spec: LaunchSpec, driver: Driver, *, how: StartKind = "cold"
) -> Child:
    """A process of ours as a `Child`. Raises OSError, and then nothing is left of it."""
    try:
        return Child(process, fds, driver, spec.environment.get("OUTBOARD_INSTANCE", ""), how=how)
    except OSError:
        started.pop(process.pid, None)
        process.send_signal(signal.SIGKILL)
        process.wait()
        _close(fds)
        raise
