"""Rows 32 to 36 of the fault matrix: plugins whose pipes carry what they should not."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from host import DeadlineExceeded, OutboardError, PluginBusy, PluginCrashed, RemoteError
from tests.support.arena import OVERTIME_S, STRICT, arena, gremlin

pytestmark = pytest.mark.anyio


async def test_row_32_garbage_on_stdout_is_logged_and_costs_no_call(tmp_path: Path) -> None:
    async with arena(tmp_path, gremlin(tmp_path)) as fought:
        for number in range(20):
            await fought.call("victim", "print_noise")
            assert await fought.call("victim", "echo", n=number) == {"n": number}
        logged = await fought.events.log("victim", "hello from print")
        assert logged.source == "stdout"
        assert fought.status().stdout_noise_bytes > 300
        assert fought.status().generation == 1


@pytest.mark.parametrize(
    ("vice", "words"),
    [("garbage", "frame_too_large"), ("truncate", "truncated"), ("nest_deeply", "too_deep")],
)
async def test_row_33_a_frame_that_cannot_be_is_a_fault_with_its_name(
    tmp_path: Path, vice: str, words: str
) -> None:
    async with arena(tmp_path, gremlin(tmp_path)) as fought:
        if vice == "nest_deeply":
            # The frame has an end, so the stream goes on, and the call that it answers ends at once.
            await fought.fails(vice, RemoteError, timeout=5)
        else:
            await fought.fails(vice, PluginCrashed)
            await fought.ends("backoff", words)
            await fought.serves()
        assert await fought.call("victim", "echo", n=1) == {"n": 1}


async def test_row_34_unknown_and_duplicate_replies_change_nothing(tmp_path: Path) -> None:
    async with arena(tmp_path, gremlin(tmp_path)) as fought:
        for number in range(20):
            assert await fought.call("victim", "reply_strangely") == "first"
            assert await fought.call("victim", "echo", n=number) == {"n": number}
        assert fought.status().generation == 1


async def test_row_34_late_replies_go_to_nobody(tmp_path: Path) -> None:
    async with arena(tmp_path, gremlin(tmp_path)) as fought:
        for number in range(5):
            await fought.fails("reply_late", DeadlineExceeded, seconds=0.2, timeout=0.05)
            assert await fought.call("victim", "echo", n=number) == {"n": number}
        assert fought.status().generation == 1
        assert fought.status().calls.in_flight == 0


async def test_row_35_ten_thousand_calls_to_one_that_reads_no_more_are_busy_or_late(tmp_path: Path) -> None:
    async with arena(tmp_path, gremlin(tmp_path)) as fought:
        await fought.call("victim", "stop_reading")
        began_at = time.monotonic()
        outcomes: Counter[type[OutboardError] | None] = Counter()
        without_hint = 0

        async def call() -> None:
            # Errors are counted and let go: ten thousand tracebacks are what the garbage collector would
            # be late for, 85 ms at a time, and that would be the test's doing and not the host's.
            nonlocal without_hint
            try:
                await fought.call("victim", "echo", blob="x" * 1000, timeout=1.0)
                outcomes[None] += 1
            except OutboardError as error:
                outcomes[type(error)] += 1
                without_hint += not error.hint

        async with anyio.create_task_group() as callers:
            for number in range(10_000):
                callers.start_soon(call)
                if number % 20 == 0:  # ten thousand tasks in one turn would hold up the loop by themselves
                    await anyio.lowlevel.checkpoint()
        if STRICT:  # elsewhere each call has its own bound in `call`, and ten thousand take what they take
            assert time.monotonic() - began_at < 1.0 + OVERTIME_S + 3
        assert outcomes.keys() == {PluginBusy, DeadlineExceeded}
        assert outcomes.total() == 10_000
        assert without_hint == 0
        assert fought.status().state in ("running", "degraded")


async def test_row_36_a_flood_of_stderr_from_four_costs_the_host_little(tmp_path: Path) -> None:
    floods = [gremlin(tmp_path, name=f"flood{number}") for number in range(4)]
    async with arena(tmp_path, *floods) as fought:
        quiet = await share_of_a_core(2.0)
        for flood in floods:
            await fought.call(flood.name, "flood_stderr", seconds=4)
        loud = await share_of_a_core(2.0)
        for flood in floods:
            assert await fought.call(flood.name, "echo", n=1) == {"n": 1}
            assert len(fought.status(flood.name).stderr_tail) <= 100
        assert loud - quiet <= (0.10 if STRICT else 0.20)


async def share_of_a_core(seconds: float) -> float:
    """What this process, which is the host, uses meanwhile."""
    began_at, used = time.monotonic(), time.process_time()
    await anyio.sleep(seconds)
    return (time.process_time() - used) / (time.monotonic() - began_at)
