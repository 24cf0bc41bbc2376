"""`outboard contract`: what a plugin promises, saved, and held against what it comes to promise."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.daemon import Daemon, on_terminal
from tests.support.plugins import write_plugin, write_raw_plugin

CODE = """
from collections.abc import Iterator
import msgspec

class Note(msgspec.Struct):
    text: str
    stars: int = 0

class Settings(msgspec.Struct):
    greeting: str = "Hello"

plugin.settings(Settings)

@plugin.method(idempotent=True, timeout_s=5)
def rate(note: Note, stars: int = 1) -> Note:
    "Rates it."
    return note

@plugin.method(stream=True)
def all_notes(word: str) -> Iterator[Note]:
    yield Note(word)

plugin.topic("notes.rated", Note)
plugin.topic("notes.any")

@plugin.hook("text.mark", version="1.0")
def mark(text: str) -> str:
    return text
"""
CONFIG = """
[extension_points."text.mark"]
mode = "pipeline"
version = "1.3"
params = { required = ["text"], properties = { text = { type = "string" } } }

[extension_points."text.spare"]
"""
NASTY = """
EVIL = {"name": "e\\x1b[31mvil", "doc": "\\x1b[2J", "params": {"properties": {"\\x07": {}}}}
handshake(provides={"methods": [EVIL]})
serve()
"""
LAZY = CODE.replace("text.mark", "text.lazy")
MISFIT = CODE.replace('version="1.0"', 'version="1.4"').replace("text: str)", "text: int)")


@pytest.fixture(scope="module")
def noted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    home = tmp_path_factory.mktemp("home")
    (home / "outboard.toml").write_text(CONFIG)
    plugins = [
        write_plugin(home / "plugins", "notes", CODE),
        write_plugin(home / "plugins", "lazy", LAZY, start={"mode": "lazy"}),
        write_plugin(home / "plugins", "misfit", MISFIT),
        write_raw_plugin(home / "plugins", "nasty", NASTY),
    ]
    with Daemon(home, *plugins, words=["--config", home / "outboard.toml"]) as daemon:
        yield daemon


SHOWN = """\
notes 1.0.0  running

methods
  rate(note: Note, stars: int = 1) -> Note
      Rates it.
      idempotent: it may be called twice
      timeout 5 s
  all_notes(word: str) -> stream of Note

hooks
  text.mark 1.0(text: str) -> str

topics
  notes.rated: Note
  notes.any

settings
  greeting: str = "Hello"

types
  Note
      text: str
      stars: int = 0
"""


def test_a_plugins_contract_reads_as_its_author_wrote_it(noted: Daemon) -> None:
    assert noted.cli("contract", "show", "notes").out == SHOWN
    point = noted.cli("contract", "show", "text.mark").out
    assert point == "text.mark 1.3  pipeline\n\n  text.mark(text: str)\n  asked: notes\n"


def test_that_of_a_plugin_that_does_not_run_is_known_too(noted: Daemon) -> None:
    told = json.loads(noted.cli("contract", "show", "lazy", "--json").out)
    assert (told["kind"], told["state"], told["known"]) == ("plugin", "stopped", True)
    assert told["methods"][0]["params"]["properties"]["note"] == {"$ref": "#/$defs/Note"}


def test_of_a_refused_plugin_why_has_every_difference(noted: Daemon) -> None:
    why = noted.cli("why", "misfit").out
    assert "misfit is failed" in why
    assert "what does not fit:" in why
    assert "text.mark: version: written for 1.4, and this host has 1.3" in why
    assert "text.mark: params $.text: sent str, taken int" in why
    called = noted.cli("call", "misfit", "rate", "--json")
    assert (called.code, called.error["code"]) == (3, "OB301")


def test_what_a_plugin_calls_itself_does_nothing_to_a_terminal(noted: Daemon) -> None:
    for words in (["show", "nasty"], ["diff", "nasty", "notes"]):
        out = noted.cli("contract", *words).out
        assert "vil" in out
        assert not {"\x1b", "\x07"} & set(out)


def test_a_saved_contract_is_held_against_the_running_plugin(noted: Daemon, tmp_path: Path) -> None:
    saved = noted.cli("contract", "show", "notes", "--json").out
    file = tmp_path / "before.json"
    file.write_text(saved)
    same = noted.cli("contract", "diff", str(file), "notes")
    assert (same.code, same.out) == (0, "no difference\n")
    file.write_text(saved.replace('"required":["note"]', '"required":[]'))
    broken = noted.cli("contract", "diff", str(file), "notes")
    assert broken.code == 1
    assert broken.out == "breaks    methods.rate  params $.note: required now\n"
    back = noted.cli("contract", "diff", "notes", str(file), "--json")
    assert back.code == 0
    assert json.loads(back.out) == {
        "ok": True,
        "breaks": False,
        "changes": [{"what": "methods.rate", "kind": "harmless", "text": "params $.note: no more required"}],
    }


@pytest.mark.parametrize(
    ("words", "code", "error"),
    [
        (["show", "nots"], 4, "OB102"),
        (["diff", "notes", "nots"], 4, "OB102"),
        (["diff", "notes", "./nowhere.json"], 2, "OB000"),
        (["diff", "notes", __file__], 2, "OB000"),
        (["diff", "notes", "text.mark"], 2, "OB000"),
        (["diff", "notes"], 2, "OB000"),
    ],
)
def test_what_cannot_be_compared_is_said(noted: Daemon, words: list[str], code: int, error: str) -> None:
    said = noted.cli("contract", *words, "--json")
    assert (said.code, said.error["code"]) == (code, error)


def test_on_a_terminal_breaks_are_red_and_the_last_line_is_what_to_type(noted: Daemon) -> None:
    shown = on_terminal("contract", "show", "notes", env=noted.env).out
    assert "next: outboard contract show notes --json > notes.json" in shown
    broken = on_terminal("contract", "diff", "notes", "lazy", env=noted.env).out
    assert "\x1b[31mbreaks" in broken
