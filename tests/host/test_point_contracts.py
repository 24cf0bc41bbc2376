"""A plugin whose hook does not fit is refused when it loads, with the difference, and nobody else is."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from host import ExtensionPoint, Host, PluginUnavailable, PluginUnfit
from host.cli.why import explained
from tests.support.plugins import write_plugin, write_raw_plugin

pytestmark = pytest.mark.anyio


class Document(msgspec.Struct):
    name: str
    size: int = 0


POINT = ExtensionPoint("doc.read", mode="pipeline", type=Document, version="1.2", on_error="fail")

HOOK = """
import msgspec

class Document(msgspec.Struct):
    name: str
    size: int = 0

@plugin.hook("doc.read", version="1.1")
def read(doc: Document) -> Document:
    return Document(doc.name + "+", doc.size)

@plugin.method
def ping() -> str:
    return "pong"
"""


def host_of(tmp_path: Path, *plugins: Path, point: ExtensionPoint = POINT) -> Host:
    folders = {"data_dir": tmp_path / "data", "cache_dir": tmp_path / "cache"}
    return Host(plugins=plugins, extension_points=[point], **folders)  # type: ignore[arg-type]


async def test_a_plugin_whose_hook_does_not_fit_is_refused_with_the_difference_and_others_go_on(
    tmp_path: Path,
) -> None:
    good = write_plugin(tmp_path, "good", HOOK)
    bad = write_plugin(tmp_path, "bad", HOOK.replace("size: int = 0", "size: str").replace('"1.1"', '"1.3"'))
    async with host_of(tmp_path, good, bad) as host:
        status = {plugin.name: plugin.state for plugin in host.status().plugins}
        assert status == {"bad": "failed", "good": "running"}
        why = host.why("bad")
        cause = why.causes[0]
        assert cause.kind == "contract"
        assert cause.stderr == [
            "doc.read: version: written for 1.3, and this host has 1.2",
            "doc.read: params $.doc.size: not always sent, and required",
            "doc.read: params $.doc.size: sent int, taken str",
            "doc.read: answer $.size: sent str, taken int",
        ]
        assert why.fix
        outcome = await host.hook("doc.read", doc=Document("x"))
        assert outcome.value == Document("x+")
        assert [result.plugin for result in outcome.results] == ["good"], "never asked, and no failure"
        with pytest.raises(PluginUnfit) as caught:
            await host.call("bad", "ping")
        assert (caught.value.code, caught.value.state) == ("OB301", "failed")
        with pytest.raises(PluginUnfit):
            await host.start("bad")
        assert isinstance(caught.value, PluginUnavailable)


async def test_a_mended_plugin_is_taken(tmp_path: Path) -> None:
    plugin = write_plugin(tmp_path, "late", HOOK.replace('"1.1"', '"2.0"'))
    async with host_of(tmp_path, plugin) as host:
        assert host.status("late").plugins[0].state == "failed"
        main = plugin / "main.py"
        main.write_text(main.read_text().replace('version="2.0"', 'version="1.0", priority=1'))
        await host.restart("late")
        assert (await host.hook("doc.read", doc=Document("x"))).value == Document("x+")


async def test_a_lazy_plugin_that_an_earlier_host_knew_is_not_started_for_a_point_that_it_does_not_fit(
    tmp_path: Path,
) -> None:
    lazy = write_plugin(tmp_path, "lazy", HOOK, start={"mode": "lazy"})
    async with host_of(tmp_path, lazy) as host:
        assert (await host.hook("doc.read", doc=Document("x"))).value == Document("x+")
    changed = ExtensionPoint("doc.read", mode="pipeline", type=Document, version="2.0", on_error="fail")
    async with host_of(tmp_path, lazy, point=changed) as host:
        assert (await host.hook("doc.read", doc=Document("x"))).value == Document("x")
        assert host.status("lazy").plugins[0].generation == 0
        (absent,) = host.hooks.explain("doc.read").left_out
        assert (absent.plugin, "written for 1.1" in absent.why) == ("lazy", True)
        with pytest.raises(PluginUnfit):
            await host.call("lazy", "ping")


async def test_a_foreign_plugin_is_held_to_the_point_too(tmp_path: Path) -> None:
    code = """
RESULT = {"type": "object", "properties": {"name": {"type": "integer"}}, "required": ["name"]}
handshake(provides={"hooks": [{"point": "doc.read", "schema": {"result": RESULT}}]})
serve()
"""
    foreign = write_raw_plugin(tmp_path, "foreign", code)
    async with host_of(tmp_path, foreign) as host:
        assert host.why("foreign").causes[0].stderr == ["doc.read: answer $.name: sent int, taken str"]


async def test_of_a_point_that_nobody_declares_there_is_nothing_to_hold_against(tmp_path: Path) -> None:
    plugin = write_plugin(tmp_path, "free", HOOK.replace("doc.read", "doc.write").replace('"1.1"', '"7.0"'))
    async with host_of(tmp_path, plugin) as host:
        assert host.status("free").plugins[0].state == "running"
        assert (await host.hook("doc.write", doc={"name": "x"})).value == [{"name": "x+", "size": 0}]


async def test_null_is_no_answer_where_another_may_answer_instead(tmp_path: Path) -> None:
    code = HOOK.replace(
        '-> Document:\n    return Document(doc.name + "+", doc.size)', "-> Document | None: ..."
    )
    plugin = write_plugin(tmp_path, "shy", code)
    async with host_of(tmp_path, plugin) as host:
        outcome = await host.hook("doc.read", doc=Document("x"))
        assert (outcome.value, outcome.errors) == (Document("x"), [])


async def test_why_shows_every_difference_and_none_of_them_is_lost_among_what_the_plugin_wrote(
    tmp_path: Path,
) -> None:
    code = """
import sys

for number in range(60):
    print("loading", number, file=sys.stderr, flush=True)
PARAMS = {"type": "object", "required": [f"key{number:02}" for number in range(48)]}
RESULT = {"type": "object", "properties": {"name": {"type": "integer"}}, "required": ["name"]}
handshake(provides={"hooks": [{"point": "doc.read", "schema": {"params": PARAMS, "result": RESULT}}]})
serve()
"""
    declared = ExtensionPoint(
        "doc.read", mode="first", type=Document, params={"type": "object", "properties": {}}
    )
    async with host_of(tmp_path, write_raw_plugin(tmp_path, "far", code), point=declared) as host:
        told = host.why("far")
    differences = told.causes[0].stderr
    expected = [f"doc.read: params $.key{number:02}: never sent, and required" for number in range(48)]
    assert differences == [*expected, "doc.read: answer $.name: sent int, taken str"]
    shown = explained(msgspec.to_builtins(told))
    assert [line[6:] for line in shown.splitlines() if line[6:].startswith("doc.read: ")] == differences[:40]
    assert "and 9 more: outboard why far --json" in shown
