"""The daemon's log files, read back: who wants to know what was said before the daemon's memory begins.

A record a line, in a file that loguru renames when it is full. A line that is no record is skipped and
counted: a disk was full, or a machine went down while it was written.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import IO

import msgspec

from host.observability.logs import LogLine
from host.observability.regular import open_regular

BATCH_LINES = 500
BATCH_BYTES = 1024 * 1024
"""Read in one go: between two of them a reader may be told to stop."""
MAX_LINE = 1024 * 1024
"""More than a message of 32 Ki characters can become, whatever they are."""

_decode = msgspec.json.Decoder(LogLine).decode


class LogFiles:
    """The files as they are when this is made, whatever is written, renamed or deleted afterwards.

    `since` is a record's `time`; older ones are left out. Use it in a `with`. Blocks: not for the loop.
    """

    def __init__(self, path: str, *, since: str, wanted: Callable[[LogLine], bool]) -> None:
        self.skipped = 0
        """Lines that were no records."""
        self._since = since
        self._wanted = wanted
        self._files = _opened(path, datetime.fromisoformat(since).timestamp())

    def __enter__(self) -> LogFiles:
        return self

    def __exit__(self, *_exc: object) -> None:
        for file, _ in self._files:
            file.close()

    @property
    def found(self) -> bool:
        return bool(self._files)

    def batches(self) -> Iterator[list[LogLine]]:
        """Oldest first. Some may be empty: much was read, and nothing of it was wanted."""
        batch: list[LogLine] = []
        read = 0
        for line in self._lines():
            record = self._record(line)
            if record is not None:
                batch.append(record)
            read += len(line)
            if len(batch) == BATCH_LINES or read > BATCH_BYTES:
                yield batch
                batch, read = [], 0
        yield batch

    def _lines(self) -> Iterator[bytes]:
        for file, size in self._files:
            left = size
            with file:
                while left > 0 and (line := file.readline(min(left, MAX_LINE))):
                    left -= len(line)
                    yield line

    def _record(self, line: bytes) -> LogLine | None:
        try:
            record = _decode(line)
            if record.time < self._since:  # of one form, so text is enough
                return None
            datetime.fromisoformat(record.time)
        except (msgspec.DecodeError, UnicodeDecodeError, ValueError):
            self.skipped += bool(line.strip())
            return None
        return record if self._wanted(record) else None


def _opened(path: str, since: float) -> list[tuple[IO[bytes], int]]:
    """The files that may hold something newer, with their sizes, oldest first."""
    current = Path(path)
    files: list[tuple[tuple[bool, int], IO[bytes], int]] = []
    try:
        names = os.listdir(current.parent)
    except OSError:
        return []
    for name in names:
        if name.startswith(current.stem + ".") and name.endswith(current.suffix):
            try:
                file = open(open_regular(current.parent / name), "rb")  # noqa: SIM115  # closed by LogFiles
            except OSError:
                continue
            told = os.fstat(file.fileno())
            if told.st_mtime < since - 1:  # its last record is older
                file.close()
            else:
                files.append(((name == current.name, told.st_mtime_ns), file, told.st_size))
    return [(file, size) for _, file, size in sorted(files, key=lambda row: row[0])]
