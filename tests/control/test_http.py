"""What the daemon answers over HTTP, to clients that are careful and to others. Real sockets, a real host."""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import anyio
import anyio.to_thread
import pytest
from prometheus_client.openmetrics import parser

from host.control import http
from host.control.pages import Pages, wants_openmetrics
from host.errors import DaemonRefused
from tests.support.plugins import make_host, write_plugin

pytestmark = pytest.mark.anyio

WHOLE = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Served:
    """Pages at a port. Whatever a test does, they answer at its end."""

    def __init__(self, url: str, pages: Pages) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        assert parts.port is not None
        self.place = (parts.hostname, parts.port)
        self.pages = pages

    @contextmanager
    def connection(self) -> Iterator[socket.socket]:
        with socket.create_connection(self.place, timeout=10) as client:
            yield client

    async def say(self, data: bytes) -> Answer:
        """What comes back for `data`."""

        def blocking() -> Answer:
            with self.connection() as client:
                client.sendall(data)
                return answer_of(client, is_head=data.startswith(b"HEAD"))

        return await on_thread(blocking)

    async def get(self, path: str, *headers: str, method: str = "GET") -> Answer:
        lines = [f"{method} {path} HTTP/1.1", *(headers or ["Host: localhost"]), "", ""]
        return await self.say("\r\n".join(lines).encode())


async def on_thread(blocking: Callable[[], Any]) -> Any:
    with anyio.fail_after(15):
        return await anyio.to_thread.run_sync(blocking)


def answer_of(client: socket.socket, *, is_head: bool = False, rest: bytes = b"") -> Answer:
    """The next answer; what comes after it must be nothing, or belongs to the next call."""
    while b"\r\n\r\n" not in rest:
        data = client.recv(65536)
        assert data, rest
        rest += data
    head, body = rest.split(b"\r\n\r\n", 1)
    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    while not is_head and len(body) < int(headers["content-length"]):
        data = client.recv(65536)
        assert data
        body += data
    return Answer(int(first.split()[1]), headers, body)


def is_closed(client: socket.socket) -> bool:
    """Whether the other end closes, within the client's timeout."""
    try:
        return client.recv(65536) == b""
    except ConnectionResetError:
        return True


@asynccontextmanager
async def serving(tmp_path: Path, *plugins: Path, address: str = "127.0.0.1") -> AsyncIterator[Served]:
    """Pages of a host with `plugins`; most of what is asked here is about none."""
    none = tmp_path / "none"
    none.mkdir()
    async with make_host(tmp_path, none, *plugins) as host, anyio.create_task_group() as tasks:
        pages = Pages(host)
        pages.is_started = True
        port = http.Port(address, 0)
        tasks.start_soon(port.serve, pages)
        served = Served(port.url, pages)
        yield served
        assert (await served.get("/healthz")).status == 200
        tasks.cancel_scope.cancel()


async def test_metrics_are_text_for_people_and_openmetrics_for_who_asks_for_it(tmp_path: Path) -> None:
    async with serving(tmp_path, write_plugin(tmp_path, "echo")) as served:
        for_people = await served.get("/metrics", "Host: localhost", "Accept: */*")
        assert for_people.status == 200
        assert for_people.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        accept = "Accept: application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"
        asked = await served.get("/metrics", "Host: localhost", accept)
        kind = "application/openmetrics-text; version=1.0.0; charset=utf-8"
        assert asked.headers["content-type"] == kind
        names = {family.name for family in parser.text_string_to_metric_families(asked.body.decode())}
        assert "outboard_plugin_up" in names


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        ("application/openmetrics-text", True),
        ("text/plain;q=0.5, Application/OpenMetrics-Text; version=1.0.0; q=0.1", True),
        *(("application/openmetrics-text;q=0", False), ("application/openmetrics-text; q=0.00", False)),
        *(("", False), ("*/*", False), ("text/plain", False), (";;,,;q", False)),
    ],
)
async def test_an_accept_header_is_taken_at_its_word(accept: str, wanted: bool) -> None:
    assert wants_openmetrics(accept) is wanted


async def test_ready_is_who_has_every_plugin_that_ought_to_run(tmp_path: Path) -> None:
    broken = write_plugin(tmp_path, "broken", "raise RuntimeError('not today')")
    lazy = write_plugin(tmp_path, "lazy", start={"mode": "lazy"})
    async with serving(tmp_path, broken, lazy, write_plugin(tmp_path, "echo")) as served:
        seen = await served.get("/readyz")
        assert seen.status == 503
        assert seen.json["ready"] is False
        assert [plugin["name"] for plugin in seen.json["missing"]] == ["broken"]
        assert "not today" in seen.json["missing"][0]["reason"]
        assert (await served.get("/healthz")).json["status"] == "ok"


async def test_ready_is_nobody_before_the_plugins_have_been_started_once(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        assert (await served.get("/readyz")).json == {"ready": True, "starting": False, "missing": []}
        served.pages.is_started = False
        seen = await served.get("/readyz")
        assert (seen.status, seen.json) == (503, {"ready": False, "starting": True, "missing": []})


async def test_before_the_host_is_entered_it_lives_and_is_not_ready(tmp_path: Path) -> None:
    pages = Pages(make_host(tmp_path))
    statuses = [
        (await pages.answer("GET", f"/{name}", {})).status for name in ("healthz", "readyz", "metrics")
    ]
    assert statuses == [200, 503, 503]


@pytest.mark.parametrize("path", ["/metrics", "/healthz", "/readyz"])
async def test_head_has_the_length_and_nothing_else(tmp_path: Path, path: str) -> None:
    async with serving(tmp_path) as served:
        with served.connection() as client:
            client.sendall(f"HEAD {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
            answer = await on_thread(lambda: answer_of(client, is_head=True))
            assert answer.status == 200
            assert int(answer.headers["content-length"]) > 0
            assert answer.body == b""
            assert await on_thread(lambda: is_closed(client))


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        *(("GET / HTTP/1.1", 404), ("GET /metrics/ HTTP/1.1", 404), ("GET //metrics HTTP/1.1", 404)),
        *(("GET /../metrics HTTP/1.1", 404), ("GET http://[ HTTP/1.1", 404), ("OPTIONS * HTTP/1.1", 404)),
        *(("POST /metrics HTTP/1.1", 405), ("DELETE /healthz HTTP/1.1", 405), ("get /metrics HTTP/1.1", 405)),
        *(("GET /metrics?x=y HTTP/1.1", 200), ("GET http://localhost/healthz HTTP/1.1", 200)),
    ],
)
async def test_there_are_three_pages_to_get_and_nothing_to_change(
    tmp_path: Path, request_line: str, status: int
) -> None:
    async with serving(tmp_path) as served:
        answer = await served.say(f"{request_line}\r\nHost: localhost\r\n\r\n".encode())
        assert answer.status == status
        assert ("allow" in answer.headers) is (status == 405)


@pytest.mark.parametrize("name", ["localhost", "LOCALHOST:9464", "127.0.0.1", "127.0.0.1:1", "[::1]:9464"])
async def test_this_machine_may_be_called_by_its_names(tmp_path: Path, name: str) -> None:
    async with serving(tmp_path) as served:
        assert (await served.get("/healthz", f"Host: {name}")).status == 200


@pytest.mark.parametrize(
    "name",
    [
        *("evil.example", "evil.example:9464", "localhost.evil.example", "127.0.0.1.evil.example", ""),
        *("127.0.0.2", "localhost:", "localhost:x", "[::1", "localhost@evil.example", "localhost, evil"),
    ],
)
@pytest.mark.parametrize("path", ["/metrics", "/healthz", "/readyz", "/"])
async def test_a_page_in_a_browser_that_has_its_name_point_here_learns_nothing(
    tmp_path: Path, name: str, path: str
) -> None:
    answer = await Pages(make_host(tmp_path)).answer("GET", path, {"host": name})
    assert answer.status == 403


BROKEN = [
    (b"\0" * 9000, 400),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    (b"GET\r\n\r\n", 400),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    (b"GET /healthz HTTP/1.1\r\n\r\n", 400),
    (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n", 400),
    (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n bad folding\0\r\n\r\n", 400),
    (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 20_000 + b"\r\n\r\n", 431),
    (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 3_000 + b"\r\n", 431),
    (b"GET /" + b"x" * 20_000, 431),
    (b"POST /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999\r\n\r\n" + b"x" * 20_000, 413),
    (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n", 400),
    (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
    (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
    (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", 400),
]


@pytest.mark.parametrize(("data", "status"), BROKEN, ids=lambda value: repr(value)[:60])
async def test_what_is_no_request_is_refused_and_the_connection_closed(
    tmp_path: Path, data: bytes, status: int
) -> None:
    async with serving(tmp_path) as served:
        with served.connection() as client:

            def talk() -> Answer:
                client.sendall(data)
                answer = answer_of(client)
                assert is_closed(client)
                return answer

            answer = await on_thread(talk)
            assert answer.status == status
            assert answer.headers["connection"] == "close"


async def test_a_small_body_is_read_and_ignored(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        with_body = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello"
        with served.connection() as client:

            def talk() -> list[int]:
                client.sendall(with_body)
                first = answer_of(client).status
                client.sendall(WHOLE)
                return [first, answer_of(client).status]

            assert await on_thread(talk) == [200, 200]


async def test_an_upgrade_is_not_taken_up(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        upgrade = ("Host: localhost", "Connection: Upgrade", "Upgrade: h2c")
        answer = await served.get("/healthz", *upgrade)
        assert (answer.status, answer.headers["connection"]) == (200, "close")


async def test_an_old_client_without_a_host_header_is_answered_once(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        answer = await served.say(b"GET /healthz HTTP/1.0\r\n\r\n")
        assert (answer.status, answer.headers["connection"]) == (200, "close")


async def test_requests_that_come_in_one_piece_are_answered_in_order(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        with served.connection() as client:

            def talk() -> bytes:
                client.sendall(WHOLE + WHOLE.replace(b"/healthz", b"/nothing") + WHOLE)
                client.shutdown(socket.SHUT_WR)
                seen = b""
                while data := client.recv(65536):
                    seen += data
                return seen

            seen = await on_thread(talk)
            assert re.findall(rb"HTTP/1.1 (.*)\r\n", seen) == [b"200 OK", b"404 Not Found", b"200 OK"]


async def test_a_connection_has_so_many_requests_and_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "MAX_REQUESTS", 3)
    async with serving(tmp_path) as served:
        with served.connection() as client:

            def talk() -> list[str | None]:
                said = []
                for _ in range(3):
                    client.sendall(WHOLE)
                    said.append(answer_of(client).headers.get("connection"))
                assert is_closed(client)
                return said

            assert await on_thread(talk) == [None, None, "close"]


@pytest.mark.parametrize(
    "begun", [WHOLE[:20], b"POST /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nx"]
)
async def test_a_request_that_does_not_end_has_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, begun: bytes
) -> None:
    monkeypatch.setattr(http, "REQUEST_S", 0.2)
    async with serving(tmp_path) as served:
        assert (await served.say(begun)).status == 408


async def test_bytes_that_trickle_do_not_buy_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "REQUEST_S", 0.3)
    async with serving(tmp_path) as served:
        with served.connection() as client:

            def talk() -> int:
                client.settimeout(0.05)  # the pace of the trickle
                sent = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: "
                client.sendall(sent)
                for _ in range(200):
                    try:
                        return answer_of(client).status
                    except TimeoutError:
                        client.sendall(b"x")
                raise AssertionError("it was still listened to")

            assert await on_thread(talk) == 408


async def test_a_connection_that_says_nothing_is_closed_without_a_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "REQUEST_S", 0.2)
    async with serving(tmp_path) as served:
        with served.connection() as client:
            assert await on_thread(lambda: is_closed(client))


async def test_connections_that_say_nothing_make_room_for_those_that_do(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:

        def talk() -> tuple[list[int], int]:
            silent = [socket.create_connection(served.place, timeout=10) for _ in range(60)]
            for one in silent[::2]:
                one.sendall(WHOLE[:10])
            answered = []
            for _ in range(5):
                with served.connection() as client:
                    client.sendall(WHOLE)
                    answered.append(answer_of(client).status)
            # All but the last few were told to go at once, and not when their time was up.
            closed = sum(is_closed(one) for one in silent[: 60 - http.MAX_CONNECTIONS])
            for one in silent:
                one.close()
            return answered, closed

        answered, closed = await on_thread(talk)
        assert answered == [200] * 5
        assert closed == 60 - http.MAX_CONNECTIONS


async def test_clients_that_leave_in_the_middle_hurt_nobody(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:

        def talk() -> None:
            for cut in range(len(WHOLE) + 1):
                with served.connection() as client:
                    client.sendall(WHOLE[:cut])

        await on_thread(talk)


async def test_a_reader_that_does_not_read_is_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "SEND_S", 0.3)
    monkeypatch.setattr(http, "MAX_REQUESTS", 1_000_000)
    async with serving(tmp_path) as served:
        with served.connection() as client:

            def flood() -> bool:
                client.setblocking(True)
                client.settimeout(10)
                ends_at = time.monotonic() + 20
                try:
                    while time.monotonic() < ends_at:  # the kernel may take megabytes before it matters
                        client.sendall(WHOLE.replace(b"/healthz", b"/metrics"))
                except (BrokenPipeError, ConnectionResetError):
                    return True
                return False

            assert await on_thread(flood)


async def test_the_other_loopback_address_can_be_had(tmp_path: Path) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no ::1")
    async with serving(tmp_path, address="::1") as served:
        assert served.place[0] == "::1"
        assert (await served.get("/healthz", "Host: [::1]")).status == 200


async def test_a_port_that_is_taken_is_refused_with_its_number() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(DaemonRefused) as caught:
            http.Port("127.0.0.1", port)
    assert str(port) in str(caught.value)
    assert caught.value.hint is not None
