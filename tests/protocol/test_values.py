"""What JSON has no number for is never made null on the way: whoever sends it hears where it is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from protocol.errors import Refusal, Refused
from protocol.session import Session
from protocol.values import lost_in_json


class Point(msgspec.Struct):
    x: float
    name: str | None = None


@dataclass
class Box:
    points: list[Point]


LOST: dict[str, tuple[Any, str]] = {
    "at the top": (math.nan, "$: nan"),
    "in a dict": ({"a": None, "b": {"c": math.inf}}, "$.b.c: inf"),
    "in a list": ({"a": [1.0, (2.0, -math.inf)]}, "$.a[1][1]: -inf"),
    "in a struct": ({"p": Point(math.nan)}, "$.p.x: nan"),
    "in a dataclass": (Box([Point(1.0), Point(math.nan)]), "$.points[1].x: nan"),
    "beside what MessagePack cannot carry": ([10**30, math.nan], "$[1]: nan"),
}


@pytest.mark.parametrize(("value", "place"), LOST.values(), ids=LOST.keys())
def test_a_number_that_json_has_not_is_refused_with_its_place(value: Any, place: str) -> None:
    found = lost_in_json(value, msgspec.json.encode(value))
    assert found == f"{place} is no number that JSON has"
    session = Session("peer")
    params = value if isinstance(value, dict) else {"params": value}
    with pytest.raises(Refused) as refused:
        session.request("work", params, deadline=1.0)
    assert refused.value.reason is Refusal.NOT_SERIALIZABLE
    assert place.split(": ")[1] in str(refused.value)
    with pytest.raises(Refused):
        session.writing.item(value)
    assert not session.outbox.bytes


@pytest.mark.parametrize(
    "value",
    [
        None,
        {"a": None, "b": 1.5, "c": "null"},
        Point(0.0),
        [None, 1e308, -0.0, 5e-324],
        {"text": "\x7f\xf8 null \u00cb", "data": b"\xcb\x7f\xf8\x00", "none": None},
        [None, Decimal("NaN")],  # which is text
        pytest.param({"raw": msgspec.Raw(b"[null]")}, id="raw"),
    ],
    ids=repr,
)
def test_whatever_else_looks_alike_passes(value: Any) -> None:
    assert lost_in_json(value, msgspec.json.encode(value)) is None


def test_where_messagepack_is_used_it_is_carried() -> None:
    session = Session("peer")
    session.writing.packs = True
    value = {"data": b"null", "x": math.nan}
    session.request("work", value, deadline=1.0)
    assert session.outbox.bytes
