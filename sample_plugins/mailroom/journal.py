"""Who has come, how far each is, and who has it already: a database and a spool, which outlive the process.

A document is `taken` (its bytes are in the spool), `sealed` (its parcel is made), `delivered`; or `held`,
until the next mailroom tries it again. Every change is one transaction, so that a kill finds the journal as
it was before or after. That is for kills; for power cuts, `synchronous` would have to be FULL.
"""

import fcntl
import sqlite3
import time
from io import FileIO
from pathlib import Path

import msgspec

from sample_plugins.mailroom.letters import Letter, Parcel, identity

SCHEMA = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = NORMAL;
CREATE TABLE IF NOT EXISTS documents (
    id TEXT PRIMARY KEY, name TEXT, state TEXT DEFAULT 'taken', parcel BLOB, receipts BLOB DEFAULT '{}',
    tries INTEGER DEFAULT 0, reason TEXT DEFAULT '', due_at REAL DEFAULT 0, begun_at REAL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS due ON documents (due_at) WHERE state IN ('taken', 'sealed');
CREATE INDEX IF NOT EXISTS named ON documents (name);
UPDATE documents SET due_at = 0, state = CASE WHEN parcel IS NULL THEN 'taken' ELSE 'sealed' END
    WHERE state <> 'delivered';
"""
NEXT = """SELECT id, name, parcel, receipts, tries, begun_at FROM documents
WHERE state IN ('taken', 'sealed') AND due_at <= ? ORDER BY due_at, name LIMIT 1"""
IN_HAND = 1e300
"""When a document is due that somebody works on. To the next mailroom it is due at once."""


class Claim(msgspec.Struct):
    """A document in somebody's hand."""

    letter: Letter
    parcel: Parcel | None
    receipts: dict[str, str]
    """Of the plugins that have it already."""
    tries: int
    begun_at: float


class Journal:
    """Of one mailroom at a time. Raises BlockingIOError if there is another."""

    def __init__(self, folder: Path) -> None:
        self._spool = folder / "spool"
        self._spool.mkdir(parents=True, exist_ok=True)
        self._lock = FileIO(folder / "lock", "w")  # held for as long as the process lives, and no longer
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._db = sqlite3.connect(folder / "journal.db", isolation_level=None)
        self._db.executescript(SCHEMA)
        self._seen: set[tuple[str, int, int]] = set()
        wanted = {id for (id,) in self._db.execute("SELECT id FROM documents WHERE state <> 'delivered'")}
        for file in self._spool.iterdir():
            if file.name not in wanted:
                file.unlink()

    def close(self) -> None:
        self._db.close()
        self._lock.close()

    def take(self, file: Path, name: str) -> None:
        """Takes a file in, if it is not in yet. Raises OSError."""
        stat = file.stat()
        stamp = (name, stat.st_size, stat.st_mtime_ns)
        if stamp in self._seen:
            return
        data = file.read_bytes()
        if file.stat().st_mtime_ns != stat.st_mtime_ns:
            return  # somebody writes it just now: it is whole another time
        id = identity(name, data)
        if not self._db.execute("SELECT 1 FROM documents WHERE id = ?", [id]).fetchone():
            draft = self._spool / f"{id}.draft"
            draft.write_bytes(data)
            draft.replace(self._spool / id)
            self._db.execute("INSERT INTO documents (id, name) VALUES (?, ?)", [id, name])
        self._seen.add(stamp)

    def claim(self) -> Claim | None:
        """The next one that is due, for the caller alone."""
        row = self._db.execute(NEXT, [time.time()]).fetchone()
        if row is None:
            return None
        id, name, parcel, receipts, tries, begun_at = row
        letter = Letter(id=id, name=name, suffix=Path(name).suffix.lower(), path=str(self._spool / id))
        sealed = parcel and msgspec.json.decode(parcel, type=Parcel)
        claim = Claim(letter, sealed, msgspec.json.decode(receipts), tries, begun_at or time.time())
        self.note(claim, due_at=IN_HAND, begun_at=claim.begun_at)
        return claim

    def note(self, claim: Claim, **columns: object) -> None:
        assigned = ", ".join(f"{column} = ?" for column in columns)
        self._db.execute(
            f"UPDATE documents SET {assigned} WHERE id = ?", [*columns.values(), claim.letter.id]
        )

    def finish(self, claim: Claim) -> None:
        self.note(claim, state="delivered", reason="", parcel=None)
        Path(claim.letter.path).unlink(missing_ok=True)

    def counts(self) -> dict[str, int]:
        return dict(self._db.execute("SELECT state, count(*) FROM documents GROUP BY state"))

    async def id_of(self, name: str) -> str | None:
        """Of a document that has come. A service of the mailroom: async, to run in the database's thread."""
        row: tuple[str | None] = self._db.execute(
            "SELECT max(id) FROM documents WHERE name = ?", [name]
        ).fetchone()
        return row[0]
