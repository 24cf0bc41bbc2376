"""One life of a plugin's process, from spawn to reaped, in one task.

Whatever happens, it ends with exactly one event for the machine: `NotNow`, `Unfit` or `Ended`; `Started`
may come before. It owns the child and lets go of it only when it has been reaped. Inside, an end is a
`Verdict`; it becomes the event once everything is over.
"""

from __future__ import annotations

import os
import signal
import time
import uuid
from collections.abc import Callable
from typing import Any

import anyio
import msgspec

from host.config.effective import PluginPolicy
from host.discovery.validate import Candidate
from host.environments.outcome import Failure
from host.environments.store import Environments
from host.observability.metrics import PluginStats
from host.process import handshake, rlimits
from host.process.cgroup import Groups, Leaf
from host.process.deadlines import Deadlines
from host.process.diagnose import diagnose, not_spawned
from host.process.driver import Driver
from host.process.exits import Exit
from host.process.fingerprint import Fingerprint, worked_on
from host.process.handshake import HandshakeRefused
from host.process.launchers import CannotLaunch, LaunchSpec, launch_spec
from host.process.link import Expired, Link, Lost
from host.process.oom import oom_kills
from host.process.secrets import SecretProblem, resolved
from host.process.spawn import Child, spawn
from host.process.stderr import StderrReader
from host.process.stop import Grace, stop
from host.process.tree import Swept, Tree
from host.process.usage import Bounds, Usage
from host.supervision import machine
from host.supervision.health import Pulse, reading, wait_blocked, wait_unresponsive
from host.supervision.limits import Breach, Watches, judge, killed_by_kernel
from host.supervision.verdict import (
    KEPT_STACK,
    Verdict,
    environment_being_built,
    environment_failed,
    event_of,
    from_exit,
    refused_to_start,
)
from host.supervision.vitals import Reading, Vitals
from host.supervision.voice import OnLog, Voice
from protocol.errors import Refusal, Refused, RpcError
from protocol.events import Event, Notification
from protocol.lifecycle import InitializeResult, PluginIdentity, ProgressParams, Provides
from protocol.secrets import masked, secret_paths, secret_values
from protocol.session import Session

REAP_S = 5.0
PATIENCE_S = 0.5
STACK_S = 0.5
ENDS_BY_ITSELF = ("exception", "missing-module")
"""After telling us of these a plugin exits, and its exit code is worth the moment that it takes."""
LAUNCH_AGAIN_S = 30.0
"""When a missing program, say, is looked for again."""
LONGEST_START_S = 300.0
"""However much progress it makes with its start."""
SLOT_S = 2.0
"""How long a start waits for others to get through their handshake. They may hang; it may not."""


class Surroundings(msgspec.Struct, frozen=True, kw_only=True):
    """What every generation of every plugin of a host shares."""

    driver: Driver
    deadlines: Deadlines
    environments: Environments
    starts: anyio.CapacityLimiter
    """How many may start at once."""
    instance: str
    data_root: str
    on_ask: Callable[[str, Link, Event], None]
    """Gets what plugins ask of the host: see `host.routing.host_calls`."""
    groups: Groups | None = None
    """Control groups, where they have been delegated to this host."""


class Generation:
    """`run` is its task; `link` may be used while `serving` is set."""

    def __init__(
        self,
        number: int,
        candidate: Candidate,
        policy: PluginPolicy,
        around: Surroundings,
        *,
        post: Callable[[machine.Event], None],
        on_log: OnLog,
        on_swept: Callable[[Swept], None],
        stats: PluginStats,
    ) -> None:
        self.number = number
        self.incident = uuid.uuid4().hex[:8]
        """What its end will be called: known before, because calls end before anybody knows why."""
        self.worked_on: list[Fingerprint] = []
        """What it had in hand when it ended."""
        self.link: Link | None = None
        self.child: Child | None = None
        self.tree: Tree | None = None
        self.provides = Provides()
        self.features: frozenset[str] = frozenset()
        """What the plugin can do beyond the base protocol."""
        self.voice = Voice(on_log, around.driver.now, stats, self._ask)
        self.is_stuck = False
        """Whether it has been killed and cannot be reaped."""
        self._killed = False
        self._candidate = candidate
        self.policy = policy
        """What holds now; `reconfigure` changes it."""
        self.usage: Usage | None = None
        """What its process tree used at the last look."""
        self.bounds = _bounds(policy)
        self._watches: Watches = {}
        self._breach: Breach | None = None
        self._group: Leaf | None = None
        self._around = around
        self._post = post
        self._on_swept = on_swept
        self._stderr: StderrReader | None = None
        self._stop_asked = anyio.Event()
        self._has_slot = False
        self._stats = stats
        self._stack: list[str] | None = None
        """What it says on stderr from the moment on in which it is asked where it hangs."""

    @property
    def name(self) -> str:
        return self._candidate.manifest.plugin.name

    @property
    def is_alive(self) -> bool:
        """Whether it has a process that has not been reaped."""
        return self.child is not None and self.child.exit is None

    @property
    def _tag(self) -> str:
        """What its processes are known by: in the environment that they are started with."""
        return f"{self._around.instance}:{self.name}:{self.number}"

    @property
    def stderr_tail(self) -> list[str]:
        """The last lines it wrote to stderr."""
        if self._stderr is None:
            return []
        return [masked(line, self.voice.secrets) for line in self._stderr.tail]

    @property
    def controllers(self) -> tuple[str, ...]:
        """Of its own control group; empty if it has none."""
        return self._group.controllers if self._group is not None else ()

    def reconfigure(self, policy: PluginPolicy) -> list[str]:
        """What holds from now on, for the living process too; returns the limits that wait for the next."""
        before, self.policy = self.policy, policy
        self.bounds = _bounds(policy)
        if self._group is not None:
            self._group.limit(policy)
        if self.child is None or self.child.exit is not None:
            return []
        return rlimits.change(self.child.pid, before, policy)

    @property
    def is_watched(self) -> bool:
        """Whether a look that shows nothing new may mean something nevertheless: time passes."""
        return bool(self._watches)

    def note_usage(self, usage: Usage) -> None:
        """Takes a look at it, and what follows: nothing, a concern, or its end at once."""
        if self.child is None or self.child.exit is not None or self._breach is not None:
            return
        self.usage = usage
        judged = judge(self.policy, usage, self._watches, self._around.driver.now())
        self._watches = judged.watches
        for name, text in judged.concerns.items():
            self._post(machine.Concern(self.number, name, text))
        for name in judged.eased:
            self._post(machine.Eased(self.number, name))
        if judged.breach is not None:
            self._breach = judged.breach
            self._killed = True
            self.kill()
            self._post(machine.Condemned(self.number, judged.breach.text))
            if self.link is not None:
                self.link.lost(judged.breach.text)

    def ask_to_stop(self) -> None:
        """Begins the ladder; the generation's one event follows when it is over."""
        self._stop_asked.set()

    def kill(self) -> None:
        """At once, by signal, without asking anybody."""
        if self._group is not None:
            self._group.kill()
        if self.child is not None:
            self.child.kill()

    async def run(self) -> None:
        """From spawn to reaped. Does not raise; a cancellation kills the child, and sees it reaped."""
        try:
            await self._wait_for_slot()
            if self._stop_asked.is_set():
                verdict: Verdict | None = Verdict(kind="asked", text="stopped before it was started")
            else:
                verdict = await self._start()
                if verdict is None and not self._stop_asked.is_set():
                    self._post(machine.Started(self.number))
            self._post(self._last_word(verdict or await self._serve()))
        except Exception as error:  # a slip of ours must cost one plugin, and never the host
            text = f"the host's own fault: {type(error).__name__}: {error}"
            self._post(self._last_word(Verdict(kind="host-fault", text=text)))
        finally:
            try:
                if self.child is not None and self.child.exit is None:  # we were cancelled, or erred
                    await self._kill_and_reap()
            finally:
                self._give_slot_back()
                self._let_go()

    async def _wait_for_slot(self) -> None:
        """So that a hundred plugins do not start at once. Bounded, and a stop need not wait for it."""
        with anyio.move_on_after(SLOT_S) as scope:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._cancel_when_stopped, scope)
                await self._around.starts.acquire_on_behalf_of(self)
                self._has_slot = True
                tasks.cancel_scope.cancel()

    def _give_slot_back(self) -> None:
        if self._has_slot:
            self._has_slot = False
            self._around.starts.release_on_behalf_of(self)

    # -- up ------------------------------------------------------------------------------------

    async def _start(self) -> Verdict | None:
        """Up to running: None, also if a stop was asked for meanwhile. Else why not, with the child gone."""
        dependencies = self._candidate.manifest.run.dependencies
        environment = self._around.environments.folder(dependencies) if dependencies else None
        if dependencies and environment is None:
            builds = self._around.environments
            return environment_being_built(builds.build(self.name, dependencies, self._environment_ended))
        try:
            self._oom_kills = oom_kills()
            self.child = spawn(self._launch_spec(environment), self._around.driver)
            self.tree = Tree(self.child, self._tag)
            if self._around.groups is not None:
                self._group = self._around.groups.leaf(
                    f"{self.name}-{self.number}", self.child.pid, self.policy
                )
        except CannotLaunch as problem:
            return Verdict(
                becomes=machine.NotNow,
                kind=problem.kind,
                text=str(problem),
                fix=problem.fix,
                retry_after_s=LAUNCH_AGAIN_S,
            )
        except OSError as error:
            found = not_spawned(error)
            return Verdict(kind=found.kind, text=found.text, fix=found.fix)
        link = self.link = self._open_link(self.child)
        self._began_at = self._around.driver.now()
        deadline = self._start_deadline = self._began_at + self.policy.start_timeout_s
        doing = "answered initialize"
        verdict: Verdict | None = None
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._cancel_when_stopped, scope)
                try:
                    result = await self._initialize(link, deadline)
                    self.provides = result.provides
                    self.features = frozenset(result.features)
                    self._give_slot_back()  # its own start code is its own time
                    link.tells_deadlines = "deadline" in result.features
                    link.tells_traces = "trace" in result.features
                    link.tells_parents = "parent" in result.features
                    if "nudge" in result.features:
                        link.nudge = self._nudge
                    doing = "finished starting"
                    tells_progress = "progress" in result.features
                    settings = await self._with_secrets()
                    await handshake.start(
                        link, deadline=deadline, tells_progress=tells_progress, settings=settings
                    )
                    tasks.cancel_scope.cancel()
                    return None
                except HandshakeRefused as refused:
                    verdict = Verdict(
                        becomes=machine.Ended if refused.retry else machine.Unfit,
                        kind=refused.kind,
                        text=refused.reason,
                        fix=refused.fix,
                        traceback=refused.traceback,
                    )
                except RpcError as error:
                    verdict = refused_to_start(error)
                except SecretProblem as problem:
                    text = f"configuration refused: {problem}"
                    verdict = Verdict(becomes=machine.Unfit, kind="refused", text=text)
                except Expired:
                    text = f"it had not {doing} after {self._start_deadline - self._began_at:.3g} s"
                    verdict = Verdict(kind="start-timeout", text=text)
                except Lost:
                    pass
                except Refused as refused:
                    # CLOSED: it ended between two of our words. Else its settings are what cannot be sent.
                    if refused.reason is not Refusal.CLOSED:
                        text = f"it cannot be told its settings: {refused}"
                        verdict = Verdict(becomes=machine.Unfit, kind="refused", text=text)
                tasks.cancel_scope.cancel()
        if self._stop_asked.is_set():
            return None  # `_serve` takes it down the ladder
        if verdict is None:
            return await self._account_for_end(before=doing)
        if verdict.becomes is machine.NotNow:
            await self._ladder()
        else:
            if verdict.kind in ENDS_BY_ITSELF:
                with anyio.move_on_after(PATIENCE_S):
                    await self.child.exited.wait()
            await self._kill_and_reap()
        return verdict

    def _environment_ended(self, failure: Failure | None) -> None:
        """Comes when this generation is long over; the machine takes it while nothing else has happened."""
        if failure is None:
            self._post(machine.Cleared(self.number, "its environment is built"))
        else:
            self._post(self._last_word(environment_failed(failure)))

    def _launch_spec(self, environment: str | None) -> LaunchSpec:
        around = self._around
        self._data_dir = os.path.join(around.data_root, self.name)
        os.makedirs(self._data_dir, mode=0o700, exist_ok=True)
        return launch_spec(
            self._candidate,
            self.policy,
            instance=self._tag,
            data_dir=self._data_dir,
            inherited=os.environ,
            own_environment=environment,
        )

    def _open_link(self, child: Child) -> Link:
        driver = self._around.driver
        self._stderr = StderrReader(driver, child.stderr_fd, self._hear_stderr)
        link = Link(
            driver,
            self._around.deadlines,
            Session("host"),
            write_fd=child.stdin_fd,
            read_fd=child.stdout_fd,
            on_event=lambda event: self._hear(event, link),
        )
        link.generation, link.incident = self.number, self.incident
        child.on_exit = lambda: link.lost(f"the plugin ended: {child.exit}")
        return link

    def _hear_stderr(self, line: str) -> None:
        if self._stack is not None and len(self._stack) < KEPT_STACK:
            self._stack.append(line)
        self.voice.hear_stderr(line)

    def _hear(self, event: Event, link: Link) -> None:
        if isinstance(event, Notification) and event.method == "$/progress":
            self._extend_start(event, link)
        else:
            self.voice.hear(event, link)

    def _extend_start(self, said: Notification, link: Link) -> None:
        """It gets on with its start: from now on it has its time again, up to a bound."""
        try:
            token = msgspec.json.decode(said.params, type=ProgressParams).token
        except (msgspec.DecodeError, UnicodeDecodeError):
            return
        again = self._around.driver.now() + self.policy.start_timeout_s
        longest = max(LONGEST_START_S, self.policy.start_timeout_s)
        self._start_deadline = min(again, self._began_at + longest)
        link.extend(token, handshake.START, self._start_deadline)

    async def _initialize(self, link: Link, deadline: float) -> InitializeResult:
        identity = PluginIdentity(
            name=self.name,
            instance=self._around.instance,
            generation=self.number,
            data_dir=self._data_dir,
            cache_dir=os.path.join(self._data_dir, "cache"),
        )
        return await handshake.initialize(
            link, self._candidate, identity, self.policy.settings, deadline=deadline
        )

    async def _with_secrets(self) -> dict[str, Any] | None:
        """Its settings, if there are secrets among them; None if `initialize` has told it everything.

        Raises SecretProblem.
        """
        schema = self.provides.config_schema
        if schema is None or not secret_paths(schema) or "secrets" not in self.features:
            return None
        settings = await resolved(self.policy.settings, schema)
        self.voice.secrets |= secret_values(settings, schema)
        return settings if settings != self.policy.settings else None

    async def _cancel_when_stopped(self, scope: anyio.CancelScope) -> None:
        await self._stop_asked.wait()
        scope.cancel()

    # -- while it runs ---------------------------------------------------------------------------

    async def _serve(self) -> Verdict:
        """Until it is gone, for whatever reason."""
        assert self.child is not None
        assert self.link is not None
        link = self.link
        hangs: list[Verdict] = []
        pulse = Pulse()

        def read() -> Reading:
            return reading(link, pulse, dropped=self._stats.dropped_records)

        idempotent = {method.name for method in self.provides.methods if method.idempotent}
        vitals = Vitals(self.number, idempotent, read(), now=self._around.driver.now())
        async with anyio.create_task_group() as tasks:

            async def until_unresponsive() -> None:
                driver = self._around.driver
                reason = await wait_unresponsive(link, driver, lambda: self.policy, pulse)
                hangs.append(Verdict(kind="unresponsive", text=reason))
                tasks.cancel_scope.cancel()

            async def until_blocked() -> None:
                reason = await wait_blocked(
                    vitals, read, self._post, self._around.driver, lambda: self.policy
                )
                hangs.append(Verdict(kind="blocked", text=reason))
                tasks.cancel_scope.cancel()

            async def until(event: anyio.Event) -> None:
                await event.wait()
                tasks.cancel_scope.cancel()

            tasks.start_soon(until_unresponsive)
            tasks.start_soon(until_blocked)
            tasks.start_soon(until, self.child.exited)
            tasks.start_soon(until, self._stop_asked)
            tasks.start_soon(until, self.voice.broken)
        if self.child.exit is None and self._stop_asked.is_set():
            await self._ladder()
            killed = "; it heeded neither shutdown nor SIGTERM, and was killed" if self._killed else ""
            return Verdict(kind="asked", text=f"stopped{killed}")
        if hangs:
            self._post(machine.Condemned(self.number, hangs[0].text))
            self._stack = []
            self.child.signal(signal.SIGABRT)  # Python prints every thread's stack, whoever holds its lock
            with anyio.move_on_after(STACK_S):
                await self.child.exited.wait()
            self._killed = True
            await self._kill_and_reap()
            return hangs[0]
        return await self._account_for_end(before="")

    async def _ladder(self) -> None:
        assert self.child is not None
        assert self.link is not None
        assert self.tree is not None
        grace = Grace(drain_s=self.policy.stop_timeout_s)
        await stop(self.child, self.link, self.tree, self._around.driver, grace)
        self._killed = self.child.exit is None or self.child.exit.signal == "SIGKILL"
        await self._kill_and_reap()

    # -- down ------------------------------------------------------------------------------------

    async def _account_for_end(self, *, before: str) -> Verdict:
        """Waits a moment for it to end by itself, sees to it, and says which it was."""
        assert self.child is not None
        with anyio.move_on_after(0 if self.voice.fault else PATIENCE_S):
            await self.child.exited.wait()
        by_itself = self.child.exit is not None
        await self._kill_and_reap()
        if breach := self._breach_of(self.child.exit):
            return Verdict(kind="limit", text=breach.text, fix=breach.fix)
        if by_itself and not self.voice.fault:
            return self._ended_as(self.child.exit, before=before)
        return Verdict(
            kind="broken-wire", text=self.voice.fault or "it closed its output and went on running"
        )

    async def _kill_and_reap(self) -> None:
        assert self.child is not None
        assert self.tree is not None
        self._killed = self._killed or self.child.exit is None
        with anyio.move_on_after(REAP_S, shield=True):
            if self.child.exit is None:
                await self.tree.end()
            self.kill()
            await self.child.exited.wait()
        if self.child.exit is None:
            self.is_stuck = True
            text = "it was killed and is still there: its kernel, or whoever traces it, holds it"
            self._post(machine.Condemned(self.number, text))
            await self.child.exited.wait()  # however long: it must not have a successor meanwhile
            self.is_stuck = False
        if self._stderr is not None:
            self._stderr.drain()  # its last words, which say why
        with anyio.move_on_after(REAP_S, shield=True):
            self._on_swept(await self.tree.sweep())

    def _let_go(self) -> None:
        if self._group is not None and self._around.groups is not None:
            self._around.groups.remove(self._group)
        if self._stderr is not None:
            self._stderr.close()
        if self.link is not None:
            self.link.close()

    def _breach_of(self, exit: Exit | None) -> Breach | None:
        """The limit that it was killed for, by us or by its control group."""
        if exit is not None and exit.signal != "SIGKILL":
            return None  # it was faster
        if self._breach is None and self._group is not None and self._group.oom_kills():
            return killed_by_kernel(self.policy)
        return self._breach

    def _ended_as(self, exit: Exit | None, *, before: str) -> Verdict:
        kills = oom_kills()
        runs_sdk = self._candidate.manifest.run.python is not None
        oom_killed = kills is not None and self._oom_kills is not None and kills > self._oom_kills
        found = diagnose(exit, self.stderr_tail, before=before, runs_sdk=runs_sdk, oom_killed=oom_killed)
        return from_exit(exit, found)

    def _last_word(self, verdict: Verdict) -> machine.Event:
        """The event for `verdict`, with everything that is known of this end."""
        child = self.child
        calls = self.link.unanswered if self.link is not None else []
        self.worked_on = worked_on(calls)
        verdict.text = masked(verdict.text, self.voice.secrets)
        verdict.traceback = [masked(line, self.voice.secrets) for line in verdict.traceback]
        return event_of(
            verdict,
            generation=self.number,
            incident=self.incident,
            exit=child.exit if child is not None else None,
            killed_by_host=self._killed,
            up_s=None if child is None else round(time.time() - child.started_at, 3),
            in_flight=[call.method for call in calls if call.method != "lifecycle/ping"],
            stderr=self.stderr_tail,
            stack=self._stack or (),
        )

    def _ask(self, event: Event, link: Link) -> None:
        self._around.on_ask(self.name, link, event)

    def _nudge(self) -> None:
        if self.child is not None:
            self.child.signal(signal.SIGURG)


def _bounds(policy: PluginPolicy) -> Bounds:
    return Bounds(policy.memory_bytes, policy.processes, policy.threads)
