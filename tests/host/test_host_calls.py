"""Plugins that call each other: permissions, time, cancellation, circles, and how much of it at once."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import anyio
import pytest

from host import (
    CallCycle,
    DeadlineExceeded,
    Host,
    OutboardError,
    PermissionDenied,
    RemoteError,
)
from host.observability.events import CallFailed
from tests.support.plugins import Events, make_host, pid_of, settled, write_plugin, write_raw_plugin

pytestmark = pytest.mark.anyio

CALLER = """
from plugin_sdk import CallFailed

@plugin.method
def ask(plugin: str, method: str, ctx: Context, params: Any = {}, timeout: Any = None) -> Any:
    return ctx.call(plugin, method, params=params, timeout=timeout)

@plugin.method
def what_failed(plugin: str, method: str, ctx: Context, params: Any = {}, timeout: Any = None) -> Any:
    try:
        return ctx.call(plugin, method, params=params, timeout=timeout)
    except CallFailed as failed:
        return [type(failed).__name__, failed.code, failed.message, failed.retry_after]

@plugin.method
def down(n: int, to: str = "", ctx: Context = None) -> int:
    return 0 if n == 0 else 1 + ctx.call(to, "down", n=n - 1, to=ctx._desk.identity.name)
"""
ASYNC_CALLER = (
    CALLER.replace("\ndef ", "\nasync def ")
    .replace("Context", "AsyncContext")
    .replace("ctx.call(", "await ctx.call(")
)
HANGS = """
began = []

@plugin.method
def hang(ctx: Context) -> None:
    began.append(1)
    ctx.log.info("hang begins")
    while not ctx.cancelled:
        time.sleep(0.01)
    ctx.log.info("hang is cancelled")

@plugin.method
async def wait(ctx: AsyncContext) -> None:
    import asyncio
    ctx.log.info("wait begins")
    try:
        await asyncio.sleep(60)
    finally:
        ctx.log.info("wait is cancelled")

@plugin.method
def die() -> None:
    os._exit(3)

@plugin.method
def fail() -> None:
    raise PluginError(7, "no such person", {"who": "Ada"})

@plugin.method
def echo(value: Any = None) -> Any:
    return value
"""


def allow(*plugins: str) -> dict[str, Any]:
    return {"permissions": {"plugins": list(plugins)}}


def pair(tmp_path: Path, code: str = CALLER, **more: Any) -> Host:
    """`a` and `b` may call each other, and `callee`."""
    return make_host(
        tmp_path,
        write_plugin(tmp_path, "a", code, **allow("b", "callee", "gone")),
        write_plugin(tmp_path, "b", code, **allow("a", "call*")),
        write_plugin(tmp_path, "callee", HANGS),
        **more,
    )


@pytest.mark.parametrize("code", [CALLER, ASYNC_CALLER], ids=["sync", "async"])
async def test_a_plugin_calls_another_through_the_host(tmp_path: Path, code: str) -> None:
    async with pair(tmp_path, code) as host:
        value = {"a": [1, "ü"]}
        params = {"plugin": "callee", "method": "echo", "params": {"value": value}}
        assert await host.call("a", "ask", params=params, timeout=5) == value
        assert host.status("callee").plugins[0].calls.ok == 1


async def test_what_the_manifest_does_not_ask_for_is_refused_with_the_line_to_add(tmp_path: Path) -> None:
    async with pair(tmp_path) as host:
        events = Events(host)
        params = {"plugin": "ask", "method": "x"}
        kind, code, text, _ = await host.call("a", "what_failed", params=params, timeout=5)
        assert (kind, code) == ("PermissionDenied", -32009)
        assert 'plugins = ["b","callee","gone","ask"]' in text
        failed = await events.until(lambda event: isinstance(event, CallFailed))
        assert (failed.plugin, failed.error) == ("a", "OB416")
        with pytest.raises(PermissionDenied) as caught:  # nobody caught it on the way
            await host.call("a", "ask", params=params, timeout=5)
        assert caught.value.data["cause"]["code"] == -32009


async def test_a_plugin_without_permissions_may_call_itself_and_nobody_else(tmp_path: Path) -> None:
    async with make_host(tmp_path, write_plugin(tmp_path, "a", CALLER)) as host:
        assert await host.call("a", "down", n=3, to="a", timeout=5) == 3
        with pytest.raises(PermissionDenied):
            await host.call("a", "down", n=3, to="b", timeout=5)


@pytest.mark.parametrize(
    ("plugin", "method", "kind", "code"),
    [
        ("callee", "fail", "RemoteError", 7),
        ("callee", "ecoh", "MethodNotFound", -32601),
        ("callee", "shutdown", "MethodNotFound", -32601),
        ("callee", "die", "PluginCrashed", -32000),
        ("gone", "echo", "PluginUnavailable", -32012),
    ],
)
async def test_a_failure_says_what_it_is(
    tmp_path: Path, plugin: str, method: str, kind: str, code: int
) -> None:
    async with pair(tmp_path) as host:
        params = {"plugin": plugin, "method": method}
        failed = await host.call("a", "what_failed", params=params, timeout=5)
        assert failed[:2] == [kind, code]


async def test_a_failure_that_escapes_is_never_the_inner_code(tmp_path: Path) -> None:
    async with pair(tmp_path) as host:
        with pytest.raises(RemoteError) as caught:
            await host.call("a", "ask", params={"plugin": "callee", "method": "fail"}, timeout=5)
        assert caught.value.remote_code == -32000
        cause = caught.value.data["cause"]
        assert cause == {"plugin": "callee", "code": 7, "message": "callee.fail: no such person"}


@pytest.mark.parametrize("code", [CALLER, ASYNC_CALLER], ids=["sync", "async"])
async def test_a_circle_is_refused_and_the_chain_is_shown(tmp_path: Path, code: str) -> None:
    """a.go calls b.go, which calls a.go with the very params that it had the first time: none."""
    round_trip = """
        @plugin.method
        {kind} go(ctx: {ctx}) -> Any:
            return {wait} ctx.call({other!r}, "go")
    """
    kind, ctx, wait = ("def", "Context", "") if code is CALLER else ("async def", "AsyncContext", "await")

    def circling(name: str, other: str) -> Path:
        source = round_trip.format(kind=kind, ctx=ctx, wait=wait, other=other)
        return write_plugin(tmp_path, name, source, **allow(other))

    async with make_host(tmp_path, circling("a", "b"), circling("b", "a")) as host:
        with pytest.raises(CallCycle) as caught:
            await host.call("a", "go", timeout=5)
        assert "a.go → b.go → a.go" in str(caught.value)
        assert caught.value.data["cause"]["plugin"] == "b"
        assert caught.value.data["cause"]["cause"]["code"] == -32013
        assert [host.status(name).plugins[0].calls.in_flight for name in "ab"] == [0, 0]


async def test_recursion_without_an_end_is_refused_at_a_depth(tmp_path: Path) -> None:
    async with pair(tmp_path) as host:
        with pytest.raises(CallCycle) as caught:
            await host.call("a", "down", n=1000, to="b", timeout=20)
        assert "64 calls" in str(caught.value)
        assert await host.call("a", "down", n=3, to="b", timeout=5) == 3


@pytest.mark.parametrize("code", [CALLER, ASYNC_CALLER], ids=["sync", "async"])
async def test_calls_go_round_fifty_deep_without_a_deadlock(tmp_path: Path, code: str) -> None:
    async with pair(tmp_path, code) as host:
        assert await host.call("a", "down", n=50, to="b", timeout=30) == 50


async def test_many_deep_chains_at_once_do_not_wait_for_each_other_for_ever(tmp_path: Path) -> None:
    async with pair(tmp_path, CALLER) as host:
        deep = [lambda: host.call("a", "down", n=10, to="b", timeout=30) for _ in range(8)]
        assert await settled(deep) == [10] * 8


@pytest.mark.parametrize("method", ["hang", "wait"])
async def test_what_is_done_for_a_cancelled_call_is_cancelled_with_it(tmp_path: Path, method: str) -> None:
    async with pair(tmp_path) as host:
        events = Events(host)
        inner = {"plugin": "callee", "method": method}
        async with anyio.create_task_group() as tasks:

            async def deep() -> None:
                params = {"plugin": "b", "method": "ask", "params": inner}
                await host.call("a", "ask", params=params, timeout=30)

            tasks.start_soon(deep)
            await events.log("callee", f"{method} begins")
            tasks.cancel_scope.cancel()
        await events.log("callee", f"{method} is cancelled")
        assert await host.call("callee", "echo", value=1, timeout=5) == 1
        assert await host.call("a", "ask", params={"plugin": "callee", "method": "echo"}, timeout=5) is None


async def test_what_is_done_for_a_late_call_has_no_more_time_than_it(tmp_path: Path) -> None:
    async with pair(tmp_path) as host:
        events = Events(host)
        inner = {"plugin": "callee", "method": "hang", "timeout": 60}
        with pytest.raises(DeadlineExceeded):
            await host.call("a", "ask", params={"plugin": "b", "method": "ask", "params": inner}, timeout=0.3)
        await events.log("callee", "hang is cancelled")
        assert await host.call("a", "ask", params={"plugin": "callee", "method": "echo"}, timeout=5) is None


async def test_a_call_may_have_less_time_than_it_is_made_for(tmp_path: Path) -> None:
    async with pair(tmp_path) as host:
        params = {"plugin": "callee", "method": "hang", "timeout": 0.1}
        failed = await host.call("a", "what_failed", params=params, timeout=10)
        assert failed[0] == "DeadlineExceeded"


async def test_what_a_plugin_asked_for_ends_with_it(tmp_path: Path) -> None:
    async with pair(tmp_path) as host:
        events = Events(host)
        async with anyio.create_task_group() as tasks:
            outcome: list[BaseException] = []

            async def call() -> None:
                try:
                    await host.call("a", "ask", params={"plugin": "callee", "method": "hang"}, timeout=30)
                except OutboardError as error:
                    outcome.append(error)

            tasks.start_soon(call)
            await events.log("callee", "hang begins")
            os.kill(pid_of(host, "a"), signal.SIGKILL)
            await events.log("callee", "hang is cancelled")
        assert outcome[0].code == "OB402"  # type: ignore[attr-defined]


async def test_one_plugin_has_only_so_much_of_another(tmp_path: Path) -> None:
    many = """
        @plugin.method
        async def many(n: int, ctx: AsyncContext) -> Any:
            import asyncio
            from plugin_sdk import PluginBusy
            calls = [asyncio.ensure_future(ctx.call("callee", "wait", timeout=20)) for _ in range(n)]
            done, others = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
            while len(done) < n - 32:
                more, others = await asyncio.wait(others, return_when=asyncio.FIRST_COMPLETED)
                done |= more
            busy = [call.exception() for call in done]
            for call in others:
                call.cancel()
            await asyncio.gather(*others, return_exceptions=True)
            return [len(others), {(type(e).__name__, e.code, e.retry_after) for e in busy}]
    """
    greedy = write_plugin(tmp_path, "greedy", many, **allow("callee"))
    modest = write_plugin(tmp_path, "modest", CALLER, **allow("callee"))
    callee = write_plugin(tmp_path, "callee", HANGS)
    async with make_host(tmp_path, greedy, modest, callee) as host:
        assert await host.call("greedy", "many", n=40, timeout=10) == [32, [["PluginBusy", -32005, 0.1]]]
        assert await host.call("greedy", "many", n=33, timeout=10) == [32, [["PluginBusy", -32005, 0.1]]]
        assert await host.call("modest", "ask", params={"plugin": "callee", "method": "echo"}) is None


async def test_nothing_that_a_plugin_asks_hurts_the_host(tmp_path: Path) -> None:
    rude = """
        handshake()
        asked = {"plugin": "callee", "method": "echo", "params": {"value": 1}}
        def ask(id, params, meta=None, method="plugin/call"):
            send(id=id, method=method, params=params, **({"meta": meta} if meta else {}))
        while True:
            message = receive()
            if message["method"] == "echo":
                break
            if "id" in message:
                send(id=message["id"], result=None)
        ask(1, asked)
        ask(2, asked, {"parent": 4711})
        ask(3, asked, {"parent": "x"})
        ask(4, {"plugin": 5})
        ask(5, [1, 2])
        ask(6, asked | {"params": 3})
        ask(7, asked | {"params": [1]})
        ask(8, {"plugin": "callee", "method": "wait"}, {"timeout_ms": -5})
        ask(9, asked, {"timeout_ms": 10**18})
        ask(10, {}, None, "host/")
        ask(11, {}, None, "plugin/none")
        ask(12, asked | {"method": "hook/x"})
        ask("thirteen", asked, {"parent": message["id"], "traceparent": "nonsense"})
        replies = {}
        while len(replies) < 13:
            reply = receive()
            replies[str(reply["id"])] = reply.get("error", {}).get("code", reply.get("result"))
        send(id=message["id"], result=replies)
        serve()
    """
    plugin = write_raw_plugin(tmp_path, "rude", rude, **allow("callee"))
    async with make_host(tmp_path, plugin, write_plugin(tmp_path, "callee", HANGS)) as host:
        assert await host.call("rude", "echo", timeout=10) == {
            "1": 1,
            "2": -32800,
            "3": -32800,
            "4": -32602,
            "5": -32602,
            "6": -32602,
            "7": 1,
            "8": -32011,
            "9": 1,
            "10": -32009,
            "11": -32601,
            "12": -32601,
            "thirteen": 1,
        }


async def test_a_lazy_plugin_is_started_by_the_first_call_of_another(tmp_path: Path) -> None:
    lazy = write_plugin(tmp_path, "callee", HANGS, start={"mode": "lazy"})
    caller = write_plugin(tmp_path, "a", CALLER, **allow("callee"))
    async with make_host(tmp_path, lazy, caller) as host:
        params = {"plugin": "callee", "method": "echo", "params": {"value": 4}}
        assert await host.call("a", "ask", params=params, timeout=20) == 4


async def test_start_code_may_call_others_and_not_wait_for_itself(tmp_path: Path) -> None:
    starting = """
        from plugin_sdk import CallCycle
        known = []

        @plugin.on_start
        def begin(ctx: Context) -> None:
            known.append(ctx.call("callee", "echo", value=1))
            try:
                ctx.call("early", "what_is_known")
            except CallCycle as circle:
                known.append(circle.chain)

        @plugin.method
        def what_is_known() -> Any:
            return known
    """
    callee = write_plugin(tmp_path, "callee", HANGS)
    async with make_host(tmp_path, callee) as host:
        await host.add(write_plugin(tmp_path, "early", starting, **allow("callee")))
        known = await host.call("early", "what_is_known", timeout=5)
        assert known == [1, ["early.lifecycle/start", "early.what_is_known"]]


async def test_a_busy_callee_says_when_to_try_again(tmp_path: Path) -> None:
    async with pair(tmp_path) as host:
        waits = [lambda: host.call("callee", "wait", timeout=1.5) for _ in range(192)]
        outcomes: list[Any] = []

        async def ask() -> Any:
            params = {"plugin": "callee", "method": "echo"}
            outcomes.append(await host.call("a", "what_failed", params=params, timeout=5))

        await settled([*waits, ask])
        assert outcomes[0][0] == "PluginBusy"
        assert outcomes[0][3] == 0.1
