"""What limits cost, and how far they are overshot: rows for `python -m tests.bench.supervision`."""

from __future__ import annotations

import gc
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio

from host import Host, PluginCrashed
from host.config.effective import PluginPolicy
from host.process.sampling import Sampler, reader
from host.process.usage import Bounds, Usage
from host.supervision.limits import Watches, judge
from host.supervision.usage import UsageWatch
from tests.bench.promises import Row
from tests.support.plugins import write_plugin, write_raw_plugin

PLUGINS = 500
MIB = 1024**2
LIMIT_MIB = 200


class Sleeper:
    """What the watch asks of a generation, over a process that does nothing."""

    def __init__(self, pid: int) -> None:
        self.process = SimpleNamespace(pid=pid, tree=SimpleNamespace(see=lambda below: None))
        self.allowance = self
        self.bounds = Bounds(512 * MIB, 64, 256)
        self._policy = PluginPolicy()
        self._watches: Watches = {}
        self.usage: Usage | None = None
        self.is_watched = False

    def note_usage(self, usage: Usage) -> None:
        self.usage = usage
        self._watches = judge(self._policy, usage, self._watches, time.monotonic()).watches


@contextmanager
def sleepers() -> Iterator[list[int]]:
    processes = [subprocess.Popen(["sleep", "600"]) for _ in range(PLUGINS)]
    try:
        yield [process.pid for process in processes]
    finally:
        for process in processes:
            process.kill()
        for process in processes:
            process.wait()


def cost_of_a_tick(home: Path) -> list[float]:
    with sleepers() as pids:
        sampler = Sampler(reader())
        wanted = {pid: Bounds(512 * MIB, 64, 256) for pid in pids}
        now, took = 1000.0, []
        for _ in range(20):
            began = time.perf_counter()
            assert len(sampler.look(wanted, now)) == PLUGINS
            took.append(time.perf_counter() - began)
            now += 1.0
        sampler.close()
    return [each * 1000 for each in took]


def share_of_a_core(home: Path) -> list[float]:
    seconds = 20.0

    async def watch(there: list[Any]) -> float:
        usage = UsageWatch(time.monotonic)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(usage.run, lambda: there)
            await anyio.sleep(2)
            began = time.process_time()
            await anyio.sleep(seconds)
            spent = time.process_time() - began
            tasks.cancel_scope.cancel()
        return spent / seconds * 100

    with sleepers() as pids:
        return [anyio.run(watch, [Sleeper(pid) for pid in pids])]


def host_memory_for_each(home: Path) -> list[float]:
    folders = [write_raw_plugin(home, f"p{n}", "handshake()\nserve()\n") for n in range(PLUGINS)]

    async def grow() -> float:
        async with Host(data_dir=home / "data") as host:
            await host.add(folders[0])
            gc.collect()
            before = rss()
            for folder in folders[1:]:
                await host.add(folder)
            await anyio.sleep(5)  # pings, looks
            gc.collect()
            return (rss() - before) / (PLUGINS - 1) / 1024

    return [anyio.run(grow)]


def rss() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


GREEDY = """
import mmap
held = []

def take(mib):
    held.append(mmap.mmap(-1, mib * 1024**2, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
    for at in range(0, mib * 1024**2, 4096):
        held[-1][at] = 1

def grow(mib_per_s, until_mib):
    began = time.monotonic()
    for taken in range(until_mib):
        time.sleep(max(0, began + taken / mib_per_s - time.monotonic()))
        take(1)

@plugin.method
def alone(mib_per_s: int) -> str:
    try:
        grow(mib_per_s, 1000)
    except (MemoryError, OSError):
        time.sleep(1.2)
        return "survived"
    return "never stopped"

@plugin.method
def split(forks: int, mib_per_s: int) -> None:
    for _ in range(forks):
        if not os.fork():
            try:
                grow(mib_per_s / forks, 1000 // forks)
                time.sleep(9)
            finally:
                os._exit(0)
    time.sleep(30)
"""


def overshoot(home: Path, method: str, **params: int) -> float:
    """Per cent of the limit, at the worst moment."""
    peak = 0

    async def run() -> None:
        nonlocal peak
        plugin = write_plugin(home, "greedy", GREEDY, limits={"memory": f"{LIMIT_MIB}MiB"})
        async with Host(plugins=[plugin], data_dir=home / "data") as host:
            pid = host.status("greedy").plugins[0].pid
            assert pid is not None
            over = threading.Event()

            def look() -> None:
                nonlocal peak
                while not over.wait(0.001):
                    peak = max(peak, anonymous(pid))

            looking = threading.Thread(target=look)
            looking.start()
            try:
                said = await host.call("greedy", method, params=params, timeout=60)
                assert said == "survived"
            except PluginCrashed as error:
                if "killed by the host" not in str(error):
                    raise
            finally:
                over.set()
                looking.join()

    anyio.run(run)
    return (peak / (LIMIT_MIB * MIB) - 1) * 100


def anonymous(root: int) -> int:
    """Bytes of a process and its children, what they share counted once."""
    total = 0
    try:
        children = Path(f"/proc/{root}/task/{root}/children").read_text().split()
    except OSError:
        return 0
    for pid in [str(root), *children]:
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss_Anon"))
    return total


BURNERS = """
@plugin.method
def burn(processes: int, s: float) -> None:
    until = time.monotonic() + s
    for _ in range(processes):
        if not os.fork():
            while time.monotonic() < until:
                pass
            os._exit(0)
"""


def lateness(home: Path) -> list[float]:
    """Of the host's loop beside eight burners, ms."""

    async def run() -> list[float]:
        plugin = write_plugin(home, "burner", BURNERS)
        async with Host(plugins=[plugin], data_dir=home / "data") as host:
            await host.call("burner", "burn", processes=8, s=9)
            late, until = [], time.monotonic() + 8
            while time.monotonic() < until:
                due = time.monotonic() + 0.005
                await anyio.sleep(0.005)
                late.append((time.monotonic() - due) * 1000)
            return late

    return anyio.run(run)


def overshoots(home: Path, method: str, **params: int) -> list[float]:
    return [overshoot(home / str(time), method, **params) for time in range(3)]


ROWS = [
    Row("the host's loop beside 8 burners: late, p99", 10, "ms", lateness, "p99"),
    Row(f"watching {PLUGINS} plugins at rest: share of a core", 0.5, "%", share_of_a_core),
    Row(f"one look at {PLUGINS} plugins", None, "ms", cost_of_a_tick),
    Row(f"memory of the host for each of {PLUGINS} plugins", None, "KiB", host_memory_for_each),
    *(
        Row(
            f"over {LIMIT_MIB} MiB, {who}, {speed} MiB/s",
            promise,
            "%",
            partial(overshoots, method=method, mib_per_s=speed, **more),
        )
        for who, method, more, speed, promise in (
            ("one process", "alone", {}, 600, 5),
            ("one process", "alone", {}, 10, 5),
            ("10 forks", "split", {"forks": 10}, 20, 5),
            ("10 forks", "split", {"forks": 10}, 100, None),
            ("10 forks", "split", {"forks": 10}, 600, None),
        )
    ),
]
