"""Plugins that are being worked on, run in the foreground: what becomes of them is told, and a save is seen.

A thin thing around a host that watches. `Teller` says what happens, `Workshop` has the host and makes the
call that is made again each time a plugin has started.
"""

from __future__ import annotations

import signal
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import anyio
import anyio.abc
import msgspec

from host.authoring.trial import trial
from host.control.arguments import typed_arguments
from host.discovery.validate import Candidate
from host.errors import MethodNotFound, OutboardError
from host.host import Host
from host.observability.events import CallFailed, HostEvent, StateChanged
from host.supervision.states import SERVING
from protocol.contract import nearest
from protocol.errors import ErrorCode
from protocol.lifecycle import MethodInfo, Provides

__all__ = ["Errand", "Teller", "Workshop"]

WATCH = {"enabled": True, "interval": "200ms", "debounce": "100ms", "burst": 1_000_000}
"""Somebody is waiting for it, and saves as often as they like."""
BACKLOG = 10_000
"""Events that a slow terminal may be behind by; more of them are lost."""


class Errand(msgspec.Struct, frozen=True):
    """A call to be made whenever a plugin has started; of a method, or of a hook of its."""

    method: str
    arguments: dict[str, str]
    plugin: str | None = None
    """Whose method it is; None for whoever has it."""

    def __str__(self) -> str:
        return " ".join([self.method, *(f"{key}={value}" for key, value in self.arguments.items())])


class Teller(Protocol):
    """Whoever prints."""

    def event(self, event: HostEvent) -> None: ...

    def provides(self, plugin: str, methods: Sequence[MethodInfo], hooks: Sequence[str]) -> None: ...

    def calling(self, plugin: str, errand: Errand) -> None: ...

    def result(self, value: Any) -> None: ...

    def failed(self, error: OutboardError) -> None: ...


class Workshop:
    """`run` returns when it is interrupted."""

    def __init__(
        self, candidates: Sequence[Candidate], errand: Errand | None, config: Path | None, teller: Teller
    ) -> None:
        self._candidates = candidates
        self._errand = errand
        self._config = config
        self._teller = teller
        self._told: dict[str, bytes] = {}
        """What each plugin provided when that was told last."""
        self._tasks: anyio.abc.TaskGroup
        self._called: dict[str, int] = {}
        """The generation of each that the call was made to."""

    async def run(self) -> None:
        """Raises ConfigError."""
        with tempfile.TemporaryDirectory(prefix="outboard-dev-", ignore_cleanup_errors=True) as folder:
            host = trial(self._candidates, folder, config=self._config, watch=WATCH)
            into, events = anyio.create_memory_object_stream[HostEvent](BACKLOG)
            host.on_event(lambda event: _put(into, event))
            async with anyio.create_task_group() as tasks, into, events:
                self._tasks = tasks
                tasks.start_soon(self._end_when_told, tasks.cancel_scope)
                async with host:
                    async for event in events:
                        self._take(host, event)

    async def _end_when_told(self, scope: anyio.CancelScope) -> None:
        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async for _ in signals:
                scope.cancel()

    def _take(self, host: Host, event: HostEvent) -> None:
        if isinstance(event, CallFailed) and self._errand is not None and event.method == self._errand.method:
            return  # it is our own, and has been told
        self._teller.event(event)
        if isinstance(event, StateChanged) and event.state in SERVING:
            self._serve(host, event)

    def _serve(self, host: Host, event: StateChanged) -> None:
        """What a plugin that serves provides, if that is news; and the call, once to each process."""
        name = event.plugin
        if (
            self._called.get(name) == event.generation
            or host.status(name).plugins[0].generation != event.generation
        ):
            return
        self._called[name] = event.generation
        provides = host.provides_of(name)
        hooks = [hook.point for hook in provides.hooks]
        if self._told.get(name) != (now := msgspec.json.encode(provides)):
            self._told[name] = now
            self._teller.provides(name, provides.methods, hooks)
        errand = self._errand
        if errand is not None and errand.plugin in (None, name):
            self._tasks.start_soon(self._carry_out, host, name, errand, provides)

    async def _carry_out(self, host: Host, name: str, errand: Errand, provides: Provides) -> None:
        methods = {method.name: method for method in provides.methods}
        hooks = {hook.point: hook for hook in provides.hooks}
        try:
            if errand.method in methods:
                self._teller.calling(name, errand)
                await self._call(host, name, methods[errand.method], errand)
            elif errand.method in hooks:
                self._teller.calling(name, errand)
                schema = hooks[errand.method].schema or {}
                params = typed_arguments(errand.arguments, schema.get("params"))
                self._teller.result((await host.hook(errand.method, params=params)).value)
            elif len(self._candidates) == 1 or errand.plugin is not None:
                raise _no_method(name, errand.method, [*methods, *hooks])
        except OutboardError as error:
            self._teller.failed(error)

    async def _call(self, host: Host, name: str, method: MethodInfo, errand: Errand) -> None:
        params = typed_arguments(errand.arguments, method.params)
        if method.stream:
            async for item in host.stream(name, method.name, params=params):
                self._teller.result(item)
        else:
            self._teller.result(await host.call(name, method.name, params=params))


def _put(into: Any, event: HostEvent) -> None:
    try:
        into.send_nowait(event)
    except (anyio.WouldBlock, anyio.ClosedResourceError):
        pass


def _no_method(plugin: str, method: str, known: Sequence[str]) -> MethodNotFound:
    close = nearest(method, known)
    hint = f"did you mean `{close}`?" if close else f"it has: {', '.join(known)}"
    code = ErrorCode.METHOD_NOT_FOUND
    return MethodNotFound(
        f"no method `{method}`", remote_code=code, remote_name=code.name, hint=hint, plugin=plugin
    )
