"""Checks of a plugin that works: they need a method of its own that succeeds, or that takes a while."""

from __future__ import annotations

import time
from typing import Any

import msgspec

from host.conformance.beginning import shown
from host.conformance.bench import Bench, error_code
from host.conformance.messages import NOT_THERE
from host.conformance.peer import Late, Message, Peer
from host.conformance.verdicts import Checks, Skipped, Unmet
from protocol.framing import frame
from protocol.lifecycle import ProgressParams

checks = Checks()
LONGEST_S = 60.0
SOON_S = 1.0
"""In which a busy plugin has to answer a ping; a host has more patience."""
SHORT_S = 0.2
CREDIT = 2
GREED_S = 0.1
"""How long it is waited for items that nobody has given credit for."""


def _slow(bench: Bench) -> tuple[str, dict[str, Any]]:
    if bench.subject.slow is None:
        raise Skipped("""it needs a long call: --slow 'METHOD {JSON}'""")
    return bench.subject.slow


def _streams(bench: Bench) -> list[str]:
    """Its methods that answer in items."""
    told = bench.told
    if told is None or "stream" not in told.features:
        return []
    return [method.name for method in told.provides.methods if method.stream]


def _ended(peer: Peer, id: int) -> Message:
    return peer.reply_to(id, timeout_s=LONGEST_S)


@checks.add("call", "a result", "calls")
def call(bench: Bench) -> str:
    if bench.subject.call is None:
        raise Skipped("""it needs a call: --call 'METHOD {JSON}'""")
    method, params = bench.subject.call
    peer = bench.ready()
    if method in _streams(bench):
        raise Skipped(f"{method} answers in items: see `stream`")
    reply = peer.call(method, params, timeout_s=LONGEST_S)
    if "result" not in reply:
        raise Unmet(f"{method}: {shown(reply)}")
    return shown(reply)


@checks.add("ping-while-busy", f"a ping is answered within {SOON_S:g} s while a call is in flight", "pings")
def ping_while_busy(bench: Bench) -> str:
    method, params = _slow(bench)
    peer = bench.ready()
    id = peer.ask(method, params)
    begun = time.monotonic()
    try:
        peer.ping(timeout_s=SOON_S)
    except Late:
        raise Unmet(f"nothing within {SOON_S:g} s") from None
    took_s = time.monotonic() - begun
    if any(reply.get("id") == id for reply in peer.replies):
        _ended(peer, id)
        if took_s < SHORT_S:
            raise Skipped(f"{method} does not take long enough: {took_s * 1000:.0f} ms")
        raise Unmet(f"{took_s * 1000:.0f} ms later, when the call had ended")
    _ended(peer, id)
    return f"after {took_s * 1000:.0f} ms"


@checks.add("cancel-while-busy", "one reply to a call that is cancelled while it runs", "cancellation")
def cancel_while_busy(bench: Bench) -> str:
    method, params = _slow(bench)
    peer = bench.ready()
    id = peer.ask(method, params)
    peer.ping()
    peer.notify("$/cancelRequest", {"id": id, "reason": "nobody waits"})
    reply = _ended(peer, id)
    if "error" in reply and error_code(reply) != -32800:
        raise Unmet(shown(reply))
    peer.ping()
    if peer.replies:
        raise Unmet(f"two replies: {shown(peer.replies.popleft())}")
    return shown(reply)


@checks.add("concurrency", "calls at the same time get a reply each", "calls")
def concurrency(bench: Bench) -> str:
    method, params = _slow(bench)
    peer = bench.ready()
    begun = time.monotonic()
    _ended(peer, peer.ask(method, params))
    one_s = time.monotonic() - begun
    begun = time.monotonic()
    for id in [peer.ask(method, params) for _ in range(3)]:
        _ended(peer, id)
    three_s = time.monotonic() - begun
    return f"3 replies, {'one after another' if three_s > 2 * one_s else 'at the same time'}"


@checks.add(
    "progress",
    "progress of requests that ask for it, and of no others; none after the reply",
    "logs-status-progress",
)
def progress(bench: Bench) -> str:
    peer = bench.ready()
    assert bench.told is not None
    if "progress" not in bench.told.features:
        raise Skipped("it has not announced `progress`")
    method, params = _slow(bench)
    peer.heard.clear()
    _ended(peer, peer.ask(method, params))
    if any(message["method"] == "$/progress" for message in peer.heard):
        raise Unmet("progress of a request that did not ask for it")
    id = peer.ask(method, params, meta={"progress": True})
    _ended(peer, id)
    told = [message["params"] for message in peer.heard if message["method"] == "$/progress"]
    peer.heard.clear()
    peer.ping()
    if any(message["method"] == "$/progress" for message in peer.heard):
        raise Unmet("progress after the reply")
    for each in told:
        try:
            is_its_own = msgspec.convert(each, ProgressParams).token == id
        except msgspec.ValidationError as error:
            raise Unmet(f"{str(each)[:60]}: {error}") from None
        if not is_its_own:
            raise Unmet(f"progress of something else: {str(each)[:60]}")
    return f"{len(told)} times"


@checks.add("stream", "items in order, as far as there is credit, then a reply that is null", "streams")
def stream(bench: Bench) -> str:
    peer = bench.ready()
    methods = _streams(bench)
    if not methods:
        raise Skipped("it has announced no method that answers in items")
    told = bench.subject.call
    method, params = told if told is not None and told[0] in methods else (methods[0], {})
    reply = peer.call(method, params)
    if error_code(reply) != -32602:
        raise Unmet(f"{method} without credit: {shown(reply)}")
    id = peer.ask(method, params, meta={"credit": CREDIT})
    credit, seq, count = CREDIT, 0, 0
    while True:
        try:
            items = peer.next_heard("$/stream", timeout_s=peer.timeout_s if not _has(peer, id) else 0.05)
        except Late:
            reply = _ended(peer, id)
            break
        if items.get("id") != id or items.get("seq") != seq or not isinstance(items.get("items"), list):
            raise Unmet(f"{str(items)[:80]}, and seq {seq} of id {id} was next")
        seq, count = seq + 1, count + len(items["items"])
        credit -= len(items["items"])
        if credit < 0:
            raise Unmet(f"more than the {CREDIT} items that there was credit for")
        if credit == 0:
            peer.listen(GREED_S)
            if any(message["method"] == "$/stream" for message in peer.heard):
                raise Unmet(f"more than the {CREDIT} items that there was credit for")
            peer.notify("$/credit", {"id": id, "n": CREDIT})
            credit = CREDIT
    if error_code(reply) == -32602 and told is None:
        raise Skipped(f"""name a call of it that succeeds: --call '{method} {{"PARAM": VALUE}}'""")
    if "error" in reply or reply["result"] is not None:
        raise Unmet(shown(reply))
    return f"{count} items in {seq} batches"


def _has(peer: Peer, id: int) -> bool:
    return any(reply.get("id") == id for reply in peer.replies)


@checks.add("msgpack", "a frame of MessagePack is taken, once that is agreed on", "bytes")
def message_pack(bench: Bench) -> str:
    peer = bench.ready()
    assert bench.told is not None
    if bench.told.encoding != "msgpack":
        raise Skipped("it has not chosen `msgpack`")
    peer.takes_packed()
    message = {"jsonrpc": "2.0", "id": "packed", "method": NOT_THERE, "params": {"data": b"\0\xff"}}
    peer.write(frame(msgspec.msgpack.encode(message), packed=True))
    reply = peer.reply_to("packed")
    return shown(reply)
