"""What a plugin's supervisor does next: `step(life, event, now) -> (life, commands)`. Pure.

Every event of a process carries its generation, a number that only rises; what comes from an earlier
one changes nothing. The table at the end is the whole machine: what it does not list changes nothing
either. The idea is that of Dask's worker state machine: events in, instructions out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from host.config.effective import PluginPolicy
from host.observability.causes import Cause
from host.supervision.restart import Again, History, after_crash, probation_s, probe_delay_s
from host.supervision.states import State

PROBATION = "probation"
"""The concern about one that has just crashed: it has to stay up for a while before it is relied on."""


class Life(msgspec.Struct, frozen=True, kw_only=True):
    """Everything the machine knows of one plugin. Times are on the host's monotonic clock."""

    state: State = State.STOPPED
    reason: str = "not started yet"
    since: float = 0.0
    generation: int = 0
    history: History = History()
    crashes: int = 0
    """Restarts in this host's time, for `status`."""
    is_wanted: bool = False
    """Whether it ought to be running, as far as people and their configuration have said."""
    running_since: float | None = None
    """Since when it serves."""
    concerns: tuple[tuple[str, str], ...] = ()
    """What is wrong with it while it serves, as name and text, the oldest first. With any it is degraded."""
    probation_until: float | None = None
    """While `PROBATION` is a concern: when it will have stayed up for long enough."""
    next_start_at: float | None = None
    then: State = State.STOPPED
    """While stopping: what it is to be afterwards: stopped, starting or disabled; backoff if condemned."""
    probes: int = 0
    """Starts tried by ourselves since it was quarantined."""
    is_probe: bool = False
    """This start is one of them, and has not proved itself yet."""


# -- events --------------------------------------------------------------------------------------


class Start(msgspec.Struct, frozen=True):
    """Somebody wants it to run."""

    reason: str


class Stop(msgspec.Struct, frozen=True):
    """Somebody wants it not to run, or not as it runs now."""

    reason: str
    then: State = State.STOPPED
    """What it is to be afterwards: `stopped`, `disabled`, or `starting` for a new process."""


class Enable(msgspec.Struct, frozen=True):
    """It may run again; `start` says whether it does at once."""

    reason: str
    start: bool


class Woke(msgspec.Struct, frozen=True):
    """The time that `WakeAt` named has come."""


class Started(msgspec.Struct, frozen=True):
    """The handshake is done and the author's start code has run."""

    generation: int


class NotNow(msgspec.Struct, frozen=True):
    """It cannot start as things are; nobody's crash. Tried again in `retry_after_s`; None: when `Cleared`.

    Also while it waits: what it waits for will not come so soon.
    """

    generation: int
    reason: str
    retry_after_s: float | None = 5.0
    cause: Cause | None = None


class Cleared(msgspec.Struct, frozen=True):
    """What it waits for is there."""

    generation: int
    reason: str


class Unfit(msgspec.Struct, frozen=True):
    """It and this host do not fit; trying again changes nothing."""

    generation: int
    reason: str
    cause: Cause | None = None


class Concern(msgspec.Struct, frozen=True):
    """Something is wrong with it and it still serves; holds until `Eased`. Again: a new text for it."""

    generation: int
    name: str
    text: str


class Eased(msgspec.Struct, frozen=True):
    """The concern of that name is over."""

    generation: int
    name: str


class Condemned(msgspec.Struct, frozen=True):
    """It is being killed for what it did; `Ended` follows, and counts as a crash."""

    generation: int
    reason: str


class Ended(msgspec.Struct, frozen=True):
    """Its process is gone and has been reaped."""

    generation: int
    reason: str
    clean: bool = False
    """Exit code 0."""
    luck: float = 0.5
    cause: Cause | None = None


Event = (
    Start | Stop | Enable | Woke | Started | NotNow | Cleared | Unfit | Concern | Eased | Condemned | Ended
)


# -- commands ------------------------------------------------------------------------------------


class Spawn(msgspec.Struct, frozen=True):
    """Begin this generation."""

    generation: int


class EndGeneration(msgspec.Struct, frozen=True):
    """Take it down the ladder; `Ended` follows."""

    generation: int


class WakeAt(msgspec.Struct, frozen=True):
    """`Woke` is wanted at this time. The last one counts."""

    at: float


Command = Spawn | EndGeneration | WakeAt
Step = tuple[Life, list[Command]]


def step(life: Life, event: Event, now: float, policy: PluginPolicy) -> Step:
    """The next life, and what to do about it. Never raises."""
    generation = getattr(event, "generation", None)
    if generation is not None and generation != life.generation:
        return life, []  # from an earlier life
    handler = TABLE.get((life.state, type(event)))
    return handler(life, event, now, policy) if handler else (life, [])


def _enter(life: Life, state: State, reason: str, now: float, **changes: Any) -> Life:
    changes = {"next_start_at": None, "probation_until": None, "concerns": ()} | changes
    return msgspec.structs.replace(life, state=state, reason=reason, since=now, **changes)


def _begin(life: Life, reason: str, now: float, **changes: Any) -> Step:
    generation = life.generation + 1
    begun = _enter(life, State.STARTING, reason, now, generation=generation, running_since=None, **changes)
    return begun, [Spawn(generation)]


_CLEAN_RECORD: dict[str, Any] = {"history": History(), "probes": 0, "is_probe": False}


def _start(life: Life, event: Start, now: float, policy: PluginPolicy) -> Step:
    return _begin(life, event.reason, now, is_wanted=True)


def _release(life: Life, event: Start, now: float, policy: PluginPolicy) -> Step:
    # an operator's word clears the record
    return _begin(life, event.reason, now, is_wanted=True, **_CLEAN_RECORD)


def _wake(life: Life, event: Woke, now: float, policy: PluginPolicy) -> Step:
    if life.next_start_at is None or now < life.next_start_at:
        return life, [] if life.next_start_at is None else [WakeAt(life.next_start_at)]
    crashes = life.crashes + (life.state is State.BACKOFF)
    return _begin(life, f"again, after: {life.reason}", now, crashes=crashes)


def _probe(life: Life, event: Woke, now: float, policy: PluginPolicy) -> Step:
    if life.next_start_at is None or now < life.next_start_at:
        return life, [] if life.next_start_at is None else [WakeAt(life.next_start_at)]
    reason = f"a probe, number {life.probes + 1} since it was quarantined"
    return _begin(life, reason, now, probes=life.probes + 1, is_probe=True)


def _started(life: Life, event: Started, now: float, policy: PluginPolicy) -> Step:
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


def _proven(life: Life, event: Woke, now: float, policy: PluginPolicy) -> Step:
    if life.probation_until is None or now < life.probation_until:
        return life, [] if life.probation_until is None else [WakeAt(life.probation_until)]
    changes = _CLEAN_RECORD if life.is_probe else {}
    return _serving(life, _without(life, PROBATION), now, probation_until=None, **changes), []


def _without(life: Life, name: str) -> tuple[tuple[str, str], ...]:
    return tuple(concern for concern in life.concerns if concern[0] != name)


def _concern(life: Life, event: Concern, now: float, policy: PluginPolicy) -> Step:
    concerns = tuple((dict(life.concerns) | {event.name: event.text}).items())
    if life.state is State.STARTING:  # it will be degraded as soon as it serves
        return msgspec.structs.replace(life, concerns=concerns), []
    return _serving(life, concerns, now), []


def _eased(life: Life, event: Eased, now: float, policy: PluginPolicy) -> Step:
    if life.state is State.STARTING:
        return msgspec.structs.replace(life, concerns=_without(life, event.name)), []
    return _serving(life, _without(life, event.name), now), []


def _condemned(life: Life, event: Condemned, now: float, policy: PluginPolicy) -> Step:
    return _enter(life, State.STOPPING, event.reason, now, then=State.BACKOFF), []


def _not_now(life: Life, event: NotNow, now: float, policy: PluginPolicy) -> Step:
    if event.retry_after_s is None:
        return _enter(life, State.WAITING, event.reason, now), []
    at = now + event.retry_after_s
    return _enter(life, State.WAITING, event.reason, now, next_start_at=at), [WakeAt(at)]


def _cleared(life: Life, event: Cleared, now: float, policy: PluginPolicy) -> Step:
    return _begin(life, event.reason, now)


def _unfit(life: Life, event: Unfit, now: float, policy: PluginPolicy) -> Step:
    return _enter(life, State.FAILED, event.reason, now), []


def _ended(life: Life, event: Ended, now: float, policy: PluginPolicy) -> Step:
    was_running = life.running_since is not None
    if event.clean and was_running and policy.restart_policy != "always":
        done = policy.restart_policy == "never" or policy.start_mode == "lazy"
        reason = "clean-exit: it ended by itself, and nobody asked"
        return _enter(life, State.STOPPED, reason, now, is_wanted=not done), []
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
    reason = f"{decided.count} restarts in {decided.span_s:.0f} s, the last after: {event.reason}"
    return _quarantine(life, reason, now, policy)


def _quarantine(life: Life, reason: str, now: float, policy: PluginPolicy) -> Step:
    at = now + probe_delay_s(policy, life.probes)
    return _enter(life, State.QUARANTINED, reason, now, next_start_at=at), [WakeAt(at)]


def _stop(life: Life, event: Stop, now: float, policy: PluginPolicy) -> Step:
    wanted = event.then is State.STARTING
    stopping = _enter(life, State.STOPPING, event.reason, now, then=event.then, is_wanted=wanted)
    return stopping, [EndGeneration(life.generation)]


def _stop_at_rest(life: Life, event: Stop, now: float, policy: PluginPolicy) -> Step:
    if event.then is State.STARTING:
        return _begin(life, event.reason, now, is_wanted=True, **_CLEAN_RECORD)
    return _enter(life, event.then, event.reason, now, is_wanted=False, **_CLEAN_RECORD), []


def _change_mind(life: Life, event: Stop | Start, now: float, policy: PluginPolicy) -> Step:
    """While stopping: the last word counts, and the stop goes on. A start lifts no ban."""
    if isinstance(event, Stop):
        return _then(life, event.then)
    return _then(life, life.then if life.then is State.DISABLED else State.STARTING)


def _change_mind_about_ban(life: Life, event: Enable, now: float, policy: PluginPolicy) -> Step:
    if life.then is not State.DISABLED:
        return life, []
    return _then(life, State.STARTING if event.start else State.STOPPED)


def _then(life: Life, then: State) -> Step:
    return msgspec.structs.replace(life, then=then, is_wanted=then is State.STARTING), []


def _stopped(life: Life, event: Ended | Unfit | NotNow, now: float, policy: PluginPolicy) -> Step:
    if life.then is State.BACKOFF:
        return TABLE[State.STARTING, type(event)](life, event, now, policy)
    if life.then is State.STARTING:
        return _begin(life, life.reason, now, **_CLEAN_RECORD)
    return _enter(life, life.then, life.reason, now, running_since=None, **_CLEAN_RECORD), []


def _enable(life: Life, event: Enable, now: float, policy: PluginPolicy) -> Step:
    if event.start:
        return _begin(life, event.reason, now, is_wanted=True, **_CLEAN_RECORD)
    return _enter(life, State.STOPPED, event.reason, now, **_CLEAN_RECORD), []


Handler = Callable[[Life, Any, float, PluginPolicy], Step]

_AT_REST = (State.STOPPED, State.WAITING, State.BACKOFF, State.QUARANTINED, State.FAILED)
_UP = (State.STARTING, State.RUNNING, State.DEGRADED)

TABLE: dict[tuple[State, type], Handler] = {
    (State.STOPPED, Start): _start,
    (State.WAITING, Start): _start,
    (State.BACKOFF, Start): _start,
    (State.FAILED, Start): _start,
    (State.QUARANTINED, Start): _release,
    (State.WAITING, Woke): _wake,
    (State.WAITING, NotNow): _not_now,
    (State.WAITING, Cleared): _cleared,
    (State.BACKOFF, Woke): _wake,
    (State.QUARANTINED, Woke): _probe,
    (State.DEGRADED, Woke): _proven,
    (State.STARTING, Started): _started,
    (State.STARTING, NotNow): _not_now,
    (State.STARTING, Unfit): _unfit,
    **{(state, Concern): _concern for state in _UP},
    **{(state, Eased): _eased for state in _UP},
    **{(state, Condemned): _condemned for state in _UP},
    **{(state, Ended): _ended for state in _UP},
    **{(state, Stop): _stop for state in _UP},
    **{(state, Stop): _stop_at_rest for state in _AT_REST},
    (State.STOPPING, Start): _change_mind,
    (State.STOPPING, Stop): _change_mind,
    (State.STOPPING, Enable): _change_mind_about_ban,
    (State.STOPPING, Ended): _stopped,
    (State.STOPPING, Unfit): _stopped,
    (State.STOPPING, NotNow): _stopped,
    (State.DISABLED, Enable): _enable,
}
