"""Rows 22 to 28 and 37 of the fault matrix: plugins with many processes, and with ones that hide."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from host import OutboardError, PluginCrashed
from tests.support.arena import arena, besieged, gremlin, tag_of, working_in
from tests.support.daemon import eventually
from tests.support.plugins import is_gone

pytestmark = pytest.mark.anyio


async def test_row_22_a_fork_bomb_ends_with_its_plugin(tmp_path: Path) -> None:
    async with arena(tmp_path, gremlin(tmp_path)) as fought:
        with contextlib.suppress(OutboardError):  # it may be ended before it has answered
            await fought.call("victim", "fork_bomb", seconds=60, timeout=10)
        await fought.ends("backoff", "processes", within_s=20)
        await fought.comes_back()


async def test_row_23_five_hundred_threads_are_too_many(tmp_path: Path) -> None:
    async with arena(tmp_path, gremlin(tmp_path)) as fought:
        with contextlib.suppress(OutboardError):
            await fought.call("victim", "swarm", seconds=60, timeout=10)
        # Where a control group keeps the limit, it cannot start another, and ends itself.
        why = "can't start new thread" if fought.kernel_keeps("threads") else "threads"
        await fought.ends("backoff", why, within_s=20)
        await fought.comes_back()


@pytest.mark.parametrize("death", ["segfault", "die", "exit_unasked"])
def test_row_24_a_daemon_without_a_tag_is_gone_with_its_plugin(tmp_path: Path, death: str) -> None:
    victim = gremlin(tmp_path / "plugins", restart={"policy": "always"})
    with besieged(tmp_path, victim) as daemon:
        daemon.call("victim", "daemonise", seconds=60)
        (hidden,) = eventually(lambda: named_sleep(victim))
        assert not tag_of(hidden)
        with contextlib.suppress(OutboardError):
            daemon.call("victim", death)
        eventually(lambda: is_gone(hidden), within_s=3)


def test_row_25_a_pid_hopper_is_caught(tmp_path: Path) -> None:
    victim = gremlin(tmp_path / "plugins")
    with besieged(tmp_path, victim) as daemon:
        pid = daemon.plugin("victim")["pid"]
        daemon.call("victim", "hop", seconds=30)
        eventually(lambda: working_in(victim) - {pid})
        assert daemon.cli("stop", "victim").code == 0
        eventually(lambda: not working_in(victim), within_s=3)


async def test_row_26_a_grandchild_that_keeps_stdout_does_not_hide_the_end(tmp_path: Path) -> None:
    async with arena(tmp_path, gremlin(tmp_path)) as fought:
        assert "exit code 5" in str(await fought.fails("hold_stdout", PluginCrashed, seconds=60))
        await fought.ends("backoff", "exit code 5", within_s=2)
        await fought.comes_back()


def test_row_27_kill_9_of_the_host_ends_a_plugin_that_holds_the_gil(tmp_path: Path) -> None:
    victim = gremlin(tmp_path / "plugins")
    with besieged(tmp_path, victim, is_to_die=True) as daemon:
        pids = daemon.pids()
        calling = daemon.begin("call", "victim", "hold_gil", "seconds=60")
        eventually(lambda: daemon.plugin("victim")["calls"]["in_flight"] == 1)
        daemon.process.kill()
        daemon.process.wait()
        eventually(lambda: all(map(is_gone, pids)), within_s=1)
        calling.communicate()


def test_row_28_what_a_killed_host_leaves_is_swept_by_the_next(tmp_path: Path) -> None:
    victim = gremlin(tmp_path / "plugins")
    with besieged(tmp_path, victim, is_to_die=True) as daemon:
        daemon.call("victim", "daemonise", seconds=60)
        (hidden,) = eventually(lambda: named_sleep(victim))
        (record,) = (tmp_path / "state" / "outboard").glob("*.processes.json")
        eventually(lambda: f"[{hidden}," in record.read_text())  # it has been seen
        daemon.process.kill()
        daemon.process.wait()
        daemon.start()
        eventually(lambda: is_gone(hidden), within_s=3)
        assert daemon.stop() == 0


def test_row_28_with_a_guardian_nothing_outlives_a_killed_host(tmp_path: Path) -> None:
    victim = gremlin(tmp_path / "plugins")
    config = tmp_path / "outboard.toml"
    config.write_text("[host]\nguardian = true\n")
    with besieged(tmp_path, victim, is_to_die=True, words=["--config", config]) as daemon:
        daemon.call("victim", "daemonise", seconds=60)
        (hidden,) = eventually(lambda: named_sleep(victim))
        daemon.process.kill()
        daemon.process.wait()
        eventually(lambda: is_gone(hidden), within_s=1)


async def test_row_37_eight_burners_do_not_hold_up_the_host(tmp_path: Path) -> None:
    burners = [gremlin(tmp_path, name=f"burner{number}") for number in range(8)]
    async with arena(tmp_path, *burners) as fought:
        for burner in burners:
            await fought.call(burner.name, "burn", seconds=3)
        answered = fought.answered
        for burner in burners * 3:
            assert await fought.call(burner.name, "echo", n=1) == {"n": 1}
        assert fought.answered > answered
        assert {fought.status(burner.name).generation for burner in burners} == {1}


def named_sleep(folder: Path) -> set[int]:
    """The daemons that work in a folder."""
    return {pid for pid in working_in(folder) if Path(f"/proc/{pid}/comm").read_text() == "sleep\n"}
