"""`Host` from outside: what an embedding program relies on."""

from __future__ import annotations

import asyncio
import os
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from host import (
    ContractError,
    DeadlineExceeded,
    Host,
    HostMisuse,
    MethodNotFound,
    PluginNotFound,
    RemoteError,
)
from tests.support.loops import on_asyncio_alone
from tests.support.plugins import ECHO, Events, is_gone, make_host, pid_of, settled, write_plugin

pytestmark = pytest.mark.anyio


def _call(function: Any) -> Any:
    async def call() -> Any:
        return function()

    return call


# -- in and out --------------------------------------------------------------------------------------


async def test_a_host_that_is_not_running_says_so(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    uses = [
        partial(host.call, "echo", "echo"),
        partial(host.add, tmp_path),
        partial(host.remove, "echo"),
        partial(host.start, "echo"),
        partial(host.stop, "echo"),
        partial(host.restart, "echo"),
    ]
    uses.append(_call(host.status))
    assert {type(outcome) for outcome in await settled(uses)} == {HostMisuse}
    async with host:
        with pytest.raises(HostMisuse):
            await host.__aenter__()
        assert await host.call("echo", "echo", value=1) == 1
    uses.append(host.__aenter__)
    assert {type(outcome) for outcome in await settled(uses)} == {HostMisuse}


async def test_a_data_folder_that_is_relative_is_the_apps_and_not_the_plugins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin = write_plugin(
        tmp_path / "plugins",
        "keeper",
        "@plugin.method\ndef keep(ctx: Context) -> str:\n    return str(ctx.data_dir.absolute())\n",
    )
    monkeypatch.chdir(tmp_path)
    async with Host(plugins=[plugin], data_dir="kept") as host:
        assert await host.call("keeper", "keep") == str(tmp_path / "kept" / "keeper")


async def test_an_exception_in_the_body_comes_out_as_itself_and_ends_the_plugins(tmp_path: Path) -> None:
    pid = 0
    with pytest.raises(ZeroDivisionError):
        async with make_host(tmp_path) as host:
            pid = pid_of(host)
            1 / 0  # noqa: B018
    assert is_gone(pid)


async def test_an_exception_in_a_cancelled_body_is_not_hidden_by_the_cancellation(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), anyio.CancelScope() as scope:
        async with make_host(tmp_path):
            scope.cancel()
            1 / 0  # noqa: B018


async def test_a_host_may_be_left_in_another_task_than_the_one_that_entered_it(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(host.__aenter__)
    pid = pid_of(host)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(host.__aexit__, None, None, None)
    assert is_gone(pid)


async def test_a_cancelled_body_leaves_no_process_behind(tmp_path: Path) -> None:
    pid = 0
    with anyio.move_on_after(0.3) as scope:
        async with make_host(tmp_path) as host:
            pid = pid_of(host)
            await host.call("echo", "hang", s=0.5)
    assert scope.cancelled_caught
    assert is_gone(pid)


@on_asyncio_alone
async def test_a_timeout_of_asyncio_around_a_host_is_a_timeout(tmp_path: Path) -> None:
    pid = 0
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            async with make_host(tmp_path) as host:
                pid = pid_of(host)
                await asyncio.Event().wait()
    assert is_gone(pid)


@on_asyncio_alone
async def test_a_task_that_is_cancelled_twice_leaves_no_process_behind(tmp_path: Path) -> None:
    running = asyncio.Event()
    stubborn = write_plugin(
        tmp_path, "echo", ECHO + "\n@plugin.on_stop\ndef stop() -> None:\n    time.sleep(60)\n"
    )
    host = make_host(tmp_path, stubborn)
    events = Events(host)

    async def run() -> None:
        async with host:
            running.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(run())
    await running.wait()
    end_of_process = os.pidfd_open(pid_of(host))
    task.cancel()
    await events.state("echo", "stopping")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with anyio.fail_after(5):
        await anyio.wait_readable(end_of_process)
    os.close(end_of_process)


async def test_a_host_fits_into_task_groups_and_cancel_scopes(tmp_path: Path) -> None:
    async with anyio.create_task_group() as tasks:
        with anyio.CancelScope() as scope:
            async with make_host(tmp_path) as host:
                tasks.start_soon(partial(host.call, "echo", "echo", value=1))
                assert await host.call("echo", "echo", value=2) == 2
                with anyio.move_on_after(0.05):
                    await host.call("echo", "hang", s=0.2)
                scope.cancel()
                with anyio.CancelScope(shield=True):
                    assert await host.call("echo", "echo", value=3) == 3


async def test_entering_in_a_cancelled_scope_starts_nothing_that_stays(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    events = Events(host)
    with anyio.CancelScope() as scope:
        scope.cancel()
        async with host:
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert "running" not in events.states("echo")


async def test_two_hosts_in_one_process_do_not_mix(tmp_path: Path) -> None:
    folder = write_plugin(tmp_path, "echo")
    async with make_host(tmp_path, folder) as one, make_host(tmp_path / "other", folder) as two:
        assert pid_of(one) != pid_of(two)
        calls = [partial(host.call, "echo", "echo", value=n) for n in range(30) for host in (one, two)]
        assert await settled(calls) == [n for n in range(30) for _ in (one, two)]
        await one.stop("echo")
        assert await two.call("echo", "echo", value=1) == 1


# -- calls -------------------------------------------------------------------------------------------


async def test_a_hundred_calls_at_once_are_all_answered(tmp_path: Path) -> None:
    async with make_host(tmp_path) as host:
        calls = [partial(host.call, "echo", "echo", value=n) for n in range(100)]
        assert await settled(calls) == list(range(100))
        calls_ok = host.status("echo").plugins[0].calls
        assert (calls_ok.ok, calls_ok.in_flight) == (100, 0)


async def test_every_mistake_in_a_call_has_its_error(tmp_path: Path) -> None:
    code = ECHO + "\n@plugin.method\ndef fail() -> None:\n    raise PluginError(42, 'no', {'a': 1})\n"
    code += "".join(f"\n@plugin.method\ndef method_{number:03}(): ...\n" for number in range(400))
    async with make_host(tmp_path, write_plugin(tmp_path, "echo", code)) as host:
        with pytest.raises(PluginNotFound) as missing:
            await host.call("ecko", "echo")
        assert "echo" in (missing.value.hint or "")
        with pytest.raises(MethodNotFound) as unknown:
            await host.call("echo", "ecko")
        for params in ({"items": iter([1])}, {"text": "x" * 20_000_000}):  # wrong too, but not first
            with pytest.raises(MethodNotFound) as unknown:
                await host.call("echo", "methd_399", params=params)
            hint = unknown.value.hint or ""
            assert hint.startswith("did you mean `method_399`? it has: ")
            assert hint.endswith(" more: outboard status echo")
            assert len(hint) < 500
        with pytest.raises(ContractError) as wrong:
            await host.call("echo", "hang", s="long", t=1)
        assert {problem["path"] for problem in wrong.value.data} == {"$.s", "$.t"}
        with pytest.raises(RemoteError) as failed:
            await host.call("echo", "fail")
        assert (failed.value.remote_code, failed.value.data) == (42, {"a": 1})
        assert (failed.value.plugin, failed.value.method) == ("echo", "fail")


async def test_params_takes_names_that_collide_with_our_own(tmp_path: Path) -> None:
    code = """
@plugin.method
def timeout(timeout: float, params: str, plugin: str) -> list:
    return [timeout, params, plugin]
"""
    async with make_host(tmp_path, write_plugin(tmp_path, "clock", code)) as host:
        params = {"timeout": 9.5, "params": "p", "plugin": "q"}
        assert await host.call("clock", "timeout", params=params, timeout=2) == [9.5, "p", "q"]


@pytest.mark.parametrize("method", ["shutdown", "initialize", "exit", "lifecycle/ping", "$/cancelRequest"])
async def test_what_belongs_to_the_protocol_cannot_be_called(tmp_path: Path, method: str) -> None:
    async with make_host(tmp_path, write_plugin(tmp_path, "one")) as host:
        with pytest.raises(MethodNotFound):
            await host.call("one", method)
        assert await host.call("one", "echo", value=1) == 1


async def test_a_busy_plugin_hears_of_a_cancellation_while_it_is_busy(tmp_path: Path) -> None:
    code = """
    @plugin.method
    def spin(ctx: Context) -> None:
        ends_at = time.monotonic() + 20
        while not ctx.cancelled and time.monotonic() < ends_at:
            pass

    @plugin.method
    def echo(value: Any = None) -> Any:
        return value
    """
    async with make_host(tmp_path, write_plugin(tmp_path, "busy", code)) as host:
        with pytest.raises(DeadlineExceeded):
            await host.call("busy", "spin", timeout=0.1)
        assert await host.call("busy", "echo", value=1, timeout=5) == 1
