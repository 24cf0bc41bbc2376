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
from host.supervision.restart import Again, History, after_crash
from host.supervision.states import State


class Life(msgspec.Struct, frozen=True, kw_only=True):
    """Everything the machine knows of one plugin. Times are on the host's monotonic clock."""

    state: State = State.STOPPED
    reason: str = "not started yet"
    since: float = 0.0
    generation: int = 0
    history: History = History()
    crashes: int = 0
    """Restarts in this host's time, for `status`."""
    running_since: float | None = None
    next_start_at: float | None = None
    start_again: bool = False
    """While stopping: whether a start follows."""


# -- events --------------------------------------------------------------------------------------


class Start(msgspec.Struct, frozen=True):
    """Somebody wants it to run."""

    reason: str


class Stop(msgspec.Struct, frozen=True):
    """Somebody wants it not to run."""

    reason: str
    again: bool = False
    """Start it again afterwards."""


class Woke(msgspec.Struct, frozen=True):
    """The time that `WakeAt` named has come."""


class Started(msgspec.Struct, frozen=True):
    """The handshake is done and the author's start code has run."""

    generation: int


class NotNow(msgspec.Struct, frozen=True):
    """It cannot start as things are; nobody's crash. Tried again in `retry_after_s`."""

    generation: int
    reason: str
    retry_after_s: float = 5.0


class Unfit(msgspec.Struct, frozen=True):
    """It and this host do not fit; trying again changes nothing."""

    generation: int
    reason: str


class Ended(msgspec.Struct, frozen=True):
    """Its process is gone and has been reaped."""

    generation: int
    reason: str
    clean: bool = False
    """Exit code 0."""
    luck: float = 0.5


Event = Start | Stop | Woke | Started | NotNow | Unfit | Ended


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
    changes.setdefault("next_start_at", None)
    return msgspec.structs.replace(life, state=state, reason=reason, since=now, **changes)


def _begin(life: Life, reason: str, now: float, **changes: Any) -> Step:
    generation = life.generation + 1
    begun = _enter(life, State.STARTING, reason, now, generation=generation, running_since=None, **changes)
    return begun, [Spawn(generation)]


def _start(life: Life, event: Start, now: float, policy: PluginPolicy) -> Step:
    return _begin(life, event.reason, now)


def _release(life: Life, event: Start, now: float, policy: PluginPolicy) -> Step:
    return _begin(life, event.reason, now, history=History())  # an operator's word clears the record


def _wake(life: Life, event: Woke, now: float, policy: PluginPolicy) -> Step:
    if life.next_start_at is None or now < life.next_start_at:
        return life, [] if life.next_start_at is None else [WakeAt(life.next_start_at)]
    return _begin(life, life.reason, now, crashes=life.crashes + (life.state is State.BACKOFF))


def _started(life: Life, event: Started, now: float, policy: PluginPolicy) -> Step:
    return _enter(life, State.RUNNING, "", now, running_since=now), []


def _not_now(life: Life, event: NotNow, now: float, policy: PluginPolicy) -> Step:
    at = now + event.retry_after_s
    return _enter(life, State.WAITING, event.reason, now, next_start_at=at), [WakeAt(at)]


def _unfit(life: Life, event: Unfit, now: float, policy: PluginPolicy) -> Step:
    return _enter(life, State.FAILED, event.reason, now), []


def _ended(life: Life, event: Ended, now: float, policy: PluginPolicy) -> Step:
    was_running = life.running_since is not None
    if event.clean and was_running and policy.restart_policy != "always":
        return _enter(life, State.STOPPED, "clean-exit: it ended by itself, and nobody asked", now), []
    if policy.restart_policy == "never":
        return _enter(life, State.FAILED, event.reason, now), []
    up_s = now - life.running_since if life.running_since is not None else 0.0
    decided = after_crash(life.history, policy, now=now, up_s=up_s, luck=event.luck)
    if isinstance(decided, Again):
        at = now + decided.delay_s
        changes = {"history": decided.history, "next_start_at": at}
        return _enter(life, State.BACKOFF, event.reason, now, **changes), [WakeAt(at)]
    reason = f"{decided.count} restarts in {decided.span_s:.0f} s, the last after: {event.reason}"
    return _enter(life, State.QUARANTINED, reason, now), []


def _stop(life: Life, event: Stop, now: float, policy: PluginPolicy) -> Step:
    stopping = _enter(life, State.STOPPING, event.reason, now, start_again=event.again)
    return stopping, [EndGeneration(life.generation)]


def _stop_at_rest(life: Life, event: Stop, now: float, policy: PluginPolicy) -> Step:
    if event.again:
        return _begin(life, event.reason, now, history=History())
    return _enter(life, State.STOPPED, event.reason, now), []


def _change_mind(life: Life, event: Stop | Start, now: float, policy: PluginPolicy) -> Step:
    """While stopping: the last word counts, and the stop goes on."""
    again = event.again if isinstance(event, Stop) else True
    return msgspec.structs.replace(life, start_again=again), []


def _stopped(life: Life, event: Ended | Unfit | NotNow, now: float, policy: PluginPolicy) -> Step:
    if life.start_again:
        return _begin(life, life.reason, now, start_again=False, history=History())
    return _enter(life, State.STOPPED, life.reason, now, running_since=None), []


Handler = Callable[[Life, Any, float, PluginPolicy], Step]

TABLE: dict[tuple[State, type], Handler] = {
    (State.STOPPED, Start): _start,
    (State.STOPPED, Stop): _stop_at_rest,
    (State.STARTING, Started): _started,
    (State.STARTING, NotNow): _not_now,
    (State.STARTING, Unfit): _unfit,
    (State.STARTING, Ended): _ended,
    (State.STARTING, Stop): _stop,
    (State.RUNNING, Ended): _ended,
    (State.RUNNING, Stop): _stop,
    (State.STOPPING, Ended): _stopped,
    (State.STOPPING, Unfit): _stopped,
    (State.STOPPING, NotNow): _stopped,
    (State.STOPPING, Start): _change_mind,
    (State.STOPPING, Stop): _change_mind,
    (State.WAITING, Woke): _wake,
    (State.WAITING, Start): _start,
    (State.WAITING, Stop): _stop_at_rest,
    (State.BACKOFF, Woke): _wake,
    (State.BACKOFF, Start): _start,
    (State.BACKOFF, Stop): _stop_at_rest,
    (State.QUARANTINED, Start): _release,
    (State.QUARANTINED, Stop): _stop_at_rest,
    (State.DISABLED, Start): _start,
    (State.FAILED, Start): _start,
    (State.FAILED, Stop): _stop_at_rest,
}
