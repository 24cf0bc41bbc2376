"""Services of the app: called by plugins that may, and unable to hurt the host."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from host import BlockingHost, CallCycle, Host, HostMisuse, PermissionDenied
from host.observability.events import CallFailed
from tests.support.plugins import Events, make_host, settled, write_plugin

pytestmark = pytest.mark.anyio

APP = """
from plugin_sdk import CallFailed

@plugin.method
def send(ctx: Context, to: Any = "Ada", timeout: Any = None) -> Any:
    return ctx.host.mail.send(to=to, timeout=timeout)

@plugin.method
def what_failed(ctx: Context, params: Any = {}, timeout: Any = None) -> Any:
    try:
        return ctx.host.mail.send(params=params, timeout=timeout)
    except CallFailed as failed:
        return [type(failed).__name__, failed.code, failed.message]

@plugin.method
async def send_async(ctx: AsyncContext) -> Any:
    return await ctx.host.mail.send(to="Grace")

@plugin.method
def delete(ctx: Context) -> Any:
    return ctx.host.disk.delete()

@plugin.method
def down(n: int, ctx: Context) -> int:
    return 0 if n == 0 else 1 + ctx.host.mail.send(to=n - 1)
"""


def app(tmp_path: Path) -> Path:
    return write_plugin(tmp_path, "app", APP, permissions={"host": ["mail.*"]})


async def test_a_service_is_called_by_name_in_a_thread_or_on_the_loop(tmp_path: Path) -> None:
    threads: list[int] = []

    def send(to: str) -> dict[str, str]:
        threads.append(threading.get_ident())
        return {"sent to": to}

    async def send_async(to: str) -> list[str]:
        await anyio.lowlevel.checkpoint()
        threads.append(threading.get_ident())
        return [to]

    async with make_host(tmp_path, app(tmp_path), services={"mail.send": send}) as host:
        assert await host.call("app", "send", timeout=5) == {"sent to": "Ada"}
        assert await host.call("app", "send_async", timeout=5) == {"sent to": "Grace"}
    async with make_host(tmp_path, tmp_path / "app", services={"mail.send": send_async}) as host:
        assert await host.call("app", "send", timeout=5) == ["Ada"]
    assert threads[0] != threading.get_ident() == threads[2]


async def test_a_service_that_the_manifest_does_not_ask_for_is_refused(tmp_path: Path) -> None:
    ran: list[int] = []
    services = {"disk.delete": lambda: ran.append(1)}
    async with make_host(tmp_path, app(tmp_path), services=services) as host:
        with pytest.raises(PermissionDenied) as caught:
            await host.call("app", "delete", timeout=5)
        assert 'host = ["mail.*","disk.delete"]' in str(caught.value)
    assert not ran


def raises(**_: Any) -> None:
    raise ValueError("no such address")


def exits(**_: Any) -> None:
    raise SystemExit(3)


def stops(**_: Any) -> None:
    raise StopIteration


async def exits_on_the_loop(**_: Any) -> None:
    raise SystemExit(3)


async def times_out_itself(**_: Any) -> None:
    raise TimeoutError("smtp")


@pytest.mark.parametrize(
    ("service", "expected"),
    [
        (raises, ["RemoteError", -32000, "ValueError: no such address"]),
        (exits, ["RemoteError", -32000, "SystemExit: 3"]),
        (stops, ["RemoteError", -32000, "RuntimeError: coroutine raised StopIteration"]),
        (exits_on_the_loop, ["RemoteError", -32000, "SystemExit: 3"]),
        (times_out_itself, ["RemoteError", -32000, "TimeoutError: smtp"]),
        (lambda: 1, ["ContractError", -32602, "got an unexpected keyword argument 'to'"]),
        (lambda **_: object(), ["RemoteError", -32007, None]),
        (None, ["MethodNotFound", -32601, "the app has no service `mail.send`"]),
    ],
    ids=["raises", "exits", "stops", "exits on the loop", "times out", "other params", "no JSON", "none"],
)
async def test_what_a_service_does_costs_the_call_alone(
    tmp_path: Path, service: Any, expected: list[Any]
) -> None:
    services = {} if service is None else {"mail.send": service}
    async with make_host(tmp_path, app(tmp_path), services=services) as host:
        failed = await host.call("app", "what_failed", params={"params": {"to": "Ada"}}, timeout=5)
        assert failed[: 2 if expected[2] is None else 3] == expected[: 2 if expected[2] is None else 3]
        assert await host.call("app", "down", n=0, timeout=5) == 0


async def test_a_service_that_hangs_has_no_more_time_than_the_call(tmp_path: Path) -> None:
    go_on = threading.Event()

    def hang(to: str) -> None:
        go_on.wait(30)

    try:
        async with make_host(tmp_path, app(tmp_path), services={"mail.send": hang}) as host:
            events = Events(host)
            params = {"params": {"to": "Ada"}, "timeout": 0.1}
            assert (await host.call("app", "what_failed", params=params, timeout=10))[0] == "DeadlineExceeded"
            failed = await events.until(lambda event: isinstance(event, CallFailed))
            assert (failed.plugin, failed.method, failed.error) == ("app", "host/mail.send", "OB403")
            assert await host.call("app", "down", n=0, timeout=5) == 0
    finally:
        go_on.set()


async def test_a_cancelled_call_cancels_the_service(tmp_path: Path) -> None:
    began, ended = anyio.Event(), anyio.Event()

    async def hang(to: str) -> None:
        began.set()
        try:
            await anyio.sleep(60)
        finally:
            ended.set()

    async with make_host(tmp_path, app(tmp_path), services={"mail.send": hang}) as host:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: host.call("app", "send", timeout=30))
            await began.wait()
            tasks.cancel_scope.cancel()
        with anyio.fail_after(5):
            await ended.wait()


async def test_plugin_calls_host_calls_plugin_fifty_deep(tmp_path: Path) -> None:
    async def send(to: int) -> Any:
        return await host.call("app", "down", n=to)

    async with make_host(tmp_path, app(tmp_path), services={"mail.send": send}) as host:
        assert await host.call("app", "down", n=50, timeout=30) == 50
        deep = [lambda: host.call("app", "down", n=5, timeout=30) for _ in range(40)]
        assert await settled(deep) == [5] * 40


async def test_a_circle_through_the_app_is_seen(tmp_path: Path) -> None:
    async def send(to: Any) -> Any:
        return await host.call("app", "send", timeout=5)

    async with make_host(tmp_path, app(tmp_path), services={"mail.send": send}) as host:
        with pytest.raises(CallCycle) as caught:
            await host.call("app", "send", timeout=5)
        assert "app.send → host/mail.send → app.send" in str(caught.value)


def test_a_name_that_cannot_be_one_is_refused(tmp_path: Path) -> None:
    async def enter() -> None:
        async with Host(data_dir=tmp_path, services={"Mail!": print}):
            pass

    with pytest.raises(HostMisuse, match="Mail!"):
        anyio.run(enter)


def test_services_of_a_blocking_host_may_call_it(tmp_path: Path) -> None:
    def send(to: int) -> Any:
        return host.call("app", "down", n=to, timeout=10)

    plugin = app(tmp_path)
    with BlockingHost(plugins=[plugin], data_dir=tmp_path / "data", services={"mail.send": send}) as host:
        assert host.call("app", "down", n=10, timeout=20) == 10
