"""Followers: what they hear, what a slow one loses, and that nobody else notices."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from host import DaemonError, Host, PluginNotFound
from host.control import follow, server
from host.control.client import Client
from host.control.commands import Commands
from host.errors import OutboardError
from host.observability.bounded import Bounded
from host.observability.events import PluginLogged, PluginProblem
from host.observability.logs import Ring
from protocol.session import Session
from tests.support.plugins import write_plugin

pytestmark = pytest.mark.anyio


class Serving:
    def __init__(self, host: Host, path: str) -> None:
        self.host = host
        self.path = path
        self.emit = host._bus.emit

    def log(self, message: str) -> None:
        self.emit(PluginLogged(plugin="echo", level="info", message=message, source="log", generation=1))


@asynccontextmanager
async def serving(tmp_path: Path) -> AsyncIterator[Serving]:
    """A host with `echo`, and its control socket."""
    host = Host(plugins=[write_plugin(tmp_path, "echo")], data_dir=tmp_path / "data")
    ring = Ring()
    host.on_event(ring)
    commands = Commands(host, ring)
    path = str(tmp_path / "s")
    with ExitStack() as until_served:
        async with (
            host,
            await anyio.create_unix_listener(path) as listener,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(server.serve, listener, commands)
            yield Serving(host, path)
            # Stays open: what ends in the very moment of a cancellation trips over asyncio itself.
            client = until_served.enter_context(Client(path))
            await anyio.to_thread.run_sync(lambda: client.ask("status", timeout=5))
            tasks.cancel_scope.cancel()


class Peer:
    """A client on the loop, that reads when it is told to."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._session = Session("peer")
        self.items: list[Any] = []
        self.replies: list[Any] = []

    async def ask(self, method: str, **params: Any) -> Any:
        call = self._session.request(method, params)
        await self._stream.send(self._session.outbox.take())
        return call

    async def cancel(self, call: Any) -> None:
        self._session.cancel(call)
        await self._stream.send(self._session.outbox.take())

    async def until(self, condition: Any) -> None:
        """Reads until `condition(self)`."""
        with anyio.fail_after(10):
            while not condition(self):
                for event in self._session.receive(await self._stream.receive(), 0.0):
                    if hasattr(event, "params"):
                        self.items += msgspec.json.decode(event.params)["items"]
                    else:
                        self.replies.append(event)


@asynccontextmanager
async def peer(path: str) -> AsyncIterator[Peer]:
    async with await anyio.connect_unix(path) as stream:
        yield Peer(stream)


async def test_a_follower_gets_a_snapshot_and_then_every_event(tmp_path: Path) -> None:
    async with serving(tmp_path) as served, peer(served.path) as client:
        await client.ask("events", follow=True)
        await client.until(lambda me: me.items)
        assert client.items[0]["event"] == "snapshot"
        assert client.items[0]["plugins"][0]["state"] == "running"
        await served.host.stop("echo")
        served.log("not for those who follow events alone")
        served.emit(PluginProblem(file="/x/plugin.toml", message="no name"))
        await client.until(lambda me: me.items[-1]["event"] == "problem")
        assert [item.get("state", item["event"]) for item in client.items[1:]] == [
            *("stopping", "stopped", "problem")
        ]
        assert client.replies == []


async def test_a_follower_of_one_plugin_hears_of_no_other_and_of_logs_if_it_asks(tmp_path: Path) -> None:
    async with serving(tmp_path) as served, peer(served.path) as client:
        await client.ask("events", follow=True, logs=True, name="echo")
        await client.until(lambda me: me.items)
        served.emit(PluginProblem(file="/x/plugin.toml", message="no name", plugin="other"))
        served.log("a word")
        await client.until(lambda me: len(me.items) > 1)
        assert (client.items[1]["event"], client.items[1]["message"]) == ("log", "a word")


async def test_a_slow_follower_loses_the_oldest_and_is_told_how_many(tmp_path: Path) -> None:
    count = 5000
    async with serving(tmp_path) as served, peer(served.path) as client:
        await client.ask("events", follow=True, logs=True)
        await client.until(lambda me: me.items)
        for number in range(count):
            served.log(f"{number} " + "x" * 1000)
            if number % 50 == 0:
                await anyio.lowlevel.checkpoint()  # the daemon may send; nobody reads
        await client.until(lambda me: me.items[-1].get("message", "").startswith(f"{count - 1} "))
        dropped = sum(item["dropped"] for item in client.items if item["event"] == "dropped")
        heard = [item for item in client.items if item["event"] == "log"]
        assert dropped > 0
        assert len(heard) + dropped == count
        numbers = [int(item["message"].split()[0]) for item in heard]
        assert numbers == sorted(numbers)


async def test_a_follower_that_never_reads_keeps_nobody_waiting(tmp_path: Path) -> None:
    async with serving(tmp_path) as served, peer(served.path) as stuck, peer(served.path) as other:
        await stuck.ask("events", follow=True, logs=True)
        await stuck.until(lambda me: me.items)
        for _ in range(3000):
            served.log("x" * 1000)
        await other.ask("status")
        await other.until(lambda me: me.replies)
        assert await served.host.call("echo", "echo", value=1) == 1


async def test_following_ends_when_it_is_cancelled(tmp_path: Path) -> None:
    async with serving(tmp_path) as served, peer(served.path) as client:
        call = await client.ask("events", follow=True)
        await client.until(lambda me: me.items)
        await client.cancel(call)
        await client.ask("status")
        await client.until(lambda me: me.replies)  # of the second: the first has been given up
        before = len(client.items)
        served.emit(PluginProblem(file="/x", message="unheard"))
        await client.ask("status")
        await client.until(lambda me: len(me.replies) > 1)
        assert len(client.items) == before


async def test_followers_are_fewer_than_connections_and_free_when_they_leave(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "MAX_FOLLOWERS", 1)
    async with serving(tmp_path) as served:
        async with peer(served.path) as first, peer(served.path) as second:
            await first.ask("events", follow=True)
            await first.until(lambda me: me.items)
            await second.ask("logs", follow=True)
            await second.until(lambda me: me.replies)
            assert second.replies[0].error.data["code"] == "OB702"
        with anyio.fail_after(10):
            while True:
                async with peer(served.path) as third:
                    await third.ask("events", follow=True)
                    await third.until(lambda me: me.items or me.replies)
                    if third.items:
                        break


async def test_a_quiet_daemon_says_that_it_lives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "QUIET_S", 0.01)
    async with serving(tmp_path) as served:

        def batches() -> list[int]:
            with Client(served.path) as client:
                told = client.stream("events", {"follow": True})
                return [len(next(told)) for _ in range(4)]

        with anyio.fail_after(10):
            assert await anyio.to_thread.run_sync(batches) == [1, 0, 0, 0]


async def test_what_is_not_followed_ends_with_an_answer(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:

        def recent(**asked: Any) -> list[Any]:
            with Client(served.path) as client:
                return [msgspec.json.decode(i) for batch in client.stream("events", asked) for i in batch]

        with anyio.fail_after(10):
            served.log("in no list of events")
            told = await anyio.to_thread.run_sync(recent)
            assert [item["state"] for item in told] == ["starting", "running"]
            (last,) = await anyio.to_thread.run_sync(lambda: recent(lines=1, name="echo"))
            assert last == told[-1]
            with pytest.raises(OutboardError) as caught:
                await anyio.to_thread.run_sync(lambda: recent(name="nobody", follow=True))
            assert caught.value.code == PluginNotFound.code


async def test_a_daemon_that_goes_away_ends_those_who_follow(tmp_path: Path) -> None:
    heard = anyio.Event()
    ended: list[str] = []

    def follow_it(path: str) -> None:
        with Client(path) as client:
            told = client.stream("events", {"follow": True})
            next(told)
            anyio.from_thread.run_sync(heard.set)
            try:
                for _ in told:
                    pass
            except DaemonError as error:
                ended.append(error.code)

    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks, serving(tmp_path) as served:
            tasks.start_soon(anyio.to_thread.run_sync, follow_it, served.path)
            await heard.wait()
    assert ended == ["OB701"]


def test_a_bounded_queue_keeps_the_newest_and_counts_the_rest() -> None:
    queue: Bounded[int] = Bounded(3, 10)
    for number in range(5):
        queue.put(number, 1)
    assert (list(queue), queue.dropped) == ([2, 3, 4], 2)
    queue.put(5, 9)
    assert (list(queue), queue.dropped) == ([4, 5], 4)
    assert queue.take(10, 9) == [4]
    assert queue.take(10, 0) == [5]  # one at least, or it would never be taken
    assert queue.take(10, 10) == []
    queue.put(6, 11)
    assert (len(queue), queue.dropped) == (0, 5)
