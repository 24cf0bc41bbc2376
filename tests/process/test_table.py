"""Who is who in the table of processes, and that only who is meant is killed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from host.process import table, tree
from host.process.kill import kill, send
from host.process.table import Entry, Process, Table, instance_of, is_alive, look, parse, walk
from tests.support.plugins import is_gone

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "60"], env={"OUTBOARD_INSTANCE": "h:p:1", "PATH": "/usr/bin:/bin"})
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def process_of(pid: int) -> Process:
    entry = look(pid)
    assert entry is not None
    return entry.process


@pytest.mark.parametrize("name", [b"sleep", b"a b", b") R 1 (", b"\xff)"])
def test_a_name_may_hold_anything(name: bytes) -> None:
    rest = b" S 7 9 9 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 12345 6 7 8 9 10"
    assert parse(b"42 (" + name + b")" + rest) == Entry(42, 12345, 7, "S")


def test_whoever_descends_is_below_dead_parents_or_not_and_a_ring_is_no_end(
    sleeper: subprocess.Popen[bytes],
) -> None:
    seen = Table([Entry(1, 1, 3, "S"), Entry(2, 5, 1, "Z"), Entry(3, 6, 2, "R"), Entry(4, 7, 9, "S")])
    assert seen.below([Process(1, 1)]) == {Process(3, 6)}
    assert seen.below([Process(1, 2)]) == set()  # another life of that number
    assert process_of(sleeper.pid) in table.scan().below([process_of(os.getpid())])
    assert process_of(sleeper.pid) in walk(os.getpid())


def test_a_recycled_number_is_a_stranger_and_is_left_alone(sleeper: subprocess.Popen[bytes]) -> None:
    pid, start = process_of(sleeper.pid)
    earlier = Process(pid, start - 1)
    assert not is_alive(earlier)
    assert not send(earlier, 9)
    kill([earlier], 0.05)
    assert sleeper.poll() is None
    kill([Process(pid, start)], 5)
    assert is_gone(pid)


def test_a_recycled_number_among_those_that_were_seen_is_not_found(sleeper: subprocess.Popen[bytes]) -> None:
    pid, start = process_of(sleeper.pid)
    assert tree._marked("nobody:p:1", [Process(pid, start - 1)]) == set()
    assert tree._end(Process(pid, start - 1)) == []
    assert sleeper.poll() is None
    assert tree._marked("nobody:p:1", [Process(pid, start)]) == {Process(pid, start)}


def test_the_mark_is_the_one_that_it_was_started_with(sleeper: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 5
    while instance_of(sleeper.pid) != "h:p:1":  # between fork and exec it has ours
        assert time.monotonic() < deadline
    assert tree._marked("h:p:1", []) == {process_of(sleeper.pid)}
    assert tree._marked("h:p:10", []) == set()
    assert instance_of(2**22 + 1) is None


def test_waiting_for_one_that_does_not_end_has_an_end() -> None:
    began_at = time.monotonic()
    kill([process_of(1)] if os.getuid() else [], 0.05)  # of which we may signal nobody
    assert time.monotonic() - began_at < 2
