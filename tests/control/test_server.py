"""The daemon's end of the control socket against clients that are not ours."""

from __future__ import annotations

import json
import random
import select
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from host.control import server
from host.control.client import Client
from host.errors import DaemonError, OutboardError, PluginNotFound
from protocol.framing import FrameReader, frame

pytestmark = pytest.mark.anyio

NOBODY = PluginNotFound("there is no plugin `x`", hint="look")


class Params(msgspec.Struct):
    n: int = 0


class Desk:
    """Commands that answer, refuse, break, hang and overflow."""

    def __init__(self) -> None:
        self.hanging = 0
        self.cancelled = anyio.Event()
        self.began = anyio.Event()
        names = ("echo", "refuse", "fail", "hang", "much")
        self.table = {name: (Params, getattr(self, name)) for name in names}

    async def echo(self, params: Params) -> Any:
        return params.n

    async def refuse(self, params: Params) -> Any:
        raise NOBODY

    async def fail(self, params: Params) -> Any:
        raise ZeroDivisionError("a mistake of ours")

    async def much(self, params: Params) -> Any:
        return "x" * 1_000_000

    async def hang(self, params: Params) -> Any:
        self.began.set()
        try:
            await anyio.sleep_forever()
        finally:
            self.cancelled.set()


@asynccontextmanager
async def serving(tmp_path: Path, desk: Desk) -> AsyncIterator[str]:
    """The path of a socket that is served; at the end, a client of ours is still answered."""
    path = str(tmp_path / "s")
    with ExitStack() as until_served:
        async with await anyio.create_unix_listener(path) as listener, anyio.create_task_group() as tasks:
            tasks.start_soon(server.serve, listener, desk)
            yield path
            # Stays open: what ends in the very moment of a cancellation trips over asyncio itself.
            client = until_served.enter_context(Client(path))
            answer = await anyio.to_thread.run_sync(lambda: client.ask("echo", {"n": 7}, timeout=5))
            assert bytes(answer) == b"7"
            tasks.cancel_scope.cancel()


async def ask(path: str, method: str, params: Any = None) -> Any:
    def blocking() -> Any:
        with Client(path) as client:
            return msgspec.json.decode(client.ask(method, params, timeout=5))

    with anyio.fail_after(5):
        return await anyio.to_thread.run_sync(blocking)


@contextmanager
def raw(path: str) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(5)
        client.connect(path)
        yield client


def request(method: str, params: Any = None, id: int = 1) -> bytes:
    message = {"jsonrpc": "2.0", "id": id, "method": method, "params": {} if params is None else params}
    return frame(json.dumps(message).encode())


def heard(client: socket.socket) -> list[Any]:
    """The messages until the daemon closes the connection, or says one."""
    reader = FrameReader()
    while data := client.recv(65536):
        if pieces := reader.receive(data):
            return [json.loads(piece) for piece in pieces]
    return []


GARBAGE = [
    b"",
    b"\0" * 100_000,
    random.Random(0).randbytes(4096),
    b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"Content-Length: 99999999999\r\n\r\n",
    b"Content-Length: -1\r\n\r\n",
    b"Content-Length: 50\r\n\r\n{",
    b"Content-Len",
    frame(b"not json"),
    frame(b"[" * 100_000),
    frame(b"\xff\xfe"),
    frame(b"[]"),
    frame(b'{"jsonrpc":"2.0","id":1}'),
    frame(b'{"jsonrpc":"2.0","id":1,"result":{}}'),
    frame(b'{"jsonrpc":"2.0","method":"$/cancelRequest","params":{"id":99}}'),
    request("echo", {"n": "x"}),
    request("echo", [1]),
    request("echo", {"n": 10**400}),
    request("ecoh"),
    request("echo") + request("echo"),
    b"x" * 200_000,
]


@pytest.mark.parametrize("data", GARBAGE, ids=lambda data: repr(data[:16]))
async def test_garbage_hurts_nobody_but_its_sender(tmp_path: Path, data: bytes) -> None:
    async with serving(tmp_path, Desk()) as path:
        with raw(path) as client:
            await anyio.to_thread.run_sync(client.sendall, data)
            assert await ask(path, "echo", {"n": 1}) == 1
        with raw(path) as client:  # and once more, without waiting for anything
            client.sendall(data[: len(data) // 2])


async def test_errors_have_their_codes(tmp_path: Path) -> None:
    async with serving(tmp_path, Desk()) as path:
        for data, code in (
            (request("ecoh"), -32601),
            (request("echo", {"n": "x"}), -32602),
            (request("refuse"), server.FAILED),
            (request("fail"), -32603),
        ):
            with raw(path) as client:
                client.sendall(data)
                (answer,) = await anyio.to_thread.run_sync(heard, client)
                assert answer["error"]["code"] == code


async def test_an_error_of_the_host_arrives_whole(tmp_path: Path) -> None:
    async with serving(tmp_path, Desk()) as path:
        with pytest.raises(OutboardError) as caught:
            await ask(path, "refuse")
        assert (caught.value.code, caught.value.exit_code) == ("OB102", 4)
        assert caught.value.as_dict() == NOBODY.as_dict()


async def test_a_mistake_in_a_command_is_one_clients_error(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    async with serving(tmp_path, Desk()) as path:
        with pytest.raises(OutboardError, match="failed inside the daemon"):
            await ask(path, "fail")
    assert "a mistake of ours" in capfd.readouterr().err


async def test_a_client_that_goes_away_ends_what_it_asked_for(tmp_path: Path) -> None:
    desk = Desk()
    async with serving(tmp_path, desk) as path:
        with raw(path) as client, anyio.fail_after(5):
            client.sendall(request("hang"))
            await desk.began.wait()
        with anyio.fail_after(5):
            await desk.cancelled.wait()


async def test_a_request_can_be_cancelled(tmp_path: Path) -> None:
    desk = Desk()
    async with serving(tmp_path, desk) as path:
        with raw(path) as client, anyio.fail_after(5):
            client.sendall(request("hang"))
            await desk.began.wait()
            cancel = {"jsonrpc": "2.0", "method": "$/cancelRequest", "params": {"id": 1}}
            client.sendall(frame(json.dumps(cancel).encode()))
            (answer,) = await anyio.to_thread.run_sync(heard, client)
            assert answer["error"]["code"] == -32800
            assert desk.cancelled.is_set()


async def test_a_client_that_never_reads_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "SEND_S", 0.05)
    async with serving(tmp_path, Desk()) as path:
        with raw(path) as client:
            for number in range(20):
                client.sendall(request("much", id=number))
            assert await ask(path, "echo", {"n": 1}) == 1
            hung_up = select.poll()
            hung_up.register(client, 0)  # nothing but the end, which is always told
            assert await anyio.to_thread.run_sync(hung_up.poll, 5000)


async def test_connections_are_bounded_and_free_again_when_they_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "MAX_CONNECTIONS", 2)
    async with serving(tmp_path, Desk()) as path:
        with raw(path) as first, raw(path) as second:
            for client in (first, second):  # both are being served
                client.sendall(request("echo"))
                assert await anyio.to_thread.run_sync(heard, client)
            with pytest.raises(DaemonError):
                await ask(path, "echo")
            first.close()
            with anyio.fail_after(5):
                while True:
                    try:
                        assert await ask(path, "echo", {"n": 2}) == 2
                        break
                    except DaemonError:
                        continue


@pytest.mark.parametrize("data", [b"", b"Content-Le", b"Content-Length: 50\r\n\r\n{"])
async def test_clients_that_ask_nothing_do_not_keep_the_others_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: bytes
) -> None:
    monkeypatch.setattr(server, "MAX_CONNECTIONS", 2)
    monkeypatch.setattr(server, "IDLE_S", 0.1)
    async with serving(tmp_path, Desk()) as path:
        with raw(path) as first, raw(path) as second:
            for client in (first, second):
                client.sendall(data)
            for client in (first, second):
                assert await anyio.to_thread.run_sync(client.recv, 1) == b""  # it is hung up
        assert await ask(path, "echo", {"n": 1}) == 1


async def test_a_client_that_was_answered_and_asks_nothing_more_is_sent_away_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "IDLE_S", 0.1)
    async with serving(tmp_path, Desk()) as path:
        with raw(path) as client:
            client.sendall(request("echo", {"n": 3}))
            (answer,) = await anyio.to_thread.run_sync(heard, client)
            assert answer["result"] == 3
            assert await anyio.to_thread.run_sync(client.recv, 1) == b""


async def test_a_client_that_is_being_answered_may_take_as_long_as_it_likes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "IDLE_S", 0.05)
    desk = Desk()
    async with serving(tmp_path, desk) as path:
        with raw(path) as client:
            client.sendall(request("hang"))
            await desk.began.wait()
            with raw(path) as idle:  # one that came later, and is sent away for asking nothing
                assert await anyio.to_thread.run_sync(idle.recv, 1) == b""
            client.sendall(request("echo", {"n": 3}, id=2))
            (answer,) = await anyio.to_thread.run_sync(heard, client)
            assert answer["result"] == 3
            assert not desk.cancelled.is_set()


async def test_somebody_elses_socket_is_no_daemon(tmp_path: Path) -> None:
    path = str(tmp_path / "other")

    async def answer(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            await stream.receive()
            await stream.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with await anyio.create_unix_listener(path) as listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, answer)
        with pytest.raises(DaemonError):
            await ask(path, "status")
        tasks.cancel_scope.cancel()
