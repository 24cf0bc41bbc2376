"""The log files, read back: in order, within bounds, and whatever is in them."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import msgspec
import pytest

from host.observability import logfiles
from host.observability.logfiles import LogFiles
from host.observability.logs import LogLine, stamp

NOON = datetime.fromisoformat("2026-01-31T12:00:00Z").timestamp()


def line(second: float, message: str = "", plugin: str | None = "p") -> LogLine:
    none = {"pid": None, "generation": None, "call_id": None}
    return LogLine(
        time=stamp(NOON + second),
        level="info",
        event="log",
        plugin=plugin,
        message=message or f"{second}",
        **none,
    )


def write(path: Path, *lines: LogLine | bytes, at: float) -> Path:
    path.write_bytes(
        b"".join(each if isinstance(each, bytes) else msgspec.json.encode(each) + b"\n" for each in lines)
    )
    os.utime(path, (NOON + at, NOON + at))
    return path


def read(
    path: Path, since: float = 0, wanted: Callable[[LogLine], bool] = lambda line: True
) -> tuple[list[str], int]:
    """The messages, and how many lines were skipped."""
    with LogFiles(str(path), since=stamp(NOON + since), wanted=wanted) as files:
        return [record.message for batch in files.batches() for record in batch], files.skipped


@pytest.fixture
def log(tmp_path: Path) -> Path:
    write(tmp_path / "outboard.2026-01-31_13-00-00_000001.jsonl", line(1), line(2), at=2)
    write(tmp_path / "outboard.2026-01-31_12-00-00_000001.jsonl", line(3), line(4), at=4)  # a clock went back
    return write(tmp_path / "outboard.jsonl", line(5), line(6), at=6)


def test_renamed_files_come_first_and_in_the_order_they_were_written(log: Path) -> None:
    assert read(log) == (["1", "2", "3", "4", "5", "6"], 0)


def test_nothing_older_is_told_and_files_that_hold_nothing_newer_are_not_opened(
    log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert read(log, since=4)[0] == ["4", "5", "6"]
    with LogFiles(str(log), since=stamp(NOON + 6), wanted=lambda line: True) as files:
        assert len(files._files) == 1
    assert read(log, since=60) == ([], 0)


def test_other_files_beside_the_log_are_no_log(log: Path) -> None:
    write(log.parent / "outboard.jsonl.bak", line(7), at=7)
    write(log.parent / "other.jsonl", line(8), at=8)
    (log.parent / "outboard.folder.jsonl").mkdir()
    assert read(log, since=5)[0] == ["5", "6"]


@pytest.mark.parametrize(
    "odd",
    [
        b"not json\n",
        b"\xff\xfe\n",
        b'{"time":"2026-01-31T12:00:05.500Z"}\n',
        b"[" * 100_000 + b"\n",
        b'{"time": 3, "message": "x"}\n',
        msgspec.json.encode(line(5)).replace(b"2026-01-31T12:00:05.000Z", b"9 in the evening") + b"\n",
        msgspec.json.encode(line(9))[:40] + b"\n",
    ],
    ids=lambda odd: repr(odd[:20]),
)
def test_a_line_that_is_no_record_is_skipped_and_counted(tmp_path: Path, odd: bytes) -> None:
    path = write(tmp_path / "outboard.jsonl", line(1), odd, line(2), b"\n", at=9)
    assert read(path) == (["1", "2"], 1)


def test_a_line_without_an_end_takes_no_more_memory_than_a_line_may(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logfiles, "MAX_LINE", 1000)
    path = write(tmp_path / "outboard.jsonl", line(1), b"x" * 2500 + b"\n", line(2), at=9)
    assert read(path) == (["1", "2"], 3)


def test_batches_are_bounded_in_lines_and_in_what_was_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logfiles, "BATCH_LINES", 10)
    monkeypatch.setattr(logfiles, "BATCH_BYTES", 1000)
    path = write(tmp_path / "outboard.jsonl", *(line(1, plugin=None) for _ in range(100)), at=9)
    with LogFiles(str(path), since=stamp(NOON), wanted=lambda line: False) as files:
        batches = list(files.batches())
    assert len(batches) > 5
    with LogFiles(str(path), since=stamp(NOON), wanted=lambda line: True) as files:
        assert max(len(batch) for batch in files.batches()) <= 10


def test_what_happens_after_they_were_opened_changes_nothing(log: Path) -> None:
    with LogFiles(str(log), since=stamp(NOON + 3), wanted=lambda line: True) as files:
        with log.open("ab") as file:
            file.write(msgspec.json.encode(line(7)) + b"\n")
        log.rename(log.with_name("outboard.2026-01-31_12-00-09_000001.jsonl"))
        (log.parent / "outboard.2026-01-31_12-00-00_000001.jsonl").unlink()
        assert [record.message for batch in files.batches() for record in batch] == ["3", "4", "5", "6"]


def test_no_folder_is_no_log(tmp_path: Path) -> None:
    with LogFiles(str(tmp_path / "nowhere" / "outboard.jsonl"), since=stamp(NOON), wanted=bool) as files:
        assert not files.found
        assert list(files.batches()) == [[]]
