"""The shell around the machine: one task per plugin, which alone moves that plugin's life.

Everybody else posts events and reads `life`. The task feeds the machine, does what it commands, and
wakes whoever waits for a state. It outlives every generation and every caller's cancellation.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

import anyio
import anyio.abc

from host.config.effective import PluginPolicy
from host.discovery.validate import Candidate
from host.observability.bus import Bus
from host.observability.causes import Cause
from host.observability.events import (
    PluginLogged,
    PluginProblem,
    ProcessesLeaked,
    ProcessesSwept,
    StateChanged,
)
from host.observability.metrics import PluginStats
from host.process.link import Link
from host.process.tree import Swept
from host.supervision import machine
from host.supervision.generation import Generation, Surroundings
from host.supervision.health import is_alive
from host.supervision.machine import Life
from host.supervision.poison import Poison
from host.supervision.states import AT_REST, SERVING, SETTLED, State
from host.supervision.voice import one_line
from protocol.lifecycle import LogRecord, Provides

MAX_EVENTS = 256
KEPT_CAUSES = 10
KEPT_CHANGES = 40
LONGEST_TIMEOUT_S = 86400.0
_WORDS = (machine.Start, machine.Stop, machine.Enable)
"""What somebody asks for, as against what happened."""


class Supervisor:
    """One plugin, as the rest of the host sees it."""

    def __init__(
        self,
        candidate: Candidate,
        policy: PluginPolicy,
        around: Surroundings,
        bus: Bus,
        *,
        life: Life,
        causes: Sequence[Cause] = (),
        is_needed: Callable[[str], bool],
        on_introduced: Callable[[Supervisor], None],
    ) -> None:
        self.candidate = candidate
        self.policy = policy
        self.life = life
        self.since_unix = time.time() - max(0.0, around.driver.now() - life.since)
        self.stats = PluginStats()
        self.provides = Provides()
        """Of the last generation that got as far as saying so, or of an earlier host's, of the same code."""
        self.is_known = False
        """Whether anybody knows what it provides."""
        self.timeouts: dict[str, float] = {}
        """What its methods say they need, for callers who do not say; seconds."""
        self.idempotent: frozenset[str] = frozenset()
        """Methods that may be called twice, as they say."""
        self.poison = Poison()
        """What is known of calls that kill it."""
        self.causes: deque[Cause] = deque(causes, maxlen=KEPT_CAUSES)
        """How its generations ended, the newest last."""
        self.changes: deque[StateChanged] = deque(maxlen=KEPT_CHANGES)
        """The states it has been in, the newest last."""
        self.leaving = False
        self._last_word_said = False
        self._around = around
        self._bus = bus
        self._generation: Generation | None = None
        self._events: deque[machine.Event] = deque()
        self._posted = anyio.Event()
        self._changed = anyio.Event()
        self._wake_at = life.next_start_at
        self._is_needed = is_needed
        self._on_introduced = on_introduced

    @property
    def name(self) -> str:
        return self.candidate.manifest.plugin.name

    @property
    def link(self) -> Link | None:
        """Where calls go; None unless the plugin serves."""
        generation = self._generation
        return generation.link if generation is not None and self.life.state in SERVING else None

    @property
    def generation(self) -> Generation | None:
        """The one that has a process, or had the last."""
        return self._generation

    @property
    def takes_settings(self) -> bool:
        """Whether it serves, and takes other settings while it does."""
        return self.link is not None and "config" in self._generation.features  # type: ignore[union-attr]

    @property
    def spawned_at(self) -> float | None:
        """When its last process was started, Unix time; None if it had none."""
        child = self._generation.child if self._generation is not None else None
        return child.started_at if child is not None else None

    @property
    def starts_by_itself(self) -> bool:
        """Without being called or asked to."""
        return self.policy.start_mode == "eager" and self.life.state is State.STOPPED

    @property
    def is_asleep(self) -> bool:
        """Lazy, and down for no other reason: its first call starts it."""
        lazy = self.policy.start_mode == "lazy" and self.policy.enabled
        return lazy and self.life.state is State.STOPPED and self.life.may_be_woken

    @property
    def is_to_be_introduced(self) -> bool:
        return self.is_asleep and not self.is_known

    @property
    def is_up(self) -> bool:
        """Whether it serves and can be relied on: not on probation after a crash."""
        return self.life.state in SERVING and self.life.probation_until is None

    # -- what others say -----------------------------------------------------------------------

    def post(self, event: machine.Event) -> None:
        """Never blocks. The bound is for what is asked; what a generation says is never lost."""
        if self.leaving:
            return
        if isinstance(event, _WORDS):
            last = self._events[-1] if self._events else None
            if self._last_word_said or last == event:  # nobody needs to be told twice
                return
            if len(self._events) >= MAX_EVENTS and isinstance(last, _WORDS):
                self._events.pop()  # of so many words the last one counts
        if isinstance(event, machine.Ended | machine.Unfit | machine.NotNow) and event.cause is not None:
            if not (event.cause.kind == "asked" and self.life.may_be_woken):
                self.causes.append(event.cause)  # that one goes to sleep would push out what went wrong
            self.stats.note_end(event.cause.kind)
            self._blame(event.cause)
        self._events.append(event)
        self._posted.set()

    async def start(self, reason: str) -> None:
        """Wants it to run, and waits until it does or it is clear that it does not."""
        link = self.link
        self.post(machine.Start(reason))
        await self.wait_until(_has_arrived)
        if link is not None and link is self.link and not await is_alive(link, self._around.driver):
            # It died a moment ago, and that is about to be noticed; what follows is what counts.
            await self.wait_until(lambda life: life.state not in SERVING)
            await self.wait_until(lambda life: life.state in SERVING or life.state in SETTLED)

    async def introduce(self) -> None:
        """Starts it once, to hear what it provides; waits until it has stopped again, or clearly will not."""
        self.post(machine.Learn())
        await self.wait_until(_has_arrived)

    async def stop(self, reason: str) -> None:
        """Wants it not to run, and waits until it does not, or somebody has started it again."""
        self.poison.forget()
        self.post(machine.Stop(reason))
        await self._wait_until_at_rest()

    @property
    def _is_stuck(self) -> bool:
        """Killed and still there: whoever waits for its end may wait for ever."""
        return self._generation is not None and self._generation.is_stuck

    async def _wait_until_at_rest(self) -> None:
        stopped = self.life.generation
        await self.wait_until(
            lambda life: (
                life.state in AT_REST
                or (life.generation > stopped and life.state is not State.STOPPING)
                or self._is_stuck
            )
        )

    async def restart(self, reason: str) -> None:
        """A new generation, with a clean record; waits until it runs or does not."""
        self.poison.forget()
        self.post(machine.Stop(reason, then=State.STARTING))
        await self.wait_until(lambda life: _has_arrived(life) or self._is_stuck)

    async def disable(self, reason: str) -> None:
        """Wants it not to run until it is enabled; waits until it does not, or somebody has enabled it."""
        self.poison.forget()
        self.post(machine.Stop(reason, then=State.DISABLED))
        await self._wait_until_at_rest()

    async def enable(self, reason: str) -> None:
        """Lets it run again, and starts it if it is eager; waits until it runs or does not."""
        self.post(machine.Enable(reason, start=self.policy.start_mode == "eager"))
        await self.wait_until(_has_arrived)

    def reconfigure(self, candidate: Candidate, policy: PluginPolicy) -> None:
        """What holds from the next event on; what a process has from its start, from its next start on."""
        self.candidate = candidate
        self.policy = policy
        refused = self._generation.reconfigure(policy) if self._generation is not None else []
        for text in refused:
            self._bus.emit(
                PluginProblem(file=candidate.file, message=f"{self.name}: {text}", plugin=self.name)
            )

    async def leave(self, reason: str) -> None:
        """Stops it for good, whatever others ask for from now on; the task ends."""
        self.post(machine.Stop(reason))
        self._last_word_said = True
        await self.wait_until(lambda life: life.state in AT_REST)
        self.leaving = True
        self._posted.set()

    def _blame(self, cause: Cause) -> None:
        generation = self._generation
        if generation is not None and generation.number == cause.generation:
            now = self._around.driver.now()
            for mark in self.poison.note(cause, generation.worked_on, now):
                names = ", ".join(each.incident for each in self.poison.incidents_of(mark, now))
                text = (
                    f"`{one_line(mark.method)}` is refused from now on with the params of incidents {names}"
                )
                self._bus.emit(PluginProblem(file=self.candidate.file, plugin=self.name, message=text))

    def kill(self) -> None:
        """By signal, at once. The machine hears of it as of any other death."""
        if self._generation is not None:
            self._generation.kill()

    async def wait_until(self, condition: Callable[[Life], bool]) -> None:
        """Returns once everything posted has been worked off and `condition` holds."""
        while self._events or not condition(self.life):
            await self._changed.wait()

    # -- the task ------------------------------------------------------------------------------

    async def run(self) -> None:
        """Until `leave`, or until it is cancelled."""
        async with anyio.create_task_group() as tasks:
            while not self.leaving:
                event = await self._next_event()
                if event is None:
                    continue
                if isinstance(event, machine.Idle) and not self._may_sleep():
                    self._events.popleft()
                    self._tell_waiters()
                    continue
                before = self.life
                self.life, commands = machine.step(before, event, self._around.driver.now(), self.policy)
                for command in commands:
                    self._do(command, tasks)
                self._events.popleft()
                cause = getattr(event, "cause", None) if self.life is not before else None
                entered = self.life.state is not before.state or self.life.generation != before.generation
                concerned = self.life.state in SERVING and _names(self.life) != _names(before)
                held = self.life.is_held and self.life.reason != before.reason
                if isinstance(event, machine.Started) and self._generation is not None:
                    self._learn(self._generation.provides)
                    self._on_introduced(self)
                if entered or concerned or held or cause is not None:  # a new reason is news too
                    self._announce(before, cause)
                if entered and self.life.state in AT_REST:
                    self._around.environments.leave(self.name)
                self._tell_waiters()

    def _tell_waiters(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    def _may_sleep(self) -> bool:
        """Asked in the turn in which it is stopped: from then on no call gets its link, so none is lost."""
        link = self.link
        return link is None or not (link.in_flight or self._is_needed(self.name))

    async def _next_event(self) -> machine.Event | None:
        """The first event, which stays in the queue until it has been worked off."""
        if not self._events:
            self._posted = anyio.Event()
            if self._wake_at is None:
                await self._posted.wait()
            else:
                with anyio.move_on_after(max(0.0, self._wake_at - self._around.driver.now())):
                    await self._posted.wait()
                if not self._events and not self.leaving:
                    self._wake_at = None
                    self._events.append(machine.Woke())
        return self._events[0] if self._events else None

    def _do(self, command: machine.Command, tasks: anyio.abc.TaskGroup) -> None:
        if isinstance(command, machine.Spawn):
            self._generation = Generation(
                command.generation,
                self.candidate,
                self.policy,
                self._around,
                post=self.post,
                on_log=self._take_log,
                on_swept=partial(self._take_swept, command.generation),
                stats=self.stats,
            )
            tasks.start_soon(self._generation.run)
        elif isinstance(command, machine.EndGeneration):
            assert self._generation is not None
            self._generation.ask_to_stop()
        else:
            self._wake_at = command.at

    def _announce(self, before: Life, cause: Cause | None) -> None:
        self.since_unix = time.time()
        generation = self._generation
        child = generation.child if generation is not None else None
        changed = StateChanged(
            plugin=self.name,
            state=self.life.state,
            previous=before.state,
            reason=self.life.reason,
            generation=self.life.generation,
            pid=child.pid if child is not None and child.exit is None else None,
            cause=cause,
        )
        self.changes.append(changed)
        self._bus.emit(changed)

    def recall(self, provides: Provides | None) -> None:
        """What it provided when these very files last ran, under whatever host; None if nobody knows."""
        if provides is not None:
            self._learn(provides)
        else:
            self.is_known = False

    def _learn(self, provides: Provides) -> None:
        self.provides = provides
        self.is_known = True
        hooks = [f"hook/{info.point}" for info in provides.hooks]
        self.stats.announce([*(info.name for info in provides.methods), *hooks])
        self.idempotent = frozenset(info.name for info in provides.methods if info.idempotent)
        self.timeouts = {
            info.name: info.timeout_s
            for info in provides.methods
            if info.timeout_s is not None and 0 < info.timeout_s <= LONGEST_TIMEOUT_S
        }

    def _take_swept(self, generation: int, swept: Swept) -> None:
        if swept.killed:
            count = len(swept.killed)
            self._bus.emit(ProcessesSwept(plugin=self.name, count=count, generation=generation))
        if swept.left:
            pids = sorted(process.pid for process in swept.left)
            self._bus.emit(ProcessesLeaked(plugin=self.name, pids=pids, generation=generation))

    def _take_log(self, source: str, level: str, message: str, record: LogRecord | None) -> None:
        generation = self._generation
        child = generation.child if generation is not None else None
        self._bus.emit(
            PluginLogged(
                plugin=self.name,
                level=level,
                message=message,
                source=source,
                generation=self.life.generation,
                pid=child.pid if child is not None else None,
                logger=record.logger if record is not None else "",
                fields=record.fields if record is not None else {},
            )
        )


def _has_arrived(life: Life) -> bool:
    """No start and no stop is under way."""
    return not (life.is_coming or life.state in (State.STARTING, State.STOPPING))


def _names(life: Life) -> set[str]:
    return {name for name, _ in life.concerns}
