"""What the host is told about one plugin, as events, by whoever has seen it."""

from __future__ import annotations

from collections import deque

from host.observability.bus import Bus
from host.observability.causes import Cause
from host.observability.events import (
    PluginLogged,
    PluginProblem,
    ProcessesLeaked,
    ProcessesSwept,
    SettingsChanged,
    StateChanged,
)
from host.process.tree import Swept
from host.supervision.life import Life
from protocol.lifecycle import LogRecord

KEPT_CHANGES = 40


class Herald:
    def __init__(self, plugin: str, bus: Bus) -> None:
        self.changes: deque[StateChanged] = deque(maxlen=KEPT_CHANGES)
        """The states it has been in, the newest last."""
        self._plugin = plugin
        self._bus = bus

    def tell_change(self, before: Life, life: Life, pid: int | None, cause: Cause | None) -> None:
        """`pid` is that of its process, if it has one; `cause`, how its generation ended, if it did."""
        changed = StateChanged(
            plugin=self._plugin,
            state=life.state,
            previous=before.state,
            reason=life.reason,
            generation=life.generation,
            pid=pid,
            cause=cause,
        )
        self.changes.append(changed)
        self._bus.emit(changed)

    def tell_problem(self, file: str, message: str) -> None:
        self._bus.emit(PluginProblem(file=file, message=message, plugin=self._plugin))

    def tell_settings(self, keys: list[str], revision: int, by: str) -> None:
        self._bus.emit(SettingsChanged(plugin=self._plugin, keys=keys, revision=revision, by=by))

    def tell_swept(self, generation: int, swept: Swept) -> None:
        """Of what a generation has left."""
        if swept.killed:
            count = len(swept.killed)
            self._bus.emit(ProcessesSwept(plugin=self._plugin, count=count, generation=generation))
        if swept.left:
            pids = sorted(process.pid for process in swept.left)
            self._bus.emit(ProcessesLeaked(plugin=self._plugin, pids=pids, generation=generation))

    def tell_log(
        self,
        generation: int,
        pid: int | None,
        source: str,
        level: str,
        message: str,
        record: LogRecord | None,
    ) -> None:
        """What it has said itself: see `voice.py`."""
        self._bus.emit(
            PluginLogged(
                plugin=self._plugin,
                level=level,
                message=message,
                source=source,
                generation=generation,
                pid=pid,
                logger=record.logger if record is not None else "",
                fields=record.fields if record is not None else {},
            )
        )
