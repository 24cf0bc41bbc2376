"""What plugins may leave behind if the host is killed, written down for the next host of the same state.

Beside the state file: the mark that this host's processes bear, and whoever was seen below a plugin, as pid
and start time. The next host kills those who are there still, before it starts a plugin. Both mean nothing
after the machine was started again, nor while the earlier host lives.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import anyio
import anyio.to_thread
import msgspec

from host.config.problems import FileProblem
from host.observability.events import HostEvent, ProcessesLeaked, ProcessesSwept
from host.process.kill import kill
from host.process.table import Process, Table, boot_id, instance_of, is_alive, look, scan
from host.process.tree import ROUND_S, ROUNDS, Swept, Tree
from host.supervision.memory import temporary_prefix, write_whole
from host.supervision.supervisor import Supervisor

EVERY_S = 2.0


class Record(msgspec.Struct, kw_only=True, frozen=True):
    """The file."""

    schema: int = 1
    boot_id: str
    host: Process
    instance: str
    processes: list[Process] = []


class Remains:
    """`state_file` is None for a host that leaves no word to the next one."""

    def __init__(
        self,
        state_file: Path | None,
        instance: str,
        plugins: Mapping[str, Supervisor],
        *,
        tell: Callable[[HostEvent], None],
        on_problem: Callable[[FileProblem], None],
    ) -> None:
        self._file = state_file.with_name(f"{state_file.stem}.processes.json") if state_file else None
        self._instance = instance
        self._plugins = plugins
        self._tell = tell
        self._on_problem = on_problem
        self._written: Record | None = None
        self._has_complained = False

    async def begin(self) -> None:
        """Kills what an earlier host's plugins have left, and writes the first record. Before any plugin."""
        if self._file is None:
            return
        for half in self._file.parent.glob(f"{glob.escape(temporary_prefix(self._file))}*"):
            half.unlink(missing_ok=True)  # of a host that was killed while it wrote
        swept = await anyio.to_thread.run_sync(_sweep_earlier, self._file)
        if swept.killed:
            self._tell(ProcessesSwept(plugin=None, count=len(swept.killed)))
        if swept.left:
            self._tell(ProcessesLeaked(plugin=None, pids=sorted(one.pid for one in swept.left)))
        await self._write(set())

    async def run(self) -> None:
        """Writes down who is below the plugins, until it is cancelled."""
        while True:
            await anyio.sleep(EVERY_S)
            await self._write({process for tree in self._living() for process in tree.known})

    def end(self) -> None:
        """Nothing is left, so the next host has nothing to look for."""
        if self._file is not None and not self._living():
            try:
                self._file.unlink(missing_ok=True)
            except OSError:
                pass  # then it looks for what it does not find

    def _living(self) -> list[Tree]:
        processes = [supervisor.process for supervisor in self._plugins.values()]
        return [each.tree for each in processes if each is not None and each.is_alive]

    async def _write(self, processes: set[Process]) -> None:
        me = look(os.getpid())
        if self._file is None or me is None:
            return
        record = Record(
            boot_id=boot_id(), host=me.process, instance=self._instance, processes=sorted(processes)
        )
        if record == self._written:
            return
        try:
            await anyio.to_thread.run_sync(write_whole, self._file, msgspec.json.encode(record))
        except (OSError, RuntimeError) as error:  # RuntimeError: there can be no more threads
            if not self._has_complained:
                self._has_complained = True
                reason = f"cannot be written: {getattr(error, 'strerror', None) or error}"
                hint = "what plugins leave behind if this host is killed is not looked for"
                self._on_problem(FileProblem(str(self._file), None, "", reason, hint))
            return
        self._written = record


def _sweep_earlier(file: Path) -> Swept:
    nothing: frozenset[Process] = frozenset()
    try:
        record = msgspec.json.decode(file.read_bytes(), type=Record)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Swept(nothing, nothing)  # half a word about processes is none
    if record.boot_id != boot_id() or is_alive(record.host):
        return Swept(nothing, nothing)
    killed: set[Process] = set()
    for _ in range(ROUNDS):
        left = left_by(record, scan(), instance_of)
        if not left:
            break
        killed |= left
        kill(left, ROUND_S)
    left = {process for process in killed if is_alive(process)}
    return Swept(frozenset(killed - left), frozenset(left))


def left_by(record: Record, table: Table, mark_of: Callable[[int], str | None]) -> set[Process]:
    """Who of a table was below a plugin of that host. Never this process, nor whom it descends from."""
    roots = {process for process in record.processes if table.has(process)}
    for entry in table.alive():
        if (mark_of(entry.pid) or "").startswith(f"{record.instance}:"):
            roots.add(entry.process)
    found = roots | table.below(roots)
    return found - set(_line_of(table, os.getpid()))


def _line_of(table: Table, pid: int) -> Iterable[Process]:
    """A process and all its parents."""
    seen: set[int] = set()
    while pid not in seen and (entry := table.entries.get(pid)) is not None:
        seen.add(pid)
        yield entry.process
        pid = entry.parent
