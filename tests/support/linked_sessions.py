"""Two sessions linked by nothing but bytes, in the spirit of h11's ConnectionPair.

What one side says is carried to the other whole, one byte at a time and cut in two places, to copies
of the listener; all of them must hear the same. So every test that uses the pair is a test of
chunking too. No mocks: both ends are real sessions.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Raw

from protocol.events import Event, Request
from protocol.framing import FrameReader, frame
from protocol.lifecycle import InitializeParams, Limits, PluginIdentity
from protocol.pending import Call
from protocol.phases import Phase
from protocol.session import Session

EVERY_CUT = 200
"""Up to this many bytes, every place to cut in two is tried; longer data is cut at a sample."""


def cuts(data: bytes) -> Iterator[list[bytes]]:
    """Ways to cut `data` into chunks: whole, single bytes, and in two."""
    yield [data]
    yield [data[i : i + 1] for i in range(len(data))]
    step = max(1, len(data) // EVERY_CUT)
    for at in range(1, len(data), step):
        yield [data[:at], data[at:]]


def seen(events: list[Event]) -> list[tuple[Any, ...]]:
    """Events as values that compare across copies of a session."""
    return [
        (type(event).__name__, *(_plain(getattr(event, f)) for f in event.__struct_fields__))
        for event in events
    ]


def _plain(value: Any) -> Any:
    if isinstance(value, Raw):
        return bytes(value)
    if isinstance(value, Call):
        return (value.id, value.method, value.settled)
    return value.args if isinstance(value, Exception) else value


def said(session: Session) -> list[dict[str, Any]]:
    """The messages that wait in the outbox of `session`, taken out of it."""
    reader = FrameReader(max_frame=1 << 40)
    messages = []
    for body in reader.receive(session.outbox.take(1 << 40)):
        assert isinstance(body, bytes)
        messages.append(msgspec.json.decode(body))
    assert not reader.inside_frame
    return messages


def codes(session: Session) -> list[tuple[Any, int | None]]:
    """Whom `session` answers, and with which error code; None for a success."""
    return [(m["id"], m["error"]["code"] if "error" in m else None) for m in said(session)]


def framed(*messages: Any) -> bytes:
    """Messages as frames; bytes are sent as they are."""
    return b"".join(frame(m if isinstance(m, bytes) else msgspec.json.encode(m)) for m in messages)


def asks(id: Any, method: str = "work", params: Any = None) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": id, "method": method, "params": {} if params is None else params}


def tells(method: str, params: Any = None) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "method": method, "params": {} if params is None else params}


def answers(id: Any, **members: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": id} | (members or {"result": {}})


def heard(session: Session, data: bytes, now: float = 0.0) -> list[Event]:
    """What `session` makes of `data`, after copies of it have made the same of it in smaller chunks."""
    if not data:
        return []
    outcomes = []
    for chunks in cuts(data):
        listener = copy.deepcopy(session)
        events: list[Event] = []
        for chunk in chunks:
            events += listener.receive(chunk, now)
        outcomes.append(
            (chunks, seen(events), listener.counts, listener.phase, listener.outbox.take(1 << 30))
        )
    whole = session.receive(data, now)
    first = outcomes[0]
    assert first[1] == seen(whole)
    for chunks, *outcome in outcomes[1:]:
        assert outcome == list(first[1:]), f"cut as {[len(chunk) for chunk in chunks][:3]}…"
    return whole


class LinkedSessions:
    """A host and a plugin. `to_plugin` and `to_host` carry what waits and return what was heard."""

    def __init__(
        self,
        *,
        host_limits: Limits | None = None,
        plugin_limits: Limits | None = None,
        handshake: bool = True,
    ) -> None:
        self.host = Session("host", limits=host_limits)
        self.plugin = Session("plugin", limits=plugin_limits)
        if handshake:
            self.shake_hands()

    def shake_hands(self) -> None:
        self.host.request("initialize", InitializeParams(plugin=PluginIdentity(name="p")))
        (asked,) = self.to_plugin()
        assert isinstance(asked, Request)
        self.plugin.reply(asked.id, {"protocol": 1})
        assert len(self.to_host()) == 1
        self.host.peer_limits, self.plugin.peer_limits = self.plugin.limits, self.host.limits
        self.host.notify("initialized", {})
        assert len(self.to_plugin()) == 1
        assert self.host.phase is self.plugin.phase is Phase.READY

    def to_plugin(self, now: float = 0.0) -> list[Event]:
        return heard(self.plugin, self.host.outbox.take(1 << 30), now)

    def to_host(self, now: float = 0.0) -> list[Event]:
        return heard(self.host, self.plugin.outbox.take(1 << 30), now)

    def ask_plugin(self, method: str = "work", params: Any = None, **options: Any) -> Request:
        """A request of the host, as it arrives at the plugin."""
        self.host.request(method, {} if params is None else params, **options)
        (event,) = self.to_plugin()
        assert isinstance(event, Request)
        return event
