"""What supervision promises, measured here. `python -m tests.bench.supervision [WORD ...]` prints it.

A row is a function that yields milliseconds, with a promise beside it: add a function and a line to `ROWS`.
With words, only the rows whose name has one of them.
"""

from __future__ import annotations

import os
import select
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from tests.support.brood import left_of, with_sdk, without_sdk
from tests.support.daemon import Daemon
from tests.support.plugins import write_plugin

GIL_HELD = """
@plugin.method
def hold() -> None:
    ctypes.PyDLL(None).sleep(60)
"""
TIMES = 20


class Row(NamedTuple):
    name: str
    promise_ms: float
    measure: Callable[[Path], Iterator[float]]


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
    with Daemon(home, make(home / "plugins")) as daemon:
        for _ in range(TIMES):
            assert daemon.cli("restart", "victim").code == 0  # a clean record, or it would be quarantined
            brood, pid = daemon.call("victim", "brood"), daemon.plugin("victim")["pid"]

            def kill(pid: int = pid) -> None:
                os.kill(pid, signal.SIGKILL)

            yield ms_until_gone([*brood.values(), pid], kill)


def host_dies(home: Path, plugin: Path, *, busy: bool = False) -> Iterator[float]:
    for _ in range(TIMES):
        with Daemon(home, plugin) as daemon:
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
        with Daemon(home, plugin, words=["--config", config]) as daemon:
            brood, host = daemon.call("victim", "brood"), daemon.status()["host"]["pid"]
            pid = host if which == "host" else daemon.process.pid

            def kill(pid: int = pid) -> None:
                os.kill(pid, signal.SIGKILL)

            yield ms_until_gone([*brood.values(), *daemon.pids()], kill)
            assert not left_of(brood)


ROWS = [
    Row("plugin killed: it and six kinds of descendant gone", 50, lambda home: plugin_dies(home, with_sdk)),
    Row("the same, a plugin without SDK", 50, lambda home: plugin_dies(home, without_sdk)),
    Row(
        "host killed: its plugin gone",
        50,
        lambda home: host_dies(home, write_plugin(home / "plugins", "idle")),
    ),
    Row(
        "host killed: a plugin gone that holds the GIL in C",
        50,
        lambda home: host_dies(home, write_plugin(home / "plugins", "holder", GIL_HELD), busy=True),
    ),
    Row(
        "host killed, with guardian: all six kinds gone",
        50,
        lambda home: guarded_host_dies(home, which="host"),
    ),
    Row(
        "guardian killed: host's plugins, all six kinds gone",
        50,
        lambda home: guarded_host_dies(home, which=""),
    ),
]


def main() -> None:
    print(f"{'':<55}  {'p50':>8}  {'max':>8}  promised")
    for row in ROWS:
        if sys.argv[1:] and not any(word in row.name for word in sys.argv[1:]):
            continue
        with tempfile.TemporaryDirectory() as name:
            took = list(row.measure(Path(name)))
        missed = "" if max(took) <= row.promise_ms else "  MISSED"
        print(
            f"{row.name:<55}  {statistics.median(took):>5.1f} ms  {max(took):>5.1f} ms  "
            f"{row.promise_ms:>5g} ms{missed}",
            flush=True,
        )


if __name__ == "__main__":
    main()
