"""A host that is used where it does not belong says so, at once, and is none the worse for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
import trio
import uvloop

from host import Host, HostMisuse
from tests.support.plugins import make_host, pid_of, settled

pytestmark = pytest.mark.anyio

NEW_LOOPS: dict[str, Callable[[Callable[[], Any]], Any]] = {
    "asyncio": lambda main: asyncio.run(main()),
    "uvloop": lambda main: uvloop.run(main()),
    "trio": trio.run,
}


def uses_of(host: Host, folder: Path) -> list[Callable[[], Any]]:
    async def at_once(look: Callable[[], Any]) -> Any:
        return look()

    return [
        partial(host.call, "echo", "echo", timeout=None),
        partial(host.call_raw, "echo", "echo", {}, None),
        partial(host.add, folder),
        *(partial(getattr(host, verb), "echo") for verb in ("start", "stop", "restart", "remove")),
        partial(at_once, host.status),
        partial(at_once, partial(host.methods_of, "echo")),
        partial(host.__aexit__, None, None, None),
    ]


@pytest.mark.parametrize("other", NEW_LOOPS)
async def test_from_a_loop_in_another_thread_it_refuses_everything(tmp_path: Path, other: str) -> None:
    async with make_host(tmp_path) as host:
        uses = partial(settled, uses_of(host, tmp_path))
        with anyio.fail_after(10):
            outcomes = await anyio.to_thread.run_sync(NEW_LOOPS[other], uses)
        assert {type(outcome) for outcome in outcomes} == {HostMisuse}
        assert {(outcome.code, bool(outcome.hint)) for outcome in outcomes} == {("OB411", True)}
        assert await host.call("echo", "echo", value=1) == 1
        assert host.status("echo").plugins[0].generation == 1


async def test_from_a_thread_without_a_loop_it_refuses_everything(tmp_path: Path) -> None:
    def drive(use: Callable[[], Any]) -> Any:
        try:
            use().send(None)
        except HostMisuse as error:
            return error.code
        raise AssertionError("it went through")

    async with make_host(tmp_path) as host:
        for use in uses_of(host, tmp_path):
            assert await anyio.to_thread.run_sync(drive, use) == "OB411"
        assert await host.call("echo", "echo", value=1) == 1


async def test_what_a_loop_hands_to_another_thread_is_used_there_by_the_means_of_the_loop(
    tmp_path: Path,
) -> None:
    async with make_host(tmp_path) as host:

        def work() -> Any:
            return anyio.from_thread.run(partial(host.call, "echo", "echo", value=1))

        assert await anyio.to_thread.run_sync(work) == 1


async def test_subscribing_is_allowed_from_anywhere(tmp_path: Path) -> None:
    seen: list[Any] = []
    async with make_host(tmp_path) as host:
        end = await anyio.to_thread.run_sync(host.on_event, seen.append)
        await host.stop("echo")
        await anyio.to_thread.run_sync(end)
    assert [event.state for event in seen] == ["stopping", "stopped"]


async def test_it_says_which_mistake_it_was(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    said = []
    for _ in range(2):
        with pytest.raises(HostMisuse) as caught:
            await host.call("echo", "echo")
        said.append(str(caught.value))
        if len(said) == 1:
            async with host:
                with pytest.raises(HostMisuse) as caught:
                    await host.__aenter__()
                said.append(str(caught.value))
    assert len(set(said)) == 3


@pytest.mark.parametrize(
    "new_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"]
)
def test_from_another_loop_of_the_same_thread_it_refuses_everything(tmp_path: Path, new_loop: Any) -> None:
    loop = new_loop()
    try:
        host = make_host(tmp_path)
        loop.run_until_complete(host.__aenter__())
        pid = pid_at(loop, host)
        uses = uses_of(host, tmp_path)
        for other in NEW_LOOPS.values():
            outcomes = other(partial(settled, uses))
            assert {type(outcome) for outcome in outcomes} == {HostMisuse}
        assert loop.run_until_complete(host.call("echo", "echo", value=1)) == 1
        assert pid_at(loop, host) == pid
        loop.run_until_complete(host.__aexit__(None, None, None))
    finally:
        loop.close()


def pid_at(loop: asyncio.AbstractEventLoop, host: Host) -> int:
    async def look() -> int:
        return pid_of(host)

    return loop.run_until_complete(look())


def test_without_any_loop_it_cannot_be_entered(tmp_path: Path) -> None:
    with pytest.raises(HostMisuse):
        make_host(tmp_path).__aenter__().send(None)


@pytest.mark.parametrize("other", NEW_LOOPS)
async def test_where_it_was_made_does_not_matter(tmp_path: Path, other: str) -> None:
    host = make_host(tmp_path)  # on this loop

    async def main() -> Any:
        async with host:
            return await host.call("echo", "echo", value=1)

    assert await anyio.to_thread.run_sync(NEW_LOOPS[other], main) == 1
