"""`outboard hook` and `outboard hooks` against a daemon whose points are declared in its configuration."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.daemon import Daemon, on_terminal
from tests.support.plugins import write_plugin

HOOKS = """
@plugin.hook("text.mark"{options})
def mark(text: str, lang: str = "") -> str:
    {body}

@plugin.hook("text.count")
def count(text: str, times: int = 1) -> int:
    return len(text) * times
"""
CHECKED = """
@plugin.hook("text.checked")
def checked(n: int, word: str = "") -> list[Any]:
    return [n, word]
"""
STRICT = """
@plugin.hook("text.strict")
def strict(text: str = "") -> None:
    raise ValueError("never")
"""
CONFIG = """
[extension_points."text.mark"]
mode = "pipeline"
timeout = "2s"

[extension_points."text.strict"]
on_error = "fail"

[extension_points."text.checked".params]
required = ["n"]
properties.n.type = "integer"
properties.word.type = "string"
"""


@pytest.fixture(scope="module")
def hooked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    home = tmp_path_factory.mktemp("home")
    (home / "outboard.toml").write_text(CONFIG)
    codes = {
        "first": HOOKS.format(options=', before=["last"]', body="return text + '1'") + CHECKED,
        "last": HOOKS.format(options="", body="return text + '2'"),
        "german": HOOKS.format(options=', priority=5, when={"lang": "de"}', body="raise ValueError('nein')")
        + STRICT,
    }
    plugins = [write_plugin(home / "plugins", name, code) for name, code in codes.items()]
    with Daemon(home, *plugins, words=["--config", home / "outboard.toml"]) as daemon:
        yield daemon


def test_a_hook_prints_its_value(hooked: Daemon) -> None:
    assert hooked.cli("hook", "text.mark", "text=x") == (0, "x12\n", "")
    assert hooked.cli("hook", "text.mark", "--params", '{"text": "5"}') == (0, "512\n", "")
    done = hooked.cli("hook", "text.count", "text=12", "times=3")
    assert (done.code, json.loads(done.out)) == (0, [6, 6, 6])


def test_failures_that_cost_nothing_are_told_on_stderr_and_the_exit_code_is_0(hooked: Daemon) -> None:
    done = hooked.cli("hook", "text.mark", "text=x", "lang=de")
    assert (done.code, done.out) == (0, "x12\n")
    assert done.err == "failed german[OB404]: ValueError: nein\n"
    seen = hooked.cli("hook", "text.mark", "text=x", "lang=de", "--json").json
    assert set(seen) == {"ok", "value", "results", "errors", "unheard", "elapsed_ms"}
    assert (seen["ok"], seen["value"]) == (True, "x12")
    assert [(r["plugin"], r["value"], r["error"] is None) for r in seen["results"]] == [
        ("german", None, False),
        ("first", "x1", True),
        ("last", "x12", True),
    ]
    assert [error["code"] for error in seen["errors"]] == ["OB404"]


def test_a_failure_where_none_may_fail_is_exit_code_1(hooked: Daemon) -> None:
    done = hooked.cli("hook", "text.strict", "text=x")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("error[OB413]: german.hook/text.strict: ")
    failed = hooked.cli("hook", "text.strict", "text=x", "--json")
    assert (failed.code, failed.error["name"], failed.error["plugin"]) == (1, "HookFailed", "german")
    assert [result["plugin"] for result in failed.error["data"]["results"]] == ["german"]


def test_the_points_schema_makes_values_of_words_and_refuses_wrong_ones(hooked: Daemon) -> None:
    done = hooked.cli("hook", "text.checked", "n=1", "word=2", "--json")
    assert done.json["value"] == [[1, "2"]]
    wrong = hooked.cli("hook", "text.checked", "word=2", "--json")
    assert (wrong.code, wrong.error["code"]) == (1, "OB406")


@pytest.mark.parametrize("words", [["hook", "text.mrak", "text=x"], ["hooks", "explain", "text.mrak"]])
def test_an_unknown_point_says_which_was_meant(hooked: Daemon, words: list[str]) -> None:
    done = hooked.cli(*words)
    assert (done.code, done.out) == (1, "")
    assert "error[OB412]" in done.err
    assert "did you mean `text.mark`?" in done.err


@pytest.mark.parametrize(
    "words",
    [
        *(["hook"], ["hook", "text.mark", "text"], ["hook", "text.mark", "--timeout", "-1"]),
        *(["hook", "text.mark", "--params", "[]"], ["hooks", "explain"], ["hooks", "explian", "x"]),
    ],
)
def test_wrong_usage_is_exit_code_2(hooked: Daemon, words: list[str]) -> None:
    assert hooked.cli(*words).code == 2


def test_explain_prints_the_order_and_why(hooked: Daemon) -> None:
    done = hooked.cli("hooks", "explain", "text.mark")
    assert (done.code, done.err) == (0, "")
    config = str(hooked.home / "outboard.toml")
    lines = [line.split() for line in done.out.splitlines()]
    assert lines[:5] == [
        ["text.mark"],
        ["mode", "pipeline", config],
        ["on", "error", "skip", "built", "in"],
        ["timeout", "2", "s", "each", config],
        ["default", "null", "built", "in"],
    ]
    assert lines[6] == ["PLUGIN", "STATE", "WHY"]
    assert lines[7:] == [
        ["1", "german", "running", "priority", "5"],
        ["when", '{"lang":"de"}'],
        ["2", "first", "running", "before", "last"],
        ["3", "last", "running", "after", "first,", "which", "wants", "it", "so"],
    ]


def test_explain_says_who_is_left_out(hooked: Daemon) -> None:
    hooked.cli("stop", "first")
    try:
        seen = hooked.cli("hooks", "explain", "text.mark", "--json").json
        assert [each["plugin"] for each in seen["implementations"]] == ["german", "last"]
        assert [each["plugin"] for each in seen["left_out"]] == ["first"]
        assert "- " in hooked.cli("hooks", "explain", "text.mark").out
    finally:
        hooked.cli("start", "first")


def test_hooks_lists_all_points(hooked: Daemon) -> None:
    done = hooked.cli("hooks")
    assert [line.split()[0] for line in done.out.splitlines()] == [
        *("POINT", "text.checked", "text.count", "text.mark", "text.strict")
    ]
    assert "german, first, last" in done.out
    seen = hooked.cli("hooks", "--json").json
    assert [each["declared"] for each in seen["points"]] == [True, False, True, True]
    assert hooked.cli("hooks", "--json", "explain", "text.mark").json["mode"] == "pipeline"


def test_on_a_terminal_the_last_line_says_what_to_type_next(hooked: Daemon) -> None:
    seen = on_terminal("hooks", "explain", "text.mark", env=hooked.env).out
    assert "next: outboard hook text.mark" in seen
    done = on_terminal("hook", "text.mark", "text=x\x1b[2J", "lang=de", env=hooked.env)
    assert "\\x1b[2J12" in done.out
    assert "next: outboard hooks explain text.mark" in done.out


def test_a_daemon_without_points_says_so(tmp_path: Path) -> None:
    with Daemon(tmp_path, write_plugin(tmp_path, "plain")) as daemon:
        assert daemon.cli("hooks").code == 0
        assert daemon.cli("hooks", "--json").json == {"ok": True, "points": []}
