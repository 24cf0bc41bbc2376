"""How a plugin's process comes to be: forked by the zygote if it can be, executed in every other case.

There is one zygote a host, from the first plugin on that wants one. When it is of no use it is ended, and
tried again after a while; meanwhile plugins are executed, as they would be without it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Literal

from host.observability.events import WarmStarts
from host.observability.snapshot import WarmStart
from host.process.driver import Driver, Timer
from host.process.launchers import LaunchSpec, inherited_by_plugins
from host.process.spawn import Child, spawn
from host.process.zygote import Unusable, Zygote

BACKOFF_S = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
"""Before it is tried again; the last holds on."""
STEADY_S = 60.0
"""One that was good for so long has not failed again, but for the first time."""


class Starter:
    """`tell` hears when there come to be warm starts, or none any more. Used on the loop's thread alone."""

    def __init__(
        self,
        driver: Driver,
        instance: str,
        home: str,
        *,
        is_warm: bool,
        tell: Callable[[WarmStarts], None],
    ) -> None:
        self._driver = driver
        self._instance = instance
        self._home = home
        self._is_warm = is_warm
        self._tell = tell
        self._zygote: Zygote | None = None
        self._again: Timer | None = None
        self._begun_at = 0.0
        self._failures = 0
        self._reason: str | None = None

    async def start(self, spec: LaunchSpec) -> Child:
        """Starts `spec`. Takes seconds at most, also if the zygote hangs; raises OSError, and then nothing is
        left of it. What was started is always returned, and has to be owned by the caller."""
        if self._is_warm and spec.fork_as is not None:
            try:
                return await self._fork(spec)
            except Unusable:
                pass  # it was told, if it is more than this one start
        return spawn(spec, self._driver)

    def status(self) -> WarmStart:
        zygote = self._zygote
        state: Literal["off", "idle", "starting", "ready", "backoff"]
        if not self._is_warm:
            state = "off"
        elif zygote is not None:
            state = "ready" if zygote.is_ready else "starting"
        else:
            state = "idle" if self._again is None else "backoff"
        return WarmStart(state=state, pid=zygote.pid if zygote is not None else None, reason=self._reason)

    async def close(self) -> None:
        """Ends the zygote. Nothing may be started afterwards."""
        self._is_warm = False
        if self._again is not None:
            self._again.cancel()
        if self._zygote is not None:
            await self._zygote.close()

    async def _fork(self, spec: LaunchSpec) -> Child:
        if self._zygote is None and self._again is None:
            self._begin()
        if self._zygote is None:
            raise Unusable(self._reason or "")
        await self._zygote.wait_ready()
        return await self._zygote.fork(spec)

    def _begin(self) -> None:
        self._again, self._begun_at = None, self._driver.now()
        environment = {**inherited_by_plugins(os.environ), "HOME": self._home, "PYTHONUTF8": "1"}
        try:
            self._zygote = Zygote(
                self._driver, self._instance, environment, on_ready=self._ready, on_gone=self._gone
            )
        except OSError as error:
            self._gone(f"cannot be started: {error.strerror or error}")

    def _ready(self) -> None:
        if self._reason is not None:
            self._reason = None
            self._tell(WarmStarts(are_possible=True, reason="the zygote is ready"))

    def _gone(self, reason: str) -> None:
        self._zygote = None
        if not self._is_warm:
            return  # closing
        now = self._driver.now()
        self._failures = self._failures + 1 if now - self._begun_at < STEADY_S else 1
        self._reason = f"the zygote {reason}"
        wait_s = BACKOFF_S[min(self._failures, len(BACKOFF_S)) - 1]
        self._again = self._driver.call_at(now + wait_s, self._begin)
        self._tell(WarmStarts(are_possible=False, reason=self._reason, again_in_s=wait_s))
