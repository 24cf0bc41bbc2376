"""What a call costs, as a ratio to a raw Python pipe of the same run, beside what was promised.

Host and plugin share one CPU, so that the figure is the work and not the scheduler's mood; rounds of all
contestants are interleaved, every reply is checked, and the median counts. How many calls a second 64
callers get is measured on all CPUs too, where the machine may hand out two or one, and beside execnet in the
same rounds if it is installed. `make bench` runs it; `python -m tests.bench.calls --peers` measures
multiprocessing as well.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.util import find_spec
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

import anyio
import trio
import uvloop

from host import BlockingHost, Host

ROUNDS = 7
CALLS = 2000
IN_FLIGHT = 64
MESSAGE = "x" * 64
ALL_CPUS = os.sched_getaffinity(0)

PLUGIN = """
from plugin_sdk import Plugin

plugin = Plugin()

@plugin.method
def echo(text: str) -> str:
    return text
"""


class Cost(NamedTuple):
    """Of one call, in seconds: waited for alone, the host's CPU for that, and as one of 64."""

    alone: float
    host_cpu: float
    of_many: float


class Gate(NamedTuple):
    """What was promised: times the raw pipe; of the host's CPU in us, and of calls/s as times those of
    execnet, where anything was said of it."""

    ratio: float
    host_cpu_us: float | None = None
    execnet: float | None = None


GATES = {
    "asyncio": Gate(6, 15, 1.5),
    "uvloop": Gate(4.5, 9, 1.8),
    "trio": Gate(9.5),
    "blocking": Gate(3.3),
}
Measure = Callable[[Path], Cost]


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


# -- ours ------------------------------------------------------------------------------------------


async def one_after_another(host: Host) -> None:
    for _ in range(CALLS):
        assert await host.call("echo", "echo", text=MESSAGE) == MESSAGE


async def side_by_side(host: Host) -> None:
    async def some() -> None:
        for _ in range(CALLS // 16):
            assert await host.call("echo", "echo", text=MESSAGE) == MESSAGE

    async with anyio.create_task_group() as tasks:
        for _ in range(IN_FLIGHT):
            tasks.start_soon(some)


async def measure(folder: Path) -> Cost:
    async with Host(plugins=[folder], data_dir=folder / "data") as host:
        await one_after_another(host)  # warm
        began, cpu = time.perf_counter(), time.process_time()
        await one_after_another(host)
        between, cpu = time.perf_counter(), time.process_time() - cpu
        await side_by_side(host)
        return cost(began, between, time.perf_counter(), cpu)


def measure_blocking(folder: Path) -> Cost:
    def some(count: int) -> None:
        for _ in range(count):
            assert host.call("echo", "echo", text=MESSAGE) == MESSAGE

    with (
        BlockingHost(plugins=[folder], data_dir=folder / "data") as host,
        ThreadPoolExecutor(IN_FLIGHT) as pool,
    ):
        some(CALLS)  # warm
        began, cpu = time.perf_counter(), time.process_time()
        some(CALLS)
        between, cpu = time.perf_counter(), time.process_time() - cpu
        list(pool.map(some, [CALLS // 16] * IN_FLIGHT))
        return cost(began, between, time.perf_counter(), cpu)


def cost(began: float, between: float, ended: float, cpu: float) -> Cost:
    return Cost((between - began) / CALLS, cpu / CALLS, (ended - between) / (IN_FLIGHT * (CALLS // 16)))


OURS: dict[str, Measure] = {
    "asyncio": lambda folder: asyncio.run(measure(folder)),
    "uvloop": lambda folder: uvloop.run(measure(folder)),
    "trio": lambda folder: trio.run(measure, folder),
    "blocking": measure_blocking,
}

# -- peers -----------------------------------------------------------------------------------------


def exchange(send: Callable[[str], object], receive: Callable[[], object]) -> Cost:
    """The same questions, of somebody who has a `send` and a `receive`."""

    def some(count: int, ahead: int) -> None:
        for number in range(count + ahead):
            if number < count:
                send(MESSAGE)
            if number >= ahead:
                assert receive() == MESSAGE

    some(CALLS, 0)  # warm
    began, cpu = time.perf_counter(), time.process_time()
    some(CALLS, 0)
    between, cpu = time.perf_counter(), time.process_time() - cpu
    some(IN_FLIGHT * (CALLS // 16), IN_FLIGHT - 1)
    return cost(began, between, time.perf_counter(), cpu)


def measure_execnet(_: Path) -> Cost:
    import execnet  # pytest-xdist is built on it, so it is nearly always there

    gateway = execnet.makegateway("popen")
    channel = gateway.remote_exec("for message in channel: channel.send(message)")
    try:
        return exchange(channel.send, channel.receive)
    finally:
        gateway.exit()


def echo_until_closed(pipe: Connection) -> None:
    try:
        while True:
            pipe.send(pipe.recv())
    except EOFError:
        pass


def measure_multiprocessing(_: Path) -> Cost:
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=echo_until_closed, args=(theirs,))
    process.start()
    theirs.close()
    try:
        return exchange(ours.send, ours.recv)
    finally:
        ours.close()
        process.join()


PEERS: dict[str, Measure] = {}
if find_spec("execnet") is not None:
    PEERS["execnet"] = measure_execnet
if "--peers" in sys.argv[1:]:
    PEERS["mp.Pipe"] = measure_multiprocessing

# -- the rounds ------------------------------------------------------------------------------------


@contextmanager
def cpus(which: set[int]) -> Iterator[None]:
    """For what is started meanwhile, too."""
    os.sched_setaffinity(0, which)
    try:
        yield
    finally:
        os.sched_setaffinity(0, ALL_CPUS)


def main() -> None:
    contestants = OURS | PEERS
    floor: list[float] = []
    on_one: dict[str, list[Cost]] = {name: [] for name in contestants}
    on_all: dict[str, list[Cost]] = {name: [] for name in contestants}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "echo")
        folder.mkdir()
        (folder / "main.py").write_text(PLUGIN)
        (folder / "plugin.toml").write_text(
            '[plugin]\nname = "echo"\nversion = "1"\n[run]\npython = "main.py"\n'
        )
        for _ in range(ROUNDS):
            with cpus({min(ALL_CPUS)}):
                floor.append(raw_pipe())
                for name, run in contestants.items():
                    on_one[name].append(run(folder))
            for name, run in contestants.items():
                on_all[name].append(run(folder))
    base = statistics.median(floor)
    print(f"raw pipe round trip: {base * 1e6:.1f} us (Python {sys.version.split()[0]}, one CPU)\n")
    print("          a call alone, on one CPU                     calls/s, 64 in flight")
    print("              us   x pipe (best)  gate   host CPU us  gate   one CPU  all CPUs  / execnet  gate")
    execnet = on_all.get("execnet", [])
    for name in contestants:
        print(line(name, on_one[name], on_all[name], base, min(floor), execnet))


def line(
    name: str,
    on_one: list[Cost],
    on_all: list[Cost],
    base: float,
    best_base: float,
    execnet: list[Cost],
) -> str:
    alone, host_cpu, of_many = (statistics.median(column) for column in zip(*on_one, strict=True))
    best = min(cost.alone for cost in on_one) / best_base
    of_many_on_all = statistics.median(cost.of_many for cost in on_all)
    # Round by round: what else the machine does meanwhile hits both.
    times = [theirs.of_many / ours.of_many for ours, theirs in zip(on_all, execnet, strict=False)]
    beside = f"{statistics.median(times):.1f}" if times else ""
    gate = GATES.get(name, Gate(0))
    return (
        f"{name:<10}{alone * 1e6:6.1f}   {alone / base:6.1f} {f'({best:.1f})':>6}  {gate.ratio or '':>4}"
        f"   {host_cpu * 1e6:11.1f}  {gate.host_cpu_us or '':>4}"
        f"  {1 / of_many:8.0f}  {1 / of_many_on_all:8.0f}  {beside:>9}  {gate.execnet or '':>4}"
    )


if __name__ == "__main__":
    main()
