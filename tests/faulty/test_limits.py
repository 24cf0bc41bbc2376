"""Plugins that use more than they may: what is soft degrades them, what is hard ends them, and nobody else.

Rows 17 to 23, 37 and 38 of the fault matrix. Limits are small and everything is bounded: at the worst a
plugin takes some hundred MiB, or 300 processes that end by themselves.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import psutil
import pytest

from host import PluginCrashed, RemoteError
from host.observability.events import StateChanged
from host.observability.snapshot import LimitStatus
from host.process.usage import Usage
from tests.support.arena import STRICT, p99
from tests.support.plugins import QUICK, Stage, is_gone, staged, write_plugin

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(sys.platform != "linux", reason="the kernel's part of it is Linux's"),
]

MIB = 1024**2

GLUTTON = """
import mmap, resource
held = []
children = []

def take(mib: int) -> None:
    piece = mmap.mmap(-1, mib * 1024**2, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    held.append(piece)
    for at in range(0, len(piece), 4096):
        piece[at] = 1

def fork(then):
    pid = os.fork()
    if pid == 0:
        try:
            then()
            time.sleep(30)
        finally:
            os._exit(0)
    children.append(pid)

@plugin.method
def echo(value: Any = None) -> Any:
    return value

@plugin.method
def at_once(mib: int) -> str:
    try:
        data = bytearray(mib * 1024**2)
    except MemoryError:
        return "MemoryError"
    return str(len(data))

@plugin.method
def leak(mib_per_s: int, s: float) -> None:
    began = time.monotonic()
    taken = 0
    while (spent := time.monotonic() - began) < s:
        if taken < spent * mib_per_s:
            take(1)
            taken += 1
        else:
            time.sleep(0.005)

@plugin.method
def split(forks: int, mib: int, mib_per_s: int) -> None:
    def child():
        for _ in range(mib):
            take(1)
            time.sleep(1 / mib_per_s)
    for _ in range(forks):
        fork(child)
    time.sleep(30)

@plugin.method
def share(forks: int, mib: int) -> list[int]:
    take(mib)
    for _ in range(forks):
        fork(lambda: sum(piece[at] for piece in held for at in range(0, len(piece), 4096)))
    return children

@plugin.method
def breed(count: int) -> None:
    for _ in range(count):
        fork(lambda: None)
    time.sleep(30)

@plugin.method
def hide(count: int, seconds: str) -> None:
    for _ in range(count):
        first = os.fork()
        if first == 0:
            os.setsid()
            if os.fork():
                os._exit(0)
            null = os.open("/dev/null", os.O_RDWR)
            for fd in range(3):
                os.dup2(null, fd)
            os.execve("/bin/sleep", ["sleep", seconds], {})
        os.waitpid(first, 0)
    time.sleep(30)

@plugin.method
def threads(count: int) -> None:
    for _ in range(count):
        threading.Thread(target=time.sleep, args=(30,), daemon=True).start()
    time.sleep(30)

@plugin.method
def open_many(count: int) -> str:
    try:
        for _ in range(count):
            held.append(open("/dev/null"))
    except OSError as error:
        return f"errno {error.errno} at {len(held)}"
    return str(len(held))

@plugin.method
def close_all() -> None:
    held.clear()

@plugin.method
def write(mib: int) -> str:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        with open(os.path.join(os.environ["HOME"], "big"), "wb") as file:
            for _ in range(mib):
                file.write(bytes(1024**2))
    except OSError as error:
        return f"errno {error.errno}"
    return "written"

@plugin.method
def burn(processes: int, s: float) -> None:
    def spin():
        until = time.monotonic() + s
        while time.monotonic() < until:
            pass
        os._exit(0)
    for _ in range(processes):
        fork(spin)

@plugin.method
def nice() -> int:
    return os.nice(0)

@plugin.method
def rlimit(name: str) -> list[int]:
    return list(resource.getrlimit(getattr(resource, "RLIMIT_" + name)))
"""


def glutton(tmp_path: Path, **limits: Any) -> Path:
    return write_plugin(tmp_path, "victim", GLUTTON, limits=limits, restart=QUICK)


def limit(stage: Stage, name: str) -> LimitStatus:
    return next(each for each in stage.host.status("victim").plugins[0].limits if each.name == name)


def kept_by_the_host(stage: Stage, name: str) -> None:
    """Skips where a control group keeps it, and so nobody is killed by the host for it."""
    if "cgroup" in (limit(stage, name).mechanism or ""):
        pytest.skip("the kernel keeps this limit here, in another way: see tests/cgroup/test_kernel_keeps.py")


async def use(stage: Stage, method: str, **params: Any) -> None:
    """Calls it, and is content with its end."""
    try:
        await stage.host.call("victim", method, params=params, timeout=60)
    except PluginCrashed:
        pass


async def until(condition: Callable[[], bool], *, within_s: float = 20.0) -> None:
    """For what nobody announces."""
    with anyio.fail_after(within_s):
        while not condition():  # noqa: ASYNC110
            await anyio.sleep(0.02)


async def killed(stage: Stage, name: str) -> StateChanged:
    """Waits for the end of `victim` for that limit; the event has the cause."""
    stopping = await stage.events.state("victim", "stopping", within_s=20)
    assert stopping.reason.startswith(f"{name}: ")
    down = await stage.events.state("victim", "backoff")
    assert down.cause is not None
    assert (down.cause.kind, down.cause.signal, down.cause.killed_by_host) == ("limit", "SIGKILL", True)
    assert down.reason == stopping.reason
    assert down.reason.endswith("killed by the host")
    assert down.cause.fix is not None
    assert f"limits.{name}" in down.cause.fix
    return down


async def test_more_than_its_memory_at_once_is_an_error_that_a_plugin_survives(tmp_path: Path) -> None:
    async with staged(tmp_path, glutton(tmp_path, memory="200MiB")) as stage:
        assert await stage.host.call("victim", "at_once", mib=600) == "MemoryError"
        assert await stage.host.call("victim", "at_once", mib=50) == str(50 * MIB)
        assert stage.host.status("victim").plugins[0].generation == 1
        assert (limit(stage, "memory").mechanism or "").startswith("RLIMIT_DATA, ")


async def test_a_leak_ends_in_an_error_of_its_own_and_stays_below_the_limit(tmp_path: Path) -> None:
    async with staged(tmp_path, glutton(tmp_path, memory="100MiB")) as stage:
        with pytest.raises(RemoteError):
            await stage.host.call("victim", "leak", mib_per_s=150, s=30, timeout=60)
        degraded = await stage.events.state("victim", "degraded")
        assert degraded.reason.startswith("memory: ")
        assert await stage.host.call("victim", "echo", value=1) == 1
        memory = limit(stage, "memory")
        assert memory.peak is not None
        assert 80 * MIB <= memory.peak <= 105 * MIB
        assert memory.soft == 80 * MIB


async def test_memory_split_over_ten_forks_is_counted_together(tmp_path: Path) -> None:
    async with staged(tmp_path, glutton(tmp_path, memory="200MiB")) as stage:
        kept_by_the_host(stage, "memory")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: use(stage, "split", forks=10, mib=60, mib_per_s=20))
            down = await killed(stage, "memory")
        assert "PSS of 11 processes" in down.reason
        await stage.events.state("victim", "running")


async def test_forks_that_share_their_memory_are_not_killed_for_it(tmp_path: Path) -> None:
    async with staged(tmp_path, glutton(tmp_path, memory="300MiB")) as stage:
        kept_by_the_host(stage, "memory")
        children = await stage.host.call("victim", "share", forks=5, mib=100)
        looks: list[Usage] = []

        def looked_at(times: int) -> bool:
            usage = stage.host._tree.plugins["victim"].generation.allowance.usage
            if usage.processes == 6 and (not looks or usage is not looks[-1]):
                looks.append(usage)
            return len(looks) >= times

        await until(lambda: looked_at(4))
        last = looks[-1]
        assert last.measure == "pss"  # six times 100 MiB would have been too much
        assert last.memory_bytes < 200 * MIB
        assert stage.host.status("victim").plugins[0].generation == 1
        assert not any(is_gone(pid) for pid in children)


async def test_a_fork_bomb_is_ended_with_everything_that_it_has_started(tmp_path: Path) -> None:
    async with staged(tmp_path, glutton(tmp_path, processes=64)) as stage:
        group = stage.pid("victim")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: use(stage, "breed", count=300))
            down = await killed(stage, "processes")
        assert "of 64" in down.reason
        await until(lambda: not group_of(group))


async def test_a_broken_limit_ends_also_those_who_hide_before_anybody_has_seen_them(tmp_path: Path) -> None:
    seconds = f"61.{os.getpid()}"
    async with staged(tmp_path, glutton(tmp_path, processes=12)) as stage:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: use(stage, "hide", count=40, seconds=seconds))
            await killed(stage, "processes")
        try:
            await until(lambda: not sleeping(seconds))
        finally:
            for pid in sleeping(seconds):
                os.kill(pid, signal.SIGKILL)


async def test_one_that_breaks_a_limit_while_it_is_being_stopped_is_not_waited_for(tmp_path: Path) -> None:
    code = (
        GLUTTON
        + """
@plugin.method
def breed_once_there(file: str) -> None:
    while not os.path.exists(file):
        time.sleep(0.01)
    breed(20)
"""
    )
    victim = write_plugin(tmp_path, "victim", code, limits={"processes": 12}, start={"stop_timeout": "60s"})
    go = tmp_path / "go"
    async with staged(tmp_path, victim) as stage:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: use(stage, "breed_once_there", file=str(go)))
            await until(lambda: stage.host.status("victim").plugins[0].calls.in_flight == 1)
            group = stage.pid("victim")
            tasks.start_soon(stage.host.stop, "victim")
            await stage.events.state("victim", "stopping")
            began = time.monotonic()
            go.touch()
        assert time.monotonic() - began < 30  # it would have a minute to finish what it does
        await until(lambda: not group_of(group))


def sleeping(seconds: str) -> list[int]:
    """Who runs `sleep` for just so long."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.cmdline() == ["sleep", seconds]:
                found.append(process.pid)
        except psutil.Error:
            pass
    return found


def group_of(number: int) -> list[int]:
    """What is there of a process group; not what is dead and waits to be reaped."""
    found = []
    for process in psutil.process_iter():
        try:
            if os.getpgid(process.pid) == number and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
        except (ProcessLookupError, psutil.Error):
            pass
    return found


async def test_too_many_threads_are_its_end(tmp_path: Path) -> None:
    async with staged(tmp_path, glutton(tmp_path, threads=256, memory="8GiB")) as stage:
        kept_by_the_host(stage, "threads")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: use(stage, "threads", count=500))
            down = await killed(stage, "threads")
        assert "of 256" in down.reason


async def test_open_files_degrade_it_and_then_fail(tmp_path: Path) -> None:
    async with staged(tmp_path, glutton(tmp_path, open_files=128)) as stage:
        said = await stage.host.call("victim", "open_many", count=200)
        assert said.startswith("errno 24 at 1")
        degraded = await stage.events.state("victim", "degraded", within_s=20)
        assert degraded.reason.startswith("open_files: ")
        assert degraded.reason.endswith(" of 128")
        assert limit(stage, "open_files").mechanism == "RLIMIT_NOFILE"
        await stage.host.call("victim", "close_all")
        assert await stage.host.call("victim", "open_many", count=20) == "20"


async def test_a_file_that_becomes_too_large_is_an_error_of_its_own(tmp_path: Path) -> None:
    async with staged(tmp_path, glutton(tmp_path, file_size="4MiB")) as stage:
        assert await stage.host.call("victim", "write", mib=8) == "errno 27"
        assert await stage.host.call("victim", "echo", value=1) == 1


async def test_changed_limits_hold_for_the_process_that_runs(tmp_path: Path) -> None:
    victim = glutton(tmp_path, open_files=200, memory="300MiB", processes=64)
    async with staged(tmp_path, victim) as stage:
        manifest = victim / "plugin.toml"
        text = manifest.read_text().replace("200", "100").replace("300MiB", "250MiB").replace("64", "3")
        manifest.write_text(text)
        plan = await stage.host.reload()
        assert [change.why for change in plan.live] == ["limits.memory, limits.processes, limits.open_files"]
        assert plan.restarted == []
        assert await stage.host.call("victim", "rlimit", name="NOFILE") == [100, 100]
        assert await stage.host.call("victim", "rlimit", name="DATA") == [250 * MIB, 250 * MIB]
        assert stage.host.status("victim").plugins[0].generation == 1
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: use(stage, "breed", count=5))
            down = await killed(stage, "processes")
        assert "of 3" in down.reason


async def test_eight_burners_keep_the_host_from_nothing(tmp_path: Path) -> None:
    async with staged(tmp_path, glutton(tmp_path)) as stage:
        assert await stage.host.call("victim", "nice") == os.nice(0) + 5
        assert os.getsid(stage.pid("victim")) == stage.pid("victim")  # or its work would be charged to us
        await stage.host.call("victim", "burn", processes=8, s=3)
        late: list[float] = []
        until = time.monotonic() + 2.5
        answered = stage.answered
        while time.monotonic() < until:
            due = time.monotonic() + 0.005
            await anyio.sleep(0.005)
            late.append(time.monotonic() - due)
        assert p99(late) <= (0.025 if STRICT else 0.1)
        assert stage.answered - answered > 100
        assert await stage.host.call("victim", "echo", value=1, timeout=5) == 1
