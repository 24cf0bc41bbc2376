"""Plugins that hang: deadlines are kept, the others do not notice, and the end comes in time."""

from __future__ import annotations

import os
import signal
import time
from functools import partial
from pathlib import Path

import pytest

from host import DeadlineExceeded, PluginCrashed, PluginUnavailable
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


@on_every_loop
async def test_one_that_answers_no_pings_is_killed_with_a_reason_and_started_again(tmp_path: Path) -> None:
    victim = write_plugin(tmp_path, "victim", health=WATCHFUL, restart=QUICK)
    async with staged(tmp_path, victim) as stage:
        pid = stage.pid("victim")
        os.kill(pid, signal.SIGSTOP)
        with pytest.raises(PluginCrashed):
            await stage.host.call("victim", "echo")
        down = await stage.events.state("victim", "backoff")
        assert "unresponsive" in down.reason
        assert "2 pings" in down.reason
        await stage.events.state("victim", "running")
        assert is_gone(pid)
        assert stage.pid("victim") != pid


async def test_one_whose_threads_are_all_held_shows_its_stack_before_it_is_killed(tmp_path: Path) -> None:
    code = """
        handshake()
        import faulthandler
        faulthandler.enable()
        def the_culprit():
            time.sleep(60)
        the_culprit()
    """
    victim = write_raw_plugin(tmp_path, "victim", code, health=WATCHFUL, restart=QUICK)
    async with staged(tmp_path, victim) as stage:
        down = await stage.events.state("victim", "backoff")
        assert "unresponsive" in down.reason
        assert any("the_culprit" in getattr(event, "message", "") for event in stage.events.seen)


@on_every_loop
async def test_whatever_it_hangs_in_a_plugin_is_stopped_inside_twelve_seconds(tmp_path: Path) -> None:
    """One ignores all it is told, one was stopped by a signal, one never came to its start."""
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
