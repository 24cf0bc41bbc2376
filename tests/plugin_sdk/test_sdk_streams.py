"""Handlers that answer in items, and `ctx.stream`, in a real process with a host that counts its credit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from protocol import values
from protocol.envelope import Meta
from protocol.errors import ErrorCode, RpcError
from protocol.events import Cancelled, Streamed
from protocol.pending import Call
from protocol.streams import size_of
from tests.support.raw_host import RawHost

Launch = Callable[..., RawHost]

STREAMS = """
from collections.abc import AsyncIterator, Iterator
import asyncio

made = 0
ended = []

@plugin.method(stream=True)
{kind} count(n: int) -> {iterator}[int]:
    global made
    made = 0
    try:
        for i in range(n):
            made += 1
            yield i
    finally:
        ended.append(made)

@plugin.method(stream=True)
{kind} fail(after: int) -> {iterator}[int]:
    for i in range(after):
        yield i
    raise PluginError(7, "no more")

@plugin.method(stream=True)
{kind} odd() -> {iterator}[Any]:
    yield 1
    yield object()

@plugin.method(stream=True)
{kind} sore() -> {iterator}[Any]:
    try:
        yield 1
        yield object()
    finally:
        raise SystemExit("not in the mood")

@plugin.method(stream=True)
{kind} large(sizes: list[int]) -> {iterator}[str]:
    for size in sizes:
        yield "x" * size

@plugin.method
{plain} seen() -> list[Any]:
    return [made, ended]
"""
KINDS = pytest.mark.parametrize("kind", ["sync", "threads", "async"])


@pytest.fixture
def begin(serve: Launch) -> Callable[[str], RawHost]:
    def start(kind: str) -> RawHost:
        words = {"kind": "def", "iterator": "Iterator", "plain": "def"}
        if kind == "async":
            words = {"kind": "async def", "iterator": "AsyncIterator", "plain": "async def"}
        source = STREAMS
        for word, text in words.items():
            source = source.replace("{" + word + "}", text)
        return serve(source, options="threads=2" if kind == "threads" else "")

    return start


def ask(host: RawHost, method: str, params: Any = None, credit: int = 4) -> Call:
    return host.send(method, params, meta=Meta(credit=credit))


def items_until_the_end(host: RawHost, call: Call) -> list[Any]:
    """Uses whatever comes, until the reply; raises what the stream ends with."""
    got: list[Any] = []

    def take() -> None:
        while host.heard:
            event = host.heard.popleft()
            if isinstance(event, Streamed) and event.call is call:
                got.extend(values.decode(item) for item in event.items)
                host.use(call, len(event.items), size_of(event.items))

    while not call.settled:
        host.hear_more()
        take()
    error = None
    try:
        host.result_of(call)
    except RpcError as problem:
        error = problem
    take()
    if error is not None:
        error.got = got  # type: ignore[attr-defined]
        raise error
    return got


@KINDS
def test_items_come_in_order_and_the_end_is_null(begin: Callable[[str], RawHost], kind: str) -> None:
    host = begin(kind)
    for n, credit in ((0, 1), (1, 1), (5, 1), (1000, 7), (20_000, 1024)):
        assert items_until_the_end(host, ask(host, "count", {"n": n}, credit)) == list(range(n))
    assert host.end() == 0


@KINDS
def test_a_producer_waits_where_it_yields_until_there_is_credit(
    begin: Callable[[str], RawHost], kind: str
) -> None:
    host = begin(kind)
    call = ask(host, "count", {"n": 100}, credit=4)
    got = host.next_items()
    while len(got) < 4:
        got += host.next_items()
    assert host.call("lifecycle/ping")["in_flight"] == 1  # it answers, and produces nothing
    if kind != "sync":
        assert host.call("seen")[0] == 4
    host.use(call, 4)
    while len(got) < 8:
        got += host.next_items()
    assert got == list(range(8))


@KINDS
def test_who_leaves_early_closes_the_generator(begin: Callable[[str], RawHost], kind: str) -> None:
    host = begin(kind)
    call = ask(host, "count", {"n": 100}, credit=4)
    host.next_items()
    host.send_cancel(call)
    with pytest.raises(RpcError) as error:
        host.result_of(call)
    assert error.value.code == ErrorCode.REQUEST_CANCELLED
    made, ended = host.call("seen")
    assert ended == [made]
    assert made <= 4


@KINDS
def test_an_error_comes_after_the_items(begin: Callable[[str], RawHost], kind: str) -> None:
    host = begin(kind)
    with pytest.raises(RpcError) as error:
        items_until_the_end(host, ask(host, "fail", {"after": 3}))
    assert (error.value.code, error.value.got) == (7, [0, 1, 2])  # type: ignore[attr-defined]


@KINDS
def test_an_item_that_cannot_be_sent_is_named(begin: Callable[[str], RawHost], kind: str) -> None:
    host = begin(kind)
    with pytest.raises(RpcError) as error:
        items_until_the_end(host, ask(host, "odd"))
    assert error.value.code == ErrorCode.RESULT_NOT_SERIALIZABLE
    assert error.value.data == {"item": 1}
    assert error.value.got == [1]  # type: ignore[attr-defined]


@KINDS
def test_a_generator_that_raises_as_it_is_closed_is_logged_and_changes_no_end(
    begin: Callable[[str], RawHost], kind: str
) -> None:
    host = begin(kind)
    call = ask(host, "sore")
    message = host.next_notification("log/record")["message"]
    with pytest.raises(RpcError) as error:
        host.result_of(call)
    assert (error.value.code, error.value.data) == (ErrorCode.RESULT_NOT_SERIALIZABLE, {"item": 1})
    assert "sore: its generator raised as it was closed" in message
    assert "SystemExit: not in the mood" in message
    assert items_until_the_end(host, ask(host, "count", {"n": 3})) == [0, 1, 2]


@KINDS
def test_large_items_go_alone_and_small_ones_together(begin: Callable[[str], RawHost], kind: str) -> None:
    host = begin(kind)
    sizes = [10, 60_000, 10_000, 200_000, 1_500_000, 10, 10]
    got = items_until_the_end(host, ask(host, "large", {"sizes": sizes}, credit=100))
    assert [len(item) for item in got] == sizes


def test_a_stream_that_is_asked_for_without_credit_says_so(serve: Launch) -> None:
    host = serve("@plugin.method(stream=True)\ndef lines():\n    yield 1\n")
    with pytest.raises(RpcError) as error:
        host.call("lines")
    assert error.value.code == ErrorCode.INVALID_PARAMS
    assert "meta.credit" in error.value.message


def test_an_item_that_is_followed_by_a_long_wait_arrives_before_it(serve: Launch) -> None:
    host = serve("""
        @plugin.method(stream=True)
        def burst(ctx: Context):
            for i in range(5): yield i
            while not ctx.cancelled: time.sleep(0.001)
    """)
    call = ask(host, "burst", credit=10)
    got: list[Any] = []
    while len(got) < 5:
        got += host.next_items()
    assert got == [0, 1, 2, 3, 4]
    host.nudge()
    host.send_cancel(call)
    assert host.result_of(call) is None


def test_any_iterable_may_be_returned(serve: Launch) -> None:
    host = serve("""
        @plugin.method(stream=True)
        def words(text: str) -> list[str]:
            return text.split()
    """)
    assert items_until_the_end(host, ask(host, "words", {"text": "a b c"})) == ["a", "b", "c"]


def test_the_host_is_told_which_methods_are_streams_and_of_what(launch: Launch) -> None:
    host = launch("""
        from collections.abc import Iterator
        class Line(msgspec.Struct):
            text: str

        @plugin.method(stream=True, idempotent=True, timeout_s=5)
        def lines() -> Iterator[Line]:
            yield Line("a")
    """)
    (method,) = host.initialize()["provides"]["methods"]
    assert (method["stream"], method["idempotent"], method["timeout_s"]) == (True, True, 5)
    assert method["result"]["properties"] == {"text": {"type": "string"}}


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("@plugin.method\ndef lines():\n    yield 1\n", "stream=True"),
        ("@plugin.method(stream=True)\nasync def lines():\n    return 1\n", "has to yield"),
        ("@plugin.method(stream=True)\ndef lines() -> int:\n    yield 1\n", "Iterator[T]"),
    ],
)
def test_a_declaration_that_cannot_be_meant_is_an_authors_mistake(
    launch: Launch, source: str, said: str
) -> None:
    with pytest.raises(RpcError) as error:
        launch(source).initialize()
    assert said in error.value.message


# -- streams of others ---------------------------------------------------------------------------------

USER = """
@plugin.method
{kind} total(most: int, ctx: {context}) -> list[int]:
    got = []
    {loop} number in ctx.stream("other", "numbers", n=5):
        got.append(number)
        if len(got) == most:
            break
    return got
"""


@pytest.mark.parametrize("kind", ["def", "async def"])
@pytest.mark.parametrize("end", ["the end", "an error", "leaving"])
def test_a_handler_uses_a_stream_of_another_plugin(serve: Launch, kind: str, end: str) -> None:
    is_async = kind == "async def"
    source = USER.replace("{kind}", kind).replace("{loop}", "async for" if is_async else "for")
    host = serve(source.replace("{context}", "AsyncContext" if is_async else "Context"))
    call = host.send("total", {"most": 2 if end == "leaving" else 100})
    request = host.next_request("plugin/call")
    assert request.meta is not None
    assert (request.meta.parent, request.meta.credit) == (call.id, 1024)
    sending = host.session.streams.sending(request.id)
    assert sending is not None
    for number in (1, 2, 3):
        sending.add(host.session.writing.item(number))
    host.session.streams.send_items(request.id)
    if end == "leaving":
        host.flush()
        assert host.result_of(call) == [1, 2]
        assert host.next_event() == Cancelled(request.id)
        return
    host.answer(request, RpcError(7, "no more") if end == "an error" else None)
    if end == "the end":
        assert host.result_of(call) == [1, 2, 3]
    else:
        with pytest.raises(RpcError) as error:
            host.result_of(call)
        assert error.value.data["cause"] == {
            "plugin": "other",
            "code": 7,
            "message": "other.numbers: no more",
        }


# -- progress ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["def", "async def"])
def test_the_latest_progress_arrives_though_nobody_says_more(serve: Launch, kind: str) -> None:
    host = serve(
        """
        import asyncio

        @plugin.method
        KIND work(ctx) -> None:
            ctx.progress(1, 3)
            ctx.progress(2, 3)
            ctx.progress(3, 3, "nearly")
            ends_at = time.monotonic() + 20
            while not ctx.cancelled and time.monotonic() < ends_at: time.sleep(0.001)
    """.replace("KIND", kind)
    )
    call = host.send("work", meta=Meta(progress=True))
    assert [host.next_progress().value.done for _ in range(2)] == [1, 3]
    host.nudge()
    host.send_cancel(call)
    assert host.result_of(call) is None
