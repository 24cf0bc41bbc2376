"""Items of streams held to what the plugin says of them: the first that does not fit ends the stream."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest

from host import BlockingHost, ContractError, Host
from host.observability.events import CallFailed
from tests.support.plugins import Events, make_host, write_plugin

pytestmark = pytest.mark.anyio

CODE = """
from collections.abc import AsyncIterator
import asyncio, msgspec

class Row(msgspec.Struct):
    x: int

closed = 0

@plugin.method(stream=True)
async def rows(bad: int, n: int = 1_000_000_000) -> AsyncIterator[Row]:
    global closed
    try:
        for i in range(n):
            yield {"x": "seventeen" if i == bad else i}
    finally:
        closed += 1

@plugin.method(stream=True)
async def packed() -> AsyncIterator[Row]:
    yield {"x": b"bytes are not held"}

@plugin.method
async def seen() -> int:
    return closed
"""
USER = """
@plugin.method
def take(bad: int, ctx: Context) -> list[Any]:
    count = 0
    try:
        for row in ctx.stream("maker", "rows", bad=bad):
            count += 1
    except Exception as error:
        return [count, str(error)]
"""


def host_of(tmp_path: Path, *more: Path) -> Host:
    return make_host(tmp_path, write_plugin(tmp_path, "maker", CODE), *more)


def is_about(error: ContractError, number: int) -> None:
    assert (error.plugin, error.method, error.code) == ("maker", "rows", "OB406")
    assert error.remote_name == "PLUGIN_ERROR"
    assert error.data == [{"path": f"$[{number}].x", "reason": "expected `int`, got `str`"}]


@pytest.mark.parametrize("bad", [0, 17, 3000])
async def test_an_item_that_does_not_fit_ends_the_stream_after_those_before_it(
    tmp_path: Path, bad: int
) -> None:
    async with host_of(tmp_path) as host:
        events = Events(host)
        seen: list[int] = []
        stream = host.stream("maker", "rows", bad=bad)
        with pytest.raises(ContractError) as caught:
            async for row in stream:
                seen.append(row["x"])
        is_about(caught.value, bad)
        assert seen == list(range(bad))
        assert [row async for row in stream] == [], "it is over"
        await events.until(lambda event: isinstance(event, CallFailed) and event.error == "OB406")
        plugin = host.status("maker").plugins[0]
        assert (plugin.state, plugin.generation, plugin.calls.error) == ("running", 1, 1)
        with anyio.fail_after(10):  # the plugin was told that no more is wanted
            while await host.call("maker", "seen") != 1:
                pass


@pytest.mark.parametrize("bad", [0, 17, 3000])
async def test_whoever_takes_batches_gets_those_before_it_too(tmp_path: Path, bad: int) -> None:
    async with host_of(tmp_path) as host:
        count = 0
        with pytest.raises(ContractError) as caught:
            async with host.stream("maker", "rows", bad=bad) as stream:
                while items := await stream.batch():
                    count += len(items)
        is_about(caught.value, bad)
        assert count == bad


def test_a_blocking_host_says_the_same(tmp_path: Path) -> None:
    with BlockingHost(plugins=[write_plugin(tmp_path, "maker", CODE)], data_dir=tmp_path / "data") as host:
        seen: list[Any] = []
        with pytest.raises(ContractError) as caught:
            seen.extend(host.stream("maker", "rows", bad=17))
        is_about(caught.value, 17)
        assert [*host.stream("maker", "rows", bad=-1, n=3)] == [{"x": 0}, {"x": 1}, {"x": 2}]


async def test_a_plugin_that_uses_the_stream_of_another_is_told_who_is_to_blame(tmp_path: Path) -> None:
    user = write_plugin(tmp_path, "user", USER, permissions={"plugins": ["maker"]})
    async with host_of(tmp_path, user) as host:
        count, text = await host.call("user", "take", bad=17)
        assert count == 17
        assert "maker.rows" in text
        assert "$[17].x: expected `int`, got `str`" in text


async def test_items_with_bytes_in_them_are_not_held(tmp_path: Path) -> None:
    async with host_of(tmp_path) as host:
        assert [item async for item in host.stream("maker", "packed")] == [{"x": b"bytes are not held"}]
