"""Rows 30, 31, 38, 39, 41 and 43 of the fault matrix: faults of the host's own. More: test_host_faults.py."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import anyio
import pytest

from host import PluginUnavailable
from tests.support.arena import STRICT, WATCHFUL, arena, besieged, gremlin, working_in
from tests.support.daemon import eventually
from tests.support.plugins import is_gone

pytestmark = pytest.mark.anyio

DAY_S = 86400.0


QUICK_PINGS = {"interval": "200ms", "timeout": "500ms", "misses": 2}


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("health", "stopped_s"), [(QUICK_PINGS, 1.5), pytest.param({}, 30.0, marks=pytest.mark.chaos)]
)
def test_row_30_a_host_that_was_stopped_kills_nobody(
    tmp_path: Path, health: dict[str, Any], stopped_s: float
) -> None:
    """30 s at intervals of 5 s, which are the defaults; in everyday tests twice 1.5 s at 0.2 s."""
    victims = [gremlin(tmp_path / "plugins", name=name, health=health) for name in ("one", "two")]
    with besieged(tmp_path, *victims) as daemon:
        pids = daemon.pids()
        for _ in range(2):
            daemon.process.send_signal(signal.SIGSTOP)
            eventually(lambda: daemon_state(daemon.process.pid) == "T")
            time.sleep(stopped_s)  # the fault itself
            daemon.process.send_signal(signal.SIGCONT)
            for name in ("one", "two"):
                assert daemon.call(name, "echo", n=1) == {"n": 1}
            eventually_two_rounds(daemon)
        assert daemon.pids() == pids
        assert {plugin["generation"] for plugin in daemon.status()["plugins"]} == {1}


def daemon_state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]


def eventually_two_rounds(daemon: Any) -> None:
    """Lets the daemon's own pings come round, as seen in how long it has been up."""
    until = daemon.status()["host"]["uptime_s"] + 0.5
    eventually(lambda: daemon.status()["host"]["uptime_s"] > until)


@pytest.mark.parametrize("jump_s", [DAY_S, -DAY_S])
async def test_row_31_a_jump_of_the_wall_clock_moves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jump_s: float
) -> None:
    victim = gremlin(tmp_path, health=WATCHFUL, restart={"backoff_min": "300ms", "backoff_max": "400ms"})
    async with arena(tmp_path, victim) as fought:
        await fought.serves()
        real = time.time
        monkeypatch.setattr(time, "time", lambda: real() + jump_s)
        await anyio.sleep(0.5)  # some pings; nothing is to be seen
        assert await fought.call("victim", "echo", n=1) == {"n": 1}
        assert fought.events.states("victim") == ["starting", "running"]
        os.kill(fought.pid("victim"), signal.SIGKILL)
        await fought.ends("backoff")
        died_at = time.monotonic()
        assert 0.2 < fought.delays[0] < 0.4
        monkeypatch.setattr(time, "time", real)  # and back again, while it waits
        await fought.serves()
        assert time.monotonic() - died_at < 5
        assert fought.status().uptime_s < 60


async def test_row_38_a_plugin_without_descriptors_left_is_told_so_by_its_kernel(tmp_path: Path) -> None:
    async with arena(tmp_path, gremlin(tmp_path, limits={"open_files": 64})) as fought:
        told = await fought.call("victim", "hoard_files")
        assert told["error"] == os.strerror(errno.EMFILE)
        assert 32 < told["opened"] < 64
        assert await fought.call("victim", "echo", n=1) == {"n": 1}


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENOMEM, errno.EAGAIN])
async def test_row_38_a_host_that_cannot_spawn_names_the_error_and_tries_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """The kernel's answer to fork, given by Popen's own: no limit of ours would hit the victim alone."""
    victim = gremlin(tmp_path, restart={"intensity": 9})
    async with arena(tmp_path, victim) as fought:
        spawn = subprocess.Popen.__init__
        refusals = iter([number] * 3)

        def refuse(self: Any, argv: Any, *more: Any, **options: Any) -> None:
            if "gremlin.py" in argv and (refused := next(refusals, None)) is not None:
                self.returncode = -1  # or it would complain when it is collected
                raise OSError(refused, os.strerror(refused))
            spawn(self, argv, *more, **options)

        monkeypatch.setattr(subprocess.Popen, "__init__", refuse)
        with pytest.raises(PluginUnavailable) as caught:
            await fought.host.restart("victim")
        assert errno.errorcode[number] in caught.value.reason
        for _ in range(3):
            await fought.ends("backoff", errno.errorcode[number], os.strerror(number))
        await fought.comes_back()


async def test_row_39_a_plugin_whose_file_may_not_grow_is_told_so_and_goes_on(tmp_path: Path) -> None:
    async with arena(tmp_path, gremlin(tmp_path, limits={"file_size": "4MiB"})) as fought:
        told = await fought.call("victim", "fill_disk")
        assert told == {"written": 4 * 1024 * 1024, "error": os.strerror(errno.EFBIG)}
        assert await fought.call("victim", "echo", n=1) == {"n": 1}


def test_row_41_two_operators_at_once_are_served_one_after_the_other(tmp_path: Path) -> None:
    """Every command of both gets an answer, and what is asked last is how it is then."""
    victim = gremlin(tmp_path / "plugins")
    with besieged(tmp_path, victim) as daemon:
        for last in ("start", "stop", "start"):
            words = [["stop", "victim"], ["start", "victim"], ["reload"], ["restart", "victim"]] * 2
            commands = [daemon.begin(*each) for each in words]
            codes = {command.wait(30) for command in commands}
            for command in commands:
                _, said = command.communicate()
                assert b"Traceback" not in said
            assert codes <= {0, 1, 3}  # a start that somebody else's stop overtook says so
            assert daemon.cli(last, "victim").code == 0
            assert daemon.plugin("victim")["state"] == {"start": "running", "stop": "stopped"}[last]
            assert len(working_in(victim)) == (1 if last == "start" else 0)
        lives = [change["generation"] for change in daemon.ask("why", {"name": "victim"})["history"]]
        assert lives == sorted(lives, reverse=True)


@pytest.mark.parametrize("hung", [20, pytest.param(100, marks=pytest.mark.chaos)])
def test_row_43_sigterm_with_many_hung_plugins_takes_twelve_seconds(tmp_path: Path, hung: int) -> None:
    """Each is stopped by SIGSTOP: it hears neither words nor SIGTERM."""
    victims = [gremlin(tmp_path / "plugins", name=f"hung{number}") for number in range(hung)]
    with besieged(tmp_path, *victims, is_to_die=True) as daemon:
        pids = {plugin["name"]: plugin["pid"] for plugin in daemon.status()["plugins"]}
        for name, pid in pids.items():
            if name != "steady":
                os.kill(pid, signal.SIGSTOP)
        began_at = time.monotonic()
        assert daemon.stop() == 0
        assert time.monotonic() - began_at < (12.0 if STRICT else 14.0)
        assert all(map(is_gone, pids.values()))
