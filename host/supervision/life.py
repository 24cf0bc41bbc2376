"""What the machine works on: a plugin's life, the events that may move it, and the commands that follow.

Every event of a process carries its generation, a number that only rises.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from host.observability.causes import Cause
from host.supervision.restart import History
from host.supervision.states import State

__all__ = [
    "PROBATION",
    "Cleared",
    "Command",
    "Concern",
    "Condemned",
    "Eased",
    "Enable",
    "EndGeneration",
    "Ended",
    "Event",
    "How",
    "Idle",
    "Lack",
    "Lacks",
    "Learn",
    "Life",
    "Met",
    "NotNow",
    "Spawn",
    "Start",
    "Started",
    "Stop",
    "Unfit",
    "WakeAt",
    "Woke",
]

PROBATION = "probation"
"""The concern about one that has just crashed: it has to stay up for a while before it is relied on."""


How = Literal["coming", "down", "gone", "never"]


class Lack(msgspec.Struct, frozen=True):
    """What a plugin requires and has not. Whatever it is, the plugin is not started without it."""

    reason: str
    how: How
    """`coming`: it is about to be there. `down`: it crashed, and is tried again. `gone`: not before somebody
    or something brings it back; one that runs is stopped. `never`: not with these files."""
    of: str = ""
    """The plugin that it is about, if there is one."""


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
    """While stopping: what it is to be afterwards: stopped, starting or disabled; backoff if condemned,
    waiting if it lacks something."""
    by_hand: bool = False
    """Stopped because somebody said so, and so for nobody but people to start again."""
    lacks: Lack | None = None
    """What it requires and has not, in whatever state it is."""
    is_held: bool = False
    """Waiting, or failed, for what it lacks and for nothing else."""
    probes: int = 0
    """Starts tried by ourselves since it was quarantined."""
    is_probe: bool = False
    """This start is one of them, and has not proved itself yet."""

    @property
    def is_lesson(self) -> bool:
        """Started though nobody wants it, to hear what it provides."""
        return self.state is State.STARTING and not self.is_wanted

    @property
    def may_be_woken(self) -> bool:
        """Down, or on its way there, only because nobody needs it: if it is lazy, a call may start it."""
        if self.state is State.STOPPED or (self.state is State.STOPPING and self.then is State.STOPPED):
            return not self.by_hand
        return self.is_lesson

    @property
    def is_coming(self) -> bool:
        """A start is under way, and worth waiting for."""
        if self.state is State.STOPPING:
            return self.then is State.STARTING
        if self.is_held and self.lacks is not None:
            return self.lacks.how == "coming"
        return self.state is State.STARTING


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


class Learn(msgspec.Struct, frozen=True):
    """Nobody knows yet what it provides: started once for that, and stopped as soon as it has said so."""


class Lacks(msgspec.Struct, frozen=True):
    """Something that it requires is not there, or not in the way it was not there before."""

    lack: Lack


class Met(msgspec.Struct, frozen=True):
    """Everything that it requires is there."""


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


class Idle(msgspec.Struct, frozen=True):
    """It is lazy, and nobody has called it for as long as its terms allow."""

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
    Start
    | Stop
    | Enable
    | Learn
    | Lacks
    | Met
    | Woke
    | Started
    | NotNow
    | Cleared
    | Unfit
    | Concern
    | Eased
    | Condemned
    | Idle
    | Ended
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
