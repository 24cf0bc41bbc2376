"""A zygote may do what it likes: a start takes no longer than it may, and nobody is left behind."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from host.observability.events import WarmStarts
from host.process import starter, zygote
from host.process.driver import current_driver
from host.process.launchers import LaunchSpec
from host.process.spawn import Child, started
from host.process.starter import Starter
from host.process.table import children
from tests.support.loops import LOOPS
from tests.support.plugins import write_plugin

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing is forked"),
]

on_one_loop = pytest.mark.parametrize("anyio_backend", [LOOPS["asyncio"]], ids=["asyncio"])

FAKE = (
    f"import sys; sys.path[:] = {sys.path}"
    + """
import json, os, socket, time
control = socket.socket(fileno=0)
def say(number, pid, **more):
    control.send(json.dumps({"number": number, "pid": pid, **more}).encode())
def hear():
    return json.loads(socket.recv_fds(control, 1 << 17, 3)[0])["number"]
def fork():
    from plugin_sdk.forking import Fork
    pid = Fork().beside()
    if pid == 0:
        time.sleep(60)
        os._exit(0)
    return pid
"""
)
"""The beginning of a process that passes for a zygote."""

FAULTS = {
    "ends at once": ("print('no', file=sys.stderr); sys.exit(3)", "has ended: exit code 3, and said: no"),
    "is never ready": ("time.sleep(60)", "was not ready after 0.5 s"),
    "cannot be read": ("control.send(b'\\xff{{{')", "answers what is no answer"),
    "nests without end": ("control.send(b'[' * 100_000)", "answers what is no answer"),
    "answers nobody": ("say(0, 1); say(7, 1); time.sleep(60)", "says that it has done what it has not"),
    "does not fork": ("say(0, 1); hear(); time.sleep(60)", "had not forked after 0.3 s"),
    "names the host": ("say(0, 1); say(hear(), os.getppid())", "says that it has done what it has not"),
    "names itself": ("say(0, 1); say(hear(), os.getpid())", "says that it has done what it has not"),
    "names nobody": ("say(0, 1); say(hear(), 0)", "says that it has done what it has not"),
    "names a child of its own": (
        "say(0, 1); n = hear(); p = os.fork(); p or time.sleep(1); say(n, p); time.sleep(60)",
        "says that it has done what it has not",
    ),
    "ends instead of answering": ("say(0, 1); hear()", "has ended: exit code 0"),
    "forks in silence": ("say(0, 1); hear(); fork(); fork(); time.sleep(60)", "had not forked after 0.3 s"),
    "forks in silence, and ends": ("say(0, 1); hear(); fork(); fork()", "has ended: exit code 0"),
    "cannot fork": ("say(0, 1); n = hear(); say(n, 0, errno=11); time.sleep(60)", ""),
    "is stopped": ("say(0, 1); os.kill(os.getpid(), 19)", "had not forked after 0.3 s"),
}
"""What it does then, and what is said of it."""


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zygote, "FORK_S", 10.0)  # others want the processors, too
    monkeypatch.setattr(zygote, "READY_S", 20.0)
    monkeypatch.setattr(starter, "BACKOFF_S", (0.05,))


class Told:
    """What a starter says, and a spec of a plugin that it may fork."""

    def __init__(self, folder: Path) -> None:
        self.events: list[WarmStarts] = []
        self._folder = write_plugin(folder, "echo")

    def spec(self, name: str = "echo") -> LaunchSpec:
        argv = [sys.executable, "-P", "-m", "plugin_sdk", "run", "main.py"]
        own = {"OUTBOARD_INSTANCE": f"test:{name}:1", "OUTBOARD_HOST_PID": str(os.getpid())}
        return LaunchSpec(argv, str(self._folder), own, fork_as=name)


@asynccontextmanager
async def started_by(told: Told) -> AsyncIterator[Starter]:
    """Leaving asserts that nobody is left, whom it has started or forked."""
    before = set(children(os.getpid()))
    driver = current_driver()
    there = Starter(driver, "test", "/", is_warm=True, tell=told.events.append)
    try:
        yield there
    finally:
        await there.close()
        await until(lambda: not set(children(os.getpid())) - before)
        driver.close()
    assert not started


async def until(condition: Any) -> None:
    with anyio.fail_after(10):
        while not condition():  # noqa: ASYNC110  # of the kernel's, which tells nobody
            await anyio.sleep(0.005)


async def ended(child: Child) -> Any:
    """How it ends once its stdin is closed."""
    os.close(child.stdin_fd)
    with anyio.fail_after(10):
        await child.exited.wait()
    os.close(child.stdout_fd)
    os.close(child.stderr_fd)
    return child.exit


async def test_what_is_forked_is_ours_to_wait_for(tmp_path: Path) -> None:
    told = Told(tmp_path)
    async with started_by(told) as there:
        children_ = [await there.start(told.spec(f"p{number}")) for number in range(3)]
        assert [child.how for child in children_] == ["warm"] * 3
        assert there.status().state == "ready"
        children_[0].kill()
        assert (await ended(children_[0])).signal == "SIGKILL"
        for child in children_[1:]:
            assert (await ended(child)).is_clean
    assert not told.events


async def test_starts_at_once_are_all_answered(tmp_path: Path) -> None:
    told = Told(tmp_path)
    found: list[Child] = []
    async with started_by(told) as there:

        async def start(name: str) -> None:
            found.append(await there.start(told.spec(name)))

        async with anyio.create_task_group() as tasks:
            for number in range(8):
                tasks.start_soon(start, f"p{number}")
        assert {child.how for child in found} == {"warm"}
        assert len({child.pid for child in found}) == 8
        for child in found:
            await ended(child)


async def test_a_start_that_is_given_up_has_an_owner_nevertheless(tmp_path: Path) -> None:
    told = Told(tmp_path)
    found: list[Child] = []
    async with started_by(told) as there:
        await ended(await there.start(told.spec()))
        with anyio.CancelScope() as scope:
            scope.cancel()
            found.append(await there.start(told.spec()))
        assert found[0].how == "warm"
        await ended(found[0])


@on_one_loop
async def test_one_that_no_zygote_can_become_is_executed(tmp_path: Path) -> None:
    told = Told(tmp_path)
    async with started_by(told) as there:
        spec = told.spec()
        child = await there.start(LaunchSpec(spec.argv, spec.folder, spec.environment))
        assert child.how == "cold"
        assert there.status().state == "idle"
        await ended(child)
        huge = {"A": "x" * 70_000, "B": "x" * 70_000}
        no_text = {"LC_MESSAGES": os.fsdecode(b"de\xe4")}
        for more in (huge, no_text):
            child = await there.start(
                LaunchSpec(spec.argv, spec.folder, spec.environment | more, fork_as="echo")
            )
            assert child.how == "cold"
            await ended(child)
        assert there.status().state == "ready"


@on_one_loop
@pytest.mark.parametrize("fault", FAULTS)
async def test_whatever_a_zygote_does_the_plugin_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    told, (code, reason) = Told(tmp_path), FAULTS[fault]
    monkeypatch.setattr(zygote, "COMMAND", [sys.executable, "-S", "-c", FAKE + code])
    monkeypatch.setattr(starter, "BACKOFF_S", (60.0,))
    if "0.5 s" in reason:
        monkeypatch.setattr(zygote, "READY_S", 0.5)
    if "0.3 s" in reason:
        monkeypatch.setattr(zygote, "FORK_S", 0.3)
    async with started_by(told) as there:
        child = await there.start(told.spec())
        assert child.how == "cold"
        if reason:
            await until(lambda: told.events)
            assert there.status().state == "backoff"
        else:
            assert there.status().state == "ready"
        assert [event.reason for event in told.events] == [f"the zygote {reason}"][: bool(reason)]
        assert (await ended(child)).is_clean


async def test_a_zygote_that_was_killed_comes_back_by_itself(tmp_path: Path) -> None:
    told = Told(tmp_path)
    async with started_by(told) as there:
        first = await there.start(told.spec())
        pid = there.status().pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        await until(lambda: told.events)
        cold = await there.start(told.spec())
        await until(lambda: there.status().state == "ready")
        warm = await there.start(told.spec())
        assert (first.how, warm.how) == ("warm", "warm")
        assert first.exit is None
        assert [event.are_possible for event in told.events] == [False, True]
        for child in (first, cold, warm):
            await ended(child)


@on_one_loop
async def test_a_zygote_that_is_stopped_holds_up_one_start_for_a_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = Told(tmp_path)
    monkeypatch.setattr(starter, "BACKOFF_S", (60.0,))
    async with started_by(told) as there:
        await ended(await there.start(told.spec()))
        pid = there.status().pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        monkeypatch.setattr(zygote, "FORK_S", 0.3)
        found = [await there.start(told.spec()) for _ in range(3)]
        assert [child.how for child in found] == ["cold"] * 3
        assert [event.reason for event in told.events] == ["the zygote had not forked after 0.3 s"]
        for child in found:
            await ended(child)
