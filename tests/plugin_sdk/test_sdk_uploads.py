"""Handlers that take items, in a real process with a host that sends them by hand."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from plugin_sdk import Context, Plugin
from plugin_sdk.errors import AuthorMistake
from protocol.envelope import Meta
from protocol.errors import ErrorCode, RpcError
from protocol.events import Wanted
from protocol.lifecycle import MethodInfo
from protocol.pending import Call
from tests.support.raw_host import RawHost, error_of

Launch = Callable[..., RawHost]

SINK = """
from collections.abc import AsyncIterator, Iterator

@plugin.method
{kind} total(numbers: {iterator}[int], times: int = 1) -> int:
    found = 0
    {loop} number in numbers:
        found += number
    return times * found

@plugin.method
{kind} first(numbers: {iterator}[int]) -> int:
    {loop} number in numbers:
        return number

@plugin.method
{kind} keep(numbers: {iterator}[int]) -> None:
    global kept
    kept = numbers
    {loop} number in numbers:
        return

@plugin.method
{kind} use_kept() -> list[int]:
    return [number {loop} number in kept]

@plugin.method
{kind} forgive(numbers: {iterator}[int]) -> int:
    found = 0
    while True:
        try:
            {loop} number in numbers:
                found += number
            return found
        except Exception:
            found += 100
"""
MIXED = """
@plugin.method
async def loops() -> None:
    pass
"""
KINDS = pytest.mark.parametrize("kind", ["sync", "threads", "async", "mixed"])


@pytest.fixture
def begin(serve: Launch) -> Callable[[str], RawHost]:
    def start(kind: str) -> RawHost:
        words = {"kind": "def", "iterator": "Iterator", "loop": "for"}
        if kind == "async":
            words = {"kind": "async def", "iterator": "AsyncIterator", "loop": "async for"}
        source = SINK
        for word, text in words.items():
            source = source.replace("{" + word + "}", text)
        source += MIXED if kind == "mixed" else ""
        return serve(source, options="threads=2" if kind == "threads" else "")

    return start


def ask(host: RawHost, method: str, params: Any = None) -> Call:
    """Returns when the handler has asked for its first item."""
    call = host.send(method, params, meta=Meta(up=True))
    wanted(host, call)
    return call


def wanted(host: RawHost, call: Call) -> None:
    while True:
        event = host.next_event()
        if isinstance(event, Wanted) and event.call is call:
            return


def give(host: RawHost, call: Call, *items: Any, end: bool = False) -> None:
    sending = host.session.streams.sending(call)
    assert sending is not None
    for item in items:
        sending.add(host.session.writing.item(item))
    host.session.streams.send_items(call, end=end)
    host.flush()


@KINDS
def test_a_handler_takes_items_as_they_come_until_their_end(
    begin: Callable[[str], RawHost], kind: str
) -> None:
    host = begin(kind)
    call = ask(host, "total", {"times": 2})
    give(host, call, 1, 2)
    give(host, call, 3)
    give(host, call, end=True)
    assert host.result_of(call) == 12
    call = ask(host, "total")
    give(host, call, end=True)
    assert host.result_of(call) == 0
    assert host.end() == 0


@KINDS
def test_credit_comes_back_as_items_are_used(begin: Callable[[str], RawHost], kind: str) -> None:
    host = begin(kind)
    call = ask(host, "total")
    for _ in range(5):
        give(host, call, *[1] * 1024)
        if not host.session.streams.sending(call).has_room:  # type: ignore[union-attr]
            wanted(host, call)
        while host.session.streams.sending(call).credit < 1024:  # type: ignore[union-attr]
            host.hear_more()
    give(host, call, end=True)
    assert host.result_of(call) == 5 * 1024


@KINDS
def test_a_handler_that_is_cancelled_while_it_waits_for_an_item_ends(
    begin: Callable[[str], RawHost], kind: str
) -> None:
    host = begin(kind)
    call = ask(host, "total")
    host.send_cancel(call)
    with pytest.raises(RpcError) as refused:
        host.result_of(call)
    assert refused.value.code == ErrorCode.REQUEST_CANCELLED
    assert host.end() == 0


@KINDS
def test_a_handler_that_waits_for_an_item_does_not_outlive_its_host(
    begin: Callable[[str], RawHost], kind: str
) -> None:
    host = begin(kind)
    ask(host, "total")
    host.close_stdin()
    host.wait_ended()
    assert host.process.wait(5) == 0


@KINDS
def test_items_after_the_handler_has_returned_are_nobodys(begin: Callable[[str], RawHost], kind: str) -> None:
    host = begin(kind)
    call = ask(host, "first")
    give(host, call, 5, 6)
    assert host.result_of(call) == 5
    call = ask(host, "keep")
    give(host, call, 1, 2, 3)
    assert host.result_of(call) is None
    assert host.call("use_kept") == []


@KINDS
def test_an_item_of_another_type_is_the_callers_error_with_its_place(
    begin: Callable[[str], RawHost], kind: str
) -> None:
    host = begin(kind)
    call = ask(host, "total")
    give(host, call, 1, "two", 3, end=True)
    with pytest.raises(RpcError) as refused:
        host.result_of(call)
    assert refused.value.code == ErrorCode.INVALID_PARAMS
    assert refused.value.data == [{"path": "$.numbers[1]", "reason": "expected `int`, got `str`"}]
    call = ask(host, "forgive")  # whoever catches it goes on with the next
    give(host, call, 1, "two", 3, end=True)
    assert host.result_of(call) == 104


@KINDS
def test_a_host_that_sends_more_than_it_may_is_told(begin: Callable[[str], RawHost], kind: str) -> None:
    host = begin(kind)
    call = ask(host, "total")
    host.notify("$/stream", {"id": call.id, "seq": 7, "items": [1], "up": True})
    with pytest.raises(RpcError) as refused:
        host.result_of(call)
    assert refused.value.code == ErrorCode.FLOW_CONTROL


@KINDS
def test_a_request_without_items_or_with_wrong_params_is_refused(
    begin: Callable[[str], RawHost], kind: str
) -> None:
    host = begin(kind)
    for params in ({}, {"numbers": [1]}):
        assert "meta.up" in error_of(host, "total", params).message
    call = host.send("total", {"times": "x"}, meta=Meta(up=True))
    with pytest.raises(RpcError, match="times"):
        host.result_of(call)


def test_a_method_says_which_parameter_takes_items() -> None:
    plugin = Plugin()

    @plugin.method
    def put(name: str, lines: Iterator[str], ctx: Context) -> int:
        return 0

    @plugin.method
    async def pour(items: AsyncIterator) -> int:  # type: ignore[type-arg]
        return 0

    put_info, pour_info = plugin.provides().methods
    assert isinstance(put_info, MethodInfo)
    assert put_info.takes == {"lines": {"type": "string"}}
    assert list((put_info.params or {})["properties"]) == ["name"]
    assert pour_info.takes == {"items": {}}


def one(a: Iterator[str]) -> None: ...
def two(a: Iterator[str], b: Iterator[str]) -> None: ...
def default(a: Iterator[str] = iter(())) -> None: ...  # noqa: B008
def wrong(a: AsyncIterator[str]) -> None: ...
async def wrong_too(a: Iterator[str]) -> None: ...
def unknown(a: Iterator[complex]) -> None: ...
def items(a: Iterator[str]) -> Iterator[str]:
    yield from a


@pytest.mark.parametrize(
    ("function", "options", "text"),
    [
        (two, {}, "`a` and `b` both take items"),
        (default, {}, "cannot have a default"),
        (wrong, {}, r"`a` of `def` has to be an Iterator\[T\]"),
        (wrong_too, {}, r"`a` of `async def` has to be an AsyncIterator\[T\]"),
        (unknown, {}, "JSON cannot carry it"),
        (items, {"stream": True}, "cannot answer in items as well"),
        (items, {}, "it yields"),
        (one, {"idempotent": True}, "cannot be idempotent"),
    ],
)
def test_a_parameter_for_items_that_cannot_be_is_the_authors_mistake(
    function: Any, options: dict[str, Any], text: str
) -> None:
    with pytest.raises(AuthorMistake, match=text):
        Plugin().method(name="m", **options)(function)


def test_hooks_and_events_take_no_items() -> None:
    plugin = Plugin()
    with pytest.raises(AuthorMistake, match="takes items, as methods alone can"):
        plugin.hook("a.b")(one)
    with pytest.raises(AuthorMistake, match="takes items, as methods alone can"):
        plugin.on_event("a.b")(one)
