"""The unit of `outboard systemd` under a real systemd: ready, reloaded, watched, stopped, killed."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cgroup.test_delegation import own_group
from tests.support.brood import left_of, with_sdk
from tests.support.daemon import Daemon, eventually
from tests.support.plugins import is_gone
from tests.support.systemd import KIND, RUNTIME, manager

QUICK = """
[Service]
RestartSec=100ms
WatchdogSec=3s
TimeoutAbortSec=1s
RuntimeDirectory=
PrivateTmp=no
"""


class Service(Daemon):
    """The same, but started by the service manager."""

    def __init__(self, home: Path, *plugins: Path) -> None:
        super().__init__(home, *plugins, env=RUNTIME)
        self.config = home / "o.toml"
        self.config.write_text("")
        self.unit = f"outboard-test-{os.getpid()}-{home.name}.service"
        folder = Path("/run" if KIND == "--system" else RUNTIME["XDG_RUNTIME_DIR"], "systemd", KIND[2:])
        self.file = folder / self.unit
        account = ["--run-as", "root"] if KIND == "--system" else []
        words = [w for plugin in plugins for w in ("--plugins", str(plugin))]
        told = self.cli("systemd", KIND, *account, *words, "--config", self.config, "--socket", self.socket)
        assert told.code == 0, told.err
        folder.mkdir(parents=True, exist_ok=True)
        self.file.write_text(told.out + QUICK)

    def __enter__(self) -> Service:
        assert manager("daemon-reload").returncode == 0
        started = manager("start", self.unit)
        assert started.returncode == 0, started.stderr + manager("status", self.unit).stdout
        return self

    def __exit__(self, *_: object) -> None:
        manager("stop", self.unit)
        manager("reset-failed", self.unit)
        self.file.unlink()
        manager("daemon-reload")

    def says(self, name: str) -> str:
        return manager("show", self.unit, f"--property={name}", "--value").stdout.strip()

    @property
    def pid(self) -> int:
        return int(self.says("MainPID"))


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    home = tmp_path_factory.mktemp("service")
    (home / "run").mkdir(mode=0o700)
    with Service(home, with_sdk(home)) as running:
        yield running


def test_it_is_ready_when_its_plugins_are_and_says_how_many_run(service: Service) -> None:
    assert service.says("ActiveState") == "active"
    assert service.plugin("victim")["state"] in ("running", "degraded")
    eventually(lambda: service.says("StatusText") == "1 of 1 plugins running")
    host = service.status()["host"]
    assert host["pid"] == service.pid
    assert host["cgroup"].startswith("memory, pids, cpu: ")
    assert host["descendants_after_host_death"] == "cgroup"
    assert manager("is-active", service.unit).stdout.strip() == "active"


def test_systemd_has_nothing_to_say_against_the_unit(service: Service) -> None:
    assert service.says("NeedDaemonReload") == "no"
    assert service.says("Type") == "notify"
    assert service.says("OOMPolicy") == "continue"


def test_a_reload_is_done_when_systemctl_returns_and_fails_when_it_failed(service: Service) -> None:
    pid = service.pid
    service.config.write_text("[plugins.victim.limits]\nmemory = '100MiB'\n")
    assert manager("reload", service.unit).returncode == 0
    assert service.plugin("victim")["memory_limit_bytes"] == 100 * 1024**2
    service.config.write_text("[plugins.victim.limits]\nmemory = 'much'\n")
    assert manager("reload", service.unit).returncode == 1
    assert service.says("ActiveState") == "active"
    assert service.plugin("victim")["memory_limit_bytes"] == 100 * 1024**2
    service.config.write_text("")
    assert manager("reload", service.unit).returncode == 0
    assert service.pid == pid


def _is_back(service: Service, old: int) -> Any:
    return service.pid not in (0, old) and service.says("ActiveState") == "active"


def test_when_the_daemon_is_killed_everybody_is_gone_and_it_is_started_again(service: Service) -> None:
    brood, old, plugin = service.call("victim", "brood"), service.pid, service.plugin("victim")["pid"]
    group = own_group(plugin)
    os.kill(old, signal.SIGKILL)
    eventually(lambda: not left_of(brood) and is_gone(plugin), within_s=5)
    eventually(lambda: _is_back(service, old))
    assert not group.exists()
    assert service.plugin("victim")["generation"] >= 1


def test_a_daemon_that_is_stuck_is_found_by_its_missing_signs_of_life(service: Service) -> None:
    brood, old = service.call("victim", "brood"), service.pid
    os.kill(old, signal.SIGSTOP)
    eventually(lambda: service.pid != old, within_s=15)
    eventually(lambda: _is_back(service, old))
    assert left_of(brood) == {}


def test_a_restart_is_another_daemon_and_a_stop_leaves_nothing(service: Service) -> None:
    old, brood = service.pid, service.call("victim", "brood")
    assert manager("restart", service.unit).returncode == 0
    assert service.pid != old
    assert left_of(brood) == {}
    base = own_group(service.pid).parent
    brood = service.call("victim", "brood")
    assert manager("stop", service.unit).returncode == 0
    assert service.says("Result") == "success"
    assert left_of(brood) == {}
    assert not base.exists()
    assert manager("start", service.unit).returncode == 0


def test_a_wrong_configuration_is_not_tried_again_and_again(service: Service) -> None:
    manager("stop", service.unit)
    service.config.write_text("[host]\nnonsense = 1\n")
    try:
        assert manager("start", service.unit).returncode == 1
        assert service.says("ExecMainStatus") == "6"
        assert service.says("NRestarts") == "0"
        assert service.says("ActiveState") == "failed"
    finally:
        service.config.write_text("")
        manager("reset-failed", service.unit)
        assert manager("start", service.unit).returncode == 0
