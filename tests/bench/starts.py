"""What it costs to start: a plugin, a command, the daemon; beside an empty Python of the same run.

Rounds are interleaved, so that a busy machine is busy for all. `make bench-starts` runs it. A ratio is what
counts: of CPU (user and system, from exec to exit), and of the time that somebody waits. Exits with 1 if even
the best round of a row is above its gate.
"""

from __future__ import annotations

import asyncio
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from host import Host
from tests.support.daemon import SAMPLES, Daemon

ROUNDS = 21
PYTHON = "python -c pass"
PLUGIN = "a plugin: to running, and its whole life"
STATUS = "outboard status"


class Cost(NamedTuple):
    cpu_ms: float
    wall_ms: float


class Target(NamedTuple):
    """Ratios of time to an empty Python: what has to be kept, and what is wanted."""

    gate: float
    stretch: float


TARGETS = {PLUGIN: Target(4.0, 2.6), STATUS: Target(8.0, 5.0)}


def process(argv: Sequence[str], env: dict[str, str]) -> Cost:
    """A whole process. Its output goes nowhere."""
    began = time.perf_counter()
    quiet = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in (0, 1, 2)]
    pid = os.posix_spawn(argv[0], argv, env, file_actions=quiet)
    _, status, used = os.wait4(pid, 0)
    assert status == 0, f"{argv} ended with {status}"
    return Cost((used.ru_utime + used.ru_stime) * 1000, (time.perf_counter() - began) * 1000)


async def plugin(host: Host) -> Cost:
    """From a stopped plugin to a running one; its CPU until it has been stopped again."""
    before = _cpu_of_children_ms()
    began = time.perf_counter()
    await host.start("hello")
    wall_ms = (time.perf_counter() - began) * 1000
    await host.stop("hello")
    return Cost(_cpu_of_children_ms() - before, wall_ms)


def _cpu_of_children_ms() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (used.ru_utime + used.ru_stime) * 1000


async def measured(daemon: Daemon) -> dict[str, list[Cost]]:
    script = str(Path(sys.executable).with_name("outboard"))
    python = sys.executable
    env = {key: value for key, value in daemon.env.items() if key != "PYTHONWARNINGS"}
    processes = {
        PYTHON: [python, "-c", "pass"],
        STATUS: [script, "status"],
        "outboard call": [script, "call", "hello", "greet", "name=Ada"],
        "outboard explain OB401": [script, "explain", "OB401"],
        "import host.control.daemon": [python, "-c", "import host.control.daemon"],
        "from host import Host": [python, "-c", "from host import Host"],
    }
    costs: dict[str, list[Cost]] = {name: [] for name in (PYTHON, PLUGIN, *processes)}
    async with Host(plugins=[SAMPLES / "hello"]) as host:
        await host.stop("hello")
        for number in range(ROUNDS + 1):
            found = {name: process(argv, env) for name, argv in processes.items()}
            found[PLUGIN] = await plugin(host)
            if number:  # the first fills caches
                for name, cost in found.items():
                    costs[name].append(cost)
    return costs


def _ratio(cost: Cost, empty: Cost) -> float:
    """Of a round."""
    return cost.wall_ms / empty.wall_ms


def main() -> int:
    with tempfile.TemporaryDirectory() as home, Daemon(Path(home), SAMPLES / "hello") as daemon:
        costs = asyncio.run(measured(daemon))
    least = Cost(*(statistics.median(each[column] for each in costs[PYTHON]) for column in (0, 1)))
    missed = False
    print(f"{'':<42} {'CPU':>8} {'':>6} {'wall':>8} {'':>6}   gate, stretch of the wall's ratio")
    for name, each in costs.items():
        cpu, wall = (statistics.median(cost[column] for cost in each) for column in (0, 1))
        target = TARGETS.get(name)
        said = "" if target is None else f"{target.gate:.1f}, {target.stretch:.1f}"
        ratios = f"{cpu:>5.1f} ms {cpu / least.cpu_ms:>5.1f}x {wall:>5.1f} ms {wall / least.wall_ms:>5.1f}x"
        print(f"{name:<42} {ratios}   {said}")
        if target is not None:
            missed |= min(map(_ratio, each, costs[PYTHON])) > target.gate
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
