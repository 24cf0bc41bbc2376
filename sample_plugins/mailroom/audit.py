"""Counts what came out, and trusts nobody: neither the journal, nor what the plugins have said.

The bytes in the inbox say which documents there are; each has to be once in the archive, with all of its
bytes, once in the index, and once in the ledger.
"""

from __future__ import annotations

import csv
import sqlite3
from collections import Counter
from pathlib import Path

import msgspec

from sample_plugins.mailroom.letters import identity
from sample_plugins.mailroom.mailroom import files_in

__all__ = ["Audit", "audit"]


class Audit(msgspec.Struct, frozen=True, kw_only=True):
    documents: int
    lost: list[str]
    """Each place that has not got a document: `index: docs/a.md`."""
    doubled: list[str]
    """Each place that has it more than once, or something that never was in the inbox."""

    @property
    def is_clean(self) -> bool:
        return not self.lost and not self.doubled


def audit(inbox: Path, outbox: Path) -> Audit:
    wanted = {identity(name, file.read_bytes()): name for name, file in files_in(inbox)}
    places = {"archive": _archived(outbox, wanted), "index": _indexed(outbox), "ledger": _in_ledger(outbox)}
    lost = [f"{place}: {name}" for place, got in places.items() for id, name in wanted.items() if not got[id]]
    doubled = [
        f"{place}: {wanted.get(id, id)}"
        for place, got in places.items()
        for id, count in got.items()
        if count > 1 or id not in wanted
    ]
    return Audit(documents=len(wanted), lost=lost, doubled=doubled)


def _archived(outbox: Path, wanted: dict[str, str]) -> Counter[str]:
    """A file counts if it holds what its name says."""
    got: Counter[str] = Counter()
    for file in (outbox / "plugins" / "archive").glob("[!.]*"):
        id = file.name.partition("-")[0]
        got[id] += identity(wanted.get(id, ""), file.read_bytes()) == id
    return got


def _indexed(outbox: Path) -> Counter[str]:
    file = outbox / "plugins" / "index" / "index.db"
    if not file.exists():
        return Counter()
    db = sqlite3.connect(file)
    try:
        return Counter(id for (id,) in db.execute("SELECT id FROM pages"))
    except sqlite3.OperationalError:  # it has just been made, and has no tables yet
        return Counter()
    finally:
        db.close()


def _in_ledger(outbox: Path) -> Counter[str]:
    file = outbox / "plugins" / "ledger" / "ledger.csv"
    if not file.exists():
        return Counter()
    with file.open(encoding="utf-8", newline="") as rows:
        return Counter(row[0] for row in csv.reader(rows))
