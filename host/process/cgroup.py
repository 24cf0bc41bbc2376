"""Control groups (cgroup v2), where they have been delegated to us: a leaf for each process of a plugin.

Detected, and never assumed: being able to write is no permission, as root can everywhere. A group is
ours if the service manager has marked it so (`Delegate=yes` in a systemd unit) or if it is the root of
our own namespace (a container's). Whatever fails here costs the leaf, and no plugin: its limits are then
kept as they are without.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Mapping

from host.config.effective import PluginPolicy

CONTROLLERS = ("memory", "pids", "cpu")
MOUNT = "/sys/fs/cgroup"
OWN = "/proc/self/cgroup"
SOFT_PART = 0.8
CPU_WEIGHT = 50
"""Half of what everybody else has."""
_PERIOD_US = 100_000
_HOST = "host"
_GROUP = re.compile(r"^0::(/.*)$", re.MULTILINE)


class NotDelegated(Exception):
    """There are no control groups for us. The text says why."""


class Groups:
    """The group below which leaves are made."""

    def __init__(self, folder: str, controllers: tuple[str, ...]) -> None:
        self.folder = folder
        self.controllers = controllers
        self._left: list[str] = []
        """Leaves that could not be removed yet: something was still in them."""

    def leaf(self, name: str, pid: int, policy: PluginPolicy) -> Leaf | None:
        """A new leaf with `pid` in it; None if there can be none."""
        self._left = [folder for folder in self._left if not _removed(folder)]
        folder = os.path.join(self.folder, name)
        try:
            os.mkdir(folder)
        except FileExistsError:
            pass
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
        if not _removed(leaf.folder):
            self._left.append(leaf.folder)


class Leaf:
    def __init__(self, folder: str, controllers: tuple[str, ...]) -> None:
        self.folder = folder
        self.controllers = controllers
        """Of them those that keep a limit here."""

    def limit(self, policy: PluginPolicy) -> None:
        """From now on; for what is in it already, too."""
        memory, tasks, percent = policy.memory_bytes, policy.threads, policy.cpu_percent
        wanted = {
            # What is above `high` is slowed down and reclaimed, what is above `max` is killed: all of it.
            "memory": [
                ("memory.high", "max" if memory is None else str(int(memory * SOFT_PART))),
                ("memory.max", "max" if memory is None else str(memory)),
                ("memory.oom.group", "1"),
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
        for pid in _read(self.folder, "cgroup.procs").split():
            try:
                os.kill(int(pid), signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                pass

    def oom_kills(self) -> int:
        """How many were killed because of `memory.max`."""
        found = re.search(r"^oom_kill (\d+)$", _read(self.folder, "memory.events"), re.MULTILINE)
        return int(found.group(1)) if found else 0


def find_groups(*, settle: bool, mount: str = MOUNT, own: str = OWN) -> Groups:
    """What has been delegated to this process. Raises NotDelegated.

    `settle`: whether it may move itself into a leaf, without which a group with processes in it can have
    no children. Only for who owns the process: a daemon, and not a library.
    """
    try:
        with open(own) as file:
            found = _GROUP.search(file.read(65536))
    except OSError as error:
        raise NotDelegated(f"{own}: {error.strerror}") from None
    if found is None:
        raise NotDelegated("this system has no cgroup v2")
    path = found.group(1)
    here = os.path.normpath(os.path.join(mount, path.lstrip("/")))
    if not os.path.exists(os.path.join(here, "cgroup.controllers")):
        raise NotDelegated(f"no cgroup v2 at {here}")
    above = os.path.dirname(here)
    if path != "/" and _is_delegated(above, is_root=above == os.path.normpath(mount)):
        base = above  # we are in a leaf of it already
    elif not _is_delegated(here, is_root=path == "/"):
        raise NotDelegated(f"{here} is not delegated to this process")
    elif not settle:
        raise NotDelegated(f"{here} has this process in it, which a library does not move")
    else:
        _settle(base := here)
    there = _read(base, "cgroup.controllers").split()
    on = tuple(
        name for name in CONTROLLERS if name in there and _written(base, "cgroup.subtree_control", f"+{name}")
    )
    if not on:
        raise NotDelegated(f"{base} has none of the controllers {', '.join(CONTROLLERS)}")
    return Groups(base, on)


def manager_ends_the_rest(groups: Groups | None, environ: Mapping[str, str], pid: int) -> bool:
    """Whether a service manager kills what is in our group once process `pid`, which is us, has ended.

    It does so for the main process of a service, and says in SYSTEMD_EXEC_PID which that is. Who has been
    started by a service's shell, say, inherits the variable with another's number. A group alone kills
    nobody.
    """
    return groups is not None and environ.get("SYSTEMD_EXEC_PID") == str(pid)


def _is_delegated(folder: str, *, is_root: bool) -> bool:
    if not os.access(folder, os.W_OK) or not os.access(os.path.join(folder, "cgroup.procs"), os.W_OK):
        return False
    # The root of the whole machine has no type; that of a namespace has, and is for who is in it.
    if is_root:
        return os.path.exists(os.path.join(folder, "cgroup.type"))
    for name in ("user.delegate", "trusted.delegate"):
        try:
            if os.getxattr(folder, name) == b"1":
                return True
        except (AttributeError, OSError):
            pass
    return False


def _settle(folder: str) -> None:
    others = set(_read(folder, "cgroup.procs").split()) - {str(os.getpid())}
    if others:
        raise NotDelegated(f"{folder} has other processes in it")
    leaf = os.path.join(folder, _HOST)
    try:
        os.makedirs(leaf, exist_ok=True)
    except OSError as error:
        raise NotDelegated(f"{leaf} cannot be made: {error.strerror}") from None
    if not _written(leaf, "cgroup.procs", str(os.getpid())):
        raise NotDelegated(f"this process cannot move to {leaf}")


def _removed(folder: str) -> bool:
    try:
        os.rmdir(folder)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


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
