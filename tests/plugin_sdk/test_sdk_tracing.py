"""The trace that a call belongs to, as its handler sees it, and as the handler's log records carry it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from protocol.envelope import Meta
from tests.support.raw_host import RawHost

Launch = Callable[..., RawHost]

SOURCE = """
    @plugin.method
    {kind}def say(text: str, ctx: {context}) -> list[str | None]:
        {pause}
        logging.getLogger("deep.inside").warning(text)
        return [ctx.traceparent, ctx.tracestate]
"""
SYNC = SOURCE.format(kind="", context="Context", pause="time.sleep(0.01)")
ASYNC = "import asyncio\n" + SOURCE.format(
    kind="async ", context="AsyncContext", pause="await asyncio.sleep(0.01)"
).replace("\n    ", "\n")


def parent(number: int) -> str:
    return f"00-{number:032x}-{number:016x}-01"


@pytest.mark.parametrize(
    ("source", "options"),
    [(SYNC, ""), (SYNC, "threads=4"), (ASYNC, "")],
    ids=["one at a time", "on threads", "async"],
)
def test_each_handler_has_its_own_trace_and_so_have_its_records(
    serve: Launch, source: str, options: str
) -> None:
    host = serve(source, options=options)
    calls = {
        number: host.send(
            "say", {"text": str(number)}, meta=Meta(traceparent=parent(number), tracestate="a=b")
        )
        for number in range(1, 21)
    }
    for number, call in calls.items():
        assert host.result_of(call) == [parent(number), "a=b"]
    records = [host.next_notification("log/record") for _ in calls]
    assert {record["message"]: record["fields"] for record in records} == {
        str(number): {"traceparent": parent(number)} for number in calls
    }


def test_a_call_without_a_trace_leaves_no_trace(serve: Launch) -> None:
    host = serve(SYNC)
    assert host.call("say", {"text": "one"}, meta=Meta(traceparent=parent(1))) == [parent(1), None]
    assert host.call("say", {"text": "two"}) == [None, None]
    records = [host.next_notification("log/record") for _ in range(2)]
    assert [record.get("fields") for record in records] == [{"traceparent": parent(1)}, None]


def test_the_sdk_wants_to_be_told_if_the_host_offers_it(launch: Launch) -> None:
    assert "trace" in launch(SYNC).initialize(features=("trace", "unheard-of"))["features"]
    assert launch(SYNC).initialize(features=())["features"] == []
