"""Faults of the host's own surroundings: no descriptors, no disk, a kill while it writes its state."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import random
import resource
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path

import pytest

from host.errors import OutboardError, PluginUnavailable
from tests.support.arena import Besieged, arena, besieged, gremlin, working_in
from tests.support.daemon import eventually
from tests.support.plugins import QUICK, write_plugin


@contextlib.contextmanager
def no_descriptor_left(daemon: Besieged, *, but: int = 0) -> Iterator[None]:
    """The daemon may open `but` more files, and then no more."""
    pid = daemon.process.pid
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    used = set(map(int, os.listdir(f"/proc/{pid}/fd")))
    lowest = next(islice((fd for fd in count() if fd not in used), but, None))
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (lowest, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)


@pytest.mark.parametrize("but", [0, 2, 4, 6])
def test_a_spawn_without_descriptors_leaves_nothing_whatever_it_was_that_was_missing(
    tmp_path: Path, but: int
) -> None:
    """Pipes, or Popen's own pipe: each is once the first that cannot be had."""
    victim = gremlin(tmp_path / "plugins", restart={"intensity": 500, "backoff_max": "100ms"})
    with besieged(tmp_path, victim) as daemon:
        pid = daemon.plugin("victim")["pid"]
        with no_descriptor_left(daemon, but=but):
            os.kill(pid, signal.SIGKILL)  # it frees four descriptors, and its successor wants them
            eventually(lambda: state_of(daemon, "victim") != ("running", 1))
        eventually(lambda: state_of(daemon, "victim")[0] in ("running", "degraded"))
        assert daemon.call("victim", "echo", n=1) == {"n": 1}
        assert working_in(victim) == {daemon.plugin("victim")["pid"]}


@pytest.mark.anyio
async def test_a_process_that_cannot_be_watched_is_not_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has been started, and then its pidfd cannot be had."""
    async with arena(tmp_path, gremlin(tmp_path)) as fought:
        open_pidfd = os.pidfd_open
        refusals = iter([errno.EMFILE, errno.ENOMEM])

        def refuse(pid: int, flags: int = 0) -> int:
            if (refused := next(refusals, None)) is not None:
                raise OSError(refused, os.strerror(refused))
            return open_pidfd(pid, flags)

        monkeypatch.setattr(os, "pidfd_open", refuse)
        with pytest.raises(PluginUnavailable):
            await fought.host.restart("victim")
        await fought.ends("backoff", "EMFILE")
        await fought.ends("backoff", "ENOMEM")
        await fought.comes_back()


def state_of(daemon: Besieged, name: str) -> tuple[str, int]:
    """As far as the daemon can be asked."""
    try:
        plugin = daemon.plugin(name)
    except OutboardError:
        return "", 0
    return plugin["state"], plugin["generation"]


@pytest.mark.parametrize("number", [0, 1])
def test_a_daemon_without_descriptors_keeps_its_clients_waiting_and_answers_them_then(
    tmp_path: Path, number: int
) -> None:
    with besieged(tmp_path) as daemon:
        idle = []
        with no_descriptor_left(daemon, but=number):
            for _ in range(8):
                client = socket.socket(socket.AF_UNIX)
                client.connect(daemon.socket)
                idle.append(client)
            asking = daemon.begin("status", "--json")
            with pytest.raises(subprocess.TimeoutExpired):
                asking.wait(1)
        out, _ = asking.communicate(timeout=10)
        assert json.loads(out)["plugins"][0]["name"] == "steady"
        for client in idle:
            client.close()


SMALL_DISK = 'mkdir -p "$XDG_STATE_HOME" && mount -t tmpfs -o size=256k none "$XDG_STATE_HOME" && exec "$@"'
NAMESPACE = ["unshare", "--mount", "sh", "-c", SMALL_DISK, "sh"]


def test_a_full_disk_costs_records_and_nothing_else_and_is_made_up_for(tmp_path: Path) -> None:
    """State and log on a disk of 256 KiB; what holds is written once there is room again."""
    if (
        shutil.which("unshare") is None
        or subprocess.run(
            [*NAMESPACE, "true"],
            env={**os.environ, "XDG_STATE_HOME": str(tmp_path / "try")},
            capture_output=True,
        ).returncode
    ):
        pytest.skip("no file system can be mounted here")
    with besieged(tmp_path, gremlin(tmp_path / "plugins"), under=NAMESPACE) as daemon:
        disk = Path(f"/proc/{daemon.process.pid}/root{tmp_path}/state")
        filler = disk / "filler"
        with pytest.raises(OSError, match="No space left"), open(filler, "wb", buffering=0) as file:
            while True:
                file.write(b"x" * 1024)
        assert daemon.cli("disable", "victim").code == 0  # the word holds, whatever the disk says
        assert daemon.plugin("victim")["state"] == "disabled"
        assert "cannot be written: No space left on device" in str(daemon.status()["host"]["problems"])
        for number in range(50):
            assert daemon.call("steady", "echo", value=number) == number
        assert "victim" not in remembered(disk)
        filler.unlink()
        eventually(lambda: remembered(disk).get("victim") == {"enabled": False})
        assert daemon.cli("enable", "victim").code == 0


def remembered(disk: Path) -> dict[str, dict[str, object]]:
    """What the state file says, which is at any moment a whole file or none."""
    files = list((disk / "outboard").glob("plugins*.json"))
    files = [file for file in files if not file.name.endswith((".processes.json", ".known.json"))]
    assert len(files) <= 1
    plugins: dict[str, dict[str, object]] = json.loads(files[0].read_text())["plugins"] if files else {}
    return plugins


def test_a_daemon_that_is_killed_while_it_writes_remembers_one_state_or_the_other(tmp_path: Path) -> None:
    dice = random.Random(8)
    victim = write_plugin(tmp_path / "plugins", "victim", restart=QUICK, start={"mode": "lazy"})
    with besieged(tmp_path, victim, is_to_die=True) as daemon:
        said = True
        for _ in range(6):
            ends_at = time.monotonic() + dice.uniform(0.02, 0.1)
            while time.monotonic() < ends_at:
                said = not said
                daemon.ask("enable" if said else "disable", {"name": "victim"})
            daemon.ask("disable", {"name": "victim"})  # once it is answered, it is on the disk
            daemon.process.kill()
            daemon.process.wait()
            daemon.start()
            assert daemon.plugin("victim")["state"] == "disabled"
            assert not daemon.status()["host"]["problems"]
        assert daemon.stop() == 0
