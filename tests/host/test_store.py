"""`ctx.store` in real plugins: kept, bounded, and safe to change from many handlers at once."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import anyio
import pytest

from host import Host
from host.observability.events import PluginProblem
from tests.support.plugins import Events, make_host, pid_of, settled, write_plugin

pytestmark = pytest.mark.anyio

KEEPER = """
import msgspec
from plugin_sdk import CallFailed

class Thing(msgspec.Struct):
    name: str
    raw: bytes = b""

@plugin.method
def set(key: str, value: Any, ctx: Context) -> None:
    ctx.store.set(key, value)

@plugin.method
def get(key: str, ctx: Context) -> Any:
    return ctx.store.get(key, "nothing")

@plugin.method
def delete(key: str, ctx: Context) -> bool:
    return ctx.store.delete(key)

@plugin.method
def keys(ctx: Context, prefix: str = "", after: str = "", limit: int = 1000) -> list[str]:
    return ctx.store.list(prefix, after=after, limit=limit)

@plugin.method
def what_failed(key: Any, value: Any, ctx: Context) -> Any:
    value = [1, float("nan")] if value == "nan" else value
    try:
        return ctx.store.set(key, value)
    except CallFailed as failed:
        return [type(failed).__name__, failed.code, str(failed)]

@plugin.method
def fill(count: int, each: int, ctx: Context) -> Any:
    try:
        for number in range(count):
            ctx.store.set(str(number), "x" * each)
    except CallFailed as failed:
        return [type(failed).__name__, failed.data, ctx.store.list()]

@plugin.method
def typed(ctx: Context) -> list[Any]:
    ctx.store.set("thing", Thing("a", b"\\x00\\xff"))
    got = ctx.store.get("thing", type=Thing)
    try:
        ctx.store.get("thing", type=int)
    except msgspec.ValidationError as error:
        return [type(got).__name__, list(got.raw), ctx.store.get("no", 7, type=int), str(error)]

@plugin.method
def count(ctx: Context, key: str = "n") -> int:
    def add(t):
        n = t.get(key, 0) + 1
        t.set(key, n)
        assert t.get(key) == n
        return n
    return ctx.store.transaction(add)

@plugin.method
def all_or_nothing(ctx: Context) -> Any:
    def change(t):
        t.set("one", 1)
        t.delete("n")
        raise ValueError("never mind")
    try:
        ctx.store.transaction(change)
    except ValueError:
        return [ctx.store.get("one"), ctx.store.get("n", "gone")]

@plugin.method
def too_much(ctx: Context) -> Any:
    def change(t):
        t.set("small", 1)
        t.set("large", "x" * 2_000_000)
    try:
        ctx.store.transaction(change)
    except CallFailed as failed:
        return [failed.code, ctx.store.get("small", "nothing")]
"""
ASYNC = """
@plugin.method
async def set(key: str, value: Any, ctx: AsyncContext) -> None:
    await ctx.store.set(key, value)

@plugin.method
async def look(ctx: AsyncContext) -> Any:
    await ctx.store.set("a", [1])
    store = ctx.store
    return [await store.get("a"), await store.list(), await store.delete("a"), await store.get("a", 0)]

@plugin.method
async def count(ctx: AsyncContext) -> int:
    async def add(t):
        n = await t.get("n", 0) + 1
        t.set("n", n)
        return n
    return await ctx.store.transaction(add)
"""


def keeper(tmp_path: Path, code: str = KEEPER, **tables: Any) -> Path:
    return write_plugin(tmp_path, "keeper", code, **tables)


async def test_what_is_kept_outlives_the_process_and_the_host(tmp_path: Path) -> None:
    plugin = keeper(tmp_path)
    value = {"list": [1, 2.5, None, True], "text": "ä\N{PILE OF POO}"}
    async with make_host(tmp_path, plugin) as host:
        await host.call("keeper", "set", key="k", value=value, timeout=10)
        await host.restart("keeper")
        assert await host.call("keeper", "get", key="k", timeout=10) == value
    async with make_host(tmp_path, plugin) as host:
        assert await host.call("keeper", "get", key="k", timeout=10) == value
        assert await host.call("keeper", "delete", key="k", timeout=10) is True
        assert await host.call("keeper", "delete", key="k", timeout=10) is False
        assert await host.call("keeper", "get", key="k", timeout=10) == "nothing"


async def test_keys_are_listed_by_prefix_in_pages(tmp_path: Path) -> None:
    async with make_host(tmp_path, keeper(tmp_path)) as host:
        for key in ("b/2", "a", "b/1", "c", "b/3"):
            await host.call("keeper", "set", key=key, value=1, timeout=10)
        assert await host.call("keeper", "keys", timeout=10) == ["a", "b/1", "b/2", "b/3", "c"]
        assert await host.call("keeper", "keys", prefix="b/", limit=2, timeout=10) == ["b/1", "b/2"]
        assert await host.call("keeper", "keys", prefix="b/", after="b/2", timeout=10) == ["b/3"]


async def test_a_value_comes_back_as_the_type_that_is_asked_for(tmp_path: Path) -> None:
    async with make_host(tmp_path, keeper(tmp_path)) as host:
        kind, raw, default, error = await host.call("keeper", "typed", timeout=10)
        assert (kind, raw, default) == ("Thing", [0, 255], 7)
        assert "Expected `int`, got `object`" in error


async def test_what_cannot_be_kept_is_refused_in_words(tmp_path: Path) -> None:
    async with make_host(tmp_path, keeper(tmp_path)) as host:
        for key, value, kind, code, words in (
            ("", 1, "ContractError", -32602, "a key has 1 to 512 characters, and this one has 0"),
            ("k" * 513, 1, "ContractError", -32602, "a key has 1 to 512 characters, and this one has 513"),
            (
                5,
                1,
                "ContractError",
                -32602,
                "a key is a text of 1 to 512 characters, and not of the type `int`",
            ),
            ("k", "x" * (1024 * 1024), "RemoteError", -32006, "1,048,576"),
            ("k", "nan", "RemoteError", -32602, "$.values.k[1]: nan is no number that JSON has"),
        ):
            failed = await host.call("keeper", "what_failed", key=key, value=value, timeout=10)
            assert failed[:2] == [kind, code]
            assert failed[2].startswith("host.store.set: ")
            assert words in failed[2]
        assert await host.call("keeper", "keys", timeout=10) == []


async def test_a_store_that_is_full_says_so_and_keeps_what_it_has(tmp_path: Path) -> None:
    plugin = keeper(tmp_path, limits={"store": "10KiB"})
    async with make_host(tmp_path, plugin) as host:
        kind, data, keys = await host.call("keeper", "fill", count=30, each=1000, timeout=10)
        assert kind == "StoreFull"
        assert (data["host_error"], data["limit_bytes"]) == ("OB505", 10240)
        assert len(keys) == 10
        (status,) = host.status("keeper").plugins
        assert (status.store.keys, status.store.limit_bytes) == (10, 10240)
        assert 10_000 < status.store.bytes <= 10_240


async def test_the_operator_has_the_last_word_on_how_much_and_at_once(tmp_path: Path) -> None:
    config = tmp_path / "outboard.toml"
    config.write_text('[plugins.keeper.limits]\nstore = "5KiB"\n')
    plugin = keeper(tmp_path, limits={"store": "10KiB"})
    async with make_host(tmp_path, plugin, config=config) as host:
        pid = pid_of(host, "keeper")
        assert (await host.call("keeper", "fill", count=30, each=1000, timeout=10))[0] == "StoreFull"
        config.write_text('[plugins.keeper.limits]\nstore = "50KiB"\n')
        await host.reload()
        assert await host.call("keeper", "fill", count=30, each=1000, timeout=10) is None
        assert pid_of(host, "keeper") == pid


async def test_what_depends_on_what_is_there_is_not_lost(tmp_path: Path) -> None:
    code = KEEPER.replace("from plugin_sdk import CallFailed", "plugin.threads = 4", 1)
    threaded = keeper(tmp_path, "from plugin_sdk import CallFailed\n" + code)
    async with make_host(tmp_path, threaded) as host:
        await settled([lambda: host.call("keeper", "count", timeout=20)] * 40)
        assert await host.call("keeper", "get", key="n", timeout=10) == 40
    async with make_host(tmp_path, write_plugin(tmp_path, "async", ASYNC)) as host:
        await settled([lambda: host.call("async", "count", timeout=20)] * 40)
        assert await host.call("async", "count", timeout=10) == 41


async def test_a_transaction_that_fails_changes_nothing(tmp_path: Path) -> None:
    async with make_host(tmp_path, keeper(tmp_path)) as host:
        await host.call("keeper", "count", timeout=10)
        assert await host.call("keeper", "all_or_nothing", timeout=10) == [None, 1]
        assert await host.call("keeper", "too_much", timeout=10) == [-32006, "nothing"]


async def test_an_async_handler_awaits_its_store(tmp_path: Path) -> None:
    async with make_host(tmp_path, write_plugin(tmp_path, "async", ASYNC)) as host:
        assert await host.call("async", "look", timeout=10) == [[1], ["a"], True, 0]


async def test_no_plugin_sees_the_store_of_another(tmp_path: Path) -> None:
    one, other = (write_plugin(tmp_path, name, KEEPER) for name in ("one", "other"))
    async with make_host(tmp_path, one, other) as host:
        await host.call("one", "set", key="k", value=1, timeout=10)
        assert await host.call("other", "get", key="k", timeout=10) == "nothing"


async def test_start_and_stop_code_have_the_store_too(tmp_path: Path) -> None:
    code = """
    @plugin.on_start
    def begin(ctx: Context) -> None:
        ctx.store.set("starts", ctx.store.get("starts", 0) + 1)

    @plugin.on_stop
    def end(ctx: Context) -> None:
        ctx.store.set("stops", ctx.store.get("stops", 0) + 1)

    @plugin.method
    def look(ctx: Context) -> Any:
        return [ctx.store.get("starts"), ctx.store.get("stops", 0)]
    """
    async with make_host(tmp_path, keeper(tmp_path, code)) as host:
        assert await host.call("keeper", "look", timeout=10) == [1, 0]
        await host.restart("keeper")
        assert await host.call("keeper", "look", timeout=10) == [2, 1]


async def test_a_damaged_store_is_moved_aside_and_told_of(tmp_path: Path) -> None:
    plugin = keeper(tmp_path)
    async with make_host(tmp_path, plugin) as host:
        await host.call("keeper", "set", key="k", value=1, timeout=10)
    (file,) = (tmp_path / "data" / ".store").glob("*.db")
    file.write_bytes(b"coffee was spilled over this" * 200)
    host = make_host(tmp_path, plugin)
    events = Events(host)
    async with host:
        assert await host.call("keeper", "get", key="k", timeout=10) == "nothing"
        told = await events.until(lambda event: isinstance(event, PluginProblem))
        (status,) = host.status("keeper").plugins
        assert status.store.set_aside == told.file
        assert told.file.startswith(f"{file}.corrupt-")
        await host.call("keeper", "set", key="k", value=2, timeout=10)
        assert await host.call("keeper", "get", key="k", timeout=10) == 2


async def test_what_an_earlier_host_has_kept_is_in_the_status(tmp_path: Path) -> None:
    plugin = keeper(tmp_path)
    async with make_host(tmp_path, plugin) as host:
        await host.call("keeper", "set", key="k", value="12345", timeout=10)
    async with make_host(tmp_path, plugin) as host:
        with anyio.fail_after(10):
            while host.status("keeper").plugins[0].store.keys == 0:  # noqa: ASYNC110  # no event tells
                await anyio.sleep(0.01)
        assert host.status("keeper").plugins[0].store.bytes == len('k"12345"')


async def test_more_stores_than_may_be_open_take_turns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("host.store.stores.MAX_OPEN", 2)
    names = [f"keeper-{number}" for number in range(5)]
    plugins = [write_plugin(tmp_path, name, KEEPER) for name in names]
    async with make_host(tmp_path, *plugins) as host:
        for value in range(3):
            calls = [
                lambda name=name, value=value: host.call(name, "set", key="k", value=value, timeout=20)
                for name in names
            ]
            assert await settled(calls) == [None] * 5
        assert [await host.call(name, "get", key="k", timeout=10) for name in names] == [2] * 5
        assert len(host._engine.stores._open) <= 2


async def test_a_python_without_sqlite_has_no_stores_and_everything_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "host.store.file", None)
    async with make_host(tmp_path, keeper(tmp_path)) as host:
        kind, _, message = await host.call("keeper", "what_failed", key="k", value=1, timeout=10)
        assert (kind, "cannot load SQLite" in message) == ("StoreUnavailable", True)
        assert host.status("keeper").plugins[0].state == "running"


async def test_a_store_that_nobody_uses_is_closed_and_opened_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("host.store.stores.IDLE_S", 0.05)
    async with make_host(tmp_path, keeper(tmp_path)) as host:
        await host.call("keeper", "set", key="k", value=1, timeout=10)
        with anyio.fail_after(10):
            while host._engine.stores._open:  # noqa: ASYNC110  # no event tells
                await anyio.sleep(0.01)
        assert await host.call("keeper", "get", key="k", timeout=10) == 1


async def test_the_store_of_a_plugin_that_is_removed_is_there_when_it_comes_back(tmp_path: Path) -> None:
    plugin = keeper(tmp_path)
    async with Host(plugins=[plugin], data_dir=tmp_path / "data") as host:
        await host.call("keeper", "set", key="k", value=1, timeout=10)
        await host.remove("keeper")
        await host.add(plugin)
        assert await host.call("keeper", "get", key="k", timeout=10) == 1
