"""The shell around the machine: one task per plugin, which alone moves that plugin's life.

Everybody else posts events and reads `life`. The task feeds the machine, does what it commands, and
wakes whoever waits for a state. It outlives every generation and every caller's cancellation.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

import anyio
import anyio.abc

from host.config.effective import PluginPolicy
from host.discovery.validate import Candidate
from host.observability.bus import Bus
from host.observability.events import PluginLogged, StateChanged
from host.observability.metrics import CallStats
from host.process.exits import Exit
from host.process.link import Link
from host.supervision import machine
from host.supervision.generation import Generation, Surroundings
from host.supervision.health import is_alive
from host.supervision.machine import Life
from host.supervision.states import AT_REST, SERVING, SETTLED, State
from protocol.lifecycle import LogRecord, Provides

MAX_EVENTS = 256
LONGEST_TIMEOUT_S = 86400.0


class Supervisor:
    """One plugin, as the rest of the host sees it."""

    def __init__(self, candidate: Candidate, policy: PluginPolicy, around: Surroundings, bus: Bus) -> None:
        self.candidate = candidate
        self.policy = policy
        self.life = Life(since=around.driver.now())
        if not policy.enabled:
            self.life = Life(state=State.DISABLED, reason="by the configuration", since=self.life.since)
        self.since_unix = time.time()
        self.stats = CallStats()
        self.provides = Provides()
        """Of the last generation that got as far as saying so."""
        self.timeouts: dict[str, float] = {}
        """What its methods say they need, for callers who do not say; seconds."""
        self.last_exit: tuple[Exit | None, str, float] | None = None
        """How the last generation ended, why, and when (Unix time)."""
        self.leaving = False
        self._last_word_said = False
        self._around = around
        self._bus = bus
        self._generation: Generation | None = None
        self._events: deque[machine.Event] = deque()
        self._posted = anyio.Event()
        self._changed = anyio.Event()
        self._wake_at: float | None = None

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
    def starts_by_itself(self) -> bool:
        """Without being called or asked to."""
        return self.policy.start_mode == "eager" and self.policy.enabled

    @property
    def is_expected(self) -> bool:
        """Whether it ought to be running: not one that was stopped, nor a lazy one that nobody called."""
        if self.life.state is State.DISABLED:
            return False
        if self.life.state is State.STOPPED:
            return self.life.reason.startswith("clean-exit") and self.policy.restart_policy == "always"
        return not (self.policy.start_mode == "lazy" and self.life.generation == 0)

    # -- what others say -----------------------------------------------------------------------

    def post(self, event: machine.Event) -> None:
        """Never blocks. The bound is for what is asked; what a generation says is never lost."""
        if isinstance(event, machine.Start | machine.Stop):
            last = self._events[-1] if self._events else None
            if self._last_word_said or last == event:  # nobody needs to be told twice
                return
            if len(self._events) >= MAX_EVENTS and isinstance(last, machine.Start | machine.Stop):
                self._events.pop()  # of so many words the last one counts
        self._events.append(event)
        self._posted.set()

    async def start(self, reason: str) -> None:
        """Wants it to run, and waits until it does or it is clear that it does not."""
        link = self.link
        self.post(machine.Start(reason))
        await self.wait_until(lambda life: life.state not in (State.STARTING, State.STOPPING))
        if link is not None and link is self.link and not await is_alive(link, self._around.driver):
            # It died a moment ago, and that is about to be noticed; what follows is what counts.
            await self.wait_until(lambda life: life.state not in SERVING)
            await self.wait_until(lambda life: life.state in SERVING or life.state in SETTLED)

    async def stop(self, reason: str) -> None:
        """Wants it not to run, and waits until it does not, or somebody has started it again."""
        self.post(machine.Stop(reason))
        stopped = self.life.generation
        await self.wait_until(
            lambda life: (
                life.state in AT_REST or (life.generation > stopped and life.state is not State.STOPPING)
            )
        )

    async def restart(self, reason: str) -> None:
        """A new generation, with a clean record; waits until it runs or does not."""
        self.post(machine.Stop(reason, again=True))
        await self.wait_until(lambda life: life.state not in (State.STARTING, State.STOPPING))

    async def leave(self, reason: str) -> None:
        """Stops it for good, whatever others ask for from now on; the task ends."""
        self.post(machine.Stop(reason))
        self._last_word_said = True
        await self.wait_until(lambda life: life.state in AT_REST)
        self.leaving = True
        self._posted.set()

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
                before = self.life
                self.life, commands = machine.step(before, event, self._around.driver.now(), self.policy)
                if isinstance(event, machine.Ended):
                    self._note_end(event)
                for command in commands:
                    self._do(command, tasks)
                self._events.popleft()
                if self.life.state is not before.state or self.life.generation != before.generation:
                    self._announce(before)
                self._changed.set()
                self._changed = anyio.Event()

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
            )
            tasks.start_soon(self._generation.run)
        elif isinstance(command, machine.EndGeneration):
            assert self._generation is not None
            self._generation.ask_to_stop()
        else:
            self._wake_at = command.at

    def _note_end(self, event: machine.Ended) -> None:
        generation = self._generation
        if generation is not None and event.generation == generation.number:
            self.last_exit = (generation.last_exit, event.reason, time.time())

    def _announce(self, before: Life) -> None:
        self.since_unix = time.time()
        generation = self._generation
        if generation is not None and self.life.state is State.RUNNING:
            self.provides = generation.provides
            methods = self.provides.methods
            self.timeouts = {
                info.name: info.timeout_s
                for info in methods
                if info.timeout_s is not None and 0 < info.timeout_s <= LONGEST_TIMEOUT_S
            }
        child = generation.child if generation is not None else None
        self._bus.emit(
            StateChanged(
                plugin=self.name,
                state=self.life.state,
                previous=before.state,
                reason=self.life.reason,
                generation=self.life.generation,
                pid=child.pid if child is not None and child.exit is None else None,
            )
        )

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
