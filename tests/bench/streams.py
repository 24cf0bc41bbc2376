"""Streams and bytes, both ways: items a second, a gigabyte with flat memory at both ends, and a MiB one way.

`python -m tests.bench.streams`. Every item is counted, and every byte.
"""

from __future__ import annotations

import asyncio
import base64
import os
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import trio
import uvloop

from host import Host

PLUGIN = """
from collections.abc import AsyncIterator, Iterator
from plugin_sdk import Plugin

plugin = Plugin()
CHUNK = bytes(range(256)) * 4096

@plugin.method(stream=True)
def count(n: int) -> Iterator[int]:
    yield from range(n)

@plugin.method(stream=True)
async def count_async(n: int) -> AsyncIterator[int]:
    for i in range(n):
        yield i

@plugin.method(stream=True)
async def chunks(count: int) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield CHUNK

@plugin.method
def total(numbers: Iterator[int]) -> int:
    return sum(numbers)

@plugin.method
async def total_async(numbers: AsyncIterator[int]) -> int:
    return sum([number async for number in numbers])

@plugin.method
async def size_of_all(chunks: AsyncIterator[bytes]) -> int:
    found = 0
    async for chunk in chunks:
        found += len(chunk)
    return found

@plugin.method
async def size(data: bytes) -> int:
    return len(data)

@plugin.method
async def data(size: int) -> bytes:
    return CHUNK[:size]

if __name__ == "__main__":
    plugin.run()
"""
ITEMS = 100_000
MIB = 1 << 20
GIGABYTE = 1000 * MIB
ROUNDS = 7
CALLS = 30


def resident(pid: int) -> int:
    with open(f"/proc/{pid}/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def items_per_second(host: Host, method: str) -> float:
    best = 0.0
    for _ in range(3):
        started, count = time.perf_counter(), 0
        async for item in host.stream("bulk", method, n=ITEMS):
            assert item == count
            count += 1
        assert count == ITEMS
        best = max(best, ITEMS / (time.perf_counter() - started))
    return best


async def gigabyte(host: Host) -> str:
    pid = host.status("bulk").plugins[0].pid
    assert pid is not None
    pids = os.getpid(), pid
    async for _ in host.stream("bulk", "chunks", count=64):
        pass  # what is allocated once has been by now
    before, most = [resident(pid) for pid in pids], [0, 0]
    received, started = 0, time.perf_counter()
    async for chunk in host.stream("bulk", "chunks", count=GIGABYTE // MIB, timeout=None):
        received += len(chunk)
        most = [max(a, resident(pid)) for a, pid in zip(most, pids, strict=True)]
    took = time.perf_counter() - started
    assert received == GIGABYTE
    grown = [(after - at_first) / MIB for after, at_first in zip(most, before, strict=True)]
    return f"{GIGABYTE / took / MIB:5.0f} MiB/s; host grew {grown[0]:.1f} MiB, plugin {grown[1]:.1f} MiB"


async def sent_per_second(host: Host, method: str) -> float:
    best = 0.0
    for _ in range(3):
        started = time.perf_counter()
        assert await host.call("bulk", method, numbers=range(ITEMS)) == ITEMS * (ITEMS - 1) // 2
        best = max(best, ITEMS / (time.perf_counter() - started))
    return best


async def gigabyte_up(host: Host) -> str:
    pid = host.status("bulk").plugins[0].pid
    assert pid is not None
    pids, most = (os.getpid(), pid), [0, 0]

    def chunks(count: int) -> Iterator[bytes]:
        for _ in range(count):
            yield bytes(MIB)
            most[:] = [max(a, resident(pid)) for a, pid in zip(most, pids, strict=True)]

    await host.call("bulk", "size_of_all", chunks=chunks(64))  # what is allocated once has been by now
    before, most[:], started = [resident(pid) for pid in pids], [0, 0], time.perf_counter()
    sent = await host.call("bulk", "size_of_all", chunks=chunks(GIGABYTE // MIB), timeout=None)
    took = time.perf_counter() - started
    assert sent == GIGABYTE
    grown = [(after - at_first) / MIB for after, at_first in zip(most, before, strict=True)]
    return f"{GIGABYTE / took / MIB:5.0f} MiB/s; host grew {grown[0]:.1f} MiB, plugin {grown[1]:.1f} MiB"


async def one_way(work: Callable[[], Awaitable[Any]]) -> str:
    seconds = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        for _ in range(CALLS):
            assert await work() in (MIB, True)
        seconds.append((time.perf_counter() - started) / CALLS)
    median, best = statistics.median(seconds), min(seconds)
    return f"{median * 1000:6.3f} ms, {1 / 1024 / median:5.2f} GiB/s (best {1 / 1024 / best:5.2f})"


async def measure(loop: str, folder: Path) -> None:
    async with Host(plugins=[folder], data_dir=folder / "data") as host:
        for method in ("count", "count_async"):
            print(f"{loop:<8} {method:<12} {await items_per_second(host, method):9.0f} items/s")
        for method in ("total", "total_async"):
            print(f"{loop:<8} {method:<12} {await sent_per_second(host, method):9.0f} items/s")
        print(f"{loop:<8} 1 GB         {await gigabyte(host)}")
        print(f"{loop:<8} 1 GB up      {await gigabyte_up(host)}")
        content = os.urandom(MIB)
        text = base64.b64encode(content).decode()

        async def back() -> bool:
            return len(await host.call("bulk", "data", size=MIB)) == MIB

        async def there() -> Any:
            return await host.call("bulk", "size", data=content)

        async def as_text() -> Any:
            return await host.call("bulk", "size", data=text)

        for name, work in (("to it", there), ("from it", back), ("base64", as_text)):
            print(f"{loop:<8} 1 MiB {name:<8} {await one_way(work)}")


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "bulk")
        folder.mkdir()
        (folder / "main.py").write_text(PLUGIN)
        (folder / "plugin.toml").write_text(
            '[plugin]\nname = "bulk"\nversion = "1"\n[run]\npython = "main.py"\n'
        )
        uvloop.run(measure("uvloop", folder))
        asyncio.run(measure("asyncio", folder))
        trio.run(measure, "trio", folder)


if __name__ == "__main__":
    main()
