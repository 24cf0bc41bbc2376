"""What plugins ask about their own settings: what they are, and to have them changed.

A change takes its turn among all changes of the configuration, and is made by `Reloading.change_own`. While
it waits for its turn it gives up if its plugin is about to go: the handler that waits for it would keep the
plugin from being stopped, which may be what it waits for.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any
from weakref import WeakKeyDictionary

import anyio
import msgspec

from host import errors
from host.config.lines import KeyPath
from host.config.problems import FileProblem, dotted
from host.process.link import Link
from host.supervision.generation import Generation
from host.supervision.reloading import Reloading
from host.supervision.states import SERVING, State
from host.supervision.supervisor import Supervisor
from protocol import values
from protocol.errors import ErrorCode, RpcError
from protocol.lifecycle import ConfigTold, ConfigUpdate, ParamProblem
from protocol.phases import Phase

BURST = 20
RATE_PER_S = 1.0
"""Changes that one plugin may ask for, refused ones too: each asks the plugin, and the disk."""


class _Rate:
    """Of one plugin."""

    def __init__(self, now: float) -> None:
        self._left = float(BURST)
        self._filled_at = now

    def wait_s(self, now: float) -> float:
        """Takes one, or says in how many seconds there is one."""
        self._left = min(BURST, self._left + (now - self._filled_at) * RATE_PER_S)
        self._filled_at = now
        if self._left < 1:
            return (1 - self._left) / RATE_PER_S
        self._left -= 1
        return 0.0


class OwnSettings:
    """Everything in here raises RpcError for what is refused. `now` is the host's clock."""

    def __init__(
        self, plugins: Mapping[str, Supervisor], reloading: Reloading, now: Callable[[], float]
    ) -> None:
        self._plugins = plugins
        self._reloading = reloading
        self._now = now
        self._rates: WeakKeyDictionary[Supervisor, _Rate] = WeakKeyDictionary()

    def get(self, plugin: str, link: Link) -> ConfigTold:
        """The settings of the process at the other end of `link`, as it was told them."""
        return self._asker(plugin, link)[1].told

    async def update(self, plugin: str, link: Link, params: msgspec.Raw, timeout_s: float) -> ConfigTold:
        """Makes them so; returns what holds then, and the plugin has been told. `params` as they came."""
        try:
            wanted = values.decode(params, ConfigUpdate)
        except (msgspec.DecodeError, UnicodeDecodeError) as problem:
            data = [ParamProblem(path="$", reason=str(problem))]
            raise RpcError(ErrorCode.INVALID_PARAMS, f"config/update: {problem}", data) from None
        with anyio.move_on_after(timeout_s):
            return await self._update(plugin, link, wanted)
        text = f"the settings could not be changed within {timeout_s:g} s; nothing has changed"
        raise RpcError(ErrorCode.DEADLINE_EXCEEDED, text)

    async def _update(self, plugin: str, link: Link, wanted: ConfigUpdate) -> ConfigTold:
        supervisor, generation = self._asker(plugin, link)
        self._take_from_rate(supervisor)
        key = ("plugins", plugin, "settings")
        changes: dict[KeyPath, Any] = {(*key, name): value for name, value in wanted.set.items()}
        changes |= {(*key, name): msgspec.UNSET for name in wanted.unset}
        async with self._turn(supervisor, link):
            seen, now = wanted.config_revision, supervisor.settings_revision
            if seen is not None and seen != now:
                text = f"the settings have changed since revision {seen}"
                raise RpcError(ErrorCode.INVALID_STATE, text, {"config_revision": now})
            try:
                await self._reloading.change_own(supervisor, generation, changes)
            except errors.ConfigError as error:
                raise _refusal(plugin, error) from None
            return generation.told

    def _asker(self, plugin: str, link: Link) -> tuple[Supervisor, Generation]:
        supervisor = self._plugins.get(plugin)
        generation = supervisor.generation if supervisor is not None else None
        if supervisor is None or generation is None or generation.link is not link or _is_going(supervisor):
            raise _going(plugin)
        return supervisor, generation

    def _take_from_rate(self, supervisor: Supervisor) -> None:
        now = self._now()
        rate = self._rates.setdefault(supervisor, _Rate(now))
        if wait_s := rate.wait_s(now):
            data = {"limit": BURST, "retry_after_ms": int(wait_s * 1000) + 1}
            text = f"more than {BURST} changes of settings at once, or {RATE_PER_S:g} a second from then on"
            raise RpcError(ErrorCode.OVERLOADED, text, data)

    @asynccontextmanager
    async def _turn(self, supervisor: Supervisor, link: Link) -> AsyncIterator[None]:
        """One change at a time."""
        if not await self._acquire(supervisor):
            raise _going(supervisor.name)
        try:
            if link.session.phase is not Phase.READY:
                raise _going(supervisor.name)
            yield
        finally:
            self._reloading.turn.release()

    async def _acquire(self, supervisor: Supervisor) -> bool:
        """Whether it is our turn, once it is, or once the plugin is about to go."""
        is_ours = False
        try:
            async with anyio.create_task_group() as tasks:

                async def give_up() -> None:
                    await supervisor.wait_until(lambda _: _is_going(supervisor))
                    tasks.cancel_scope.cancel()

                tasks.start_soon(give_up)
                await self._reloading.turn.acquire()
                is_ours = True
                tasks.cancel_scope.cancel()
        except BaseException:
            if is_ours:  # cancelled in this very moment
                self._reloading.turn.release()
            raise
        return is_ours


def _is_going(supervisor: Supervisor) -> bool:
    return supervisor.life.state not in SERVING and supervisor.life.state is not State.STARTING


def _going(plugin: str) -> RpcError:
    return RpcError(ErrorCode.SHUTTING_DOWN, f"`{plugin}` is about to be stopped; nothing has changed")


def _refusal(plugin: str, error: errors.ConfigError) -> RpcError:
    """The host's problems as the plugin's own: by the names of its settings."""
    problems = [_as_own(plugin, problem) for problem in error.problems]
    text = "; ".join(f"{each.path}: {each.reason}" for each in problems)
    return RpcError(ErrorCode.INVALID_PARAMS, text, problems)


def _as_own(plugin: str, problem: Any) -> ParamProblem:
    if not isinstance(problem, FileProblem):
        return ParamProblem(path="$", reason=str(problem))
    prefix = dotted(("plugins", plugin, "settings"))
    hint = f"; {problem.hint}" if problem.hint else ""
    if problem.key == prefix or problem.key.startswith(f"{prefix}."):
        return ParamProblem(path=f"${problem.key.removeprefix(prefix)}", reason=f"{problem.reason}{hint}")
    return ParamProblem(path="$", reason=str(problem))
