"""Events between real plugins and the app: held to their schema, in order, and never waited for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from host import (
    BlockingHost,
    ContractError,
    Host,
    HostMisuse,
    NotSerializable,
    PayloadTooLarge,
    Published,
    Topic,
    UnknownTopic,
)
from host.observability.events import PluginProblem
from tests.support.plugins import RAW, Events, make_host, settled, write_plugin, write_raw_plugin

pytestmark = pytest.mark.anyio

POST = """
import msgspec
from plugin_sdk import CallFailed

class Mail(msgspec.Struct):
    to: str
    size: int = 0

plugin.topic("mail.received", Mail)
plugin.topic("mail.count")

@plugin.method
def send(ctx: Context, topic: str = "mail.received", value: Any = None) -> Any:
    try:
        ctx.publish(topic, {"to": "Ada"} if value is None else value)
    except CallFailed as failed:
        return [type(failed).__name__, failed.code, failed.message, failed.data]

@plugin.method
def many(count: int, ctx: Context, size: int = 0, first: int = 0) -> None:
    for number in range(first, first + count):
        ctx.publish("mail.count", [number, "x" * size])
"""
READER = """
import msgspec
heard = []

class Mail(msgspec.Struct):
    to: str
    size: int = 0

@plugin.on_event("mail.received")
def received(mail: Mail, publisher: str | None, ctx: Context) -> None:
    ctx.log.info("mail for %s", mail.to)
    heard.append([mail.to, mail.size, publisher])

@plugin.on_event("mail.count")
def counted(value: Any) -> None:
    heard.append(value[0])

@plugin.method
def look() -> Any:
    return heard
"""
MAY = {"events": ["mail.*"]}


class Office:
    """A host with a plugin that publishes, `post`, and others that hear of it."""

    def __init__(self, host: Host) -> None:
        self.host = host

    async def send(self, **params: Any) -> Any:
        return await self.host.call("post", "send", timeout=10, **params)

    async def heard(self, plugin: str, until: Callable[[list[Any]], bool]) -> list[Any]:
        with anyio.fail_after(10):
            while not until(seen := await self.host.call(plugin, "look", timeout=10)):  # noqa: ASYNC110
                await anyio.sleep(0.01)
        return list(seen)

    def events(self, plugin: str) -> Any:
        return self.host.status(plugin).plugins[0].events

    async def becomes(self, plugin: str, condition: Callable[[Any], bool]) -> None:
        with anyio.fail_after(10):
            while not condition(self.events(plugin)):  # noqa: ASYNC110  # no event tells
                await anyio.sleep(0.01)


def post(tmp_path: Path, code: str = POST) -> Path:
    return write_plugin(tmp_path, "post", code, permissions=MAY)


def reader(tmp_path: Path, name: str = "reader", code: str = READER, **tables: Any) -> Path:
    return write_plugin(tmp_path, name, code, **({"permissions": MAY} | tables))


async def test_everybody_who_hears_of_a_topic_is_told(tmp_path: Path) -> None:
    plugins = [post(tmp_path), reader(tmp_path, "one"), reader(tmp_path, "other")]
    async with make_host(tmp_path, *plugins) as host:
        office = Office(host)
        assert await office.send(value={"to": "Ada", "size": 3}) is None
        for name in ("one", "other"):
            assert await office.heard(name, bool) == [["Ada", 3, "post"]]
            await office.becomes(name, lambda events: events.delivered == 1)
        assert office.events("post").published == 1


async def test_the_events_of_a_publisher_come_in_order_and_all_of_them_to_who_keeps_up(
    tmp_path: Path,
) -> None:
    async with make_host(tmp_path, post(tmp_path), reader(tmp_path)) as host:
        office = Office(host)
        await host.call("post", "many", count=200, timeout=20)
        assert await office.heard("reader", lambda heard: len(heard) == 200) == list(range(200))
        assert office.events("reader").dropped == 0


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({"value": {"to": 1, "size": "x"}}, ["ContractError", -32602]),
        ({"topic": "mail.recieved"}, ["UnknownTopic", -32000]),
        ({"topic": "news.today"}, ["PermissionDenied", -32009]),
        ({"value": {"to": "x" * 300_000}}, ["RemoteError", -32006]),
    ],
    ids=["no fit", "a slip", "not permitted", "too large"],
)
async def test_what_may_not_be_published_nobody_hears_of(
    tmp_path: Path, wanted: dict[str, Any], expected: list[Any]
) -> None:
    async with make_host(tmp_path, post(tmp_path), reader(tmp_path)) as host:
        office = Office(host)
        kind, code, message, data = await office.send(**wanted)
        assert [kind, code] == expected
        if kind == "ContractError":
            assert {problem["path"] for problem in data} == {"$.to", "$.size"}  # all of them
        if kind == "PermissionDenied":
            assert 'events = ["mail.*","news.today"]' in message
        await office.send()
        assert await office.heard("reader", bool) == [["Ada", 0, "post"]]
        assert office.events("post").published == 1


async def test_a_slip_in_a_topics_name_is_told_which_was_meant(tmp_path: Path) -> None:
    async with Host(data_dir=tmp_path, topics=[Topic("mail.received")]) as host:
        with pytest.raises(UnknownTopic) as caught:
            await host.publish("mail.recieved", 1)
        assert "did you mean `mail.received`?" in str(caught.value)


async def test_a_subscriber_that_may_not_hear_is_not_told_and_the_operator_is(tmp_path: Path) -> None:
    host = make_host(tmp_path, post(tmp_path), reader(tmp_path, permissions={"events": ["mail.count"]}))
    events = Events(host)
    async with host:
        told = await events.until(lambda event: isinstance(event, PluginProblem))
        assert 'events = ["mail.count","mail.received"]' in told.message
        office = Office(host)
        await office.send()
        await host.call("post", "many", count=1, timeout=10)
        assert await office.heard("reader", bool) == [0]


async def test_one_that_starts_later_hears_what_is_published_later(tmp_path: Path) -> None:
    async with make_host(tmp_path, post(tmp_path)) as host:
        office = Office(host)
        await office.send(value={"to": "early"})
        await host.add(reader(tmp_path))
        await office.send(value={"to": "late"})
        assert await office.heard("reader", bool) == [["late", 0, "post"]]
        await host.restart("reader")
        await office.send(value={"to": "later"})
        assert await office.heard("reader", bool) == [["later", 0, "post"]]


SLOW = """
go_on = threading.Event()
heard = []

@plugin.on_event("mail.count")
def counted(value: Any) -> None:
    go_on.wait()
    heard.append(value[0])

@plugin.method
async def release() -> None:
    go_on.set()

@plugin.method
async def look() -> Any:
    return heard
"""


async def test_who_hangs_loses_events_of_its_own_and_holds_up_nobody(tmp_path: Path) -> None:
    plugins = [post(tmp_path), reader(tmp_path), reader(tmp_path, "slow", SLOW)]
    host = make_host(tmp_path, *plugins)
    events = Events(host)
    async with host:
        office = Office(host)
        for first in range(0, 1000, 200):  # no more at once than may wait, however late the reader is
            await host.call("post", "many", count=200, first=first, timeout=30)
            heard = await office.heard("reader", lambda heard, end=first + 200: len(heard) == end)
            assert heard == list(range(first + 200))
        assert office.events("reader").dropped == 0
        slow = office.events("slow")
        assert (slow.delivered, slow.dropped) == (64, 1000 - 64 - 256)
        told = await events.until(lambda event: isinstance(event, PluginProblem))
        assert told.plugin == "slow"
        await host.call("slow", "release", timeout=10)
        heard = await office.heard("slow", lambda heard: len(heard) == 64 + 256)
        assert heard == [*range(64), *range(1000 - 256, 1000)]
        await office.becomes("slow", lambda events: events.delivered == 64 + 256)


FAILS = """
heard = []

@plugin.on_event("mail.count")
def counted(value: list[int]) -> None:
    if value[0] == 1:
        raise ValueError("one is too many")
    heard.append(value[0])

@plugin.method
def look() -> Any:
    return heard
"""


async def test_a_handler_that_raises_is_logged_and_counted_and_the_next_event_comes(tmp_path: Path) -> None:
    code = FAILS.replace("list[int]", "tuple[int, str]")
    host = make_host(tmp_path, post(tmp_path), reader(tmp_path, code=code))
    events = Events(host)
    async with host:
        office = Office(host)
        await host.call("post", "many", count=3, timeout=10)
        assert await office.heard("reader", lambda heard: len(heard) == 2) == [0, 2]
        logged = await events.log("reader", "one is too many")
        assert logged.message.startswith("event/mail.count: ")
        await office.becomes("reader", lambda events: (events.delivered, events.failed) == (3, 1))
        assert host.status("reader").plugins[0].state == "running"


async def test_a_value_that_a_handler_cannot_take_is_logged_and_counted(tmp_path: Path) -> None:
    host = make_host(tmp_path, post(tmp_path), reader(tmp_path, code=FAILS))  # a list of numbers: it is not
    events = Events(host)
    async with host:
        await host.call("post", "many", count=1, timeout=10)
        logged = await events.log("reader", "event/mail.count: ")
        assert "$.value[1]" in logged.message
        await Office(host).becomes("reader", lambda events: events.failed == 1)


ASYNC = """
import asyncio
heard = []

@plugin.on_event("mail.count")
async def counted(value: Any, ctx: AsyncContext) -> None:
    await asyncio.sleep(0.02 if value[0] == 0 else 0)
    await ctx.store.set("last", value[0])
    heard.append(value[0])

@plugin.method
async def look() -> Any:
    return heard
"""


@pytest.mark.parametrize("threads", [1, 3])
async def test_events_are_handled_in_order_whatever_runs_the_handlers(tmp_path: Path, threads: int) -> None:
    threaded = READER.replace("heard = []", f"heard = []\nplugin.threads = {threads}")
    plugins = [post(tmp_path), reader(tmp_path, "async", ASYNC), reader(tmp_path, "threaded", threaded)]
    async with make_host(tmp_path, *plugins) as host:
        office = Office(host)
        await host.call("post", "many", count=100, timeout=20)
        for name in ("async", "threaded"):
            assert await office.heard(name, lambda heard: len(heard) == 100) == list(range(100))


async def test_a_plugin_does_not_hear_itself(tmp_path: Path) -> None:
    async with make_host(tmp_path, post(tmp_path, POST + READER), reader(tmp_path)) as host:
        office = Office(host)
        await office.send()
        assert await office.heard("reader", bool) == [["Ada", 0, "post"]]
        assert await host.call("post", "look", timeout=10) == []


async def test_a_start_and_a_stop_may_be_published(tmp_path: Path) -> None:
    code = (
        POST
        + """
@plugin.on_start
def begin(ctx: Context) -> None:
    ctx.publish("mail.count", ["begins"])

@plugin.on_stop
def end(ctx: Context) -> None:
    ctx.publish("mail.count", ["ends"])
"""
    )
    async with make_host(tmp_path, reader(tmp_path)) as host:
        await host.add(post(tmp_path, code))
        await host.stop("post")
        assert await Office(host).heard("reader", lambda heard: len(heard) == 2) == ["begins", "ends"]


class Mail(msgspec.Struct):
    to: str
    size: int = 0


async def test_the_app_publishes_and_hears_with_its_own_types(tmp_path: Path) -> None:
    seen: list[Published] = []
    topics = [Topic("mail.received", type=Mail)]
    host = make_host(tmp_path, post(tmp_path), reader(tmp_path), topics=topics)
    end = host.subscribe("mail.received", seen.append)
    async with host:
        office = Office(host)
        await host.publish("mail.received", Mail("Bob", 2))
        await office.send()
        assert await office.heard("reader", lambda heard: len(heard) == 2) == [
            ["Bob", 2, None],
            ["Ada", 0, "post"],
        ]
        assert seen == [
            Published("mail.received", Mail("Bob", 2), None),
            Published("mail.received", Mail("Ada"), "post"),
        ]
        end()
        await office.send()
        assert len(seen) == 2


async def test_the_apps_word_on_a_topic_is_the_last(tmp_path: Path) -> None:
    class Large(msgspec.Struct):
        size: int

    async with make_host(tmp_path, post(tmp_path), topics=[Topic("mail.received", type=Large)]) as host:
        kind, _, message, _ = await Office(host).send()
        assert kind == "ContractError"
        assert "$.size" in message


async def test_the_app_is_refused_what_a_plugin_is_refused(tmp_path: Path) -> None:
    async with Host(data_dir=tmp_path, topics=[Topic("mail.received", type=Mail)]) as host:
        with pytest.raises(ContractError) as caught:
            await host.publish("mail.received", {"size": "large"})
        assert {problem["path"] for problem in caught.value.data} == {"$.to", "$.size"}
        with pytest.raises(NotSerializable):
            await host.publish("mail.received", object())
        with pytest.raises(NotSerializable, match=r"\$\.size: nan is no number that JSON has"):
            await host.publish("mail.received", {"to": "x", "size": float("nan"), "more": None})
        with pytest.raises(PayloadTooLarge):
            await host.publish("mail.received", Mail("x" * 300_000))
    with pytest.raises(HostMisuse):
        await host.publish("mail.received", Mail("x"))


async def test_a_subscriber_of_the_apps_that_raises_hurts_nobody(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(published: Published) -> None:
        raise ValueError("not now")

    seen: list[Any] = []
    async with Host(data_dir=tmp_path, topics=[Topic("news")]) as host:
        host.subscribe("news", fail)
        host.subscribe("news", seen.append)
        for number in range(1000):
            await host.publish("news", number)
        assert len(seen) == 1000
    said = capsys.readouterr().err
    assert said.count("Traceback") == said.count("ValueError: not now") == 1
    assert "999 times more" in said


def test_what_cannot_be_a_topic_is_refused(tmp_path: Path) -> None:
    for make in (
        lambda: Topic("Mail!"),
        lambda: Topic("mail", type=complex),
        lambda: Host(data_dir=tmp_path, topics=[Topic("mail"), Topic("mail")]),
        lambda: Host(data_dir=tmp_path).subscribe("Mail!", print),
    ):
        with pytest.raises(HostMisuse):
            make()


def test_a_blocking_host_publishes_and_hears(tmp_path: Path) -> None:
    seen: list[Any] = []
    with BlockingHost(data_dir=tmp_path, topics=[Topic("news", type=int)]) as host:
        end = host.subscribe("news", seen.append)
        host.publish("news", 1)
        end()
        host.publish("news", 2)
    assert seen == [Published("news", 1, None)]


DEAF = """
handshake(provides={"methods": [{"name": "echo"}], "subscribes": ["mail.count"]})
heard = 0
while True:
    message = receive()
    if message["method"].startswith("event/"):
        heard += 1
    elif message["method"] == "exit":
        sys.exit(0)
    elif message["method"] == "echo":
        send(method="event/ack", params={"n": 10**12, "failed": 10**12})
        send(method="event/ack", params=[])
        send(method="event/ack", params={"n": -1})
        send(id=message["id"], result=heard)
    elif "id" in message:
        send(id=message["id"], result=None)
"""


async def test_one_that_acknowledges_nothing_is_sent_no_more_than_the_window(tmp_path: Path) -> None:
    deaf = write_raw_plugin(tmp_path, "deaf", DEAF, permissions=MAY)
    assert "handshake" in RAW
    async with make_host(tmp_path, post(tmp_path), deaf) as host:
        office = Office(host)
        await host.call("post", "many", count=100, size=1000, timeout=20)
        assert await host.call("deaf", "echo", timeout=10) == 64
        await office.becomes("deaf", lambda events: events.delivered == 100)  # by then it had said so
        assert office.events("deaf").failed == 64  # no more than it was sent


async def test_many_publishers_at_once_are_each_in_order(tmp_path: Path) -> None:
    names = [f"post-{number}" for number in range(3)]
    posts = [write_plugin(tmp_path, name, POST, permissions=MAY) for name in names]
    all_read = reader(
        tmp_path,
        code=READER.replace("(value: Any)", "(value: Any, publisher: str)").replace(
            "heard.append(value[0])", "heard.append([publisher, value[0]])"
        ),
    )
    async with make_host(tmp_path, *posts, all_read) as host:
        calls = [lambda name=name: host.call(name, "many", count=80, timeout=30) for name in names]
        assert await settled(calls) == [None] * 3
        heard = await Office(host).heard("reader", lambda heard: len(heard) == 240)
        for name in names:
            assert [number for publisher, number in heard if publisher == name] == list(range(80))
