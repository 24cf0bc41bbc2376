"""What a program and an operator say of an extension point, and what holds."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from host import ExtensionPoint, HostMisuse
from host.config.model import PointTable
from host.routing.extension_points import settled
from protocol.units import Duration

FILE = "outboard.toml"


class Document(msgspec.Struct):
    text: str


def one(*points: ExtensionPoint, **tables: PointTable) -> Any:
    found, problems = settled(points, {name.replace("_", "."): table for name, table in tables.items()}, FILE)
    assert problems == []
    (point,) = found.values()
    return point


def problems(*points: ExtensionPoint, **tables: PointTable) -> list[str]:
    return [str(problem) for problem in settled(points, tables, FILE)[1]]


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("", {}),
        ("Document", {}),
        ("a/b", {}),
        ("shutdown", {}),
        (5, {}),
        ("p", {"mode": "all"}),
        ("p", {"on_error": "ignore"}),
        ("p", {"on_error_allowed": ["ignore"]}),
        ("p", {"timeout_s": 0}),
        ("p", {"timeout_s": float("nan")}),
        ("p", {"timeout_s": "5s"}),
        ("p", {"type": complex}),
        ("p", {"type": Document, "default": {"text": 1}}),
    ],
)
def test_a_point_that_makes_no_sense_is_refused_where_it_is_written(
    name: Any, values: dict[str, Any]
) -> None:
    with pytest.raises(HostMisuse):
        ExtensionPoint(name, **values)


def test_two_of_one_name_are_refused() -> None:
    with pytest.raises(HostMisuse):
        settled([ExtensionPoint("p"), ExtensionPoint("p", mode="first")], {}, FILE)


def test_each_value_says_where_it_comes_from() -> None:
    point = one(
        ExtensionPoint("p", mode="first", timeout_s=2), p=PointTable(on_error="fail", timeout=Duration(3))
    )
    declared = point.declared
    assert (declared.mode, declared.on_error, declared.timeout_s) == ("first", "fail", 3.0)
    origins = {key: point.origins[key] for key in ("mode", "on_error", "timeout_s", "default")}
    assert origins == {
        "mode": "the application",
        "on_error": FILE,
        "timeout_s": FILE,
        "default": "built in",
    }


def test_a_file_alone_declares_a_point_too() -> None:
    point = one(x_y=PointTable(mode="pipeline", default="none", on_error="default"))
    assert (point.name, point.is_declared, point.declared.mode, point.default) == (
        "x.y",
        True,
        "pipeline",
        "none",
    )


def test_an_implementations_own_wish_counts_if_the_point_lets_it_and_the_operator_says_nothing() -> None:
    strict = ExtensionPoint("p", on_error="fail")
    assert one(strict).on_error_for("skip") == "fail"
    lenient = ExtensionPoint("p", on_error="fail", on_error_allowed=["skip"])
    assert [one(lenient).on_error_for(wish) for wish in ("skip", "default", None, "nonsense")] == [
        *("skip", "fail", "fail", "fail")
    ]
    assert one(lenient, p=PointTable(on_error="fail")).on_error_for("skip") == "fail"
    assert one(lenient, p=PointTable(timeout=Duration(1))).on_error_for("skip") == "skip"


def test_a_default_is_a_copy_and_of_the_points_type() -> None:
    point = one(ExtensionPoint("p", default=[1]))
    point.default.append(2)
    assert point.default == [1]
    typed = one(ExtensionPoint("p", type=Document), p=PointTable(default={"text": "none"}))
    assert typed.default == Document("none")


def test_what_an_operator_cannot_say_is_a_problem_with_its_key() -> None:
    said = problems(ExtensionPoint("p", type=Document), p=PointTable(mode="first", params={}, default=5))
    assert [line.split(": ")[:2] for line in said] == [
        [FILE, "extension_points.p.mode"],
        [FILE, "extension_points.p.params"],
        [FILE, "extension_points.p.default"],
    ]
    assert len(problems(p=PointTable(timeout=Duration(0)))) == 1
    for schema in ({"type": "nonsense"}, {"$ref": "http://127.0.0.1:9/schema"}, {"pattern": "("}):
        assert len(problems(p=PointTable(params=schema))) == 1


def test_params_are_checked_against_the_schema() -> None:
    schema = {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}}
    check = one(p=PointTable(params=schema)).check
    assert check({"n": 1}) == []
    assert [str(problem) for problem in check({"n": "x"})] == ["$.n: expected `int`, got `str`"]
    assert len(check({})) == 1
