"""What programs read: the shapes of `--json`, which are public."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from host.cli.app import COMMANDS
from tests.support.daemon import SAMPLES, Daemon
from tests.support.plugins import write_plugin

HOST = {"pid", "version", "uptime_s", "socket", "mode", "loop_lag_p99_ms"}
HOST_OURS = {"metrics_url", "descendants_after_host_death", "python", "platform", "problems"}
HOST_OURS |= {"warm_start", "cgroup"}
PLUGIN = {
    *("name", "version", "state", "reason", "since", "generation", "pid", "uptime_s", "restarts"),
    *("cpu_percent", "memory_bytes", "memory_limit_bytes", "processes", "calls", "latency_ms"),
    *("next_start_in_s", "last_exit", "note"),
}
PLUGIN_OURS = {
    *("description", "start_mode", "expected", "critical", "methods", "hooks", "file"),
    *(
        "stdout_noise_bytes",
        "stderr_tail",
        "substate",
        "stuck",
        "limits",
        "store",
        "events",
        "start",
        "installed",
    ),
}
ERROR = {"code", "name", "message", "hint", "plugin", "method", "call_id", "data"}


def test_status_has_exactly_the_public_keys_and_ours(daemon: Daemon) -> None:
    seen = daemon.cli("status", "--json").json
    assert set(seen) == {"schema", "host", "plugins"}
    assert seen["schema"] == 1
    assert set(seen["host"]) == HOST | HOST_OURS
    assert seen["host"]["pid"] == daemon.process.pid
    assert seen["host"]["socket"] == daemon.socket
    assert seen["host"]["mode"] == "daemon"
    assert [plugin["name"] for plugin in seen["plugins"]] == ["hello", "tester", "text_tools"]
    for plugin in seen["plugins"]:
        assert set(plugin) == PLUGIN | PLUGIN_OURS
        limits = ["memory", "processes", "threads", "open_files", "cpu_percent", "file_size", "core"]
        assert [limit["name"] for limit in plugin["limits"]] == limits
        for limit in plugin["limits"]:
            assert set(limit) == {"name", "unit", "soft", "hard", "usage", "peak", "mechanism"}
        assert set(plugin["calls"]) == {"ok", "error", "timeout", "in_flight"}
        assert set(plugin["latency_ms"]) == {"p50", "p99"}
        assert (plugin["state"], plugin["next_start_in_s"], plugin["last_exit"]) == ("running", None, None)


def test_status_is_null_where_nothing_is_known(home: Path) -> None:
    lazy = write_plugin(home / "plugins", "lazy", start={"mode": "lazy"})
    with Daemon(home, lazy) as daemon:
        (plugin,) = daemon.cli("status", "lazy", "--json").json["plugins"]
        unknown = ("pid", "uptime_s", "cpu_percent", "memory_bytes", "processes", "last_exit", "note")
        assert [plugin[key] for key in unknown] == [None] * len(unknown)
        assert plugin["latency_ms"] == {"p50": None, "p99": None}
        assert daemon.call("lazy", "echo", value=1) == 1
        daemon.cli("stop", "lazy")
        (plugin,) = daemon.cli("status", "lazy", "--json").json["plugins"]
        assert set(plugin["last_exit"]) == {"code", "signal", "cause", "at"}
        assert plugin["last_exit"]["code"] == 0


def test_call_has_a_shape_for_success_and_one_for_failure(daemon: Daemon) -> None:
    done = daemon.cli("call", "tester", "echo", '--params={"value": [1, {"a": null}]}', "--json")
    assert set(done.json) == {"ok", "result", "elapsed_ms"}
    assert (done.json["ok"], done.json["result"]) == (True, [1, {"a": None}])
    assert done.json["elapsed_ms"] >= 0
    failed = daemon.cli("call", "tester", "sorry", "--json")
    assert set(failed.json) == {"ok", "error"}
    assert set(failed.error) >= ERROR
    assert failed.error["message"] == "no luck today"
    assert failed.error["data"] == {"luck": 0}
    assert (failed.error["remote_code"], failed.error["plugin"], failed.error["method"]) == (
        7,
        "tester",
        "sorry",
    )
    assert failed.error["call_id"]


def test_every_command_prints_one_json_value_and_nothing_else(home: Path) -> None:
    plugin = write_plugin(home, "mine")
    with Daemon(home, SAMPLES / "hello") as daemon:
        for words in (
            ["status"],
            ["status", "hello"],
            ["call", "hello", "greet", "name=you"],
            ["stop", "hello"],
            ["start", "hello"],
            ["restart", "hello"],
            ["add", plugin],
            ["remove", "mine"],
            ["remove", "hello"],
        ):
            done = daemon.cli(*words, "--json")
            assert (done.code, done.err) == (0, ""), words
            assert isinstance(done.json, dict)
            if words[0] not in ("status", "call"):
                assert done.json == {"ok": True, "name": "mine" if plugin in words else done.json["name"]}


@pytest.mark.parametrize("words", [["logs"], ["logs", "--since", "1h"], ["events"]], ids=" ".join)
def test_some_print_one_json_value_a_line(daemon: Daemon, words: list[str]) -> None:
    done = daemon.cli(*words, "--json")
    assert (done.code, done.err) == (0, "")
    assert all(isinstance(json.loads(line), dict) for line in done.out.splitlines())
    assert done.out


@pytest.mark.parametrize("command", list(COMMANDS))
def test_every_command_has_json(daemon: Daemon, command: str) -> None:
    assert " --json " in daemon.cli(command, "--help").out
    done = daemon.cli(command, "--json", "--no-such-option")
    assert (done.code, done.err) == (2, "")
    assert set(done.error) == ERROR


def test_a_daemon_that_is_refused_says_so_in_json(daemon: Daemon) -> None:
    done = daemon.cli("run", "--json")
    assert (done.code, done.error["code"]) == (7, "OB702")


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["stauts"], "`status`"),
        (["status", "--jsno"], "--json"),
        (["logs", "--level", "warnign"], "`warning`"),
        (["completion", "bsh"], "`bash`"),
        (["status", "helo"], "`hello`"),
        (["logs", "helo", "-f"], "`hello`"),
        (["events", "helo"], "`hello`"),
        (["call", "hello", "gret"], "`greet`"),
        (["call", "hello", "greet", "nam=x"], "`name`"),
        (["explain", "PluginBusi"], "`PluginBusy`"),
    ],
    ids=str,
)
def test_a_slip_is_told_what_was_probably_meant(daemon: Daemon, words: list[str], meant: str) -> None:
    done = daemon.cli(*words)
    assert done.code != 0
    assert done.out == ""
    assert "id you mean" in done.err
    assert meant in done.err


def test_a_command_line_that_makes_no_sense_is_an_error_in_json_too(daemon: Daemon) -> None:
    for words in (["stauts"], ["status", "--nope"], ["call", "hello"], ["logs", "-n", "x"], ["add"]):
        done = daemon.cli(*words, "--json")
        assert (done.code, done.err) == (2, "")
        assert set(done.error) == ERROR
        assert done.error["name"] == "UsageProblem"
