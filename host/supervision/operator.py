"""What an operator says to a plugin, by name: start, stop, restart, release, enable, disable.

Each waits until it is so, or clearly will not be.
"""

from __future__ import annotations

from host import errors
from host.supervision.states import HELD_BACK, SERVING, State
from host.supervision.supervisor import Supervisor
from host.supervision.tree import SupervisorTree


class Operator:
    """All of it raises PluginNotFound for a name that is not there."""

    def __init__(self, tree: SupervisorTree) -> None:
        self._tree = tree

    async def start(self, name: str) -> None:
        """Starts a plugin, also one that is quarantined. Raises PluginDisabled, PluginUnavailable."""
        supervisor = self._enabled(name)
        await supervisor.start("started by an operator")
        _insist_that_it_runs(supervisor)

    async def stop(self, name: str) -> None:
        """Stops a plugin, and before it those that require it; it stays stopped, and they wait."""
        supervisor = self._tree.roster.named(name)
        async with self._tree.requirements.stood_down(name):
            await supervisor.stop("stopped by an operator")

    async def restart(self, name: str) -> None:
        """A new process, with a clean record. Raises PluginDisabled, PluginUnavailable."""
        supervisor = self._enabled(name)
        await supervisor.restart("restarted by an operator")
        _insist_that_it_runs(supervisor)

    async def release(self, name: str) -> bool:
        """Clears a plugin's record, and starts it if it is held back; False if there was nothing to clear.

        One that serves goes on, and takes the calls again that were refused because they kill it.

        Raises:
            PluginDisabled, PluginUnavailable.
        """
        supervisor = self._enabled(name)
        if supervisor.life.state not in HELD_BACK:
            return supervisor.poison.forget()
        await supervisor.restart("released by an operator")
        _insist_that_it_runs(supervisor)
        return True

    async def enable(self, name: str) -> bool:
        """Lets a plugin run again, and starts it if it is eager; False if it was enabled already.

        Raises:
            PluginUnavailable.
        """
        supervisor = self._tree.roster.named(name)
        if supervisor.policy.enabled:
            return False
        self._tree.switch(supervisor, enabled=True)
        await supervisor.enable("enabled by an operator")
        await self._tree.memory.saved()
        if supervisor.policy.start_mode == "eager":
            _insist_that_it_runs(supervisor)
        return True

    async def disable(self, name: str) -> bool:
        """Keeps a plugin from running, under hosts to come too; False if it was disabled already."""
        supervisor = self._tree.roster.named(name)
        was_enabled = supervisor.policy.enabled
        self._tree.switch(supervisor, enabled=False)
        async with self._tree.requirements.stood_down(name):
            await supervisor.disable("disabled by an operator")
        await self._tree.memory.saved()
        return was_enabled

    def _enabled(self, name: str) -> Supervisor:
        supervisor = self._tree.roster.named(name)
        if supervisor.life.state is State.DISABLED:
            reason = supervisor.life.reason
            raise errors.PluginDisabled(reason, hint=f"outboard enable {name}", plugin=name)
        return supervisor


def _insist_that_it_runs(supervisor: Supervisor) -> None:
    life = supervisor.life
    if life.state in SERVING:
        return
    kind = errors.PluginUnfit if supervisor.is_unfit else errors.PluginUnavailable
    raise kind(
        f"it did not start: {life.reason}",
        state=life.state,
        reason=life.reason,
        hint=f"outboard why {supervisor.name}",
        plugin=supervisor.name,
    )
