"""Checks of single messages: good ones, odd ones, and what is none at all."""

from __future__ import annotations

from typing import Any

import msgspec

from host.conformance.beginning import shown
from host.conformance.bench import Bench, error_code
from host.conformance.peer import Late, Message, Peer, framed
from host.conformance.verdicts import Checks, Skipped, Unmet
from protocol.framing import frame

checks = Checks()
NOT_THERE = "no_such_method_here"
LARGE = 4 * 1024 * 1024
DEEP = 100_000
MANY = 64
LAST_ID = 2**31 - 1
GOOD_IDS: tuple[Any, ...] = (LAST_ID, "a", "1", "x" * 128)
BAD_IDS: tuple[Any, ...] = (None, True, [], {})
REFUSED = (-32600, -32602)


def request(id: Any, method: str, params: Any = None) -> Message:
    return {"jsonrpc": "2.0", "id": id, "method": method, "params": {} if params is None else params}


def lives_on(peer: Peer) -> None:
    """Raises Late or Gone if it does not."""
    try:
        peer.ping()
    except Late:
        raise Unmet("the ping behind it is not answered any more") from None


@checks.add("unknown-method", "error -32601, for names of its own kind and of the protocol's", "names")
def unknown_method(bench: Bench) -> str:
    peer = bench.ready()
    for name in (NOT_THERE, "no/such", "$/nothing"):
        reply = peer.call(name)
        if error_code(reply) != -32601:
            raise Unmet(f"{name}: {shown(reply)}")
    return "error -32601"


@checks.add("unknown-notification", "no answer to notifications that it does not know", "names")
def unknown_notification(bench: Bench) -> str:
    peer = bench.ready()
    for name in ("no/such/notification", "$/nothing", "no_such"):
        peer.notify(name, {"x": 1})
    lives_on(peer)
    if (reply := peer.take_unasked()) is not None:
        raise Unmet(shown(reply))
    return "none"


@checks.add("unknown-members", "members and params that it does not know are ignored", "messages")
def unknown_members(bench: Bench) -> str:
    peer = bench.ready()
    reply = peer.reply_to(peer.ask("lifecycle/ping", {"novel": 1}, meta={"novel": [1]}, novel={"deep": 1}))
    if "result" not in reply:
        raise Unmet(shown(reply))
    return "ignored"


@checks.add("ids", "each reply with the id of its request, a number or a text", "messages")
def ids(bench: Bench) -> str:
    peer = bench.ready()
    for id in GOOD_IDS:
        peer.send(request(id, NOT_THERE))
        try:
            peer.reply_to(id)
        except Late:
            raise Unmet(_instead(peer, f"no reply to id {str(id)[:20]!r}")) from None
    return f"{len(GOOD_IDS)} of {len(GOOD_IDS)}"


@checks.add("bad-ids", "error -32600 to an id that is neither a number nor a text", "messages")
def bad_ids(bench: Bench) -> str:
    peer = bench.ready()
    for id in BAD_IDS:
        peer.send(request(id, NOT_THERE))
        code = error_code(reply := peer.reply_to(None, id))
        if code != -32600:
            raise Unmet(f"id {msgspec.json.encode(id).decode()}: {shown(reply)}")
    return "error -32600"


@checks.add("params-absent", "no `params` are the same as `{}`", "messages")
def params_absent(bench: Bench) -> str:
    peer = bench.ready()
    peer.send({"jsonrpc": "2.0", "id": "bare", "method": "lifecycle/ping"})
    reply = peer.reply_to("bare")
    if "result" not in reply:
        raise Unmet(shown(reply))
    return "the same"


@checks.add("bad-params", "error -32602 (or -32600) to params that are a number, a text or null", "messages")
def bad_params(bench: Bench) -> str:
    peer = bench.ready()
    assert bench.told is not None
    names = [method.name for method in bench.told.provides.methods if not method.stream and not method.takes]
    if not names:
        raise Skipped("it has no method that could be asked so")
    for params in (5, "text", True):
        peer.send(request("odd", names[0]) | {"params": params})
        reply = peer.reply_to("odd", None)
        if error_code(reply) not in REFUSED:
            raise Unmet(f"{names[0]} with params {params!r}: {shown(reply)}")
    return f"error {error_code(reply)}"


@checks.add("not-json", "error -32700 with id null, and the connection lives on", "messages")
def not_json(bench: Bench) -> str:
    return _refused(bench, b'{"jsonrpc":"2.0","id":1,', -32700)


@checks.add("not-utf-8", "an error, and the connection lives on", "messages")
def not_utf_8(bench: Bench) -> str:
    body = b'{"jsonrpc":"2.0","id":"odd","method":"gr\xff\xfeet"}'
    return _refused(bench, body, -32700, -32600, -32601, or_to="odd")


@checks.add("not-a-message", "error -32600 to JSON that is no message", "messages")
def not_a_message(bench: Bench) -> str:
    for body in (b"7", b'"text"', b"{}", b'{"jsonrpc":"2.0","id":"odd","method":7}'):
        seen = _refused(bench, body, -32600, or_to="odd")
    return seen


@checks.add("batch", "one error -32600 with id null", "messages")
def batch(bench: Bench) -> str:
    both = [request("first", "lifecycle/ping"), request("second", "lifecycle/ping")]
    seen = _refused(bench, msgspec.json.encode(both), -32600)
    if bench.ready().take_unasked() is not None:
        raise Unmet("more than one answer")
    return seen


def _refused(bench: Bench, body: bytes, *codes: int, or_to: str | None = None) -> str:
    """What is no message is answered with one of `codes`, and then a ping is."""
    peer = bench.ready()
    peer.write(frame(body))
    try:
        reply = peer.reply_to(None, or_to)
    except Late:
        raise Unmet(_instead(peer, f"no answer to {body[:40]!r}")) from None
    if error_code(reply) not in codes:
        raise Unmet(f"{body[:40]!r}: {shown(reply)}")
    lives_on(peer)
    return f"error {error_code(reply)}"


def _instead(peer: Peer, text: str) -> str:
    if peer.replies:
        other = peer.replies.popleft()
        return f"{text}, but one to id {other.get('id')!r}: {shown(other)}"
    if peer.unreadable:
        return f"{text}, but {peer.unreadable.pop()}"
    return text


@checks.add("stray-replies", "no answer to replies that nobody waits for, good or bad", "messages")
def stray_replies(bench: Bench) -> str:
    peer = bench.ready()
    peer.send({"jsonrpc": "2.0", "id": 4711, "result": 1})
    peer.send({"jsonrpc": "2.0", "id": 4712, "error": {"code": 1, "message": "no"}})
    peer.send({"jsonrpc": "2.0", "id": None, "error": {"code": -32600, "message": "no"}})
    lives_on(peer)
    if (reply := peer.take_unasked()) is not None:
        raise Unmet(shown(reply))
    return "none"


@checks.add("deep-json", f"{DEEP:,} arrays inside each other are survived", "messages")
def deep_json(bench: Bench) -> str:
    peer = bench.ready()
    text = b"[" * DEEP + b"]" * DEEP
    peer.write(
        frame(b'{"jsonrpc":"2.0","id":"deep","method":"%b","params":{"x":%b}}' % (NOT_THERE.encode(), text))
    )
    reply = peer.reply_to("deep", None)
    lives_on(peer)
    return shown(reply)


@checks.add("large-frame", "4 MiB in one frame, or what it has announced", "limits")
def large_frame(bench: Bench) -> str:
    peer = bench.ready()
    assert bench.told is not None
    size = min(LARGE, bench.told.limits.max_frame) - 1024
    peer.send(request("large", NOT_THERE, {"text": "x" * max(1, size)}))
    peer.reply_to("large")
    return f"{size} bytes taken"


@checks.add("chunks", "frames that come byte by byte, or many at once, whatever their headers", "frames")
def chunks(bench: Bench) -> str:
    peer = bench.ready()
    body = msgspec.json.encode(request("slowly", "lifecycle/ping"))
    odd = b"content-type: application/json; charset=utf-8\r\nCONTENT-LENGTH: %d\r\n\r\n%b" % (len(body), body)
    for index in range(len(odd)):
        peer.write(odd[index : index + 1])
        peer.flush()
    try:
        peer.reply_to("slowly")
    except Late:
        raise Unmet("no answer to a frame that came byte by byte, with Content-Type first") from None
    peer.write(b"".join(framed(request(f"at once {number}", "lifecycle/ping")) for number in range(20)))
    for number in range(20):
        peer.reply_to(f"at once {number}")
    return "1 byte, and 20 frames at a time"


@checks.add("utf-8", "text beyond ASCII comes back as it was, and lengths are of bytes", "frames")
def utf_8(bench: Bench) -> str:
    peer = bench.ready()
    id = "Ærøskøbing 🚢 船"
    peer.send(request(id, NOT_THERE))
    try:
        peer.reply_to(id)
    except Late:
        raise Unmet(_instead(peer, f"no reply to id {id!r}")) from None
    return id


@checks.add("many", f"{MANY} requests at once, each answered once", "messages")
def many(bench: Bench) -> str:
    peer = bench.ready()
    ids = [f"one of many {number}" for number in range(MANY)]
    names = ("lifecycle/ping", NOT_THERE)
    peer.write(b"".join(framed(request(id, names[number % 2])) for number, id in enumerate(ids)))
    missing = [id for id in ids if not _is_answered(peer, id)]
    if missing:
        raise Unmet(f"{MANY - len(missing)} answers")
    return f"{MANY} answers"


def _is_answered(peer: Peer, id: str) -> bool:
    try:
        peer.reply_to(id)
    except Late:
        return False
    return True


@checks.add(
    "cancel", "one reply to a request that is cancelled at once, none to a cancel of nothing", "cancellation"
)
def cancel(bench: Bench) -> str:
    peer = bench.ready()
    peer.notify("$/cancelRequest", {"id": 4711})
    unwanted = {"jsonrpc": "2.0", "method": "$/cancelRequest", "params": {"id": "unwanted", "reason": "none"}}
    peer.write(framed(request("unwanted", NOT_THERE)) + framed(unwanted))
    reply = peer.reply_to("unwanted")
    lives_on(peer)
    if peer.replies:
        raise Unmet(f"two replies: {shown(peer.replies.popleft())}")
    return shown(reply)


@checks.add("ping", "an object, as in PingResult", "pings")
def ping(bench: Bench) -> str:
    from protocol.lifecycle import PingResult

    reply = bench.ready().ping()
    if "result" not in reply:
        raise Unmet(shown(reply))
    try:
        msgspec.convert(reply["result"], PingResult)
    except msgspec.ValidationError as error:
        raise Unmet(str(error)) from None
    return str(reply["result"])[:60]
