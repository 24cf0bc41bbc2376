"""When something that changed on disk may be acted upon: once it is at rest, and not too often. Pure.

Each place has a clock of its own, so that a plugin whose files never rest holds up nobody else. What
goes and comes back in time has only changed. Reads no clock: `now` is the caller's, and rises.
"""

from __future__ import annotations

import msgspec

from host.discovery.watch import Glance, Stamp, changed_code

__all__ = ["Debouncer", "Ready", "held_s"]

QUICK = 3
"""So many times in a row a place is acted upon as soon as it is at rest: somebody is working on it."""
HELD_FIRST_S = 10.0
HELD_MOST_S = 300.0
SOON_S = 10.0
"""Only a change that comes so soon after the last time counts as in a row: a person takes longer."""
RESTLESS_S = 30.0
"""One that keeps changing for so long is spoken of."""


def held_s(streak: int, quick: int = QUICK) -> float:
    """How long a place must wait after having been acted upon `streak` times in a row."""
    return 0.0 if streak < quick else min(HELD_FIRST_S * 2.0 ** min(streak - quick, 10), HELD_MOST_S)


class Ready(msgspec.Struct, frozen=True, kw_only=True):
    """A place at rest that is not as it was when it was last acted upon."""

    is_there: bool
    rested_s: float
    """For how long it has been as it is."""
    changed_file: str | None
    """Of its code, since it was dealt with or first seen; None if that is as it was."""


class _Place(msgspec.Struct):
    stamp: Stamp | None
    """None if it is not there."""
    since: float
    """When it was first seen like this."""
    settled: Stamp | None
    """What it was when it was last dealt with, or else when it was first seen."""
    unsettled_since: float
    is_known: bool = False
    """Whether it ever was dealt with."""
    acted_at: float = float("-inf")
    streak: int = 0
    is_told: bool = False
    """Whether it was said that nothing is done about it yet."""

    @property
    def is_settled(self) -> bool:
        return self.is_known and self.stamp == self.settled

    def free_at(self, quick: int) -> float:
        return self.acted_at + held_s(self.streak, quick)


class Debouncer:
    """`see` what there is, ask what is `due`, do it, and `settle` it."""

    def __init__(self) -> None:
        self.quick = QUICK
        """So many times in a row nothing is held."""
        self._places: dict[str, _Place] = {}

    def see(self, glance: Glance, now: float) -> None:
        """A place in a folder that is hidden is as it was, and not at rest: who knows what happens there."""
        for path, stamp in glance.stamps.items():
            if path not in self._places:
                self._places[path] = _Place(stamp, now, stamp, now)
            self._take(self._places[path], stamp, now)
        hidden = tuple(f"{folder}/" for folder in glance.hidden)
        for path, place in list(self._places.items()):
            if path in glance.stamps:
                continue
            if path.startswith(hidden):
                place.since = now
                continue
            self._take(place, None, now)
            if place.is_settled and now - place.acted_at > 2 * HELD_MOST_S:
                del self._places[path]

    def _take(self, place: _Place, stamp: Stamp | None, now: float) -> None:
        if place.stamp == stamp:
            return
        if place.is_settled:
            place.unsettled_since = now
        place.stamp, place.since = stamp, now
        if place.is_settled:  # it is again what it was
            place.is_told = False

    def due(self, now: float, debounce_s: float) -> dict[str, Ready]:
        """By path, whatever may be acted upon now."""
        return {
            path: Ready(
                is_there=place.stamp is not None,
                rested_s=now - place.since,
                changed_file=changed_code(place.settled, place.stamp),
            )
            for path, place in self._places.items()
            if not place.is_settled and now - place.since >= debounce_s and now >= place.free_at(self.quick)
        }

    def settle(self, path: str, now: float, *, acted: bool) -> None:
        """It is dealt with as it was seen last; `acted` if that had any effect."""
        place = self._places[path]
        if acted:
            is_soon = place.unsettled_since - place.acted_at < SOON_S
            place.streak = place.streak + 1 if is_soon else 1
            place.acted_at = now
        place.settled, place.is_known, place.is_told = place.stamp, True, False

    def is_at_rest(self, now: float, debounce_s: float) -> bool:
        """Whether nothing has changed so lately that it is not due for that reason alone."""
        return all(place.is_settled or now - place.since >= debounce_s for place in self._places.values())

    def newly_waiting(self, now: float, debounce_s: float) -> dict[str, str]:
        """By path, why a place has to wait for longer than the debounce: each is told once."""
        told = {}
        for path, place in self._places.items():
            if place.is_settled or place.is_told:
                continue
            free_at = place.free_at(self.quick)
            if now - place.since >= debounce_s and now < free_at:
                left_s = free_at - now
                told[path] = f"it changes again at once, {place.streak} times by now; next in {left_s:.0f} s"
            elif now - place.since < debounce_s and now - place.unsettled_since >= RESTLESS_S:
                told[path] = f"its files have not been at rest for {RESTLESS_S:g} s"
            else:
                continue
            place.is_told = True
        return told
