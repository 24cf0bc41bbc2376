"""What may happen to a plugin's life: events. And what the machine wants done about it: commands.

Every event of a process carries its generation, a number that only rises.
"""

from __future__ import annotations

import msgspec

from host.observability.causes import Cause
from host.supervision.life import Lack
from host.supervision.states import State


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


LifeEvent = (
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
