"""Plugins that hang: deadlines are kept, the others do not notice, and the end comes in time."""

from __future__ import annotations

import os
import signal
import time
from functools import partial
from pathlib import Path

import anyio
import pytest

from host import DeadlineExceeded, PluginCrashed, PluginUnavailable
from host.supervision import roster
from tests.support.loops import on_every_loop
from tests.support.plugins import ECHO, QUICK, is_gone, settled, staged, write_plugin, write_raw_plugin

pytestmark = pytest.mark.anyio

WATCHFUL = {"interval": "100ms", "timeout": "100ms", "misses": 2}
BUSY = """
@plugin.method
def spin(s: float = 60.0) -> None:
    until = time.monotonic() + s
    while time.monotonic() < until:
        pass
"""
DEAF = """
signal.signal(signal.SIGTERM, signal.SIG_IGN)

@plugin.on_stop
def stop() -> None:
    time.sleep(60)
"""


@on_every_loop
async def test_a_stopped_process_costs_its_callers_their_deadline_and_lives_on(tmp_path: Path) -> None:
    async with staged(tmp_path, write_plugin(tmp_path, "victim")) as stage:
        pid = stage.pid("victim")
        os.kill(pid, signal.SIGSTOP)
        began_at = time.monotonic()
        with pytest.raises(DeadlineExceeded) as caught:
            await stage.host.call("victim", "echo", timeout=0.2)
        assert 0.2 <= time.monotonic() - began_at < 0.7
        assert isinstance(caught.value, TimeoutError)
        os.kill(pid, signal.SIGCONT)
        assert await stage.host.call("victim", "echo", value=1) == 1
        assert stage.pid("victim") == pid
        assert stage.host.status("victim").plugins[0].calls.timeout == 1


@pytest.mark.parametrize("method", ["hang", "spin"])
async def test_a_hung_handler_is_alive_as_long_as_it_answers_pings(tmp_path: Path, method: str) -> None:
    patient = {"interval": "100ms", "timeout": "250ms", "misses": 3}  # a dead one would be given 1 s
    victim = write_plugin(tmp_path, "victim", ECHO + BUSY, health=patient)
    async with staged(tmp_path, victim) as stage:
        with pytest.raises(DeadlineExceeded):
            await stage.host.call("victim", method, s=1.7, timeout=1.5)
        assert await stage.host.call("victim", "echo", value=1) == 1
        assert stage.host.status("victim").plugins[0].generation == 1


async def test_a_hung_async_handler_leaves_the_others_alone(tmp_path: Path) -> None:
    code = """
import asyncio

@plugin.method
async def hang() -> None:
    await asyncio.sleep(60)

@plugin.method
async def echo(value: int) -> int:
    return value
"""
    async with staged(tmp_path, write_plugin(tmp_path, "victim", code)) as stage:
        calls = [partial(stage.host.call, "victim", "echo", value=n) for n in range(20)]
        outcomes = await settled([partial(stage.host.call, "victim", "hang", timeout=0.3), *calls])
        assert isinstance(outcomes[0], DeadlineExceeded)
        assert outcomes[1:] == list(range(20))


DEADLOCK = """
lock = threading.Lock()

@plugin.method
def the_culprit() -> None:
    lock.acquire()
    lock.acquire()
"""
HELD_IN_C = """
@plugin.method
def the_culprit() -> None:
    ctypes.PyDLL(None).sleep(60)
"""
SLEEPING = """
plugin = Plugin(threads=3)

@plugin.method
def the_culprit() -> None:
    while True:
        time.sleep(0.01)
"""
SHORT = {"interval": "100ms", "timeout": "2s", "misses": 3, "blocked_after": "300ms"}


@pytest.mark.parametrize("code", [DEADLOCK, SLEEPING])
async def test_one_that_is_blocked_is_restarted_with_the_stack_that_says_where(
    tmp_path: Path, code: str
) -> None:
    victim = write_plugin(tmp_path, "victim", code, health=SHORT | {"blocked": "restart"}, restart=QUICK)
    async with staged(tmp_path, victim) as stage:
        calls = [partial(stage.host.call, "victim", "the_culprit", timeout=20)] * 3
        assert {type(outcome) for outcome in await settled(calls)} == {PluginCrashed}
        down = await stage.events.state("victim", "backoff")
        assert down.reason.startswith("blocked")
        assert down.cause is not None
        assert (down.cause.kind, down.cause.killed_by_host) == ("blocked", True)
        assert any("the_culprit" in line for line in down.cause.stack)
        assert down.cause.in_flight == ["the_culprit"] * 3
        await stage.events.state("victim", "running")
        # The calls may be made twice, and were: so there are two such ends, and these are the first's.
        assert stage.host.why("victim").causes[-1].stack == down.cause.stack


async def test_one_whose_calls_may_be_made_twice_is_restarted_and_they_are_made_once_more(
    tmp_path: Path,
) -> None:
    code = DEADLOCK.replace("@plugin.method", "@plugin.method(idempotent=True)")
    victim = write_plugin(tmp_path, "victim", code, health=SHORT, restart=QUICK)
    async with staged(tmp_path, victim) as stage:
        (outcome,) = await settled([partial(stage.host.call, "victim", "the_culprit", timeout=20)])
        assert isinstance(outcome, PluginCrashed)
        causes = stage.host.why("victim").causes
        assert [cause.kind for cause in causes] == ["blocked", "blocked"]


async def test_one_that_holds_everything_in_c_answers_no_pings_and_shows_its_stack(tmp_path: Path) -> None:
    victim = write_plugin(tmp_path, "victim", HELD_IN_C, health=WATCHFUL, restart=QUICK)
    async with staged(tmp_path, victim) as stage:
        with pytest.raises(PluginCrashed):
            await stage.host.call("victim", "the_culprit", timeout=20)
        down = await stage.events.state("victim", "backoff")
        assert down.cause is not None
        assert down.cause.kind == "unresponsive"
        assert any("the_culprit" in line for line in down.cause.stack)


async def test_one_whose_work_cannot_be_done_twice_is_degraded_and_not_killed(tmp_path: Path) -> None:
    victim = write_plugin(tmp_path, "victim", health=SHORT)
    async with staged(tmp_path, victim) as stage:
        pid = stage.pid("victim")
        assert await stage.host.call("victim", "hang", s=1.0, timeout=20) is None
        down = await stage.events.state("victim", "degraded")
        assert down.reason.startswith("blocked")
        assert stage.pid("victim") == pid


async def test_with_threads_one_deadlock_blocks_nobody_while_others_finish(tmp_path: Path) -> None:
    code = "plugin = Plugin(threads=4)\n" + ECHO + DEADLOCK
    victim = write_plugin(tmp_path, "victim", code, health=SHORT | {"blocked": "restart"})
    async with staged(tmp_path, victim) as stage, anyio.create_task_group() as tasks:

        async def echo_on() -> None:
            while True:
                await stage.host.call("victim", "echo", timeout=20)
                await anyio.sleep(0.02)  # a pace, not a wait

        tasks.start_soon(echo_on)
        (late,) = await settled([partial(stage.host.call, "victim", "the_culprit", timeout=1.0)])
        tasks.cancel_scope.cancel()
        assert isinstance(late, DeadlineExceeded)
        assert stage.host.status("victim").plugins[0].generation == 1


async def test_eight_calls_that_were_given_up_and_not_answered_are_a_concern(tmp_path: Path) -> None:
    victim = write_plugin(tmp_path, "victim", health={"interval": "100ms"})
    async with staged(tmp_path, victim) as stage:
        await settled([partial(stage.host.call, "victim", "hang", timeout=0.1)] * 8)
        down = await stage.events.state("victim", "degraded")
        assert "calls were given up" in down.reason


async def test_the_wait_for_an_answer_is_part_of_the_interval_between_pings(tmp_path: Path) -> None:
    """Silent for an interval, and then three pings, one each interval: 2 s here, 20 s at the defaults."""
    health = {"interval": "500ms", "timeout": "500ms", "misses": 3}
    async with staged(tmp_path, write_plugin(tmp_path, "victim", health=health, restart=QUICK)) as stage:
        os.kill(stage.pid("victim"), signal.SIGSTOP)
        stopped_at = time.monotonic()
        ended = await stage.events.state("victim", "stopping")
        assert time.monotonic() - stopped_at < 2.9
        assert "3 pings" in ended.reason


async def test_a_missed_ping_is_a_concern_while_it_serves(tmp_path: Path) -> None:
    victim = write_plugin(tmp_path, "victim", health={"interval": "100ms", "timeout": "100ms", "misses": 100})
    async with staged(tmp_path, victim) as stage:
        os.kill(stage.pid("victim"), signal.SIGSTOP)
        down = await stage.events.state("victim", "degraded")
        assert "went unanswered" in down.reason
        os.kill(stage.pid("victim"), signal.SIGCONT)
        assert await stage.host.call("victim", "echo", value=1) == 1


@on_every_loop
async def test_whatever_it_hangs_in_a_plugin_is_stopped_inside_twelve_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One ignores all it is told, one was stopped by a signal, one never came to its start."""
    monkeypatch.setattr(roster, "INTRODUCTION_S", 0.2)  # nobody has to wait for the third to be known
    deaf = write_plugin(tmp_path, "deaf", ECHO + DEAF, start={"stop_timeout": "100ms"})
    frozen = write_plugin(tmp_path, "frozen")
    code = "receive()\nos.write(2, b'asked\\n')\ntime.sleep(60)\n"
    starting = write_raw_plugin(tmp_path, "starting", code, start={"mode": "lazy"})
    names = ["deaf", "frozen", "starting"]
    async with staged(tmp_path, deaf, frozen, starting) as stage:
        os.kill(stage.pid("frozen"), signal.SIGSTOP)
        pids = []

        async def stop_all() -> None:
            await stage.events.log("starting", "asked")
            pids.extend(stage.pid(name) for name in names)
            began_at = time.monotonic()
            await settled([partial(stage.host.stop, name) for name in names])
            assert time.monotonic() - began_at < 12

        started, _ = await settled([partial(stage.host.start, "starting"), stop_all])
        assert isinstance(started, PluginUnavailable)
        assert started.state == "stopped"
        for name, pid in zip(names, pids, strict=True):
            assert is_gone(pid)
            assert stage.events.states(name)[-2:] == ["stopping", "stopped"]
