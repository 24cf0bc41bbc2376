"""States that tell the truth, why a plugin is down, and what an operator does about it."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from host.cli.why import explained
from tests.support.daemon import Daemon, eventually
from tests.support.plugins import ECHO, write_plugin, write_raw_plugin

DYING = ECHO + "\nthreading.Timer({after_s}, os._exit, (4,)).start()\n"
QUICK = {"intensity": 2, "backoff_min": "10ms", "backoff_max": "20ms"}


@pytest.mark.parametrize(
    ("code", "kind", "words", "fix"),
    [
        ("import nowhere_to_be_found", "missing-module", "nowhere_to_be_found", 'dependencies = ["nowhere'),
        ("raise ValueError('no licence')", "exception", "ValueError: no licence", ""),
        ("os._exit(3)", "exit-code", "exit code 3", ""),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "signal", "SIGSEGV", ""),
        ("raise MemoryError", "limit", "MemoryError (limits.memory", "limits.memory"),
    ],
)
def test_why_tells_the_cause_the_last_words_and_what_to_type(
    home: Path, code: str, kind: str, words: str, fix: str
) -> None:
    plugin = write_plugin(home, "victim", code, restart=QUICK)
    with Daemon(home, plugin) as daemon:
        daemon.until_state("victim", "quarantined")
        told = daemon.cli("why", "victim", "--json").json
        newest = told["causes"][0]
        assert newest["kind"] == kind
        assert words in newest["text"]
        assert fix in (told["fix"] or "")
        assert told["next"][0] == "outboard release victim"
        assert told["next_start_in_s"] == pytest.approx(600, abs=30)
        shown = daemon.cli("why", "victim")
        assert shown.code == 0
        assert words in shown.out
        assert "outboard release victim" in shown.out
        assert daemon.cli("status").code == daemon.cli("status", "victim").code == 3
        (plugin / "main.py").write_text(
            (plugin / "main.py").read_text(encoding="utf-8").replace(code, ECHO), encoding="utf-8"
        )
        assert daemon.cli("release", "victim").out == "victim is released and runs\n"
        assert daemon.cli("status").code == 0


def test_a_missing_interpreter_is_named_and_found_once_it_is_there(home: Path) -> None:
    plugin = write_raw_plugin(home, "victim", "handshake()\nserve()\n")
    manifest = plugin / "plugin.toml"
    text = manifest.read_text(encoding="utf-8")
    manifest.write_text(re.sub(r'"[^"]*python[^"]*"', '"noode"', text), encoding="utf-8")
    with Daemon(home, plugin) as daemon:
        told = daemon.cli("why", "victim", "--json").json
        assert (told["state"], told["causes"][0]["kind"]) == ("waiting", "missing-program")
        assert "noode" in told["reason"]
        assert "noode" in told["fix"]
        assert daemon.cli("status").code == 3
        manifest.write_text(text, encoding="utf-8")
        assert "its manifest has changed" in daemon.cli("reload").out
        assert daemon.cli("status").code == 0


@pytest.mark.parametrize("after_s", [0.0, 0.3])
def test_a_crash_loop_is_never_called_running_and_never_exits_with_zero(home: Path, after_s: float) -> None:
    code = DYING.format(after_s=after_s)
    plugin = write_plugin(home, "victim", code, restart={"intensity": 4, "backoff_min": "10ms"})
    with Daemon(home, plugin) as daemon:
        eventually(lambda: daemon.plugin("victim")["restarts"] >= 1)
        seen: set[tuple[str, int]] = set()

        def given_up() -> bool:
            status: Any = daemon.plugin("victim")
            seen.add((status["state"], status["restarts"]))
            return bool(status["state"] == "quarantined")

        codes = {daemon.cli("status").code for _ in range(3)}
        eventually(given_up)
        assert codes == {3}
        assert "running" not in {state for state, restarts in seen if restarts}


def test_after_one_crash_it_is_believed_again_once_it_has_stayed_up(home: Path) -> None:
    with Daemon(home, write_plugin(home, "victim", restart=QUICK)) as daemon:
        os.kill(daemon.plugin("victim")["pid"], signal.SIGKILL)
        crashed = daemon.until_state("victim", "degraded")
        assert crashed["substate"] == "probation"
        assert daemon.call("victim", "echo", value=1) == 1  # it serves nevertheless
        assert daemon.cli("status").code == 3
        daemon.until_state("victim", "running")
        assert daemon.cli("status").code == 0


def test_disabled_and_quarantined_survive_a_killed_daemon(home: Path) -> None:
    write_plugin(home / "plugins", "looping", "os._exit(5)", restart=QUICK)
    write_plugin(home / "plugins", "off")
    with Daemon(home, home / "plugins") as daemon:
        daemon.until_state("looping", "quarantined")
        assert daemon.cli("disable", "off").out == "off is disabled\n"
        daemon.stop(signal.SIGKILL)
        daemon.start()
        states = {plugin["name"]: plugin["state"] for plugin in daemon.status()["plugins"]}
        assert states == {"looping": "quarantined", "off": "disabled"}
        assert daemon.cli("why", "looping", "--json").json["causes"][0]["exit_code"] == 5
        assert daemon.cli("status", "off").code == 0
        refused = daemon.cli("start", "off", "--json")
        assert (refused.code, refused.error["code"]) == (7, "OB502")
        assert daemon.cli("call", "off", "echo", "--json").error["code"] == "OB401"
        assert daemon.cli("enable", "off").code == 0
        assert daemon.call("off", "echo", value=1) == 1


def test_operators_words_hold_whatever_moment_the_daemon_is_killed_at(home: Path) -> None:
    """What was answered is on the disk: a kill right after the answer loses nothing."""
    write_plugin(home / "plugins", "off")
    with Daemon(home, home / "plugins") as daemon:
        for verb, state in [("disable", "disabled"), ("enable", "running"), ("disable", "disabled")] * 2:
            began_at = time.monotonic()
            assert daemon.cli(verb, "off").code == 0
            daemon.stop(signal.SIGKILL)
            daemon.start()
            assert daemon.plugin("off")["state"] == state
            assert time.monotonic() - began_at < 30


def cause(at: float) -> dict[str, Any]:
    about = {"kind": "exit-code", "text": "exit code 4", "generation": 1, "incident": "", "up_s": None}
    return about | {"at": at, "killed_by_host": False, "in_flight": [], "stack": [], "stderr": []}


@pytest.mark.parametrize(
    ("ends", "words"), [(1, None), (2, "and once before in the same way, at "), (3, "and 2 times before")]
)
def test_ends_of_one_kind_are_counted_as_a_person_would_say_it(ends: int, words: str | None) -> None:
    about = {"name": "victim", "state": "backoff", "since": 0.0, "reason": "", "fix": None, "expected": True}
    causes = [cause(100.0 - number) for number in range(ends)]
    told = about | {"next_start_in_s": None, "causes": causes, "history": [], "next": []}
    text = explained(told)
    assert words in text if words is not None else "before" not in text
