"""Around everything that `Host` does, cancellation is as it is around anything else, on every loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from host import Host
from tests.support.loops import on_asyncio_alone, on_trio_alone
from tests.support.plugins import ECHO, Events, is_gone, make_host, pid_of, write_plugin

pytestmark = pytest.mark.anyio

PATIENT = """
heard = 0

@plugin.method
def wait(ctx: Context) -> None:
    global heard
    print("waiting", file=sys.stderr, flush=True)
    ends_at = time.monotonic() + 20
    while not ctx.cancelled and time.monotonic() < ends_at:
        time.sleep(0.001)
    heard += ctx.cancelled

@plugin.method
def cancellations() -> int:
    return heard
"""
SLOW = """
@plugin.on_start
def start() -> None:
    print("slowly", file=sys.stderr, flush=True)
    time.sleep(0.2)

@plugin.on_stop
def stop() -> None:
    time.sleep(0.1)
"""
DEAF = """
signal.signal(signal.SIGTERM, signal.SIG_IGN)

@plugin.on_stop
def stop() -> None:
    time.sleep(60)
"""


async def wait_for_ever(host: Host) -> None:
    await host.call("echo", "wait", timeout=None)


async def by_move_on_after(host: Host) -> None:
    with anyio.move_on_after(0.05) as scope:
        await wait_for_ever(host)
    assert scope.cancelled_caught


async def by_fail_after(host: Host) -> None:
    with pytest.raises(TimeoutError) as caught, anyio.fail_after(0.05):
        await wait_for_ever(host)
    assert type(caught.value) is TimeoutError


async def by_a_scope_around_many(host: Host) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait_for_ever, host)
        await Events(host).log("echo", "waiting")
        tasks.cancel_scope.cancel()


async def by_a_sibling_that_fails(host: Host) -> None:
    async def fail() -> None:
        await Events(host).log("echo", "waiting")
        1 / 0  # noqa: B018

    with pytest.raises(ExceptionGroup) as caught:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait_for_ever, host)
            tasks.start_soon(fail)
    assert caught.group_contains(ZeroDivisionError)


async def by_a_scope_that_is_cancelled_before(host: Host) -> None:
    with anyio.CancelScope() as scope:
        scope.cancel()
        await wait_for_ever(host)
    assert scope.cancelled_caught


async def by_asyncio_timeout(host: Host) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await wait_for_ever(host)


async def by_asyncio_wait_for(host: Host) -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(wait_for_ever(host), 0.05)


async def by_task_cancel(host: Host) -> None:
    task = asyncio.create_task(wait_for_ever(host))
    await Events(host).log("echo", "waiting")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def by_trio_move_on_after(host: Host) -> None:
    import trio

    with trio.move_on_after(0.05) as scope:
        await wait_for_ever(host)
    assert scope.cancelled_caught


async def by_a_trio_nursery(host: Host) -> None:
    import trio

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait_for_ever, host)
        await Events(host).log("echo", "waiting")
        nursery.cancel_scope.cancel()


async def check(tmp_path: Path, cancel: Callable[[Host], Awaitable[None]]) -> None:
    """Cancels a call in a host; the plugin hears of it, and lives on, as does the host."""
    async with make_host(tmp_path, write_plugin(tmp_path, "echo", PATIENT)) as host:
        await cancel(host)
        assert host.status("echo").plugins[0].calls.in_flight == 0
        with anyio.fail_after(10):
            never_sent = cancel is by_a_scope_that_is_cancelled_before
            while not never_sent and await host.call("echo", "cancellations") == 0:
                await anyio.lowlevel.checkpoint()
        assert host.status("echo").plugins[0].generation == 1


@pytest.mark.parametrize(
    "cancel",
    [
        by_move_on_after,
        by_fail_after,
        by_a_scope_around_many,
        by_a_sibling_that_fails,
        by_a_scope_that_is_cancelled_before,
    ],
)
async def test_a_cancelled_call_is_heard_of_by_the_plugin(tmp_path: Path, cancel: Any) -> None:
    await check(tmp_path, cancel)


@on_asyncio_alone
@pytest.mark.parametrize("cancel", [by_asyncio_timeout, by_asyncio_wait_for, by_task_cancel])
async def test_so_is_one_that_asyncio_cancels(tmp_path: Path, cancel: Any) -> None:
    await check(tmp_path, cancel)


@on_trio_alone
@pytest.mark.parametrize("cancel", [by_trio_move_on_after, by_a_trio_nursery])
async def test_so_is_one_that_trio_cancels(tmp_path: Path, cancel: Any) -> None:
    await check(tmp_path, cancel)


@pytest.mark.parametrize("verb", ["start", "restart", "stop", "remove", "add"])
async def test_whatever_is_cancelled_the_host_remains_usable(tmp_path: Path, verb: str) -> None:
    folder = write_plugin(tmp_path, "slow", PATIENT + SLOW)
    async with make_host(tmp_path) as host:
        if verb != "add":
            await host.add(folder)
        if verb == "start":
            await host.stop("slow")
        target: Any = folder if verb == "add" else "slow"
        with anyio.move_on_after(0.01) as scope:
            await getattr(host, verb)(target)
        assert scope.cancel_called
        assert await host.call("echo", "echo", value=1) == 1
        with anyio.fail_after(10):
            if verb == "remove":  # a removal is not left half done
                assert [plugin.name for plugin in host.status().plugins] == ["echo"]
                await host.add(folder)
            await host.start("slow")
        assert await host.call("slow", "cancellations") == 0


@on_trio_alone  # asyncio has tests of its own of this, with its own cancellation
async def test_leaving_in_a_cancelled_scope_leaves_no_process(tmp_path: Path) -> None:
    stubborn = write_plugin(tmp_path, "deaf", ECHO + DEAF, start={"stop_timeout": "10ms"})
    pids = []
    with anyio.CancelScope() as scope:
        async with make_host(tmp_path, stubborn, write_plugin(tmp_path, "echo")) as host:
            pids = [pid_of(host, "echo"), pid_of(host, "deaf")]
            scope.cancel()
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert all(is_gone(pid) for pid in pids)


@on_trio_alone
async def test_entering_that_takes_too_long_can_be_given_up(tmp_path: Path) -> None:
    hung = ECHO + "@plugin.on_start\ndef start() -> None:\n    time.sleep(60)\n"
    host = make_host(tmp_path, write_plugin(tmp_path, "hung", hung, start={"stop_timeout": "10ms"}))
    events = Events(host)
    with pytest.raises(TimeoutError), anyio.fail_after(0.3):
        async with host:
            pass
    pids = [event.pid for event in events.seen if getattr(event, "pid", None)]
    assert all(is_gone(pid) for pid in pids if pid is not None)
    assert events.states("hung")[-1] == "stopped"


async def test_a_call_that_waits_for_a_start_can_be_cancelled_and_the_start_goes_on(tmp_path: Path) -> None:
    lazy = write_plugin(tmp_path, "lazy", PATIENT + SLOW, start={"mode": "lazy"})
    async with make_host(tmp_path, lazy) as host:
        events = Events(host)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(partial(host.call, "lazy", "cancellations"))
            await events.log("lazy", "slowly")
            tasks.cancel_scope.cancel()
        await events.state("lazy", "running")
        assert await host.call("lazy", "cancellations") == 0
