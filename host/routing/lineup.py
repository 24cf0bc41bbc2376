"""Who implements a point now, in what order, and who is left out: a picture that never changes.

A dispatch works from one lineup to its end. Whatever comes or goes meanwhile makes another lineup for the
next dispatch, so that none is ever torn. Pure: reads what the supervisors say of themselves.

A plugin that ought to run and does not is in the lineup, and fails when it is asked: what a failure
costs is the point's to say, and a crash must not decide it. One that an operator stopped or disabled
is left out; one that sleeps, because nobody needed it, is asked and so woken. Of one that has never run
with this code, under this host or another, nobody knows what it implements.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import get_args

import msgspec

from host.config.model import OnError
from host.routing.admission import Verdict, admit
from host.routing.extension_points import Point
from host.routing.order import order
from host.routing.point_fit import unfit
from host.supervision.states import SERVING
from host.supervision.supervisor import Supervisor
from protocol.filters import Filter, read_filter
from protocol.lifecycle import HookInfo

__all__ = ["Implementation", "LeftOut", "Lineup", "circular", "hooks_of", "make_lineup"]

MAX_HOOKS = 256
"""Of one plugin; what it declares beyond that is not looked at."""


class Implementation(msgspec.Struct, frozen=True, kw_only=True):
    """One plugin's place in a lineup."""

    supervisor: Supervisor
    info: HookInfo
    why: str
    """Why it stands where it stands."""
    on_error: OnError
    filter: Filter | None
    """None: asked whatever the params are."""
    refused: str | None = None
    """Why it is not asked, and counts as having failed: the circle that its wishes are part of."""

    @property
    def plugin(self) -> str:
        return self.supervisor.name


class LeftOut(msgspec.Struct, frozen=True):
    plugin: str
    why: str


class Lineup(msgspec.Struct, frozen=True, kw_only=True):
    point: Point
    implementations: tuple[Implementation, ...]
    """In order. The refused ones come first, so that a point which fails does so before it did anything."""
    left_out: tuple[LeftOut, ...]
    unasked: tuple[Supervisor, ...]
    """Lazy plugins of which nobody knows what they implement: that is known once they have run."""
    unknown: tuple[LeftOut, ...]
    """Others of which nobody knows it."""
    problems: tuple[tuple[str, str], ...]
    """(plugin, what is wrong with what it says of its hook)."""


def make_lineup(point: Point, supervisors: Iterable[Supervisor]) -> Lineup:
    hooks: dict[str, HookInfo] = {}
    present: dict[str, Supervisor] = {}
    left_out: list[LeftOut] = []
    unasked: list[Supervisor] = []
    unknown: list[LeftOut] = []
    for supervisor in supervisors:
        name, absence = supervisor.name, _absence(supervisor)
        info = next((hook for hook in hooks_of(supervisor) if hook.point == point.name), None)
        if info is not None and (misfit := _misfit(point, supervisor, info)):
            left_out.append(LeftOut(name, misfit))
        elif info is not None and absence is None:
            hooks[name], present[name] = info, supervisor
        elif info is not None:
            left_out.append(LeftOut(name, absence or ""))
        elif _is_unasked(supervisor):
            unasked.append(supervisor)
        elif _has_said_nothing(supervisor):
            unknown.append(LeftOut(name, _state_of(supervisor)))
    problems: list[tuple[str, str]] = []
    ordered = order(hooks)
    made = [
        _implementation(point, present[name], hooks[name], str(circle), problems, is_refused=True)
        for circle in ordered.circles
        for name in sorted(circle.refused)
    ]
    made += [
        _implementation(point, present[place.plugin], hooks[place.plugin], place.why, problems)
        for place in ordered.places
    ]
    return Lineup(
        point=point,
        implementations=tuple(made),
        left_out=tuple(sorted(left_out, key=lambda left: left.plugin)),
        unasked=tuple(unasked),
        unknown=tuple(sorted(unknown, key=lambda left: left.plugin)),
        problems=tuple(problems),
    )


def hooks_of(supervisor: Supervisor) -> list[HookInfo]:
    """What it has said that it implements, the last time it ran."""
    return supervisor.offer.provides.hooks[:MAX_HOOKS]


def circular(circle: str) -> str:
    return f"its before and after run in a circle: {circle}"


def _implementation(
    point: Point,
    supervisor: Supervisor,
    info: HookInfo,
    why: str,
    problems: list[tuple[str, str]],
    *,
    is_refused: bool = False,
) -> Implementation:
    filter = None
    if info.when is not None:
        try:
            filter = read_filter(info.when)
        except ValueError as problem:
            problems.append((supervisor.name, f"its filter cannot be read, and counts as fitting: {problem}"))
    if info.on_error is not None and info.on_error not in get_args(OnError):
        problems.append((supervisor.name, f"its on_error is {info.on_error[:40]!r}, which means nothing"))
    return Implementation(
        supervisor=supervisor,
        info=info,
        why=why,
        on_error=point.on_error_for(info.on_error),
        filter=filter,
        refused=why if is_refused else None,
    )


def _misfit(point: Point, supervisor: Supervisor, info: HookInfo) -> str | None:
    """Of one that would be refused if it were started: known from an earlier host, whose point fitted."""
    if supervisor.life.state in SERVING or not point.is_declared:
        return None  # looked at when it was loaded
    lines = unfit(point, info)
    more = f", and {len(lines) - 1} more" if len(lines) > 1 else ""
    return f"its hook does not fit: {lines[0]}{more}" if lines else None


def _absence(supervisor: Supervisor) -> str | None:
    """Why a plugin is no part of any dispatch; None for one that is, also if it is down just now."""
    life = supervisor.life
    asleep = supervisor.policy.start_mode == "lazy" and life.may_be_woken
    return None if life.is_wanted or asleep else _state_of(supervisor)


def _state_of(supervisor: Supervisor) -> str:
    life = supervisor.life
    return f"{life.state}: {life.reason}" if life.reason else str(life.state)


def _has_said_nothing(supervisor: Supervisor) -> bool:
    return supervisor.life.state not in SERVING and not supervisor.is_known


def _is_unasked(supervisor: Supervisor) -> bool:
    if supervisor.policy.start_mode != "lazy" or supervisor.is_known:
        return False
    return admit(supervisor.life, idempotent=False, lazy=True) in (Verdict.WAKE, Verdict.WAIT)
