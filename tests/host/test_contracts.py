"""Plugins held to what they say: params before they are sent, results when they come; with real processes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from host import ContractError, Host, PluginUnavailable
from host.observability.events import CallFailed, PluginProblem
from tests.support.plugins import Events, make_host, write_plugin, write_raw_plugin

pytestmark = pytest.mark.anyio

FOREIGN = """
OBJECT = {"type": "object", "additionalProperties": False}
METHODS = [
    {
        "name": "echo",
        "params": {**OBJECT, "properties": {"value": {"type": "integer"}}, "required": ["value"]},
        "result": {**OBJECT, "properties": {"value": {"type": "integer"}}},
    },
    {"name": "wrong", "result": {"type": "string"}},
    {"name": "hostile", "params": {"$ref": "#"}, "result": {"$ref": "https://example.org/x"}},
    {"name": "bare"},
]
asked = 0
handshake(provides={"methods": METHODS})
while True:
    message = receive()
    if message["method"] == "exit":
        sys.exit(0)
    if message["method"] not in ("lifecycle/ping", "shutdown"):
        asked += 1
    if "id" in message:
        send(id=message["id"], result=asked if message["method"] == "bare" else message["params"])
"""


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    return write_raw_plugin(tmp_path, "foreign", FOREIGN)


async def test_params_that_break_the_contract_never_reach_the_plugin(tmp_path: Path, foreign: Path) -> None:
    async with make_host(tmp_path, foreign) as host:
        events = Events(host)
        with pytest.raises(ContractError) as caught:
            await host.call("foreign", "echo", valeu=1)
        error = caught.value
        assert (error.code, error.plugin, error.method) == ("OB406", "foreign", "echo")
        assert error.remote_name == "INVALID_PARAMS"
        assert error.data == [
            {"path": "$.valeu", "reason": "unknown key; did you mean `value`?"},
            {"path": "$.value", "reason": "required, and missing"},
        ]
        await events.until(lambda event: isinstance(event, CallFailed) and event.error == "OB406")
        assert await host.call("foreign", "bare") == 1, "nothing else was sent"
        assert await host.call("foreign", "echo", value=3) == {"value": 3}
        assert host.status("foreign").plugins[0].calls.error == 1


async def test_a_result_that_breaks_the_contract_is_the_plugins_fault_and_costs_the_call_alone(
    tmp_path: Path, foreign: Path
) -> None:
    async with make_host(tmp_path, foreign) as host:
        for ask in (host.call("foreign", "wrong"), host.call_raw("foreign", "wrong", {}, 5)):
            with pytest.raises(ContractError) as caught:
                await ask
            error = caught.value
            assert (error.plugin, error.remote_name) == ("foreign", "PLUGIN_ERROR")
            assert error.data == [{"path": "$", "reason": "expected `str`, got `object`"}]
            assert "foreign" in str(error.hint)
        plugin = host.status("foreign").plugins[0]
        assert (plugin.state, plugin.generation, plugin.calls.error) == ("running", 1, 2)


async def test_a_schema_that_cannot_be_held_is_a_problem_in_the_log_and_no_more(
    tmp_path: Path, foreign: Path
) -> None:
    async with make_host(tmp_path, foreign) as host:
        events = Events(host)
        for number in range(3):
            assert await host.call("foreign", "hostile", number=number) == {"number": number}
        problems = [event.message for event in events.seen if isinstance(event, PluginProblem)]
        assert len(problems) == 2
        assert all("method hostile: the schema of its" in problem for problem in problems)


TYPED = """
@plugin.method
def count(n: int) -> int:
    return "many" if n > 2 else n

@plugin.method
def relay(n: int, ctx: Context) -> Any:
    from plugin_sdk import RemoteError
    try:
        return ctx.call("typed", "count", n=n)
    except RemoteError as error:
        return [type(error).__name__, error.code]
"""


async def test_an_authors_slip_in_a_result_is_seen_for_python_plugins_too(tmp_path: Path) -> None:
    typed = write_plugin(tmp_path, "typed", TYPED)
    async with make_host(tmp_path, typed) as host:
        assert await host.call("typed", "count", n=2) == 2
        with pytest.raises(ContractError, match="expected `int`, got `str`"):
            await host.call("typed", "count", n=3)
        assert await host.call("typed", "relay", n=1) == 1


async def test_a_plugin_hears_whose_fault_it_was_when_it_called_another(tmp_path: Path) -> None:
    callee = write_plugin(tmp_path, "typed", TYPED)
    caller = write_plugin(
        tmp_path,
        "caller",
        TYPED.replace("n=n)", 'n=n if n else "x")').replace("def count", "def other"),
        permissions={"plugins": ["typed"]},
    )
    async with make_host(tmp_path, callee, caller) as host:
        assert await host.call("caller", "relay", n=3) == ["RemoteError", -32000]
        assert await host.call("caller", "relay", n=0) == ["ContractError", -32602]


async def test_the_contract_is_that_of_the_process_that_is_asked(tmp_path: Path) -> None:
    plugin = write_plugin(tmp_path, "typed", TYPED)
    async with make_host(tmp_path, plugin) as host:
        with pytest.raises(ContractError):
            await host.call("typed", "count", n="1")
        main = plugin / "main.py"
        main.write_text(main.read_text().replace("def count(n: int) -> int", "def count(n: str) -> Any"))
        main.write_text(main.read_text().replace('"many" if n > 2 else n', "n"))
        await host.restart("typed")
        assert await host.call("typed", "count", n="1") == "1"


async def test_a_lazy_plugin_that_has_never_run_is_held_to_its_contract_at_its_first_call(
    tmp_path: Path,
) -> None:
    lazy = write_plugin(tmp_path, "typed", TYPED, start={"mode": "lazy"})
    async with Host(plugins=[lazy], data_dir=tmp_path / "data", cache_dir=tmp_path / "cache") as host:
        with pytest.raises(ContractError):
            await host.call("typed", "count", n="1")


async def test_a_plugin_that_is_down_is_down_whatever_the_params(tmp_path: Path, foreign: Path) -> None:
    async with make_host(tmp_path, foreign) as host:
        await host.stop("foreign")
        with pytest.raises(PluginUnavailable):
            await host.call("foreign", "echo", value="x")


async def test_large_params_and_results_are_looked_at_too(tmp_path: Path) -> None:
    code = """
@plugin.method
def many(items: list[dict[str, int]]) -> list[dict[str, int]]:
    return items
"""
    items: list[dict[str, Any]] = [{"a": number} for number in range(50_000)]
    async with make_host(tmp_path, write_plugin(tmp_path, "many", code)) as host:
        assert await host.call("many", "many", items=items) == items
        items[-1]["a"] = "x"
        with pytest.raises(ContractError) as caught:
            await host.call("many", "many", items=items)
        assert caught.value.data[0]["path"] == "$.items[49999].a"
