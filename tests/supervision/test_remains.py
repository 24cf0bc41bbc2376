"""What one host writes down for the next: whom to end, and whom by no means."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from host.process.table import Entry, Process, Table, boot_id, look
from host.supervision.remains import Record, _sweep_earlier, left_by

GONE = Process(2**22 + 1, 1)
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")


def record(**more: object) -> Record:
    fields = {"boot_id": boot_id(), "host": GONE, "instance": "old", "processes": []}
    return Record(**(fields | more))  # type: ignore[arg-type]


@pytest.fixture
def left() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "60"])
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def process_of(pid: int) -> Process:
    entry = look(pid)
    assert entry is not None
    return entry.process


def test_by_its_mark_or_its_record_and_whoever_is_below() -> None:
    table = Table(
        [
            Entry(10, 1, 1, "S"),  # recorded
            Entry(11, 2, 10, "S"),  # its child
            Entry(12, 3, 1, "S"),  # bears the mark
            Entry(13, 9, 1, "S"),  # has a number that was recorded, and is another
            Entry(14, 5, 1, "S"),  # bears the mark of another host
        ]
    )
    marks = {12: "old:p:1", 14: "older:p:1", 13: "x"}
    known = [Process(10, 1), Process(13, 4)]
    found = left_by(record(processes=known), table, marks.get)
    assert found == {Process(10, 1), Process(11, 2), Process(12, 3)}


def test_neither_this_process_nor_whom_it_descends_from() -> None:
    me, parent = os.getpid(), os.getppid()
    table = Table([Entry(parent, 1, 1, "S"), Entry(me, 2, parent, "R"), Entry(me + 1, 3, parent, "S")])
    assert left_by(record(), table, lambda pid: "old:p:1") == {Process(me + 1, 3)}


@pytest.mark.parametrize(
    "kept", ["another run of the machine", "a host that lives", "a damaged file", "no file"]
)
def test_nobody_is_ended_for(tmp_path: Path, left: subprocess.Popen[bytes], kept: str) -> None:
    file = tmp_path / "s.processes.json"
    known = [process_of(left.pid)]
    if kept == "another run of the machine":
        file.write_bytes(msgspec.json.encode(record(processes=known, boot_id="before")))
    elif kept == "a host that lives":
        file.write_bytes(msgspec.json.encode(record(processes=known, host=process_of(os.getpid()))))
    elif kept == "a damaged file":
        file.write_bytes(msgspec.json.encode(record(processes=known))[:-3])
    assert _sweep_earlier(file).killed == frozenset()
    assert left.poll() is None


def test_who_was_written_down_is_ended(tmp_path: Path, left: subprocess.Popen[bytes]) -> None:
    file = tmp_path / "s.processes.json"
    file.write_bytes(msgspec.json.encode(record(processes=[process_of(left.pid)])))
    swept = _sweep_earlier(file)
    assert {one.pid for one in swept.killed} == {left.pid}
    assert left.wait(5) == -9
