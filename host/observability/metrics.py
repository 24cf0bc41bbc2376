"""Counters of one plugin's calls, and how long they took. Written on the way of every call."""

from __future__ import annotations

from math import frexp

_SUB = 8  # buckets in each power of two: a quantile is right within 1/8
_BUCKETS = 32 * _SUB


class Latency:
    """A histogram with logarithmic buckets from 1 us to an hour: 256 integers, no allocation a call."""

    __slots__ = ("_buckets", "count")

    def __init__(self) -> None:
        self._buckets = [0] * _BUCKETS
        self.count = 0

    def record(self, seconds: float) -> None:
        mantissa, exponent = frexp(seconds * 1e6 + 1.0)  # 0.5 <= mantissa < 1
        index = (exponent - 1) * _SUB + int((mantissa - 0.5) * 2 * _SUB)
        self._buckets[index if index < _BUCKETS else -1] += 1
        self.count += 1

    def quantile_ms(self, q: float) -> float | None:
        """The duration below which a share `q` of the calls stayed, in milliseconds; None without calls."""
        if not self.count:
            return None
        rank = q * self.count
        seen = 0
        for index, count in enumerate(self._buckets):
            seen += count
            if count and seen >= rank:
                power, part = divmod(index, _SUB)
                return round(((1 + (part + 0.5) / _SUB) * (1 << power) - 1) / 1000, 3)
        return None


class CallStats:
    """What `status` shows of a plugin's calls."""

    __slots__ = ("error", "in_flight", "latency", "ok", "timeout")

    def __init__(self) -> None:
        self.ok = 0
        self.error = 0
        self.timeout = 0
        self.in_flight = 0
        self.latency = Latency()
