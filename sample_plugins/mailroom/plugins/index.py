# /// script
# [tool.outboard]
# name = "index"
# version = "1.0.0"
# description = "Finds documents by the words in them."
# [tool.outboard.limits]
# memory = "256MiB"
# processes = 2
# ///
"""Delivers to a full-text index, and searches it.

Twice is once: the id is a primary key, and is inserted with the text in one transaction.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

import msgspec

from plugin_sdk import Context, Plugin
from sample_plugins.mailroom.letters import Parcel

SCHEMA = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = NORMAL;
CREATE TABLE IF NOT EXISTS delivered (id TEXT PRIMARY KEY, row INTEGER);
CREATE VIRTUAL TABLE IF NOT EXISTS pages USING fts5 (id UNINDEXED, name UNINDEXED, title, text);
"""
SEARCH = """SELECT name, title, snippet(pages, 3, '[', ']', '…', 12)
FROM pages WHERE pages MATCH ? ORDER BY rank LIMIT ?"""

plugin = Plugin()


class Hit(msgspec.Struct):
    name: str
    title: str
    excerpt: str


def database(ctx: Context) -> sqlite3.Connection:
    return sqlite3.connect(Path(ctx.data_dir, "index.db"))


@plugin.on_start
def prepare(ctx: Context) -> None:
    with database(ctx) as db:
        db.executescript(SCHEMA)
    db.close()


@plugin.hook("document.deliver", when={"receipts.index": None}, idempotent=True)
def deliver(parcel: Parcel, ctx: Context) -> str:
    document, db = parcel.document, database(ctx)
    with db:
        row = (document.id, document.name, document.title, document.text)
        if db.execute("INSERT OR IGNORE INTO delivered (id) VALUES (?)", row[:1]).rowcount:
            db.execute("INSERT INTO pages VALUES (?, ?, ?, ?)", row)
    db.close()
    return document.id


@plugin.method(idempotent=True)
def search(words: str, ctx: Context, most: int = 5) -> list[Hit]:
    """Documents with all of `words` in them, the best first."""
    db = database(ctx)
    asked = " ".join('"' + word.replace('"', '""') + '"' for word in words.split())
    hits = [Hit(*row) for row in db.execute(SEARCH, [asked, most])] if asked else []
    db.close()
    return hits


if __name__ == "__main__":
    plugin.run()
