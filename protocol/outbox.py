"""Frames that wait for the pipe, in lanes: replies never wait behind requests, nor a cancel behind logs.

The order between lanes is by urgency, inside a lane by age. The box is bounded in bytes; what may be
refused or dropped is decided by the lane, and what has been dropped is counted.
"""

from __future__ import annotations

from collections import deque
from enum import IntEnum
from typing import Protocol

MAX_BYTES = 8 * 1024 * 1024


class Lane(IntEnum):
    """Most urgent first."""

    CONTROL = 0
    REPLY = 1
    REQUEST = 2
    STREAM = 3
    PROGRESS = 4
    LOG = 5


CONTROL, REPLY, REQUEST = Lane.CONTROL, Lane.REPLY, Lane.REQUEST
"""By names that cost no look into the enum, which is 0.05 us."""
_UNBOUNDED = (Lane.CONTROL, Lane.REPLY)
_MAX_REPLIES = 1024


class Owner(Protocol):
    """Of a frame that is not worth sending any more once this is settled."""

    sent: bool
    settled: bool


class Outbox:
    """`put` frames, `take` bytes. A frame whose call was settled meanwhile is skipped."""

    def __init__(self, *, max_bytes: int = MAX_BYTES) -> None:
        self._lanes: tuple[deque[tuple[bytes, Owner | None]], ...] = tuple(deque() for _ in Lane)
        self.max_bytes = max_bytes
        self.bytes = 0
        """How many bytes wait."""
        self.dropped = 0
        """How many log and progress frames found no room."""

    def put(self, lane: Lane, frame: bytes, call: Owner | None = None, *, always: bool = False) -> bool:
        """Queues a frame; False if there is no room for it. `always`: there is.

        Control and replies always find room: the number of requests in flight bounds them. One frame
        alone may be larger than the box, or a limit on frames above the box's size could not be kept.
        """
        waiting, size = self.bytes, len(frame)
        if waiting and waiting + size > self.max_bytes and not (always or lane in _UNBOUNDED):
            if lane < Lane.PROGRESS and self._shed(waiting + size - self.max_bytes):
                pass  # logs and progress made room
            else:
                self.dropped += lane >= Lane.PROGRESS
                return False
        self._lanes[lane].append((frame, call))
        self.bytes += size
        return True

    def take(self, limit: int = 65536) -> bytes:
        """The next bytes for the pipe: whole frames, joined up to about `limit` bytes; b"" if none."""
        frames: list[bytes] = []
        size = 0
        for lane in self._lanes:
            while lane:
                frame, call = lane.popleft()
                if frames and size + len(frame) > limit:
                    lane.appendleft((frame, call))
                    return b"".join(frames)
                self.bytes -= len(frame)
                if call is not None:
                    if call.settled:  # expired or cancelled before it was sent
                        continue
                    call.sent = True
                if not self.bytes and not frames:
                    return frame  # alone, as nearly always: nothing to join
                frames.append(frame)
                size += len(frame)
            if not self.bytes:
                break
        return b"".join(frames)

    @property
    def is_full(self) -> bool:
        """Whether what may be refused would be, however small."""
        return self.bytes >= self.max_bytes

    @property
    def is_flooded(self) -> bool:
        """Whether more answers wait than any honest peer can have asked for."""
        answers = len(self._lanes[Lane.REPLY]) + len(self._lanes[Lane.STREAM])
        return self.bytes > self.max_bytes and answers > _MAX_REPLIES

    def clear(self) -> None:
        for lane in self._lanes:
            lane.clear()
        self.bytes = 0

    def _shed(self, needed: int) -> bool:
        """Drops logs, then progress, newest first, until `needed` bytes are free."""
        freed = 0
        for lane in (self._lanes[Lane.LOG], self._lanes[Lane.PROGRESS]):
            while lane and freed < needed:
                frame, _ = lane.pop()
                freed += len(frame)
                self.bytes -= len(frame)
                self.dropped += 1
        return freed >= needed
