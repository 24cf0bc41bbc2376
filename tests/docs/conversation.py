"""The example frames of the documentation, said and heard by real sessions."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from protocol.envelope import Meta
from protocol.errors import RpcError
from protocol.events import (
    Cancelled,
    Notification,
    Progressed,
    Reply,
    Request,
    Resumed,
    Streamed,
    Uploaded,
    Wanted,
)
from protocol.framing import FrameReader, frame
from protocol.lifecycle import ProgressValue
from protocol.session import Session

_EVENTS = {
    "$/cancelRequest": Cancelled,
    "$/stream": Streamed,
    "$/credit": Resumed,  # to a sender that had none left
    "$/progress": Progressed,
}
_UP = {"$/stream": Uploaded, "$/credit": Wanted}


class Conversation:
    """A host's session and a plugin's, each of which says and hears its half."""

    def __init__(self) -> None:
        self.ends = {"host": Session("host"), "plugin": Session("plugin")}
        self._asked_for: set[int] = set()
        """Requests whose items have been."""

    def say(self, who: str, message: dict[str, Any], *, raw: bool) -> None:
        """`who` must be able to say exactly this, and the other end must take it for what it is."""
        listener = self.ends["plugin" if who == "host" else "host"]
        data = self.ends[who].outbox.take()
        if not data and raw:
            data = frame(json.dumps(message).encode())
        elif not data:
            self._utter(self.ends[who], message)
            data = self.ends[who].outbox.take()
        (body,) = FrameReader().receive(data)
        assert isinstance(body, bytes)
        assert json.loads(body) == message, f"{who} says instead: {body.decode()}"
        is_late = not raw and "method" not in message and message["id"] in listener.outgoing.abandoned
        events = listener.receive(data, 0.0)
        if not raw:
            assert [type(event) for event in events] == ([] if is_late else [_event_for(message)])

    def _utter(self, speaker: Session, message: dict[str, Any]) -> None:
        if "method" not in message:
            if "error" in message:
                speaker.reply_error(message["id"], RpcError(**message["error"]))
            else:
                speaker.reply(message["id"], message["result"])
        elif "id" in message:
            meta = Meta(**message["meta"]) if "meta" in message else None
            speaker.request(message["method"], message["params"], meta=meta)
        elif message["method"] == "$/stream":
            params = message["params"]
            of = speaker.outgoing.calls[params["id"]] if "up" in params else params["id"]
            sending = speaker.streams.sending(of)
            assert sending is not None
            for item in params["items"]:
                sending.add(speaker.writing.item(item))
            speaker.streams.send_items(of, end=params.get("end", False))
        elif message["method"] == "$/credit":
            id, n = message["params"]["id"], message["params"]["n"]
            if "up" not in message["params"]:
                speaker.streams.use(speaker.outgoing.calls[id], n, n)
            elif id in self._asked_for:
                speaker.streams.use(id, n, n)
            else:
                self._asked_for.add(id)
                speaker.streams.take_up(id, n)
        elif message["method"] == "$/progress":
            value = msgspec.convert(message["params"]["value"], ProgressValue)
            speaker.progress(message["params"]["token"], value)
        elif message["method"] == "$/cancelRequest":
            call = speaker.outgoing.calls[message["params"]["id"]]
            speaker.cancel(call, message["params"]["reason"])
        else:
            speaker.notify(message["method"], message["params"])


def _event_for(message: dict[str, Any]) -> type:
    if "method" not in message:
        return Reply
    if "up" in message["params"]:
        return _UP[message["method"]]
    if message["method"] in _EVENTS:
        return _EVENTS[message["method"]]
    return Request if "id" in message else Notification
