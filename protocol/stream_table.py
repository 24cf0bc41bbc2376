"""The streams of a connection, both ways: who may send how much of which, and the batches themselves.

What answers a request comes from whoever got it, and what goes up with it from whoever made it. So we send
answers to the peer's requests, and items with our calls, and hear the other two. `of` says which one is
meant: a request of the peer's, by its id, or a call of ours.

How much may be on its way is reckoned in `streams`.
"""

from __future__ import annotations

from msgspec import Raw

from protocol import envelope, values
from protocol.counts import Counts
from protocol.envelope import MessageId
from protocol.errors import ErrorCode, RpcError
from protocol.events import Reply, Resumed, Streamed, Uploaded, Wanted
from protocol.framing import frame
from protocol.lifecycle import CreditParams, StreamParams
from protocol.outbox import Lane, Outbox
from protocol.pending import Call, Outgoing
from protocol.streams import Receiving, Sending, size_of
from protocol.writing import Writing

_items_decoder = values.Decoder(StreamParams)
_credit_decoder = values.Decoder(CreditParams)


class StreamTable:
    """Of one session, whose outbox and tables of calls it shares."""

    def __init__(
        self,
        outgoing: Outgoing,
        incoming: dict[MessageId, str],
        outbox: Outbox,
        writing: Writing,
        counts: Counts,
    ) -> None:
        self._outgoing = outgoing
        self._incoming = incoming
        self._outbox = outbox
        self._writing = writing
        self._counts = counts
        self.answers: dict[MessageId, Sending] = {}
        """The peer's requests whose answer may come as a stream."""
        self.uploads: dict[MessageId, Receiving] = {}
        """The peer's requests that take items up."""

    # -- what we send ----------------------------------------------------------------------------

    def sending(self, of: MessageId | Call) -> Sending | None:
        """The stream that we send; None if there may be none, or if it is over."""
        if type(of) is Call:
            return None if of.settled else of.up
        return self.answers.get(of)  # type: ignore[arg-type]

    def send_items(self, of: MessageId | Call, *, always: bool = False, end: bool = False) -> bool:
        """Queues the batch that has been begun; False if there is no room for it now, and it waits on.

        `end` says that no more go with our call: there is always room for that.
        """
        sending = self.sending(of)
        if sending is None or not (sending.waiting or end):
            return True
        if self._outbox.is_full and not (always or end):
            return False
        seq, items = sending.take()
        packed = bool(items) and values.is_packed(items[0])
        ours = of if type(of) is Call else None
        id: MessageId = of if ours is None else ours.id  # type: ignore[assignment]
        batch = envelope.items(id, seq, items, up=ours is not None, end=end)
        body = envelope.encode_items(batch, packed=packed)
        return self._outbox.put(Lane.STREAM, frame(body, packed=packed), ours, always=True)

    def finish_answer(self, id: MessageId) -> None:
        """Queues what is left of the stream that answers a request; no more of it will be sent."""
        self.send_items(id, always=True)
        del self.answers[id]

    # -- what we use -----------------------------------------------------------------------------

    def take_up(self, id: MessageId, credit: int) -> None:
        """Asks for the items that go with a request of the peer's: so many may come at once."""
        if id in self._incoming and id not in self.uploads:
            self.uploads[id] = Receiving(credit)
            self._give_credit(id, credit, up=True)

    def use(self, of: MessageId | Call, count: int, size: int) -> None:
        """So many items that came, of so many bytes, are out of our hands."""
        up = type(of) is not Call
        receiving = self.uploads.get(of) if up else None if of.settled else of.stream  # type: ignore
        if receiving is not None and (given := receiving.use(count, size)):
            self._give_credit(of if up else of.id, given, up=up)  # type: ignore

    def _give_credit(self, id: MessageId, count: int, *, up: bool) -> None:
        credit = CreditParams(id=id, n=count, up=up)
        data = self._writing.framed(envelope.Notification("$/credit", credit))
        self._outbox.put(Lane.CONTROL, data)

    # -- what we hear ----------------------------------------------------------------------------

    # Both raise what a decoder raises.

    def receive_items(self, params: Raw) -> Streamed | Uploaded | Reply | None:
        """What a batch of the peer's means.

        A `Reply` if it breaks the rules, which is the end of the call: the peer is still to be told.
        """
        batch = _items_decoder.decode(params)
        if batch.up:
            return self._receive_upload(batch, params)
        call = self._outgoing.calls.get(batch.id)  # a str finds nothing
        if call is None or call.stream is None:
            self._counts.stray_items += 1
            return None
        if wrong := call.stream.accept(batch.seq, len(batch.items), size_of(batch.items)):
            return Reply(call, None, RpcError(ErrorCode.FLOW_CONTROL, wrong))
        return Streamed(call, _told_apart(batch.items, params)) if batch.items else None

    def _receive_upload(self, batch: StreamParams, params: Raw) -> Uploaded | None:
        receiving = self.uploads.get(batch.id)
        if receiving is None:
            self._counts.stray_items += 1
            return None
        if wrong := receiving.accept(batch.seq, len(batch.items), size_of(batch.items)):
            del self.uploads[batch.id]
            error = RpcError(ErrorCode.FLOW_CONTROL, wrong)
            return Uploaded(batch.id, [], is_over=True, error=error)
        if batch.end:
            del self.uploads[batch.id]
        elif not batch.items:
            return None
        return Uploaded(batch.id, _told_apart(batch.items, params), is_over=batch.end)

    def receive_credit(self, params: Raw) -> Wanted | Resumed | None:
        """What it means that the peer takes more: something if it had not for a while."""
        credit = _credit_decoder.decode(params)
        if credit.up:
            call = self._outgoing.calls.get(credit.id)  # a str finds nothing
            if call is not None and call.up is not None and credit.n > 0 and call.up.acknowledge(credit.n):
                return Wanted(call)
            return None
        sending = self.answers.get(credit.id)
        if sending is not None and credit.n > 0 and sending.acknowledge(credit.n):
            return Resumed(credit.id)
        return None

    def close(self, error: RpcError) -> list[Uploaded]:
        """Empties the tables; `error` is why no more comes of what was taken up."""
        cut_off = [Uploaded(id, [], is_over=True, error=error) for id in self.uploads]
        self.answers.clear()
        self.uploads.clear()
        return cut_off


def _told_apart(items: list[Raw], params: Raw) -> list[Raw]:
    return list(map(values.told_apart, items)) if values.is_packed(params) else items
