"""Rows 2 to 7 of the fault matrix: plugins that end. All invariants are held by `arena`."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from host import PluginCrashed, PluginUnavailable
from host.supervision import restart
from tests.support.arena import arena, gremlin

pytestmark = pytest.mark.anyio


async def test_row_02_exit_0_that_nobody_asked_for_is_a_clean_stop(tmp_path: Path) -> None:
    async with arena(tmp_path, gremlin(tmp_path)) as fought:
        await fought.fails("exit_unasked", PluginCrashed)
        await fought.ends("stopped", "clean-exit")
        error = await fought.fails("echo", PluginUnavailable)
        assert isinstance(error, PluginUnavailable)
        assert error.state == "stopped"
        await fought.host.start("victim")
        assert await fought.call("victim", "echo", n=1) == {"n": 1}


@pytest.mark.parametrize("calls", [1, 50])
async def test_row_03_a_segfault_in_a_call_ends_every_call_and_is_named(tmp_path: Path, calls: int) -> None:
    async with arena(tmp_path, gremlin(tmp_path)) as fought:
        errors = await fought.all_fail(["segfault", *["echo"] * (calls - 1)])
        # It may be gone before the last of them is sent; then they wait for the one that follows, or do not.
        assert {type(error) for error in errors} <= {PluginCrashed, PluginUnavailable, dict}
        assert isinstance(errors[0], PluginCrashed)
        assert "SIGSEGV" in str(errors[0])
        ended = await fought.ends("backoff", "SIGSEGV")
        assert ended.cause is not None
        assert any("Segmentation fault" in line for line in ended.cause.stderr)
        await fought.comes_back()


async def test_row_04_an_abort_is_named(tmp_path: Path) -> None:
    async with arena(tmp_path, gremlin(tmp_path)) as fought:
        assert "SIGABRT" in str(await fought.fails("abort", PluginCrashed))
        await fought.ends("backoff", "SIGABRT")
        await fought.comes_back()


async def test_row_05_a_kill_from_outside_says_so_and_thinks_of_the_kernel(tmp_path: Path) -> None:
    async with arena(tmp_path, gremlin(tmp_path)) as fought:
        os.kill(fought.pid("victim"), signal.SIGKILL)
        await fought.ends("backoff", "SIGKILL", "killed from outside, or by the kernel for memory")
        await fought.comes_back()


async def test_row_06_a_crash_every_while_is_quarantined_although_the_backoff_resets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restart, "MIN_HEALTHY_S", 0.1)  # the 60 s of which 20 s are not enough; here 0.2 are
    victim = gremlin(tmp_path, "crash_every", seconds=0.2, restart={"intensity": 3, "backoff_max": "10s"})
    async with arena(tmp_path, victim) as fought:
        await fought.ends("backoff", "exit code 1")
        await fought.ends("backoff", "exit code 1")
        await fought.ends("backoff", "exit code 1")
        given_up = await fought.ends("quarantined", "3 restarts", "exit code 1")
        assert given_up.generation == 4
        assert len(fought.delays) == 3
        assert max(fought.delays) < 0.03  # 20 ms and its jitter: it never grew
        error = await fought.fails("echo", PluginUnavailable)
        assert error.code == "OB501"


@pytest.mark.parametrize(("seconds", "grows"), [(0.59, True), (1.21, False)])
async def test_row_07_a_crash_just_before_the_backoff_resets_and_one_just_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, grows: bool
) -> None:
    """Of 60 s the test makes 1, so what would be 59 s and 61 s has room for a machine that is busy."""
    monkeypatch.setattr(restart, "MIN_HEALTHY_S", 1.0)
    terms = {"intensity": 9, "backoff_min": "20ms", "backoff_max": "20s"}
    async with arena(tmp_path, gremlin(tmp_path, "crash_every", seconds=seconds, restart=terms)) as fought:
        await fought.ends("backoff")
        await fought.ends("backoff")
        first, second = fought.delays
        assert first < 0.03
        assert (second > 0.04) is grows  # the second step of the six is at 63 ms, less a fifth
