"""What `outboard doctor` looks at that needs no daemon: the installation, and the machine.

A check looks, and changes nothing. It answers with what it saw; unless that is well, with what to do.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec

import host
from host.config.places import places

OURS = ("host", "plugin_sdk", "protocol")
NEEDED = ("msgspec", "anyio", "psutil", "loguru", "click")
"""By every daemon; the others by some of what it does."""
OPTIONAL = ("rich", "jsonschema-rs", "tomli-w", "uvloop")
LEAST_FILES = 1024
PR_GET_CHILD_SUBREAPER = 37


class Check(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    verdict: Literal["ok", "warn", "fail"]
    seen: str
    do: str | None = None
    """What to do; None if all is well."""


def installation() -> Iterator[Check]:
    yield _python()
    yield from _packages()
    yield _names()


def machine(socket: str) -> Iterator[Check]:
    yield _socket_folder(socket)
    yield _log_folder()
    yield _open_files()
    if sys.platform == "linux":
        yield _proc()
        yield _pidfd()
        yield _prctl()
        yield _cgroup()
    else:
        yield Check(
            name="kernel",
            verdict="warn",
            seen=f"{sys.platform}: no pidfd, no parent-death signal, no cgroups",
            do="expect less: descendants of a plugin can outlive it",
        )


def _python() -> Check:
    """An older one could not have read this file."""
    return Check(name="python", verdict="ok", seen=f"{sys.version.split()[0]} at {sys.executable}")


def _packages() -> Iterator[Check]:
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for name in (*NEEDED, *OPTIONAL):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            pass
    seen = ", ".join(f"{name} {told}" for name, told in found.items())
    if missing := [name for name in NEEDED if name not in found]:
        do = 'pip install "outboard[host]"'
        yield Check(name="packages", verdict="fail", seen=f"missing: {', '.join(missing)}", do=do)
    elif missing := [name for name in OPTIONAL if name not in found]:
        do = f'pip install "outboard[{"fast" if missing == ["uvloop"] else "host,fast"}]"'
        yield Check(name="packages", verdict="warn", seen=f"missing: {', '.join(missing)}; {seen}", do=do)
    else:
        yield Check(name="packages", verdict="ok", seen=seen)


def _names() -> Check:
    """`host`, `plugin_sdk` and `protocol` are common words: is anybody else of that name to be imported?"""
    if others := [*_other_files(), *_other_distributions()]:
        do = "uninstall or rename it, or give outboard an environment of its own"
        return Check(name="import names", verdict="fail", seen="; ".join(others), do=do)
    where = Path(host.__file__).parents[1]
    return Check(name="import names", verdict="ok", seen=f"{', '.join(OURS)} are ours, in {where}")


def _other_files() -> Iterator[str]:
    ours = Path(host.__file__).resolve().parents[1]
    seen = {ours}
    for entry in sys.path:
        folder = Path(entry or ".").resolve()
        if folder in seen or not folder.is_dir():
            continue
        seen.add(folder)
        for name in OURS:
            for path in (folder / f"{name}.py", folder / name / "__init__.py"):
                if path.is_file():
                    yield f"{path} is another `{name}`"


def _other_distributions() -> Iterator[str]:
    from importlib.metadata import packages_distributions

    for name, owners in packages_distributions().items():
        if name in OURS:
            yield from (
                f"{owner} brings a `{name}` too" for owner in sorted(set(owners)) if owner != "outboard"
            )


def _socket_folder(socket: str) -> Check:
    folder = Path(socket).parent
    try:
        told = folder.stat()
    except FileNotFoundError:
        parent = next(parent for parent in folder.parents if parent.exists())
        if os.access(parent, os.W_OK):
            return Check(name="socket folder", verdict="ok", seen=f"{folder} will be made")
        do = "give it another place with --socket or OUTBOARD_SOCKET"
        return Check(name="socket folder", verdict="fail", seen=f"{folder} cannot be made in {parent}", do=do)
    except OSError as error:
        do = "give it another place with --socket or OUTBOARD_SOCKET"
        return Check(name="socket folder", verdict="fail", seen=f"{folder}: {error.strerror}", do=do)
    if not os.access(folder, os.W_OK | os.X_OK):
        do = "give it another place with --socket or OUTBOARD_SOCKET"
        return Check(name="socket folder", verdict="fail", seen=f"{folder} is not ours to write", do=do)
    if told.st_uid not in (os.geteuid(), 0):
        do = "use a folder of your own: its owner could put another socket there"
        return Check(name="socket folder", verdict="fail", seen=f"{folder} is of uid {told.st_uid}", do=do)
    if told.st_mode & 0o022 and not told.st_mode & 0o1000:
        do = f"chmod go-w {folder}: others could put another socket there"
        return Check(name="socket folder", verdict="warn", seen=f"{folder} can be written by others", do=do)
    return Check(name="socket folder", verdict="ok", seen=str(folder))


def _log_folder() -> Check:
    folder = Path(places(os.environ, os.getuid()).logs)
    exists = folder if folder.exists() else next(parent for parent in folder.parents if parent.exists())
    if exists.is_dir() and os.access(exists, os.W_OK | os.X_OK):
        return Check(
            name="log folder", verdict="ok", seen=f"{folder}{'' if exists == folder else ' will be made'}"
        )
    do = "make it writable, or set XDG_STATE_HOME; without it no log is kept"
    return Check(name="log folder", verdict="warn", seen=f"{exists} cannot be written", do=do)


def _open_files() -> Check:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    seen = f"{_count(soft)} at once, at most {_count(hard)}"
    if soft != resource.RLIM_INFINITY and soft < LEAST_FILES:
        do = f"ulimit -n {LEAST_FILES} before the daemon starts: each plugin needs about six"
        return Check(name="open files", verdict="warn", seen=seen, do=do)
    return Check(name="open files", verdict="ok", seen=seen)


def _count(limit: int) -> str:
    return "no limit" if limit < 0 else str(limit)


def _proc() -> Check:
    try:
        Path("/proc/self/stat").read_bytes()
    except OSError as error:
        do = "mount /proc: without it neither memory nor cpu of a plugin is known"
        return Check(name="/proc", verdict="warn", seen=f"cannot be read: {error.strerror}", do=do)
    return Check(name="/proc", verdict="ok", seen="can be read")


def _pidfd() -> Check:
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError) as error:
        do = "use Linux 5.3 or newer, and a sandbox that allows pidfd_open"
        return Check(name="pidfd", verdict="warn", seen=f"not available: {error}", do=do)
    return Check(name="pidfd", verdict="ok", seen="signals cannot meet a stranger")


def _prctl() -> Check:
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    flag = ctypes.c_int()
    if libc.prctl(PR_GET_CHILD_SUBREAPER, ctypes.byref(flag), 0, 0, 0) == 0:
        return Check(name="prctl", verdict="ok", seen="parent-death signal and subreaper")
    do = "use a sandbox that allows prctl: else orphans outlive a killed daemon"
    return Check(name="prctl", verdict="warn", seen=os.strerror(ctypes.get_errno()), do=do)


def _cgroup() -> Check:
    """What a daemon started from this shell would have; that of one that runs is in `status --json`."""
    from host.process.delegation import NotDelegated, delegated

    try:
        folder, _ = delegated()
    except NotDelegated as why:
        do = "run it under systemd with Delegate=yes; until then limits hold for each process by itself"
        return Check(name="cgroup", verdict="warn", seen=str(why), do=do)
    return Check(name="cgroup", verdict="ok", seen=f"v2, delegated: {folder}")
