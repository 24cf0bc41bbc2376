"""Calls with items, on every loop: to sync and async handlers, ends of all kinds, and bounded memory."""

from __future__ import annotations

import os
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from host import (
    BlockingHost,
    ContractError,
    DeadlineExceeded,
    Host,
    NotSerializable,
    PayloadTooLarge,
    PluginCrashed,
    RemoteError,
)
from tests.support.loops import on_asyncio_alone
from tests.support.plugins import make_host, pid_of, write_plugin, write_raw_plugin

pytestmark = pytest.mark.anyio

SINK = """
from collections.abc import AsyncIterator, Iterator
import asyncio, threading

taken = 0
go_on = None

@plugin.method
def put(name: str, lines: Iterator[str]) -> list[Any]:
    return [name, list(lines)]

@plugin.method
async def aput(name: str, lines: AsyncIterator[str]) -> list[Any]:
    return [name, [line async for line in lines]]

@plugin.method
def total(numbers: Iterator[int], most: int = 1 << 60, times: int = 1) -> int:
    found = 0
    for number in numbers:
        found += number
        if found >= most:
            break
    return found

@plugin.method
async def atotal(numbers: AsyncIterator[int], most: int = 1 << 60) -> int:
    found = 0
    async for number in numbers:
        found += number
        if found >= most:
            break
    return found

@plugin.method
async def take(items: AsyncIterator[Any], count: int) -> None:
    global taken
    for taken in range(1, count + 1):
        await anext(items)
    await asyncio.sleep(60)

@plugin.method
async def seen() -> int:
    return taken

@plugin.method
def fail(numbers: Iterator[int]) -> None:
    raise PluginError(7, f"not after {next(numbers)}")

@plugin.method
async def crash(numbers: AsyncIterator[int]) -> None:
    await anext(numbers)
    os._exit(3)

@plugin.method
def never_looks(numbers: Iterator[int]) -> str:
    return "seen none"

@plugin.method
def size(chunks: Iterator[bytes]) -> int:
    return sum(map(len, chunks))

@plugin.method
async def asize(chunks: AsyncIterator[bytes]) -> int:
    return sum([len(chunk) async for chunk in chunks])

@plugin.method
def plain(numbers: list[int]) -> int:
    return sum(numbers)
"""
NEXT_DOOR = """
from collections.abc import Iterator

@plugin.method(stream=True)
def count(n: int) -> Iterator[int]:
    yield from range(n)

@plugin.method
def hand_on(ctx: Context) -> int:
    return ctx.call("sink", "total", numbers=[1, 2, 3])
"""


def host_of(tmp_path: Path, **tables: Any) -> Host:
    return make_host(tmp_path, write_plugin(tmp_path, "sink", SINK, **tables))


@pytest.fixture(scope="module")
async def sink(tmp_path_factory: pytest.TempPathFactory, anyio_backend: Any) -> AsyncIterator[Host]:
    """One host on each loop, for the tests that end no process."""
    async with host_of(tmp_path_factory.mktemp("shared")) as host:
        yield host


@pytest.fixture
async def host(sink: Host) -> Host:
    """The one that is shared. What an earlier test has left in it is not for the next to see."""
    (plugin,) = sink.status("sink").plugins
    if plugin.calls.in_flight or plugin.state != "running":
        await sink.restart("sink")
    return sink


class Source:
    """Generators that say what they have made, and how often they were closed."""

    def __init__(self) -> None:
        self.made = self.closed = 0

    def numbers(self, n: int = 1 << 60) -> Iterator[int]:
        try:
            for i in range(n):
                self.made += 1
                yield i
        finally:
            self.closed += 1

    async def later(self, n: int = 1 << 60) -> AsyncIterator[int]:
        try:
            for i in range(n):
                self.made += 1
                yield i
        finally:
            await anyio.lowlevel.checkpoint()
            self.closed += 1

    def of(self, kind: str) -> Any:
        return self.numbers() if kind == "sync" else self.later()


class Sore(Source):
    """They raise where they are closed."""

    def numbers(self, n: int = 1 << 60) -> Iterator[int]:
        try:
            yield from range(n)
        finally:
            self.closed += 1
            raise ArithmeticError("sore")

    async def later(self, n: int = 1 << 60) -> AsyncIterator[int]:
        try:
            for i in range(n):
                yield i
        finally:
            self.closed += 1
            raise ArithmeticError("sore")


KINDS = pytest.mark.parametrize("kind", ["sync", "async"])


@pytest.mark.parametrize("method", ["put", "aput"])
async def test_whatever_can_be_iterated_over_arrives_in_order(host: Host, method: str) -> None:
    async def coming() -> AsyncIterator[str]:
        yield "a"
        await anyio.sleep(0.01)  # the first leaves by itself
        yield "ü"

    before = host.status("sink").plugins[0].calls.ok
    for lines in (["a", "ü"], ("a", "ü"), iter(["a", "ü"]), {"a": 1, "ü": 2}.keys(), coming()):
        assert await host.call("sink", method, name="x", lines=lines) == ["x", ["a", "ü"]]
    assert await host.call("sink", method, name="x", lines=[]) == ["x", []]
    assert await host.call("sink", method, params={"name": "x", "lines": ["a"]}) == ["x", ["a"]]
    calls = host.status("sink").plugins[0].calls
    assert (calls.ok - before, calls.in_flight) == (7, 0)


@KINDS
@pytest.mark.parametrize("method", ["total", "atotal"])
async def test_twenty_thousand_items_arrive(host: Host, method: str, kind: str) -> None:
    n, source = 20_000, Source()  # twenty times what may be on its way
    numbers = source.numbers(n) if kind == "sync" else source.later(n)
    assert await host.call("sink", method, numbers=numbers, timeout=None) == n * (n - 1) // 2
    assert source.closed == 1


@KINDS
@pytest.mark.parametrize("method", ["total", "atotal"])
async def test_a_handler_that_returns_early_ends_the_upload(host: Host, method: str, kind: str) -> None:
    source = Source()
    assert await host.call("sink", method, numbers=source.of(kind), most=10) == 10
    assert source.closed == 1
    assert source.made <= 5 + 2 * 1024
    assert await host.call("sink", "total", numbers=[1, 2]) == 3


@KINDS
async def test_a_generator_that_raises_as_it_is_closed_changes_nothing_about_the_answer(
    tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async with host_of(tmp_path) as host:
        source = Sore()
        assert await host.call("sink", "total", numbers=source.of(kind), most=10) == 10
        with pytest.raises(RemoteError, match="not after 0"):
            await host.call("sink", "fail", numbers=source.of(kind))
        assert source.closed == 2
    assert capsys.readouterr().err.count("ArithmeticError: sore") == 1  # the second is counted


@KINDS
async def test_a_slow_handler_keeps_the_iterator_from_being_advanced(host: Host, kind: str) -> None:
    source = Source()
    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            asked = {"items": source.of(kind), "count": 100}
            tasks.start_soon(lambda: host.call("sink", "take", params=asked))
            while True:
                if await host.call("sink", "seen") == 100 and source.made >= 1024:
                    break
                await anyio.sleep(0.01)  # a pace, not a wait
            await anyio.sleep(0.1)  # in which it could make a hundred thousand
            assert source.made <= 1024 + 100 + 1
            tasks.cancel_scope.cancel()
    assert source.closed == 1
    assert await host.call("sink", "total", numbers=[1, 2]) == 3


async def test_what_is_not_asked_for_is_not_begun(host: Host) -> None:
    source = Source()
    assert await host.call("sink", "never_looks", numbers=source.numbers()) == "seen none"
    assert source.made == 0


@KINDS
async def test_a_failure_and_a_deadline_and_a_crash_close_the_iterator(tmp_path: Path, kind: str) -> None:
    async with host_of(tmp_path) as host:
        source = Source()
        with pytest.raises(RemoteError, match="not after 0"):
            await host.call("sink", "fail", numbers=source.of(kind))
        assert source.closed == 1
        source = Source()
        with pytest.raises(DeadlineExceeded):
            await host.call("sink", "take", items=source.of(kind), count=1, timeout=0.3)
        assert source.closed == 1
        source = Source()
        with pytest.raises(PluginCrashed) as crash:
            await host.call("sink", "crash", numbers=source.of(kind))
        assert "idempotent" not in (crash.value.hint or "")
        assert "never made again" in (crash.value.hint or "")
        assert source.closed == 1


@KINDS
@pytest.mark.parametrize("error", [ZeroDivisionError, SystemExit])
async def test_what_the_iterator_raises_comes_out_and_the_plugin_goes_on(
    host: Host, kind: str, error: type[BaseException]
) -> None:
    def sync() -> Iterator[int]:
        yield 1
        raise error("mine")

    async def later() -> AsyncIterator[int]:
        yield 1
        raise error("mine")

    for method in ("total", "atotal"):
        with pytest.raises(error, match="mine"):
            await host.call("sink", method, numbers=sync() if kind == "sync" else later())
    assert await host.call("sink", "total", numbers=[1, 2]) == 3
    assert host.status("sink").plugins[0].calls.in_flight == 0


@pytest.mark.parametrize(
    ("params", "text"),
    [
        ({"numbers": [1, 2, "x"]}, r"\$\.numbers\[2\]: expected `int`, got `str`"),
        ({"numbers": 5}, r"\$\.numbers: expected items, from a list or a generator, got `int`"),
        ({"numbers": "123"}, r"\$\.numbers: expected items, from a list or a generator, got `str`"),
        ({"numbers": {"1": 2}}, r"\$\.numbers: expected items, from a list or a generator, got `dict`"),
        ({}, r"\$\.numbers: required, and missing"),
        ({"numbers": [], "most": "x"}, r"\$\.most: expected `int`"),
        ({"numbers": [], "other": 1}, r"other"),
    ],
)
@pytest.mark.parametrize("method", ["total", "atotal"])
async def test_what_does_not_fit_is_the_callers_error_with_its_place(
    host: Host, method: str, params: dict[str, Any], text: str
) -> None:
    with pytest.raises(ContractError, match=text):
        await host.call("sink", method, params=params)


async def test_an_item_that_cannot_be_sent_is_told_with_its_number(host: Host) -> None:
    with pytest.raises(NotSerializable, match="item 1"):
        await host.call("sink", "put", name="x", lines=["a", object()])
    with pytest.raises(PayloadTooLarge, match="item 0"):
        await host.call("sink", "put", name="x", lines=["a" * (16 << 20)])
    with pytest.raises(NotSerializable):  # the contract says what takes items, and nothing is guessed
        await host.call("sink", "plain", numbers=iter([1]))
    assert await host.call("sink", "plain", numbers=[1, 2]) == 3


async def test_a_stream_of_one_plugin_goes_to_another_and_a_list_from_a_plugin(tmp_path: Path) -> None:
    sink = write_plugin(tmp_path, "sink", SINK)
    maker = write_plugin(tmp_path, "maker", NEXT_DOOR, permissions={"plugins": ["sink"]})
    async with make_host(tmp_path, sink, maker) as host:
        numbers = host.stream("maker", "count", n=10_000)
        assert await host.call("sink", "atotal", numbers=numbers) == 49_995_000
        numbers = host.stream("maker", "count", n=1 << 40, timeout=None)
        assert await host.call("sink", "total", numbers=numbers, most=10) == 10
        with pytest.raises(StopAsyncIteration):  # it has been closed
            await anext(numbers)
        assert await host.call("maker", "hand_on") == 6


async def test_many_large_uploads_at_once_wait_for_the_pipe_and_none_is_turned_away(host: Host) -> None:
    sizes = []

    async def send() -> None:
        chunks = (bytes(100_000) for _ in range(30))
        sizes.append(await host.call("sink", "asize", chunks=chunks))

    async with anyio.create_task_group() as tasks:
        for _ in range(24):
            tasks.start_soon(send)
    assert sizes == [3_000_000] * 24


async def test_a_plugin_without_the_feature_is_never_sent_items(tmp_path: Path) -> None:
    folder = write_raw_plugin(tmp_path, "old", OLD)
    async with make_host(tmp_path, folder) as host:
        with pytest.raises(ContractError, match="has not announced the feature `up`"):
            await host.call("old", "put", lines=["a"])


OLD = """
handshake(provides={"methods": [{"name": "put", "takes": {"lines": {}}}]})
serve()
"""


# -- BlockingHost ------------------------------------------------------------------------------------------


def test_a_blocking_host_advances_iterators_in_the_thread_that_calls(tmp_path: Path, no_loop: None) -> None:
    threads = set()
    closed = []

    def lines(n: int) -> Iterator[str]:
        try:
            for i in range(n):
                threads.add(threading.get_ident())
                yield str(i)
        finally:
            closed.append(threading.get_ident())

    with BlockingHost(plugins=[write_plugin(tmp_path, "sink", SINK)]) as host:
        assert host.call("sink", "put", name="x", lines=lines(3)) == ["x", ["0", "1", "2"]]
        assert host.call("sink", "put", name="x", lines=["a"]) == ["x", ["a"]]
        assert host.call("sink", "total", numbers=map(int, lines(1000)), most=10) == 10
        assert threads == {threading.get_ident()}
        generator = (i for i in range(1 << 40))
        assert host.call("sink", "total", numbers=generator, most=10) == 10
        assert next(generator, "closed") == "closed"
        assert host.call("sink", "total", numbers=Sore().numbers(), most=10) == 10
        with pytest.raises(ZeroDivisionError):
            host.call("sink", "total", numbers=(1 // i for i in (1, 0)))
        with pytest.raises(KeyboardInterrupt):  # as Ctrl-C in the middle of it
            host.call("sink", "total", numbers=interrupted())
        with pytest.raises(PluginCrashed):
            host.call("sink", "crash", numbers=(i for i in range(1 << 40)))
    assert closed[0] == threading.get_ident()


def interrupted() -> Iterator[int]:
    yield 1
    raise KeyboardInterrupt


# -- memory ------------------------------------------------------------------------------------------------


def resident_bytes(pid: int) -> int:
    with open(f"/proc/{pid}/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@on_asyncio_alone
@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="needs /proc")
@pytest.mark.parametrize("size", [1000, 1 << 20])
@pytest.mark.parametrize("method", ["size", "asize"])
async def test_a_large_upload_needs_little_memory_at_either_end(host: Host, method: str, size: int) -> None:
    total = 32 << 20
    pids = os.getpid(), pid_of(host, "sink")
    most = [0, 0]

    def chunks(count: int) -> Iterator[bytes]:
        for number in range(count):
            if number * size % (1 << 20) < size:
                most[:] = [max(a, resident_bytes(pid)) for a, pid in zip(most, pids, strict=True)]
            yield bytes(size)

    for_good = (8 << 20) // size  # whatever is allocated once
    await host.call("sink", method, chunks=chunks(for_good))
    before, most[:] = [resident_bytes(pid) for pid in pids], [0, 0]
    sent = total // size * size
    assert await host.call("sink", method, chunks=chunks(total // size), timeout=None) == sent
    assert all(after - at_first < 16 << 20 for after, at_first in zip(most, before, strict=True))
