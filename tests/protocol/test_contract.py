"""All that is wrong with a value, at once and with its place; and the rules of a manifest."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from protocol.contract import Problem, nearest, problems_of
from protocol.manifest import Manifest, is_plugin_name
from protocol.units import Duration, Size, decode_hook, duration, size


class Inner(msgspec.Struct, forbid_unknown_fields=True):
    count: int
    names: list[str] = []


class Outer(msgspec.Struct, forbid_unknown_fields=True):
    inner: Inner
    many: dict[str, Inner] = {}
    maybe: Inner | None = None


class Lenient(msgspec.Struct):
    a: int = 0


def paths(problems: list[Problem]) -> list[str]:
    return sorted(problem.json_path for problem in problems)


def test_every_problem_is_found_at_once_with_its_path() -> None:
    value = {
        "inner": {"cuont": 1, "names": ["a", 5]},
        "many": {"one": {"count": "x"}, "two": {"count": 1}, "three": 7},
        "maybe": {"count": 1.5},
        "extra": 0,
    }
    problems = problems_of(value, Outer)
    assert paths(problems) == sorted(
        [
            "$.inner.cuont",
            "$.inner.count",
            "$.inner.names[1]",
            "$.many.one.count",
            "$.many.three",
            "$.maybe.count",
            "$.extra",
        ]
    )
    assert all(problem.reason and str(problem).startswith(problem.json_path) for problem in problems)
    assert {problem.nearest for problem in problems} == {"count", None}


def test_a_value_that_fits_has_no_problems() -> None:
    assert problems_of({"inner": {"count": 1}, "maybe": None}, Outer) == []
    assert problems_of({"a": 1, "unknown": 2}, Lenient) == []


@pytest.mark.parametrize("value", [None, 5, "x", []])
def test_a_value_of_another_kind_is_one_problem_at_the_root(value: Any) -> None:
    assert paths(problems_of(value, Outer)) == ["$"]


def test_a_path_starts_where_the_caller_says() -> None:
    assert problems_of({}, Inner, path=("settings",))[0].path == ("settings", "count")


@pytest.mark.parametrize(
    ("word", "meant"), [("verison", "version"), ("NAME", "name"), ("zzz", None), ("", None)]
)
def test_a_mistyped_word_is_recognised(word: str, meant: str | None) -> None:
    assert nearest(word, ["name", "version"]) == meant


def test_of_very_many_words_the_last_is_looked_at_too() -> None:
    known = [f"thing_{number:04}" for number in range(4000)]
    assert nearest("Retreive", [*known, "retrieve"]) == "retrieve"
    assert nearest("thing_3999x", known) == "thing_3999"


@pytest.mark.parametrize(
    ("text", "wanted"), [("1B", 1), ("256MiB", 256 << 20), ("1.5 KiB", 1536), (" 2GiB ", 2 << 30), ("0B", 0)]
)
def test_a_size_is_bytes(text: str, wanted: int) -> None:
    assert size(text) == wanted
    assert type(size(text)) is Size


@pytest.mark.parametrize(
    ("text", "wanted"), [("500ms", 0.5), ("30s", 30.0), ("2m", 120.0), ("1.5 h", 5400.0)]
)
def test_a_duration_is_seconds(text: str, wanted: float) -> None:
    assert duration(text) == pytest.approx(wanted)
    assert type(duration(text)) is Duration


@pytest.mark.parametrize("text", ["", "5", "MiB", "5MB", "5mib", "-5MiB", "5 parsecs", "1e3s", "5s5s", "1.s"])
def test_other_texts_are_neither_size_nor_duration(text: str) -> None:
    with pytest.raises(ValueError):
        size(text)
    with pytest.raises(ValueError):
        duration(text)


@pytest.mark.parametrize("value", [True, -1, None, [], "soon"])
@pytest.mark.parametrize("type_", [Size, Duration])
def test_a_bare_number_is_a_unit_too_and_other_values_are_not(value: Any, type_: type) -> None:
    assert msgspec.convert(5, type_, dec_hook=decode_hook) == 5
    assert len(problems_of(value, type_, decode_hook=decode_hook)) == 1


# -- the manifest ------------------------------------------------------------------------------------


def manifest(**tables: Any) -> dict[str, Any]:
    return {"plugin": {"name": "p", "version": "1"}, "run": {"python": "main.py"}} | tables


def wrong(value: dict[str, Any]) -> list[str]:
    return paths(problems_of(value, Manifest, decode_hook=decode_hook))


WHOLE = manifest(
    plugin={"name": "a-b_9", "version": "1.0", "protocol": 1, "description": "d"},
    run={"command": ["node", "x.js"], "requires-python": ">=3.11", "dependencies": ["x"]},
    settings={"anything": {"goes": [1]}},
    limits={
        "memory": "256MiB",
        "processes": 1,
        "threads": 4,
        "open_files": 9,
        "file_size": 10,
        "cpu_percent": 50,
    },
    restart={
        "policy": "on-failure",
        "intensity": 3,
        "period": "1m",
        "backoff_min": "100ms",
        "backoff_max": 30,
    },
    health={"interval": "5s", "timeout": 2.5, "misses": 3},
    start={"mode": "lazy", "timeout": "10s", "stop_timeout": "5s", "idle_stop": "1h", "requires": ["q"]},
    permissions={"plugins": ["q"], "host": ["log"], "events": ["e"]},
)


def test_the_least_and_the_whole_manifest_are_fine() -> None:
    assert wrong(manifest()) == []
    assert wrong(WHOLE) == []
    read = msgspec.convert(WHOLE, Manifest, dec_hook=decode_hook)
    assert (read.limits.memory, read.restart.period) == (256 << 20, 60.0)


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ({}, ["$.plugin", "$.run"]),
        (manifest(plugin={}), ["$.plugin.name", "$.plugin.version"]),
        (manifest(plugin={"name": "P", "version": ""}), ["$.plugin.name", "$.plugin.version"]),
        (manifest(plugin={"name": "p", "version": "1" * 65}), ["$.plugin.version"]),
        (manifest(run={}), ["$.run"]),
        (manifest(run={"python": "a", "command": ["b"]}), ["$.run"]),
        (manifest(run={"python": ""}), ["$.run.python"]),
        (manifest(run={"command": []}), ["$.run.command"]),
        (manifest(limits={"memory": "much", "threads": 0}), ["$.limits.memory", "$.limits.threads"]),
        (manifest(restart={"policy": "often", "period": -1}), ["$.restart.period", "$.restart.policy"]),
        (manifest(health={"misses": 0, "interval": "x"}), ["$.health.interval", "$.health.misses"]),
        (manifest(start={"mode": "maybe", "requires": ["Q"]}), ["$.start.mode", "$.start.requires[0]"]),
        (manifest(permissions={"plugins": "q"}), ["$.permissions.plugins"]),
    ],
)
def test_a_rule_of_the_manifest_that_is_broken_is_named(value: dict[str, Any], wanted: list[str]) -> None:
    assert wrong(value) == wanted


@pytest.mark.parametrize(
    "table", ["plugin", "run", "limits", "restart", "health", "start", "permissions", None]
)
def test_an_unknown_key_is_a_problem_in_every_table_but_settings(table: str | None) -> None:
    value = manifest()
    target = value if table is None else value.setdefault(table, {})
    value[table or "plugin"] = {**value[table or "plugin"]}
    (target if table is None else value[table])["zzz"] = 1
    assert wrong(value) == [f"$.{table}.zzz" if table else "$.zzz"]


@pytest.mark.parametrize("name", ["", "P", "1p", "-p", "p" * 65, "p.q", "p/q", "p\n", "é"])
def test_a_plugin_has_a_plain_name(name: str) -> None:
    assert not is_plugin_name(name)
    assert wrong(manifest(plugin={"name": name, "version": "1"})) == ["$.plugin.name"]
