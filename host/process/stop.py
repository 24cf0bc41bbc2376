"""The ladder down: drain, ask, close, SIGTERM, SIGKILL. Every rung has its time.

The lower rungs are signals alone: from SIGTERM on nobody is asked anything, so a plugin that hangs, or
is stopped, or ignores all it hears, is gone in time nevertheless. At the defaults that is 10.5 s.
"""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable

import anyio
import anyio.lowlevel
import msgspec

from host.process.driver import Driver
from host.process.link import Expired, Link, Lost
from host.process.spawn import Child
from host.process.tree import Tree
from protocol.errors import Refused, RpcError


class Grace(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds for each rung."""

    drain_s: float = 4.0
    shutdown_s: float = 3.0
    eof_s: float = 0.5
    term_s: float = 2.0
    kill_s: float = 1.0


async def stop(child: Child, link: Link, tree: Tree, driver: Driver, grace: Grace) -> bool:
    """Ends a plugin; False if it is still not reaped after everything. Takes its time, and no more."""
    await tree.look()  # once it has ended by itself, who was below it can be anywhere
    if child.exit is None:
        await _until(link.wait_idle, grace.drain_s)
    if child.exit is None:
        try:
            await link.request("shutdown", {}, deadline=driver.now() + grace.shutdown_s)
            link.notify("exit", {})
        except (RpcError, Refused, Expired, Lost):
            pass  # the next rung is the answer
    await anyio.lowlevel.checkpoint()  # lets the last frame leave before its pipe is closed
    link.close_input()
    if await _until(child.exited.wait, grace.eof_s):
        return True
    child.signal_group(signal.SIGTERM)
    if await _until(child.exited.wait, grace.term_s):
        return True
    await tree.end()
    child.kill()
    return await _until(child.exited.wait, grace.kill_s)


async def _until(condition: Callable[[], Awaitable[object]], seconds: float) -> bool:
    with anyio.move_on_after(seconds):
        await condition()
        return True
    return False
