# /// script
# [tool.outboard]
# name = "ledger"
# version = "1.0.0"
# description = "A table of all that was delivered: one line each, only ever appended to."
# [tool.outboard.limits]
# memory = "256MiB"
# processes = 2
# ///
"""Delivers to a file that is appended to, where nothing keeps a line from being written twice by itself.

Twice is once: what is in the file is read before anything is added, under a lock; half a line, which a kill
in the middle of writing leaves behind, is cut off first.
"""

from __future__ import annotations

import csv
import fcntl
import io
import os
from pathlib import Path

from plugin_sdk import Context, Plugin
from sample_plugins.mailroom.letters import Parcel

plugin = Plugin()


class Ledger:
    """The ids in it are kept in memory; only what is new in the file is read."""

    def __init__(self, path: Path) -> None:
        self._file = io.FileIO(path, "a+")
        self._ids: set[str] = set()
        self._read_to = 0

    def close(self) -> None:
        self._file.close()

    def add(self, row: list[str]) -> None:
        """Adds a line, unless there is one that begins with the same id."""
        line = io.StringIO()
        csv.writer(line, lineterminator="\n").writerow(row)
        fcntl.flock(self._file, fcntl.LOCK_EX)
        try:
            self._read_on()
            if row[0] not in self._ids:
                self._file.write(line.getvalue().encode())
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)

    def _read_on(self) -> None:
        self._file.seek(self._read_to)
        *lines, half = self._file.read().split(b"\n")
        self._ids.update(line.partition(b",")[0].decode() for line in lines)
        self._read_to += sum(len(line) + 1 for line in lines)
        if half:
            os.ftruncate(self._file.fileno(), self._read_to)


ledger: Ledger


@plugin.on_start
def open_ledger(ctx: Context) -> None:
    global ledger
    ledger = Ledger(Path(ctx.data_dir, "ledger.csv"))


@plugin.on_stop
def close_ledger() -> None:
    ledger.close()


@plugin.hook("document.deliver", when={"receipts.ledger": None}, idempotent=True)
def deliver(parcel: Parcel) -> str:
    document, notes = parcel.document, parcel.notes
    row = [document.id, document.name, notes.get("language", ""), str(notes.get("words", "")), document.title]
    ledger.add([" ".join(cell.split()) for cell in row])  # a line is a document: no cell may hold a newline
    return document.id


if __name__ == "__main__":
    plugin.run()
