"""Counters of calls, for each plugin and each of its methods. Written on the way of every call.

Memory is bounded whatever callers ask for and plugins announce: a method is counted by its name if the
plugin announced it, and only the first 256 that are called; everything else is counted as `_other`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import accumulate
from math import frexp
from operator import add

OTHER = "_other"
MAX_METHODS = 256
MAX_NAME = 100
"""Characters of a method's name that is counted by name."""

_SUB = 8  # buckets in each power of two: a quantile is right within 1/8
_EDGE = 2 * _SUB
_BUCKETS = 32 * _SUB
_POWERS = range(6, 26)


class Latency:
    """A histogram with logarithmic buckets from 1 us to an hour: 256 integers, no allocation a call."""

    __slots__ = ("_buckets", "total_s")

    def __init__(self) -> None:
        self._buckets = [0] * _BUCKETS
        self.total_s = 0.0
        """The sum of all durations as they were, not as the buckets would have them."""

    def record(self, seconds: float) -> None:
        mantissa, exponent = frexp(seconds * 1e6 + 1.0)  # 0.5 <= mantissa < 1
        index = int(exponent * _SUB + mantissa * _EDGE) - _EDGE
        try:
            self._buckets[index] += 1
        except IndexError:
            self._buckets[-1] += 1
        self.total_s += seconds  # and no count: it is the sum of the buckets, for whoever asks

    @property
    def count(self) -> int:
        return sum(self._buckets)

    def add(self, other: Latency) -> None:
        """What `other` has seen, too."""
        self._buckets = list(map(add, self._buckets, other._buckets))
        self.total_s += other.total_s

    def copy(self) -> Latency:
        copy = Latency.__new__(Latency)
        copy._buckets = self._buckets.copy()
        copy.total_s = self.total_s
        return copy

    def cumulative(self) -> Iterator[tuple[float, int]]:
        """Pairs of a duration in seconds and how many were shorter: 20 of them, each twice the one before.

        From 63 us to 34 s, which is where the default timeout is. They are edges of the buckets (which
        are powers of two, less 1 us), so that the counts are exact.
        """
        below = list(accumulate(self._buckets))
        for power in _POWERS:
            yield ((1 << power) - 1) / 1e6, below[power * _SUB - 1]

    def quantile_ms(self, q: float) -> float | None:
        """The duration below which a share `q` of the calls stayed, in milliseconds; None without calls."""
        rank = q * self.count
        seen = 0
        for index, count in enumerate(self._buckets):
            seen += count
            if count and seen >= rank:
                power, part = divmod(index, _SUB)
                return round(((1 + (part + 0.5) / _SUB) * (1 << power) - 1) / 1000, 3)
        return None


class CallStats:
    """Of one method. `latency` is that of the calls that succeeded."""

    __slots__ = ("cancelled", "errors", "in_flight", "latency", "ok", "replayed", "timeout")

    def __init__(self) -> None:
        self.ok = 0
        self.timeout = 0
        self.cancelled = 0
        """Given up by the caller."""
        self.replayed = 0
        """Sent once more, because the process ended: a call may be so more than once."""
        self.errors: dict[str, int] = {}
        """By code: OBnnn."""
        self.in_flight = 0
        self.latency = Latency()

    @property
    def error(self) -> int:
        return sum(self.errors.values())

    def note_error(self, code: str) -> None:
        self.errors[code] = self.errors.get(code, 0) + 1

    def add(self, other: CallStats) -> None:
        """What `other` has counted, too."""
        self.ok += other.ok
        self.timeout += other.timeout
        self.cancelled += other.cancelled
        self.replayed += other.replayed
        self.in_flight += other.in_flight
        for code, count in other.errors.items():
            self.errors[code] = self.errors.get(code, 0) + count
        self.latency.add(other.latency)

    def copy(self) -> CallStats:
        copy = CallStats.__new__(CallStats)
        copy.ok = self.ok
        copy.timeout = self.timeout
        copy.cancelled = self.cancelled
        copy.replayed = self.replayed
        copy.errors = self.errors.copy()
        copy.in_flight = self.in_flight
        copy.latency = self.latency.copy()
        return copy


class EventStats:
    """Of the events that one plugin publishes, and is told of."""

    __slots__ = ("delivered", "dropped", "failed", "published")

    def __init__(self) -> None:
        self.published = 0
        self.delivered = 0
        """Sent to it."""
        self.failed = 0
        """As many of those as it could not handle, as it says."""
        self.dropped = 0
        """That it was too slow for, or that waited for it when it ended."""

    def copy(self) -> EventStats:
        copy = EventStats()
        for name in self.__slots__:
            setattr(copy, name, getattr(self, name))
        return copy


class PluginStats:
    """Of one plugin, over all its generations."""

    def __init__(self) -> None:
        self.methods: dict[str, CallStats] = {}
        """Those that have been called."""
        self.noise_bytes = 0
        """Text on stdout that was no frame."""
        self.dropped_records = 0
        """Log records and lines that were too many at once, for the host or for the plugin itself."""
        self.ends: dict[str, int] = {}
        """How its processes ended, by the kind of their `Cause`."""
        self.events = EventStats()
        self._announced: frozenset[str] = frozenset()

    def announce(self, names: Iterable[str]) -> None:
        """From now on these may be counted by name; what has been counted stays."""
        self._announced = frozenset(name for name in names if len(name) <= MAX_NAME)

    def of(self, method: str) -> CallStats:
        # A lookup that hits costs 0.04 us; the made-up names take the long way round, every time.
        return self.methods.get(method) or self._open(method)

    def _open(self, method: str) -> CallStats:
        if method not in self._announced or len(self.methods) >= MAX_METHODS:
            method = OTHER
        return self.methods.setdefault(method, CallStats())

    def note_end(self, kind: str) -> None:
        self.ends[kind] = self.ends.get(kind, 0) + 1

    def total(self) -> CallStats:
        """Of all methods together."""
        total = CallStats()
        for stats in self.methods.values():
            total.add(stats)
        return total

    def copy(self) -> PluginStats:
        copy = PluginStats()
        copy.methods = {name: stats.copy() for name, stats in self.methods.items()}
        copy.noise_bytes = self.noise_bytes
        copy.dropped_records = self.dropped_records
        copy.ends = self.ends.copy()
        copy.events = self.events.copy()
        return copy
