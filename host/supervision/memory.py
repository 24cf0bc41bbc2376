"""What outlives the host: which plugins somebody disabled or removed, and which are quarantined, and why.

One small JSON file, replaced as a whole: whoever reads it, after a kill at any moment too, finds one
version or the other and never half of one. A file that cannot be read is put aside, not overwritten.
Written off the loop, by one task; `saved` waits for it.
"""

from __future__ import annotations

import glob
import math
import os
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

import anyio
import anyio.to_thread
import msgspec

from host.config.effective import PluginPolicy
from host.config.problems import FileProblem
from host.observability.causes import Cause
from host.observability.events import StateChanged
from host.observability.regular import open_regular
from host.supervision.life import Life
from host.supervision.states import State

SAVE_S = 5.0
"""How long anybody waits for a disk."""
RETRY_S = 1.0
"""How soon a disk that would not take it is tried again."""
DAMAGED = ".damaged"


class Quarantine(msgspec.Struct, frozen=True, kw_only=True):
    """Times are Unix seconds: a monotonic clock means nothing to the next host."""

    reason: str
    since: float
    next_probe_at: float
    probes: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 0
    causes: list[Cause] = []


class Remembered(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Of one plugin."""

    enabled: bool | None = None
    """An operator's word, which goes before the configuration's; None if nobody said anything."""
    removed: bool = False
    added: str | None = None
    """The file of one that was added by hand."""
    quarantine: Quarantine | None = None


class _File(msgspec.Struct, kw_only=True):
    schema: Literal[1] = 1
    """A file of a later outboard is put aside like a damaged one, and not overwritten."""
    plugins: dict[str, Remembered] = {}


class Memory:
    """`file` is None for a host that forgets. `on_problem` hears of what goes wrong with the disk."""

    def __init__(self, file: Path | None, on_problem: Callable[[FileProblem], None]) -> None:
        self._file = file
        self._on_problem = on_problem
        self._plugins: dict[str, Remembered] = {}
        self._version = 0
        self._saved_version = 0
        self._in_trouble = False
        """Whether the last write failed; then what is on the disk is older than what holds."""
        self._changed = anyio.Event()
        self._saved = anyio.Event()

    def load(self) -> None:
        """Reads the file. Never raises."""
        if self._file is None:
            return
        remove_remains(self._file)
        try:
            with open(open_regular(self._file), "rb") as opened:
                self._plugins = msgspec.json.decode(opened.read(), type=_File).plugins
        except FileNotFoundError:
            return
        except OSError as error:
            self._complain(f"cannot be read: {error.strerror or error}", "what it remembers does not count")
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            aside = f"{self._file}{DAMAGED}"
            try:
                os.replace(self._file, aside)
            except OSError:
                pass
            self._complain(f"is damaged ({error})", f"put aside as {aside}; nothing is remembered")

    def of(self, name: str) -> Remembered:
        return self._plugins.get(name, Remembered())

    @property
    def removed(self) -> set[str]:
        """Names that somebody removed, which holds until they are added."""
        return {name for name, remembered in self._plugins.items() if remembered.removed}

    @property
    def added(self) -> dict[str, str]:
        """What was added by hand: the file of each name."""
        return {name: each.added for name, each in self._plugins.items() if each.added is not None}

    def forget(self, name: str) -> None:
        """All there was about a plugin."""
        self.note(name, **{field: getattr(Remembered(), field) for field in Remembered.__struct_fields__})

    def note(self, name: str, **changes: Any) -> None:
        """Changes what is remembered of a plugin. `saved` says when that is on the disk."""
        before = self.of(name)
        after = msgspec.structs.replace(before, **changes)
        if after == before:
            return
        if after == Remembered():
            self._plugins.pop(name, None)
        else:
            self._plugins[name] = after
        self._version += 1
        self._changed.set()

    def note_life(self, changed: StateChanged, life: Life, causes: Iterable[Cause], *, now: float) -> None:
        """What of a change of state holds for the next host. `life` is what it led to."""
        if changed.state == State.QUARANTINED:
            quarantine = Quarantine(
                reason=life.reason,
                since=changed.at,
                next_probe_at=changed.at + ((life.next_start_at or now) - now),
                probes=life.probes,
                causes=list(causes),
            )
            self.note(changed.plugin, quarantine=quarantine)
        elif changed.state in (State.RUNNING, State.STOPPED, State.DISABLED) or (
            changed.previous == State.QUARANTINED and not life.is_probe
        ):
            self.note(changed.plugin, quarantine=None)

    async def saved(self) -> None:
        """Returns once everything noted so far is on the disk, or the disk has had its time."""
        version = self._version
        with anyio.move_on_after(SAVE_S):
            while self._file is not None and self._saved_version < version:
                await self._saved.wait()

    async def run(self) -> None:
        """Writes what changed, until it is cancelled."""
        while True:
            if self._version == self._saved_version:
                self._changed = anyio.Event()
                with anyio.move_on_after(RETRY_S if self._in_trouble else math.inf):
                    await self._changed.wait()
            await self._save()

    async def _save(self) -> None:
        version = self._version
        if self._file is not None:
            data = msgspec.json.format(msgspec.json.encode(_File(plugins=self._plugins)), indent=2)
            try:
                await anyio.to_thread.run_sync(write_whole, self._file, data)
                self._in_trouble = False
            except (OSError, RuntimeError) as error:  # RuntimeError: there may be no more threads
                if not self._in_trouble:
                    self._in_trouble = True
                    said = getattr(error, "strerror", None) or error
                    self._complain(f"cannot be written: {said}", "what it should hold is lost with the host")
        self._saved_version = version
        self._saved.set()
        self._saved = anyio.Event()

    def _complain(self, reason: str, hint: str) -> None:
        self._on_problem(FileProblem(str(self._file), None, "", reason, hint))


def first_life(policy: PluginPolicy, remembered: Remembered, *, now: float, unix_now: float) -> Life:
    """How a plugin's life begins in this host. `now` is its clock, `unix_now` the same moment on the wall."""
    if not policy.enabled:
        who = "an operator" if remembered.enabled is False else "the configuration"
        return Life(state=State.DISABLED, reason=f"disabled by {who}", since=now)
    held = remembered.quarantine
    if held is not None:
        return Life(
            state=State.QUARANTINED,
            reason=held.reason,
            since=now - max(0.0, unix_now - held.since),
            next_start_at=now + min(max(0.0, held.next_probe_at - unix_now), policy.probe_max_s),
            probes=held.probes,
            is_wanted=True,
        )
    return Life(since=now, is_wanted=policy.start_mode == "eager")


def bring_back(file: Path, name: str) -> None:
    """What was removed counts as not removed, for the next host that reads `file`; while none does.

    Raises OSError. What cannot be read is that host's to complain of.
    """
    try:
        kept = msgspec.json.decode(file.read_bytes(), type=_File)
    except (FileNotFoundError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return
    there = kept.plugins.get(name)
    if there is not None and there.removed:
        kept.plugins[name] = msgspec.structs.replace(there, removed=False)
        write_whole(file, msgspec.json.format(msgspec.json.encode(kept), indent=2))


def temporary_prefix(file: Path) -> str:
    return f".{file.name}."


def remove_remains(file: Path) -> None:
    """What a host has left that was killed while it wrote `file`. Raises OSError."""
    for left in file.parent.glob(f"{glob.escape(temporary_prefix(file))}*"):
        left.unlink(missing_ok=True)


def write_whole(file: Path, data: bytes) -> None:
    """Replaces `file` by `data`: afterwards, and after a crash at any moment, it is the old or the new one.

    Raises OSError, and leaves the old one where it was.
    """
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fd, temporary = tempfile.mkstemp(dir=file.parent, prefix=temporary_prefix(file))
    try:
        with os.fdopen(fd, "wb") as opened:
            opened.write(data)
            opened.flush()
            os.fsync(opened.fileno())
        os.replace(temporary, file)
    except BaseException:
        os.unlink(temporary)
        raise
    folder = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)  # or a power cut might forget the new name
    finally:
        os.close(folder)
