"""One store, in a real file: what is in it, how much, and what becomes of a damaged one."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from host.errors import PayloadTooLarge, StoreConflict, StoreFull, StoreUnavailable
from host.store import file as files
from host.store.file import Corrupt, StoreFile, StoreUsage
from host.store.on_disk import KEPT_ASIDE, set_aside

KEYS = st.sampled_from(["a", "a\0b", "b", "ä", "a/1", "a/2", "\U0010ffff"])
CHANGE = st.tuples(
    st.dictionaries(KEYS, st.binary(min_size=1, max_size=20), max_size=3), st.lists(KEYS, max_size=3)
)


def size_of(there: dict[str, bytes]) -> int:
    return sum(len(key.encode()) + len(value) for key, value in there.items())


def value_at(store: StoreFile, key: str) -> bytes | None:
    value = store.get(key).value
    return None if value is msgspec.UNSET else bytes(value)


@settings(deadline=None)  # it has a disk to wait for
@given(st.lists(CHANGE, max_size=20))
def test_it_holds_what_a_dict_would_and_counts_it(changes: list[tuple[dict[str, bytes], list[str]]]) -> None:
    there: dict[str, bytes] = {}
    limit_bytes = 60
    with tempfile.TemporaryDirectory() as folder:
        store = StoreFile(f"{folder}/store.db")
        for values, delete in changes:
            then = {key: value for key, value in there.items() if key not in delete} | values
            try:
                store.write(values, delete, limit_bytes=limit_bytes)
                there = then
            except StoreFull:
                assert size_of(then) > max(limit_bytes, size_of(there))
            assert store.usage == StoreUsage(keys=len(there), bytes=size_of(there))
            assert {key: value_at(store, key) for key in there} == there
            assert store.list("", "", 100).keys == sorted(there)
        store.close()
        again = StoreFile(f"{folder}/store.db")
        assert again.usage == StoreUsage(keys=len(there), bytes=size_of(there))
        again.close()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[StoreFile]:
    opened = StoreFile(str(tmp_path / "kept" / "store.db"))
    yield opened
    opened.close()


def test_what_is_not_there_has_revision_zero_and_no_value(store: StoreFile) -> None:
    assert store.get("a").revision == 0
    assert value_at(store, "a") is None
    assert store.delete("a") is False


def test_revisions_only_rise_and_are_those_of_the_change(store: StoreFile) -> None:
    first = store.write({"a": b"1", "b": b"1"})
    second = store.write({"a": b"2"})
    assert (store.get("a").revision, store.get("b").revision) == (second, first)
    store.delete("a")
    assert store.write({"a": b"2"}) > second  # or a change in between could not be seen


def test_a_change_that_is_too_late_changes_nothing(store: StoreFile) -> None:
    seen = store.write({"a": b"1", "b": b"1"})
    store.write({"a": b"2"})
    with pytest.raises(StoreConflict) as caught:
        store.write({"a": b"3", "b": b"3"}, ["c"], {"b": seen, "a": seen})
    assert caught.value.data == {"key": "a", "revision": seen + 1}
    assert (value_at(store, "a"), value_at(store, "b")) == (b"2", b"1")
    store.write({"c": b"1"}, if_revision={"c": 0})
    with pytest.raises(StoreConflict):
        store.write({"c": b"2"}, if_revision={"c": 0})


def test_keys_come_in_pages(store: StoreFile) -> None:
    store.write({f"{letter}/{number}": b"1" for letter in "abc" for number in range(5)})
    page = store.list("b/", "", 3)
    assert (page.keys, page.more) == (["b/0", "b/1", "b/2"], True)
    page = store.list("b/", page.keys[-1], 3)
    assert (page.keys, page.more) == (["b/3", "b/4"], False)
    assert store.list("d", "", 3).keys == []
    assert store.list("", "b/4", 2).keys == ["c/0", "c/1"]


def test_what_makes_a_full_store_smaller_is_welcome(store: StoreFile) -> None:
    store.write({"a": b"x" * 100, "b": b"x" * 100})
    with pytest.raises(StoreFull) as caught:
        store.write({"c": b"1"}, limit_bytes=50)
    assert caught.value.data["bytes"] == 204
    store.write({"a": b"x" * 90}, limit_bytes=50)
    store.write({"c": b"1"}, ["b"], limit_bytes=50)
    assert store.list("", "", 9).keys == ["a", "c"]


def test_keys_are_counted_too(store: StoreFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_KEYS", 2)
    store.write({"a": b"1", "b": b"1"})
    with pytest.raises(StoreFull):
        store.write({"c": b"1"})
    store.write({"c": b"1"}, ["a"])


def test_a_value_that_is_too_large_changes_nothing(store: StoreFile) -> None:
    with pytest.raises(PayloadTooLarge):
        store.write({"a": b"1", "b": b"x" * (files.MAX_VALUE_BYTES + 1)})
    assert store.usage == StoreUsage()


def test_what_another_process_holds_is_not_changed(store: StoreFile, monkeypatch: pytest.MonkeyPatch) -> None:
    store.write({"a": b"1"})
    other = sqlite3.connect(store.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    store._database.execute("PRAGMA busy_timeout = 1")
    with pytest.raises(StoreUnavailable) as caught:
        store.write({"a": b"2"})
    assert "another process" in caught.value.message
    assert value_at(store, "a") == b"1"
    other.execute("ROLLBACK")
    other.close()
    store.write({"a": b"3"})
    assert value_at(store, "a") == b"3"


def test_a_file_without_room_for_more_stays_as_it_was(store: StoreFile) -> None:
    store.write({"a": b"1"})
    (pages,) = store._database.execute("PRAGMA page_count").fetchone()
    store._database.execute(f"PRAGMA max_page_count = {pages + 2}")
    with pytest.raises(StoreUnavailable) as caught:
        store.write({"a": b"2", "b": b"x" * 100_000})
    assert "the disk is full" in caught.value.message
    assert store.usage == StoreUsage(keys=1, bytes=2)
    store.write({"a": b"3"})
    assert value_at(store, "a") == b"3"


@pytest.mark.parametrize("damage", ["text", "page", "tables", "totals"])
def test_a_damaged_file_is_seen_and_moved_aside(store: StoreFile, damage: str) -> None:
    store.write({f"key {number}": b"x" * 500 for number in range(100)})
    if damage in ("tables", "totals"):
        store._database.execute("DROP TABLE entries" if damage == "tables" else "DELETE FROM totals")
    store.close()
    if damage == "text":
        Path(store.path).write_bytes(b"this was never a database" * 100)
    elif damage == "page":
        with open(store.path, "r+b") as damaged:
            damaged.seek(4096)
            damaged.write(os.urandom(20000))
    with pytest.raises(Corrupt):
        StoreFile(store.path)
    aside = set_aside(store.path)
    assert Path(aside).exists()
    new = StoreFile(store.path)
    assert new.usage == StoreUsage()
    new.close()


def test_a_few_damaged_files_are_kept_and_not_more(store: StoreFile) -> None:
    folder = Path(store.path).parent
    store.close()
    made = []
    for _ in range(KEPT_ASIDE + 2):
        Path(store.path).write_bytes(b"damaged")
        made.append(Path(set_aside(store.path)).name)
    assert sorted(entry.name for entry in folder.iterdir() if "corrupt" in entry.name) == made[2:]


def test_a_file_of_a_newer_outboard_is_left_alone(store: StoreFile) -> None:
    store.write({"a": b"1"})
    store._database.execute("PRAGMA user_version = 9")
    store.close()
    with pytest.raises(StoreUnavailable) as caught:
        StoreFile(store.path)
    assert "newer" in caught.value.message


def test_nobody_else_can_read_it(store: StoreFile) -> None:
    assert Path(store.path).parent.stat().st_mode & 0o777 == 0o700
