"""All plugins in a line, for a service manager and for whoever waits for the end. Pure."""

from __future__ import annotations

from host.observability.snapshot import Status
from host.supervision.states import LIVE, SERVING

__all__ = ["count", "live", "summary"]


def count(status: Status) -> str:
    """ "3 of 4 plugins running"."""
    running = sum(plugin.state in SERVING for plugin in status.plugins)
    return f"{running} of {len(status.plugins)} plugins running"


def summary(status: Status) -> str:
    """How many run, and of each that ought to and does not: its state and why."""
    down = [plugin for plugin in status.plugins if plugin.expected and plugin.state not in SERVING]
    troubles = [
        f"{plugin.name}: {plugin.state}" + (f": {plugin.reason}" if plugin.reason else "") for plugin in down
    ]
    return "; ".join([count(status), *troubles])


def live(status: Status) -> list[str]:
    """The names of those that have a process."""
    return [plugin.name for plugin in status.plugins if plugin.state in LIVE]
