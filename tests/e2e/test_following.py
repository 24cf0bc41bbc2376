"""Commands that go on until somebody ends them: `events -f`, `logs -f`, `status --watch`."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import TESTER
from tests.support.daemon import Daemon
from tests.support.following import Following
from tests.support.plugins import QUICK, write_plugin

FOLLOWING = [["events", "-f"], ["logs", "-f"], ["status", "--watch"], ["status", "--watch", "--json"]]


@pytest.fixture
def own(home: Path) -> Any:
    """A daemon that may be hurt."""
    with Daemon(home, write_plugin(home / "plugins", "tester", TESTER, restart=QUICK)) as daemon:
        yield daemon


def test_events_are_the_snapshot_and_then_what_happens(own: Daemon) -> None:
    with Following("events", "-f", "--json", env=own.env) as told:
        told.until(lambda text: text.count("\n") == 1)
        own.cli("call", "tester", "sorry")
        own.cli("stop", "tester")
        told.until(lambda text: '"stopped"' in text)
        events = [json.loads(line) for line in told.text.splitlines()]
        assert (events[0]["event"], events[0]["schema"]) == ("snapshot", 1)
        assert [plugin["name"] for plugin in events[0]["plugins"]] == ["tester"]
        assert (events[1]["event"], events[1]["method"]) == ("call", "sorry")
        assert [event["state"] for event in events[2:]] == ["stopping", "stopped"]
        assert {event["plugin"] for event in events[1:]} == {"tester"}
        assert told.end() == (130, "\n")


def test_events_for_people_are_a_line_each(own: Daemon) -> None:
    with Following("events", "-f", "--logs", env=own.env) as told:
        told.until(lambda text: "tester" in text)
        own.call("tester", "say", message="first\nsecond")
        own.cli("stop", "tester")
        told.until(lambda text: "stopped" in text)
        kinds = re.findall(r"^\d\d:\d\d:\d\d tester +(\w+)", told.text, re.MULTILINE)
        assert kinds[0] == "running"
        assert kinds[-2:] == ["stopping", "stopped"]
        assert "log          first\n    second" in told.text
    past = own.cli("events", "tester").out
    assert re.findall(r"^\d\d:\d\d:\d\d tester +(\w+)", past, re.MULTILINE) == [
        *("starting", "running", "stopping", "stopped")
    ]
    assert own.cli("events", "-n", "1", "--json").json["state"] == "stopped"


def test_logs_go_on_after_the_last_lines_without_a_gap_or_a_double(own: Daemon) -> None:
    own.call("tester", "say", message="before")
    with Following("logs", "tester", "-f", "--since", "1h", "--json", env=own.env) as told:
        told.until(lambda text: "before" in text)
        for number in range(20):
            own.call("tester", "say", message=f"number {number}")
        told.until(lambda text: "stderr: number 19" in text)
        records = [json.loads(line) for line in told.text.splitlines()]
        said = [record["message"] for record in records if record["event"] == "log"]
        assert said == ["before", *(f"number {number}" for number in range(20))]


@pytest.mark.parametrize("words", FOLLOWING, ids=" ".join)
def test_control_c_ends_it_in_good_order(daemon: Daemon, words: list[str]) -> None:
    with Following(*words, env=daemon.env) as told:
        told.until(lambda text: text)
        code, said = told.end()
        assert (code, said.strip()) == (130, "")


@pytest.mark.parametrize("words", [["events", "-f"], ["logs", "-f"]], ids=" ".join)
def test_it_ends_when_nobody_reads_any_more(daemon: Daemon, words: list[str]) -> None:
    with Following(*words, env=daemon.env) as told:
        told.until(lambda text: text)
        told.hang_up()
        assert told.process.wait(15) in (0, 1)  # though nothing happened meanwhile


@pytest.mark.parametrize("words", [["events", "-f"], ["logs", "-f"]], ids=" ".join)
def test_it_ends_with_the_daemon(own: Daemon, words: list[str]) -> None:
    with Following(*words, env=own.env) as told:
        told.until(lambda text: text)
        own.stop()
        _, said = told.process.communicate(timeout=15)
        assert told.process.returncode == 8
        assert said.startswith(b"error[OB701]")


def test_a_watch_in_a_pipe_is_a_line_a_change_and_survives_the_daemon(own: Daemon) -> None:
    with Following("status", "-w", "-n", "0.1", env=own.env) as told:
        told.until(lambda text: re.search(r"tester +running", text))
        own.cli("stop", "tester")
        told.until(lambda text: re.search(r"tester +stopped +stopped by an operator", text))
        own.stop()
        told.until_said("no daemon, waiting: ")
        own.start()
        told.forget()
        told.until(lambda text: "tester" in text)
        code, said = told.end()
        assert code == 130
        assert said.count("no daemon, waiting: ") == 1


def test_a_watch_in_json_is_a_status_a_line_and_an_error_while_there_is_none(own: Daemon) -> None:
    with Following("status", "--watch", "--json", "-n", "0.1", env=own.env) as told:
        told.until(lambda text: text.count("\n") >= 2)
        own.stop()
        told.until(lambda text: '"ok":false' in text)
        own.start()
        seen = told.text.count("\n")
        told.until(lambda text: text.count("\n") > seen and text.endswith("\n"))
        values = [json.loads(line) for line in told.text.splitlines()]
        assert [value["error"]["code"] for value in values if "error" in value] == ["OB701"]
        assert values[0]["schema"] == values[-1]["schema"] == 1
        assert told.end()[0] == 130


def test_a_watch_on_a_terminal_keeps_to_its_size_and_gives_the_screen_back(own: Daemon) -> None:
    with Following("status", "--watch", "-n", "0.1", env=own.env, columns=80) as told:
        told.until(lambda text: "RESTARTS" in text and "tester" in text)
        assert "\x1b[?1049h" in told.seen
        told.forget()
        told.resize(40, 10)
        told.until(lambda text: re.search(r"MEMORY *\n", text))
        own.stop()
        told.until(lambda text: "no daemon, waiting" in text)
        assert told.end()[0] == 130
        told.until(lambda text: "\x1b[?1049l" in told.seen)


def test_a_watch_that_is_told_to_end_gives_the_screen_back_too(own: Daemon) -> None:
    with Following("status", "tester", "--watch", env=own.env, columns=80) as told:
        told.until(lambda text: "generation 1" in text)
        assert told.end(signal.SIGTERM)[0] == 128 + signal.SIGTERM
        told.until(lambda text: "\x1b[?1049l" in told.seen)


def test_a_watch_of_a_plugin_that_is_not_there_ends_at_once(daemon: Daemon) -> None:
    assert daemon.cli("status", "nobody", "--watch").code == 4
    assert daemon.cli("status", "--watch", "-n", "nan").code == 2
    assert daemon.cli("status", "--watch", "-n", "0").code == 2
