"""Two versions of a contract: what breaks, what may, and what does not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from host.contracts.compare import NotComparable, changes
from host.contracts.document import PluginContract, PointContract, of_plugin
from host.contracts.signature import fields, signature, types
from host.contracts.type_text import type_text
from plugin_sdk import Plugin
from protocol.contract import schema_of


class Doc(msgspec.Struct):
    name: str
    size: int | None = None


class Short(msgspec.Struct):
    name: str


class Settings(msgspec.Struct):
    greeting: str = "Hello"


class Renamed(msgspec.Struct):
    salute: str = "Hello"


def contract(function: Any = None, *, settings: Any = None, hook: Any = None, **more: Any) -> PluginContract:
    plugin = Plugin()
    if function is not None:
        plugin.method(name="m", **more)(function)
    if hook is not None:
        plugin.hook("p", **more)(hook)
    if settings is not None:
        plugin.settings(settings)
    return of_plugin("x", "1", "running", plugin.provides())


def one(name: str) -> Doc: ...  # type: ignore[empty-body]
def more_optional(name: str, excited: bool = False) -> Doc: ...  # type: ignore[empty-body]
def other_default(name: str, excited: bool = True) -> Doc: ...  # type: ignore[empty-body]
def more_required(name: str, excited: bool) -> Doc: ...  # type: ignore[empty-body]
def wider(name: str | None) -> Doc: ...  # type: ignore[empty-body]
def another(name: int) -> Doc: ...  # type: ignore[empty-body]
def shorter(name: str) -> Short: ...  # type: ignore[empty-body]
def nullable(name: str) -> Doc | None: ...
def untyped(name):  # type: ignore[no-untyped-def]
    return name


ROWS: list[tuple[PluginContract, PluginContract, set[tuple[str, str, str]]]] = [
    (contract(one), contract(one), set()),
    (contract(one), contract(), {("methods.m", "breaks", "removed")}),
    (contract(), contract(one), {("methods.m", "harmless", "new")}),
    (contract(one), contract(more_optional), {("methods.m", "harmless", "params $.excited: new")}),
    (
        contract(more_optional),
        contract(one),
        {("methods.m", "breaks", "params $.excited: not taken any more")},
    ),
    (contract(one), contract(more_required), {("methods.m", "breaks", "params $.excited: required now")}),
    (
        contract(more_required),
        contract(more_optional),
        {("methods.m", "harmless", "params $.excited: no more required")},
    ),
    (
        contract(more_optional),
        contract(other_default),
        {("methods.m", "unclear", "$.excited: the default was false, is true")},
    ),
    (contract(one), contract(wider), {("methods.m", "harmless", "params $.name: takes null too")}),
    (contract(wider), contract(one), {("methods.m", "breaks", "params $.name: takes str, and took null")}),
    (contract(one), contract(another), {("methods.m", "breaks", "params $.name: takes int, and took str")}),
    (contract(one), contract(nullable), {("methods.m", "breaks", "result $: null, and was Doc")}),
    (contract(nullable), contract(one), {("methods.m", "harmless", "result $: no more null")}),
    (contract(one), contract(one, idempotent=True), {("methods.m", "harmless", "now idempotent")}),
    (
        contract(one, timeout_s=3),
        contract(one),
        {("methods.m", "unclear", "its own timeout was 3 s, is the usual")},
    ),
    (contract(hook=one), contract(), {("hooks.p", "breaks", "removed")}),
    (
        contract(hook=one, version="1.0"),
        contract(hook=one, version="1.1"),
        {("hooks.p", "unclear", "was written for 1.0 of the point, is for 1.1")},
    ),
    (
        contract(hook=one),
        contract(hook=another),
        {("hooks.p", "breaks", "params $.name: takes int, and took str")},
    ),
    (contract(), contract(settings=Settings), {("settings", "harmless", "new")}),
    (contract(), contract(settings=Short), {("settings", "breaks", "new, and some required")}),
    (
        contract(settings=Settings),
        contract(settings=Renamed),
        {("settings", "breaks", "$.greeting: removed; a configuration that has it is refused")},
    ),
]


@pytest.mark.parametrize(("before", "after", "expected"), ROWS)
def test_a_change_breaks_those_who_relied_on_the_first_or_does_not(
    before: PluginContract, after: PluginContract, expected: set[tuple[str, str, str]]
) -> None:
    found = {(change.what, change.kind, change.text) for change in changes(before, after)}
    assert expected <= found
    assert {kind for _, kind, _ in found if kind == "breaks"} == {
        kind for _, kind, _ in expected if kind == "breaks"
    }
    assert bool(found) is bool(expected)


def counts() -> Iterator[int]: ...  # type: ignore[empty-body]
def words() -> Iterator[str]: ...  # type: ignore[empty-body]


def test_of_a_stream_it_is_the_items_that_change() -> None:
    found = changes(contract(counts, stream=True), contract(words, stream=True))
    assert [(each.what, each.kind, each.text) for each in found] == [
        ("methods.m", "breaks", "item $: str, and was int")
    ]


def declaring(**topics: Any) -> PluginContract:
    plugin = Plugin()
    for name, type_ in topics.items():
        plugin.topic(name, type_)
    return of_plugin("x", "1", "running", plugin.provides())


@pytest.mark.parametrize(
    ("before", "after", "kinds"),
    [
        (declaring(mail=Doc), declaring(mail=Doc), []),
        (declaring(mail=Doc), declaring(), ["breaks"]),
        (declaring(), declaring(mail=Doc), ["harmless"]),
        (declaring(mail=int), declaring(mail=str), ["breaks"]),
        (declaring(mail=int | None), declaring(mail=int), ["harmless"]),
        (declaring(mail=int), declaring(mail=int | None), ["breaks"]),
    ],
)
def test_of_a_topic_subscribers_go_on_to_expect_what_they_got(
    before: PluginContract, after: PluginContract, kinds: list[str]
) -> None:
    found = changes(before, after)
    assert [each.kind for each in found] == kinds
    assert {each.what for each in found} <= {"topics.mail"}
    assert msgspec.json.decode(msgspec.json.encode(after), type=PluginContract) == after


def test_a_result_that_says_less_than_before_may_be_anything() -> None:
    found = changes(contract(one), contract(untyped))
    assert ("methods.m", "unclear") in [(change.what, change.kind) for change in found]


def point(**values: Any) -> PointContract:
    return PointContract(**{"name": "p", "version": "1.0", "mode": "collect", **values})


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (point(), point(), []),
        (point(), point(mode="first"), [("mode", "breaks")]),
        (point(params=schema_of(Renamed)), point(params=schema_of(Short)), [("params", "harmless")]),
        (point(params=schema_of(Short)), point(params=schema_of(Renamed)), [("params", "breaks")]),
        (point(answer=schema_of(Short)), point(answer=schema_of(str)), [("answer", "breaks")]),
        (point(answer=schema_of(str)), point(answer=schema_of(str | None)), [("answer", "harmless")]),
        (point(), point(version="1.1"), [("version", "harmless")]),
    ],
)
def test_of_a_point_plugins_rely_on_what_it_hands_over_and_takes(
    before: PointContract, after: PointContract, expected: list[tuple[str, str]]
) -> None:
    assert [(change.what, change.kind) for change in changes(before, after)] == expected


def test_a_plugin_and_a_point_are_not_compared() -> None:
    with pytest.raises(NotComparable):
        changes(point(), contract())


def test_a_saved_contract_is_the_contract() -> None:
    for document in (point(answer=schema_of(Doc)), contract(one, hook=None, settings=Settings)):
        again = msgspec.json.decode(msgspec.json.encode(document), type=PluginContract | PointContract)
        assert changes(document, again) == []


@pytest.mark.parametrize(
    ("type_", "text"),
    [
        (str | None, "str | null"),
        (list[Doc], "list[Doc]"),
        (dict[str, int], "dict[str, int]"),
        (bytes, "bytes"),
        (tuple[int, str], "tuple[int, str]"),
        (Any, "any"),
        (msgspec.defstruct("S", [("x", msgspec.Raw)]), "S"),
    ],
)
def test_a_type_is_written_as_an_author_would(type_: Any, text: str) -> None:
    assert type_text(schema_of(type_)) == text


@pytest.mark.parametrize(
    "schema", [None, 7, [], {"$ref": "x"}, {"type": 3}, {"anyOf": 3}, {"enum": {}}, {"$ref": "#"}]
)
def test_anything_can_be_written(schema: Any) -> None:
    assert isinstance(type_text(schema), str)
    assert signature("m", schema, schema)
    assert list(fields(schema)) == []
    assert types([schema]) == {}


@pytest.mark.parametrize(
    ("result", "text"),
    [
        (schema_of(str), "m() -> stream of str"),
        (None, "m() -> stream"),
        (schema_of(Doc), "m() -> stream of Doc"),
    ],
)
def test_a_stream_is_written_as_one(result: Any, text: str) -> None:
    assert signature("m", {"properties": {}}, result, stream=True) == [text]


def test_a_signature_is_on_as_many_lines_as_it_takes() -> None:
    method = contract(more_optional).methods[0]
    assert signature("m", method.params, method.result) == ["m(name: str, excited: bool = false) -> Doc"]
    wide = signature("m" * 60, method.params, method.result)
    assert wide[1:] == ["    name: str,", "    excited: bool = false,", ") -> Doc"]
    assert types([method.result]) == {"Doc": ["name: str", "size: int | null = null"]}


def taker(name: str, docs: Iterator[Doc]) -> int: ...  # type: ignore[empty-body]
def renamed_taker(name: str, all: Iterator[Doc]) -> int: ...  # type: ignore[empty-body]
def wider_taker(name: str, docs: Iterator[Doc | None]) -> int: ...  # type: ignore[empty-body]
def no_taker(name: str) -> int: ...  # type: ignore[empty-body]


@pytest.mark.parametrize(
    ("before", "after", "kinds"),
    [
        (taker, taker, []),
        (taker, renamed_taker, ["breaks"]),
        (taker, no_taker, ["breaks"]),
        (no_taker, taker, ["breaks"]),
        (taker, wider_taker, ["harmless"]),
        (wider_taker, taker, ["breaks"]),
    ],
)
def test_what_a_method_takes_in_items_is_compared(before: Any, after: Any, kinds: list[str]) -> None:
    found = changes(contract(before), contract(after))
    assert [change.kind for change in found] == kinds
    assert all("docs" in change.text for change in found)


def test_a_signature_says_what_comes_in_items() -> None:
    (method,) = contract(taker).methods
    (text,) = signature("put", method.params, method.result, takes=method.takes)
    assert text == "put(name: str, docs: stream of Doc) -> int"
    assert types([*(method.takes or {}).values()]) == {"Doc": ["name: str", "size: int | null = null"]}
