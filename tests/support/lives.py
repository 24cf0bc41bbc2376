"""A plugin's machine under a clock that is a number, and whatever may happen to it."""

from __future__ import annotations

from typing import Any, get_args

from hypothesis import strategies as st

from host.config.effective import PluginPolicy
from host.supervision import machine
from host.supervision.life import PROBATION, How, Lack, Life
from host.supervision.life_events import (
    Cleared,
    Concern,
    Condemned,
    Eased,
    Enable,
    Ended,
    EndGeneration,
    Idle,
    Lacks,
    Learn,
    LifeEvent,
    Met,
    NotNow,
    Spawn,
    Start,
    Started,
    Stop,
    Unfit,
    Woke,
)
from host.supervision.states import LIVE, SERVING, State
from tests.support.fake_clock import FakeClock

ANEW = Stop("anew", then=State.STARTING)
BAN = Stop("no more", then=State.DISABLED)
WORDS = [Start("go"), Stop("halt"), ANEW, BAN, Enable("again", start=True), Enable("may", start=False)]


class World:
    """A machine with a clock and a process that does what the machine commands, or asserts."""

    def __init__(self, policy: PluginPolicy | None = None) -> None:
        self.policy = policy or PluginPolicy()
        self.clock = FakeClock()
        self.life = Life()
        self.live: int | None = None
        self.asked_to_end = False
        self.wake_at: float | None = None
        self.generations: list[int] = []
        self.restarts: list[float] = []
        """Automatic ones, since somebody last asked for something."""
        self.visited = {self.life.state}

    def feed(self, event: LifeEvent) -> None:
        before = self.life
        self.asked_to_end |= self.live is not None and isinstance(event, Condemned)
        self.life, commands = machine.step(before, event, self.clock.now, self.policy)
        assert self.life.generation >= before.generation
        self.visited.add(self.life.state)
        for command in commands:
            if isinstance(command, Spawn):
                assert self.live is None, "two generations at once"
                assert command.generation == self.life.generation == before.generation + 1
                self.live, self.asked_to_end = command.generation, False
                self.generations.append(command.generation)
                if before.state is State.BACKOFF and isinstance(event, Woke):
                    self.restarts.append(self.clock.now)
            elif isinstance(command, EndGeneration):
                assert command.generation == self.live
                self.asked_to_end = True
            else:
                self.wake_at = command.at
        assert (self.life.state in LIVE) == (self.live is not None)
        assert not self.life.concerns or self.life.state in LIVE - {State.STOPPING}
        assert self.life.state not in SERVING or (
            (self.life.state is State.DEGRADED) == bool(self.life.concerns)
        )
        assert (self.life.probation_until is not None) == (PROBATION in dict(self.life.concerns))
        assert (self.life.state is State.STOPPING) == (self.live is not None and self.asked_to_end)

    def ask(self, event: Start | Stop) -> None:
        self.restarts.clear()
        self.feed(event)

    def say(self, event: Started | Ended | NotNow | Unfit) -> None:
        """From the live generation; all but `Started` are its last word."""
        if not isinstance(event, Started):
            self.live = None
        self.feed(event)

    def end(self, **how: Any) -> None:
        self.say(Ended(self.life.generation, "it died", **how))

    def sleep(self, seconds: float) -> None:
        until = self.clock.now + seconds
        while self.wake_at is not None and self.wake_at <= until:
            self.clock.advance(max(0.0, self.wake_at - self.clock.now))
            self.wake_at = None
            self.feed(Woke())
        self.clock.advance(until - self.clock.now)


def act(world: World, action: tuple[Any, ...]) -> None:
    """Does `action` if it can happen now; a process says only what its state allows."""
    kind, *arguments = action
    generation = world.life.generation
    if kind == "ask":
        world.ask(arguments[0])
    elif kind == "sleep":
        world.sleep(*arguments)
    elif kind == "woke":
        world.feed(Woke())
    elif kind == "cleared":
        world.feed(Cleared(generation, "there"))
    elif kind == "news":
        world.feed(arguments[0])
    elif world.live is None:
        return
    elif kind == "idle":
        world.feed(Idle(generation, "nobody calls"))
    elif kind == "concern":
        world.feed(Concern(generation, *arguments))
    elif kind == "eased":
        world.feed(Eased(generation, *arguments))
    elif kind == "condemned":
        world.feed(Condemned(generation, "too much"))
    elif kind == "started":
        if world.life.running_since is None and not world.asked_to_end:
            world.feed(Started(generation))
    elif kind == "ended":
        world.end(clean=arguments[0], luck=arguments[1])
    elif world.life.state not in SERVING:
        world.say(Unfit(generation, "no") if kind == "unfit" else NotNow(generation, "no", *arguments))


news = st.one_of(
    st.just(Learn()),
    st.just(Met()),
    st.builds(Lacks, st.builds(Lack, st.just("requires x"), st.sampled_from(["coming", "down", "gone"]))),
    st.just(Lacks(Lack("x -> x", "never"))),
)
actions = st.one_of(
    st.tuples(st.just("ask"), st.sampled_from(WORDS)),
    st.tuples(st.just("sleep"), st.floats(0, 400)),
    st.tuples(st.just("ended"), st.booleans(), st.floats(0, 1)),
    st.sampled_from([("woke",), ("started",), ("started",), ("unfit",), ("cleared",)]),
    st.sampled_from([("not_now", 3.0), ("not_now", None)]),
    st.tuples(st.just("concern"), st.sampled_from(["memory", "pings"]), st.sampled_from(["much", "more"])),
    st.tuples(st.just("eased"), st.sampled_from(["memory", "pings"])),
    st.just(("condemned",)),
)


def explored() -> dict[tuple[State, type], set[State]]:
    """Where each row of the table may lead, of all that can happen; a row that nothing leads to is missing.

    Breadth first from the first life on, under every restart policy.
    """
    found: dict[tuple[State, type], set[State]] = {}
    for restart_policy in ("on-failure", "always", "never"):
        for mode in ("eager", "lazy"):
            _explore(PluginPolicy(restart_policy=restart_policy, start_mode=mode, intensity=1), found)
    return found


def _explore(policy: PluginPolicy, found: dict[tuple[State, type], set[State]]) -> None:
    frontier = [Life()]
    seen = {_place(frontier[0])}
    while frontier:
        life = frontier.pop(0)
        now = life.probation_until or life.next_start_at or life.since
        for event in _whatever(life.generation):
            after, _ = machine.step(life, event, now, policy)
            row = (life.state, type(event))
            if row in machine.TABLE:
                found.setdefault(row, set()).add(after.state)
            if _place(after) not in seen:
                seen.add(_place(after))
                frontier.append(after)


def _place(life: Life) -> tuple[Any, ...]:
    """Lives that are alike in this do alike."""
    return (
        *(life.state, life.then, life.is_held, life.is_wanted, life.by_hand, life.is_probe),
        *(life.lacks, len(life.history.restarts), life.running_since is None),
        tuple(name for name, _ in life.concerns),
    )


def _whatever(generation: int) -> list[LifeEvent]:
    return [
        *WORDS,
        Learn(),
        *(Lacks(Lack("x", how)) for how in get_args(How)),
        Met(),
        Woke(),
        Started(generation),
        NotNow(generation, "no", 3.0),
        Cleared(generation, "there"),
        Unfit(generation, "no"),
        Concern(generation, "memory", "much"),
        Eased(generation, "memory"),
        Condemned(generation, "too much"),
        Idle(generation, "idle"),
        Ended(generation, "it died"),
        Ended(generation, "it ended", clean=True),
    ]
