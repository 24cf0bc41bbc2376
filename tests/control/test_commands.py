"""The table of the control socket, asked of a real host without a socket in between."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from host import ContractError, Host, ManifestError, MethodNotFound, PluginNotFound
from host.control.commands import Commands, Progressing, Streaming, Telling, failure
from host.observability.events import PluginLogged
from host.observability.logs import RING_CHARACTERS, Ring
from tests.support.plugins import write_plugin

pytestmark = pytest.mark.anyio


@pytest.fixture
async def commands(tmp_path: Path) -> AsyncIterator[Commands]:
    echo = write_plugin(tmp_path, "echo")
    host = Host(plugins=[echo], data_dir=tmp_path / "data")
    ring = Ring()
    host.on_event(ring)
    async with host:
        yield Commands(host, ring)


async def ask(commands: Commands, command_name: str, /, **params: Any) -> Any:
    """The result; of a command that tells, all that it tells."""
    params_type, command = commands.table[command_name]
    if isinstance(command, Progressing):
        return await command.run(msgspec.convert(params, params_type), None)
    if not isinstance(command, Telling | Streaming):
        return await command(msgspec.convert(params, params_type))
    told: list[Any] = []

    async def tell(items: Any) -> None:
        told.extend(map(msgspec.json.decode, items))

    await command.run(msgspec.convert(params, params_type), tell)
    return told


async def test_every_command_of_the_table_takes_the_params_that_the_command_line_sends(
    commands: Commands, tmp_path: Path
) -> None:
    assert set(commands.table) == {
        *("status", "why", "events", "logs", "names", "call", "call/stream", "start", "stop", "restart"),
        *("release", "enable", "disable", "add", "remove", "reload"),
        *("hook", "hooks", "hooks/explain", "metrics", "config/set", "config/show", "config/schema"),
        *("contract", "store/list", "store/get", "store/set", "store/delete"),
        *("install/place", "install/take"),
    }
    assert len((await ask(commands, "status", name=None)).plugins) == 1
    assert (await ask(commands, "contract", name="echo")).methods[0].name == "echo"
    for verb in ("stop", "start", "restart"):
        assert await ask(commands, verb, name="echo") is None
    assert (await ask(commands, "logs", name="echo", lines=1))[0]["message"] == "running"
    await ask(commands, "remove", name="echo")
    assert await ask(commands, "add", path=str(tmp_path / "echo")) == {"name": "echo"}


async def test_words_become_values_and_json_is_handed_on(commands: Commands) -> None:
    called = await ask(commands, "call", plugin="echo", method="echo", arguments={"value": "[1]"})
    assert msgspec.json.decode(called) == [1]
    raw = msgspec.Raw(b'{"value": 1.50}')
    params_type, command = commands.table["call"]
    assert isinstance(command, Progressing)
    called = await command.run(params_type(plugin="echo", method="echo", params=raw), None)
    assert msgspec.json.decode(called) == 1.5


@pytest.mark.parametrize(
    "method", ["shutdown", "exit", "initialize", "lifecycle/ping", "$/cancelRequest", ""]
)
async def test_what_belongs_to_the_protocol_is_no_method_of_a_plugin(commands: Commands, method: str) -> None:
    with pytest.raises(MethodNotFound):
        await ask(commands, "call", plugin="echo", method=method)
    with pytest.raises(PluginNotFound):
        await ask(commands, "call", plugin="nobody", method=method)
    assert (await ask(commands, "status", name="echo")).plugins[0].generation == 1


@pytest.mark.parametrize("timeout", [-1, 1e300, float("nan"), "soon"], ids=str)
def test_a_timeout_that_no_clock_can_count_is_refused(timeout: Any) -> None:
    from host.control.commands import Call

    text = msgspec.json.encode({"plugin": "a", "method": "b", "timeout": timeout})
    if timeout != timeout:
        assert msgspec.json.decode(text, type=Call).timeout is None
    else:
        with pytest.raises(msgspec.ValidationError):
            msgspec.json.decode(text, type=Call)


async def test_failures_travel_with_all_keys_and_their_exit_code(commands: Commands) -> None:
    with pytest.raises(ContractError) as caught:
        await ask(commands, "call", plugin="echo", method="hang", arguments={"s": "long"})
    told = failure(caught.value)
    assert (told["code"], told["exit_code"], told["plugin"]) == ("OB406", 1, "echo")
    with pytest.raises(ManifestError) as refused:
        await ask(commands, "add", path="/nowhere\0")
    assert failure(refused.value)["exit_code"] == 6
    with pytest.raises(PluginNotFound):
        await ask(commands, "logs", name="nobody")


def test_the_ring_is_bounded_in_records_and_in_characters() -> None:
    ring = Ring(3)
    for number in range(5):
        ring(PluginLogged(plugin="p", level="info", message=str(number), source="log", generation=1))
    assert [line.message for line in ring.tail(None, 10)] == ["2", "3", "4"]
    assert [line.message for line in ring.tail("p", 1)] == ["4"]
    assert ring.tail(None, 0) == []
    ring = Ring(10_000)
    for _ in range(500):
        ring(PluginLogged(plugin="p", level="odd", message="x" * 10**6, source="log", generation=1))
    kept = ring.tail(None, 10_000)
    assert 0 < sum(len(line.message) for line in kept) <= RING_CHARACTERS
    assert {line.level for line in kept} == {"info"}


async def test_metrics_are_text_or_families(commands: Commands) -> None:
    await ask(commands, "call", plugin="echo", method="echo")
    text = await ask(commands, "metrics")
    assert text.endswith("# EOF\n")
    assert 'outboard_calls_total{plugin="echo",method="echo",result="ok",code=""} 1' in text
    families = msgspec.json.decode(await ask(commands, "metrics", format="json"))
    calls = next(family for family in families if family["name"] == "outboard_calls")
    assert calls["samples"][0] == {
        "name": "outboard_calls_total",
        "labels": {"plugin": "echo", "method": "echo", "result": "ok", "code": ""},
        "value": 1,
    }
