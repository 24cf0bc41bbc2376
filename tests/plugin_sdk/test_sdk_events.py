"""Events as a plugin's process handles them: in order, acknowledged, and no more than one at a time."""

from __future__ import annotations

import pytest

from plugin_sdk import Plugin
from plugin_sdk.errors import AuthorMistake
from tests.plugin_sdk.conftest import Launch
from tests.support.raw_host import RawHost

HEARS = """
heard = []
go_on = threading.Event()

@plugin.on_event("news.today")
def hear(value: Any, ctx: Context) -> None:
    if value == "hang":
        ctx.status("in")
        go_on.wait()
    if value == "fail":
        raise ValueError("no")
    heard.append(value)

@plugin.method
def look() -> Any:
    return heard
"""


def tell(host: RawHost, *values: object) -> None:
    for value in values:
        host.notify("event/news.today", {"value": value, "publisher": "somebody"})


def acknowledged(host: RawHost, count: int) -> int:
    """Waits for acknowledgements of `count` events; how many have failed of them."""
    failed = 0
    while count > 0:
        said = host.next_notification("event/ack")
        count -= said["n"]
        failed += said.get("failed", 0)
    assert count == 0
    return failed


@pytest.mark.parametrize("options", ["", "threads=3"])
def test_every_event_is_handled_in_order_and_acknowledged(serve: Launch, options: str) -> None:
    with serve(HEARS, options=options) as host:
        tell(host, *range(50))
        assert acknowledged(host, 50) == 0
        assert host.call("look") == list(range(50))


def test_an_event_that_fails_is_counted_and_logged(serve: Launch) -> None:
    with serve(HEARS) as host:
        tell(host, "fail")
        logged = host.next_notification("log/record")
        assert "event/news.today" in logged["message"]
        assert "ValueError: no" in logged["message"]
        tell(host, 1, 2)
        assert acknowledged(host, 3) == 1
        assert host.call("look") == [1, 2]


def test_pings_are_answered_while_a_handler_hangs(serve: Launch) -> None:
    with serve(HEARS) as host:
        tell(host, "hang")
        host.next_notification("status/text")
        ping = host.send("lifecycle/ping")
        host.nudge()
        assert host.result_of(ping)["in_flight"] == 0


@pytest.mark.parametrize("options", ["", "threads=2"])
@pytest.mark.parametrize("kind", ["def", "async def"])
def test_the_end_does_not_wait_for_events_that_have_not_begun(serve: Launch, options: str, kind: str) -> None:
    code = """
@plugin.on_event("news.today")
def hear(value: Any, ctx: Context) -> None:
    ctx.status("in")
    WAIT

@plugin.on_stop
def end() -> None:
    print("ends")
"""
    code = code.replace("def hear", f"{kind} hear")
    code = code.replace("WAIT", "time.sleep(0.2)" if kind == "def" else "await asyncio.sleep(0.2)")
    with serve("import asyncio\n" + code, options=options) as host:
        tell(host, *range(60))
        host.next_notification("status/text")
        call = host.send("shutdown")
        host.nudge()
        host.result_of(call, 5)  # and not 12 s
        assert "ends" in host.stderr()


def test_start_code_knows_what_is_provided(launch: Launch) -> None:
    with launch(
        HEARS + '\nclass News(msgspec.Struct):\n    text: str\nplugin.topic("news.old", News)\n'
    ) as host:
        provides = host.initialize()["provides"]
        assert provides["subscribes"] == ["news.today"]
        (declared,) = provides["events"]
        assert declared["topic"] == "news.old"
        assert "text" in str(declared["schema"])


def test_a_plugin_may_do_nothing_but_hear(serve: Launch) -> None:
    code = '\n@plugin.on_event("news.today")\ndef hear(value: int) -> None:\n    print("heard", value)\n'
    with serve(code) as host:
        tell(host, 7)
        assert acknowledged(host, 1) == 0
        assert "heard 7" in host.stderr()


def test_what_cannot_be_declared_is_said_at_once() -> None:
    plugin = Plugin()
    plugin.topic("news.today")
    plugin.on_event("news.today")(lambda value: None)
    with pytest.raises(AuthorMistake, match="twice"):
        plugin.topic("news.today")
    with pytest.raises(AuthorMistake, match="cannot be a topic's name"):
        plugin.topic("News!")
    with pytest.raises(AuthorMistake, match="JSON cannot carry it"):
        plugin.topic("news.other", complex)
    with pytest.raises(AuthorMistake, match="two functions"):
        plugin.on_event("news.today")(lambda value: None)
    with pytest.raises(AuthorMistake, match="takes more"):
        plugin.on_event("news.other")(lambda one, other: None)
    with pytest.raises(AuthorMistake, match="cannot be a topic's name"):
        plugin.on_event("News!")(lambda value: None)
