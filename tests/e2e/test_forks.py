"""The forks that stand for commands in these tests: they end as processes end, and print the same."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from tests.support.daemon import Daemon, begin, environment, eventually, on_terminal, outboard
from tests.support.forks import HAS_PIDFD, Fork, _server, can_fork
from tests.support.plugins import is_gone

pytestmark = pytest.mark.skipif(not HAS_PIDFD, reason="nothing is forked on this system")


@pytest.mark.parametrize(
    "words",
    [
        *(["--help"], ["--version"], ["stauts"], ["explain", "OB401"], ["explain", "OB401", "--json"]),
        *(["call", "hello", "nothing"], ["call", "hello", "greet", "name=Ada"], ["config", "schema"]),
        ["contract", "show", "tester"],
    ],
    ids=" ".join,
)
def test_a_fork_prints_what_a_whole_process_prints(daemon: Daemon, words: list[str]) -> None:
    assert daemon.cli(*words) == daemon.cli(*words, whole=True)
    assert on_terminal(*words, env=daemon.env) == on_terminal(*words, env=daemon.env, whole=True)


def test_what_is_for_the_start_of_python_is_never_forked(home: Path) -> None:
    usual = environment(home)
    assert can_fork(usual)
    for name in ("PYTHONPATH", "PYTHONIOENCODING", "LC_ALL", "LANG"):
        assert not can_fork(usual | {name: "x"})
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    for options in ({"whole": True}, {"umask": 0}):
        with begin(["--version"], env=usual, **pipes, **options) as process:  # type: ignore[union-attr]
            assert isinstance(process, subprocess.Popen)
            process.communicate(timeout=15)


def a_run(home: Path) -> Fork:
    """A daemon that has begun."""
    process = begin(["run"], env=environment(home), stderr=subprocess.PIPE)
    assert isinstance(process, Fork)
    assert process.stderr is not None
    assert select.select([process.stderr], [], [], 15)[0]
    return process


def test_a_fork_that_is_killed_says_by_what_and_its_pid_is_its_own_until_then(home: Path) -> None:
    process = a_run(home)
    assert process.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.01)
    os.kill(process.pid, signal.SIGKILL)
    eventually(lambda: is_gone(process.pid))
    os.kill(process.pid, 0)  # nobody has reaped it yet
    assert process.communicate(15)[0] == b""
    assert process.returncode == process.wait() == -signal.SIGKILL
    process.kill()  # which is nobody now


def test_a_fork_whose_asker_is_gone_ends(home: Path) -> None:
    process = a_run(home)
    process._said.shutdown(socket.SHUT_RDWR)
    process._said.close()
    eventually(lambda: is_gone(process.pid))
    assert process.stderr is not None
    process.stderr.close()


def test_a_fork_has_a_session_of_its_own_if_it_is_asked_for(home: Path) -> None:
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL}
    for is_own in (True, False):
        process = begin(["run"], env=environment(home), start_new_session=is_own, **pipes)
        try:
            eventually(lambda: (os.getsid(process.pid) == process.pid) == is_own)  # noqa: B023
        finally:
            process.kill()
            process.communicate(timeout=15)


def test_more_words_than_a_socket_has_room_for_arrive(home: Path) -> None:
    words = ["explain", *("x" * 100_000 for _ in range(10))]
    done = outboard(*words, env=environment(home))
    assert (done.code, "unexpected extra argument" in done.err) == (2, True)


def test_whoever_ends_or_stops_before_its_request_is_sent_leaves_the_others_their_server(home: Path) -> None:
    for begun in (b"", b"\0\0", b"\0\0\0\x09xyz", b"\0\0\0\x01?"):
        ours, theirs = socket.socketpair()
        with ours, theirs:
            socket.send_fds(_server(), [b"\0"], [0, 1, 2, theirs.fileno()])
            theirs.close()
            ours.sendall(begun)
    ours, theirs = socket.socketpair()
    with ours, theirs:  # which stays, and says nothing
        socket.send_fds(_server(), [b"\0"], [0, 1, 2, theirs.fileno()])
        assert outboard("--version", env=environment(home)).code == 0
        theirs.close()
        assert ours.recv(1) == b""
