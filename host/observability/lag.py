"""How late the event loop is: the measure of whether anything blocks it."""

from __future__ import annotations

import time

import anyio

from host.observability.metrics import Latency

EVERY_S = 0.25


class LoopLag:
    def __init__(self) -> None:
        self.latency = Latency()

    async def run(self) -> None:
        """Measures until it is cancelled."""
        while True:
            due = time.monotonic() + EVERY_S
            await anyio.sleep(EVERY_S)
            self.latency.record(max(0.0, time.monotonic() - due))

    @property
    def p99_ms(self) -> float | None:
        return self.latency.quantile_ms(0.99)
