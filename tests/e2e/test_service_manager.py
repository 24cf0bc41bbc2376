"""A daemon and the service manager that starts it: what it tells, and what it is given."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
import uuid
from pathlib import Path

import pytest

from tests.support.daemon import SAMPLES, Daemon
from tests.support.manager import Manager
from tests.support.plugins import write_plugin

SLOW = """
@plugin.on_start
def start() -> None:
    while not os.path.exists(os.path.join(os.path.dirname(__file__), "go")):
        time.sleep(0.01)

@plugin.method
def echo() -> None: ...
"""
NAMES = """
@plugin.method
def names() -> list[str]:
    return sorted(os.environ)
"""
CRASHES = """
@plugin.method
def crash() -> None:
    os._exit(3)
"""


def test_readiness_is_told_when_every_plugin_has_left_starting(home: Path) -> None:
    slow = write_plugin(home / "plugins", "slow", SLOW)
    with Manager.at(home) as manager:
        daemon = Daemon(home, SAMPLES / "hello", slow, env={"NOTIFY_SOCKET": manager.address})
        daemon._is_ready = lambda: True  # type: ignore[method-assign]  # it is the manager who waits
        with daemon:
            status = manager.until("STATUS=1 of 2 plugins running")
            assert "slow: starting" in status[0]
            assert "READY=1" not in manager.lines()
            (slow / "go").touch()
            assert manager.until("READY=1") == ["READY=1"]
            manager.until("STATUS=2 of 2 plugins running")
            assert daemon.stop() == 0


def test_the_end_is_told_with_the_time_it_may_take(home: Path) -> None:
    with Manager.at(home) as manager, Daemon(home, env={"NOTIFY_SOCKET": manager.address}) as daemon:
        manager.until("READY=1")
        daemon.process.send_signal(signal.SIGTERM)
        told = manager.until("STOPPING=1")
        (extended,) = [line for line in told if line.startswith("EXTEND_TIMEOUT_USEC=")]
        assert 12_000_000 <= int(extended.split("=")[1]) <= 20_000_000
        assert daemon.process.wait(15) == 0
        assert manager.lines().count("STOPPING=1") == 1
        assert not any(line.startswith("WATCHDOG") for line in manager.lines())


@pytest.mark.skipif(sys.platform != "linux", reason="abstract sockets are Linux's own")
def test_an_abstract_socket_is_as_good(home: Path) -> None:
    address = f"@outboard-test-{uuid.uuid4().hex}"
    with Manager(address) as manager, Daemon(home, env={"NOTIFY_SOCKET": address}):
        manager.until("READY=1")


def test_a_plugin_in_trouble_is_in_the_status_line(home: Path) -> None:
    crashes = write_plugin(
        home / "plugins", "billing", CRASHES, restart={"backoff_min": "20s", "backoff_max": "30s"}
    )
    with (
        Manager.at(home) as manager,
        Daemon(home, SAMPLES / "hello", crashes, env={"NOTIFY_SOCKET": manager.address}) as daemon,
    ):
        manager.until("STATUS=2 of 2")
        assert daemon.cli("call", "billing", "crash").code == 1
        (line,) = manager.until("STATUS=1 of 2")
        assert line.startswith("STATUS=1 of 2 plugins running; billing: backoff: exit code 3")


def test_signs_of_life_come_twice_in_the_time_that_was_given(home: Path) -> None:
    watched = {"WATCHDOG_USEC": "400000"}
    with (
        Manager.at(home) as manager,
        Daemon(home, env={"NOTIFY_SOCKET": manager.address} | watched) as daemon,
    ):
        times = []
        for _ in range(5):
            manager.until("WATCHDOG=1")
            times.append(time.monotonic())
        assert times[-1] - times[0] < 4 * 0.4  # every 0.2 s; a manager would have been content
        assert daemon.stop() == 0


def test_a_watchdog_for_another_process_is_not_ours(home: Path) -> None:
    watched = {"WATCHDOG_USEC": "100000", "WATCHDOG_PID": "1"}
    with (
        Manager.at(home) as manager,
        Daemon(home, env={"NOTIFY_SOCKET": manager.address} | watched) as daemon,
    ):
        assert daemon.stop() == 0
        assert "STOPPING=1" in manager.lines()
        assert "WATCHDOG=1" not in manager.lines()


def test_a_manager_who_is_not_there_is_no_obstacle(home: Path) -> None:
    with Daemon(home, SAMPLES / "hello", env={"NOTIFY_SOCKET": str(home / "nobody")}) as daemon:
        assert daemon.call("hello", "greet", name="Ada") == "Hello, Ada."
        assert daemon.stop() == 0


def test_no_plugin_hears_of_the_manager(home: Path) -> None:
    names = write_plugin(home / "plugins", "names", NAMES)
    own = {"WATCHDOG_USEC": "10000000", "LISTEN_FDS": "0", "STATE_DIRECTORY": str(home / "state")}
    with (
        Manager.at(home) as manager,
        Daemon(home, names, env={"NOTIFY_SOCKET": manager.address} | own) as daemon,
    ):
        seen = daemon.call("names", "names")
    assert "OUTBOARD_INSTANCE" in seen
    assert not [name for name in seen if name.startswith(("NOTIFY", "WATCHDOG", "LISTEN", "STATE"))]


def test_the_folders_that_the_manager_made_are_used(home: Path) -> None:
    folders = {"RUNTIME_DIRECTORY": str(home / "r"), "STATE_DIRECTORY": f"{home / 's'}:{home / 'other'}"}
    folders |= {"LOGS_DIRECTORY": str(home / "l"), "OUTBOARD_SOCKET": ""}
    write_plugin(home / "s" / "plugins", "mine")
    daemon = Daemon(home, env=folders)
    daemon.socket = str(home / "r" / "control.sock")
    with daemon:
        assert daemon.call("mine", "echo", value=1) == 1
        assert (home / "l" / "outboard.jsonl").is_file()
        assert (home / "s" / "data" / "mine").is_dir()
        assert not (home / "state").exists()


def activated(home: Path, listening: socket.socket, *, pid: str = "$$") -> Daemon:
    """A daemon that is handed a socket that listens already, as descriptor 3."""
    script = f'LISTEN_PID={pid} LISTEN_FDS=1 exec "$@" 3<&{listening.fileno()}'
    return Daemon(
        home,
        SAMPLES / "hello",
        under=["bash", "-c", script, "sh"],
        pass_fds=[listening.fileno()],
    )


def test_a_socket_that_the_manager_listens_at_is_taken_and_left_to_it(home: Path) -> None:
    path = str(home / "given.sock")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen()
        daemon = activated(home, listening)
        daemon.socket = path
        with daemon:
            assert daemon.call("hello", "greet", name="Ada") == "Hello, Ada."
            assert not os.path.exists(daemon.env["OUTBOARD_SOCKET"])
            assert daemon.stop() == 0
            listening.close()
        assert os.path.exists(path)


def test_a_socket_that_was_meant_for_another_process_is_left_alone(home: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(home / "given.sock"))
        listening.listen()
        with activated(home, listening, pid="1") as daemon:
            assert daemon.call("hello", "greet", name="Ada") == "Hello, Ada."
            assert os.path.exists(daemon.env["OUTBOARD_SOCKET"])
