"""Many commands at once, and commands that are given up."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

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


def test_control_c_at_any_moment_is_heard_at_once_and_is_no_traceback(daemon: Daemon) -> None:
    as_usual = {name: value for name, value in daemon.env.items() if name != "PYTHONWARNINGS"}
    for after_s in (0.02, 0.03, 0.04, 0.05, 0.06, 0.08, 0.1, 0.12):
        # Told to make errors of warnings, Python imports them before all else, and loses an interrupt there.
        begun = daemon.begin("call", "tester", "nap", "s=30", whole=True, env=as_usual)
        with pytest.raises(subprocess.TimeoutExpired):
            begun.wait(after_s)
        begun.send_signal(signal.SIGINT)
        code, _, said = end(begun)
        # earlier than our first line, Python itself is what is interrupted
        is_early = b"site" in said or b"frozen" in said or b"Exception ignored" in said
        assert is_early or (code in (130, -signal.SIGINT) and said.strip() == b""), said
    eventually(lambda: daemon.plugin("tester")["calls"]["in_flight"] == 0)


def test_a_shell_sees_130_for_an_interrupt_during_the_imports(daemon: Daemon) -> None:
    """The interrupt comes from an import of ours, which is as exact as it can be."""
    code = "import builtins, os, signal, host.cli\nreal = builtins.__import__\n"
    code += "def interrupting(name, *rest):\n"
    code += "    if name == 'host.cli.app': os.kill(os.getpid(), signal.SIGINT)\n"
    code += "    return real(name, *rest)\n"
    code += "builtins.__import__ = interrupting\nhost.cli.main()"
    script = '"$@"; echo "exit code $?"'
    ran = subprocess.run(
        ["bash", "-c", script, "sh", sys.executable, "-c", code, "status"],
        env=daemon.env,
        capture_output=True,
        text=True,
        timeout=15,
    )
    assert (ran.stdout, "Traceback" in ran.stderr) == ("exit code 130\n", False)
