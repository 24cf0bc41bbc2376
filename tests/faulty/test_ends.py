"""Plugins that end, in every way that a process can: the host knows, says why, and goes on."""

from __future__ import annotations

import os
import signal
import threading
import time
from functools import partial
from pathlib import Path

import pytest

from host import PluginCrashed, PluginUnavailable
from tests.support.loops import on_every_loop
from tests.support.plugins import ECHO, QUICK, is_gone, settled, staged, write_plugin, write_raw_plugin

pytestmark = pytest.mark.anyio


@on_every_loop
async def test_killed_under_a_hundred_calls_it_settles_them_all_and_is_back(tmp_path: Path) -> None:
    victim = write_plugin(tmp_path, "victim", restart=QUICK)
    async with staged(tmp_path, victim) as stage:
        pid = stage.pid("victim")
        killed_at = 0.0

        async def kill() -> None:
            nonlocal killed_at
            await stage.host.call("steady", "echo")  # by then the calls have been sent
            killed_at = time.monotonic()
            os.kill(pid, signal.SIGKILL)

        hang = partial(stage.host.call, "victim", "hang")
        *outcomes, _ = await settled([*[hang] * 100, kill])
        took_s = time.monotonic() - killed_at
        assert {type(error) for error in outcomes} == {PluginCrashed}
        assert {(error.plugin, error.method) for error in outcomes} == {("victim", "hang")}
        assert "SIGKILL" in str(outcomes[0])
        assert took_s < 0.5
        assert stage.host.status("victim").plugins[0].calls.in_flight == 0
        down = await stage.events.state("victim", "backoff")
        assert "SIGKILL" in down.reason
        await stage.events.state("victim", "running")
        assert time.monotonic() - killed_at < 3
        assert await stage.host.call("victim", "echo", value="back") == "back"


@pytest.mark.parametrize(
    ("death", "words"),
    [
        ("os._exit(3)", "exit code 3"),
        ("os.kill(os.getpid(), signal.SIGTERM); time.sleep(9)", "SIGTERM"),
    ],
)
async def test_it_dies_in_a_call_and_the_call_says_how(tmp_path: Path, death: str, words: str) -> None:
    code = f"@plugin.method\ndef die() -> None:\n    {death}\n"
    async with staged(tmp_path, write_plugin(tmp_path, "victim", code, restart=QUICK)) as stage:
        with pytest.raises(PluginCrashed) as caught:
            await stage.host.call("victim", "die")
        assert words in str(caught.value)
        down = await stage.events.state("victim", "backoff")
        assert words in down.reason
        await stage.events.state("victim", "running")
        last = stage.host.status("victim").plugins[0].last_exit
        assert last is not None
        assert words in last.cause
        assert (last.code is None) != (last.signal is None)


@on_every_loop
async def test_a_crash_loop_ends_in_quarantine_and_a_start_releases_it(tmp_path: Path) -> None:
    code = ECHO + "\nif not os.path.exists('mended'): os._exit(9)\n"
    victim = write_plugin(tmp_path, "victim", code, restart=QUICK | {"intensity": 2})
    async with staged(tmp_path, victim) as stage:
        given_up = await stage.events.state("victim", "quarantined")
        assert given_up.generation == 3
        assert "2 restarts" in given_up.reason
        assert "exit code 9" in given_up.reason
        with pytest.raises(PluginUnavailable) as caught:
            await stage.host.call("victim", "echo")
        assert caught.value.code == "OB501"
        (victim / "mended").touch()
        await stage.host.start("victim")
        assert await stage.host.call("victim", "echo", value=1) == 1


@on_every_loop
async def test_a_reply_written_just_before_the_exit_is_delivered(tmp_path: Path) -> None:
    code = "handshake()\nsend(id=receive()['id'], result='last words')\nos._exit(0)\n"
    async with staged(tmp_path, write_raw_plugin(tmp_path, "victim", code)) as stage:
        assert await stage.host.call("victim", "echo") == "last words"
        await stage.events.state("victim", "stopped")


async def test_an_end_right_after_the_handshake_is_a_failed_start_and_no_more(tmp_path: Path) -> None:
    code = """
        asked = receive()
        os.write(2, b"about to end\\n")
        send(id=asked["id"], result={"protocol": 1})
        os._exit(4)
    """
    victim = write_raw_plugin(tmp_path, "victim", code, start={"mode": "lazy"}, restart={"policy": "never"})
    async with staged(tmp_path, victim) as stage:

        def be_late(event: object) -> None:
            """The host is so busy that it finds the reply and the death of the plugin at once."""
            if getattr(event, "message", "") == "about to end":
                process = stage.host._tree.plugins["victim"].process
                assert process is not None
                os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)

        stage.host.on_event(be_late)
        with pytest.raises(PluginUnavailable):
            await stage.host.call("victim", "echo")
        assert "exit code 4" in stage.reason("victim")


@on_every_loop
async def test_twenty_restarts_leave_nothing_behind(tmp_path: Path) -> None:
    limits = QUICK | {"intensity": 100, "backoff_min": "1ms", "backoff_max": "1ms"}
    code = "handshake()\nserve()\n"
    victim = write_raw_plugin(tmp_path, "victim", code, restart=limits)
    async with staged(tmp_path, victim) as stage:
        pids = []

        async def crash() -> None:
            pids.append(stage.pid("victim"))
            os.kill(pids[-1], signal.SIGKILL)
            await stage.events.state("victim", "degraded")  # on probation, and serving

        await stage.events.state("victim", "running")
        await crash()
        fds, threads = len(os.listdir("/proc/self/fd")), threading.active_count()
        for _ in range(19):
            await crash()
        # The thread that looks at what processes use comes and goes, with a file or two of its own.
        assert len(os.listdir("/proc/self/fd")) <= fds + 2
        assert threading.active_count() <= threads + 1
        assert len(set(pids)) == 20
        assert all(is_gone(pid) for pid in pids)
        assert stage.host.status("victim").plugins[0].restarts == 20


async def test_one_that_runs_and_ends_with_75_or_78_is_not_called_running(tmp_path: Path) -> None:
    code = "@plugin.method\ndef leave(code: int) -> None:\n    os._exit(code)\n"
    async with staged(tmp_path, write_plugin(tmp_path, "victim", ECHO + code)) as stage:
        for number, state in ((75, "waiting"), (78, "failed")):
            with pytest.raises(PluginCrashed):
                await stage.host.call("victim", "leave", code=number)
            await stage.events.state("victim", state)
            await stage.host.restart("victim")
            assert await stage.host.call("victim", "echo", value=number) == number
