"""The sample configuration: it can be used, and it has every key that there is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from host.config.effective import PluginPolicy, effective
from host.config.layers import leaves, tree
from host.config.load import load_config
from host.config.model import Defaults, HostConfig, HostTable, PluginOverrides, PointTable, WatchTable
from protocol.manifest import Manifest, PluginTable, RunTable
from tests.docs.engine import ROOT

EXAMPLE = ROOT / "docs/outboard.example.toml"
WITH_EVERYTHING = re.sub(r"(?m)^#(?=[^\s:])", "", EXAMPLE.read_text(encoding="utf-8"))
MANIFEST = Manifest(plugin=PluginTable(name="a", version="1"), run=RunTable(python="main.py"))


@pytest.fixture
def whole(tmp_path: Path) -> HostConfig:
    """The file with every commented key in it."""
    file = tmp_path / "outboard.toml"
    file.write_text(WITH_EVERYTHING, encoding="utf-8")
    return load_config(file)


def keys_of(struct: Any, *prefix: str) -> set[tuple[str, ...]]:
    keys: set[tuple[str, ...]] = set()
    for field in msgspec.structs.fields(struct):
        is_table = isinstance(field.type, type) and issubclass(field.type, msgspec.Struct)
        path = (*prefix, field.encode_name)
        keys |= keys_of(field.type, *path) if is_table else {path}
    return keys


def test_the_example_as_it_is_changes_nothing() -> None:
    assert load_config(EXAMPLE) == HostConfig()


def test_the_example_has_every_key_and_each_can_be_used(whole: HostConfig) -> None:
    import tomllib

    said = {path for path, _ in leaves(tree(tomllib.loads(WITH_EVERYTHING), "config"))}
    expected = keys_of(HostTable, "host") | keys_of(WatchTable, "watch")
    expected |= keys_of(Defaults, "defaults") - {("defaults", "start", "requires")}
    expected |= keys_of(PointTable, "extension_points", "document.extract") - {
        ("extension_points", "document.extract", "params")
    }
    assert expected <= said
    assert {path[0] for path in said} == {field.encode_name for field in msgspec.structs.fields(HostConfig)}
    assert {path[2] for path in said if path[0] == "plugins"} <= {
        field.encode_name for field in msgspec.structs.fields(PluginOverrides)
    }
    assert whole.plugins["hello"].settings["greeting"] == "Hello"


def test_what_the_example_calls_a_default_is_one(whole: HostConfig) -> None:
    no_default = {"cpu_percent", "idle_stop_s", "settings", "requires", "blocked"}
    found, built_in = effective(MANIFEST, whole), PluginPolicy()
    assert {
        field
        for field in PluginPolicy.__struct_fields__
        if field not in no_default and getattr(found, field) != getattr(built_in, field)
    } == set()
    for table, default in ((whole.watch, WatchTable()), (whole.host, HostTable())):
        others = {"max_starts", "metrics_port", "plugins"}
        for field in set(table.__struct_fields__) - others:
            assert getattr(table, field) == getattr(default, field), field
