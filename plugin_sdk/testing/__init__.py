"""Tests of a plugin, without a host and without a process of its own.

    from pathlib import Path
    from plugin_sdk.testing import running

    def test_it_greets():
        with running(Path(__file__).parent) as plugin:
            assert plugin.call("greet", name="Ada") == "Hello, Ada."

The plugin runs as it does for a host, on a thread of the test's process: it is introduced, told its settings
and started, and what goes over is real frames, checked against the type hints on both sides. What else it
finds is the test's to say: settings, services of the app, other plugins. What it says is kept: logs, events,
progress. What it keeps is in a store in memory.

Needs the standard library and msgspec, like the SDK. It has no limits, and cannot show what becomes of a
plugin that crashes: that takes a host.
"""

from plugin_sdk.testing.asking import Begun, Items
from plugin_sdk.testing.plugin import RunningPlugin, running
from plugin_sdk.testing.store import MemoryStore
from plugin_sdk.testing.surroundings import Asked, LogLine, Published

__all__ = [
    "Asked",
    "Begun",
    "Items",
    "LogLine",
    "MemoryStore",
    "Published",
    "RunningPlugin",
    "running",
]
