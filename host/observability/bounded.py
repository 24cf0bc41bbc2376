"""The newest of what happened, and no more of it than there is room for. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Bounded(Generic[T]):
    """A queue that never refuses: what it has no room for pushes out the oldest, which is counted.

    `most` items, of `most_size` together, in whatever unit `put` is told.
    """

    def __init__(self, most: int, most_size: int) -> None:
        self._items: deque[tuple[T, int]] = deque()
        self._most = most
        self._most_size = most_size
        self._size = 0
        self.dropped = 0

    def put(self, item: T, size: int) -> None:
        self._items.append((item, size))
        self._size += size
        while len(self._items) > self._most or self._size > self._most_size:
            self._size -= self._items.popleft()[1]
            self.dropped += 1

    def take(self, most: int, most_size: int) -> list[T]:
        """Removes and returns the oldest, up to these bounds; one item at least, if there is any."""
        taken: list[T] = []
        room = most_size
        while self._items and len(taken) < most and (not taken or self._items[0][1] <= room):
            item, size = self._items.popleft()
            self._size -= size
            room -= size
            taken.append(item)
        return taken

    def __iter__(self) -> Iterator[T]:
        """Oldest first."""
        return (item for item, _ in self._items)

    def __len__(self) -> int:
        return len(self._items)
