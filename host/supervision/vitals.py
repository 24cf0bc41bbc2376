"""What the numbers of a running plugin mean: concerns that come and go, blocked, idle. Pure; reads no clock.

A concern comes at the first bad reading and goes when there has been none for `EASE_S`. A plugin that
answers pings and finishes nothing, with calls to work on, is blocked: a deadlock, or a computation that is
longer than anybody said. One that nobody calls for as long as its terms allow is idle.
"""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from host.config.effective import PluginPolicy
from host.supervision.life_events import Concern, Eased, Idle

__all__ = ["Blocked", "Finding", "Reading", "Vitals", "look_again_s"]

EASE_S = 30.0
MANY_ABANDONED = 8
LOOKS_UNTIL_BLOCKED = 6
LOOKS_UNTIL_IDLE = 4


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """At one moment. The counters only rise."""

    in_flight: Collection[str] = ()
    """Methods of the calls that somebody waits for, but for streams."""
    abandoned: Collection[str] = ()
    """Of those that nobody waits for any more, and that the plugin has not answered."""
    streams: int = 0
    """That are open. They last as long as they last: nobody can be blamed for one that is still open."""
    finished: int = 0
    """Replies, to calls of both kinds, and what came of streams."""
    missed_pings: int = 0
    dropped: int = 0
    """Log records."""


class Blocked(msgspec.Struct, frozen=True):
    """It is to be killed, with its stack, and started again."""

    reason: str


Finding = Concern | Eased | Idle | Blocked


def look_again_s(policy: PluginPolicy) -> float:
    """How long until the next reading: soon enough for everything that is timed."""
    times = [policy.ping_interval_s, policy.blocked_after_s / LOOKS_UNTIL_BLOCKED]
    if policy.idle_stop_s is not None:
        times.append(policy.idle_stop_s / LOOKS_UNTIL_IDLE)
    return max(0.02, min(times))


class Vitals:
    """Of one generation. `idempotent` are the methods that may be done twice, as the plugin says."""

    def __init__(self, generation: int, idempotent: Collection[str], first: Reading, *, now: float) -> None:
        self._generation = generation
        self._idempotent = idempotent
        self._before = first
        self._working_since: float | None = None
        self._idle_since = now
        self._bad: dict[str, tuple[str, float]] = {}
        """Concerns that hold: the text, and when there was reason for it last."""

    def skip(self, span_s: float) -> None:
        """So long nobody could look, and the plugin could perhaps not run: it counts for nothing."""
        self._idle_since += span_s
        if self._working_since is not None:
            self._working_since += span_s

    def look(self, reading: Reading, policy: PluginPolicy, *, now: float) -> list[Finding]:
        before, self._before = self._before, reading
        bad: dict[str, str] = {}
        if missed := reading.missed_pings - before.missed_pings:
            bad["pings"] = "a ping went unanswered" if missed == 1 else f"{missed} pings went unanswered"
        if dropped := reading.dropped - before.dropped:
            bad["logs"] = f"{dropped} log records were dropped: too many at once"
        if (abandoned := len(reading.abandoned)) >= MANY_ABANDONED:
            bad["abandoned"] = f"{abandoned} calls were given up, and it has not answered them since"
        findings: list[Finding] = []
        if blocked := self._blocked(reading, before, policy, now):
            if self._is_restarted(reading, policy):
                return [Blocked(blocked)]
            bad["blocked"] = blocked
        findings += self._changes(bad, now)
        if reading.in_flight or reading.streams or reading.finished != before.finished:
            self._idle_since = now
        idle_s = now - self._idle_since
        if policy.start_mode == "lazy" and policy.idle_stop_s is not None and idle_s >= policy.idle_stop_s:
            findings.append(Idle(self._generation, f"idle: no call for {policy.idle_stop_s:g} s"))
        return findings

    def _blocked(self, reading: Reading, before: Reading, policy: PluginPolicy, now: float) -> str:
        """Why it counts as blocked; empty if it does not."""
        working = len(reading.in_flight) + len(reading.abandoned)
        if not working or reading.finished != before.finished:
            self._working_since = None
        if not working:
            return ""
        if self._working_since is None:
            self._working_since = now
        span_s = now - self._working_since
        if span_s < policy.blocked_after_s:
            return ""
        calls = "1 call" if working == 1 else f"{working} calls"
        # not the time itself: it would be another text at each look
        return f"blocked: it answers pings, and has finished none of {calls} for {policy.blocked_after_s:g} s"

    def _is_restarted(self, reading: Reading, policy: PluginPolicy) -> bool:
        if policy.blocked is not None:
            return policy.blocked == "restart"
        methods = {*reading.in_flight, *reading.abandoned}
        return policy.start_mode == "lazy" or methods <= set(self._idempotent)

    def _changes(self, bad: dict[str, str], now: float) -> list[Finding]:
        changes: list[Finding] = []
        for name, text in bad.items():
            if name not in self._bad or self._bad[name][0] != text:
                changes.append(Concern(self._generation, name, text))
            self._bad[name] = (text, now)
        for name, (_, since) in list(self._bad.items()):
            if name not in bad and now - since >= EASE_S:
                del self._bad[name]
                changes.append(Eased(self._generation, name))
        return changes
