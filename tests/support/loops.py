"""The event loops that a host runs on."""

from __future__ import annotations

from typing import Any

import pytest

LOOPS: dict[str, tuple[str, dict[str, Any]]] = {
    "asyncio": ("asyncio", {"use_uvloop": False}),
    "uvloop": ("asyncio", {"use_uvloop": True}),
    "trio": ("trio", {}),
}


def _on(*names: str) -> pytest.MarkDecorator:
    """The tests of a file follow loop by loop, so that they can share a host on each."""
    loops = [LOOPS[name] for name in names]
    return pytest.mark.parametrize("anyio_backend", loops, ids=names, scope="module")


on_every_loop = _on(*LOOPS)
on_asyncio_alone = _on("asyncio", "uvloop")
"""For what is native to asyncio: its tasks, its timeouts."""
on_trio_alone = _on("trio")
