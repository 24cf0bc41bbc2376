"""The event loops that a host runs on."""

from __future__ import annotations

from typing import Any

import pytest

LOOPS: dict[str, tuple[str, dict[str, Any]]] = {
    "asyncio": ("asyncio", {"use_uvloop": False}),
    "uvloop": ("asyncio", {"use_uvloop": True}),
    "trio": ("trio", {}),
}

on_every_loop = pytest.mark.parametrize("anyio_backend", LOOPS.values(), ids=LOOPS.keys())
on_asyncio_alone = pytest.mark.parametrize(
    "anyio_backend", [LOOPS["asyncio"], LOOPS["uvloop"]], ids=["asyncio", "uvloop"]
)
"""For what is native to asyncio: its tasks, its timeouts."""
on_trio_alone = pytest.mark.parametrize("anyio_backend", [LOOPS["trio"]], ids=["trio"])
