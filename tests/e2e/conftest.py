"""One daemon for the tests that only look and call; those that break things start their own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.daemon import SAMPLES, Daemon
from tests.support.plugins import write_plugin

TESTER = """
@plugin.method
def echo(value: Any = None) -> Any:
    return value

@plugin.method
def text(value: str) -> str:
    return value

@plugin.method
def sorry() -> None:
    raise PluginError(7, "no luck today", {"luck": 0})

@plugin.method
def broken() -> None:
    raise ZeroDivisionError("never mind")

@plugin.method
def nap(s: float, ctx: Context) -> None:
    ctx.status("napping")
    ends_at = time.monotonic() + s
    while time.monotonic() < ends_at and not ctx.cancelled:
        threading.Event().wait(0.01)
    ctx.status("was cancelled" if ctx.cancelled else "slept")

@plugin.method
def say(message: str, ctx: Context) -> None:
    ctx.log.warning(message)
    print("stderr:", message, file=sys.stderr)
"""


@pytest.fixture(scope="session")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """`hello`, `text_tools` and `tester` run, and are to run at the end of each test too."""
    home = tmp_path_factory.mktemp("home")
    # A handler that keeps the SDK from reading hears of a cancellation with the next ping at the latest.
    tester = write_plugin(home / "plugins", "tester", TESTER, health={"interval": "200ms"})
    with Daemon(home, SAMPLES / "hello", SAMPLES / "text_tools", tester) as started:
        yield started
        generations = {plugin["generation"] for plugin in started.status()["plugins"]}
        assert generations == {1}, started.ask("why", {"name": "tester"})["causes"]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Of an operator who has a daemon of their own."""
    return tmp_path
