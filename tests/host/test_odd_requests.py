"""What a plugin asks of its store, and publishes, may be anything: it is answered, and nobody is hurt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from host import Host
from tests.support.plugins import make_host, write_raw_plugin

pytestmark = pytest.mark.anyio

ASKS = """
handshake(provides={
    "methods": [{"name": "ask"}],
    "events": [
        {"topic": "Bad topic\\n"}, {"topic": "odd", "schema": {"type": "nonsense"}}, {"topic": "even"}
    ],
    "subscribes": ["Bad topic\\n", "odd", ""],
})
while True:
    message = receive()
    if message["method"] == "exit":
        sys.exit(0)
    if message["method"] == "ask":
        answers = []
        for number, (method, params) in enumerate(message["params"]["of"], start=1):
            send(id=number, method=method, params=params)
            answer = receive()
            answers.append(answer["result"] if "result" in answer else answer["error"]["code"])
        send(id=message["id"], result=answers)
    elif "id" in message:
        send(id=message["id"], result=None)
"""


async def answers(host: Host, method: str, *params: Any) -> Any:
    return await host.call("asker", "ask", of=[[method, each] for each in params], timeout=10)


def asker(tmp_path: Path) -> Host:
    return make_host(tmp_path, write_raw_plugin(tmp_path, "asker", ASKS, permissions={"events": ["*"]}))


async def test_a_request_to_the_store_that_makes_no_sense_is_answered_so(tmp_path: Path) -> None:
    async with asker(tmp_path) as host:
        wrong = {"": {}, "x": [], "key": {"key": 5}, "empty": {"key": ""}, "long": {"key": "k" * 513}}
        assert await answers(host, "store/get", *wrong.values()) == [-32602] * 5
        assert await answers(host, "store/delete", *wrong.values()) == [-32602] * 5
        odd = [{"values": [1]}, {"values": {"": 1}}, {"if_revision": {"a": -1}}, {"delete": "a"}]
        assert await answers(host, "store/set", *odd) == [-32602] * 4
        odd = [{"limit": 0}, {"limit": 1001}, {"prefix": 5}]
        assert await answers(host, "store/list", *odd) == [-32602] * 3
        assert await answers(host, "store/clear", {}) == [-32601]


async def test_the_store_is_a_plain_one_on_the_wire(tmp_path: Path) -> None:
    async with asker(tmp_path) as host:
        first, refused, second = await answers(
            host,
            "store/set",
            {"values": {"a": 1, "b": None}},
            {"values": {"a": 2}, "if_revision": {"a": 7}},
            {"values": {"a": 2}, "delete": ["b"], "if_revision": {"a": 1, "c": 0}},
        )
        assert (first, refused, second) == ({"revision": 1}, -32000, {"revision": 2})
        found = await answers(host, "store/get", {"key": "a"}, {"key": "b"})
        assert found == [{"value": 2, "revision": 2}, {"revision": 0}]
        assert await answers(host, "store/list", {}, {"after": "a"}) == [
            {"keys": ["a"], "more": False},
            {"keys": [], "more": False},
        ]


async def test_an_event_that_makes_no_sense_is_answered_so(tmp_path: Path) -> None:
    async with asker(tmp_path) as host:
        odd = [{}, [], {"topic": 5, "value": 1}, {"topic": "odd"}]
        assert await answers(host, "event/publish", *odd) == [-32602] * 4
        odd = [{"topic": topic, "value": 1} for topic in ("Bad topic\n", "", "other", "x" * 100_000)]
        assert await answers(host, "event/publish", *odd) == [-32000] * 4
        fine = [{"topic": "odd", "value": 1}, {"topic": "even", "value": None}]  # a schema that is none
        assert await answers(host, "event/publish", *fine) == [{}, {}]
        assert host.status("asker").plugins[0].events.published == 2
