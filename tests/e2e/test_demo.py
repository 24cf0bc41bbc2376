"""The demo, and the plugin whose language may not be installed."""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

import pytest

from tests.support.daemon import SAMPLES, Daemon, environment, on_terminal, outboard


@pytest.fixture
def without_node(tmp_path: Path) -> str:
    """A PATH with the few programs that a daemon and its plugins may need, and no node."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for program in ("sh", "env"):
        found = shutil.which(program)
        assert found
        (folder / program).symlink_to(found)
    return str(folder)


def test_wordcount_waits_for_node_and_says_so(home: Path, without_node: str) -> None:
    with Daemon(home, SAMPLES / "wordcount", SAMPLES / "hello", env={"PATH": without_node}) as daemon:
        done = daemon.cli("status")
        assert done.code == 3
        assert "wordcount: `node` is not installed, or not on the PATH" in done.out
        assert daemon.plugin("wordcount")["state"] == "waiting"
        assert daemon.cli("status", "hello").code == 0
        refused = daemon.cli("call", "wordcount", "count", "text=a", "--json")
        assert (refused.code, refused.error["data"]["state"]) == (3, "waiting")


@pytest.mark.skipif(not shutil.which("node"), reason="needs node")
def test_wordcount_counts(home: Path) -> None:
    with Daemon(home, SAMPLES / "wordcount") as daemon:
        done = daemon.cli("call", "wordcount", "count", "text=two words", "--json")
        assert done.json["result"] == {"lines": 1, "words": 2, "bytes": 9}
        wrong = daemon.cli("call", "wordcount", "top", "text=a", "n=many", "--json")
        assert (wrong.code, wrong.error["code"]) == (1, "OB406")


def test_the_demo_shows_the_main_job(home: Path) -> None:
    done = outboard("demo", env=environment(home))
    assert (done.code, done.err) == (0, "")
    assert "Hello, world." in done.out
    assert re.search(r"back after \d\.\d\d s as generation 2", done.out)
    assert "gone (exit code 0)" in done.out
    assert not re.search("\x1b", done.out)
    assert not list(home.iterdir())


def test_the_demo_does_without_node(home: Path, without_node: str) -> None:
    done = outboard("demo", env=environment(home, PATH=without_node))
    assert (done.code, done.err) == (0, "")
    assert "wordcount is waiting: `node` is not installed" in done.out


def test_the_demo_fits_a_terminal(home: Path) -> None:
    done = on_terminal("demo", env=environment(home))
    plain = re.sub(r"\x1b\[[0-9;]*m", "", done.out)
    assert done.code == 0
    assert done.out != plain
    known = (os.fspath(SAMPLES), sys.prefix)
    assert not [line for line in plain.splitlines() if len(line) > 80 and not any(p in line for p in known)]
