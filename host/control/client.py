"""The command line's end of the control socket: blocking, and with nothing to import but the protocol."""

from __future__ import annotations

import socket
import time
from typing import Any

import msgspec

from host.errors import DaemonError, NotSerializable, OutboardError, PayloadTooLarge
from protocol.errors import Refusal, Refused, RpcError
from protocol.events import Ended, Reply
from protocol.session import Session

CONNECT_S = 5.0
SLACK_S = 15.0
"""What a command may take beyond its own timeout: stopping a plugin that hangs takes 10.5 s."""


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
    """`with Client(path) as daemon: daemon.ask("status")`."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __enter__(self) -> Client:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(CONNECT_S)
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

    def ask(self, method: str, params: Any = None, *, timeout: float | None = 0.0) -> msgspec.Raw:
        """The raw result. `timeout` is what the command itself may take; None for as long as it likes."""
        ends_at = None if timeout is None else time.monotonic() + timeout + SLACK_S
        try:
            call = self._session.request(method, {} if params is None else params)
        except Refused as refused:
            kind = PayloadTooLarge if refused.reason is Refusal.TOO_LARGE else NotSerializable
            raise kind(f"this cannot be sent to the daemon: {refused}") from None
        try:
            self._socket.sendall(self._session.outbox.take())
            while True:
                self._socket.settimeout(None if ends_at is None else max(0.001, ends_at - time.monotonic()))
                data = self._socket.recv(65536)
                events = self._session.receive(data, 0.0) if data else self._session.receive_eof()
                for event in events:
                    if isinstance(event, Reply) and event.call is call:
                        if event.error is not None:
                            raise _said(event.error)
                        assert event.result is not None
                        return event.result
                    if isinstance(event, Ended):
                        raise DaemonError(
                            f"the daemon closed the connection ({event.detail})",
                            hint="it is stopping, or it runs as another user",
                        )
        except TimeoutError:
            raise DaemonError(
                "the daemon does not answer", hint="its log says what it does; a signal stops it"
            ) from None
        except OSError as error:
            raise DaemonError(f"the connection to the daemon broke ({error.strerror})") from None


def _said(error: RpcError) -> OutboardError:
    if isinstance(error.data, dict) and "exit_code" in error.data:
        return DaemonSaid(error.data)
    return OutboardError(error.message, data=error.data)
