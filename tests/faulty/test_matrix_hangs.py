"""Rows 10 to 16 of the fault matrix: plugins that hang, and plugins that do not end."""

from __future__ import annotations

import os
import signal
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from host import DeadlineExceeded, PluginCrashed
from host.supervision import plugin_process
from tests.support.arena import OVERTIME_S, WATCHFUL, Arena, arena, gremlin
from tests.support.held import held_by_a_tracer
from tests.support.plugins import ECHO, QUICK, is_gone, settled, write_plugin

pytestmark = pytest.mark.anyio

SPIN = """
import asyncio

@plugin.method
async def spin_for_ever() -> None:
    while True:
        pass

@plugin.method
async def echo(value: Any = None) -> Any:
    return value
"""
BLOCKED = WATCHFUL | {"blocked_after": "500ms", "blocked": "restart"}
DEADLOCK = (
    ECHO
    + """
lock = threading.Lock()

@plugin.method
def lock_twice() -> None:
    with lock, lock:
        pass
"""
)


def stack_names(fought: Arena, function: str) -> bool:
    """Whether the stack that the victim left names a function."""
    return any(function in getattr(event, "message", "") for event in fought.events.seen)


async def test_row_10_an_endless_loop_in_an_async_handler_is_ended_and_its_stack_names_it(
    tmp_path: Path,
) -> None:
    victim = write_plugin(tmp_path, "victim", SPIN, health=BLOCKED, restart=QUICK)
    async with arena(tmp_path, victim) as fought:
        await fought.fails("spin_for_ever", DeadlineExceeded, PluginCrashed, timeout=0.3)
        await fought.ends("backoff")
        assert stack_names(fought, "spin_for_ever")
        await fought.comes_back()


async def test_row_11_a_call_into_c_that_holds_the_gil_is_found_and_explained(tmp_path: Path) -> None:
    code = ECHO + "\n@plugin.method\ndef hold_the_gil() -> None:\n    ctypes.PyDLL(None).sleep(30)\n"
    victim = write_plugin(tmp_path, "victim", code, health=WATCHFUL, restart=QUICK)
    async with arena(tmp_path, victim) as fought:
        await fought.fails("hold_the_gil", PluginCrashed)
        await fought.ends("backoff", "unresponsive", "2 pings")
        assert stack_names(fought, "hold_the_gil")
        await fought.comes_back()


async def test_row_12_a_deadlock_in_one_of_many_threads_costs_that_call_alone(tmp_path: Path) -> None:
    code = DEADLOCK.replace("lock = ", "plugin.threads = 3\nlock = ", 1)
    victim = write_plugin(tmp_path, "victim", code, health=WATCHFUL, restart=QUICK)
    async with arena(tmp_path, victim) as fought:
        pid = fought.pid("victim")
        await fought.fails("lock_twice", DeadlineExceeded, timeout=0.5)
        assert await fought.call("victim", "echo", value=1) == 1
        assert (fought.pid("victim"), fought.status().state) == (pid, "running")


async def test_row_12_a_deadlock_in_a_serial_plugin_is_blocked_and_restarted_with_its_stack(
    tmp_path: Path,
) -> None:
    victim = write_plugin(tmp_path, "victim", DEADLOCK, health=BLOCKED, restart=QUICK)
    async with arena(tmp_path, victim) as fought:
        await fought.fails("lock_twice", DeadlineExceeded, PluginCrashed, timeout=0.3)
        await fought.ends("backoff", "blocked")
        assert stack_names(fought, "lock_twice")
        await fought.comes_back()


async def test_row_13_a_stopped_process_costs_its_callers_their_deadline_and_is_replaced(
    tmp_path: Path,
) -> None:
    async with arena(tmp_path, gremlin(tmp_path, health=WATCHFUL)) as fought:
        pid = fought.pid("victim")
        os.kill(pid, signal.SIGSTOP)
        began_at = time.monotonic()
        await fought.fails("echo", DeadlineExceeded, timeout=0.1)
        assert time.monotonic() - began_at < 0.1 + OVERTIME_S
        await fought.ends("backoff", "unresponsive")
        await fought.comes_back()
        assert is_gone(pid)


async def test_row_14_one_that_is_deaf_to_everything_is_gone_in_time(tmp_path: Path) -> None:
    async with arena(tmp_path, gremlin(tmp_path)) as fought:
        await fought.call("victim", "turn_deaf", seconds=60)
        pid = fought.pid("victim")
        began_at = time.monotonic()
        await fought.host.stop("victim")
        assert time.monotonic() - began_at < 10.5
        await fought.ends("stopped", "stopped by an operator")
        assert is_gone(pid)
        assert fought.status().last_exit.signal == "SIGKILL"


@pytest.mark.parametrize("vice", ["fail_to_stop", "hang_in_stop"])
async def test_row_15_stop_code_that_fails_or_hangs_does_not_keep_it(tmp_path: Path, vice: str) -> None:
    async with arena(tmp_path, gremlin(tmp_path)) as fought:
        await fought.call("victim", vice, seconds=60)
        pid = fought.pid("victim")
        began_at = time.monotonic()
        await fought.host.stop("victim")
        assert time.monotonic() - began_at < (10.5 if vice == "hang_in_stop" else 3)
        await fought.ends("stopped")
        assert is_gone(pid)


@pytest.mark.skipif(sys.platform != "linux", reason="ptrace is what holds it")
async def test_row_16_one_that_cannot_be_reaped_is_stuck_and_has_no_successor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A debugger that holds it after its death is what a process in a driver's hands looks like to us."""
    monkeypatch.setattr(plugin_process, "REAP_S", 0.3)
    async with arena(tmp_path, gremlin(tmp_path)) as fought:
        pid = fought.pid("victim")
        with held_by_a_tracer(pid) as tracer:
            os.kill(pid, signal.SIGKILL)
            outcomes = await settled([partial(fought.call, "victim", "echo", timeout=1.0)] * 3)
            assert all(isinstance(outcome, Exception) for outcome in outcomes)
            await fought.becomes(lambda status: status.stuck)
            assert fought.status().state == "stopping"
            assert fought.status().generation == 1
            tracer.let_go()
            await fought.ends("backoff")
        await fought.comes_back()
        assert is_gone(pid)
