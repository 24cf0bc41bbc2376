"""What a call costs, as a ratio to a raw Python pipe of the same run.

Host and plugin share one CPU, so that the figure is the work and not the scheduler's mood; rounds of
all contestants are interleaved, every reply is checked, and the median counts. `make bench` runs it.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import anyio
import trio
import uvloop

from host import BlockingHost, Host

ROUNDS = 7
CALLS = 2000
IN_FLIGHT = 64
MESSAGE = "x" * 64

PLUGIN = """
from plugin_sdk import Plugin

plugin = Plugin()

@plugin.method
def echo(text: str) -> str:
    return text
"""


def raw_pipe() -> float:
    """Seconds for a round trip of 64 bytes through two pipes, with nothing around it."""
    to_child, from_parent = os.pipe()
    to_parent, from_child = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(from_parent)
        while data := os.read(to_child, 65536):
            os.write(from_child, data)
        os._exit(0)
    os.close(to_child)
    data = MESSAGE.encode()
    started = time.perf_counter()
    for _ in range(CALLS):
        os.write(from_parent, data)
        assert os.read(to_parent, 65536) == data
    took = (time.perf_counter() - started) / CALLS
    os.close(from_parent)
    os.waitpid(pid, 0)
    for fd in (to_parent, from_child):
        os.close(fd)
    return took


async def one_after_another(host: Host) -> float:
    started = time.perf_counter()
    for _ in range(CALLS):
        assert await host.call("echo", "echo", text=MESSAGE) == MESSAGE
    return (time.perf_counter() - started) / CALLS


async def side_by_side(host: Host) -> float:
    async def some() -> None:
        for _ in range(CALLS // 16):
            assert await host.call("echo", "echo", text=MESSAGE) == MESSAGE

    started = time.perf_counter()
    async with anyio.create_task_group() as tasks:
        for _ in range(IN_FLIGHT):
            tasks.start_soon(some)
    return (time.perf_counter() - started) / (IN_FLIGHT * (CALLS // 16))


async def measure(folder: Path) -> tuple[float, float]:
    async with Host(plugins=[folder], data_dir=folder / "data") as host:
        await one_after_another(host)  # warm
        return await one_after_another(host), await side_by_side(host)


def measure_blocking(folder: Path) -> tuple[float, float]:
    def some(count: int) -> None:
        for _ in range(count):
            assert host.call("echo", "echo", text=MESSAGE) == MESSAGE

    def timed(work: Callable[[], object], calls: int) -> float:
        started = time.perf_counter()
        work()
        return (time.perf_counter() - started) / calls

    with (
        BlockingHost(plugins=[folder], data_dir=folder / "data") as host,
        ThreadPoolExecutor(IN_FLIGHT) as pool,
    ):
        some(CALLS)  # warm
        single = timed(lambda: some(CALLS), CALLS)
        each = CALLS // 16
        return single, timed(lambda: list(pool.map(some, [each] * IN_FLIGHT)), IN_FLIGHT * each)


def main() -> None:
    os.sched_setaffinity(0, {0})
    loops: dict[str, Callable[[Path], tuple[float, float]]] = {
        "asyncio": lambda folder: asyncio.run(measure(folder)),
        "uvloop": lambda folder: uvloop.run(measure(folder)),
        "trio": lambda folder: trio.run(measure, folder),
        "blocking": measure_blocking,
    }
    floor: list[float] = []
    call: dict[str, list[float]] = {name: [] for name in loops}
    many: dict[str, list[float]] = {name: [] for name in loops}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "echo")
        folder.mkdir()
        (folder / "main.py").write_text(PLUGIN)
        (folder / "plugin.toml").write_text(
            '[plugin]\nname = "echo"\nversion = "1"\n[run]\npython = "main.py"\n'
        )
        for _ in range(ROUNDS):
            floor.append(raw_pipe())
            for loop, run in loops.items():
                single, crowd = run(folder)
                call[loop].append(single)
                many[loop].append(crowd)
    base = statistics.median(floor)
    print(f"raw pipe round trip: {base * 1e6:.1f} us (Python {sys.version.split()[0]}, one CPU)")
    for loop in loops:
        single, crowd = statistics.median(call[loop]), statistics.median(many[loop])
        print(
            f"{loop:<8} call {single * 1e6:6.1f} us = {single / base:4.1f} x the pipe; "
            f"{IN_FLIGHT} in flight {1 / crowd:8.0f} calls/s"
        )


if __name__ == "__main__":
    main()
