"""Code of others that raises each time is told off once at length, and counted from then on."""

from __future__ import annotations

from typing import Any

import pytest

from host.observability.bus import Bus
from host.observability.events import PluginProblem
from host.observability.told_off import EVERY_S, MAX_KINDS, ToldOff
from tests.support.fake_clock import FakeClock

EVENT = PluginProblem(file="", message="")


def shout(event: object) -> None:
    raise ValueError("not now")


def bus_with(*subscribers: Any) -> tuple[Bus, FakeClock]:
    clock, bus = FakeClock(), Bus()
    bus.told_off = ToldOff(lambda: clock.now)
    for subscriber in subscribers:
        bus.subscribe(subscriber)
    return bus, clock


def test_a_flood_is_one_traceback_and_a_count_every_ten_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    bus, clock = bus_with(shout)
    for _ in range(1000):
        bus.emit(EVENT)
        clock.advance(EVERY_S / 400)
    bus.told_off.end()
    said = capsys.readouterr().err
    first, *counts = [line for line in said.splitlines() if line.startswith("outboard: ")]
    assert first == f"outboard: the event subscriber {__name__}.shout raised"
    assert said.count("Traceback") == said.count("ValueError: not now") == 1
    assert [line.split(" raised ")[1].split(" at ")[0] for line in counts] == ["ValueError"] * 3
    assert sum(int(line.split(" times more")[0].split()[-1]) for line in counts) == 999
    bus.told_off.end()
    assert capsys.readouterr().err == ""


def test_the_count_is_said_though_it_has_stopped_raising(capsys: pytest.CaptureFixture[str]) -> None:
    moods = iter([True, True, False])

    def moody(event: object) -> None:
        if next(moods):
            raise ValueError("not now")

    bus, clock = bus_with(moody)
    bus.emit(EVENT)
    bus.emit(EVENT)
    assert "more in" not in capsys.readouterr().err
    clock.advance(EVERY_S)
    bus.emit(EVENT)
    assert "once more in 10 s" in capsys.readouterr().err


def test_each_subscriber_and_each_place_is_told_apart_and_not_without_end(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def other(event: object) -> None:
        raise ValueError("nor now")

    bus, _ = bus_with(shout, other)
    bus.emit(EVENT)
    assert capsys.readouterr().err.count("Traceback") == 2
    for number in range(2 * MAX_KINDS):
        try:
            raise type(f"Error{number}", (Exception,), {})
        except Exception as error:
            bus.told_off.note("somebody", shout, error)
    bus.told_off.end()
    said = capsys.readouterr().err
    assert said.count("Traceback") == MAX_KINDS - 1  # two are there already, and one stands for all others
    assert f"others raised in many ways {MAX_KINDS + 1} times more" in said


def test_an_exception_that_cannot_be_printed_and_a_stderr_that_is_gone_stop_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Broken(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    def shy(event: object) -> None:
        raise Broken

    heard: list[Any] = []
    bus, _ = bus_with(shy, heard.append)
    bus.emit(EVENT)
    monkeypatch.setattr("sys.stderr", None)
    bus.emit(EVENT)
    bus.told_off.end()
    assert len(heard) == 2
