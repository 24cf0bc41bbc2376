"""A plugin whose own schemas are made to hurt, at every door: the host goes on, and so do the others."""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from host import ConfigError, ContractError, ExtensionPoint, Host, OutboardError, PluginUnavailable
from host.observability.events import PluginProblem
from tests.support.plugins import Events, make_host, write_plugin, write_raw_plugin
from tests.support.schemas import SENT

pytestmark = pytest.mark.anyio

CODE = """
SCHEMA = json.loads(HERE)
handshake(
    features=["config"],
    provides={
        "methods": [{"name": "echo", "params": SCHEMA, "result": SCHEMA}, {"name": "publish"}],
        "hooks": [{"point": "ask", "schema": {"params": SCHEMA, "result": SCHEMA}}],
        "events": [{"topic": "news", "schema": SCHEMA}],
        "config_schema": SCHEMA,
    },
)
asked_by = None
while True:
    message = receive()
    method = message.get("method")
    if method == "exit":
        sys.exit(0)
    if method == "publish":
        asked_by = message["id"]
        send(id=1, method="event/publish", params={"topic": "news", "value": message["params"]})
    elif method is None:
        send(id=asked_by, result=message.get("error", {}).get("code"))
    elif "id" in message:
        send(id=message["id"], result=message["params"])
"""
VALUE = {"a": "a" * 30_000 + "b"}


def hostile(tmp_path: Path, schema: Any) -> Path:
    code = f"HERE = {json.dumps(schema)!r}\n{CODE}"
    return write_raw_plugin(tmp_path, "hostile", code, permissions={"events": ["news"]})


@pytest.mark.parametrize("what", SENT)
async def test_a_schema_made_to_hurt_hurts_at_no_door(tmp_path: Path, what: str) -> None:
    plugins = [hostile(tmp_path, SENT[what]), write_plugin(tmp_path, "good")]
    overrides = tmp_path / "overrides.toml"
    host = make_host(tmp_path, *plugins, extension_points=[ExtensionPoint("ask")], overrides=overrides)
    started = time.process_time()
    async with host:
        doors: list[Callable[[], Awaitable[Any]]] = [
            lambda: host.call("hostile", "echo", params=VALUE),
            lambda: host.call("hostile", "publish", params=VALUE),
            lambda: host.hook("ask", params=VALUE),
            lambda: host.configure({"plugins.hostile.settings.a": VALUE["a"]}),
            lambda: host.configure({"plugins.hostile.settings": {str(n): 1 for n in range(1000)}}),
            lambda: _at_once(host),
        ]
        for door in doors:
            with anyio.fail_after(10):
                try:
                    await door()
                except (ContractError, ConfigError, PluginUnavailable):
                    pass
        assert await host.call("good", "echo", value=1) == 1
    assert time.process_time() - started < 8


async def _at_once(host: Host) -> None:
    """What is asked of the loop's own thread."""
    host.configuration()
    host.configuration_schema()
    host.contract("hostile")
    host.status()


async def test_a_topic_whose_schema_is_not_held_is_told_of_and_its_values_pass(tmp_path: Path) -> None:
    async with make_host(tmp_path, hostile(tmp_path, SENT["doubling"])) as host:
        events = Events(host)
        assert await host.call("hostile", "publish", params=VALUE) is None
        told = await events.until(lambda event: isinstance(event, PluginProblem))
        assert isinstance(told, PluginProblem)
        assert "topic news: the schema of its values is not held" in told.message


async def test_a_value_that_does_not_fit_its_topic_is_told_of_in_the_words_of_params(tmp_path: Path) -> None:
    code = """
    plugin.topic("news", dict[str, int])

    @plugin.method
    def tell(ctx: Context) -> None:
        ctx.publish("news", {"size": "large", "more": 1})
    """
    teller = write_plugin(tmp_path, "teller", code, permissions={"events": ["news"]})
    async with make_host(tmp_path, teller) as host:
        with pytest.raises(OutboardError, match=r"\$\.size: expected `int`, got `str`$"):
            await host.call("teller", "tell")


DEEP = """
body = b'{"jsonrpc":"2.0","id":%d,"result":{"protocol":1,"provides":{"config_schema":%s}}}' % (
    receive()["id"], b'{"not":' * 100_000 + b"{}" + b"}" * 100_000
)
write(b"Content-Length: %d\\r\\n\\r\\n%b" % (len(body), body))
time.sleep(30)
"""


async def test_a_schema_that_is_too_deep_to_be_read_is_the_end_of_its_plugin_alone(tmp_path: Path) -> None:
    deep = write_raw_plugin(tmp_path, "deep", DEEP, start={"timeout": "500ms"})
    async with make_host(tmp_path, deep, write_plugin(tmp_path, "good")) as host:
        assert host.status("deep").plugins[0].state != "running"
        assert await host.call("good", "echo", value=1) == 1
