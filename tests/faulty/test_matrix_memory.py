"""Rows 17 to 21 of the fault matrix: plugins that want more memory than they may have."""

from __future__ import annotations

import contextlib
from pathlib import Path

import anyio
import pytest

from host import OutboardError, PluginCrashed
from tests.support.arena import arena, gremlin

pytestmark = pytest.mark.anyio

MIB = 1024 * 1024


async def test_row_17_600_mib_a_second_over_200_mib_ends_it_in_time(tmp_path: Path) -> None:
    async with arena(tmp_path, gremlin(tmp_path, limits={"memory": "200MiB"})) as fought:
        await fought.fails("allocate", PluginCrashed, timeout=10)
        ended = await fought.ends("backoff", "memory")
        assert ended.cause is not None
        assert ended.cause.kind == "limit"
        await fought.comes_back()


async def test_row_18_a_leak_degrades_it_first_and_ends_it_then(tmp_path: Path) -> None:
    """10 MiB a second under a limit that is nine seconds away."""
    async with arena(tmp_path, gremlin(tmp_path, limits={"memory": "100MiB"})) as fought:
        await fought.call("victim", "leak", seconds=30)
        degraded = await fought.events.state("victim", "degraded", within_s=20)
        assert "memory" in degraded.reason
        assert await fought.call("victim", "echo", n=1) == {"n": 1}  # it still serves
        ended = await fought.ends("backoff", "memory", within_s=30)
        assert ended.cause is not None
        assert ended.cause.kind == "limit"
        await fought.comes_back()


async def test_row_19_memory_that_is_split_over_ten_forks_counts_together(tmp_path: Path) -> None:
    async with arena(tmp_path, gremlin(tmp_path, limits={"memory": "200MiB"})) as fought:
        with contextlib.suppress(OutboardError):  # it may be ended before it has answered
            await fought.call("victim", "split_memory", seconds=60)
        ended = await fought.ends("backoff", "memory", within_s=20)
        assert ended.cause is not None
        assert ended.cause.kind == "limit"
        await fought.comes_back()


async def test_row_20_memory_that_five_forks_share_counts_once(tmp_path: Path) -> None:
    async with arena(tmp_path, gremlin(tmp_path, limits={"memory": "300MiB"})) as fought:
        pid = fought.pid("victim")
        await fought.call("victim", "share_memory", seconds=60)
        await fought.becomes(lambda status: (status.processes or 0) >= 6)
        await anyio.sleep(1.5)  # the one thing to be seen is that nothing happens, for more than four looks
        assert await fought.call("victim", "echo", n=1) == {"n": 1}
        assert fought.pid("victim") == pid
        assert "quarantined" not in fought.events.states("victim")


async def test_row_21_a_memfd_is_a_documented_gap_without_a_control_group(tmp_path: Path) -> None:
    """RLIMIT_DATA does not see it, nor does the sum of private memory: docs/limits.md says so."""
    limits = (Path(__file__).parents[2] / "docs" / "limits.md").read_text()
    assert "memfd" in limits
    async with arena(tmp_path, gremlin(tmp_path, limits={"memory": "200MiB"})) as fought:
        pid = fought.pid("victim")
        if fought.kernel_keeps("memory"):
            with contextlib.suppress(OutboardError):
                await fought.call("victim", "hide_memory", timeout=10)
            await fought.ends("backoff", "memory: more than 200 MiB, killed by the kernel")
            await fought.comes_back()
            return
        await fought.call("victim", "hide_memory", timeout=10)
        await anyio.sleep(1.5)  # nothing happens, which is the gap
        assert fought.pid("victim") == pid
