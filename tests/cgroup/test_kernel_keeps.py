"""What only a control group can hold: memory that no process has mapped, trees, bombs, and who hides."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from host.errors import OutboardError
from host.process.cgroup import memory_in_use
from tests.support.brood import KINDS, left_of, with_sdk
from tests.support.daemon import Daemon, eventually
from tests.support.plugins import QUICK, is_gone, write_plugin
from tests.support.systemd import RUNTIME, scope

GLUTTON = """
held = []

@plugin.method
def memfd(mib: int) -> None:
    fd = os.memfd_create("hoard")
    held.append(fd)
    for _ in range(mib):
        os.write(fd, bytes(1024**2))

@plugin.method
def forks(count: int, mib: int) -> None:
    for _ in range(count):
        if os.fork() == 0:
            piece = bytearray(b"x") * (mib * 1024**2)
            time.sleep(30)
            os._exit(len(piece))
    time.sleep(30)

@plugin.method
def bomb(count: int) -> Any:
    started = []
    try:
        for _ in range(count):
            pid = os.fork()
            if pid == 0:
                time.sleep(30)
                os._exit(0)
            started.append(pid)
        return None
    except BlockingIOError as error:
        return error.errno
    finally:
        for pid in started:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)

@plugin.method
def burn(s: float) -> float:
    began, until = time.process_time(), time.monotonic() + s
    while time.monotonic() < until:
        pass
    return time.process_time() - began
"""
LIMITS = {"memory": "64MiB", "threads": 40, "processes": 1000, "cpu_percent": 100}


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    home = tmp_path_factory.mktemp("kept")
    (home / "run").mkdir(mode=0o700)
    plugins = [
        write_plugin(home, "glutton", GLUTTON, limits=LIMITS, restart=QUICK | {"intensity": 50}),
        with_sdk(home),
    ]
    with Daemon(home, *plugins, under=scope(), env=RUNTIME) as running:
        yield running
        assert running.stop() == 0


@pytest.fixture
def glutton(daemon: Daemon) -> int:
    """Its generation, now that it serves."""
    return int(daemon.until_state("glutton", "running", "degraded")["generation"])


def leaf_of(daemon: Daemon, plugin: str, generation: int) -> Path:
    return Path(daemon.status()["host"]["cgroup"].partition(": ")[2], f"{plugin}-{generation}")


def killed(daemon: Daemon, generation: int) -> Any:
    """The cause of that generation's end, from `why`."""
    eventually(lambda: daemon.plugin("glutton")["generation"] > generation, within_s=30)
    causes = daemon.cli("why", "glutton", "--json").json["causes"]
    return next(cause for cause in causes if cause["generation"] == generation)


def is_for_memory(cause: Any) -> bool:
    return (cause["kind"], cause["signal"], cause["killed_by_host"], cause["text"]) == (
        *("limit", "SIGKILL", False),
        "memory: more than 64 MiB, killed by the kernel (cgroup memory.max)",
    )


def test_memory_that_no_process_has_mapped_counts_and_is_the_end(daemon: Daemon, glutton: int) -> None:
    daemon.call("glutton", "memfd", mib=30)
    seen = eventually(lambda: _memory(daemon) > 30 * 1024**2 and daemon.plugin("glutton"))
    assert seen["generation"] == glutton
    assert daemon.cli("call", "glutton", "memfd", "mib=100").code == 1
    assert is_for_memory(killed(daemon, glutton))


def test_a_plugin_close_to_its_limit_goes_on_serving(daemon: Daemon, glutton: int) -> None:
    used = memory_in_use(str(leaf_of(daemon, "glutton", glutton))) or 0
    daemon.call("glutton", "memfd", mib=56 - used // 1024**2)
    eventually(lambda: (daemon.plugin("glutton")["reason"] or "").startswith("memory: "))
    assert daemon.call("glutton", "burn", s=0.1) > 0  # memory.high would have it stand still
    assert daemon.plugin("glutton")["generation"] == glutton
    assert daemon.cli("restart", "glutton").code == 0


def _memory(daemon: Daemon) -> int:
    return int(daemon.plugin("glutton")["memory_bytes"] or 0)


def test_memory_over_many_forks_ends_all_of_them(daemon: Daemon, glutton: int) -> None:
    assert daemon.cli("call", "glutton", "forks", "count=8", "mib=12").code == 1
    assert is_for_memory(killed(daemon, glutton))


def test_a_fork_bomb_meets_an_error_of_its_own(daemon: Daemon, glutton: int) -> None:
    assert daemon.call("glutton", "bomb", count=300) == 11  # EAGAIN
    assert daemon.plugin("glutton")["generation"] == glutton


def test_changed_limits_hold_at_once_for_the_process_that_runs(daemon: Daemon, glutton: int) -> None:
    leaf = leaf_of(daemon, "glutton", glutton)
    for key, value in (("threads", "20"), ("cpu_percent", "20"), ("memory", "60MiB")):
        assert daemon.cli("config", "set", f"plugins.glutton.limits.{key}", value).code == 0
    assert daemon.plugin("glutton")["generation"] == glutton
    assert (leaf / "pids.max").read_text().strip() == "20"
    assert (leaf / "memory.max").read_text().strip() == str(60 * 1024**2)
    assert daemon.call("glutton", "bomb", count=30) == 11
    assert daemon.call("glutton", "burn", s=1.0) < 0.6  # of a core; a fifth, and what the periods round
    for key in ("threads", "cpu_percent", "memory"):
        assert daemon.cli("config", "unset", f"plugins.glutton.limits.{key}").code == 0


def test_whoever_a_plugin_has_left_ends_with_it_and_its_group_goes(daemon: Daemon) -> None:
    before = daemon.until_state("victim", "running")
    brood = daemon.call("victim", "brood")
    leaf = leaf_of(daemon, "victim", before["generation"])
    inside = {int(pid) for pid in (leaf / "cgroup.procs").read_text().split()}
    assert set(brood.values()) < inside
    assert set(brood) == set(KINDS)
    os.kill(before["pid"], signal.SIGKILL)
    eventually(lambda: not left_of(brood), within_s=5)
    eventually(lambda: daemon.plugin("victim")["generation"] > before["generation"])
    assert not leaf.exists()
    assert "that it had left: killed" in daemon.cli("logs", "victim").out


def test_the_service_running_out_of_memory_is_not_called_the_plugins_limit(home: Path) -> None:
    whole = [*scope(), "--property=MemoryMax=160M", "--property=MemorySwapMax=0"]
    plugin = write_plugin(home, "glutton", GLUTTON, restart=QUICK, limits={"memory": "1GiB"})
    with Daemon(home, plugin, under=whole, env=RUNTIME) as daemon:
        generation = daemon.plugin("glutton")["generation"]
        daemon.cli("call", "glutton", "memfd", "mib=400")
        cause = killed(daemon, generation)
        assert (cause["kind"], cause["signal"]) == ("out-of-memory", "SIGKILL")
        assert "for want of memory" in cause["text"]


TWO = """
import os
import subprocess
from host.config.effective import PluginPolicy
from host.process.cgroup import find_groups

one = find_groups("one")
first, second = subprocess.Popen(["sleep", "60"]), subprocess.Popen(["sleep", "60"])
leaf = one.leaf("same-1", first.pid, PluginPolicy())
two = find_groups("two")  # which spares a group whose host lives
other = two.leaf("same-1", second.pid, PluginPolicy())
assert leaf and other and leaf.folder != other.folder
assert [each.pid for each in leaf.processes()] == [first.pid]
two.remove(other)
two.close()
assert second.wait(10) == -9
assert first.poll() is None
one.close()
assert first.wait(10) == -9
assert not os.path.exists(one.folder)
assert not os.path.exists(two.folder)
"""


def test_two_hosts_in_one_group_have_nothing_to_do_with_each_other() -> None:
    ran = subprocess.run(
        scope(sys.executable, "-m", "tests.cgroup.aside", sys.executable, "-c", TWO),
        cwd=Path(__file__).parents[2],
        env=os.environ | RUNTIME,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (ran.returncode, ran.stderr) == (0, "")


def test_what_a_killed_daemon_has_left_is_ended_by_the_next_in_its_group(home: Path) -> None:
    again = scope(sys.executable, "-m", "tests.cgroup.aside", "--again")
    with Daemon(home, with_sdk(home), under=again, env=RUNTIME, cwd=Path(__file__).parents[2]) as daemon:
        first = daemon.status()["host"]
        group = Path(first["cgroup"].partition(": ")[2])
        brood = daemon.call("victim", "brood")
        os.kill(first["pid"], signal.SIGKILL)
        eventually(lambda: _is_back(daemon, first["pid"]))
        assert left_of(brood) == {}
        assert not group.exists()
        assert Path(daemon.status()["host"]["cgroup"].partition(": ")[2]).parent == group.parent
        second = daemon.status()["host"]["pid"]
        os.kill(second, signal.SIGTERM)
        eventually(lambda: is_gone(second))
        assert daemon.process.wait(15) == 0


def _is_back(daemon: Daemon, old: int) -> bool:
    try:
        host = daemon.status()["host"]
    except OutboardError:
        return False
    return bool(host["pid"] != old)
