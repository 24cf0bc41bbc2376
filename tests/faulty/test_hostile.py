"""Plugins that answer with what nobody should: numbers, names and words that are out of all measure."""

from __future__ import annotations

import asyncio
import math
import os
import signal
import time
from pathlib import Path

import pytest

from host import HostMisuse, MethodNotFound, PluginBusy
from protocol.errors import Fault
from protocol.framing import Broken, FrameReader
from tests.support.plugins import QUICK, staged, write_plugin, write_raw_plugin

pytestmark = pytest.mark.anyio

ANSWERS_BADLY = """
send(id=receive()["id"], result={"protocol": 1, "provides": {"methods": [{"name": "echo"}]}})
receive()
send(id=receive()["id"], result=None)
while True:
    message = receive()
    if message["method"] == "exit":
        sys.exit(0)
    if message["method"] == "busy":
        send(id=message["id"], error={"code": -32005, "message": "no", "data": {"retry_after_ms": 10**400}})
    elif message["method"] == "none":
        send(id=message["id"], error={"code": -32601, "message": "no", "data": {"methods": 5}})
    elif "id" in message:
        send(id=message["id"], result=message["params"])
"""


async def test_a_number_with_four_hundred_digits_is_a_number_like_others(tmp_path: Path) -> None:
    code = """
    send(id=receive()["id"], result={"protocol": 1})
    receive()
    send(id=receive()["id"], error={"code": -32012, "message": "no", "data": {"retry_after_ms": 10**400}})
    time.sleep(60)
    """
    async with staged(tmp_path, write_raw_plugin(tmp_path, "huge", code)) as stage:
        (huge,) = [plugin for plugin in stage.host.status().plugins if plugin.name == "huge"]
        assert huge.state == "waiting"
        assert await stage.host.call("steady", "echo", value=1) == 1


async def test_error_data_of_any_shape_becomes_a_typed_error(tmp_path: Path) -> None:
    async with staged(tmp_path, write_raw_plugin(tmp_path, "odd", ANSWERS_BADLY)) as stage:
        with pytest.raises(PluginBusy):
            await stage.host.call("odd", "busy")
        with pytest.raises(MethodNotFound):
            await stage.host.call("odd", "none")


@pytest.mark.parametrize("timeout", [math.inf, math.nan, -1, 1e300])
async def test_a_timeout_that_is_none_is_refused_by_name(tmp_path: Path, timeout: float) -> None:
    async with staged(tmp_path) as stage:
        with pytest.raises(HostMisuse):
            await stage.host.call("steady", "echo", timeout=timeout)


async def test_a_stop_among_hundreds_of_starts_is_not_lost(tmp_path: Path) -> None:
    async with staged(tmp_path, write_plugin(tmp_path, "wanted")) as stage:
        starts = [asyncio.create_task(stage.host.start("wanted")) for _ in range(600)]
        await asyncio.sleep(0)
        await asyncio.wait_for(stage.host.remove("wanted"), 10)
        await asyncio.gather(*starts, return_exceptions=True)
        assert [plugin.name for plugin in stage.host.status().plugins] == ["steady"]


async def test_a_disable_that_somebody_takes_back_ends_with_that(tmp_path: Path) -> None:
    async with staged(tmp_path, write_plugin(tmp_path, "wanted")) as stage:
        disabling = asyncio.create_task(stage.host.disable("wanted"))
        await stage.events.state("wanted", "stopping")
        await stage.host.enable("wanted")
        await asyncio.wait_for(disabling, 10)
        assert await stage.host.call("wanted", "echo", value=1) == 1


async def test_a_start_right_after_a_kill_waits_for_the_new_process(tmp_path: Path) -> None:
    async with staged(tmp_path, write_plugin(tmp_path, "victim", restart=QUICK)) as stage:
        os.kill(stage.pid("victim"), signal.SIGKILL)
        await stage.host.start("victim")
        assert await stage.host.call("victim", "echo", value=2) == 2


def test_thousands_of_lines_with_a_colon_are_read_in_no_time() -> None:
    reader = FrameReader()
    started = time.process_time()
    pieces = reader.receive(b"a: b\r\n" * 20_000)
    assert time.process_time() - started < 0.5
    assert isinstance(pieces[-1], Broken)
    assert pieces[-1].fault is Fault.STDOUT_POLLUTED
