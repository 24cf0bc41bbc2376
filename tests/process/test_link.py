"""A link on a real pipe pair, with a real session at the other end of it and no process."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import anyio
import msgspec
import pytest

from host.process.deadlines import Deadlines
from host.process.driver import Driver, current_driver
from host.process.link import Expired, Link, Lost
from protocol.errors import ErrorCode, RpcError
from protocol.events import Cancelled, Event, Request
from protocol.lifecycle import InitializeParams, PluginIdentity
from protocol.session import Session
from tests.support.plugins import settled

pytestmark = pytest.mark.anyio
MIB = 1024 * 1024


class Peer:
    """The plugin's end: it reads and writes when the loop lets it, and answers what it is told to."""

    def __init__(self, driver: Driver, read_fd: int, write_fd: int) -> None:
        self.session = Session("plugin")
        self.heard: list[Event] = []
        self.answers = True
        self._driver, self.read_fd, self.write_fd = driver, read_fd, write_fd
        self._unwritten = b""
        self._more = anyio.Event()
        os.set_blocking(read_fd, False)
        os.set_blocking(write_fd, False)
        self.listen()

    def listen(self) -> None:
        self._driver.add_reader(self.read_fd, self.read)

    def stop_listening(self) -> None:
        self._driver.remove_reader(self.read_fd)

    def read(self) -> None:
        data = os.read(self.read_fd, 65536)
        for event in self.session.receive(data, 0.0) if data else self.session.receive_eof():
            self.heard.append(event)
            if isinstance(event, Request) and self.answers:
                self.session.reply(
                    event.id, {"protocol": 1} if event.method == "initialize" else event.params
                )
        self._more.set()
        self._more = anyio.Event()
        self.write()

    def write(self) -> None:
        self._unwritten += self.session.outbox.take(1 << 30)
        try:
            while self._unwritten:
                self._unwritten = self._unwritten[os.write(self.write_fd, self._unwritten) :]
            self._driver.remove_writer(self.write_fd)
        except BlockingIOError:
            self._driver.add_writer(self.write_fd, self.write)

    async def until(self, kind: type[Event], count: int = 1) -> list[Any]:
        """The first `count` events of that kind, after the handshake's."""
        with anyio.fail_after(10):
            while True:
                found = [e for e in self.heard if isinstance(e, kind) and getattr(e, "id", 0) != 1]
                if len(found) >= count:
                    return found
                await self._more.wait()

    def close(self) -> None:
        self._driver.remove_reader(self.read_fd)
        self._driver.remove_writer(self.write_fd)
        for fd in (self.read_fd, self.write_fd):
            os.close(fd)


@asynccontextmanager
async def linked() -> AsyncIterator[tuple[Link, Peer, list[Event]]]:
    """A link and its peer after the handshake, and the events that nobody waits for."""
    driver = current_driver()
    deadlines = Deadlines(driver)
    (plugin_read, write_fd), (read_fd, plugin_write) = os.pipe(), os.pipe()
    events: list[Event] = []
    peer = Peer(driver, plugin_read, plugin_write)
    session = Session("host")
    link = Link(driver, deadlines, session, write_fd=write_fd, read_fd=read_fd, on_event=events.append)
    await link.request("initialize", InitializeParams(plugin=PluginIdentity(name="p")), deadline=None)
    link.notify("initialized", {})
    try:
        yield link, peer, events
    finally:
        link.close()
        peer.close()
        deadlines.close()
        driver.close()


def soon(seconds: float) -> float:
    return time.monotonic() + seconds


async def test_a_request_is_answered_and_an_error_is_raised() -> None:
    async with linked() as (link, peer, _):
        assert msgspec.json.decode(await link.request("work", {"n": 1}, deadline=soon(5))) == {"n": 1}
        peer.answers = False
        async with anyio.create_task_group() as tasks:

            async def refuse() -> None:
                request = (await peer.until(Request, 2))[-1]
                peer.session.reply_error(request.id, RpcError(42, "no"))
                peer.write()

            tasks.start_soon(refuse)
            with pytest.raises(RpcError) as caught:
                await link.request("work", {}, deadline=soon(5))
        assert (caught.value.code, caught.value.call_id) == (42, 3)


async def test_a_full_pipe_moves_no_deadline() -> None:
    async with linked() as (link, peer, _):
        peer.stop_listening()
        began_at = time.monotonic()
        calls = [
            partial(link.request, "work", {"blob": "x" * size}, deadline=began_at + 0.3) for size in (MIB, 10)
        ]
        outcomes = await settled(calls)
        assert [type(outcome) for outcome in outcomes] == [Expired, Expired]
        assert 0.3 <= time.monotonic() - began_at < 2  # the pipe would be full for ever
        assert link.in_flight == 0
        peer.listen()  # the half that was written is completed, or nothing after it could be read
        assert msgspec.json.decode(await link.request("work", {"n": 2}, deadline=soon(5))) == {"n": 2}
        assert 3 not in {request.id for request in await peer.until(Request)}  # it was never sent


async def test_a_late_reply_is_counted_and_settles_nobody_else() -> None:
    async with linked() as (link, peer, _):
        peer.answers = False
        with pytest.raises(Expired):
            await link.request("slow", {}, deadline=soon(0.05))
        (late,) = await peer.until(Request)
        assert [cancelled.id for cancelled in await peer.until(Cancelled)] == [late.id]
        peer.session.reply(late.id, "late")
        peer.write()
        peer.answers = True
        assert msgspec.json.decode(await link.request("work", {"n": 1}, deadline=soon(5))) == {"n": 1}
        assert link.session.counts.late_replies == 1


async def test_a_reply_that_waits_in_the_pipe_is_not_late() -> None:
    async with linked() as (link, peer, _):
        peer.answers = False
        peer.stop_listening()

        async def answer_while_the_host_is_held_up() -> None:
            while getattr(peer.heard[-1], "method", "") != "work":
                await anyio.wait_readable(peer.read_fd)
                peer.read()
            peer.session.reply(2, "in time")
            peer.write()
            until = time.monotonic() + 0.15
            while time.monotonic() < until:  # the whole loop stands still, past the deadline
                pass

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(answer_while_the_host_is_held_up)
            assert bytes(await link.request("work", {}, deadline=soon(0.1))) == b'"in time"'


@pytest.mark.parametrize("how", ["move_on_after", "scope"])
async def test_cancelling_the_caller_tells_the_plugin(how: str) -> None:
    async with linked() as (link, peer, _):
        peer.answers = False
        if how == "move_on_after":
            with anyio.move_on_after(0.05) as scope:
                await link.request("slow", {}, deadline=None)
        else:
            async with anyio.create_task_group() as tasks:
                scope = tasks.cancel_scope
                tasks.start_soon(partial(link.request, "slow", {}, deadline=None))
                await peer.until(Request)
                scope.cancel()
        assert scope.cancel_called
        assert link.in_flight == 0
        (request,) = await peer.until(Request)
        assert [cancelled.id for cancelled in await peer.until(Cancelled)] == [request.id]
        peer.session.reply_error(request.id, RpcError(ErrorCode.REQUEST_CANCELLED, "cancelled"))
        peer.write()
        peer.answers = True
        assert bytes(await link.request("work", {}, deadline=soon(5))) == b"{}"


async def test_a_reply_written_before_the_end_is_delivered() -> None:
    async with linked() as (link, peer, _):
        peer.answers = False

        async def answer_and_end() -> None:
            (request,) = await peer.until(Request)
            peer.session.reply(request.id, "last words")
            peer.write()
            link.lost("the plugin ended")

        outcomes = await settled([partial(link.request, "work", {}, deadline=soon(5)), answer_and_end])
        assert bytes(outcomes[0]) == b'"last words"'


async def test_the_end_settles_every_call_at_once_with_its_reason() -> None:
    async with linked() as (link, peer, events):
        peer.answers = False

        async def end() -> None:
            await peer.until(Request, 100)
            link.lost("the plugin ended: SIGKILL")
            link.lost("said twice")

        calls = [partial(link.request, "work", {}, deadline=None) for _ in range(100)]
        *outcomes, _ = await settled([*calls, end])
        assert {type(outcome) for outcome in outcomes} == {Lost}
        assert {str(outcome) for outcome in outcomes} == {"the plugin ended: SIGKILL"}
        assert len(events) == 1


async def test_the_end_of_the_file_settles_every_call_too() -> None:
    async with linked() as (link, peer, events):
        peer.answers = False

        async def end() -> None:
            await peer.until(Request, 3)
            nothing = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nothing, peer.write_fd)
            os.close(nothing)

        calls = [partial(link.request, "work", {}, deadline=None) for _ in range(3)]
        *outcomes, _ = await settled([*calls, end])
        assert {type(outcome) for outcome in outcomes} == {Lost}
        assert len(events) == 1


async def test_both_sides_may_write_more_than_a_pipe_holds() -> None:
    async with linked() as (link, _, _):
        blob = {"blob": "x" * MIB}
        calls = [partial(link.request, "work", blob, deadline=soon(20)) for _ in range(6)]
        for outcome in await settled(calls):
            assert msgspec.json.decode(outcome) == blob


async def test_waiting_for_idleness_ends_with_the_last_call() -> None:
    async with linked() as (link, _, _):
        with anyio.fail_after(5):
            await link.wait_idle()
            calls = [partial(link.request, "work", {}, deadline=None) for _ in range(5)]
            *outcomes, _ = await settled([*calls, link.wait_idle])
        assert [bytes(outcome) for outcome in outcomes] == [b"{}"] * 5


async def test_closing_twice_and_speaking_afterwards_does_no_harm() -> None:
    async with linked() as (link, _, _):
        link.close()
        link.close()
        link.notify("exit", {})
        link.lost("too late")
