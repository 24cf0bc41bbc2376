"""All plugins of a host: who is here, and what is asked of them by name.

Holds the supervisors' tasks. A cancellation around the host does not reach them, because they are what
ends the plugins in order; `leave` is their end, and takes a bounded time whatever the plugins do.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import anyio
import anyio.abc

from host import errors
from host.config.effective import effective, policy_problems
from host.config.model import HostConfig
from host.config.problems import FileProblem
from host.discovery.scan import scan
from host.discovery.validate import Candidate, load_manifest
from host.observability.bus import Bus
from host.observability.events import PluginProblem
from host.supervision.generation import Surroundings
from host.supervision.states import SERVING
from host.supervision.supervisor import Supervisor
from protocol.contract import nearest

STOP_S = 12.0
"""All plugins together, the ones that hang included."""


class SupervisorTree:
    """`plugins` is the table by name; everybody else reads it, and only the tree changes it."""

    def __init__(
        self,
        config: HostConfig,
        config_file: Path | None,
        folders: Sequence[Path],
        around: Surroundings,
        bus: Bus,
    ) -> None:
        self.plugins: dict[str, Supervisor] = {}
        self.problems: list[FileProblem] = []
        """Manifests, folders and keys that cannot be used; nothing else is affected by them."""
        self._config = config
        self._config_file = config_file
        self._folders = list(folders)
        if config_file is not None:
            self._folders += [config_file.parent / folder for folder in config.host.plugins]
        self._around = around
        self._bus = bus
        self._leaving = anyio.Event()
        self._tasks: anyio.abc.TaskGroup | None = None

    # -- in and out ------------------------------------------------------------------------------

    async def run(self, *, task_status: anyio.abc.TaskStatus[anyio.abc.TaskGroup]) -> None:
        """Holds the supervisors' tasks until `leave` is through."""
        with anyio.CancelScope(shield=True):
            async with anyio.create_task_group() as self._tasks:
                task_status.started(self._tasks)
                await self._leaving.wait()
                self._tasks.cancel_scope.cancel()

    async def populate(self) -> None:
        """Finds the plugins, and returns once every eager one has left `starting`."""
        found = scan(self._folders)
        self._note(found.problems)
        for candidate in found.candidates:
            self._admit(candidate)
        self._note_unknown_names()
        async with anyio.create_task_group() as starting:
            for supervisor in self.plugins.values():
                if supervisor.starts_by_itself:
                    starting.start_soon(supervisor.start, "started with the host")

    async def leave(self) -> None:
        """Ends every plugin and then the tasks. Never takes longer than `STOP_S`, and leaves no process."""
        try:
            with anyio.CancelScope(shield=True), anyio.move_on_after(STOP_S):
                async with anyio.create_task_group() as stopping:
                    for supervisor in self.plugins.values():
                        stopping.start_soon(supervisor.leave, "the host stops")
        finally:  # also when asyncio, which knows no shield, cancels us a second time
            for supervisor in self.plugins.values():
                supervisor.kill()  # whatever is left
            self._leaving.set()

    # -- plugins come and go -----------------------------------------------------------------------

    async def add(self, path: Path) -> str:
        """Registers the plugin at `path` and starts it if it is eager; returns its name.

        Raises:
            ManifestError: with every problem. PluginExists: the name is taken.
        """
        loaded = load_manifest(path)
        if isinstance(loaded, list):
            raise errors.ManifestError(loaded)
        name = loaded.name
        if name in self.plugins:
            raise errors.PluginExists(
                f"there is a plugin `{name}` already, from {self.plugins[name].candidate.file}",
                hint=f"outboard remove {name}, or give one of them another name",
                plugin=name,
            )
        supervisor = self._admit(loaded)
        if supervisor is None:
            raise errors.ManifestError([self.problems[-1]])
        if supervisor.starts_by_itself:
            await supervisor.start("added")
        return name

    async def remove(self, name: str) -> None:
        """Stops a plugin and forgets it. Raises PluginNotFound."""
        supervisor = self.known(name)
        with anyio.CancelScope(shield=True):  # half a removal would leave a name without a plugin
            await supervisor.leave("removed")
        if self.plugins.get(name) is supervisor:
            del self.plugins[name]

    async def start(self, name: str) -> None:
        """Starts a plugin and waits until it runs, or does not. Raises PluginNotFound, PluginUnavailable."""
        supervisor = self.known(name)
        await supervisor.start("started by an operator")
        _insist_that_it_runs(supervisor)

    async def stop(self, name: str) -> None:
        """Stops a plugin; it stays stopped. Raises PluginNotFound."""
        await self.known(name).stop("stopped by an operator")

    async def restart(self, name: str) -> None:
        """A new process, with a clean record. Raises PluginNotFound, PluginUnavailable."""
        supervisor = self.known(name)
        await supervisor.restart("restarted by an operator")
        _insist_that_it_runs(supervisor)

    def known(self, name: str) -> Supervisor:
        """The supervisor of that name. Raises PluginNotFound, with the name that was probably meant."""
        supervisor = self.plugins.get(name)
        if supervisor is None:
            raise errors.not_found(name, self.plugins)
        return supervisor

    @property
    def pids(self) -> list[int]:
        """Of the plugins' own processes that are there."""
        generations = [supervisor.generation for supervisor in self.plugins.values()]
        children = [generation.child for generation in generations if generation is not None]
        return [child.pid for child in children if child is not None and child.exit is None]

    # -- inside ------------------------------------------------------------------------------------

    def _admit(self, candidate: Candidate) -> Supervisor | None:
        policy = effective(candidate.manifest, self._config)
        if wrong := policy_problems(policy):
            self._note([FileProblem(candidate.file, None, "restart", text, None) for text in wrong])
            return None
        assert self._tasks is not None
        supervisor = Supervisor(candidate, policy, self._around, self._bus)
        self.plugins[supervisor.name] = supervisor
        self._tasks.start_soon(supervisor.run)
        return supervisor

    def _note_unknown_names(self) -> None:
        """The configuration may speak of plugins that are not here: a slip, or one that is added later."""
        file = os.fspath(self._config_file) if self._config_file is not None else ""
        for name in self._config.plugins:
            if name not in self.plugins:
                close = nearest(name, self.plugins)
                hint = f"did you mean `{close}`?" if close else None
                where = f"plugins.{name}"
                self._note([FileProblem(file, None, where, "there is no plugin of this name", hint)])

    def _note(self, problems: Sequence[FileProblem]) -> None:
        self.problems += problems
        for problem in problems:
            self._bus.emit(PluginProblem(file=problem.file, message=str(problem)))


def _insist_that_it_runs(supervisor: Supervisor) -> None:
    life = supervisor.life
    if life.state in SERVING:
        return
    raise errors.PluginUnavailable(
        f"it did not start: {life.reason}",
        state=life.state,
        reason=life.reason,
        hint=f"outboard logs {supervisor.name}",
        plugin=supervisor.name,
    )
