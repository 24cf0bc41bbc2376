"""What supervision promises, measured here. `python -m tests.bench.supervision [WORD ...]` prints it.

A row is a function that yields numbers, with a promise beside it: add a function and a line to `ROWS`. The
rows about limits are in `limits.py`, those about warm starts in `warm.py`. With words, only the rows whose
name has one of them. Exits with 1 if a promise is missed. Where others want the processors too, even who is
killed waits for its turn to end: the first row is what that takes for a process that has nothing to do with
outboard.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import anyio

from host import Host, OutboardError
from tests.bench import limits, warm
from tests.bench.promises import Row, print_table
from tests.support.brood import left_of, with_sdk, without_sdk
from tests.support.daemon import Daemon
from tests.support.plugins import ECHO, Events, pid_of, write_plugin

GIL_HELD = """
@plugin.method
def hold() -> None:
    ctypes.PyDLL(None).sleep(60)
"""
TIMES = 20


def ms_until_gone(pids: Iterable[int], act: Callable[[], object]) -> float:
    """From just before `act` until the last of `pids` has ended."""
    fds = [os.pidfd_open(pid) for pid in pids]
    waiting = select.poll()
    for fd in fds:
        waiting.register(fd, select.POLLIN)
    left, began_at = len(fds), time.perf_counter()
    act()
    while left:
        ended = waiting.poll(5000)
        if not ended:
            raise TimeoutError("somebody is there still")
        for fd, _ in ended:
            waiting.unregister(fd)
            left -= 1
    took = time.perf_counter() - began_at
    for fd in fds:
        os.close(fd)
    return took * 1000


def plugin_dies(home: Path, make: Callable[[Path], Path]) -> Iterator[float]:
    with Daemon(home, make(home / "plugins"), whole=True) as daemon:
        for _ in range(TIMES):
            assert daemon.cli("restart", "victim").code == 0  # a clean record, or it would be quarantined
            brood, pid = daemon.call("victim", "brood"), daemon.plugin("victim")["pid"]

            def kill(pid: int = pid) -> None:
                os.kill(pid, signal.SIGKILL)

            yield ms_until_gone([*brood.values(), pid], kill)


def host_dies(home: Path, plugin: Path, *, busy: bool = False) -> Iterator[float]:
    for _ in range(TIMES):
        with Daemon(home, plugin, whole=True) as daemon:
            if busy:
                try:
                    daemon.ask("call", {"plugin": "holder", "method": "hold", "timeout": 0.3})
                except Exception:
                    pass  # its deadline is over, and it goes on
            yield ms_until_gone(daemon.pids(), daemon.process.kill)


def guarded_host_dies(home: Path, *, which: str) -> Iterator[float]:
    config = home / "outboard.toml"
    config.write_text("[host]\nguardian = true\n")
    plugin = with_sdk(home / "plugins")
    for _ in range(TIMES):
        with Daemon(home, plugin, words=["--config", config], whole=True) as daemon:
            brood, host = daemon.call("victim", "brood"), daemon.status()["host"]["pid"]
            pid = host if which == "host" else daemon.process.pid

            def kill(pid: int = pid) -> None:
                os.kill(pid, signal.SIGKILL)

            yield ms_until_gone([*brood.values(), *daemon.pids()], kill)
            assert not left_of(brood)


def nobodys_process_dies(home: Path) -> Iterator[float]:
    for _ in range(5 * TIMES):
        code = "import os, sys, msgspec; os.nice(5); print(flush=True); sys.stdin.read()"
        with subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        ) as process:
            assert process.stdout is not None
            process.stdout.readline()
            yield ms_until_gone([process.pid], process.kill)


# -- a crash -----------------------------------------------------------------------------------------


def crashes(home: Path) -> Iterator[tuple[float, float]]:
    """From the kill to the error of a call that it cut off, and to the answer to one that came after."""
    took = []

    async def run() -> None:
        restart = {"backoff_min": "100ms", "backoff_max": "100ms", "intensity": 1000}
        plugin = write_plugin(home, "victim", restart=restart)
        async with Host(plugins=[plugin], data_dir=home / "data") as host:
            events = Events(host)
            for _ in range(100):
                cut_off_at = 0.0

                async def be_cut_off() -> None:
                    nonlocal cut_off_at
                    try:
                        await host.call("victim", "hang", timeout=60)
                    except OutboardError:
                        cut_off_at = time.perf_counter()

                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(be_cut_off)
                    while not host.status("victim").plugins[0].calls.in_flight:  # noqa: ASYNC110  # no event
                        await anyio.sleep(0.001)
                    killed_at = time.perf_counter()
                    os.kill(pid_of(host, "victim"), signal.SIGKILL)
                await events.state("victim", "running", "degraded")
                await host.call("victim", "echo", value=1, timeout=5)
                took.append(((cut_off_at - killed_at) * 1000, (time.perf_counter() - killed_at) * 1000))

    anyio.run(run)
    yield from took


def starts_of_a_crash_loop(home: Path) -> list[float]:
    """Of one that dies at once, and of one that dies after two seconds, at the defaults."""

    async def run(seconds: float) -> float:
        code = f"threading.Timer({seconds}, os._exit, [1]).start()\n" + ECHO
        plugin = write_plugin(home / f"{seconds}", "victim", code)
        async with Host(plugins=[plugin], data_dir=home / "data") as host:
            return float((await Events(host).state("victim", "quarantined", within_s=60)).generation)

    return [anyio.run(run, seconds) for seconds in (0.1, 2.0)]


# -- a hang ------------------------------------------------------------------------------------------


def hang_found(home: Path, **health: Any) -> list[float]:
    """A call into C that holds the GIL, until its process is ended; the stack has to name it."""

    async def run() -> float:
        plugin = write_plugin(home, "holder", ECHO + GIL_HELD, health=health)
        async with Host(plugins=[plugin], data_dir=home / "data") as host:
            events = Events(host)
            began_at = time.perf_counter()
            try:
                await host.call("holder", "hold", timeout=60)
            except OutboardError:
                pass
            took = time.perf_counter() - began_at
            down = await events.state("holder", "backoff")
            assert down.cause is not None
            assert any("in hold" in line for line in down.cause.stack), down.cause
            return round(took, 2)  # 20.00: it is the pings' own time, and a moment

    return [anyio.run(run)]


A_SECOND = {"interval": "250ms", "timeout": "250ms", "misses": 2}
ROWS = [
    Row("nobody's Python killed, at the same nice: gone, p99", None, "ms", nobodys_process_dies, "p99"),
    Row(
        "plugin crashed: the host knows, p99", 5, "ms",
        lambda home: [known for known, _ in crashes(home)], "p99",
    ),
    Row(
        "plugin crashed: serves again, cold, 100 ms of backoff", 400, "ms",
        lambda home: [back for _, back in crashes(home)],
    ),
    Row("crash loop: starts in 300 s", 6, "starts", starts_of_a_crash_loop),
    Row("plugin hangs: found and ended, by default", 20, "s", hang_found),
    Row(
        "plugin hangs: found and ended, set to a second", 1, "s",
        lambda home: hang_found(home, **A_SECOND),
    ),
    Row(
        "plugin killed: it and six kinds of descendant gone", 50, "ms",
        lambda home: plugin_dies(home, with_sdk),
    ),
    Row("the same, a plugin without SDK", 50, "ms", lambda home: plugin_dies(home, without_sdk)),
    Row(
        "host killed: its plugin gone", 50, "ms",
        lambda home: host_dies(home, write_plugin(home / "plugins", "idle")),
    ),
    Row(
        "host killed: a plugin gone that holds the GIL in C", 50, "ms",
        lambda home: host_dies(home, write_plugin(home / "plugins", "holder", GIL_HELD), busy=True),
    ),
    Row(
        "host killed, with guardian: all six kinds gone", 50, "ms",
        lambda home: guarded_host_dies(home, which="host"),
    ),
    Row(
        "guardian killed: host's plugins, all six kinds gone", 50, "ms",
        lambda home: guarded_host_dies(home, which=""),
    ),
    *limits.ROWS,
    *warm.ROWS,
]  # fmt: skip


if __name__ == "__main__":
    sys.exit(0 if print_table(ROWS, sys.argv[1:]) else 1)
