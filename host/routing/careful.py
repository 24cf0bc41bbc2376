"""Calls of methods that a crash has been held against: some are refused, some go in one at a time.

One at a time, so that the next crash names its call; but only for a moment each, because nearly all
of them are innocent. `host.supervision.poison` has the rule that decides who is guilty.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from weakref import WeakKeyDictionary

import anyio
import msgspec

from host import errors
from host.process.fingerprint import fingerprint
from host.process.link import Link, Lost, OnProgress
from host.routing.chain import Chain
from host.supervision.poison import Incident
from host.supervision.supervisor import Supervisor
from protocol.envelope import Meta
from protocol.errors import ErrorCode, Refusal, Refused, RpcError

TURN_S = 0.1
"""A call that kills does it in less, mostly; after that the next one may go in beside it."""
PATIENCE_S = 1.0
"""And so many suspects are let in one at a time; never does one wait for half of its time."""
_NOT_RUN = (ErrorCode.OVERLOADED, ErrorCode.SHUTTING_DOWN, ErrorCode.REQUEST_CANCELLED)
"""Answers of a plugin that has not done what it was asked."""


class Careful:
    """Of one host. `now` is its monotonic clock."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._turns: WeakKeyDictionary[Supervisor, Turns] = WeakKeyDictionary()

    def refuse(self, supervisor: Supervisor, method: str, params: Any) -> None:
        """Raises PoisonCall for a call, or a stream, that is not sent any more."""
        poison = supervisor.poison
        if method in poison.watched:
            incidents = poison.incidents_of(fingerprint(method, params), self._now())
            if incidents:
                raise _refusal(supervisor.name, method, incidents)

    async def request(
        self,
        supervisor: Supervisor,
        link: Link,
        method: str,
        params: Any,
        deadline: float | None,
        meta: Meta | None,
        chain: Chain,
        on_progress: OnProgress | None,
    ) -> msgspec.Raw:
        """Like `Link.request`. Raises PoisonCall, and nothing was sent."""
        poison = supervisor.poison
        mark = fingerprint(method, params)
        if incidents := poison.incidents_of(mark, self._now()):
            raise _refusal(supervisor.name, method, incidents)
        if not poison.is_suspected(mark):
            return await link.request(
                method, params, deadline=deadline, meta=meta, chain=chain, on_progress=on_progress
            )
        left = None if deadline is None else deadline - self._now()
        patience_s = PATIENCE_S if left is None else min(PATIENCE_S, left / 2)
        async with self._turns.setdefault(supervisor, Turns(self._now)).turn(patience_s):
            if deadline is not None and meta is not None and meta.timeout_ms is not None:
                meta.timeout_ms = max(1, int((deadline - self._now()) * 1000))
            try:
                result = await link.request(
                    method, params, deadline=deadline, meta=meta, chain=chain, on_progress=on_progress
                )
            except RpcError as error:
                if error.code not in _NOT_RUN:
                    poison.came_back(mark)
                raise
            except Refused as refused:
                if refused.reason is Refusal.CLOSED:  # while it waited for its turn
                    raise Lost("the plugin ended before it was asked", was_sent=False) from None
                raise
        poison.came_back(mark)
        return result


class Turns:
    """One at a time, for a while: nobody's turn is longer than `TURN_S`."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._holder: object | None = None
        self._ends_at = 0.0
        self._is_over = anyio.Event()

    @asynccontextmanager
    async def turn(self, patience_s: float) -> AsyncIterator[None]:
        """Waits for the turns of others, but never longer than `patience_s`."""
        impatient_at = self._now() + patience_s
        while self._holder is not None:
            left_s = min(self._ends_at, impatient_at) - self._now()
            if left_s <= 0:
                break
            with anyio.move_on_after(left_s):
                await self._is_over.wait()
        holder = self._holder = object()
        self._ends_at = self._now() + TURN_S
        try:
            yield
        finally:
            if self._holder is holder:
                self._holder = None
                self._is_over.set()
                self._is_over = anyio.Event()


def _refusal(plugin: str, method: str, incidents: list[Incident]) -> errors.PoisonCall:
    names = ", ".join(incident.incident for incident in incidents)
    return errors.PoisonCall(
        f"with these params it has killed the plugin {len(incidents)} times (incidents {names}), "
        "and is not sent any more",
        hint=f"outboard why {plugin} shows how; once it is mended, outboard reload or "
        f"outboard release {plugin} lets it pass again, and so does an hour",
        data={"incidents": msgspec.to_builtins(incidents)},
        plugin=plugin,
        method=method,
    )
