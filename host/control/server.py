"""The daemon's end of the control socket.

Only the user who runs the daemon is let in: the socket's mode says so, and the kernel is asked who is at
the other end. Connections, requests of each, and the time a slow reader may take are all bounded. A
client that asks nothing, or stops in the middle of a frame, is sent away; one that is being answered is
not, however long that takes.

A command may tell things before it answers, each a notification `follow/items {id, items}`. Streams and
progress are as the protocol has them, with `meta.credit` and `meta.progress`.
"""

from __future__ import annotations

import math
import os
import socket
import struct
import traceback
from functools import partial

import anyio
import anyio.abc
import msgspec

from host.control.commands import Commands, Progressing, Streaming, Telling, failure
from host.control.listening import accept_all
from host.errors import OutboardError
from host.routing.outflow import Outflow
from protocol.contract import nearest, problems_of
from protocol.envelope import MessageId
from protocol.errors import ErrorCode, Refused, RpcError
from protocol.events import Cancelled, Ended, Event, Request, Resumed
from protocol.lifecycle import ProgressValue
from protocol.session import Session

MAX_CONNECTIONS = 64
SEND_S = 10.0
IDLE_S = 30.0
"""How long a client may be connected without a whole request."""
FOLLOWER_SEND_S = 3600.0
"""Whoever follows may be looking at it in a pager; all that waits meanwhile is bounded."""
ROOM_BYTES = 1024 * 1024
ITEMS = "follow/items"
FAILED = 1
"""The code of an error reply whose `data` is an `OutboardError` as a dict."""


async def serve(listener: anyio.abc.SocketListener, commands: Commands) -> None:
    """Answers until it is cancelled."""
    slots = anyio.CapacityLimiter(MAX_CONNECTIONS)

    async def handle(stream: anyio.abc.SocketStream) -> None:
        try:
            async with stream:
                if _is_own_user(stream) and slots.available_tokens >= 1:
                    async with slots:
                        await Connection(stream, commands).run()
        except Exception:  # ours, then; a daemon and its plugins outlive whatever one client can bring about
            traceback.print_exc()

    await accept_all(listener, handle)


def _is_own_user(stream: anyio.abc.SocketStream) -> bool:
    raw = stream.extra(anyio.abc.SocketAttribute.raw_socket)
    if not hasattr(socket, "SO_PEERCRED"):  # the socket's mode alone, then
        return True
    credentials = raw.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _, uid, _ = struct.unpack("3i", credentials)
    return uid in (os.geteuid(), 0)


class Items(msgspec.Struct, frozen=True):
    """What a request is told before its answer."""

    id: int | str
    items: list[msgspec.Raw]


class Connection:
    """One client. Its requests run side by side, and end with it."""

    def __init__(self, stream: anyio.abc.SocketStream, commands: Commands) -> None:
        self._stream = stream
        self._commands = commands
        self._session = Session("peer")
        self._scopes: dict[int | str, anyio.CancelScope] = {}
        self._outflows: dict[int | str, Outflow] = {}
        self._patience = anyio.CancelScope()
        self._telling = 0
        self._is_writing = False
        self._unsent = anyio.Event()
        self._sent = anyio.Event()

    async def run(self) -> None:
        self._be_patient()
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._write)
                with self._patience:
                    while True:
                        try:
                            data = await self._stream.receive()
                        except anyio.EndOfStream:
                            break
                        for event in self._session.receive(data, anyio.current_time()):
                            self._take(event, tasks)
                        self._unsent.set()
                        while self._session.outbox.bytes > ROOM_BYTES:  # who does not read is not read from
                            await self._sent.wait()
                        if self._session.phase == "closed":
                            break
                tasks.cancel_scope.cancel()
        except* (anyio.BrokenResourceError, anyio.ClosedResourceError, TimeoutError):
            pass  # the client is gone, or does not read; nobody is left to be told

    def _be_patient(self) -> None:
        """With a client that is being answered, for as long as that takes; else for a while."""
        self._patience.deadline = math.inf if self._scopes else anyio.current_time() + IDLE_S

    def _take(self, event: Event, tasks: anyio.abc.TaskGroup) -> None:
        if isinstance(event, Request):
            scope = self._scopes[event.id] = anyio.CancelScope()
            self._be_patient()
            tasks.start_soon(self._answer, event, scope)
        elif isinstance(event, Cancelled) and event.id in self._scopes:
            self._scopes[event.id].cancel()
        elif isinstance(event, Resumed) and event.id in self._outflows:
            self._outflows[event.id].resume()
        elif isinstance(event, Ended):
            tasks.cancel_scope.cancel()

    async def _answer(self, request: Request, scope: anyio.CancelScope) -> None:
        with scope:
            try:
                self._session.reply(request.id, await self._do(request))
            except OutboardError as error:
                self._session.reply_error(request.id, RpcError(FAILED, str(error), failure(error)))
            except RpcError as error:
                self._session.reply_error(request.id, error)
            except Exception:  # ours, then; a daemon and its plugins outlive a mistake in a command
                traceback.print_exc()
                failed = RpcError(ErrorCode.INTERNAL_ERROR, f"`{request.method}` failed inside the daemon")
                self._session.reply_error(request.id, failed)
        if scope.cancelled_caught:
            self._session.reply_error(request.id, RpcError(ErrorCode.REQUEST_CANCELLED, "cancelled"))
        self._scopes.pop(request.id, None)
        self._be_patient()
        self._unsent.set()

    async def _do(self, request: Request) -> object:
        row = self._commands.table.get(request.method)
        if row is None:
            close = nearest(request.method, self._commands.table)
            hint = f"; did you mean `{close}`?" if close else ""
            raise RpcError(ErrorCode.METHOD_NOT_FOUND, f"no command `{request.method}`{hint}")
        params_type, command = row
        try:
            params: object = msgspec.json.decode(request.params, type=params_type)
        except (msgspec.DecodeError, UnicodeDecodeError):
            problems = problems_of(msgspec.json.decode(request.params), params_type)
            data = [problem.as_data() for problem in problems]
            raise RpcError(ErrorCode.INVALID_PARAMS, "; ".join(map(str, problems)), data) from None
        if isinstance(command, Progressing):
            wants = request.meta is not None and request.meta.progress
            return await command.run(params, partial(self._progress, request.id) if wants else None)
        if isinstance(command, Streaming):
            return await self._pour(request, command, params)
        if not isinstance(command, Telling):
            return await command(params)

        async def tell(items: list[bytes]) -> None:
            await self._all_sent()  # or there might be no room
            self._session.notify(ITEMS, Items(request.id, [msgspec.Raw(item) for item in items]))
            await self._all_sent()

        self._telling += 1
        try:
            return await command.run(params, tell)
        finally:
            self._telling -= 1

    async def _pour(self, request: Request, command: Streaming, params: object) -> object:
        if self._session.streams.sending(request.id) is None:
            raise RpcError(ErrorCode.INVALID_PARAMS, f"`{request.method}` is a stream: it needs meta.credit")
        outflow = self._outflows[request.id] = Outflow(self._session, request.id, self._unsent_now)

        async def pour(items: list[msgspec.Raw]) -> None:
            await self._all_sent()  # or there might be no room
            await outflow.send(items)

        self._telling += 1
        try:
            return await command.run(params, pour)
        finally:
            self._telling -= 1
            del self._outflows[request.id]

    def _unsent_now(self) -> None:
        self._unsent.set()

    def _progress(self, id: MessageId, done: float, total: float | None, message: str) -> None:
        try:
            self._session.progress(id, ProgressValue(done=done, total=total, message=message))
        except Refused:  # too long, which it cannot have been when it came
            return
        self._unsent.set()

    async def _all_sent(self) -> None:
        """Returns once nothing waits for the socket: so what was told is never behind the answer."""
        while self._session.outbox.bytes or self._is_writing:
            self._unsent.set()
            await self._sent.wait()

    async def _write(self) -> None:
        """The one task that sends: a request may be cancelled at any moment, a frame may not."""
        while True:
            await self._unsent.wait()
            self._unsent = anyio.Event()
            self._is_writing = True
            while data := self._session.outbox.take():
                with anyio.fail_after(FOLLOWER_SEND_S if self._telling else SEND_S):
                    await self._stream.send(data)
            self._is_writing = False
            sent, self._sent = self._sent, anyio.Event()
            sent.set()
