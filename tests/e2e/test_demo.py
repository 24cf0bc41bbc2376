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
def bare_path(tmp_path: Path) -> str:
    """A PATH with the few programs that a daemon and its plugins may need: no node, no perl."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for program in ("sh", "env"):
        found = shutil.which(program)
        assert found
        (folder / program).symlink_to(found)
    return str(folder)


@pytest.mark.parametrize(("plugin", "program"), [("wordcount", "node"), ("rot13", "perl")])
def test_a_plugin_waits_for_its_language_and_says_so(
    home: Path, bare_path: str, plugin: str, program: str
) -> None:
    with Daemon(home, SAMPLES / plugin, SAMPLES / "hello", env={"PATH": bare_path}) as daemon:
        done = daemon.cli("status")
        assert done.code == 3
        assert f"{plugin}: `{program}` is not installed, or not on the PATH" in done.out
        assert daemon.plugin(plugin)["state"] == "waiting"
        assert daemon.cli("status", "hello").code == 0
        refused = daemon.cli("call", plugin, "anything", "text=a", "--json")
        assert (refused.code, refused.error["data"]["state"]) == (3, "waiting")


@pytest.mark.skipif(not shutil.which("node"), reason="needs node")
def test_wordcount_counts(home: Path) -> None:
    with Daemon(home, SAMPLES / "wordcount") as daemon:
        done = daemon.cli("call", "wordcount", "count", "text=two words", "--json")
        assert done.json["result"] == {"lines": 1, "words": 2, "bytes": 9}
        wrong = daemon.cli("call", "wordcount", "top", "text=a", "n=many", "--json")
        assert (wrong.code, wrong.error["code"]) == (1, "OB406")


@pytest.mark.skipif(not shutil.which("perl"), reason="needs perl")
def test_rot13_encodes_what_people_type(home: Path) -> None:
    with Daemon(home, SAMPLES / "rot13") as daemon:
        assert daemon.cli("call", "rot13", "encode", "text=Grüße, 海").out == "Teüßr, 海\n"
        assert daemon.cli("call", "rot13", "encode", "text=42").out == "42\n"
        wrong = daemon.cli("call", "rot13", "encode", "txt=a", "--json")
        assert (wrong.code, wrong.error["code"]) == (1, "OB406")
        assert daemon.cli("call", "rot13", "decode", "text=a", "--json").error["code"] == "OB405"


def test_the_demo_shows_the_main_job(home: Path) -> None:
    done = outboard("demo", env=environment(home))
    assert (done.code, done.err) == (0, "")
    assert re.search(r"\d\d documents: 0 lost, 0 doubled; 8 plugins killed; the longest took ", done.out)
    assert len(re.findall(r" delivered  kill -9 \w+ ", done.out)) == 8
    assert "mail/pump-room.eml" in done.out
    assert "Hello, world." in done.out
    assert ("wordcount, in JavaScript: {" in done.out) == bool(shutil.which("node"))
    assert ("rot13, in Perl: " in done.out) == bool(shutil.which("perl"))
    assert re.search(r"back after \d\.\d\d s as generation 2", done.out)
    assert "gone (exit code 0)" in done.out
    assert not re.search("\x1b", done.out)
    assert not list(home.iterdir())


def test_the_demo_as_json_says_what_was_seen(home: Path) -> None:
    done = outboard("demo", "--json", env=environment(home))
    assert done.code == 0
    seen = done.json["mailroom"]
    assert (seen["lost"], seen["doubled"], sum(seen["killed"].values())) == (0, 0, 8)
    assert seen["documents"] > 50
    assert done.json["generation"] == 2
    assert "0 lost, 0 doubled" in done.err


def test_the_demo_does_bare_path(home: Path, bare_path: str) -> None:
    done = outboard("demo", env=environment(home, PATH=bare_path))
    assert (done.code, done.err) == (0, "")
    assert "wordcount is waiting: `node` is not installed" in done.out
    assert "rot13 is waiting: `perl` is not installed" in done.out


def test_the_demo_fits_a_terminal(home: Path) -> None:
    done = on_terminal("demo", env=environment(home))
    plain = re.sub(r"\x1b\[[0-9;]*m", "", done.out)
    assert done.code == 0
    assert done.out != plain
    known = (os.fspath(SAMPLES), sys.prefix)
    assert not [line for line in plain.splitlines() if len(line) > 80 and not any(p in line for p in known)]
