"""Which hooks may be implementations of a point, and what is said of those that may not."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from host import ExtensionPoint, HostMisuse
from host.routing.extension_points import settled
from host.routing.point_fit import unfit
from plugin_sdk import Plugin
from protocol.lifecycle import HookInfo


class Document(msgspec.Struct):
    name: str
    size: int = 0


class Page(msgspec.Struct):
    number: int


PARAMS = {
    "properties": {"text": {"type": "string"}, "lang": {"anyOf": [{"type": "string"}, {"type": "null"}]}},
    "required": ["text"],
}


def problems(point: ExtensionPoint, hook: HookInfo) -> list[str]:
    return unfit(settled([point], {}, "outboard.toml")[0]["p"], hook)


def hook_of(function: Any, **more: Any) -> HookInfo:
    plugin = Plugin()
    plugin.hook("p", **more)(function)
    return plugin.provides().hooks[0]


def as_text(text: str) -> str: ...  # type: ignore[empty-body]
def as_text_and_lang(text: str, lang: str | None = None) -> str: ...  # type: ignore[empty-body]
def as_number(text: int) -> None: ...
def with_lang_not_null(text: str, lang: str = "en") -> None: ...
def with_more(text: str, page: int) -> None: ...
def with_more_optional(text: str, page: int = 1) -> None: ...
def untyped(text, page=1): ...  # type: ignore[no-untyped-def]
def document(doc: Document) -> Document: ...  # type: ignore[empty-body]
def document_or_null(doc: Document) -> Document | None: ...
def page(doc: Page) -> Page: ...  # type: ignore[empty-body]
def other_params(ctx: Any, lang: str, doc: Document) -> Document: ...  # type: ignore[empty-body]
def nothing() -> None: ...


with_params = ExtensionPoint("p", mode="broadcast", params=PARAMS)
pipeline = ExtensionPoint("p", mode="pipeline", type=Document)
collect = ExtensionPoint("p", mode="collect", type=Document)

ROWS: list[tuple[ExtensionPoint, Any, list[str]]] = [
    (with_params, as_text, []),
    (with_params, as_text_and_lang, []),
    (with_params, with_more_optional, []),
    (with_params, untyped, []),
    (with_params, nothing, []),
    (with_params, as_number, ["params $.text: sent str, taken int"]),
    (with_params, with_lang_not_null, ["params $.lang: sent null, taken str"]),
    (with_params, with_more, ["params $.page: never sent, and required"]),
    (pipeline, document, []),
    (pipeline, document_or_null, []),
    (pipeline, other_params, []),
    (pipeline, untyped, []),
    (pipeline, nothing, []),
    (
        pipeline,
        page,
        [
            "params $.doc.number: never sent, and required",
            "answer $.name: never sent, and required",
        ],
    ),
    (collect, document, []),
    (collect, page, ["answer $.name: never sent, and required"]),
    (collect, document_or_null, ["answer $: sent null, taken Document"]),
    (ExtensionPoint("p", mode="broadcast", type=Document), page, []),
]


@pytest.mark.parametrize(("point", "function", "expected"), ROWS)
def test_the_types_of_a_hook_are_held_against_those_of_its_point(
    point: ExtensionPoint, function: Any, expected: list[str]
) -> None:
    assert problems(point, hook_of(function)) == expected


@pytest.mark.parametrize(
    ("offered", "written_for", "fits"),
    [
        ("1.2", None, True),
        ("1.2", "1.2", True),
        ("1.2", "1.0", True),
        ("1.2", "1.3", False),
        ("2.0", "1.9", False),
        ("1.9", "2.0", False),
        ("1.10", "1.9", True),
        ("1.0", "one", False),
    ],
)
def test_a_host_may_offer_more_than_a_hook_was_written_for_and_nothing_else(
    offered: str, written_for: str | None, fits: bool
) -> None:
    found = problems(ExtensionPoint("p", version=offered), HookInfo(point="p", version=written_for))
    assert (found == []) is fits


@pytest.mark.parametrize(
    "schema", [None, {}, [], {"params": 7, "result": []}, {"params": {"$ref": "#"}, "result": {"$ref": "#"}}]
)
def test_what_a_foreign_plugin_says_of_its_hook_may_be_anything(schema: Any) -> None:
    assert problems(collect, HookInfo(point="p", schema=schema)) == []
    assert problems(with_params, HookInfo(point="p", schema=schema, version=7)) != []  # type: ignore[arg-type]


@pytest.mark.parametrize("version", ["1", "1.2.3", "01.0", "v1.0", "", 1.0, None])
def test_a_version_is_two_numbers(version: Any) -> None:
    with pytest.raises(HostMisuse):
        ExtensionPoint("p", version=version)
    if isinstance(version, str):
        with pytest.raises(Exception, match="has to be like"):
            Plugin().hook("p", version=version)(as_text)


def test_of_more_differences_than_are_looked_for_that_is_said() -> None:
    many = {"required": [f"key{number}" for number in range(99)]}
    lines = problems(with_params, HookInfo(point="p", schema={"params": many}))
    assert len(lines) == 51
    assert lines[-1] == "params: no more than 50 differences are looked for"


def test_what_cannot_be_told_hides_nothing_that_can() -> None:
    unclear = {f"key{number:02}": {"type": "string", "x-unknown": number} for number in range(60)}
    hook = HookInfo(point="p", schema={"params": {"properties": {**unclear, "last": {"type": "integer"}}}})
    point = ExtensionPoint(
        "p",
        mode="broadcast",
        params={"properties": {**{key: {"type": "string"} for key in unclear}, "last": {"type": "string"}}},
    )
    assert problems(point, hook) == ["params $.last: sent str, taken int"]
