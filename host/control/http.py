"""HTTP/1.1 on a loopback address, for `/metrics`, `/healthz` and `/readyz`. h11 reads it, nobody trusts it.

Everything is bounded: connections, the size of a request and the time it may take, requests of one
connection, the time a slow reader may take. Whoever opens connections and says nothing does not keep
others out: when all are taken, the one that has been silent for longest makes room.
"""

from __future__ import annotations

import socket
import traceback
from collections.abc import Iterable
from email.utils import formatdate
from http import HTTPStatus

import anyio
import anyio.abc
import h11

from host.control.listening import accept_all
from host.control.pages import Page, Pages, said
from host.errors import DaemonRefused

MAX_CONNECTIONS = 16
MAX_REQUESTS = 100
"""On one connection; it may be opened again."""
MAX_HEAD = 8 * 1024
MAX_BODY = 8 * 1024
"""Bytes of a request. No page wants a body; a small one is read and ignored."""
REQUEST_S = 5.0
"""For a whole request, and for a connection that waits for the next one."""
SEND_S = 10.0
READ_BYTES = 4096


class Port:
    """`address` and `port`, ours from the moment this is made; port 0 is any free one.

    Raises:
        DaemonRefused: it cannot be had. A daemon that ran on unseen would look, to whoever watches it,
            exactly like one that is down; and at this moment there is somebody who can mend it.
    """

    def __init__(self, address: str, port: int) -> None:
        self._socket = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
        try:
            # The last daemon's connections linger, and must not keep its port from this one.
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._socket.bind((address, port))
            self._socket.listen(MAX_CONNECTIONS)
        except OSError as error:
            self._socket.close()
            raise DaemonRefused(
                f"cannot serve metrics at {address}, port {port}: {error.strerror}",
                hint="`metrics_port` in [host] gives it another port, 0 any free one",
            ) from None
        host = f"[{address}]" if ":" in address else address
        self.url = f"http://{host}:{self._socket.getsockname()[1]}/metrics"

    async def serve(self, pages: Pages) -> None:
        """Answers until it is cancelled."""
        listener = await anyio.abc.SocketListener.from_socket(self._socket)
        try:
            await accept_all(listener, Door(pages).let_in)
        finally:
            with anyio.CancelScope(shield=True):
                await listener.aclose()

    def close(self) -> None:
        """Nobody is answered here any more. May be called twice."""
        self._socket.close()


class Door:
    """The connections there are. `waiting` holds those without a whole request, the longest first."""

    def __init__(self, pages: Pages) -> None:
        self.pages = pages
        self.waiting: dict[Connection, anyio.CancelScope] = {}
        self._open = 0

    async def let_in(self, stream: anyio.abc.SocketStream) -> None:
        if self._open >= MAX_CONNECTIONS and self.waiting:
            self.waiting.pop(next(iter(self.waiting))).cancel()
        self._open += 1
        try:
            if self._open <= 2 * MAX_CONNECTIONS:  # those that were told to go are still there
                await Connection(stream, self).run()
        except Exception:  # ours, then; a daemon and its plugins outlive whatever one client can bring about
            traceback.print_exc()
        finally:
            self._open -= 1
            await anyio.aclose_forcefully(stream)


class Connection:
    """One client."""

    def __init__(self, stream: anyio.abc.SocketStream, door: Door) -> None:
        self._stream = stream
        self._door = door
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)

    async def run(self) -> None:
        try:
            for left in reversed(range(MAX_REQUESTS)):
                if not await self._one_request(is_last=left == 0):
                    return
        except (anyio.BrokenResourceError, anyio.ClosedResourceError, TimeoutError):
            pass  # the client is gone, or does not read; nobody is left to be told

    async def _one_request(self, *, is_last: bool) -> bool:
        """Reads and answers one; whether another may follow."""
        page: Page | None = None
        request: h11.Request | None = None
        try:
            request = await self._read()
        except h11.RemoteProtocolError as error:
            page = said(error.error_status_hint, f"this is no request: {error}")
        except TimeoutError:
            if self._http.trailing_data[0] or self._http.their_state is h11.SEND_BODY:
                page = said(408, f"no whole request within {REQUEST_S:g} s")
        if request is not None:
            headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in request.headers}
            method = request.method.decode("latin-1")
            page = await self._door.pages.answer(method, request.target.decode("latin-1"), headers)
        if page is None:  # it has said nothing, and nothing is what it gets
            return False
        goes_on = request is not None and not is_last and self._http.their_state is h11.DONE
        is_head = request is not None and request.method == b"HEAD"
        await self._send(page, is_head=is_head, goes_on=goes_on)
        if goes_on and self._http.our_state is h11.DONE:
            self._http.start_next_cycle()
            return True
        await self._part()
        return False

    async def _read(self) -> h11.Request | None:
        """The next request, its body read and dropped; None if there is none, or the place is needed.

        Raises h11.RemoteProtocolError, TimeoutError.
        """
        request: h11.Request | None = None
        body_bytes = 0
        with anyio.CancelScope(deadline=anyio.current_time() + REQUEST_S) as scope:
            self._door.waiting[self] = scope
            try:
                while True:
                    event = self._http.next_event()
                    if isinstance(event, h11.Request):
                        request = event
                        if event.http_version not in (b"1.0", b"1.1"):
                            raise h11.RemoteProtocolError("HTTP/1.1 is spoken here", error_status_hint=505)
                    elif isinstance(event, h11.Data):
                        body_bytes += len(event.data)
                        if body_bytes > MAX_BODY:
                            raise h11.RemoteProtocolError("its body is too large", error_status_hint=413)
                    elif isinstance(event, h11.EndOfMessage):
                        return request
                    elif event is h11.NEED_DATA:
                        self._http.receive_data(await self._receive())
                    else:  # the end of the stream, or a state that only a broken client gets into
                        return None
            finally:
                self._door.waiting.pop(self, None)
        if anyio.current_time() < scope.deadline:  # the door did that
            return None
        raise TimeoutError

    async def _receive(self) -> bytes:
        try:
            return await self._stream.receive(READ_BYTES)
        except anyio.EndOfStream:
            return b""

    async def _send(self, page: Page, *, is_head: bool, goes_on: bool) -> None:
        headers: list[tuple[str, str]] = [
            ("Content-Type", page.content_type),
            ("Content-Length", str(len(page.body))),
            ("Date", formatdate(usegmt=True)),
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
            *page.headers,
        ]
        if not goes_on:
            headers.append(("Connection", "close"))
        events: Iterable[h11.Event] = (
            h11.Response(status_code=page.status, headers=headers, reason=HTTPStatus(page.status).phrase),
            h11.Data(data=b"" if is_head else page.body),
            h11.EndOfMessage(),
        )
        with anyio.fail_after(SEND_S):
            for event in events:
                if data := self._http.send(event):
                    await self._stream.send(data)

    async def _part(self) -> None:
        """Closes in a way that the answer arrives, even if something was sent that nobody has read."""
        with anyio.move_on_after(1.0):
            try:
                await self._stream.send_eof()
            except RuntimeError:  # so uvloop says that the other end has reset the connection
                return
            while await self._receive():
                pass
