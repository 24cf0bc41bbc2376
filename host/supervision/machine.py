"""What a plugin's supervisor does next: `step(life, event, now) -> (life, commands)`. Pure.

Every event of a process carries its generation, a number that only rises; what comes from an earlier
one changes nothing. The table is the whole machine: what it does not list changes nothing either; what it
lists is in `transitions.py`. The idea is that of Dask's worker state machine: events in, instructions out.
"""

from __future__ import annotations

from host.config.effective import PluginPolicy
from host.supervision import transitions
from host.supervision.life import Life
from host.supervision.life_events import (
    Cleared,
    Concern,
    Condemned,
    Eased,
    Enable,
    Ended,
    Idle,
    Lacks,
    Learn,
    LifeEvent,
    Met,
    NotNow,
    Start,
    Started,
    Stop,
    Unfit,
    Woke,
)
from host.supervision.states import State
from host.supervision.transitions import Step, Transition


def step(life: Life, event: LifeEvent, now: float, policy: PluginPolicy) -> Step:
    """The next life, and what to do about it. Never raises."""
    generation = getattr(event, "generation", None)
    if generation is not None and generation != life.generation:
        return life, []  # from an earlier life
    transition = TABLE.get((life.state, type(event)))
    return transition(life, event, now, policy) if transition else (life, [])


_DOWN = (State.STOPPED, State.WAITING, State.BACKOFF, State.QUARANTINED, State.FAILED)
_UP = (State.STARTING, State.RUNNING, State.DEGRADED)

TABLE: dict[tuple[State, type], Transition] = {
    (State.STOPPED, Start): transitions.start,
    (State.WAITING, Start): transitions.start,
    (State.BACKOFF, Start): transitions.start,
    (State.FAILED, Start): transitions.start,
    (State.QUARANTINED, Start): transitions.release,
    (State.WAITING, Woke): transitions.wake,
    (State.WAITING, NotNow): transitions.not_now,
    (State.WAITING, Cleared): transitions.cleared,
    (State.BACKOFF, Woke): transitions.wake,
    (State.QUARANTINED, Woke): transitions.probe,
    (State.DEGRADED, Woke): transitions.proven,
    (State.STOPPED, Learn): transitions.learn,
    (State.STARTING, Start): transitions.want,
    (State.STARTING, Started): transitions.started,
    **{(state, NotNow): transitions.not_now for state in _UP},  # also one that ran: exit codes 75 and 78
    **{(state, Unfit): transitions.unfit for state in _UP},
    **{(state, Concern): transitions.concern for state in _UP},
    **{(state, Eased): transitions.eased for state in _UP},
    **{(state, Condemned): transitions.condemned for state in _UP},
    (State.RUNNING, Idle): transitions.idle,
    (State.DEGRADED, Idle): transitions.idle,
    **{(state, Lacks): transitions.lacks for state in State},
    **{(state, Lacks): transitions.lacks_while_up for state in _UP},
    **{(state, Met): transitions.met for state in State},
    **{(state, Ended): transitions.ended for state in _UP},
    **{(state, Stop): transitions.stop for state in _UP},
    **{(state, Stop): transitions.stop_at_rest for state in _DOWN},
    (State.STOPPING, Start): transitions.change_mind,
    (State.STOPPING, Stop): transitions.change_mind,
    (State.STOPPING, Enable): transitions.change_mind_about_ban,
    (State.STOPPING, Ended): transitions.stopped,
    (State.STOPPING, Unfit): transitions.stopped,
    (State.STOPPING, NotNow): transitions.stopped,
    (State.DISABLED, Enable): transitions.enable,
}
