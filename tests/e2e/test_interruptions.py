"""Many commands at once, and commands that are given up."""

from __future__ import annotations

import signal
import subprocess

from tests.support.daemon import Daemon, eventually


def end(process: subprocess.Popen[bytes]) -> tuple[int, bytes, bytes]:
    out, said = process.communicate(timeout=15)
    return process.returncode, out, said


def nap(daemon: Daemon) -> subprocess.Popen[bytes]:
    """A call that naps, and has begun."""
    begun = daemon.begin("call", "tester", "nap", "s=30")
    eventually(lambda: daemon.plugin("tester")["note"] == "napping")
    return begun


def test_twenty_commands_at_once_are_all_answered(daemon: Daemon) -> None:
    begun = [daemon.begin("call", "hello", "greet", f"name=number {n}") for n in range(10)]
    begun += [daemon.begin("status", "--json") for _ in range(5)]
    begun += [daemon.begin("logs", "--json") for _ in range(5)]
    ended = [end(process) for process in begun]
    assert [(code, said) for code, _, said in ended] == [(0, b"")] * 20
    assert [out for _, out, _ in ended[:10]] == [f"Hello, number {n}.\n".encode() for n in range(10)]


def test_control_c_ends_the_command_with_130_and_the_call_with_it(daemon: Daemon) -> None:
    begun = nap(daemon)
    begun.send_signal(signal.SIGINT)
    code, out, said = end(begun)
    assert (code, out, said.strip()) == (130, b"", b"")
    eventually(lambda: daemon.plugin("tester")["note"] == "was cancelled")
    assert daemon.cli("call", "tester", "echo", "value=1").out == "1\n"


def test_a_client_that_vanishes_cancels_its_call_in_the_plugin(daemon: Daemon) -> None:
    begun = nap(daemon)
    begun.kill()
    begun.communicate()
    eventually(lambda: daemon.plugin("tester")["note"] == "was cancelled")
    assert daemon.plugin("tester")["calls"]["in_flight"] == 0
    assert daemon.plugin("tester")["generation"] == 1


def test_control_c_at_any_moment_is_no_traceback(daemon: Daemon) -> None:
    for after_s in (0.02, 0.04, 0.06, 0.08):
        begun = daemon.begin("call", "tester", "nap", "s=30")
        try:
            begun.wait(after_s)
        except subprocess.TimeoutExpired:
            begun.send_signal(signal.SIGINT)
        for _ in range(5):
            try:
                begun.wait(2)
                break
            except subprocess.TimeoutExpired:
                # Python drops an interrupt that meets one of its own callbacks while it imports, and a
                # person presses the keys again.
                begun.send_signal(signal.SIGINT)
        code, _, said = end(begun)
        # earlier than our first line, Python itself is what is interrupted
        interrupted = b"site" in said or b"frozen" in said or b"Exception ignored" in said
        assert code == 130 or interrupted or code == -signal.SIGINT
    eventually(lambda: daemon.plugin("tester")["calls"]["in_flight"] == 0)
