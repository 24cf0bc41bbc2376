"""A daemon as monitoring systems see it: `outboard metrics`, and HTTP asked by a real `curl`."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import struct
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import pytest
from prometheus_client.openmetrics import parser

from tests.support.daemon import SAMPLES, Daemon, environment, eventually, outboard
from tests.support.plugins import write_plugin

GIVEN = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TELL = """
@plugin.method
def told(ctx: Context) -> list[str | None]:
    return [ctx.traceparent, ctx.tracestate]
"""


def configured(home: Path, port: int | str = 0, **more: str) -> list[str | Path]:
    lines = ["[host]", f"metrics_port = {port}", *(f'{key} = "{value}"' for key, value in more.items())]
    (home / "outboard.toml").write_text("\n".join(lines))
    return ["--config", home / "outboard.toml"]


def curl(url: str, *words: str) -> tuple[int, str]:
    """Status and body."""
    if shutil.which("curl") is None:
        pytest.skip("there is no curl on this machine")
    command = ["curl", "-sS", "--max-time", "10", "-w", "\n%{http_code}", *words, url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=15, check=True)
    body, _, status = done.stdout.rpartition("\n")
    return int(status), body


def sample(text: str, name: str, **labels: str) -> float:
    """The value of the one sample that has these labels."""
    found = [
        each.value
        for family in parser.text_string_to_metric_families(text)
        for each in family.samples
        if each.name == name and labels.items() <= each.labels.items()
    ]
    assert len(found) == 1, (name, labels, found)
    return found[0]


@pytest.fixture
def watched(home: Path) -> Iterator[Daemon]:
    with Daemon(home, SAMPLES / "hello", words=configured(home)) as daemon:
        yield daemon


def url_of(daemon: Daemon) -> Any:
    return daemon.status()["host"]["metrics_url"]


def test_curl_gets_metrics_that_the_parser_understands(watched: Daemon) -> None:
    watched.call("hello", "greet", name="Ada")
    status, text = curl(url_of(watched), "-H", "Accept: application/openmetrics-text")
    assert status == 200
    labels = {"plugin": "hello", "method": "greet"}
    assert sample(text, "outboard_calls_total", **labels, result="ok") == 1
    assert sample(text, "outboard_call_duration_seconds_count", **labels) == 1
    assert 0 < sample(text, "outboard_call_duration_seconds_sum", **labels) < 10
    assert sample(text, "outboard_plugin_up", plugin="hello") == 1
    assert sample(text, "outboard_build_info") == 1


def test_the_address_is_in_status_and_in_the_log(watched: Daemon) -> None:
    assert url_of(watched).startswith("http://127.0.0.1:")
    assert url_of(watched) in watched.said


def test_readiness_follows_the_plugins_and_health_does_not(watched: Daemon) -> None:
    ready, healthy = urljoin(url_of(watched), "/readyz"), urljoin(url_of(watched), "/healthz")
    assert curl(ready)[0] == 200
    pid = watched.plugin("hello")["pid"]
    for _ in range(6):  # one more than is borne
        os.kill(pid, signal.SIGKILL)
        state = watched.until_state("hello", "quarantined", "backoff")["state"]
        if state == "quarantined":
            break
        watched.cli("start", "hello")
        pid = watched.plugin("hello")["pid"]
    watched.until_state("hello", "quarantined")
    status, body = curl(ready)
    seen = json.loads(body)
    assert status == 503
    assert [(p["name"], p["state"]) for p in seen["missing"]] == [("hello", "quarantined")]
    assert curl(healthy)[0] == 200
    watched.cli("stop", "hello")  # on purpose: nobody misses it
    assert curl(ready)[0] == 200


def test_a_browsers_request_for_another_host_is_refused(watched: Daemon) -> None:
    assert curl(url_of(watched), "-H", "Host: evil.example")[0] == 403
    assert curl(url_of(watched), "-X", "POST", "-d", "x=1")[0] == 405
    assert curl(urljoin(url_of(watched), "/nothing"))[0] == 404
    assert curl(url_of(watched), "-I")[0] == 200


def test_the_command_prints_the_same_families_without_any_port(daemon: Daemon) -> None:
    assert url_of(daemon) is None
    daemon.call("hello", "greet", name="Ada")
    done = daemon.cli("metrics")
    assert (done.code, done.err) == (0, "")
    assert done.out.endswith("# EOF\n")
    assert sample(done.out, "outboard_calls_total", plugin="hello", method="greet", result="ok") >= 1
    as_json = daemon.cli("metrics", "--json").json
    assert as_json["schema"] == 1
    names = [family.name for family in parser.text_string_to_metric_families(done.out)]
    assert [family["name"] for family in as_json["metrics"]] == names


def test_a_port_that_is_taken_keeps_the_daemon_from_starting(home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = outboard("run", *configured(home, port), "--plugins", SAMPLES / "hello", env=environment(home))
    assert done.code == 7
    assert "error[OB702]" in done.err
    assert f"port {port}" in done.err
    assert "hello starting" not in done.err


def test_a_port_is_free_again_at_once_for_the_next_daemon(home: Path) -> None:
    with Daemon(home, SAMPLES / "hello", words=configured(home)) as first:
        port = int(url_of(first).split(":")[2].split("/")[0])
        with socket.create_connection(("127.0.0.1", port)):  # somebody watches it go
            assert first.stop() == 0
    with Daemon(home, SAMPLES / "hello", words=configured(home, port)) as second:
        assert curl(url_of(second))[0] == 200


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "192.168.0.1", "localhost", ""])
def test_only_this_machine_is_listened_to(home: Path, address: str) -> None:
    words = configured(home, metrics_address=address)
    done = outboard("run", *words, env=environment(home))
    assert done.code == 6
    assert "outboard.toml:3: host.metrics_address" in done.err


@pytest.mark.parametrize("port", ["-1", "65536", '"http"', "true"])
def test_a_port_is_a_number_that_a_port_can_have(home: Path, port: str) -> None:
    done = outboard("run", *configured(home, port), env=environment(home))
    assert done.code == 6
    assert "outboard.toml:2: host.metrics_port" in done.err


def test_a_call_from_the_command_line_goes_on_in_the_trace_of_its_caller(home: Path) -> None:
    with Daemon(home, write_plugin(home / "plugins", "teller", TELL)) as daemon:
        told = daemon.cli("call", "teller", "told", TRACEPARENT=GIVEN, TRACESTATE="a=b")
        assert told.json == [GIVEN, "a=b"]
        for nonsense in ("", "nonsense", GIVEN + "-more"):
            parent, state = daemon.cli("call", "teller", "told", TRACEPARENT=nonsense).json
            assert parent != GIVEN
            assert state is None
        daemon.cli("call", "teller", "nothing", TRACEPARENT=GIVEN)
        line = json.loads(daemon.cli("logs", "teller", "--json", "-n", "1").out)
        assert line["trace_id"] == GIVEN.split("-")[1]
        kept = [json.loads(text) for text in daemon.log_file.read_text().splitlines()]
        assert eventually(lambda: any(record.get("trace_id") == line["trace_id"] for record in kept))


def test_a_client_that_resets_its_connection_costs_the_daemon_nothing(watched: Daemon) -> None:
    address = urlsplit(url_of(watched))
    assert address.hostname is not None
    for _ in range(30):
        with socket.create_connection((address.hostname, address.port), timeout=10) as client:
            with suppress(ConnectionError):  # the daemon has had enough of it
                client.sendall(b"GET /metrics HTTP/1.1\r\n" * 10_000)
                client.recv(100)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert watched.cli("status").code == 0
    assert "Traceback" not in watched.said
