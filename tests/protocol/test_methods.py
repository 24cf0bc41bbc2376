"""The table of methods: every row has a schema that is one, and names belong to whom they should."""

from __future__ import annotations

from typing import Any

import jsonschema_rs
import msgspec
import pytest

from protocol import lifecycle, methods, store, topics
from protocol.contract import schema_of
from protocol.methods import METHODS, is_own_name

INSTANCES: list[msgspec.Struct] = [
    lifecycle.InitializeParams(plugin=lifecycle.PluginIdentity(name="p"), config={"a": [1]}),
    lifecycle.InitializeResult(
        protocol=1,
        provides=lifecycle.Provides(
            methods=[lifecycle.MethodInfo(name="work", params={"type": "object"}, timeout_s=1.5)],
            hooks=[lifecycle.HookInfo(point="save", before=["q"])],
            events=[lifecycle.EventInfo(topic="saved", schema={"type": "string"})],
            subscribes=["mail.received"],
        ),
    ),
    lifecycle.Empty(),
    lifecycle.StartParams(),
    lifecycle.StartParams(config={"a": [1]}),
    lifecycle.ConfigParams(config={"a": [1]}),
    lifecycle.ConfigTold(config={"a": [1]}, config_revision=3),
    lifecycle.ConfigUpdate(set={"a": [1]}, unset=["b"], config_revision=3),
    lifecycle.ConfigUpdate(),
    lifecycle.ConfigVerdict(problems=[lifecycle.ParamProblem(path="$.a", reason="no")]),
    lifecycle.PingResult(in_flight=1, oldest_ms=2.5),
    lifecycle.CancelParams(id=1, reason="enough"),
    lifecycle.CancelParams(id="1"),
    lifecycle.StreamParams(id=1, seq=0, items=[msgspec.Raw(b'{"a":1}')]),
    lifecycle.CreditParams(id="1", n=512),
    lifecycle.ProgressParams(token=1, value=lifecycle.ProgressValue(done=1, total=2.0)),
    lifecycle.LogRecord(level="info", message="m", fields={"a": 1}, request_id="1"),
    lifecycle.LogLevel(level="debug"),
    lifecycle.StatusText(text="fine"),
    lifecycle.PluginCallParams(plugin="other", method="greet", params=msgspec.Raw(b'{"a":1}')),
    store.StoreGetParams(key="k"),
    store.StoreEntry(revision=0),
    store.StoreEntry(value=msgspec.Raw(b'{"a":1}'), revision=3),
    store.StoreSetParams(values={"k": msgspec.Raw(b"[1]")}, delete=["l"], if_revision={"k": 0}),
    store.StoreSetResult(revision=4),
    store.StoreDeleteParams(key="k"),
    store.StoreDeleteResult(deleted=True),
    store.StoreListParams(prefix="a/", after="a/b", limit=10),
    store.StoreListResult(keys=["a/c"], more=False),
    topics.PublishParams(topic="mail.received", value=msgspec.Raw(b"null")),
    topics.AckParams(n=3, failed=1),
]
TYPES = {t for row in METHODS.values() for t in (row.params, row.result) if t not in (None, Any)}


def plain(instance: Any) -> Any:
    return msgspec.json.decode(msgspec.json.encode(instance))


def test_every_type_of_the_table_has_an_instance_here() -> None:
    assert {type(instance) for instance in INSTANCES} >= TYPES


@pytest.mark.parametrize("instance", INSTANCES, ids=lambda instance: type(instance).__name__)
def test_an_instance_fits_the_schema_of_its_type(instance: msgspec.Struct) -> None:
    schema = schema_of(type(instance))
    jsonschema_rs.meta.validate(schema)
    validator = jsonschema_rs.validator_for(schema)
    assert validator.is_valid(plain(instance))
    assert validator.is_valid({**plain(instance), "a_member_of_a_newer_peer": 1})
    assert not validator.is_valid(5)


@pytest.mark.parametrize("name", METHODS)
def test_a_row_of_the_published_schema_can_be_followed(name: str) -> None:
    whole = methods.schema()
    row = whole["methods"][name]
    assert ("result" in row) == (row["kind"] == "request")
    for key, type_ in (("params", METHODS[name].params), ("result", METHODS[name].result)):
        if type_ is None:
            continue
        validator = jsonschema_rs.validator_for({**row[key], "$defs": whole["$defs"]})
        assert all(validator.is_valid(plain(i)) for i in INSTANCES if type(i) is type_)


def test_names_of_the_protocol_are_not_for_plugins() -> None:
    assert not [name for name in METHODS if is_own_name(name)]


@pytest.mark.parametrize("name", ["work", "a", "db.query", "a1_b.c_2", "initialize.me"])
def test_a_plugin_may_use_plain_dotted_names(name: str) -> None:
    assert is_own_name(name)


@pytest.mark.parametrize(
    "name",
    ["", "Work", "1a", "_a", "a/b", "$/a", "a.", ".a", "a..b", "a-b", "a b", "é", "a\n", "shutdown", "exit"],
)
def test_a_plugin_may_not_use_other_names(name: str) -> None:
    assert not is_own_name(name)
