"""What a start costs when plugins are forked: rows for `python -m tests.bench.supervision warm`."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import anyio

from host import Host, HostEvent, StateChanged
from tests.bench.promises import Row
from tests.support.plugins import Events, pid_of, write_plugin

SMALL = """\
from plugin_sdk import Plugin
plugin = Plugin()
@plugin.method
def echo(value: int = 0) -> int:
    return value
"""
TIMES = 60
MANY = 100


def small(parent: Path, name: str, **tables: Any) -> Path:
    """A plugin as small as they are, which imports nothing but the SDK."""
    folder = write_plugin(parent, name, **tables)
    (folder / "main.py").write_text(SMALL)
    return folder


def in_host(home: Path, warm: bool, measure: Callable[[Host], Awaitable[list[float]]], *plugins: Path) -> Any:
    """What `measure` returns in a host that has a plugin running besides, so that all is warmed up."""

    async def run() -> list[float]:
        first = small(home, "first")
        async with Host(plugins=[first, *plugins], data_dir=home / "data", warm_start=warm) as host:
            return await measure(host)

    return anyio.run(run, backend_options={"use_uvloop": True})


def starts(home: Path, *, warm: bool) -> list[float]:
    """From being asked to start until it serves."""

    async def measure(host: Host) -> list[float]:
        took = []
        for _ in range(TIMES):
            await host.stop("victim")
            began_at = time.perf_counter()
            await host.start("victim")
            took.append((time.perf_counter() - began_at) * 1000)
        return took

    found: list[float] = in_host(home, warm, measure, small(home, "victim"))
    return found


def crashes(home: Path) -> list[float]:
    """From the kill until a call is answered that came after it, with a backoff of 1 ms."""
    restart = {"backoff_min": "1ms", "backoff_max": "1ms", "intensity": 1000}

    async def measure(host: Host) -> list[float]:
        took, events = [], Events(host)
        for _ in range(TIMES):
            began_at = time.perf_counter()
            os.kill(pid_of(host, "victim"), signal.SIGKILL)
            await events.state("victim", "running", "degraded")
            await host.call("victim", "echo", value=1, timeout=5)
            took.append((time.perf_counter() - began_at) * 1000)
        return took

    found: list[float] = in_host(home, True, measure, small(home, "victim", restart=restart))
    return found


def many(home: Path, *, warm: bool, look: bool) -> list[float]:
    """Seconds until all of a hundred run; or `look`, what memory each has of its own share, in MiB."""
    plugins = [small(home / "plugins", f"p{number}") for number in range(MANY)]

    async def measure(host: Host) -> list[float]:
        for name in (plugin.name for plugin in plugins):
            await host.stop(name)
        left, all_run = {plugin.name for plugin in plugins}, anyio.Event()

        def note(event: HostEvent) -> None:
            if isinstance(event, StateChanged) and event.state == "running":
                left.discard(event.plugin)
                if not left:
                    all_run.set()

        host.on_event(note)
        began_at = time.perf_counter()
        async with anyio.create_task_group() as tasks:
            for plugin in plugins:
                tasks.start_soon(host.start, plugin.name)
            await all_run.wait()
            took = time.perf_counter() - began_at
        pids = [plugin.pid for plugin in host.status().plugins if plugin.pid is not None]
        return [share_mib(pid) for pid in pids] if look else [took]

    found: list[float] = in_host(home, warm, measure, *plugins)
    return found


def share_mib(pid: int) -> float:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("Pss:")).split()[1]) / 1024


ROWS = [
    Row("warm start: until it serves, half", 5, "ms", partial(starts, warm=True), "half"),
    Row("the same, not warm, half", None, "ms", partial(starts, warm=False), "half"),
    Row("plugin crashed: serves again, warm, half", 20, "ms", crashes, "half"),
    Row("100 plugins started, warm", 0.25, "s", partial(many, warm=True, look=False)),
    Row("100 plugins started, not warm", None, "s", partial(many, warm=False, look=False)),
    Row("PSS of each of 100, warm, half", 2, "MiB", partial(many, warm=True, look=True), "half"),
    Row("PSS of each of 100, not warm, half", None, "MiB", partial(many, warm=False, look=True), "half"),
]
