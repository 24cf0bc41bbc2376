"""How much of a stream may be on its way: one class for the end that sends it, one for the end that uses it.

A stream is the answer to a request, in items, or what goes up with one. The receiver gives credit, which is
a number of items, and gives more as it uses them; so who produces is never further ahead than the receiver
allows, and both ends hold a bounded number of bytes. The two classes are the book-keeping of that, and know
nothing of frames.

* A batch holds at most `MAX_BATCH_BYTES`; an item that is larger goes alone.
* A batch may leave while less than `MAX_UNUSED_BYTES` are on their way: sent, and not known to be used.
* The receiver gives credit back as soon as half of it is used up, or half of those bytes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from msgspec import Raw

from protocol.values import is_packed

MAX_BATCH_BYTES = 64 * 1024
MAX_UNUSED_BYTES = 1024 * 1024
CREDIT = 1024
"""Items, for a receiver that has no opinion."""
MAX_CREDIT = 1_000_000
"""What a sender keeps of more."""


def size_of(items: Iterable[Raw]) -> int:
    """In bytes."""
    return sum(len(memoryview(item)) for item in items)


class Sending:
    """The sender's end. Items are added one by one and leave in batches.

    Only what has credit is added, so a batch that has been begun can always leave.
    """

    __slots__ = ("_acknowledged", "_batch", "_batch_bytes", "_batches", "_seq", "credit", "unused_bytes")

    def __init__(self, credit: int) -> None:
        self.credit = min(credit, MAX_CREDIT)
        """Items that may still be added."""
        self.unused_bytes = 0
        """Of all items that were added, and that the receiver has not used, as far as we know."""
        self._batch: list[Raw] = []
        self._batch_bytes = 0
        self._batches: deque[tuple[int, int]] = deque()  # items and bytes of each that has left
        self._acknowledged = 0  # items of the first of them
        self._seq = 0

    @property
    def has_room(self) -> bool:
        """Whether one more item may be added."""
        return self.credit > 0 and self.unused_bytes < MAX_UNUSED_BYTES

    @property
    def waiting(self) -> int:
        """Items that have been added, and have not left."""
        return len(self._batch)

    def fits(self, item: Raw) -> bool:
        """Whether it may go in the batch that has been begun; else that one has to leave first."""
        if not self._batch:
            return True
        if is_packed(item) != is_packed(self._batch[0]):  # a frame has one encoding
            return False
        return self._batch_bytes + len(memoryview(item)) <= MAX_BATCH_BYTES

    def add(self, item: Raw) -> bool:
        """Adds an item, for which there is room and which fits; whether the batch had better leave now."""
        size = len(memoryview(item))
        self._batch.append(item)
        self._batch_bytes += size
        self.unused_bytes += size
        self.credit -= 1
        return self._batch_bytes >= MAX_BATCH_BYTES or not self.has_room

    def take(self) -> tuple[int, list[Raw]]:
        """The batch and its number; it leaves."""
        seq, batch = self._seq, self._batch
        self._seq += 1
        self._batches.append((len(batch), self._batch_bytes))
        self._batch, self._batch_bytes = [], 0
        return seq, batch

    def acknowledge(self, count: int) -> bool:
        """The receiver has used so many items and takes as many more; whether that makes room anew."""
        had_room = self.has_room
        self.credit = min(self.credit + count, MAX_CREDIT)
        self._acknowledged += count
        # Only whole batches are let go of: nobody knows the sizes of their items any more.
        while self._batches and self._acknowledged >= self._batches[0][0]:
            items, size = self._batches.popleft()
            self._acknowledged -= items
            self.unused_bytes -= size
        if not self._batches:  # credit for more than it has used
            self._acknowledged = 0
        return self.has_room and not had_room


class Receiving:
    """The receiver's end: what may come, and when to give credit back."""

    __slots__ = ("_credit", "_seq", "_unused_bytes", "_used", "_used_bytes", "_window")

    def __init__(self, credit: int) -> None:
        self._window = credit
        self._credit = credit
        self._unused_bytes = 0  # of items that came and were not acknowledged
        self._used = 0  # items that have been used and not acknowledged
        self._used_bytes = 0
        self._seq = 0

    def accept(self, seq: int, count: int, size: int) -> str:
        """What is wrong with a batch of `count` items and `size` bytes; empty if it may be used."""
        if seq != self._seq:
            return f"batch {seq} came where {self._seq} was due"
        if count > self._credit:
            return f"{count} items came, and there was credit for {self._credit}"
        if (
            count and self._unused_bytes >= 2 * MAX_UNUSED_BYTES
        ):  # whatever the sender counts as an item's size
            return f"{self._unused_bytes} bytes are unused, and still more came"
        self._seq += 1
        self._credit -= count
        self._unused_bytes += size
        return ""

    def use(self, count: int, size: int) -> int:
        """So many of the items that came have been used: how many more may come; 0 for none yet."""
        self._used += count
        self._used_bytes += size
        if 2 * self._used < self._window and 2 * self._used_bytes < MAX_UNUSED_BYTES:
            return 0
        given, self._used = self._used, 0
        self._credit += given
        self._unused_bytes -= self._used_bytes
        self._used_bytes = 0
        return given
