"""A service manager as the daemon sees it: a datagram socket that hears what it has to tell."""

from __future__ import annotations

import socket
import time
from pathlib import Path
from types import TracebackType
from typing import Self

PATIENCE_S = 15.0


class Manager:
    """`address` is the NOTIFY_SOCKET; `heard` are the datagrams so far, each as its lines."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.heard: list[list[str]] = []

    @classmethod
    def at(cls, folder: Path) -> Manager:
        return cls(str(folder / "notify"))

    def __enter__(self) -> Self:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + self.address[1:] if self.address.startswith("@") else self.address)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def until(self, line: str) -> list[str]:
        """The next datagram with a line that begins like this. Raises TimeoutError."""
        ends_at = time.monotonic() + PATIENCE_S
        while True:
            self._socket.settimeout(max(0.001, ends_at - time.monotonic()))
            datagram = self._socket.recv(4096).decode().split("\n")
            self.heard.append(datagram)
            if any(each.startswith(line) for each in datagram):
                return datagram

    def lines(self) -> list[str]:
        """Everything heard so far, and what is there to be heard now."""
        self._socket.settimeout(0)
        try:
            while True:
                self.heard.append(self._socket.recv(4096).decode().split("\n"))
        except BlockingIOError:
            return [line for datagram in self.heard for line in datagram]
