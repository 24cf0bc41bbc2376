"""The plugin's processes, as the checks want them: one that nobody has spoken to, one that serves.

A process is used by one check after another for as long as it does what it ought to.
"""

from __future__ import annotations

from typing import Any

import msgspec

from host.conformance.peer import Message, Peer
from host.process.launchers import LaunchSpec
from protocol.lifecycle import FEATURES, InitializeResult

__all__ = ["Bench", "NoHandshake", "Subject", "error_code"]

STARTS = 6
"""A start may take so many times as long as an answer."""
MAY_BE_EARLY = ("log/record", "status/text", "$/progress")


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """What is held to the protocol."""

    spec: LaunchSpec
    name: str = ""
    version: str = ""
    """Both of its manifest, if it has one."""
    config: dict[str, Any] = {}
    call: tuple[str, dict[str, Any]] | None = None
    """A method and params with which it succeeds."""
    slow: tuple[str, dict[str, Any]] | None = None
    """The same, of a call that takes a while."""
    timeout_s: float = 5.0


class NoHandshake(Exception):
    """It cannot be brought to serve, which is told by the checks that are about that."""


class Bench:
    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.told: InitializeResult | None = None
        """What it has answered to `initialize`."""
        self.noise: list[str] = []
        self.odd_headers: list[str] = []
        self.unasked: list[Message] = []
        """Replies to nothing."""
        self.unreadable: list[str] = []
        self.reply: Message = {}
        self.misfit = ""
        """What is wrong with it, if it is no `InitializeResult`."""
        self.start_reply: Message = {}
        self.early: list[Message] = []
        """What it has said of itself before its time."""
        self._fresh: Peer | None = None
        self._ready: Peer | None = None
        self._is_started = False
        self._is_hopeless = False

    def fresh(self) -> Peer:
        """One that has not been initialized."""
        if self._fresh is None:
            self._fresh = self._started()
        return self._fresh

    def introduced(self) -> Peer:
        """One that has answered `initialize`. Raises NoHandshake, Gone, Late."""
        if self._ready is None:
            self._insist()
            peer = self._ready = self._started()
            reply = peer.call("initialize", self.introduction([1]), timeout_s=STARTS * self.subject.timeout_s)
            self.reply = reply
            self.early += [message for message in peer.heard if message["method"] not in MAY_BE_EARLY]
            try:
                self.told = msgspec.convert(reply.get("result"), InitializeResult)
            except msgspec.ValidationError as error:
                self.misfit = str(error)
        return self._ready

    def ready(self) -> Peer:
        """One that serves. Raises NoHandshake, Gone, Late."""
        peer = self.introduced()
        if not self._is_started:
            self._insist()
            peer.notify("initialized")
            self.start_reply = peer.call("lifecycle/start", timeout_s=STARTS * self.subject.timeout_s)
            self.early += [message for message in peer.heard if message["method"] not in MAY_BE_EARLY]
            self._is_started = True
        return peer

    def gives_up(self) -> None:
        """It cannot be brought to serve: whatever needs that is not tried any more."""
        self._is_hopeless = True

    def _insist(self) -> None:
        if self._is_hopeless:
            raise NoHandshake

    def introduction(self, protocols: list[int]) -> Message:
        subject = self.subject
        folder = subject.spec.environment.get("HOME", "")
        return {
            "protocol": protocols,
            "host": {"name": "outboard", "version": "conformance"},
            "plugin": {
                "name": subject.name or "tested",
                "instance": "0",
                "generation": 1,
                "data_dir": folder,
                "cache_dir": folder,
            },
            "config": subject.config,
            "config_revision": 0,
            "limits": {"max_frame": 16 * 1024 * 1024, "max_in_flight": 64, "queue": 128},
            "encodings": ["json", "msgpack"],
            "features": [name for name in FEATURES if name != "nudge"],
        }

    def tidy(self) -> None:
        """Before a check: what others have left is not its own."""
        for peer in (self._fresh, self._ready):
            if peer is not None:
                self.unasked += peer.replies
                peer.replies.clear()

    def close(self, *, after_failure: bool = False) -> None:
        """Ends the processes. What they have said is not told twice if a check has told of it."""
        for peer in (self._fresh, self._ready):
            if peer is not None:
                if after_failure:
                    peer.replies.clear()
                    peer.unreadable.clear()
                self._end(peer)
        self._fresh = self._ready = None
        self._is_started = False

    def done_with(self, peer: Peer) -> None:
        """It is not to be used again."""
        self._end(peer)
        if peer is self._fresh:
            self._fresh = None
        if peer is self._ready:
            self._ready = None
            self._is_started = False

    def _started(self) -> Peer:
        return Peer(self.subject.spec, self.subject.timeout_s)

    def _end(self, peer: Peer) -> None:
        if peer.noise:
            self.noise.append(peer.noise.decode(errors="backslashreplace"))
        self.odd_headers += peer.odd_headers
        self.unreadable += peer.unreadable
        self.unasked += peer.replies
        peer.close()


def error_code(reply: Message) -> int | None:
    """None for a result."""
    error = reply.get("error")
    code = error.get("code") if isinstance(error, dict) else None
    return code if type(code) is int else None
