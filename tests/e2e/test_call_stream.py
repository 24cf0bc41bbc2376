"""`outboard call --stream` and the bar of a call's progress, as an operator has them."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from host.control.client import Client
from tests.support.daemon import SAMPLES, Daemon, eventually, on_terminal
from tests.support.plugins import write_plugin

TICKER = """
import pathlib
from collections.abc import Iterator

@plugin.method(stream=True)
def count(n: int = 1_000_000_000, mark: str = "") -> Iterator[int]:
    made = 0
    try:
        for made in range(n):
            yield made
    finally:
        if mark:
            pathlib.Path(mark).write_text(str(made))

@plugin.method(stream=True)
def mixed() -> Iterator[Any]:
    yield "a text"
    yield {"n": 1, "s": "x"}
    yield None
    yield b"\\x00\\xff"
    yield "\\x1b[31mred"

@plugin.method(stream=True)
def fail(after: int) -> Iterator[int]:
    for i in range(after):
        yield i
    raise PluginError(7, "no more")

@plugin.method(stream=True)
def crash() -> Iterator[int]:
    yield 1
    time.sleep(0.05)
    os._exit(3)

@plugin.method(stream=True)
def slow(ctx: Context) -> Iterator[str]:
    yield "first"
    while not ctx.cancelled:
        time.sleep(0.001)

@plugin.method
def work(ctx: Context) -> str:
    for done in range(6):
        ctx.progress(done, 6, f"page {done}")
        time.sleep(0.06)
    return "done"
"""


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    home = tmp_path_factory.mktemp("streams")
    ticker = write_plugin(home / "plugins", "ticker", TICKER)
    with Daemon(home, ticker, SAMPLES / "text_tools") as daemon:
        yield daemon


def test_each_item_is_a_line(daemon: Daemon) -> None:
    done = daemon.cli("call", "ticker", "mixed", "--stream")
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines() == ["a text", '{"n":1,"s":"x"}', "null", "AP8=", "\x1b[31mred"]
    done = daemon.cli("call", "ticker", "mixed", "--stream", "--json")
    items = [json.loads(line) for line in done.out.splitlines()]
    assert items == ["a text", {"n": 1, "s": "x"}, None, "AP8=", "\x1b[31mred"]


def test_a_hundred_thousand_items_come_in_order(daemon: Daemon) -> None:
    done = daemon.cli("call", "ticker", "count", "n=100000", "--stream", "--timeout", "0")
    assert done.out == "".join(f"{n}\n" for n in range(100_000))


def test_a_sample_streams_a_document(daemon: Daemon) -> None:
    document = SAMPLES / "text_tools" / "documents" / "seed_cake.md"
    done = daemon.cli("call", "text_tools", "lines", "name=seed_cake.md", "--stream")
    assert done.out.splitlines() == document.read_text().splitlines()


@pytest.mark.parametrize(
    ("words", "code", "items", "error"),
    [
        (["fail", "after=3"], 1, ["0", "1", "2"], "OB404"),
        (["fail", "after=0"], 1, [], "OB404"),
        (["crash"], 1, ["1"], "OB402"),
        (["slow", "--timeout", "0.3"], 5, ["first"], "OB403"),
        (["work"], 1, [], "OB406"),
        (["cuont"], 1, [], "OB405"),
        (["count", "m=1"], 1, [], "OB406"),
    ],
)
def test_what_ends_a_stream_comes_after_its_items(
    daemon: Daemon, words: list[str], code: int, items: list[str], error: str
) -> None:
    if words == ["crash"]:
        daemon.until_state("ticker", "running", "degraded")
    done = daemon.cli("call", "ticker", *words, "--stream")
    assert (done.code, done.out.splitlines()) == (code, items)
    assert f"error[{error}]" in done.err
    daemon.cli("start", "ticker")
    as_json = daemon.cli("call", "ticker", *words, "--stream", "--json")
    *lines, last = as_json.out.splitlines()
    assert lines == [item if item != "first" else '"first"' for item in items]
    assert json.loads(last)["error"]["code"] == error
    daemon.cli("start", "ticker")


def test_a_stream_that_is_called_as_if_it_were_none_says_how_it_is_called(daemon: Daemon) -> None:
    done = daemon.cli("call", "ticker", "count", "n=1")
    assert done.code == 1
    assert "outboard call ticker count --stream" in done.err


def interrupted(daemon: Daemon, mark: Path, end: Any) -> None:
    """Begins an endless stream, has `end` end its reader, and waits until the plugin has stopped too."""
    words = ("call", "ticker", "count", f"mark={mark}", "--stream", "--timeout", "0")
    process = daemon.begin(*words)
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        for n in range(3):
            assert process.stdout.readline() == b"%d\n" % n
        end(process)
        eventually(mark.exists)
        process.communicate(timeout=10)
    finally:
        process.kill()
        process.wait()
    eventually(lambda: daemon.plugin("ticker")["calls"]["in_flight"] == 0)


def test_a_reader_that_has_seen_enough_stops_the_plugin(daemon: Daemon, tmp_path: Path) -> None:
    interrupted(daemon, tmp_path / "mark", lambda process: process.stdout.close())


def test_ctrl_c_stops_the_plugin(daemon: Daemon, tmp_path: Path) -> None:
    interrupted(daemon, tmp_path / "mark", lambda process: process.send_signal(signal.SIGINT))


def test_a_command_that_is_killed_stops_the_plugin(daemon: Daemon, tmp_path: Path) -> None:
    interrupted(daemon, tmp_path / "mark", lambda process: process.kill())


def test_a_client_that_does_not_use_what_comes_holds_the_plugin_up(daemon: Daemon, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    asked = {"plugin": "ticker", "method": "count", "params": {"mark": str(mark)}, "timeout": None}
    with Client(daemon.socket) as client:
        items = client.items("call/stream", asked)
        assert next(items)
        daemon.cli("status")
    eventually(mark.exists)
    assert int(mark.read_text()) < 5000


def test_progress_is_a_bar_on_a_terminal_and_nothing_anywhere_else(daemon: Daemon) -> None:
    seen = on_terminal("call", "ticker", "work", env=daemon.env)
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", seen.out)
    assert re.search(r"━.*\d+%.*page \d", plain)
    assert plain.rstrip().splitlines()[-2] == "done"
    quiet = daemon.cli("call", "ticker", "work")
    assert (quiet.out, quiet.err) == ("done\n", "")
    as_json = on_terminal("call", "ticker", "work", "--json", env=daemon.env)
    assert "━" not in as_json.out
