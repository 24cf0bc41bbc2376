"""`Host.stream` on every loop: items in order, early exits, ends of all kinds, and bounded memory."""

from __future__ import annotations

import gc
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from host import (
    BlockingHost,
    ContractError,
    DeadlineExceeded,
    Host,
    HostMisuse,
    MethodNotFound,
    NotSerializable,
    PluginCrashed,
    PluginNotFound,
    RemoteError,
    Stream,
)
from tests.support.loops import on_asyncio_alone
from tests.support.plugins import QUICK, Events, make_host, pid_of, write_plugin, write_raw_plugin

pytestmark = pytest.mark.anyio

STREAMS = """
from collections.abc import AsyncIterator, Iterator
import asyncio, pathlib

made = 0
closed = 0

@plugin.method(stream=True)
async def count(n: int = 1_000_000_000) -> AsyncIterator[int]:
    global made, closed
    made = 0
    try:
        for i in range(n):
            made += 1
            yield i
    finally:
        closed += 1

@plugin.method(stream=True)
def squares(n: int) -> Iterator[int]:
    for i in range(n):
        yield i * i

@plugin.method(stream=True)
async def fail(after: int) -> AsyncIterator[int]:
    for i in range(after):
        yield i
    raise PluginError(7, "no more")

@plugin.method(stream=True)
async def odd() -> AsyncIterator[Any]:
    yield 1
    yield object()

@plugin.method(stream=True)
async def pause(after: int) -> AsyncIterator[int]:
    for i in range(after):
        yield i
    await asyncio.sleep(60)

@plugin.method(stream=True)
async def crash(after: int) -> AsyncIterator[int]:
    for i in range(after):
        yield i
    await asyncio.sleep(0.01)
    os._exit(3)

@plugin.method(stream=True, idempotent=True)
async def crash_once(mark: str, after: int) -> AsyncIterator[int]:
    path = pathlib.Path(mark)
    for i in range(after):
        yield i
    if not path.exists():
        path.touch()
        await asyncio.sleep(0.01)
        os._exit(3)
    yield 100

@plugin.method(stream=True)
async def chunks(count: int, size: int) -> AsyncIterator[str]:
    for _ in range(count):
        yield "x" * size

@plugin.method
async def seen() -> list[int]:
    return [made, closed]

@plugin.method
async def forget() -> None:
    global made, closed
    made = closed = 0

@plugin.method
async def work(ctx: AsyncContext) -> str:
    ctx.progress(1, 4, "a quarter")
    await asyncio.sleep(0.06)
    ctx.progress(4, 4)
    return "done"
"""
USER = """
from collections.abc import AsyncIterator, Iterator

@plugin.method(stream=True)
{kind} doubled(most: int, ctx: {context}) -> {iterator}[int]:
    {loop} number in ctx.stream("maker", "count"):
        if number == most:
            return
        yield 2 * number

@plugin.method
{kind} failing(ctx: {context}) -> None:
    {loop} number in ctx.stream("maker", "fail", after=2):
        pass

@plugin.method
{kind} calls(ctx: {context}) -> int:
    return {wait} ctx.call("maker", "count", n=1)
"""


def user(kind: str) -> str:
    words = {"kind": kind, "context": "Context", "iterator": "Iterator", "loop": "for", "wait": ""}
    if kind == "async def":
        words |= {
            "context": "AsyncContext",
            "iterator": "AsyncIterator",
            "loop": "async for",
            "wait": "await",
        }
    source = USER
    for word, text in words.items():
        source = source.replace("{" + word + "}", text)
    return source


def host_of(tmp_path: Path, **tables: Any) -> Host:
    return make_host(tmp_path, write_plugin(tmp_path, "maker", STREAMS, **tables))


@pytest.fixture(scope="module")
async def maker(tmp_path_factory: pytest.TempPathFactory, anyio_backend: Any) -> AsyncIterator[Host]:
    """One host on each loop, for the tests that end no process."""
    async with host_of(tmp_path_factory.mktemp("shared")) as host:
        yield host


@pytest.fixture
async def host(maker: Host) -> Host:
    """The one that is shared. What an earlier test has left in it is not for the next to see."""
    (plugin,) = maker.status("maker").plugins
    if plugin.calls.in_flight or plugin.state != "running":
        await maker.restart("maker")
    await maker.call("maker", "forget")
    return maker


def counted(host: Host) -> tuple[int, int]:
    """Calls that ended well, and otherwise."""
    calls = host.status("maker").plugins[0].calls
    return calls.ok, calls.error + calls.timeout


async def closed(host: Host, times: int = 1) -> int:
    """Waits until that many generators have been closed; how many items the last one made."""
    with anyio.fail_after(5):
        while True:
            made, count = await host.call("maker", "seen")
            if count >= times:
                assert isinstance(made, int)
                return made
            await anyio.sleep(0.001)  # a pace, not a wait


async def made_at_rest(host: Host) -> int:
    """How many items the producer has made, once it makes no more."""
    before = -1
    with anyio.fail_after(10):
        while True:
            made, _ = await host.call("maker", "seen")
            assert isinstance(made, int)
            if made == before:
                return made
            before = made
            await anyio.sleep(0.05)  # a pace, not a wait


def in_flight(host: Host) -> int:
    return host.status("maker").plugins[0].calls.in_flight


@pytest.mark.parametrize("method", ["count", "squares"])
async def test_twenty_thousand_items_come_in_order(tmp_path: Path, method: str) -> None:
    async with host_of(tmp_path) as host:
        number = 0
        async for item in host.stream("maker", method, n=20_000, timeout=None):
            assert item == (number if method == "count" else number * number)
            number += 1
        assert number == 20_000
        calls = host.status("maker").plugins[0].calls
        assert (calls.ok, calls.in_flight) == (1, 0)
        assert host.status("maker").plugins[0].latency_ms.p50 is None


async def by_break(host: Host) -> None:
    async for item in host.stream("maker", "count"):
        if item == 3:
            break


async def by_error(host: Host) -> None:
    with pytest.raises(ZeroDivisionError):
        async for _ in host.stream("maker", "count"):
            raise ZeroDivisionError


async def by_async_with(host: Host) -> None:
    async with host.stream("maker", "count") as stream:
        assert await anext(stream) == 0
    with pytest.raises(StopAsyncIteration):
        await anext(stream)


async def by_aclose(host: Host) -> None:
    stream = host.stream("maker", "count")
    assert await anext(stream) == 0
    await stream.aclose()
    await stream.aclose()


async def by_dropping(host: Host) -> None:
    stream = host.stream("maker", "count")
    assert await anext(stream) == 0
    del stream
    gc.collect()


async def by_cancelled_loop(host: Host) -> None:
    with anyio.move_on_after(0.2) as scope:
        async for _ in host.stream("maker", "count", timeout=None):
            await anyio.sleep(0.001)
    assert scope.cancelled_caught


EXITS = [by_break, by_error, by_async_with, by_aclose, by_dropping, by_cancelled_loop]


@pytest.mark.parametrize("leave", EXITS, ids=lambda leave: leave.__name__)
async def test_leaving_early_stops_the_plugin(host: Host, leave: Callable[[Host], Awaitable[None]]) -> None:
    await leave(host)
    assert await closed(host) < 50_000
    assert in_flight(host) == 0


async def test_a_wait_for_an_item_that_is_cancelled_ends_the_stream(host: Host) -> None:
    stream = host.stream("maker", "pause", after=1)
    assert await anext(stream) == 0
    with anyio.move_on_after(0.05) as scope:
        await anext(stream)
    assert scope.cancelled_caught
    assert in_flight(host) == 0
    with pytest.raises(StopAsyncIteration):
        await anext(stream)


async def test_a_stream_that_nobody_iterates_was_never_asked_for(host: Host) -> None:
    ok, errors = counted(host)
    for _ in range(300):
        host.stream("maker", "count")
    async with host.stream("maker", "count"):
        pass
    assert await host.call("maker", "seen") == [0, 0]
    assert counted(host) == (ok + 1, errors)


async def test_a_consumer_that_stops_reading_stops_the_producer(host: Host) -> None:
    stream = host.stream("maker", "count")
    for number in range(10):
        assert await anext(stream) == number
    assert await made_at_rest(host) <= 1024 + 10
    for number in range(10, 5000):
        assert await anext(stream) == number
    await stream.aclose()


async def test_many_streams_at_once_do_not_mix(host: Host) -> None:
    async with anyio.create_task_group() as tasks:

        async def read(n: int) -> None:
            assert [item async for item in host.stream("maker", "squares", n=n)] == [i * i for i in range(n)]

        for n in range(20):
            tasks.start_soon(read, 100 * n)


@pytest.mark.parametrize(
    ("method", "params", "kind", "items"),
    [
        ("fail", {"after": 3}, RemoteError, [0, 1, 2]),
        ("fail", {"after": 0}, RemoteError, []),
        ("odd", {}, NotSerializable, [1]),
        ("pause", {"after": 3}, DeadlineExceeded, [0, 1, 2]),
        ("count", {"m": 3}, ContractError, []),
        ("seen", {}, ContractError, []),
        ("cuont", {}, MethodNotFound, []),
    ],
)
async def test_what_ends_a_stream_is_raised_after_its_items(
    host: Host, method: str, params: Any, kind: type[Exception], items: list[int]
) -> None:
    await ends(host, method, params, kind, items)


async def test_a_crash_is_raised_after_the_items_before_it(tmp_path: Path) -> None:
    async with host_of(tmp_path) as host:
        await ends(host, "crash", {"after": 3}, PluginCrashed, [0, 1, 2])


async def ends(host: Host, method: str, params: Any, kind: type[Exception], items: list[int]) -> None:
    """A stream gives `items`, raises `kind`, and is over."""
    before = sum(counted(host))
    timeout = 0.3 if method == "pause" else 10
    stream = host.stream("maker", method, params=params, timeout=timeout)
    got = []
    with pytest.raises(kind) as raised:
        async for item in stream:
            got.append(item)
    assert got == items
    assert raised.value.method == method  # type: ignore[attr-defined]
    with pytest.raises(StopAsyncIteration):
        await anext(stream)
    assert in_flight(host) == 0
    assert sum(counted(host)) - before == 1


async def test_a_killed_plugin_ends_the_stream_of_a_slow_reader_after_what_has_come(tmp_path: Path) -> None:
    async with host_of(tmp_path) as host:
        stream = host.stream("maker", "count", timeout=None)
        assert await anext(stream) == 0
        os.kill(pid_of(host, "maker"), 9)
        with pytest.raises(PluginCrashed):
            async for _ in stream:
                pass
        assert in_flight(host) == 0


@pytest.mark.parametrize("after", [0, 2])
async def test_an_idempotent_stream_is_begun_anew_unless_items_were_given_out(
    tmp_path: Path, after: int
) -> None:
    async with host_of(tmp_path, restart=QUICK) as host:
        events = Events(host)
        got = []

        async def read() -> None:
            async for item in host.stream("maker", "crash_once", mark=str(tmp_path / "mark"), after=after):
                got.append(item)

        if after:
            with pytest.raises(PluginCrashed) as crash:
                await read()
            assert "begun anew as long as none of its items has been taken" in (crash.value.hint or "")
            assert got == [0, 1]
            await events.state("maker", "starting")
        else:
            await read()
            assert got == [100]


async def test_what_is_no_stream_is_called_and_what_is_one_is_not(tmp_path: Path) -> None:
    async with host_of(tmp_path) as host:
        with pytest.raises(ContractError, match="stream") as error:
            await host.call("maker", "count", n=1)
        assert "--stream" in str(error.value.hint)
        with pytest.raises(PluginNotFound):
            await anext(host.stream("mkaer", "count"))
        with pytest.raises(HostMisuse):
            await anext(host.stream("maker", "count", timeout=-1))
    with pytest.raises(HostMisuse):
        host.stream("maker", "count")


async def test_two_tasks_cannot_wait_for_one_stream(host: Host) -> None:
    async with anyio.create_task_group() as tasks:
        stream = host.stream("maker", "pause", after=0)

        async def wait() -> None:
            await anext(stream)

        tasks.start_soon(wait)
        with anyio.fail_after(5):
            while True:
                if in_flight(host):
                    break
                await anyio.sleep(0.001)  # a pace, not a wait
        with pytest.raises(HostMisuse):
            await anext(stream)
        tasks.cancel_scope.cancel()


async def test_leaving_the_host_ends_its_streams(tmp_path: Path) -> None:
    async with host_of(tmp_path, start={"stop_timeout": "100ms"}) as host:
        stream = host.stream("maker", "pause", after=1, timeout=None)
        assert await anext(stream) == 0
    with pytest.raises(PluginCrashed):
        await anext(stream)


async def test_progress_is_told_while_a_call_is_worked_on(host: Host) -> None:
    told: list[Any] = []

    def listen(*progress: Any) -> None:
        told.append(progress)
        raise ZeroDivisionError  # the listener's own business

    assert await host.call("maker", "work", on_progress=listen) == "done"
    assert told == [(1, 4, "a quarter"), (4, 4, "")]
    assert await host.call("maker", "work") == "done"


async def test_a_stream_may_tell_its_progress_too(tmp_path: Path) -> None:
    code = """
        from collections.abc import Iterator

        @plugin.method(stream=True)
        def work(ctx: Context) -> Iterator[int]:
            ctx.progress(1, 2, "half")
            yield 1
    """
    async with make_host(tmp_path, write_plugin(tmp_path, "maker", code)) as host:
        told: list[Any] = []
        stream = host.stream("maker", "work", on_progress=lambda *said: told.append(said))
        assert [item async for item in stream] == [1]
        assert told == [(1, 2, "half")]


# -- plugins that do not keep to it --------------------------------------------------------------------

LINES = {"methods": [{"name": "lines", "stream": True}]}


def raw_host(tmp_path: Path, answer: str, **features: Any) -> Host:
    code = f"""
result = {{"provides": {LINES}, "features": ["stream"]}} | {features}
handshake(**result)
if not {answer!r}:
    serve()
asked = receive()
id = asked["id"]
def items(*values, seq=0):
    send(method="$/stream", params={{"id": id, "seq": seq, "items": list(values)}})
{answer}
serve()
"""
    return make_host(tmp_path, write_raw_plugin(tmp_path, "maker", code))


async def until_settled(stream: Stream) -> None:
    with anyio.fail_after(5):
        while True:
            if stream._way is not None and stream._way.inflow.is_settled:
                return
            await anyio.sleep(0.001)  # a pace, not a wait


@pytest.mark.parametrize(
    ("answer", "got"),
    [
        ("items(*range(1025))", []),
        ("items(1)\nitems(2, seq=2)", [1]),
        ("for n in range(40): items('x' * 100_000, seq=n)", ["x" * 100_000] * 21),
    ],
    ids=["too many items", "a batch is missing", "too many bytes"],
)
async def test_a_plugin_that_sends_more_than_it_may_is_cut_off(
    tmp_path: Path, answer: str, got: list[Any]
) -> None:
    async with raw_host(tmp_path, answer) as host:
        stream = host.stream("maker", "lines")
        received = []
        if got:
            received.append(await anext(stream))
            await until_settled(stream)  # and does not use what comes
        with pytest.raises(RemoteError) as error:
            async for item in stream:
                received.append(item)
        assert error.value.remote_name == "FLOW_CONTROL"
        assert received[: len(got)] == got[: len(received)]
        assert len(received) < 30


async def test_items_and_a_reply_in_any_disorder_harm_nobody(tmp_path: Path) -> None:
    answer = """
items(1)
send(method="$/stream", params={"id": 99, "seq": 0, "items": [1]})
send(method="$/credit", params={"id": id, "n": 5})
send(id=id, result=None)
items(2, seq=1)
send(id=id, result=None)
"""
    async with raw_host(tmp_path, answer) as host:
        assert [item async for item in host.stream("maker", "lines")] == [1]
        assert await host.call("maker", "lines2", a=1) == {"a": 1}


@pytest.mark.parametrize(
    "batch", ['items(float("nan"))', 'send(method="$/stream", params={"id": id, "seq": "x", "items": [1]})']
)
async def test_items_that_cannot_be_read_are_an_error_and_not_the_end(tmp_path: Path, batch: str) -> None:
    async with raw_host(tmp_path, f"items(1)\n{batch}\nsend(id=id, result=None)") as host:
        received = []
        with pytest.raises(RemoteError, match="cannot be read"):
            async for item in host.stream("maker", "lines", timeout=None):
                received.append(item)
        assert received in ([], [1])


@pytest.mark.parametrize(
    ("result", "error"), [('b"NaN"', RemoteError), ('b"9" * 5000', ContractError)], ids=["NaN", "endless"]
)
async def test_a_result_that_cannot_be_read_ends_the_call_at_once(
    tmp_path: Path, result: str, error: type[Exception]
) -> None:
    code = f"""
handshake()
body = b'{{"jsonrpc": "2.0", "id": %d, "result": %b}}' % (receive()["id"], {result})
write(b"Content-Length: %d\\r\\n\\r\\n%b" % (len(body), body))
receive()
"""
    async with make_host(tmp_path, write_raw_plugin(tmp_path, "odd", code)) as host:
        with anyio.fail_after(5), pytest.raises(error, match="read"):
            await host.call("odd", "echo", timeout=None)


async def test_the_time_of_a_stream_is_its_readers_too(tmp_path: Path) -> None:
    code = """
        from typing import Iterator
        @plugin.method(stream=True)
        def many() -> Iterator[int]:
            yield from range(1000)
    """
    async with make_host(tmp_path, write_plugin(tmp_path, "maker", code)) as host:
        assert await anext(host.stream("maker", "many", timeout=5)) == 0
        with pytest.raises(DeadlineExceeded):
            await anext(host.stream("maker", "many", timeout=0))
        received = []
        with pytest.raises(DeadlineExceeded):
            async for item in host.stream("maker", "many", timeout=0.5):
                received.append(item)
                await anyio.sleep(0.01)
        assert len(received) <= 51
        with pytest.raises(HostMisuse, match="no timeout"):
            await host.call("maker", "many", timeout="5")  # type: ignore[arg-type]


async def test_a_plugin_without_the_feature_is_not_asked_for_a_stream(tmp_path: Path) -> None:
    async with raw_host(tmp_path, "", features=[]) as host:
        with pytest.raises(ContractError, match="feature"):
            await anext(host.stream("maker", "lines"))


# -- from plugin to plugin ------------------------------------------------------------------------------


def pair_of(tmp_path: Path, kind: str, **permissions: Any) -> Host:
    maker = write_plugin(tmp_path, "maker", STREAMS)
    permissions = permissions or {"plugins": ["maker"]}
    return make_host(tmp_path, maker, write_plugin(tmp_path, "user", user(kind), permissions=permissions))


@pytest.mark.parametrize("kind", ["def", "async def"])
async def test_a_plugin_uses_the_stream_of_another_no_faster_than_it_is_used_itself(
    tmp_path: Path, kind: str
) -> None:
    async with pair_of(tmp_path, kind) as host:
        items = [item async for item in host.stream("user", "doubled", most=5000)]
        assert items == [2 * i for i in range(5000)]
        assert await closed(host) < 50_000
        stream = host.stream("user", "doubled", most=10**9)
        assert await anext(stream) == 0
        assert await made_at_rest(host) <= 4 * 1024 + 10
        await stream.aclose()
        await closed(host, 2)


@pytest.mark.parametrize("kind", ["def", "async def"])
async def test_an_error_of_a_stream_reaches_the_plugin_that_uses_it(tmp_path: Path, kind: str) -> None:
    async with pair_of(tmp_path, kind) as host:
        with pytest.raises(RemoteError) as error:
            await host.call("user", "failing")
        assert error.value.data["cause"]["code"] == 7
        with pytest.raises(RemoteError, match="stream"):
            await host.call("user", "calls")


async def test_a_plugin_needs_permission_for_a_stream_too(tmp_path: Path) -> None:
    async with pair_of(tmp_path, "def", plugins=["other"]) as host:
        with pytest.raises(RemoteError, match="may not call"):
            await host.call("user", "failing")


# -- for programs without a loop ------------------------------------------------------------------------


@on_asyncio_alone
def test_a_blocking_host_gives_a_plain_iterator(tmp_path: Path, no_loop: None, anyio_backend: Any) -> None:
    plugin = write_plugin(tmp_path, "maker", STREAMS, start={"stop_timeout": "100ms"})
    with BlockingHost(plugins=[plugin], data_dir=tmp_path / "data") as host:
        assert list(host.stream("maker", "count", n=5000)) == list(range(5000))
        for item in host.stream("maker", "count"):
            if item == 3:
                break
        with host.stream("maker", "count") as stream:
            assert next(stream) == 0
        assert list(stream) == []
        with pytest.raises(RemoteError):
            list(host.stream("maker", "fail", after=2))
        told: list[Any] = []
        assert host.call("maker", "work", on_progress=lambda *said: told.append(said)) == "done"
        assert len(told) == 2
        left = host.stream("maker", "count")
        assert next(left) == 0
    left.close()


# -- memory ----------------------------------------------------------------------------------------------


def resident_bytes(pid: int) -> int:
    with open(f"/proc/{pid}/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@on_asyncio_alone
@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="needs /proc")
@pytest.mark.parametrize("size", [1000, 1 << 20])
async def test_a_large_stream_needs_little_memory_at_either_end(host: Host, size: int) -> None:
    total = 32 << 20
    pids = os.getpid(), pid_of(host, "maker")
    async for _ in host.stream("maker", "chunks", count=(8 << 20) // size, size=size):
        pass  # whatever is allocated once has been by now
    before = [resident_bytes(pid) for pid in pids]
    received, most = 0, [0, 0]
    async for item in host.stream("maker", "chunks", count=total // size, size=size, timeout=None):
        received += len(item)
        if received % (1 << 20) < size:
            most = [max(a, resident_bytes(pid)) for a, pid in zip(most, pids, strict=True)]
    assert received == total // size * size
    assert all(after - at_first < 16 << 20 for after, at_first in zip(most, before, strict=True))
