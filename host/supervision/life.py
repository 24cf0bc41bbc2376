"""A plugin's life, as the machine knows it. What may move it is in `life_events.py`."""

from __future__ import annotations

from typing import Literal

import msgspec

from host.supervision.restart import History
from host.supervision.states import State

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
