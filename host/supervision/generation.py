"""One life of a plugin's process, from spawn to reaped, in one task.

Whatever happens, it ends with exactly one event for the machine: `NotNow`, `Unfit` or `Ended`; `Started`
may come before. It owns the process and lets go of it only when it has been reaped. Inside, an end is a
`Verdict`; it becomes the event once everything is over.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable

import anyio

from host.config.effective import PluginPolicy
from host.discovery.validate import Candidate
from host.environments.outcome import Failure
from host.observability.metrics import PluginStats
from host.process.diagnose import not_spawned
from host.process.fingerprint import Fingerprint, worked_on
from host.process.handshake import HandshakeRefused
from host.process.launchers import CannotLaunch, launch_spec
from host.process.link import Link
from host.process.tree import Swept
from host.process.usage import Usage
from host.supervision.allowance import Allowance
from host.supervision.cause_of_death import cause_of_death
from host.supervision.health import wait_hung
from host.supervision.life_events import Cleared, Condemned, LifeEvent, NotNow, Started
from host.supervision.plugin_process import PluginProcess
from host.supervision.start_slot import StartSlot
from host.supervision.starting import Starting, own_folder
from host.supervision.surroundings import Surroundings
from host.supervision.unless import unless
from host.supervision.verdict import (
    Verdict,
    environment_being_built,
    environment_failed,
    event_of,
    not_launched,
)
from host.supervision.voice import OnLog, Voice
from protocol.errors import Refusal, Refused
from protocol.events import Event, Progressed
from protocol.lifecycle import ConfigTold, InitializeResult, PluginIdentity, Provides

PATIENCE_S = 0.5
ENDS_BY_ITSELF = ("exception", "missing-module", "limit")
"""After telling us of these a plugin exits, and its exit code is worth the moment that it takes."""


class Generation:
    """`run` is its task; `link` may be used while it serves."""

    def __init__(
        self,
        number: int,
        candidate: Candidate,
        policy: PluginPolicy,
        around: Surroundings,
        *,
        post: Callable[[LifeEvent], None],
        on_log: OnLog,
        on_swept: Callable[[Swept], None],
        stats: PluginStats,
        settings_revision: Callable[[], int],
    ) -> None:
        self.number = number
        self.incident = uuid.uuid4().hex[:8]
        """What its end will be called: known before, because calls end before anybody knows why."""
        self.worked_on: list[Fingerprint] = []
        """What it had in hand when it ended."""
        self.process: PluginProcess | None = None
        self.link: Link | None = None
        self.provides = Provides()
        self.features: frozenset[str] = frozenset()
        """What the plugin can do beyond the base protocol."""
        self.voice = Voice(on_log, around.driver.now, stats, self._ask)
        self.policy = policy
        """What holds now; `reconfigure` changes it."""
        self.allowance = Allowance(number, policy, post, around.driver.now)
        self._candidate = candidate
        self._around = around
        self._post = post
        self._on_swept = on_swept
        self._stats = stats
        self._settings_revision = settings_revision
        self._starting: Starting | None = None
        self._slot = StartSlot(around.starts)
        self._stop_asked = anyio.Event()
        self._condemned = anyio.Event()
        """It has broken a limit: from now on it has no time, whatever it is about to do."""

    @property
    def name(self) -> str:
        return self._candidate.manifest.plugin.name

    @property
    def _tag(self) -> str:
        """What its processes are known by: in the environment that they are started with."""
        return f"{self._around.instance}:{self.name}:{self.number}"

    @property
    def stderr_tail(self) -> list[str]:
        """The last lines it wrote to stderr."""
        return self.voice.masked(self.process.stderr_tail) if self.process is not None else []

    # -- what others do with it --------------------------------------------------------------------

    def reconfigure(self, policy: PluginPolicy) -> list[str]:
        """What holds from now on, for the living process too; returns the limits that wait for the next."""
        before, self.policy = self.policy, policy
        self.allowance.change(policy)
        return self.process.change_limits(before, policy) if self.process is not None else []

    @property
    def told(self) -> ConfigTold:
        """Its settings as it has them, secrets included."""
        return self._starting.told if self._starting is not None else ConfigTold()

    def tell(self, told: ConfigTold) -> bool:
        """Other settings for the living process; False if it cannot be told them."""
        if self._starting is None or self.link is None:
            return False
        try:
            self.link.notify("config/changed", told)
        except Refused as refused:  # gone, or larger than it takes
            return refused.reason is Refusal.CLOSED
        self._starting.told = told
        return True

    def note_usage(self, usage: Usage) -> None:
        """Takes a look at it, and what follows: nothing, a concern, or its end at once."""
        process = self.process
        if process is None or not process.is_alive or self.allowance.breach is not None:
            return
        self.allowance.note(usage)
        if breach := self.allowance.breach:
            process.killed_by_host = True
            self._condemned.set()
            self._post(Condemned(self.number, breach.text))
            if self.link is not None:
                self.link.lost(breach.text)

    def ask_to_stop(self) -> None:
        """Begins the ladder; the generation's one event follows when it is over."""
        self._stop_asked.set()

    def kill(self) -> None:
        """At once, by signal, without asking anybody."""
        if self.process is not None:
            self.process.kill()

    # -- its task ----------------------------------------------------------------------------------

    async def run(self) -> None:
        """From spawn to reaped. Does not raise; a cancellation kills the child, and sees it reaped."""
        try:
            await self._slot.wait(self._stop_asked)
            if self._stop_asked.is_set():
                verdict: Verdict | None = Verdict(kind="asked", text="stopped before it was started")
            else:
                verdict = await self._start()
                if verdict is None and not self._stop_asked.is_set():
                    self._post(Started(self.number))
            self._post(self._last_word(verdict or await self._serve()))
        except Exception as error:  # a slip of ours must cost one plugin, and never the host
            text = f"the host's own fault: {type(error).__name__}: {error}"
            self._post(self._last_word(Verdict(kind="host-fault", text=text)))
        finally:
            try:
                if self.process is not None and self.process.is_alive:  # we were cancelled, or erred
                    await self.process.end()
            finally:
                self._slot.give_back()
                if self.process is not None:
                    self.process.let_go()

    async def _start(self) -> Verdict | None:
        """Up to running: None, also if a stop was asked for meanwhile. Else why not, with the child gone."""
        dependencies = self._candidate.manifest.run.dependencies
        environment = self._around.environments.folder(dependencies) if dependencies else None
        if dependencies and environment is None:
            builds = self._around.environments
            return environment_being_built(builds.build(self.name, dependencies, self._environment_ended))
        try:
            data_dir = own_folder(self._around.data_root, self.name)
            process = await self._launch(data_dir, environment)
        except CannotLaunch as problem:
            return not_launched(problem)
        except OSError as error:
            found = not_spawned(error)
            return Verdict(kind=found.kind, text=found.text, fix=found.fix)
        link = self.link = process.connect(self._hear, self.voice.hear_stderr)
        link.generation, link.incident = self.number, self.incident
        await process.confine(f"{self.name}-{self.number}", self.policy)
        if process.group is not None and "memory" in process.controllers:
            self.allowance.count_in(process.group.folder)
        starting = self._starting = Starting(
            link,
            self._candidate,
            lambda: self.policy,
            self._settings_revision,
            self._around.driver,
            self.voice,
            on_introduced=self._be_introduced,
        )
        identity = PluginIdentity(
            name=self.name,
            instance=self._around.instance,
            generation=self.number,
            data_dir=data_dir,
            cache_dir=os.path.join(data_dir, "cache"),
        )
        verdict = await unless(self._stop_asked, lambda: starting.run(identity))
        if starting.is_done or self._stop_asked.is_set():
            return None  # asked to stop, `_serve` takes it down the ladder
        if verdict is None:
            return await self._account_for_end(before=starting.doing)
        if verdict.becomes is NotNow:
            await self._take_down(process)
        else:
            if verdict.kind in ENDS_BY_ITSELF:
                await process.wait_for_exit(PATIENCE_S)
            await process.end()
        return verdict

    async def _launch(self, data_dir: str, environment: str | None) -> PluginProcess:
        """Raises CannotLaunch, OSError."""
        spec = launch_spec(
            self._candidate,
            self.policy,
            instance=self._tag,
            data_dir=data_dir,
            inherited=os.environ,
            own_environment=environment,
        )
        child = await self._around.starter.start(spec)
        process = self.process = PluginProcess(
            child,
            self._tag,
            self._around,
            on_stuck=lambda text: self._post(Condemned(self.number, text)),
            on_swept=self._on_swept,
        )
        return process

    def _environment_ended(self, failure: Failure | None) -> None:
        """Comes when this generation is long over; the machine takes it while nothing else has happened."""
        if failure is None:
            self._post(Cleared(self.number, "its environment is built"))
        else:
            self._post(self._last_word(environment_failed(failure)))

    def _be_introduced(self, result: InitializeResult) -> None:
        """Raises HandshakeRefused."""
        if lines := self._around.unfit(result.provides):
            more = f", and {len(lines) - 1} more" if len(lines) > 1 else ""
            raise HandshakeRefused(
                f"a hook does not fit its extension point: {lines[0]}{more}",
                retry=False,
                kind="contract",
                fix=f"mend {self.name}, or install the version of it that was made for this host",
                traceback=lines,
            )
        self.provides = result.provides
        self.features = frozenset(result.features)
        self._slot.give_back()  # its own start code is its own time
        if "nudge" in self.features and self.link is not None and self.process is not None:
            self.link.nudge = self.process.nudge

    def _hear(self, event: Event, link: Link) -> None:
        if isinstance(event, Progressed) and self._starting is not None:
            self._starting.extend(event)
        else:
            self.voice.hear(event, link)

    def _ask(self, event: Event, link: Link) -> None:
        self._around.on_ask(self.name, link, event)

    async def _serve(self) -> Verdict:
        """Until it is gone, for whatever reason."""
        process, link = self.process, self.link
        assert process is not None
        assert link is not None
        hangs: list[Verdict] = []
        async with anyio.create_task_group() as tasks:

            async def until_hung() -> None:
                hangs.append(
                    await wait_hung(
                        link,
                        self.number,
                        self.provides,
                        self._stats,
                        self._post,
                        self._around.driver,
                        lambda: self.policy,
                    )
                )
                tasks.cancel_scope.cancel()

            async def until(event: anyio.Event) -> None:
                await event.wait()
                tasks.cancel_scope.cancel()

            tasks.start_soon(until_hung)
            tasks.start_soon(until, process.child.exited)
            tasks.start_soon(until, self._stop_asked)
            tasks.start_soon(until, self.voice.broken)
            tasks.start_soon(until, self._condemned)
        if process.is_alive and self._stop_asked.is_set() and not self._condemned.is_set():
            await self._take_down(process)
            killed = "; it heeded neither shutdown nor SIGTERM, and was killed"
            return Verdict(kind="asked", text=f"stopped{killed if process.killed_by_host else ''}")
        if hangs:
            self._post(Condemned(self.number, hangs[0].text))
            await process.explain_itself()
            process.killed_by_host = True
            await process.end()
            return hangs[0]
        return await self._account_for_end(before="")

    # -- its end -----------------------------------------------------------------------------------

    async def _take_down(self, process: PluginProcess) -> None:
        await unless(self._condemned, lambda: process.take_down(self.policy.stop_timeout_s))
        await process.end()

    async def _account_for_end(self, *, before: str) -> Verdict:
        """Waits a moment for it to end by itself, sees to it, and says which it was."""
        process = self.process
        assert process is not None
        in_haste = self.voice.fault or self._condemned.is_set()
        await process.wait_for_exit(0 if in_haste else PATIENCE_S)
        by_itself = not process.is_alive
        await process.end()
        return cause_of_death(
            process,
            self._candidate,
            self.policy,
            self.allowance,
            self.voice,
            by_itself=by_itself,
            before=before,
        )

    def _last_word(self, verdict: Verdict) -> LifeEvent:
        """The event for `verdict`, with everything that is known of this end."""
        process = self.process
        calls = self.link.unanswered if self.link is not None else []
        self.worked_on = worked_on(calls)
        verdict.text = self.voice.masked([verdict.text])[0]
        verdict.traceback = self.voice.masked(verdict.traceback)
        return event_of(
            verdict,
            generation=self.number,
            incident=self.incident,
            exit=process.child.exit if process is not None else None,
            killed_by_host=process is not None and process.killed_by_host,
            up_s=None if process is None else round(time.time() - process.started_at, 3),
            in_flight=[call.method for call in calls if call.method != "lifecycle/ping"],
            stderr=self.stderr_tail,
            stack=(process.stack if process is not None else None) or (),
        )
