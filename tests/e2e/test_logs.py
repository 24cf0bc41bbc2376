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


def test_since_reads_what_an_earlier_daemon_wrote(home: Path) -> None:
    tester = write_plugin(home / "plugins", "tester", TESTER)
    with Daemon(home, tester) as daemon:
        daemon.call("tester", "say", message="in another life")
        daemon.stop()
        daemon.start()
        assert "in another life" not in daemon.cli("logs").out
        told = daemon.cli("logs", "tester", "--since", "1h", "--json").out.splitlines()
        assert [json.loads(line)["message"] for line in told] == [
            *("starting: started with the host", "running", "in another life", "stderr: in another life"),
            *("stopping: the host stops", "stopped: the host stops"),
            *("starting: started with the host", "running"),
        ]
        assert (
            daemon.cli("logs", "tester", "--since", "1h", "-n", "2", "--json").out.splitlines() == told[-2:]
        )
        assert daemon.cli("logs", "--since", "0ms").out == ""
        assert daemon.cli("logs", "--since", "2999-01-01").out == ""


def test_since_needs_no_daemon_and_says_where_it_reads(home: Path) -> None:
    with Daemon(home, write_plugin(home / "plugins", "tester", TESTER)) as daemon:
        daemon.call("tester", "say", message="the last words")
        with_daemon = daemon.cli("logs", "--since", "1d", "--level", "warning", "--json").out
        daemon.stop()
        done = daemon.cli("logs", "--since", "1d", "--level", "warning", "--json")
        assert (done.code, done.out) == (0, with_daemon)
        assert "the last words" in done.out
        assert str(daemon.log_file) in done.err
        assert daemon.cli("logs").code == 8
        followed = daemon.cli("logs", "--since", "1d", "-f")
        assert followed.code == 8
        assert "the last words" in followed.out


@pytest.mark.parametrize("is_running", [True, False])
def test_lines_that_are_no_records_are_counted(home: Path, is_running: bool) -> None:
    with Daemon(home) as daemon:
        with daemon.log_file.open("ab") as file:
            file.write(b"half a rec\n\xff\n")
        if not is_running:
            daemon.stop()
        *_, last = daemon.cli("logs", "--since", "1h", "--json").out.splitlines()
        assert list(json.loads(last)) == KEYS
        assert (json.loads(last)["event"], json.loads(last)["message"][:2]) == ("skipped", "2 ")


def test_a_level_is_a_least_one(daemon: Daemon) -> None:
    daemon.call("tester", "say", message="a warning")
    told = daemon.cli("logs", "--level", "warning", "--json").out.splitlines()
    assert {json.loads(line)["level"] for line in told} <= {"warning", "error", "critical"}
    assert any(json.loads(line)["message"] == "a warning" for line in told)
    assert daemon.cli("logs", "--level", "critical").out == ""


@pytest.mark.parametrize(
    "when", ["yesterday", "10", "-1h", "5 m", "1e3s", "", "h", "2026-13-01", "9" * 20 + "d"]
)
def test_a_time_that_is_none_is_a_usage_error(daemon: Daemon, when: str) -> None:
    assert daemon.cli("logs", "--since", when).code == 2


@pytest.mark.parametrize(
    "when",
    ["500ms", "90s", "1.5h", "999999999d", "2026-01-31", "2026-01-31T12:00:00Z", "1970-01-01", "9999-12-31"],
)
def test_a_time_is_a_span_or_a_date(daemon: Daemon, when: str) -> None:
    assert daemon.cli("logs", "--since", when).code == 0
