"""A plugin as an object of a Protocol's type: what mypy knows, what is sent and what comes back."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Protocol

import msgspec
import pytest

from host import BlockingHost, ContractError, DeadlineExceeded, Host, HostMisuse, PluginNotFound
from tests.host.test_embedding_app import mypy
from tests.support.plugins import make_host, write_plugin

pytestmark = pytest.mark.anyio

CODE = """
from collections.abc import Iterator
import msgspec

class Note(msgspec.Struct):
    text: str
    stars: int = 0

@plugin.method
def greet(name: str, excited: bool = True) -> str:
    return f"Hello, {name}{'!' if excited else '.'}"

@plugin.method
def rate(note: Note, stars: int) -> Note:
    return Note(note.text, note.stars + stars)

@plugin.method
def nap(seconds: float = 60.0) -> None:
    time.sleep(seconds)

@plugin.method(stream=True)
def notes(n: int = 1000000000) -> Iterator[Note]:
    for i in range(n):
        yield Note("x", i)

@plugin.method(stream=True)
def odd() -> Iterator:
    yield 1
    yield "two"

@plugin.method
def loose(what: str):
    return {"str": "x", "int": 1}[what]
"""


class Note(msgspec.Struct):
    text: str
    stars: int = 0


class Hello(Protocol):
    async def greet(self, name: str, *, excited: bool = False) -> str:
        """Says hello."""

    async def rate(self, note: Note, stars: int = 1) -> Note: ...

    async def nap(self, seconds: float = ...) -> None: ...

    async def loose(self, what: str) -> str: ...


class Plain(Protocol):
    def greet(self, name: str) -> str: ...

    def rate(self, note: Note, stars: int = 1) -> Note: ...


@pytest.fixture
def hello(tmp_path: Path) -> Path:
    return write_plugin(tmp_path, "hello", CODE)


async def test_a_proxy_calls_by_name_with_the_protocols_defaults_and_types(
    tmp_path: Path, hello: Path
) -> None:
    async with make_host(tmp_path, hello) as host:
        proxy = host.proxy("hello", Hello)
        assert await proxy.greet("Ada") == "Hello, Ada."  # the plugin's own default is another one
        assert await proxy.greet(name="Ada", excited=True) == "Hello, Ada!"
        assert await proxy.rate(Note("x", 2)) == Note("x", 3)
        assert await proxy.rate(stars=5, note=Note("x")) == Note("x", 5)
        assert await proxy.nap(0.0) is None  # type: ignore[func-returns-value]
        with pytest.raises(TypeError, match="unexpected keyword"):
            await proxy.greet("Ada", exited=True)  # type: ignore[call-arg]
        with pytest.raises(TypeError, match="missing"):
            await proxy.greet()  # type: ignore[call-arg]
        assert proxy.greet.__doc__ == "Says hello."


async def test_a_proxy_has_its_own_timeout(tmp_path: Path, hello: Path) -> None:
    async with make_host(tmp_path, hello) as host:
        with pytest.raises(DeadlineExceeded):
            await host.proxy("hello", Hello, timeout=0.05).nap()


async def test_a_result_that_is_not_what_the_protocol_says_is_the_plugins_fault(
    tmp_path: Path, hello: Path
) -> None:
    async with make_host(tmp_path, hello) as host:
        proxy = host.proxy("hello", Hello)
        assert await proxy.loose("str") == "x"
        with pytest.raises(ContractError) as caught:
            await proxy.loose("int")
        assert (caught.value.plugin, caught.value.method) == ("hello", "loose")
        assert caught.value.data == [{"path": "$", "reason": "expected `str`, got `int`"}]


class Streams(Protocol):
    def notes(self, n: int = ...) -> AsyncIterator[Note]:
        """All of them."""

    def odd(self) -> AsyncIterator[int]: ...


class PlainStreams(Protocol):
    def notes(self, n: int = ...) -> Iterator[Note]: ...

    def odd(self) -> Iterator[int]: ...


async def test_a_stream_of_a_proxy_has_the_protocols_items(tmp_path: Path, hello: Path) -> None:
    async with make_host(tmp_path, hello) as host:
        proxy = host.proxy("hello", Streams)
        assert [note async for note in proxy.notes(3)] == [Note("x", 0), Note("x", 1), Note("x", 2)]
        async for note in proxy.notes():
            if note.stars == 5000:
                break
        assert [note.stars async for note in proxy.notes(n=2)] == [0, 1], "the one before was left"
        seen = []
        with pytest.raises(ContractError) as caught:
            async for number in proxy.odd():
                seen.append(number)
        assert seen == [1]
        assert caught.value.data == [{"path": "$[1]", "reason": "expected `int`, got `str`"}]
        assert (caught.value.plugin, caught.value.method) == ("hello", "odd")
        with pytest.raises(TypeError, match="unexpected keyword"):
            proxy.notes(m=1)  # type: ignore[call-arg]
        assert proxy.notes.__doc__ == "All of them."


def test_a_blocking_host_has_streams_in_proxies(tmp_path: Path, hello: Path) -> None:
    with BlockingHost(plugins=[hello], data_dir=tmp_path / "data") as host:
        proxy = host.proxy("hello", PlainStreams)
        assert [*proxy.notes(2)] == [Note("x", 0), Note("x", 1)]
        numbers = proxy.odd()
        assert next(numbers) == 1
        with pytest.raises(ContractError, match=r"\$\[1\]: expected `int`, got `str`"):
            next(numbers)
        assert [*numbers] == []
        with pytest.raises(HostMisuse, match=r"must be `def ... -> Iterator\[...\]`"):
            host.proxy("hello", Streams)


class OtherStreams(Protocol):
    def notes(self, n: str) -> AsyncIterator[int]: ...

    def greet(self, name: str) -> AsyncIterator[str]: ...


class OneNote(Protocol):
    async def notes(self, n: int) -> Note: ...


async def test_a_stream_that_is_another_one_or_none_is_refused(tmp_path: Path, hello: Path) -> None:
    async with make_host(tmp_path, hello) as host:
        with pytest.raises(ContractError) as caught:
            host.proxy("hello", OtherStreams)
        assert caught.value.data == [
            "notes, params: $.n: sent str, taken int",
            "notes, result: $: sent Note, taken int",
            "greet: it answers at once, and is no stream",
        ]
        with pytest.raises(ContractError, match="notes: it is a stream"):
            host.proxy("hello", OneNote)


async def test_of_a_plugin_that_has_never_run_the_first_item_says_at_the_latest_that_it_is_another_one(
    tmp_path: Path,
) -> None:
    lazy = write_plugin(tmp_path, "hello", CODE, start={"mode": "lazy"})
    host = Host(plugins=[lazy], data_dir=tmp_path / "data", cache_dir=tmp_path / "cache")

    class Other(Protocol):
        def notes(self, n: int) -> AsyncIterator[Note]: ...

        async def great(self) -> None: ...

    async with host:
        with pytest.raises(ContractError, match="great: no such method"):
            async for _ in host.proxy("hello", Other).notes(3):
                raise AssertionError


class Wrong(Protocol):
    async def greet(self, name: int, volume: int) -> bool: ...

    async def great(self) -> None: ...


async def test_a_plugin_that_is_not_what_the_protocol_says_is_refused_with_every_difference(
    tmp_path: Path, hello: Path
) -> None:
    async with make_host(tmp_path, hello) as host:
        with pytest.raises(ContractError) as caught:
            host.proxy("hello", Wrong)
        assert caught.value.data == [
            "greet, params: $.name: sent int, taken str",
            "greet, params: $.volume: sent, and no such key",
            "greet, result: $: sent str, taken bool",
            "great: no such method; did you mean `greet`?",
        ]
        assert caught.value.plugin == "hello"


async def test_of_a_plugin_that_has_never_run_the_first_call_says_at_the_latest_that_it_is_another_one(
    tmp_path: Path,
) -> None:
    lazy = write_plugin(tmp_path, "hello", CODE, start={"mode": "lazy"})
    host = Host(plugins=[lazy], data_dir=tmp_path / "data", cache_dir=tmp_path / "cache")

    class Other(Protocol):
        async def greet(self, name: str) -> str: ...

        async def great(self) -> None: ...

    async with host:
        with pytest.raises(ContractError, match="great: no such method"):  # it may be known by now
            await host.proxy("hello", Other).greet("Ada")


async def test_a_plugin_that_comes_to_be_another_one_is_noticed_at_the_next_call(
    tmp_path: Path, hello: Path
) -> None:
    async with make_host(tmp_path, hello) as host:
        proxy = host.proxy("hello", Hello)
        await proxy.greet("Ada")
        main = hello / "main.py"
        main.write_text(main.read_text().replace("def greet(name: str", "def greet(name: bytes"))
        await host.restart("hello")
        with pytest.raises(ContractError, match="name: sent"):
            await proxy.greet("Ada")


class Attribute(Protocol):
    name: str


class Sync(Protocol):
    def greet(self, name: str) -> str: ...


class Positional(Protocol):
    async def greet(self, name: str, /) -> str: ...


class AwaitedStream(Protocol):
    async def notes(self, n: int) -> AsyncIterator[Note]: ...


class SyncStream(Protocol):
    def notes(self, n: int) -> Iterator[Note]: ...


class Unsupported(Protocol):
    async def greet(self, name: complex) -> str: ...


@pytest.mark.parametrize(
    "api",
    [Attribute, Sync, Positional, AwaitedStream, SyncStream, Unsupported, Protocol, int, "Hello"],
)
async def test_what_is_no_protocol_of_calls_is_refused(tmp_path: Path, hello: Path, api: Any) -> None:
    async with make_host(tmp_path, hello) as host:
        with pytest.raises(HostMisuse):
            host.proxy("hello", api)
        with pytest.raises(PluginNotFound):
            host.proxy("hullo", Hello)
    with pytest.raises(HostMisuse):
        host.proxy("hello", Hello)


def test_a_blocking_host_has_proxies_of_plain_methods(tmp_path: Path, hello: Path) -> None:
    with BlockingHost(plugins=[hello], data_dir=tmp_path / "data") as host:
        proxy = host.proxy("hello", Plain, timeout=5)
        assert proxy.greet("Ada") == "Hello, Ada!"
        assert proxy.rate(Note("x")) == Note("x", 1)
        with pytest.raises(HostMisuse, match="must be `def`"):
            host.proxy("hello", Hello)


TYPED = """
from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Protocol, assert_type

from host import BlockingHost, ExtensionPoint, Host, PluginContract, PointContract
from plugin_sdk import Plugin

plugin = Plugin()


@plugin.method(idempotent=True)
def greet(name: str, excited: bool = False) -> str:
    return name


@plugin.hook("text.mark", version="1.0")
def mark(text: str) -> str:
    return text


assert_type(greet("Ada"), str)
point = ExtensionPoint("text.mark", mode="pipeline", type=str, version="1.2")


class HelloApi(Protocol):
    async def greet(self, *, name: str, excited: bool = False) -> str: ...

    def lines(self, path: str) -> AsyncIterator[str]: ...


class PlainApi(Protocol):
    def greet(self, name: str) -> str: ...

    def lines(self, path: str) -> Iterator[str]: ...


async def use(host: Host) -> int:
    hello = host.proxy("hello", HelloApi, timeout=1)
    assert_type(hello, HelloApi)
    assert_type(await hello.greet(name="Ada"), str)
    assert_type(host.contract("hello"), PluginContract | PointContract)
    async for line in hello.lines("x"):
        assert_type(line, str)
    return len(await hello.greet(name="Ada", excited=True))


def block(host: BlockingHost) -> None:
    hello = host.proxy("hello", PlainApi)
    assert_type(hello, PlainApi)
    assert_type(hello.greet("Ada"), str)
    assert_type(next(hello.lines("x")), str)
"""

SLIPS = """
    await hello.greet(nme="Ada")
    await hello.greet(name=3)
    await hello.great(name="Ada")
    number: int = await hello.greet(name="Ada")
    async for size in hello.lines(7):
        pass
"""


@pytest.mark.slow
@pytest.mark.timeout(360)
def test_a_program_with_proxies_passes_mypy_strict_and_its_slips_do_not(tmp_path: Path) -> None:
    right = mypy(tmp_path, TYPED)
    assert right.returncode == 0, right.stdout
    wrong = mypy(tmp_path, TYPED.replace("    return len(", SLIPS + "    return len("))
    assert wrong.stdout.count("error:") == 5, wrong.stdout
    for slip in ("call-arg", "arg-type", "attr-defined", "assignment"):
        assert f"[{slip}]" in wrong.stdout, wrong.stdout
