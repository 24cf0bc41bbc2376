"""What a daemon makes of the control group that it finds itself in: detected, and never assumed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.support.daemon import Daemon, eventually
from tests.support.plugins import write_plugin
from tests.support.systemd import RUNTIME, scope


def started(home: Path, under: list[str], **options: Any) -> Daemon:
    plugin = write_plugin(home / "plugins", "victim", limits={"cpu_percent": 150})
    return Daemon(home, plugin, under=under, env=RUNTIME, **options)


def kept_by(daemon: Daemon) -> dict[str, str]:
    return {limit["name"]: limit["mechanism"] for limit in daemon.plugin("victim")["limits"]}


def own_group(pid: int) -> Path:
    line = Path(f"/proc/{pid}/cgroup").read_text().strip()
    return Path("/sys/fs/cgroup", line.removeprefix("0::/"))


def test_a_delegated_group_is_divided_and_nothing_of_it_is_left(home: Path) -> None:
    with started(home, scope()) as daemon:
        host, plugin = own_group(daemon.process.pid), own_group(daemon.plugin("victim")["pid"])
        assert host.name == "host"  # a group with processes in it can have no children
        base = host.parent
        assert base.name.endswith(".scope")
        assert plugin.parent.parent == base
        assert plugin.name == "victim-1"
        told = daemon.status()["host"]
        assert told["cgroup"] == f"memory, pids, cpu: {plugin.parent}"
        assert told["descendants_after_host_death"] == "next-start"  # who made the scope is not its guardian
        found = kept_by(daemon)
        assert found["memory"] == "RLIMIT_DATA, cgroup memory.max"
        assert found["threads"] == "cgroup pids.max"
        assert found["cpu_percent"] == "cgroup cpu.max"
        limits = {limit["name"]: limit for limit in daemon.plugin("victim")["limits"]}
        assert all(limits[name]["usage"] and limits[name]["peak"] for name in ("memory", "threads"))
        assert (plugin / "memory.max").read_text().strip() == str(limits["memory"]["hard"])
        assert (plugin / "cpu.max").read_text().split() == ["150000", "100000"]
        assert daemon.cli("stop", "victim").code == 0
        assert os.listdir(plugin.parent) == [
            name for name in os.listdir(plugin.parent) if not name.startswith("victim-")
        ]
        assert daemon.cli("start", "victim").code == 0
        assert own_group(daemon.plugin("victim")["pid"]).name == "victim-2"
        assert daemon.cli("remove", "victim").code == 0
        assert not [entry for entry in plugin.parent.iterdir() if entry.is_dir()]
        assert daemon.stop() == 0
        assert eventually(lambda: not plugin.parent.exists())


def test_a_group_that_can_be_written_and_is_not_delegated_is_left_alone(home: Path) -> None:
    with started(home, scope(delegate="no")) as daemon:
        group = own_group(daemon.process.pid)
        assert group.name.endswith(".scope")
        assert os.access(group, os.W_OK)
        assert not [entry for entry in group.iterdir() if entry.is_dir()]
        assert daemon.status()["host"]["cgroup"] == f"none: {group} is not delegated to this process"
        assert kept_by(daemon)["memory"] == "RLIMIT_DATA, the host"


def test_with_a_shell_in_it_a_group_is_not_divided(home: Path) -> None:
    with started(home, scope("sh", "-c", '"$@"; exit', "sh")) as daemon:
        told = daemon.status()["host"]
        assert told["cgroup"].startswith("none: ")
        assert own_group(told["pid"]).name.endswith(".scope")
        assert kept_by(daemon)["threads"] == "the host"
        daemon.cli("stop", "victim")
        os.kill(told["pid"], 15)
        daemon.process.wait(15)


@pytest.mark.parametrize("controllers", ["pids"])
def test_a_limit_whose_controller_is_not_there_is_kept_by_the_host(home: Path, controllers: str) -> None:
    with started(home, scope(delegate=controllers)) as daemon:
        found = kept_by(daemon)
        assert found["threads"] == "cgroup pids.max"
        assert found["cpu_percent"] == "nobody (nice 5)"
        assert "cpu" not in daemon.status()["host"]["cgroup"].partition(":")[0]


def test_a_guardian_comes_along(home: Path) -> None:
    (home / "o.toml").write_text("[host]\nguardian = true\n")
    with started(home, scope(), words=["--config", home / "o.toml"]) as daemon:
        told = daemon.status()["host"]
        assert told["pid"] != daemon.process.pid
        assert told["descendants_after_host_death"] == "guardian"
        assert {own_group(pid).name for pid in (told["pid"], daemon.process.pid)} == {"host"}
        assert kept_by(daemon)["memory"] == "RLIMIT_DATA, cgroup memory.max"
        assert daemon.stop() == 0
