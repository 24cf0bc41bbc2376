"""Bytes: as they are for plugins of the SDK, and as base64 for peers that know JSON alone."""

from __future__ import annotations

import base64
import os
from pathlib import Path

import pytest

from host import ExtensionPoint, Host
from tests.support.plugins import make_host, write_plugin, write_raw_plugin

pytestmark = pytest.mark.anyio

BYTES = """
from collections.abc import Iterator

class Blob(msgspec.Struct):
    name: str
    data: bytes

@plugin.method
def reverse(data: bytes) -> bytes:
    return data[::-1]

@plugin.method
def wrap(data: bytes) -> Blob:
    return Blob("x", data)

@plugin.method
def kind(value: Any) -> str:
    return type(value).__name__

@plugin.method(stream=True)
def pieces(data: bytes, size: int) -> Iterator[bytes]:
    for at in range(0, len(data), size):
        yield data[at : at + size]

@plugin.method
def forward(data: bytes, ctx: Context) -> bytes:
    return ctx.call("other", "reverse", data=data)

@plugin.method
def joined(data: bytes, ctx: Context) -> bytes:
    return b"".join(ctx.stream("other", "pieces", data=data, size=1000))

@plugin.hook("blob.change")
def change(blob: bytes) -> bytes:
    return blob + b"!"
"""
DATA = bytes(range(256)) * 40


def host_of(tmp_path: Path, *more: Path) -> Host:
    code = "import msgspec\n" + BYTES
    one = write_plugin(tmp_path, "one", code, permissions={"plugins": ["*"]})
    other = write_plugin(tmp_path, "other", code)
    point = ExtensionPoint("blob.change", mode="pipeline", type=bytes)
    return make_host(tmp_path, one, other, *more, extension_points=[point])


async def test_bytes_arrive_as_bytes_in_both_directions(tmp_path: Path) -> None:
    async with host_of(tmp_path) as host:
        for data in (b"", b"\x00\xff", DATA, os.urandom(1 << 20)):
            assert await host.call("one", "reverse", data=data) == data[::-1]
            assert await host.call("one", "forward", data=data) == data[::-1]
        assert await host.call("one", "reverse", data=bytearray(DATA)) == DATA[::-1]
        assert await host.call("one", "wrap", data=DATA) == {"name": "x", "data": DATA}
        assert await host.call("one", "kind", value=memoryview(b"x")) == "bytes"
        assert await host.call("one", "kind", value={"deep": [b"x"]}) == "dict"
        assert await host.call("one", "reverse", data=base64.b64encode(DATA).decode()) == DATA[::-1]


async def test_streams_carry_bytes_too_from_plugin_to_plugin(tmp_path: Path) -> None:
    async with host_of(tmp_path) as host:
        got = [piece async for piece in host.stream("one", "pieces", data=DATA, size=999)]
        assert b"".join(got) == DATA
        assert await host.call("one", "joined", data=DATA) == DATA


async def test_a_hook_may_work_on_bytes(tmp_path: Path) -> None:
    async with host_of(tmp_path) as host:
        outcome = await host.hook("blob.change", blob=DATA)
        assert not outcome.errors
        assert outcome.value == DATA + b"!!"


async def test_a_peer_that_knows_json_alone_gets_base64(tmp_path: Path) -> None:
    plain = write_raw_plugin(tmp_path, "plain", "handshake()\nserve()\n")
    async with host_of(tmp_path, plain) as host:
        encoded = base64.b64encode(DATA).decode()
        assert await host.call("plain", "echo", data=DATA) == {"data": encoded}
