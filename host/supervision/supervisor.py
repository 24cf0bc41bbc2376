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
from host.config.schemas import why_not_held
from host.config.words import changed_keys
from host.contracts.held import Contract
from host.discovery.validate import Candidate
from host.observability.bus import Bus
from host.observability.causes import Cause
from host.observability.metrics import PluginStats
from host.process.link import Link
from host.supervision import machine
from host.supervision.generation import Generation
from host.supervision.health import is_alive
from host.supervision.herald import Herald
from host.supervision.inbox import Inbox
from host.supervision.life import Life
from host.supervision.life_events import (
    Command,
    Enable,
    Ended,
    EndGeneration,
    Idle,
    Learn,
    LifeEvent,
    NotNow,
    Spawn,
    Start,
    Started,
    Stop,
    Unfit,
    Woke,
)
from host.supervision.offer import Offer
from host.supervision.plugin_process import PluginProcess
from host.supervision.poison import Poison
from host.supervision.states import AT_REST, SERVING, SETTLED, State
from host.supervision.surroundings import Surroundings
from host.supervision.voice import one_line
from protocol.lifecycle import LogRecord, Provides

KEPT_CAUSES = 10


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
        self.name = candidate.name
        """The same for every candidate that comes after it. No property, because every call asks."""
        self.candidate = candidate
        self.policy = policy
        self.settings_revision = 0
        """How often its settings have changed under this host."""
        self.life = life
        self.link: Link | None = None
        """Where calls go; None unless the plugin serves. No property, because every call asks."""
        self.since_unix = time.time() - max(0.0, around.driver.now() - life.since)
        self.stats = PluginStats()
        self.offer = Offer(Provides(), Contract(), self.stats)
        """Of the last generation that got as far as saying so, or of an earlier host's, of the same code."""
        self.is_known = False
        """Whether anybody knows what it provides."""
        self.poison = Poison()
        """What is known of calls that kill it."""
        self.causes: deque[Cause] = deque(causes, maxlen=KEPT_CAUSES)
        """How its generations ended, the newest last."""
        self.herald = Herald(candidate.name, bus)
        self.leaving = False
        self._around = around
        self._generation: Generation | None = None
        self._inbox = Inbox()
        self._changed = anyio.Event()
        self._wake_at = life.next_start_at
        self._is_needed = is_needed
        self._on_introduced = on_introduced

    @property
    def generation(self) -> Generation | None:
        """The one that has a process, or had the last."""
        return self._generation

    @property
    def process(self) -> PluginProcess | None:
        """The one that is there, or was last."""
        return self._generation.process if self._generation is not None else None

    @property
    def takes_settings(self) -> bool:
        """Whether it serves, and takes other settings while it does."""
        return self.link is not None and "config" in self._generation.features  # type: ignore[union-attr]

    @property
    def spawned_at(self) -> float | None:
        """When its last process was started, Unix time; None if it had none."""
        return self.process.started_at if self.process is not None else None

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
    def is_unfit(self) -> bool:
        """Whether it was refused when it loaded, because a hook does not fit its extension point."""
        return self.life.state is State.FAILED and bool(self.causes) and self.causes[-1].kind == "contract"

    @property
    def is_up(self) -> bool:
        """Whether it serves and can be relied on: not on probation after a crash."""
        return self.life.state in SERVING and self.life.probation_until is None

    # -- what others say -----------------------------------------------------------------------

    def post(self, event: LifeEvent) -> None:
        """Never blocks. What it means for the plugin follows in the supervisor's own task."""
        if self.leaving or not self._inbox.put(event):
            return
        if isinstance(event, Ended | Unfit | NotNow) and event.cause is not None:
            if not (event.cause.kind == "asked" and self.life.may_be_woken):
                self.causes.append(event.cause)  # that one goes to sleep would push out what went wrong
            self.stats.note_end(event.cause.kind)
            self._blame(event.cause)

    async def start(self, reason: str) -> None:
        """Wants it to run, and waits until it does or it is clear that it does not."""
        link = self.link
        self.post(Start(reason))
        await self.wait_until(_has_arrived)
        if link is not None and link is self.link and not await is_alive(link, self._around.driver):
            # It died a moment ago, and that is about to be noticed; what follows is what counts.
            await self.wait_until(lambda life: life.state not in SERVING)
            await self.wait_until(lambda life: life.state in SERVING or life.state in SETTLED)

    async def introduce(self) -> None:
        """Starts it once, to hear what it provides; waits until it has stopped again, or clearly will not."""
        self.post(Learn())
        await self.wait_until(_has_arrived)

    async def stop(self, reason: str) -> None:
        """Wants it not to run, and waits until it does not, or somebody has started it again."""
        self.poison.forget()
        self.post(Stop(reason))
        await self._wait_until_at_rest()

    @property
    def _is_stuck(self) -> bool:
        """Killed and still there: whoever waits for its end may wait for ever."""
        return self.process is not None and self.process.is_stuck

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
        self.post(Stop(reason, then=State.STARTING))
        await self.wait_until(lambda life: _has_arrived(life) or self._is_stuck)

    async def disable(self, reason: str) -> None:
        """Wants it not to run until it is enabled; waits until it does not, or somebody has enabled it."""
        self.poison.forget()
        self.post(Stop(reason, then=State.DISABLED))
        await self._wait_until_at_rest()

    async def enable(self, reason: str) -> None:
        """Lets it run again, and starts it if it is eager; waits until it runs or does not."""
        self.post(Enable(reason, start=self.policy.start_mode == "eager"))
        await self.wait_until(_has_arrived)

    def reconfigure(self, candidate: Candidate, policy: PluginPolicy, *, by: str = "") -> None:
        """What holds from the next event on; what a process has from its start, from its next start on.

        `by`: who has changed the settings, if it was not an operator.
        """
        self.candidate = candidate
        before, self.policy = self.policy.settings, policy
        if keys := changed_keys(before, policy.settings):
            self.settings_revision += 1
            self.herald.tell_settings(keys, self.settings_revision, by)
        refused = self._generation.reconfigure(policy) if self._generation is not None else []
        for text in refused:
            self.herald.tell_problem(candidate.file, f"{self.name}: {text}")

    async def leave(self, reason: str) -> None:
        """Stops it for good, whatever others ask for from now on; the task ends."""
        self.post(Stop(reason))
        self._inbox.take_no_more_words()
        await self.wait_until(lambda life: life.state in AT_REST)
        self.leaving = True
        self._inbox.wake()

    def _blame(self, cause: Cause) -> None:
        generation = self._generation
        if generation is not None and generation.number == cause.generation:
            now = self._around.driver.now()
            for mark in self.poison.note(cause, generation.worked_on, now):
                names = ", ".join(each.incident for each in self.poison.incidents_of(mark, now))
                text = (
                    f"`{one_line(mark.method)}` is refused from now on with the params of incidents {names}"
                )
                self.herald.tell_problem(self.candidate.file, text)

    def kill(self) -> None:
        """By signal, at once. The machine hears of it as of any other death."""
        if self._generation is not None:
            self._generation.kill()

    async def wait_until(self, condition: Callable[[Life], bool]) -> None:
        """Returns once everything posted has been worked off and `condition` holds."""
        while self._inbox or not condition(self.life):
            await self._changed.wait()

    # -- the task ------------------------------------------------------------------------------

    async def run(self) -> None:
        """Until `leave`, or until it is cancelled."""
        async with anyio.create_task_group() as tasks:
            while not self.leaving:
                event = await self._next_event()
                if event is None:
                    continue
                if isinstance(event, Idle) and not self._may_sleep():
                    self._inbox.work_off()
                    self._tell_waiters()
                    continue
                before = self.life
                self.life, commands = machine.step(before, event, self._around.driver.now(), self.policy)
                for command in commands:
                    self._do(command, tasks)
                serves = self._generation is not None and self.life.state in SERVING
                self.link = self._generation.link if serves else None  # type: ignore[union-attr]
                self._inbox.work_off()
                cause = getattr(event, "cause", None) if self.life is not before else None
                entered = self.life.state is not before.state or self.life.generation != before.generation
                concerned = self.life.state in SERVING and _names(self.life) != _names(before)
                held = self.life.is_held and self.life.reason != before.reason
                if isinstance(event, Started) and self._generation is not None:
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

    async def _next_event(self) -> LifeEvent | None:
        """The first event, which stays in the queue until it has been worked off."""
        if not self._inbox:
            if self._wake_at is None:
                await self._inbox.wait()
            else:
                with anyio.move_on_after(max(0.0, self._wake_at - self._around.driver.now())):
                    await self._inbox.wait()
                if not self._inbox and not self.leaving:
                    self._wake_at = None
                    self._inbox.put(Woke())
        return self._inbox.first()

    def _do(self, command: Command, tasks: anyio.abc.TaskGroup) -> None:
        if isinstance(command, Spawn):
            self._generation = Generation(
                command.generation,
                self.candidate,
                self.policy,
                self._around,
                post=self.post,
                on_log=self._take_log,
                on_swept=partial(self.herald.tell_swept, command.generation),
                stats=self.stats,
                settings_revision=lambda: self.settings_revision,
            )
            tasks.start_soon(self._generation.run)
        elif isinstance(command, EndGeneration):
            assert self._generation is not None
            self._generation.ask_to_stop()
        else:
            self._wake_at = command.at

    def _announce(self, before: Life, cause: Cause | None) -> None:
        self.since_unix = time.time()
        process = self.process
        pid = process.pid if process is not None and process.is_alive else None
        self.herald.tell_change(before, self.life, pid, cause)

    def recall(self, provides: Provides | None) -> None:
        """What it provided when these very files last ran, under whatever host; None if nobody knows."""
        if provides is not None:
            self._learn(provides)
        else:
            self.is_known = False

    def _learn(self, provides: Provides) -> None:
        contract = self.offer.contract
        if provides.methods != self.offer.provides.methods:
            contract = Contract(provides.methods, self._tell_problem)
        schema, before = provides.config_schema, self.offer.provides.config_schema
        if schema is not None and schema != before and (why := why_not_held(schema)):
            self._tell_problem(f"the schema of its settings is not held: {why}")
        self.offer = Offer(provides, contract, self.stats)
        self.is_known = True
        self.stats.announce(self.offer.names)

    def _tell_problem(self, text: str) -> None:
        self.herald.tell_problem(self.candidate.file, text)

    def _take_log(self, source: str, level: str, message: str, record: LogRecord | None) -> None:
        pid = self.process.pid if self.process is not None else None
        self.herald.tell_log(self.life.generation, pid, source, level, message, record)


def _has_arrived(life: Life) -> bool:
    """No start and no stop is under way."""
    return not (life.is_coming or life.state in (State.STARTING, State.STOPPING))


def _names(life: Life) -> set[str]:
    return {name for name, _ in life.concerns}
