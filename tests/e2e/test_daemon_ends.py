"""However a daemon ends, no plugin outlives it, and the next one starts."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

from tests.support.daemon import SAMPLES, Daemon, environment, eventually, outboard
from tests.support.plugins import is_gone, write_plugin

BUSY = """
@plugin.method
def spin() -> None:
    while True:
        pass
"""
HELD = """
@plugin.method
def hold() -> None:
    while True:
        time.sleep(0.01)
"""
ASYNC = """
import asyncio
@plugin.method
async def nap(s: float = 60) -> None:
    await asyncio.sleep(s)
"""
STUBBORN = """
signal.signal(signal.SIGTERM, signal.SIG_IGN)
"""


def begin_call(daemon: Daemon, plugin: str, method: str) -> None:
    """A call that does not end by itself, and has arrived."""
    begun = daemon.begin("call", plugin, method)
    eventually(lambda: daemon.plugin(plugin)["calls"]["in_flight"] == 1)
    begun.kill()
    begun.communicate()


def test_kill_9_of_the_daemon_leaves_no_plugin(home: Path) -> None:
    plugins = [
        write_plugin(home / "plugins", "idle"),
        write_plugin(home / "plugins", "stubborn", STUBBORN + BUSY),
        write_plugin(home / "plugins", "busy", BUSY),
        write_plugin(home / "plugins", "nap", ASYNC),
    ]
    for program, name in (("node", "wordcount"), ("perl", "rot13")):
        if shutil.which(program):
            plugins.append(SAMPLES / name)
    with Daemon(home, *plugins, whole=True) as daemon:
        for name, method in (("busy", "spin"), ("stubborn", "spin"), ("nap", "nap")):
            begin_call(daemon, name, method)
        pids = daemon.pids()
        assert len(pids) == len(plugins)
        daemon.process.kill()
        daemon.process.wait()
        eventually(lambda: all(map(is_gone, pids)), within_s=1)


def test_sigterm_ends_the_daemon_with_0_and_everything_with_it(home: Path) -> None:
    busy = write_plugin(home / "plugins", "busy", HELD, start={"stop_timeout": "100ms"})
    idle = write_plugin(home / "plugins", "idle")
    with Daemon(home, busy, idle, whole=True) as daemon:
        begin_call(daemon, "busy", "hold")
        pids = daemon.pids()
        assert daemon.stop(signal.SIGTERM) == 0
        assert all(map(is_gone, pids))
        assert not os.path.exists(daemon.socket)
        assert daemon.cli("status").code == 8
        assert "Traceback" not in daemon.said
        assert daemon.said.splitlines()[-1].endswith("outboard stopped")


def test_control_c_ends_the_daemon_with_0_too(home: Path) -> None:
    with Daemon(home, SAMPLES / "hello", whole=True) as daemon:
        (pid,) = daemon.pids()
        assert daemon.stop(signal.SIGINT) == 0
        assert is_gone(pid)
        assert "Traceback" not in daemon.said


def test_a_daemon_that_is_stopping_does_not_keep_its_clients_waiting(home: Path) -> None:
    stubborn = write_plugin(home / "plugins", "stubborn", STUBBORN + BUSY, start={"stop_timeout": "2s"})
    with Daemon(home, stubborn) as daemon:
        calling = daemon.begin("call", "stubborn", "spin")
        eventually(lambda: daemon.plugin("stubborn")["calls"]["in_flight"] == 1)
        daemon.process.send_signal(signal.SIGTERM)
        _, said = calling.communicate(timeout=2)
        assert (calling.returncode, b"error[OB701]" in said) == (8, True)
        done = daemon.cli("status")
        assert (done.code, daemon.process.poll()) == (8, None)


def test_what_a_killed_daemon_left_behind_is_no_obstacle(home: Path) -> None:
    with Daemon(home, SAMPLES / "hello") as daemon:
        daemon.process.kill()
        daemon.process.wait()
        assert os.path.exists(daemon.socket)
        assert daemon.cli("status").code == 8
        daemon.start()
        assert daemon.cli("call", "hello", "greet", "name=again").out == "Hello, again.\n"
        assert os.stat(daemon.socket).st_mode & 0o777 == 0o600


def test_a_daemon_without_options_looks_into_the_users_own_folder(home: Path) -> None:
    own = Path(environment(home)["XDG_DATA_HOME"], "outboard", "plugins")
    write_plugin(own, "mine")
    with Daemon(home) as daemon:
        assert daemon.call("mine", "echo", value=3) == 3
    assert outboard("status", env=environment(home)).code == 8
