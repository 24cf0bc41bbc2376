"""Starts a child and holds what belongs to it: pid, pipes, the end.

No `preexec_fn`, no `user`, no new session: any of them makes Python fork instead of vfork, which costs
a large host 20 ms with its loop standing still. What has to happen in the child happens in the child
(`plugin_sdk/boot.py`). The process group comes from `process_group=0`, which vfork can do.

Call it on the loop's own thread only: Linux sends a child its death signal when the *thread* that
started it ends.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from threading import Thread

import anyio

from host.process.driver import Driver
from host.process.exits import Exit
from host.process.launchers import LaunchSpec
from host.process.table import look

started: dict[int, str] = {}
"""The children that this process has started and not reaped: the OUTBOARD_INSTANCE of each, by pid. Changed
on the loop's thread alone; there, whoever is a child of ours and not in here has come as an orphan."""


class Child:
    """A process that was started and the three descriptors to it. `exit` is None while it lives."""

    def __init__(self, process: subprocess.Popen[bytes], driver: Driver, instance: str = "") -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        self.pid = process.pid
        started[process.pid] = instance
        entry = look(process.pid)
        self.process = entry.process if entry is not None else None
        """Which life of that number; None where the kernel does not say."""
        # The pipes' own objects let go: whoever reads or writes closes the descriptors.
        self.stdin_fd = os.dup(process.stdin.fileno())
        self.stdout_fd = os.dup(process.stdout.fileno())
        self.stderr_fd = os.dup(process.stderr.fileno())
        for pipe in (process.stdin, process.stdout, process.stderr):
            pipe.close()
        self.started_at = time.time()
        self.exited = anyio.Event()
        self.on_exit: Callable[[], None] = _nobody
        """Called once, before anybody who waits for `exited` is woken."""
        self._process = process
        # What is left of its group ends with it, and while the group's number is still its own.
        _on_exit(process, driver, lambda: self._to_group(signal.SIGKILL), self._ended)

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
        except (ProcessLookupError, PermissionError):
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


def _on_exit(
    process: subprocess.Popen[bytes],
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
            process.poll()
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


def spawn(spec: LaunchSpec, driver: Driver) -> Child:
    """Starts `spec`. Blocks for the 1 ms that it takes; raises OSError."""
    process = subprocess.Popen(
        spec.argv,
        cwd=spec.folder,
        env=spec.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
        process_group=0,
    )
    return Child(process, driver, spec.environment.get("OUTBOARD_INSTANCE", ""))
