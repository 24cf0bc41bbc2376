"""Whoever logs is never held up, and what was lost is counted."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from typing import Any

import pytest

from host.observability.outlet import Outlet, ReaderGone, write_to

SOON_S = 10.0


def outlet(write: Callable[[str], object], troubles: list[OSError] | None = None, **more: Any) -> Outlet:
    return Outlet(
        write,
        dropped=lambda count: f"<{count} dropped>",
        on_trouble=(troubles if troubles is not None else []).append,
        **more,
    )


class Door:
    """A `write` that waits until it is opened."""

    def __init__(self) -> None:
        self.written: list[str] = []
        self.arrived = threading.Event()
        self._open = threading.Event()

    def open(self) -> None:
        self._open.set()

    def __call__(self, text: str) -> None:
        self.arrived.set()
        assert self._open.wait(SOON_S)
        self.written.append(text)


def test_everything_is_written_in_order() -> None:
    written: list[str] = []
    out = outlet(written.append)
    for number in range(5000):
        out.put(f"{number} ")
    assert out.settle(SOON_S)
    assert "".join(written).split() == [str(number) for number in range(5000)]
    out.close()


def test_what_has_no_room_is_dropped_and_counted_after_what_was_kept() -> None:
    door = Door()
    out = outlet(door, limit_characters=10)
    out.put("first ")
    assert door.arrived.wait(SOON_S)
    for word in ("second ", "third ", "fourth "):
        out.put(word)
    door.open()
    assert out.settle(SOON_S)
    assert "".join(door.written) == "first second <2 dropped>"
    out.close()


def test_a_reader_who_is_gone_is_told_of_once_and_costs_nothing_more() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    troubles: list[OSError] = []
    out = outlet(write_to(writing), troubles)
    for _ in range(3):
        out.put("a word\n")
        out.settle(SOON_S)
    assert [type(error) for error in troubles] == [ReaderGone]
    out.close()
    os.close(writing)


def test_a_full_disk_is_told_of_once_and_again_after_it_had_room() -> None:
    troubles: list[OSError] = []
    written: list[str] = []
    full = True

    def write(text: str) -> None:
        if full:
            raise OSError(errno.ENOSPC, "no space")
        written.append(text)

    out = outlet(write, troubles)
    for _ in range(3):
        out.put("lost ")
        assert out.settle(SOON_S)
    assert len(troubles) == 1
    full = False
    out.put("kept ")
    assert out.settle(SOON_S)
    assert written == ["kept ", "<3 dropped>"]
    full = True
    out.put("lost ")
    assert out.settle(SOON_S)
    assert len(troubles) == 2
    out.close()


def test_a_pipe_that_nobody_reads_does_not_hold_up_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("host.observability.outlet.CLOSE_S", 0.05)
    reading, writing = os.pipe()
    out = outlet(write_to(writing))
    out.put("x" * 500_000)
    assert not out.settle(0.05)
    out.close()
    out.put("after the end")
    os.close(reading)  # the thread ends
    out.close()
    os.close(writing)


def test_a_non_blocking_pipe_gets_everything() -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    out = outlet(write_to(writing))
    out.put("x" * 300_000)
    seen = 0
    while seen < 300_000:
        seen += len(os.read(reading, 65536))
    assert out.settle(SOON_S)
    out.close()
    os.close(reading)
    os.close(writing)
