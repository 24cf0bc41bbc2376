"""A start costs what a plugin uses: what is imported later behaves as if it had been there."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from plugin_sdk import functions
from tests.plugin_sdk.conftest import Launch

PLUGIN = "from plugin_sdk import Context, Plugin\nplugin = Plugin()\n"
UNUSED = {
    *(
        "asyncio",
        "copy",
        "dataclasses",
        "difflib",
        "inspect",
        "logging",
        "pathlib",
        "subprocess",
        "traceback",
    ),
    *("typing_extensions", "protocol.filters", "plugin_sdk.inflow", "plugin_sdk.log_handler"),
}
"""Of what is imported for those who use it. Together it would more than double what a start costs."""


def test_a_plugin_that_needs_little_is_given_no_more(launch: Launch) -> None:
    source = """
        import sys
        @plugin.method
        def loaded(text: str = "", *, deep: list[int] | None = None) -> list[str]: return sorted(sys.modules)
        @plugin.on_start
        def start(ctx: Context) -> None: pass
    """
    host = launch(source, preamble=PLUGIN).begin()
    assert not UNUSED & set(host.call("loaded"))
    assert host.end() == 0


def test_logging_that_is_imported_late_arrives_from_its_first_record(launch: Launch) -> None:
    source = """
        import sys
        before = list(sys.meta_path)
        @plugin.method
        def late(ctx: Context) -> list[str]:
            import logging
            logging.getLogger("deep").debug("the first")
            ctx.log.info("mine")
            assert sys.meta_path == before
            return [type(logging.__loader__).__name__, type(logging.__spec__.loader).__name__]
    """
    host = launch(source, preamble=PLUGIN).begin()
    host.notify("log/level", {"level": "debug"})
    assert host.call("late") == ["SourceFileLoader", "SourceFileLoader"]
    records = [host.next_notification("log/record") for _ in range(2)]
    assert [(each["logger"], each["message"]) for each in records] == [
        ("deep", "the first"),
        ("tested", "mine"),
    ]


def test_typing_extensions_is_all_there_for_whoever_imports_it(launch: Launch) -> None:
    source = """
        import typing, typing_extensions
        class Letter(typing_extensions.TypedDict):
            to: str
            about: typing_extensions.NotRequired[str]
        @plugin.method
        def send(letter: Letter) -> int: return len(letter)
        @plugin.method
        def same() -> bool: return typing_extensions.NotRequired is typing.NotRequired
    """
    host = launch(source, preamble=PLUGIN).begin()
    assert host.call("send", {"letter": {"to": "Ada"}}) == 1
    assert host.call("same") is True


def test_files_of_the_authors_do_not_stand_in_for_what_the_sdk_needs_later(
    launch: Launch, tmp_path: Path
) -> None:
    for name in ("copy", "inspect", "logging", "pathlib", "traceback", "linecache"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('the wrong file')\n")
    source = """
        def shout(words: list[str] = []) -> str: return "!".join(words)
        shout.is_marked = True
        plugin.method(shout)
        @plugin.method
        def fail(ctx: Context) -> None:
            ctx.log.info(str(ctx.data_dir))
            raise KeyError("seen")
    """
    host = launch(source, preamble=PLUGIN).begin()
    assert host.call("shout") == ""
    with pytest.raises(Exception, match="KeyError"):
        host.call("fail")
    assert host.next_notification("log/record")["level"] == "info"
    assert "in fail" in host.next_notification("log/record")["message"]


def plain(name: str, excited: bool = False) -> str: ...  # type: ignore[empty-body]
def nothing() -> None: ...
def everything(a: int, /, b: int, c: int = 3, *rest: int, d: int, e: int = 5, **more: int) -> None: ...
def keywords(*, d: int = 4, e: int) -> None: ...
def positional(a: int, b: int = 2, /) -> None: ...
def rest(*many: int) -> None: ...
async def awaited(name: str, **more: str) -> None: ...
def generator(n: int) -> Any:
    local = n
    yield local


async def async_generator(n: int) -> Any:
    yield n


ALL = [plain, nothing, everything, keywords, positional, rest, awaited, generator, async_generator]


@pytest.mark.parametrize("function", ALL, ids=lambda function: function.__name__)
def test_a_functions_code_says_what_inspect_says(function: Callable[..., Any]) -> None:
    hung_on = functools.wraps(function)(lambda *_, **__: None)  # which `inspect` looks through
    read = [functions.parameters_of(each) for each in (function, hung_on)]
    slots = functions.Parameter.__slots__
    plainly, inspected = ([[getattr(each, slot) for slot in slots] for each in one] for one in read)
    assert plainly == inspected


def test_what_is_not_just_a_function_is_asked_about() -> None:
    assert functions.is_coroutine_function(functools.partial(awaited, "Ada"))
    assert [each.name for each in functions.parameters_of(functools.partial(plain, "Ada"))] == ["excited"]
    assert functions.yields(functools.partial(generator, 1))
    assert functions.yields(functools.partial(async_generator, 1))
    assert not functions.is_coroutine_function(None)
