"""Which calls a call is made for, and when one more would never end. Pure.

A chain is derived from what the host itself has in flight: a plugin says only which request of the host's
its own is made for. Two rules end what would go on for ever:

* a call is refused when the same method of the same plugin is in its chain already, with the same params:
  what led from the first to the second would lead to a third. With other params it is recursion;
* and it is refused when `MAX_DEPTH` calls of plugins are in its chain, for what recurses without an end.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any, NamedTuple

import msgspec

from host.errors import CallCycle
from protocol import values
from protocol.envelope import MessageId
from protocol.errors import ErrorCode

MAX_DEPTH = 64
SHOWN = 4
"""Calls at either end of a long chain that are shown; all of them are in the error's data."""


class Step(NamedTuple):
    """A call in flight, and the request that was made for it."""

    plugin: str
    """Empty for a service of the app's."""
    method: str
    params: Any
    link: Any = None
    """To the process that works on it."""
    request: MessageId | None = None
    """What that process asked for meanwhile, by its own numbers."""

    def __str__(self) -> str:
        return f"{self.plugin}.{self.method}" if self.plugin and self.method else self.plugin or self.method


Chain = tuple[Step, ...]
current: ContextVar[Chain] = ContextVar("outboard_chain", default=())
"""Of the work that this task, or this thread, does for a plugin."""


def refuse_cycle(chain: Chain, plugin: str, method: str, params: Any) -> None:
    """Raises `CallCycle` for a call that would be one too many."""
    if any(_comes_again(step, plugin, method, params) for step in chain):
        why = "it would go round in a circle"
    elif sum(bool(step.plugin) for step in chain) >= MAX_DEPTH:
        why = f"it would be more than {MAX_DEPTH} calls inside one another"
    else:
        return
    names = [*map(str, chain), f"{plugin}.{method}"]
    shown = names if len(names) <= 2 * SHOWN else [*names[:SHOWN], "…", *names[-SHOWN:]]
    raise CallCycle(
        f"{why}: {' → '.join(shown)}",
        remote_code=ErrorCode.CALL_CYCLE,
        remote_name=ErrorCode.CALL_CYCLE.name,
        data={"chain": names},
        hint="one of the plugins has to do without the call",
        plugin=plugin,
        method=method,
    )


def request_behind(chain: Chain, link: Any) -> MessageId | None:
    """The request of the process at `link` that leads to a call of it, the innermost; None if none does."""
    return next((step.request for step in reversed(chain) if step.link is link), None)


def _comes_again(step: Step, plugin: str, method: str, params: Any) -> bool:
    if step.plugin != plugin:
        return False
    if step.method == "lifecycle/start":  # it answers nobody before its start code has come back
        return True
    return step.method == method and _plain(step.params) == _plain(params)


def _plain(params: Any) -> Any:
    """As the plugin sees them, whether they came as a struct, a dict or raw JSON."""
    try:
        if isinstance(params, msgspec.Raw):
            return values.decode(params)
        return msgspec.json.decode(msgspec.json.encode(params))
    except Exception:  # whatever a value's own code raises; sending it will say so
        return object()
