"""Control groups (cgroup v2), where they have been delegated to us: a leaf for each process of a plugin.

    what was delegated          no process of ours is in it: the kernel wants that of a group with children
      host                      the daemon; a library stays where it is, and makes leaves only below
      outboard-INSTANCE         of one host, and locked while it lives: what is not locked is a dead host's
        PLUGIN-GENERATION       one process of a plugin, with everybody below it

Whatever fails here costs the leaf, and no plugin: its limits are then kept as they are without.
"""

from __future__ import annotations

import fcntl
import os
import re
import signal
import time
from collections.abc import Mapping

from host.config.effective import PluginPolicy
from host.process.delegation import MOUNT, OWN, NotDelegated, delegated
from host.process.table import Process, look

CONTROLLERS = ("memory", "pids", "cpu")
CPU_WEIGHT = 50
"""Half of what everybody else has."""
EMPTY_S = 0.25
"""How long what was killed may take to leave its group, before the group stays for later."""
_PERIOD_US = 100_000
_HOST = "host"
_OURS = "outboard-"
_DROPPABLE = re.compile(r"^(file|shmem|slab_reclaimable) (\d+)$", re.MULTILINE)


class Groups:
    """The group of one host, below which leaves are made; `controllers` are those that are on in it."""

    def __init__(self, folder: str, controllers: tuple[str, ...], lock: int | None = None) -> None:
        self.folder = folder
        self.controllers = controllers
        self._lock = lock
        self._left: list[str] = []
        """Leaves that could not be removed yet: something was still in them."""

    def leaf(self, name: str, pid: int, policy: PluginPolicy) -> Leaf | None:
        """A new leaf with `pid` in it; None if there can be none.

        Takes 5 to 20 ms, for which the kernel lets nobody fork: not for the loop's thread.
        """
        folder = os.path.join(self.folder, name)
        try:
            os.mkdir(folder)
        except OSError:
            return None
        leaf = Leaf(folder, self.controllers)
        leaf.limit(policy)
        if not _written(folder, "cgroup.procs", str(pid)):
            _removed(folder)
            return None
        return leaf

    def remove(self, leaf: Leaf) -> None:
        """Kills what is in it, and removes it now or at the next opportunity."""
        leaf.kill()
        self._left = [folder for folder in (*self._left, leaf.folder) if not _removed(folder)]

    def close(self) -> None:
        """Nobody is started any more: kills what is left, and leaves nothing. Blocks for EMPTY_S at most."""
        _end(self.folder)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


class Leaf:
    def __init__(self, folder: str, controllers: tuple[str, ...]) -> None:
        self.folder = folder
        self.controllers = controllers
        """Of them those that keep a limit here."""

    def limit(self, policy: PluginPolicy) -> None:
        """From now on; for what is in it already, too.

        `memory.high` is not used. What is above it and cannot be reclaimed, as without swap, is slowed to a
        standstill: a plugin that had 81 MiB of 100 came no further, reached no limit, and was hung.
        """
        memory, tasks, percent = policy.memory_bytes, policy.threads, policy.cpu_percent
        wanted = {
            "memory": [
                ("memory.max", "max" if memory is None else str(memory)),
                ("memory.oom.group", "1"),  # all of it is killed, and not the largest of its processes
            ],
            "pids": [("pids.max", "max" if tasks is None else str(tasks))],  # the kernel counts threads
            "cpu": [
                ("cpu.weight", str(CPU_WEIGHT)),
                ("cpu.max", f"{'max' if percent is None else percent * _PERIOD_US // 100} {_PERIOD_US}"),
            ],
        }
        kept = []
        for name in self.controllers:
            done = [_written(self.folder, file, text) for file, text in wanted[name]]
            if all(done):
                kept.append(name)
        self.controllers = tuple(kept)

    def kill(self) -> None:
        """SIGKILL for everything in it."""
        if _written(self.folder, "cgroup.kill", "1"):
            return
        _written(self.folder, "cgroup.freeze", "1")  # before Linux 5.14: nobody forks meanwhile
        for pid in _pids(self.folder):
            try:
                os.kill(pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                pass

    def processes(self) -> frozenset[Process]:
        """Who is in it and alive."""
        entries = map(look, _pids(self.folder))
        return frozenset(entry.process for entry in entries if entry is not None and not entry.is_dead)

    def oom_kills(self) -> int:
        """How many in it the kernel has killed for want of memory, here or anywhere above."""
        return _count(_read(self.folder, "memory.events"), "oom_kill")

    def is_over_its_own_limit(self) -> bool:
        """Whether its own `memory.max` was reached, and not what the service or the machine has."""
        return _count(_read(self.folder, "memory.events"), "oom") > 0


def memory_in_use(folder: str) -> int | None:
    """Bytes that a group has and the kernel could not drop: tmpfs and memfd count, cached files do not.

    None where memory is not counted. Takes 0.1 ms.
    """
    total = _read(folder, "memory.current").strip()
    if not total.isdecimal():
        return None
    found = {name: int(size) for name, size in _DROPPABLE.findall(_read(folder, "memory.stat"))}
    cached = found.get("file", 0) - found.get("shmem", 0) + found.get("slab_reclaimable", 0)
    return max(0, int(total) - max(0, cached))


def step_aside(*, mount: str = MOUNT, own: str = OWN) -> None:
    """Moves this process into a leaf of what was delegated to it, which could have no children else.

    Only for who owns the process: a daemon, and not a library. Raises NotDelegated.
    """
    base, is_aside = delegated(mount=mount, own=own)
    if is_aside:
        return
    if set(_pids(base)) - {os.getpid()}:
        raise NotDelegated(f"{base} has other processes in it")
    leaf = os.path.join(base, _HOST)
    try:
        os.makedirs(leaf, exist_ok=True)
    except OSError as error:
        raise NotDelegated(f"{leaf} cannot be made: {error.strerror}") from None
    if not _written(leaf, "cgroup.procs", str(os.getpid())):
        raise NotDelegated(f"this process cannot move to {leaf}")


def find_groups(instance: str, *, mount: str = MOUNT, own: str = OWN) -> Groups:
    """A group for the host of that name, in what has been delegated to this process. Raises NotDelegated.

    Ends what hosts before it have left there.
    """
    base, is_aside = delegated(mount=mount, own=own)
    if not is_aside:
        raise NotDelegated(f"{base} has this process in it, which a library does not move")
    _end_dead_hosts(base)
    folder = os.path.join(base, f"{_OURS}{instance}")
    try:
        os.mkdir(folder)
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise NotDelegated(f"{folder} cannot be made: {error.strerror}") from None
    if not _locked(lock) or not os.path.exists(os.path.join(folder, "cgroup.procs")):
        os.close(lock)
        raise NotDelegated(f"{folder} cannot be locked")
    on = tuple(
        name
        for name in CONTROLLERS
        if all(_written(each, "cgroup.subtree_control", f"+{name}") for each in (base, folder))
    )
    return Groups(folder, on, lock)  # also where no controller is on: it can be killed whole


def manager_ends_the_rest(environ: Mapping[str, str], pid: int) -> bool:
    """Whether a service manager kills what we have started once process `pid`, which is us, has ended.

    It does so for the main process of a service, and says in SYSTEMD_EXEC_PID which that is. Who has been
    started by a service's shell, say, inherits the variable with another's number.
    """
    return environ.get("SYSTEMD_EXEC_PID") == str(pid)


def _end_dead_hosts(base: str) -> None:
    try:
        names = os.listdir(base)
    except OSError:
        return
    for name in names:
        if not name.startswith(_OURS):
            continue
        folder = os.path.join(base, name)
        try:
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            continue
        if _locked(lock):
            _end(folder)
        os.close(lock)


def _end(folder: str) -> None:
    """Kills whoever is in a host's group, and removes it with its leaves."""
    _written(folder, "cgroup.kill", "1")
    ends_at = time.monotonic() + EMPTY_S
    while True:
        try:
            leaves = [entry.path for entry in os.scandir(folder) if entry.is_dir(follow_symlinks=False)]
        except OSError:
            return
        for leaf in leaves:
            Leaf(leaf, ()).kill()
            _removed(leaf)
        if _removed(folder) or time.monotonic() > ends_at:
            return
        time.sleep(0.002)


def _locked(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _removed(folder: str) -> bool:
    try:
        os.rmdir(folder)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _pids(folder: str) -> list[int]:
    return [int(pid) for pid in _read(folder, "cgroup.procs").split()]


def _count(text: str, name: str) -> int:
    found = re.search(rf"^{name} (\d+)$", text, re.MULTILINE)
    return int(found.group(1)) if found else 0


def _written(folder: str, name: str, text: str) -> bool:
    try:
        # Not created: a file that is not there is a controller that is not on.
        fd = os.open(os.path.join(folder, name), os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        os.write(fd, text.encode())
    except OSError:
        return False
    finally:
        os.close(fd)
    return True


def _read(folder: str, name: str) -> str:
    try:
        with open(os.path.join(folder, name)) as file:
            return file.read(1 << 20)
    except OSError:
        return ""
