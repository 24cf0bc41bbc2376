"""Each door by which a plugin's own schema comes in: whatever it is, it is soon done, and nothing raises.

The bound is on processor time, and hundreds of times of what it takes: what it is there to see takes years.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from host.config.schemas import settings_problems
from host.contracts.compare import changes
from host.contracts.document import HookContract, MethodContract, PluginContract
from host.contracts.fit import differences
from host.contracts.held import Contract, ResultUnfit, Topics
from host.contracts.signature import fields, signature, types
from host.contracts.type_text import type_text
from host.routing.extension_points import ExtensionPoint, settled
from host.routing.point_fit import unfit
from protocol.contract import nearest, schema_of
from protocol.errors import RpcError
from protocol.lifecycle import EventInfo, HookInfo, MethodInfo
from protocol.secrets import secret_paths
from tests.support.schemas import HOSTILE, LONG, deep

WITHIN_S = 5.0
VALUES: list[dict[str, Any]] = [{"a": LONG}, {"b" * 100: LONG}, {str(n): "x" for n in range(3000)}]


class Note(msgspec.Struct, forbid_unknown_fields=True):
    a: str
    b: int = 0


@contextmanager
def soon() -> Iterator[None]:
    started = time.process_time()
    yield
    assert time.process_time() - started < WITHIN_S


def as_method(schema: Any) -> None:
    held = Contract([MethodInfo(name="m", params=schema, result=schema)])["m"]
    for value in VALUES:
        raw = msgspec.Raw(msgspec.json.encode(value))
        try:
            held.check_params(value)
            held.check_result(raw)
        except (RpcError, ResultUnfit):
            pass


def as_topic(schema: Any) -> None:
    check = Topics([EventInfo(topic="t", schema=schema)], print)["t"]
    for value in VALUES if check is not None else ():
        assert check is not None
        if not check.fits(value):
            assert check.problems(value)


def as_hook(schema: Any) -> None:
    points, _ = settled(
        [
            ExtensionPoint("all", type=Note | None, params=schema_of(Note)),
            ExtensionPoint("each", mode="pipeline", type=Note),
            ExtensionPoint("any", mode="first", type=bool | list[Note]),
        ],
        {},
        "",
    )
    for point in points.values():
        unfit(point, HookInfo(point=point.name, schema={"params": schema, "result": schema}))


def as_settings(schema: Any) -> None:
    for value in VALUES:
        settings_problems(value, schema)
    secret_paths(schema)


def as_a_saved_contract(schema: Any) -> None:
    note = schema_of(Note)
    one, other = (
        PluginContract(
            name="p",
            methods=[MethodContract(name="m", params=each, result=each)],
            hooks=[HookContract(point="h", params=each, result=each)],
            settings=each,
        )
        for each in (schema, note)
    )
    for before, after in ((one, other), (other, one), (one, one)):
        changes(before, after)


def in_words(schema: Any) -> None:
    assert len(type_text(schema)) <= 120
    signature("m", schema, schema)
    list(fields(schema))
    types([schema])


@pytest.mark.parametrize("what", HOSTILE)
@pytest.mark.parametrize(
    "door",
    [as_method, as_topic, as_hook, as_settings, as_a_saved_contract, in_words],
    ids=lambda it: it.__name__,
)
def test_no_schema_keeps_the_host_busy(what: str, door: Callable[[Any], None]) -> None:
    with soon():
        door(HOSTILE[what])


UNIONS: dict[str, Any] = {
    "of very many": {"anyOf": [{}] * 20_000, **{f"x{n}": n for n in range(10_000)}},
    "of very many types": {"type": ["string"] * 30_000, **{f"x{n}": n for n in range(10_000)}},
    "of literals": {"enum": [f"{n:0500d}" for n in range(199)]},
    "of what nobody knows": {
        "anyOf": [
            {"type": "object", "odd": n, "properties": {"a": {"odd": 1, "x": "y" * 1000}}} for n in range(90)
        ]
    },
}


@pytest.mark.parametrize("what", UNIONS)
def test_no_union_keeps_a_comparison_busy(what: str) -> None:
    with soon():
        for one in UNIONS.values():
            differences(UNIONS[what], one)
            differences(one, UNIONS[what])
        as_hook(UNIONS[what])


def test_a_schema_too_large_for_how_deep_it_goes_is_soon_seen() -> None:
    level: dict[str, Any] = {}
    for _ in range(110):
        level = {"items": level, "properties": {str(n): {} for n in range(8)}}
    with soon():
        for _ in range(20):
            as_topic(level)


def test_a_key_that_was_meant_is_sought_among_few_and_short_ones() -> None:
    assert nearest("hoste", ["port", "host"]) == "host"
    with soon():
        for n in range(20):
            assert nearest("k" * 1000, [f"{'k' * 1000}{n}"] * 1000) is None
            nearest(f"k{n:048d}", (f"k{other:048d}" for other in range(100_000)))


def test_a_saved_contract_that_is_too_deep_is_refused_as_what_it_is(tmp_path: Path) -> None:
    file = tmp_path / "deep.json"
    schema = '{"not":' * 100_000 + "{}" + "}" * 100_000
    file.write_text(f'{{"kind":"plugin","name":"p","settings":{schema}}}')
    command = [sys.executable, "-m", "host.cli", "contract", "diff", str(file), str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2, done.stderr
    assert "is no saved contract" in done.stderr
    assert "Traceback" not in done.stderr


def test_depth_alone_is_nothing_that_a_comparison_raises_for() -> None:
    with soon():
        assert [each.kind for each in differences(deep(100_000), deep(100_000))] == ["unclear"]
