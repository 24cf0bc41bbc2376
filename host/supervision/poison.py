"""Which calls kill their plugin. Pure: crashes and answers come in, convictions are read.

The rule, `Poison.note`, is about kinds of calls: a method with its params. It has to be sound before
it is quick: a call that is refused for nothing is worse than one crash more, for which there is the
quarantine of the whole plugin.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from host.observability.causes import Cause, Kind
from host.process.fingerprint import Fingerprint

WINDOW_S = 3600.0
"""How long a crash is held against anybody, and how long a conviction lasts."""
MAX_SUSPECTS = 1024
"""Of all crashes together. The oldest crash goes as a whole: half of one would make others look alone."""
MAX_CONVICTED = 1024

_OWN_FAULT: frozenset[Kind] = frozenset(
    (
        "exit-code",
        "exception",
        "missing-module",
        "signal",
        "out-of-memory",
        "limit",
        "unresponsive",
        "blocked",
        "broken-wire",
    )
)
_FROM_OUTSIDE = frozenset(("SIGKILL", "SIGTERM", "SIGINT", "SIGHUP"))
"""What people, scripts and the kernel end a process with, whatever it was doing."""


class Incident(msgspec.Struct, frozen=True, kw_only=True):
    """A crash, as far as a refusal tells of it."""

    incident: str
    generation: int
    at: float
    """Unix time."""
    cause: str
    in_flight: list[str]


class _Crash(msgspec.Struct):
    incident: Incident
    noted_at: float
    suspects: set[Fingerprint]
    """Whoever was in the plugin's hands, less those that have come back since."""
    had_one: bool
    """Whether there was but one."""


class _Conviction(msgspec.Struct, frozen=True):
    incidents: list[Incident]
    until: float


def is_evidence(cause: Cause) -> bool:
    """Whether an end says anything about the calls in flight: not if somebody else ended the process."""
    if cause.kind == "signal" and cause.signal in _FROM_OUTSIDE:
        return False
    return cause.kind in _OWN_FAULT


class Poison:
    """What is known of one plugin. Times are on the host's monotonic clock."""

    def __init__(self) -> None:
        self.watched: dict[str, None] = {}
        """Methods with a convicted or a suspected call; nearly always none."""
        self._crashes: list[_Crash] = []
        """Those that no conviction explains, the oldest first."""
        self._convicted: dict[Fingerprint, _Conviction] = {}

    def note(self, cause: Cause, worked_on: Iterable[Fingerprint], now: float) -> list[Fingerprint]:
        """A crash, and all that the plugin had in hand, also what nobody waited for any more.

        Returns the calls that are convicted of it, which is the rule:

        * Every crash is of another generation, and all that was in hand is suspected of it.
        * Whoever comes back with an answer (`came_back`) is cleared: what kills, kills each time.
        * Convicted is who is suspected of two crashes or more and was alone in hand at one of them.
          If nobody was: who is suspected of the most, two at least, if nobody else is of as many.
        * A crash with a convicted call in hand is explained, and held against nobody else.

        Why it is sound: as long as one call is to blame for the crashes, it is suspected of all of them and
        never cleared. So nobody is suspected of more, and if somebody is of as many, that is a tie, in
        which nobody is convicted; and whoever was alone is to blame.

        Why it converges: the router lets suspects in one at a time, so the second crash finds, of those
        suspected of the first, the guilty one in hand and no other.

        Where it can err: many different calls kill, and the same innocent one, too long to come back in
        between, is there each time.
        """
        self._lapse(now)
        suspects = set(worked_on)
        if not suspects or not is_evidence(cause) or not suspects.isdisjoint(self._convicted):
            return []
        told = Incident(
            incident=cause.incident,
            generation=cause.generation,
            at=cause.at,
            cause=cause.text,
            in_flight=cause.in_flight,
        )
        self._crashes.append(_Crash(told, now, suspects, len(suspects) == 1))
        guilty = self._guilty(suspects)
        for mark in guilty:
            proof = [crash.incident for crash in self._crashes if mark in crash.suspects]
            self._convicted[mark] = _Conviction(proof, now + WINDOW_S)
        self._crashes = [crash for crash in self._crashes if crash.suspects.isdisjoint(guilty)]
        while len(self._crashes) > 1 and sum(len(crash.suspects) for crash in self._crashes) > MAX_SUSPECTS:
            del self._crashes[0]
        while len(self._convicted) > MAX_CONVICTED:
            del self._convicted[next(iter(self._convicted))]
        self._watch()
        return guilty

    def _guilty(self, suspects: set[Fingerprint]) -> list[Fingerprint]:
        strikes = {mark: sum(mark in crash.suspects for crash in self._crashes) for mark in suspects}
        alone = {mark for crash in self._crashes if crash.had_one for mark in crash.suspects}
        guilty = [mark for mark in alone if strikes.get(mark, 0) >= 2]
        if not guilty:
            most = max(2, *strikes.values())
            guilty = [mark for mark, count in strikes.items() if count == most]
            if len(guilty) > 1:
                return []
        return [mark for mark in guilty if mark.is_known]

    def incidents_of(self, mark: Fingerprint, now: float) -> list[Incident]:
        """The crashes that a call is convicted of; empty if it may pass."""
        self._lapse(now)
        conviction = self._convicted.get(mark)
        return conviction.incidents if conviction is not None else []

    def is_suspected(self, mark: Fingerprint) -> bool:
        return any(mark in crash.suspects for crash in self._crashes)

    def held_against(self, mark: Fingerprint) -> set[str]:
        """Names of the crashes that a call is suspected or convicted of."""
        suspected = {crash.incident.incident for crash in self._crashes if mark in crash.suspects}
        conviction = self._convicted.get(mark)
        return suspected | {each.incident for each in conviction.incidents} if conviction else suspected

    def came_back(self, mark: Fingerprint) -> None:
        """The plugin has answered such a call, and lives."""
        for crash in self._crashes:
            crash.suspects.discard(mark)
        self._crashes = [crash for crash in self._crashes if crash.suspects]
        self._watch()

    def forget(self) -> bool:
        """A new start for all calls; whether any was refused."""
        had = bool(self._convicted)
        self._crashes, self._convicted = [], {}
        self._watch()
        return had

    def _lapse(self, now: float) -> None:
        before = len(self._crashes) + len(self._convicted)
        self._crashes = [crash for crash in self._crashes if now - crash.noted_at < WINDOW_S]
        self._convicted = {mark: each for mark, each in self._convicted.items() if now < each.until}
        if len(self._crashes) + len(self._convicted) != before:
            self._watch()

    def _watch(self) -> None:
        marks = [mark for crash in self._crashes for mark in crash.suspects] + list(self._convicted)
        self.watched = {mark.method: None for mark in marks}
