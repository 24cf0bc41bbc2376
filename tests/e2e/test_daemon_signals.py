"""What a daemon does when it is signalled: once, twice, three times, too early, and under `nohup`."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.support.daemon import OUTBOARD, SAMPLES, Daemon, environment, eventually
from tests.support.manager import Manager
from tests.support.plugins import is_gone, write_plugin

STUBBORN = """
signal.signal(signal.SIGTERM, signal.SIG_IGN)

@plugin.method
def spin() -> None:
    while True:
        pass

@plugin.method
def daemonize() -> int:
    \"\"\"A process in a session of its own, that no parent of ours waits for.\"\"\"
    return subprocess.Popen(["sleep", "60"], start_new_session=True).pid
"""


def stubborn(home: Path) -> Path:
    return write_plugin(home / "plugins", "stubborn", STUBBORN, start={"stop_timeout": "8s"})


def begin_to_stop(daemon: Daemon) -> None:
    """The first signal, with a call under way that the plugin may finish."""
    calling = daemon.begin("call", "stubborn", "spin")
    eventually(lambda: daemon.plugin("stubborn")["calls"]["in_flight"] == 1)
    daemon.process.send_signal(signal.SIGTERM)
    calling.communicate(timeout=10)
    eventually(lambda: "SIGTERM: stopping" in daemon.said)


def test_a_second_signal_says_what_is_waited_for_and_a_third_ends_it_all(home: Path) -> None:
    with Daemon(home, stubborn(home), whole=True) as daemon:
        pids = [*daemon.pids(), daemon.call("stubborn", "daemonize")]
        begin_to_stop(daemon)
        daemon.process.send_signal(signal.SIGINT)
        eventually(lambda: "still waiting for stubborn" in daemon.said)
        assert daemon.process.poll() is None
        assert daemon.stop(signal.SIGTERM) == 128 + signal.SIGTERM
        assert all(map(is_gone, pids))
        assert not os.path.exists(daemon.socket)
        assert "Traceback" not in daemon.said


def test_after_a_daemon_that_ended_at_once_the_next_one_starts(home: Path) -> None:
    with Daemon(home, stubborn(home)) as daemon:
        begin_to_stop(daemon)
        for said in ("still waiting", "ending at once"):
            daemon.process.send_signal(signal.SIGTERM)
            eventually(lambda said=said: said in daemon.said)
        daemon.process.wait(10)
        daemon.start()
        assert daemon.plugin("stubborn")["state"] == "running"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_at_any_moment_of_the_start_ends_the_daemon_in_order(
    home: Path, number: signal.Signals
) -> None:
    write_plugin(home / "plugins", "mine")
    for after_s in (0.05, 0.1, 0.15, 0.2, 0.3, 0.4):
        process = subprocess.Popen(
            [*OUTBOARD, "run", "--plugins", str(home / "plugins")],
            env=environment(home),
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        try:
            process.wait(after_s)
        except subprocess.TimeoutExpired:
            process.send_signal(number)
        _, said = process.communicate(timeout=15)
        # earlier than our first line, it is Python itself that is ended
        is_early = b"outboard" not in said
        assert process.returncode == 0 or (is_early and process.returncode in (-number, 130, 1)), said
        assert is_early or b"Traceback" not in said


def test_under_nohup_a_hangup_is_ignored(home: Path) -> None:
    with Daemon(home, SAMPLES / "hello", under=["nohup"]) as daemon:
        daemon.process.send_signal(signal.SIGHUP)
        assert daemon.call("hello", "greet", name="Ada") == "Hello, Ada."
        ignored = next(
            int(line.split()[1], 16)
            for line in Path(f"/proc/{daemon.process.pid}/status").read_text().splitlines()
            if line.startswith("SigIgn")
        )
        assert ignored & 1 << (signal.SIGHUP - 1)
        assert "SIGHUP" not in daemon.said
        assert daemon.stop() == 0


# -- SIGHUP ---------------------------------------------------------------------------------------

SLOW_TO_STOP = """
@plugin.on_stop
def stop() -> None:
    while not os.path.exists(os.path.join(os.path.dirname(__file__), "go")):
        time.sleep(0.01)

@plugin.method
def echo() -> None: ...
"""


def said_of_reload(daemon: Daemon) -> list[str]:
    """What the log says from the first reload on."""
    messages = daemon.logged()
    first = next((n for n, message in enumerate(messages) if message.startswith("SIGHUP")), len(messages))
    return messages[first:]


def test_a_hangup_makes_the_daemon_look_again_and_say_what_has_changed(home: Path) -> None:
    old = write_plugin(home / "plugins", "old")
    config = home / "outboard.toml"
    config.write_text('[host]\nplugins = ["plugins"]\n')
    with (
        Manager.at(home) as manager,
        Daemon(home, words=["--config", config], env={"NOTIFY_SOCKET": manager.address}) as daemon,
    ):
        manager.until("READY=1")
        shutil.rmtree(old)
        write_plugin(home / "plugins", "new")
        config.write_text('[host]\nplugins = ["plugins"]\nlog_format = "json"\n')
        daemon.process.send_signal(signal.SIGHUP)
        told = manager.until("RELOADING=1")
        assert int(told[1].removeprefix("MONOTONIC_USEC=")) <= time.monotonic_ns() // 1000
        manager.until("READY=1")
        assert daemon.call("new", "echo", value=1) == 1
        assert [plugin["name"] for plugin in daemon.status()["plugins"]] == ["new"]
        eventually(lambda: any("host.log_format" in message for message in said_of_reload(daemon)))
        said = said_of_reload(daemon)
        assert {"added      new", "removed    old"} <= set(said)
        assert daemon.stop() == 0


def test_a_configuration_with_a_mistake_changes_nothing(home: Path) -> None:
    write_plugin(home / "plugins", "mine")
    config = home / "outboard.toml"
    config.write_text('[host]\nplugins = ["plugins"]\n')
    with (
        Manager.at(home) as manager,
        Daemon(home, words=["--config", config], env={"NOTIFY_SOCKET": manager.address}) as daemon,
    ):
        manager.until("READY=1")
        config.write_text("[host]\nplugns = []\n")
        daemon.process.send_signal(signal.SIGHUP)
        manager.until("RELOADING=1")
        manager.until("READY=1")
        eventually(lambda: any("did you mean `plugins`" in message for message in said_of_reload(daemon)))
        assert daemon.call("mine", "echo", value=1) == 1
        assert daemon.plugin("mine")["generation"] == 1
        assert daemon.stop() == 0


def test_hangups_during_a_reload_are_one_more(home: Path) -> None:
    slow = write_plugin(home / "plugins", "slow", SLOW_TO_STOP)
    with (
        Manager.at(home) as manager,
        Daemon(home, home / "plugins", env={"NOTIFY_SOCKET": manager.address}) as daemon,
    ):
        manager.until("READY=1")
        manifest = slow / "plugin.toml"
        manifest.write_text(manifest.read_text().replace("1.0.0", "1.0.1"))
        daemon.process.send_signal(signal.SIGHUP)
        manager.until("RELOADING=1")
        daemon.until_state("slow", "stopping")
        for _ in range(5):
            daemon.process.send_signal(signal.SIGHUP)
            assert daemon.plugin("slow")["state"] == "stopping"  # so it has been heard by now
        (slow / "go").touch()
        manager.until("READY=1")
        manager.until("RELOADING=1")
        manager.until("READY=1")
        assert daemon.stop() == 0
        assert manager.lines().count("RELOADING=1") == 2
        assert "nothing has changed" in said_of_reload(daemon)


def test_a_daemon_can_be_stopped_in_the_middle_of_a_reload(home: Path) -> None:
    slow = write_plugin(home / "plugins", "slow", SLOW_TO_STOP)
    with Daemon(home, home / "plugins") as daemon:
        manifest = slow / "plugin.toml"
        manifest.write_text(manifest.read_text().replace("1.0.0", "1.0.1"))
        daemon.process.send_signal(signal.SIGHUP)
        daemon.until_state("slow", "stopping")
        assert daemon.stop() == 0
        assert "Traceback" not in daemon.said
