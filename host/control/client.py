"""The command line's end of the control socket: blocking, and with nothing to import but the protocol."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec

from host.errors import DaemonError, NotSerializable, OutboardError, PayloadTooLarge
from protocol.envelope import Meta
from protocol.errors import Refusal, Refused, RpcError
from protocol.events import Ended, Event, Notification, Progressed, Reply, Streamed
from protocol.lifecycle import ProgressValue
from protocol.pending import Call
from protocol.session import Session
from protocol.streams import CREDIT, size_of

CONNECT_S = 5.0
SLACK_S = 15.0
"""What a command may take beyond its own timeout: stopping a plugin that hangs takes 10.5 s."""

QUIET_S = 30.0
"""How long nothing may come while we follow; the daemon says that it lives every 10 s."""


class DaemonSaid(OutboardError):
    """An error that the daemon answered with; keeps the code and everything else that it said."""

    def __init__(self, said: dict[str, Any]) -> None:
        super().__init__(
            said.get("message", ""),
            hint=said.get("hint"),
            plugin=said.get("plugin"),
            method=said.get("method"),
        )
        self._said = said
        self.code = said.get("code", "OB000")  # type: ignore[misc]  # an instance's own
        self.exit_code = said.get("exit_code", 1)  # type: ignore[misc]

    def as_dict(self) -> dict[str, Any]:
        return {key: value for key, value in self._said.items() if key != "exit_code"}


class Client:
    """`with Client(path) as daemon: daemon.ask("status")`.

    `slack_s`: what a command may take beyond its own timeout.
    """

    def __init__(self, path: str, *, slack_s: float = SLACK_S) -> None:
        self._path = path
        self._slack_s = slack_s

    def __enter__(self) -> Client:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(min(CONNECT_S, self._slack_s))
        try:
            self._socket.connect(self._path)
        except OSError as error:
            self._socket.close()
            raise DaemonError(
                f"no daemon answers at {self._path} ({error.strerror or error})",
                hint="start one with: outboard run --plugins FOLDER",
            ) from None
        self._session = Session("peer")
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def ask(
        self,
        method: str,
        params: Any = None,
        *,
        timeout: float | None = 0.0,
        on_progress: Callable[[ProgressValue], object] | None = None,
    ) -> msgspec.Raw:
        """The raw result. `timeout` is what the command itself may take; None for as long as it likes."""
        ends_at = None if timeout is None else time.monotonic() + timeout + self._slack_s
        call = self._begin(method, params, None if on_progress is None else Meta(progress=True))
        while True:
            for event in self._receive(ends_at):
                if isinstance(event, Progressed) and on_progress is not None:
                    on_progress(event.value)
                elif isinstance(event, Reply) and event.call is call:
                    return _result(event)
                if isinstance(event, Ended):
                    raise _closed(event.detail)

    def stream(
        self, method: str, params: Any = None, *, reader: int | None = None
    ) -> Iterator[list[msgspec.Raw]]:
        """What the daemon tells before it answers, as it comes. A batch may be empty: the daemon lives.

        Ends early if the file descriptor `reader` is a pipe that nobody reads any more.
        """
        call = self._begin(method, params)
        while not self._is_for_nobody(reader, time.monotonic() + QUIET_S):
            for event in self._receive(time.monotonic() + QUIET_S):
                if isinstance(event, Notification):
                    told = msgspec.json.decode(event.params, type=_Items)
                    if told.id == call.id:
                        yield told.items
                elif isinstance(event, Reply) and event.call is call:
                    _result(event)
                    return
                elif isinstance(event, Ended):
                    raise _closed(event.detail)

    def items(
        self, method: str, params: Any = None, *, timeout: float | None = None, reader: int | None = None
    ) -> Iterator[list[msgspec.Raw]]:
        """The items of a command's answer, as they come.

        Ends early if the file descriptor `reader` is a pipe that nobody reads any more.
        """
        ends_at = None if timeout is None else time.monotonic() + timeout + self._slack_s
        call = self._begin(method, params, Meta(credit=CREDIT))
        while not self._is_for_nobody(reader, ends_at):
            for event in self._receive(ends_at):
                if isinstance(event, Streamed):
                    yield event.items
                    self._session.streams.use(call, len(event.items), size_of(event.items))
                    self._send()
                elif isinstance(event, Reply) and event.call is call:
                    _result(event)
                    return
                elif isinstance(event, Ended):
                    raise _closed(event.detail)

    def _is_for_nobody(self, reader: int | None, ends_at: float | None) -> bool:
        """Returns when something has come, or nobody wants it."""
        if reader is None:
            return False
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        poll.register(reader, 0)  # nothing but its end, which is always told
        left_ms = None if ends_at is None else max(0.0, ends_at - time.monotonic()) * 1000
        return any(fd == reader and what & select.POLLERR for fd, what in poll.poll(left_ms))

    def _begin(self, method: str, params: Any, meta: Meta | None = None) -> Call:
        try:
            call = self._session.request(method, {} if params is None else params, meta=meta)
        except Refused as refused:
            kind = PayloadTooLarge if refused.reason is Refusal.TOO_LARGE else NotSerializable
            raise kind(f"this cannot be sent to the daemon: {refused}") from None
        self._send()
        return call

    def _send(self) -> None:
        with _translated():
            while data := self._session.outbox.take():
                self._socket.sendall(data)

    def _receive(self, ends_at: float | None) -> list[Event]:
        with _translated():
            self._socket.settimeout(None if ends_at is None else max(0.001, ends_at - time.monotonic()))
            data = self._socket.recv(65536)
        if not data:
            return self._session.receive_eof() or [Ended(None, "end of file")]
        return self._session.receive(data, 0.0)


class _Items(msgspec.Struct):
    id: int | str
    items: list[msgspec.Raw]


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except TimeoutError:
        raise DaemonError(
            "the daemon does not answer", hint="its log says what it does; a signal stops it"
        ) from None
    except OSError as error:
        raise DaemonError(f"the connection to the daemon broke ({error.strerror})") from None


def _closed(detail: str) -> DaemonError:
    return DaemonError(
        f"the daemon closed the connection ({detail})", hint="it is stopping, or it runs as another user"
    )


def _result(reply: Reply) -> msgspec.Raw:
    if reply.error is not None:
        raise _said(reply.error)
    assert reply.result is not None
    return reply.result


def _said(error: RpcError) -> OutboardError:
    if isinstance(error.data, dict) and "exit_code" in error.data:
        return DaemonSaid(error.data)
    return OutboardError(error.message, data=error.data)
