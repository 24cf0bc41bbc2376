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


# -- two runs of the demo: on a terminal with all languages, and in pipes, as JSON, without them -----------


def assert_main_job(story: str) -> None:
    assert re.search(r"\d\d documents: 0 lost, 0 doubled; 8 plugins killed; the longest took ", story)
    assert len(re.findall(r" delivered  kill -9 \w+ ", story)) == 8
    assert "mail/pump-room.eml" in story
    assert "Hello, world." in story
    assert re.search(r"back after \d\.\d\d s as generation 2", story)
    assert "gone (exit code 0)" in story


def test_the_demo_shows_the_main_job_and_fits_a_terminal(home: Path) -> None:
    own = home / "own"
    own.mkdir()
    with open(home / "stderr", "wb") as stderr:
        done = on_terminal("demo", env=environment(own), stderr=stderr, whole=True)
    story = re.sub(r"\x1b\[[0-9;]*m", "", done.out)
    assert done.code == 0
    assert_main_job(story)
    assert ("wordcount, in JavaScript: {" in story) == bool(shutil.which("node"))
    assert ("rot13, in Perl: " in story) == bool(shutil.which("perl"))
    assert done.out != story
    known = (os.fspath(SAMPLES), sys.prefix)
    assert not [line for line in story.splitlines() if len(line) > 80 and not any(p in line for p in known)]
    assert (home / "stderr").read_text() == "next: python -m sample_plugins.mailroom INBOX OUTBOX\n"
    assert not list(own.iterdir())


def test_the_demo_as_json_says_what_was_seen_and_does_without_languages(home: Path, bare_path: str) -> None:
    own = home / "own"
    own.mkdir()
    done = outboard("demo", "--json", env=environment(own, PATH=bare_path), whole=True)
    assert done.code == 0
    seen = done.json["mailroom"]
    assert (seen["lost"], seen["doubled"], sum(seen["killed"].values())) == (0, 0, 8)
    assert seen["documents"] > 50
    assert done.json["generation"] == 2
    assert_main_job(done.err)  # the story is for people
    assert "wordcount is waiting: `node` is not installed" in done.err
    assert "rot13 is waiting: `perl` is not installed" in done.err
    assert not re.search("\x1b", done.out + done.err)
    assert not list(own.iterdir())
