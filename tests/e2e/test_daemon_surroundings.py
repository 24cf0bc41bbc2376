"""Whatever a daemon is started in, and whatever becomes of it: terminals, pipes, folders, containers."""

from __future__ import annotations

import os
import pty
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.support.daemon import SAMPLES, Daemon, eventually
from tests.support.plugins import is_gone, write_plugin

TALKER = """
@plugin.method
def talk(lines: int, ctx: Context) -> None:
    for number in range(lines):
        ctx.log.info(f"{number:05} " + "x" * 4000)
"""
ORPHANS = """
@plugin.method
def orphan(s: float) -> int:
    \"\"\"The pid of a process that has lost its parent, has a session of its own, and ends after `s`.\"\"\"
    script = f"sleep {s} >/dev/null 2>&1 & echo $!"
    return int(subprocess.check_output(["setsid", "sh", "-c", script]))
"""


def shell(script: str) -> list[str]:
    return ["bash", "-c", script + ' exec "$@"', "sh"]


def test_a_pipe_that_nobody_reads_does_not_stop_the_daemon(home: Path) -> None:
    talker = write_plugin(home / "plugins", "talker", TALKER)
    with Daemon(home, talker, stderr=subprocess.PIPE, whole=True) as daemon:
        daemon.call("talker", "talk", lines=900)  # more than has room: in the pipe, and on the way to it
        assert daemon.plugin("talker")["state"] == "running"
        daemon.process.send_signal(signal.SIGTERM)
        _, told = daemon.process.communicate(timeout=15)
        assert daemon.process.returncode == 0
    said = told.decode().splitlines()
    assert any("records are missing here" in line for line in said)
    assert said[-1].endswith("outboard stopped")
    assert sum("xxx" in message for message in daemon.logged()) == 900


def test_a_daemon_ends_in_time_though_nobody_reads_what_it_says(home: Path) -> None:
    talker = write_plugin(home / "plugins", "talker", TALKER)
    with Daemon(home, talker, stderr=subprocess.PIPE, whole=True) as daemon:
        daemon.call("talker", "talk", lines=500)
        assert daemon.stop() == 0
        daemon.process.communicate()


def test_a_pipe_whose_reader_is_gone_is_told_of_once_in_the_file(home: Path) -> None:
    with Daemon(home, SAMPLES / "hello", stderr=subprocess.PIPE, whole=True) as daemon:
        assert daemon.process.stderr is not None
        daemon.process.stderr.close()
        for _ in range(3):
            assert daemon.cli("restart", "hello").code == 0
        assert daemon.stop() == 0
    assert sum("cannot be written to stderr" in message for message in daemon.logged()) == 1


def test_a_terminal_that_is_closed_takes_nothing_along(home: Path) -> None:
    ours, theirs = pty.openpty()
    with Daemon(
        home,
        SAMPLES / "hello",
        under=["setsid", "--ctty"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=False,
    ) as daemon:
        os.close(theirs)
        os.close(ours)  # a hangup for the daemon, and EIO for whoever writes
        eventually(lambda: any("SIGHUP" in message for message in daemon.logged()))
        for _ in range(3):
            assert daemon.cli("restart", "hello").code == 0
        assert daemon.call("hello", "greet", name="Ada") == "Hello, Ada."
        assert daemon.stop() == 0
    assert sum("cannot be written to stderr" in message for message in daemon.logged()) == 1
    assert daemon.logged()[-1] == "stopped"


@pytest.mark.parametrize("closed", ["0<&-", "1>&-", "2>&-", "0<&- 1>&- 2>&-"])
def test_descriptors_that_were_closed_are_not_taken_for_something_else(home: Path, closed: str) -> None:
    talker = write_plugin(home / "plugins", "talker", TALKER)
    with Daemon(home, talker, under=shell(f"exec {closed};"), stderr=subprocess.DEVNULL) as daemon:
        daemon.call("talker", "talk", lines=3)
        standard = [os.readlink(f"/proc/{daemon.process.pid}/fd/{fd}") for fd in range(3)]
        assert set(standard) <= {"/dev/null", os.readlink("/proc/self/fd/1")}
        assert daemon.stop() == 0


def test_a_folder_that_is_gone_is_no_place_to_start_from_but_will_do(home: Path) -> None:
    gone = shell('mkdir "$HOME/gone" && cd "$HOME/gone" && rmdir "$HOME/gone";')
    with Daemon(home, SAMPLES / "hello", under=gone) as daemon:
        assert daemon.call("hello", "greet", name="Ada") == "Hello, Ada."
        assert daemon.stop() == 0
        assert "Traceback" not in daemon.said


def test_a_loose_umask_gives_nothing_away(home: Path) -> None:
    with Daemon(home, SAMPLES / "hello", under=shell("umask 0;")) as daemon:
        made = [Path(daemon.socket), Path(daemon.socket + ".lock"), daemon.log_file]
        made += [daemon.log_file.parent, Path(daemon.socket).parent]
        modes = {path: stat.S_IMODE(path.stat().st_mode) & 0o077 for path in made}
        assert set(modes.values()) == {0}, modes


def test_two_daemons_of_a_user_have_a_log_file_each(home: Path) -> None:
    other = {"OUTBOARD_SOCKET": str(home / "other.sock")}
    (home / "b").mkdir()
    shared = {"XDG_STATE_HOME": str(home / "state")}
    with (
        Daemon(home, write_plugin(home / "plugins", "first"), env=shared) as first,
        Daemon(home / "b", write_plugin(home / "plugins", "second"), env=shared | other) as second,
    ):
        assert first.stop() == 0
        assert second.stop() == 0
    assert first.log_file.parent == second.log_file.parent
    assert "second" not in first.log_file.read_text()
    assert "first" not in second.log_file.read_text()


# -- orphans, and containers ----------------------------------------------------------------------


def zombies(process: psutil.Process) -> list[int]:
    return [each.pid for each in process.children() if each.status() == psutil.STATUS_ZOMBIE]


def leave_an_orphan(daemon: Daemon, process: psutil.Process) -> None:
    """A plugin leaves an orphan and is killed; the orphan comes to the daemon, and ends there."""
    (plugin,) = process.children()
    daemon.call("orphans", "orphan", s=1)
    (orphan,) = [each for each in plugin.children(recursive=True) if each.name() == "sleep"]
    plugin.kill()
    eventually(lambda: not orphan.is_running())  # a zombie would still count as running
    assert not zombies(process)
    assert daemon.cli("start", "orphans").code == 0
    assert daemon.plugin("orphans")["last_exit"]["signal"] == "SIGKILL"


@pytest.mark.skipif(sys.platform != "linux", reason="orphans come to a subreaper, which Linux has")
def test_orphans_of_plugins_come_to_the_daemon_which_reaps_them(home: Path) -> None:
    with Daemon(home, write_plugin(home / "plugins", "orphans", ORPHANS)) as daemon:
        leave_an_orphan(daemon, psutil.Process(daemon.process.pid))
        assert daemon.stop() == 0


class Container(Daemon):
    """A daemon that is pid 1 of a namespace. Pids that it tells are of its own world, and not ours."""

    def _note_pids(self) -> None:
        pass

    @property
    def inside(self) -> psutil.Process:
        (process,) = psutil.Process(self.process.pid).children()
        return process


NAMESPACE = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]


@contextmanager
def container(home: Path, *plugins: Path) -> Iterator[Container]:
    if not shutil.which("unshare") or subprocess.run([*NAMESPACE, "true"], capture_output=True).returncode:
        pytest.skip("no pid namespace can be made here")
    with Container(home, *plugins, under=NAMESPACE) as daemon:
        assert daemon.status()["host"]["pid"] == 1
        yield daemon


def test_pid_1_of_a_container_reaps_what_it_inherits(home: Path) -> None:
    with container(home, write_plugin(home / "plugins", "orphans", ORPHANS)) as daemon:
        leave_an_orphan(daemon, daemon.inside)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_pid_1_of_a_container_ends_in_order(home: Path, number: signal.Signals) -> None:
    with container(home, write_plugin(home / "plugins", "idle")) as daemon:
        pids = [each.pid for each in daemon.inside.children()]
        assert len(pids) == 1
        daemon.inside.send_signal(number)
        assert daemon.process.wait(15) == 0
        assert all(map(is_gone, pids))
        assert daemon.said.splitlines()[-1].endswith("outboard stopped")


def catches(process: psutil.Process, number: int) -> bool:
    status = Path(f"/proc/{process.pid}/status").read_text()
    caught = next(line for line in status.splitlines() if line.startswith("SigCgt"))
    return bool(int(caught.split()[1], 16) & 1 << (number - 1))


def test_pid_1_of_a_container_ends_in_order_before_it_has_begun(home: Path) -> None:
    with container(home) as daemon:
        daemon.inside.send_signal(signal.SIGTERM)
        assert daemon.process.wait(15) == 0
        daemon._is_ready = lambda: True  # type: ignore[method-assign]  # it never gets as far
        daemon.start()
        eventually(lambda: psutil.Process(daemon.process.pid).children())
        eventually(lambda: catches(daemon.inside, signal.SIGTERM))
        daemon.inside.send_signal(signal.SIGTERM)
        assert daemon.process.wait(15) == 0
        assert "Traceback" not in daemon.said
