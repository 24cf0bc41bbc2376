"""One store as a SQLite file. Everything in here blocks; `stores` keeps it off the loop.

What has been committed is there after a kill of whatever process, at whatever moment: it is in the
write-ahead log, which the kernel has. What a power cut may cost is the last moments before it, and never
half a transaction: the log is not synced at every commit (`synchronous = NORMAL`), which would cost each
of them a wait for the disk.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import msgspec
from msgspec import Raw

from host import errors
from protocol.store import MAX_KEYS, MAX_VALUE_BYTES, StoreEntry, StoreListResult

BUSY_S = 5.0
"""How long another process that has the same file, another host for one, is waited for."""
_FORMAT = 1
_LOG_BYTES = 4 * 1024 * 1024
_CORRUPT = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_SCHEMA = """
CREATE TABLE entries (key TEXT PRIMARY KEY NOT NULL, value BLOB NOT NULL, revision INTEGER NOT NULL);
CREATE TABLE totals (revision INTEGER NOT NULL, keys INTEGER NOT NULL, bytes INTEGER NOT NULL);
INSERT INTO totals VALUES (0, 0, 0);
"""


class Corrupt(Exception):
    """The file is damaged, or no store."""


class StoreUsage(msgspec.Struct, frozen=True, kw_only=True):
    """How much is in a store. `bytes` are those of keys and values."""

    keys: int = 0
    bytes: int = 0


class _Totals(msgspec.Struct):
    revision: int
    keys: int
    bytes: int


class StoreFile:
    """An open store; made by whichever thread, used by one at a time.

    `is_sound`: it was looked through before, and need not be again.

    Raises:
        Corrupt: see `on_disk.set_aside`.
        StoreUnavailable: the disk, or another process, will not have it now.
    """

    def __init__(self, path: str, *, is_sound: bool = False) -> None:
        self.path = path
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        with _translated(path):
            self._database = sqlite3.connect(
                path, timeout=BUSY_S, isolation_level=None, check_same_thread=False
            )
        try:
            with _translated(path):
                self._prepare(is_sound=is_sound)
            self.usage = self._measured()
        except BaseException:
            self._database.close()
            raise

    def _prepare(self, *, is_sound: bool) -> None:
        run = self._database.execute
        run("PRAGMA trusted_schema = OFF")  # the file is data, whoever had it in hand
        if not is_sound and (found := run("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
            raise Corrupt(str(found))
        run("PRAGMA journal_mode = WAL")
        run("PRAGMA synchronous = NORMAL")
        run(f"PRAGMA journal_size_limit = {_LOG_BYTES}")
        run("BEGIN IMMEDIATE")  # two hosts may come at once
        (version,) = run("PRAGMA user_version").fetchone()
        if version == 0:
            for statement in filter(str.strip, _SCHEMA.split(";")):
                run(statement)
            run(f"PRAGMA user_version = {_FORMAT}")
        run("COMMIT")
        if version > _FORMAT:
            raise errors.StoreUnavailable(
                f"{self.path} was written by a newer outboard", hint="run that version again, or newer"
            )

    def _measured(self) -> StoreUsage:
        """Raises Corrupt if there are no totals."""
        try:
            totals = self._totals()
            self._database.execute("SELECT key, value, revision FROM entries LIMIT 1").fetchone()
        except (sqlite3.Error, TypeError) as error:
            raise Corrupt(f"{error}") from None
        return StoreUsage(keys=totals.keys, bytes=totals.bytes)

    def close(self) -> None:
        """Never raises: what was committed is in the log, if it cannot be moved out of it now."""
        try:
            self._database.close()
        except sqlite3.Error:
            pass

    # -- what may be asked ---------------------------------------------------------------------

    def get(self, key: str) -> StoreEntry:
        with _translated(self.path):
            query = "SELECT value, revision FROM entries WHERE key = ?"
            row = self._database.execute(query, (key,)).fetchone()
        return StoreEntry(revision=0) if row is None else StoreEntry(value=Raw(row[0]), revision=row[1])

    def list(self, prefix: str, after: str, limit: int) -> StoreListResult:
        with _translated(self.path):
            query = "SELECT key FROM entries WHERE key >= ? AND key > ? ORDER BY key LIMIT ?"
            rows = self._database.execute(query, (prefix, after, limit + 1))
            keys = [key for (key,) in rows if key.startswith(prefix)]  # those that do come first
        return StoreListResult(keys=keys[:limit], more=len(keys) > limit)

    def write(
        self,
        values: Mapping[str, bytes],
        delete: Sequence[str] = (),
        if_revision: Mapping[str, int] | None = None,
        *,
        limit_bytes: int | None = None,
    ) -> int:
        """All of it, or nothing; returns the new revision. `values` are JSON.

        Raises:
            StoreConflict: a key has another revision than it should have. StoreFull: it would have more
            than `limit_bytes`, or too many keys. PayloadTooLarge: one value is.
        """
        for key, value in values.items():
            if len(value) > MAX_VALUE_BYTES:
                text = f"the value of `{key}` has {len(value):,} bytes, and one may have {MAX_VALUE_BYTES:,}"
                raise errors.PayloadTooLarge(text, hint="use a file in data_dir, or several keys")
        with self._transaction() as totals:
            for key, revision in (if_revision or {}).items():
                if (now := self._revision_of(key)) != revision:
                    raise errors.StoreConflict(
                        f"`{key}` has revision {now}, and not {revision}",
                        hint="read it again",
                        data={"key": key, "revision": now},
                    )
            before = StoreUsage(keys=totals.keys, bytes=totals.bytes)
            totals.revision += bool(values or delete)
            for key in delete:
                self._delete(key, totals)
            for key, value in values.items():
                self._set(key, value, totals)
            _check_room(before, totals, limit_bytes)
        return totals.revision

    def delete(self, key: str) -> bool:
        """Whether it was there."""
        with self._transaction() as totals:
            before = totals.keys
            totals.revision += 1
            self._delete(key, totals)
        return totals.keys < before

    # -- inside --------------------------------------------------------------------------------

    @contextmanager
    def _transaction(self) -> Iterator[_Totals]:
        """Writes back the totals, and commits; or, if anything raises, leaves everything as it was."""
        with _translated(self.path):
            self._database.execute("BEGIN IMMEDIATE")
            try:
                totals = self._totals()
                yield totals
                self._database.execute(
                    "UPDATE totals SET revision = ?, keys = ?, bytes = ?",
                    (totals.revision, totals.keys, totals.bytes),
                )
                self._database.execute("COMMIT")
            except BaseException:
                if self._database.in_transaction:  # a full disk may have ended it already
                    self._database.execute("ROLLBACK")
                raise
        self.usage = StoreUsage(keys=totals.keys, bytes=totals.bytes)

    def _totals(self) -> _Totals:
        return _Totals(*self._database.execute("SELECT revision, keys, bytes FROM totals").fetchone())

    def _revision_of(self, key: str) -> int:
        row = self._database.execute("SELECT revision FROM entries WHERE key = ?", (key,)).fetchone()
        return 0 if row is None else int(row[0])

    def _length_of(self, key: str) -> int | None:
        query = "SELECT length(value) FROM entries WHERE key = ?"
        row = self._database.execute(query, (key,)).fetchone()
        return None if row is None else int(row[0])

    def _set(self, key: str, value: bytes, totals: _Totals) -> None:
        before = self._length_of(key)
        self._database.execute(
            "INSERT INTO entries VALUES (?, ?, ?) ON CONFLICT (key) "
            "DO UPDATE SET value = excluded.value, revision = excluded.revision",
            (key, value, totals.revision),
        )
        totals.bytes += len(value) - (before or 0)
        if before is None:
            totals.keys += 1
            totals.bytes += len(key.encode())

    def _delete(self, key: str, totals: _Totals) -> None:
        before = self._length_of(key)
        if before is not None:
            self._database.execute("DELETE FROM entries WHERE key = ?", (key,))
            totals.keys -= 1
            totals.bytes -= before + len(key.encode())


def _check_room(before: StoreUsage, totals: _Totals, limit_bytes: int | None) -> None:
    """What makes a store smaller is always welcome: the limit may have come down meanwhile."""
    data = {"keys": totals.keys, "bytes": totals.bytes, "max_keys": MAX_KEYS, "limit_bytes": limit_bytes}
    if totals.keys > MAX_KEYS and totals.keys > before.keys:
        raise errors.StoreFull(
            f"it would have {totals.keys:,} keys, and a store has {MAX_KEYS:,} at most",
            hint="delete some, or put more into each value",
            data=data,
        )
    if limit_bytes is not None and totals.bytes > limit_bytes and totals.bytes > before.bytes:
        raise errors.StoreFull(
            f"it would have {totals.bytes:,} bytes, and `limits.store` is {limit_bytes:,}",
            hint="delete some keys, or raise limits.store",
            data=data,
        )


@contextmanager
def _translated(path: str) -> Iterator[None]:
    """What SQLite raises, as ours."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in _CORRUPT:
            raise Corrupt(str(error)) from None
        what = {
            sqlite3.SQLITE_FULL: "the disk is full",
            sqlite3.SQLITE_BUSY: "another process holds it",
        }.get(code, str(error))
        raise errors.StoreUnavailable(f"{what}: nothing was changed", hint=f"look at {path}") from None
