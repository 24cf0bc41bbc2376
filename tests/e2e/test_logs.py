"""What is kept of what happened: in memory for `outboard logs`, and in a file."""

from __future__ import annotations

import json
import os
import signal
from datetime import datetime
from pathlib import Path

import pytest

from tests.e2e.conftest import TESTER
from tests.support.daemon import Daemon
from tests.support.plugins import QUICK, write_plugin

KEYS = ["time", "level", "event", "plugin", "pid", "generation", "call_id", "message", "trace_id"]


def test_logs_tell_what_a_plugin_said_and_what_became_of_it(home: Path) -> None:
    tester = write_plugin(home / "plugins", "tester", TESTER, restart=QUICK)
    other = write_plugin(home / "plugins", "other")
    with Daemon(home, tester, other) as daemon:
        daemon.call("tester", "say", message="a word\nand another")
        daemon.cli("call", "tester", "sorry")
        first = daemon.plugin("tester")["pid"]
        os.kill(first, signal.SIGKILL)
        daemon.until_state("tester", "backoff", "starting", "running")
        assert daemon.cli("start", "tester").code == 0

        records = [json.loads(line) for line in daemon.cli("logs", "tester", "--json").out.splitlines()]
        assert all(list(record) == KEYS for record in records)
        assert {record["plugin"] for record in records} == {"tester"}
        times = [datetime.fromisoformat(record["time"]) for record in records]
        assert times == sorted(times)
        told = [(record["event"], record["level"], record["message"]) for record in records]
        assert ("log", "warning", "a word\nand another") in told
        assert ("stderr", "info", "stderr: a word") in told
        assert any(event == "call" and "no luck today" in message for event, _, message in told)
        assert [m.split(":")[0] for event, _, m in told if event == "state"] == [
            *("starting", "running", "backoff", "starting", "degraded")
        ]
        running = next(r for r in records if r["event"] == "state" and r["message"] == "running")
        assert (running["pid"], running["generation"]) == (first, 1)

        in_file = daemon.log_file.read_text().splitlines()
        assert all(list(json.loads(line)) == KEYS for line in in_file)
        assert set(daemon.cli("logs", "--json").out.splitlines()) <= set(in_file)
        assert [json.loads(line)["plugin"] for line in in_file].count("other") == 2


def test_a_message_of_many_lines_is_indented_for_people(daemon: Daemon) -> None:
    daemon.call("tester", "say", message="first\nsecond")
    shown = daemon.cli("logs", "tester").out
    assert " warning tester first\n    second\n" in shown


@pytest.mark.parametrize("lines", [0, 1, 3])
def test_lines_are_counted_from_the_end(daemon: Daemon, lines: int) -> None:
    shown = daemon.cli("logs", "--json", "-n", str(lines)).out.splitlines()
    everything = daemon.cli("logs", "--json", "-n", "4000").out.splitlines()
    assert len(shown) == lines
    assert shown == everything[len(everything) - lines :]


def test_a_daemon_logs_json_lines_on_stderr_if_it_is_told_to(home: Path) -> None:
    with Daemon(home, words=["--log-format", "json", "--log-level", "debug"]) as daemon:
        daemon.stop()
    assert all(list(json.loads(line)) == KEYS for line in daemon.said.splitlines())


def test_a_flood_of_long_lines_can_still_be_asked_for(home: Path) -> None:
    flood = """
    @plugin.method
    def flood(ctx: Context) -> None:
        for _ in range(300):
            ctx.log.info("\\u00fc" * 30_000)
    """
    with Daemon(home, write_plugin(home / "plugins", "flood", flood)) as daemon:
        daemon.call("flood", "flood")
        done = daemon.cli("logs", "-n", "4000", "--json")
        assert done.code == 0
        assert done.out
