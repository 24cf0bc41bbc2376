"""Type hints and docstring are the contract: what the host is told, and what is refused before a call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from plugin_sdk import Plugin
from plugin_sdk.errors import AuthorMistake
from protocol.errors import ErrorCode, RpcError
from tests.support.raw_host import RawHost, error_of

Launch = Callable[..., RawHost]

CATALOGUE = """
class Book(msgspec.Struct):
    title: str
    pages: int
    tags: list[str] = []

@plugin.method(idempotent=True, timeout_s=5)
def shelve(book: Book, shelf: int, note: Optional[str] = None, *, gently: bool = True) -> list[Any]:
    "Puts a book on a shelf."
    return [type(book).__name__, book.title, book.tags, shelf, note, gently]

@plugin.method
def free(first: int, **rest: Any) -> dict[str, Any]:
    return {"first": first, "rest": rest}

@plugin.method
def collect(item: str, into: list[str] = []) -> list[str]:
    into.append(item)
    return into

@plugin.method
def nothing(ctx) -> None:
    pass

@plugin.hook("book.bind")
def bind(book: Book, pages: int = 1) -> Book:
    book.pages += pages
    return book

@plugin.hook("text.polish", before=["archive"], priority=3)
def polish(text: str) -> str:
    "Polishes."
    return text.strip()
"""


def methods_of(result: Any) -> dict[str, Any]:
    return {method["name"]: method for method in result["provides"]["methods"]}


def test_the_handshake_tells_the_schema_of_every_method(launch: Launch) -> None:
    method = methods_of(launch(CATALOGUE).initialize())["shelve"]
    assert method["doc"] == "Puts a book on a shelf."
    assert method["idempotent"] is True
    assert method["timeout_s"] == 5
    params = method["params"]
    assert params["type"] == "object"
    assert params["required"] == ["book", "shelf"]
    assert params["additionalProperties"] is False
    assert params["properties"]["shelf"] == {"type": "integer"}
    assert params["properties"]["gently"] == {"type": "boolean", "default": True}
    assert params["$defs"]["Book"]["required"] == ["title", "pages"]
    assert method["result"] == {"type": "array"}


def test_the_context_is_no_param(launch: Launch) -> None:
    method = methods_of(launch(CATALOGUE).initialize())["nothing"]
    assert method["params"]["properties"] == {}


def test_the_handshake_tells_the_hooks(launch: Launch) -> None:
    _, hook = launch(CATALOGUE).initialize()["provides"]["hooks"]
    assert hook["point"] == "text.polish"
    assert hook["before"] == ["archive"]
    assert hook["priority"] == 3
    assert hook["schema"]["params"]["required"] == ["text"]


def test_a_filter_travels_in_the_handshake(launch: Launch) -> None:
    code = """
@plugin.hook("text.polish", when={"text": {"glob": "*.md"}, "lang": ["de", None]})
def polish(text: str, lang: Optional[str] = None) -> str:
    return text
"""
    (hook,) = launch(code).initialize()["provides"]["hooks"]
    assert hook["when"] == {"text": {"glob": "*.md"}, "lang": ["de", None]}


@pytest.mark.parametrize("when", [{}, {"a": object()}, {"": 1}, {"a": {"regex": "x"}}, 5])
def test_a_filter_that_no_host_could_read_is_the_authors_mistake(when: Any) -> None:
    with pytest.raises(AuthorMistake):
        Plugin().hook("text.polish", when=when)(lambda text: text)


def test_a_hook_is_called_by_its_point(serve: Launch) -> None:
    host = serve(CATALOGUE)
    assert host.call("hook/text.polish", {"text": " rough "}) == "rough"
    assert host.call("hook/text.polish", {"text": " rough ", "lang": "de"}) == "rough"  # takes what it names
    with pytest.raises(RpcError):
        host.call("hook/text.polish", {"txt": " rough "})
    bound = host.call("hook/book.bind", {"book": {"title": "a", "pages": 2}, "pages": 3})
    assert bound == {"title": "a", "pages": 5, "tags": []}


def test_a_struct_param_arrives_as_the_struct(serve: Launch) -> None:
    host = serve(CATALOGUE)
    book = {"title": "Ü", "pages": 9}
    assert host.call("shelve", {"book": book, "shelf": 2}) == ["Book", "Ü", [], 2, None, True]
    full = {"book": book | {"tags": ["a"]}, "shelf": 2, "note": "x", "gently": False}
    assert host.call("shelve", full) == ["Book", "Ü", ["a"], 2, "x", False]


def test_an_optional_param_takes_null(serve: Launch) -> None:
    params = {"book": {"title": "t", "pages": 1}, "shelf": 2, "note": None}
    assert serve(CATALOGUE).call("shelve", params)[4] is None


def test_all_problems_of_the_params_come_at_once_with_their_paths(serve: Launch) -> None:
    error = error_of(serve(CATALOGUE), "shelve", {"book": {"title": 1}, "shelf": "two", "notte": "x"})
    assert error.code == ErrorCode.INVALID_PARAMS
    reasons = {problem["path"]: problem["reason"] for problem in error.data}
    assert set(reasons) == {"$.book.title", "$.book.pages", "$.shelf", "$.notte"}
    assert reasons["$.book.pages"] == "required, and missing"
    assert "did you mean `note`?" in reasons["$.notte"]


def test_an_item_of_a_list_has_its_index_in_the_path(serve: Launch) -> None:
    book = {"title": "t", "pages": 1, "tags": ["a", 2]}
    error = error_of(serve(CATALOGUE), "shelve", {"book": book, "shelf": 1})
    assert [problem["path"] for problem in error.data] == ["$.book.tags[1]"]


def test_positional_params_are_taken_in_the_order_of_the_signature(serve: Launch) -> None:
    host = serve(CATALOGUE)
    book = {"title": "t", "pages": 1}
    assert host.call("shelve", [book, 4, "n"]) == ["Book", "t", [], 4, "n", True]
    assert error_of(host, "shelve", [book, 4, "n", True, 5]).code == ErrorCode.INVALID_PARAMS
    assert [problem["path"] for problem in error_of(host, "shelve", [book]).data] == ["$.shelf"]


def test_free_keyword_params_arrive(serve: Launch) -> None:
    host = serve(CATALOGUE)
    assert host.call("free", {"first": 1, "a": 2, "b": [3]}) == {"first": 1, "rest": {"a": 2, "b": [3]}}
    assert [problem["path"] for problem in error_of(host, "free", {"a": 2}).data] == ["$.first"]


def test_a_mutable_default_is_fresh_in_every_call(serve: Launch) -> None:
    host = serve(CATALOGUE)
    assert host.call("collect", {"item": "a"}) == ["a"]
    assert host.call("collect", {"item": "b"}) == ["b"]


def test_an_unknown_method_is_answered_with_what_there_is(serve: Launch) -> None:
    error = error_of(serve(CATALOGUE), "shelf")
    assert error.code == ErrorCode.METHOD_NOT_FOUND
    assert "did you mean `shelve`?" in error.message
    assert error.data["nearest"] == "shelve"
    assert "free" in error.data["methods"]


def test_settings_arrive_typed_and_with_defaults(serve: Launch) -> None:
    host = serve(SETTINGS)
    assert host.call("show") == ["Settings", 3, "de"]


def test_settings_are_validated_with_all_problems(launch: Launch) -> None:
    host = launch(SETTINGS)
    with pytest.raises(RpcError) as caught:
        host.initialize({"depth": "deep", "langage": "de"})
    assert caught.value.code == ErrorCode.INVALID_PARAMS
    assert {problem["path"] for problem in caught.value.data} == {"$.depth", "$.langage"}
    assert host.wait_exit() != 0


def test_the_schema_of_the_settings_is_told(launch: Launch) -> None:
    schema = launch(SETTINGS).initialize()["provides"]["config_schema"]
    assert schema["$defs"]["Settings"]["properties"]["depth"]["default"] == 3


SETTINGS = """
class Settings(msgspec.Struct, forbid_unknown_fields=True):
    depth: int = 3
    language: str = "de"

plugin.settings(Settings)

@plugin.method
def show(ctx: Context) -> list[Any]:
    return [type(ctx.settings).__name__, ctx.settings.depth, ctx.settings.language]
"""


class Custom:
    """A class that JSON cannot carry."""


def test_an_unsupported_type_is_the_authors_mistake_and_names_the_function() -> None:
    plugin = Plugin()

    def paint(canvas: Custom) -> None: ...

    with pytest.raises(AuthorMistake, match="paint") as caught:
        plugin.method(paint)
    assert "test_sdk_contract.py" in str(caught.value)


def test_object_means_any_value_as_it_does_under_a_strict_type_checker(serve: Launch) -> None:
    code = """
class Parcel(msgspec.Struct):
    label: object

@plugin.method
def carry(load: dict[str, object], parcel: Parcel) -> list[object]:
    return [load, parcel.label]
"""
    host = serve(code)
    params = {"load": {"a": [1, None]}, "parcel": {"label": {"b": 2}}}
    assert host.call("carry", params) == [{"a": [1, None]}, {"b": 2}]


def test_an_unsupported_result_is_the_authors_mistake_too() -> None:
    plugin = Plugin()

    def paint() -> Custom: ...

    with pytest.raises(AuthorMistake, match="paint"):
        plugin.method(paint)


def test_unsupported_settings_are_the_authors_mistake() -> None:
    class Settings(msgspec.Struct):
        canvas: Custom

    with pytest.raises(AuthorMistake, match="Settings"):
        Plugin().settings(Settings)


def test_a_hint_that_cannot_be_resolved_is_the_authors_mistake() -> None:
    def paint(canvas: "Nowhere") -> None: ...  # type: ignore[name-defined]  # noqa: F821, UP037

    with pytest.raises(AuthorMistake, match=r"paint.*type hints"):
        Plugin().method(paint)


def test_a_param_that_cannot_be_named_is_the_authors_mistake() -> None:
    def paint(*colours: str) -> None: ...

    with pytest.raises(AuthorMistake, match="colours"):
        Plugin().method(paint)


@pytest.mark.parametrize("name", ["Greet", "shutdown", "a/b", "_x", "9"])
def test_a_method_name_that_the_protocol_cannot_carry_is_refused(name: str) -> None:
    def handler() -> None: ...

    with pytest.raises(AuthorMistake):
        Plugin().method(name=name)(handler)


def test_two_methods_of_one_name_are_refused() -> None:
    plugin = Plugin()
    plugin.method(name="one")(lambda: None)
    with pytest.raises(AuthorMistake, match="two methods called `one`"):
        plugin.method(name="one")(lambda: None)
