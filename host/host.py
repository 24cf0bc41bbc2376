"""`Host`: plugins inside an asyncio program. A façade; every method hands on to the room that knows.

    async with Host(plugins=["plugins/"]) as host:
        await host.call("hello", "greet", name="Ada", timeout=1)

Entering returns once every eager plugin has left `starting`; a plugin's failure never raises there.
Leaving stops all of them, inside a bounded time, also when the body was cancelled. Installs no signal
handler, no log handler, and reads no configuration but the one it is given.
"""

from __future__ import annotations

import os
import platform
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from types import EllipsisType, TracebackType
from typing import Any

import anyio
import anyio.abc
import msgspec

import protocol
from host import errors
from host.config.effective import effective, policy_problems
from host.config.load import load_config
from host.config.model import HostConfig
from host.config.problems import FileProblem
from host.discovery.scan import scan
from host.discovery.validate import Candidate, load_manifest
from host.observability.bus import Bus
from host.observability.events import HostEvent, PluginProblem, StateChanged
from host.observability.lag import LoopLag
from host.observability.snapshot import HostStatus, Status
from host.process.deadlines import Deadlines
from host.process.driver import AsyncioDriver
from host.routing.router import Router, not_found
from host.supervision.generation import Surroundings
from host.supervision.report import report
from host.supervision.states import State
from host.supervision.supervisor import Supervisor
from host.supervision.usage import UsageSampler
from protocol.contract import nearest

STOP_S = 12.0
"""All plugins together, the ones that hang included."""

_Path = str | os.PathLike[str]


class Host:
    """Starts, supervises and calls plugins.

    `plugins`: folders to look for plugins in, or plugins themselves. `config`: an `outboard.toml`.
    `data_dir`: where each plugin's own folder is made.

    Raises (on entering):
        ConfigError: with every problem of the configuration.
    """

    def __init__(
        self,
        *,
        config: _Path | None = None,
        plugins: Sequence[_Path] = (),
        data_dir: _Path | None = None,
    ) -> None:
        self._config_file = Path(config) if config is not None else None
        self._folders = [Path(folder) for folder in plugins]
        self._data_root = str(data_dir) if data_dir is not None else _default_data_root()
        self._bus = Bus()
        self._plugins: dict[str, Supervisor] = {}
        self._problems: list[FileProblem] = []
        self._config = HostConfig()
        self._usage = UsageSampler()
        self._lag = LoopLag()
        self._bus.subscribe(self._look_at_new_processes)
        self._started_at = time.monotonic()
        self._tasks: anyio.abc.TaskGroup | None = None
        self._supervision: anyio.abc.TaskGroup | None = None
        self._leaving = anyio.Event()
        self._router: Router | None = None
        self.mode = "embedded"
        self.socket: str | None = None

    # -- in and out ------------------------------------------------------------------------------

    async def __aenter__(self) -> Host:
        if self._tasks is not None or self._leaving.is_set():
            raise errors.HostMisuse("this host has been entered already", hint="make another Host")
        self._config = load_config(self._config_file)
        if self._config_file is not None:
            self._folders += [self._config_file.parent / folder for folder in self._config.host.plugins]
        try:
            self._driver = AsyncioDriver()
        except RuntimeError:
            raise errors.HostMisuse(
                "this version of Host runs on asyncio alone", hint="use asyncio.run(main())"
            ) from None
        self._deadlines = Deadlines(self._driver)
        self._around = Surroundings(
            driver=self._driver,
            deadlines=self._deadlines,
            starts=anyio.CapacityLimiter(self._config.host.max_starts or 2 * (os.cpu_count() or 1)),
            instance=uuid.uuid4().hex[:8],
            data_root=self._data_root,
        )
        self._router = Router(self._plugins, self._driver, self._bus)
        self._started_at = time.monotonic()
        self._tasks = anyio.create_task_group()
        await self._tasks.__aenter__()
        try:
            with anyio.CancelScope(shield=True):  # or entering in a cancelled scope would hang
                supervision = self._supervision = await self._tasks.start(self._supervise)
            supervision.start_soon(self._usage.run, self._pids)
            supervision.start_soon(self._lag.run)
            found = scan(self._folders)
            self._note_problems(found.problems)
            for candidate in found.candidates:
                self._admit(candidate)
            self._note_unknown_names()
            async with anyio.create_task_group() as starting:
                for supervisor in self._plugins.values():
                    if supervisor.policy.start_mode == "eager" and supervisor.policy.enabled:
                        starting.start_soon(supervisor.start, "started with the host")
        except BaseException as error:
            await self.__aexit__(type(error), error, error.__traceback__)
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        assert self._tasks is not None
        self._router = None
        try:
            with anyio.CancelScope(shield=True), anyio.move_on_after(STOP_S):
                async with anyio.create_task_group() as stopping:
                    for supervisor in self._plugins.values():
                        stopping.start_soon(supervisor.leave, "the host stops")
        finally:  # also when asyncio, which knows no shield, cancels us a second time
            for supervisor in self._plugins.values():
                supervisor.kill()  # whatever is left
            self._leaving.set()
            tasks, self._tasks = self._tasks, None
            if not isinstance(error, anyio.get_cancelled_exc_class()):
                kind = error = trace = None  # the body's own exception goes on as it is, not in a group
            try:
                swallow = await tasks.__aexit__(kind, error, trace)
            finally:
                self._deadlines.close()
        return swallow

    # -- calls -----------------------------------------------------------------------------------

    async def call(
        self,
        plugin: str,
        method: str,
        /,
        *,
        timeout: float | EllipsisType | None = ...,
        params: Any = None,
        **named: Any,
    ) -> Any:
        """The result of a plugin's method, as JSON decodes it.

        `timeout` is in seconds, None for none; not given, it is the method's own, else 30 s.
        Parameters are given by name; `params` takes a dict or a struct for names that collide.
        Cancel-safe: the plugin is told.

        Raises:
            PluginNotFound, PluginUnavailable, PluginCrashed, DeadlineExceeded, RemoteError,
            MethodNotFound, ContractError, PluginBusy, PayloadTooLarge, NotSerializable, HostMisuse.
        """
        raw = await self.call_raw(plugin, method, named if params is None else params, timeout)
        return msgspec.json.decode(raw)

    async def call_raw(
        self, plugin: str, method: str, params: Any, timeout: float | EllipsisType | None
    ) -> msgspec.Raw:
        """Like `call`, with the result as raw JSON: for handing it on as it is."""
        if self._router is None:
            raise errors.HostMisuse(
                "this host is not running", hint="call it inside `async with Host(...) as host:`"
            )
        return await self._router.call(plugin, method, params, timeout)

    # -- plugins come and go -----------------------------------------------------------------------

    async def add(self, path: _Path) -> str:
        """Registers the plugin at `path` and starts it if it is eager; returns its name.

        Raises:
            ManifestError: with every problem. PluginExists: the name is taken.
        """
        self._running()
        loaded = load_manifest(Path(path))
        if isinstance(loaded, list):
            raise errors.ManifestError(loaded)
        name = loaded.manifest.plugin.name
        if name in self._plugins:
            raise errors.PluginExists(
                f"there is a plugin `{name}` already, from {self._plugins[name].candidate.file}",
                hint=f"outboard remove {name}, or give one of them another name",
                plugin=name,
            )
        supervisor = self._admit(loaded)
        if supervisor is None:
            raise errors.ManifestError([self._problems[-1]])
        if supervisor.policy.start_mode == "eager" and supervisor.policy.enabled:
            await supervisor.start("added")
        return name

    async def remove(self, name: str) -> None:
        """Stops a plugin and forgets it. Raises PluginNotFound."""
        supervisor = self._known(name)
        with anyio.CancelScope(shield=True):  # half a removal would leave a name without a plugin
            await supervisor.leave("removed")
        if self._plugins.get(name) is supervisor:
            del self._plugins[name]

    async def start(self, name: str) -> None:
        """Starts a plugin and waits until it runs, or does not. Raises PluginNotFound, PluginUnavailable."""
        supervisor = self._known(name)
        await supervisor.start("started by an operator")
        self._insist_that_it_runs(supervisor)

    async def stop(self, name: str) -> None:
        """Stops a plugin; it stays stopped. Raises PluginNotFound."""
        await self._known(name).stop("stopped by an operator")

    async def restart(self, name: str) -> None:
        """A new process, with a clean record. Raises PluginNotFound, PluginUnavailable."""
        supervisor = self._known(name)
        await supervisor.restart("restarted by an operator")
        self._insist_that_it_runs(supervisor)

    # -- looking -----------------------------------------------------------------------------------

    def status(self, name: str | None = None) -> Status:
        """A frozen picture of everything, or of one plugin. Asks no plugin. Raises PluginNotFound."""
        self._running()
        wanted = list(self._plugins.values()) if name is None else [self._known(name)]
        now = self._driver.now()
        reports = []
        for supervisor in sorted(wanted, key=lambda supervisor: supervisor.name):
            child = supervisor.generation.child if supervisor.generation is not None else None
            usage = self._usage.usage.get(child.pid) if child is not None else None
            reports.append(report(supervisor, usage, now=now))
        host = HostStatus(
            pid=os.getpid(),
            version=protocol.__version__,
            uptime_s=round(time.monotonic() - self._started_at, 3),
            socket=self.socket,
            mode=self.mode,
            loop_lag_p99_ms=self._lag.p99_ms,
            python=platform.python_version(),
            platform=sys.platform,
            problems=[str(problem) for problem in self._problems],
        )
        return Status(host=host, plugins=reports)

    def schema_of(self, plugin: str, method: str) -> dict[str, Any] | None:
        """JSON Schema of a method's params, if the plugin has given one. Raises PluginNotFound."""
        methods = self._known(plugin).provides.methods
        return next((info.params for info in methods if info.name == method), None)

    def on_event(self, subscriber: Callable[[HostEvent], None]) -> Callable[[], None]:
        """Calls `subscriber` with everything that happens; returns the function that ends it."""
        return self._bus.subscribe(subscriber)

    # -- inside ------------------------------------------------------------------------------------

    async def _supervise(self, *, task_status: anyio.abc.TaskStatus[anyio.abc.TaskGroup]) -> None:
        """Holds the supervisors' tasks. A cancellation around the host must not reach them: they are
        what ends the plugins in order."""
        with anyio.CancelScope(shield=True):
            async with anyio.create_task_group() as tasks:
                task_status.started(tasks)
                await self._leaving.wait()
                tasks.cancel_scope.cancel()

    def _look_at_new_processes(self, event: HostEvent) -> None:
        if isinstance(event, StateChanged) and event.state == State.RUNNING:
            self._usage.look_soon()

    def _admit(self, candidate: Candidate) -> Supervisor | None:
        policy = effective(candidate.manifest, self._config)
        if wrong := policy_problems(policy):
            file = candidate.file
            self._note_problems([FileProblem(file, None, "restart", text, None) for text in wrong])
            return None
        assert self._supervision is not None
        supervisor = Supervisor(candidate, policy, self._around, self._bus)
        self._plugins[supervisor.name] = supervisor
        self._supervision.start_soon(supervisor.run)
        return supervisor

    def _note_unknown_names(self) -> None:
        """The configuration may speak of plugins that are not here: a slip, or one that is added later."""
        for name in self._config.plugins:
            if name not in self._plugins:
                close = nearest(name, self._plugins)
                hint = f"did you mean `{close}`?" if close else None
                where = f"plugins.{name}"
                self._note_problems(
                    [
                        FileProblem(
                            str(self._config_file), None, where, "there is no plugin of this name", hint
                        )
                    ]
                )

    def _note_problems(self, problems: Sequence[FileProblem]) -> None:
        self._problems += problems
        for problem in problems:
            self._bus.emit(PluginProblem(file=problem.file, message=str(problem)))

    def _known(self, name: str) -> Supervisor:
        self._running()
        supervisor = self._plugins.get(name)
        if supervisor is None:
            raise not_found(name, self._plugins)
        return supervisor

    def _running(self) -> None:
        if self._router is None:
            raise errors.HostMisuse(
                "this host is not running", hint="use it inside `async with Host(...) as host:`"
            )

    def _insist_that_it_runs(self, supervisor: Supervisor) -> None:
        life = supervisor.life
        if life.state is State.RUNNING:
            return
        raise errors.PluginUnavailable(
            f"it did not start: {life.reason}",
            state=life.state,
            reason=life.reason,
            hint=f"outboard logs {supervisor.name}",
            plugin=supervisor.name,
        )

    def _pids(self) -> list[int]:
        generations = [supervisor.generation for supervisor in self._plugins.values()]
        children = [generation.child for generation in generations if generation is not None]
        return [child.pid for child in children if child is not None and child.exit is None]


def _default_data_root() -> str:
    base = os.environ.get("XDG_DATA_HOME") or os.path.join(os.path.expanduser("~"), ".local", "share")
    return os.path.join(base, "outboard", "data")
