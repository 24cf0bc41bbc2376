"""What each event does to a life in the states in which it means something: one function a transition. Pure.

Which function answers which event in which state is the table in `machine.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from host.config.effective import PluginPolicy
from host.supervision.life import PROBATION, Lack, Life
from host.supervision.life_events import (
    Cleared,
    Command,
    Concern,
    Condemned,
    Eased,
    Enable,
    Ended,
    EndGeneration,
    Idle,
    Lacks,
    Learn,
    Met,
    NotNow,
    Spawn,
    Start,
    Started,
    Stop,
    Unfit,
    WakeAt,
    Woke,
)
from host.supervision.restart import Again, History, after_crash, probation_s, probe_delay_s
from host.supervision.states import State

Step = tuple[Life, list[Command]]
Transition = Callable[[Life, Any, float, PluginPolicy], Step]

HAS_ALL = "what it requires is there"


def _enter(life: Life, state: State, reason: str, now: float, **changes: Any) -> Life:
    changes = {"next_start_at": None, "probation_until": None, "concerns": (), "is_held": False} | changes
    return msgspec.structs.replace(life, state=state, reason=reason, since=now, **changes)


def _begin(life: Life, reason: str, now: float, **changes: Any) -> Step:
    """A new process, unless it lacks what it requires: then it is held until that is there."""
    changes = {"by_hand": False, "running_since": None} | changes
    if life.lacks is not None:
        return _hold(life, life.lacks, now, **changes)
    generation = life.generation + 1
    begun = _enter(life, State.STARTING, reason, now, generation=generation, **changes)
    return begun, [Spawn(generation)]


def _hold(life: Life, lack: Lack, now: float, **changes: Any) -> Step:
    state = State.FAILED if lack.how == "never" else State.WAITING
    return _enter(life, state, lack.reason, now, is_held=True, lacks=lack, **changes), []


_CLEAN_RECORD: dict[str, Any] = {"history": History(), "probes": 0, "is_probe": False}


def start(life: Life, event: Start, now: float, policy: PluginPolicy) -> Step:
    return _begin(life, event.reason, now, is_wanted=True)


def release(life: Life, event: Start, now: float, policy: PluginPolicy) -> Step:
    # an operator's word clears the record
    return _begin(life, event.reason, now, is_wanted=True, **_CLEAN_RECORD)


def wake(life: Life, event: Woke, now: float, policy: PluginPolicy) -> Step:
    if life.next_start_at is None or now < life.next_start_at:
        return life, [] if life.next_start_at is None else [WakeAt(life.next_start_at)]
    crashes = life.crashes + (life.state is State.BACKOFF)
    return _begin(life, f"again, after: {life.reason}", now, crashes=crashes)


def probe(life: Life, event: Woke, now: float, policy: PluginPolicy) -> Step:
    if life.next_start_at is None or now < life.next_start_at:
        return life, [] if life.next_start_at is None else [WakeAt(life.next_start_at)]
    reason = f"a probe, number {life.probes + 1} since it was quarantined"
    return _begin(life, reason, now, probes=life.probes + 1, is_probe=True)


def learn(life: Life, event: Learn, now: float, policy: PluginPolicy) -> Step:
    if life.lacks is not None or not life.may_be_woken:
        return life, []
    return _begin(life, "to learn what it provides", now, is_wanted=False)


def want(life: Life, event: Start, now: float, policy: PluginPolicy) -> Step:
    """It is starting already, perhaps only to learn what it provides."""
    return life if life.is_wanted else msgspec.structs.replace(life, is_wanted=True), []


def lacks(life: Life, event: Lacks, now: float, policy: PluginPolicy) -> Step:
    """What it lacks counts at its next start, unless it is held by that already."""
    if life.is_held:
        return _hold(life, event.lack, now)
    return msgspec.structs.replace(life, lacks=event.lack), []


def lacks_while_up(life: Life, event: Lacks, now: float, policy: PluginPolicy) -> Step:
    life = msgspec.structs.replace(life, lacks=event.lack)
    if event.lack.how in ("coming", "down"):
        return life, []  # it comes back by itself, and calls in between fail by themselves
    stopping = _enter(life, State.STOPPING, event.lack.reason, now, then=State.WAITING)
    return stopping, [EndGeneration(life.generation)]


def met(life: Life, event: Met, now: float, policy: PluginPolicy) -> Step:
    has_all = msgspec.structs.replace(life, lacks=None)
    return _begin(has_all, HAS_ALL, now) if life.is_held else (has_all, [])


def idle(life: Life, event: Idle, now: float, policy: PluginPolicy) -> Step:
    return _sleep(life, event.reason, now)


def _sleep(life: Life, reason: str, now: float) -> Step:
    changes: dict[str, Any] = {"then": State.STOPPED, "by_hand": False, "is_wanted": False}
    return _enter(life, State.STOPPING, reason, now, **changes), [EndGeneration(life.generation)]


def started(life: Life, event: Started, now: float, policy: PluginPolicy) -> Step:
    if life.is_lesson:
        return _sleep(life, "what it provides is known; a call starts it", now)
    needed_s = probation_s(life.history, is_probe=life.is_probe)
    if not needed_s:
        return _serving(life, life.concerns, now, running_since=now), []
    until = now + needed_s
    what = "its quarantine" if life.is_probe else _crashes(life.history)
    concerns = ((PROBATION, f"on probation for {needed_s:g} s after {what}"), *life.concerns)
    return _serving(life, concerns, now, running_since=now, probation_until=until), [WakeAt(until)]


def _serving(life: Life, concerns: tuple[tuple[str, str], ...], now: float, **changes: Any) -> Life:
    """Running if nothing is wrong with it, else degraded; still since when it has been so."""
    state = State.DEGRADED if concerns else State.RUNNING
    reason = "; ".join(text for _, text in concerns)
    since = life.since if state is life.state else now
    changes = {"probation_until": life.probation_until} | changes
    return _enter(life, state, reason, since, concerns=concerns, **changes)


def _crashes(history: History) -> str:
    return "a crash" if history.streak == 1 else f"{history.streak} crashes in a row"


def proven(life: Life, event: Woke, now: float, policy: PluginPolicy) -> Step:
    if life.probation_until is None or now < life.probation_until:
        return life, [] if life.probation_until is None else [WakeAt(life.probation_until)]
    changes = _CLEAN_RECORD if life.is_probe else {}
    return _serving(life, _without(life, PROBATION), now, probation_until=None, **changes), []


def _without(life: Life, name: str) -> tuple[tuple[str, str], ...]:
    return tuple(concern for concern in life.concerns if concern[0] != name)


def concern(life: Life, event: Concern, now: float, policy: PluginPolicy) -> Step:
    concerns = tuple((dict(life.concerns) | {event.name: event.text}).items())
    if life.state is State.STARTING:  # it will be degraded as soon as it serves
        return msgspec.structs.replace(life, concerns=concerns), []
    return _serving(life, concerns, now), []


def eased(life: Life, event: Eased, now: float, policy: PluginPolicy) -> Step:
    if life.state is State.STARTING:
        return msgspec.structs.replace(life, concerns=_without(life, event.name)), []
    return _serving(life, _without(life, event.name), now), []


def condemned(life: Life, event: Condemned, now: float, policy: PluginPolicy) -> Step:
    return _enter(life, State.STOPPING, event.reason, now, then=State.BACKOFF), []


def not_now(life: Life, event: NotNow, now: float, policy: PluginPolicy) -> Step:
    if event.retry_after_s is None:
        return _enter(life, State.WAITING, event.reason, now), []
    at = now + event.retry_after_s
    return _enter(life, State.WAITING, event.reason, now, next_start_at=at), [WakeAt(at)]


def cleared(life: Life, event: Cleared, now: float, policy: PluginPolicy) -> Step:
    return _begin(life, event.reason, now)


def unfit(life: Life, event: Unfit, now: float, policy: PluginPolicy) -> Step:
    return _enter(life, State.FAILED, event.reason, now), []


def ended(life: Life, event: Ended, now: float, policy: PluginPolicy) -> Step:
    was_running = life.running_since is not None
    if event.clean and was_running and policy.restart_policy != "always":
        done = policy.restart_policy == "never" or policy.start_mode == "lazy"
        reason = "clean-exit: it ended by itself, and nobody asked"
        return _enter(life, State.STOPPED, reason, now, is_wanted=not done, by_hand=False), []
    if policy.restart_policy == "never":
        return _enter(life, State.FAILED, event.reason, now), []
    if life.is_probe:
        return _quarantine(life, f"the probe failed: {event.reason}", now, policy)
    up_s = now - life.running_since if life.running_since is not None else 0.0
    decided = after_crash(life.history, policy, now=now, up_s=up_s, luck=event.luck)
    if isinstance(decided, Again):
        at = now + decided.delay_s
        changes = {"history": decided.history, "next_start_at": at}
        return _enter(life, State.BACKOFF, event.reason, now, **changes), [WakeAt(at)]
    restarts = "1 restart" if decided.count == 1 else f"{decided.count} restarts"
    reason = f"{restarts} in {decided.span_s:.0f} s, the last after: {event.reason}"
    return _quarantine(life, reason, now, policy)


def _quarantine(life: Life, reason: str, now: float, policy: PluginPolicy) -> Step:
    at = now + probe_delay_s(policy, life.probes)
    return _enter(life, State.QUARANTINED, reason, now, next_start_at=at), [WakeAt(at)]


def stop(life: Life, event: Stop, now: float, policy: PluginPolicy) -> Step:
    wanted = event.then is State.STARTING
    changes = {"then": event.then, "is_wanted": wanted, "by_hand": event.then is State.STOPPED}
    stopping = _enter(life, State.STOPPING, event.reason, now, **changes)
    return stopping, [EndGeneration(life.generation)]


def stop_at_rest(life: Life, event: Stop, now: float, policy: PluginPolicy) -> Step:
    if event.then is State.STARTING:
        return _begin(life, event.reason, now, is_wanted=True, **_CLEAN_RECORD)
    changes = {"is_wanted": False, "by_hand": event.then is State.STOPPED} | _CLEAN_RECORD
    return _enter(life, event.then, event.reason, now, **changes), []


def change_mind(life: Life, event: Stop | Start, now: float, policy: PluginPolicy) -> Step:
    """While stopping: the last word counts, and the stop goes on. A start lifts no ban."""
    if isinstance(event, Stop):
        return _then(life, event.then, by_hand=event.then is State.STOPPED)
    return _then(life, life.then if life.then is State.DISABLED else State.STARTING)


def change_mind_about_ban(life: Life, event: Enable, now: float, policy: PluginPolicy) -> Step:
    if life.then is not State.DISABLED:
        return life, []
    return _then(life, State.STARTING if event.start else State.STOPPED)


def _then(life: Life, then: State, *, by_hand: bool = False) -> Step:
    wanted = then is State.STARTING
    return msgspec.structs.replace(life, then=then, is_wanted=wanted, by_hand=by_hand), []


_AS_IF_NOBODY_HAD_ASKED: dict[type, Transition] = {Ended: ended, Unfit: unfit, NotNow: not_now}


def stopped(life: Life, event: Ended | Unfit | NotNow, now: float, policy: PluginPolicy) -> Step:
    if life.then is State.BACKOFF:
        return _AS_IF_NOBODY_HAD_ASKED[type(event)](life, event, now, policy)
    if life.then is State.WAITING:  # by now it may be there again
        return _begin(life, HAS_ALL, now)
    if life.then is State.STARTING:
        return _begin(life, life.reason, now, **_CLEAN_RECORD)
    return _enter(life, life.then, life.reason, now, running_since=None, **_CLEAN_RECORD), []


def enable(life: Life, event: Enable, now: float, policy: PluginPolicy) -> Step:
    if event.start:
        return _begin(life, event.reason, now, is_wanted=True, **_CLEAN_RECORD)
    return _enter(life, State.STOPPED, event.reason, now, by_hand=False, **_CLEAN_RECORD), []
