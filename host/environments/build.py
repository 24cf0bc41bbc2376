"""Builds one environment, as a process of its own: `python -I build.py`, with the recipe in OUTBOARD_BUILD.

What blocks is here, and not on the host's loop: waiting for a lock, running the installer, removing
what an earlier build left. Whatever ends it, nothing is left that counts. The marker is written last,
so a folder without one is garbage, and the next build removes it. The kernel lets go of the lock with
the process. And stdin is a lifeline: when it ends the host has ended, and so does this whole process
group, the installer and its compilers with it.

Imports nothing but the standard library: the host's own packages are not on its path.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_PTH = "outboard.pth"
_SEES_US = "import plugin_sdk, msgspec"


class Failed(Exception):
    """A command that did not succeed; it has said why."""


def end_with_the_host() -> None:
    """Kills this process group once nobody holds the other end of stdin."""

    def wait() -> None:
        while os.read(0, 1024):
            pass
        if os.getpgrp() == os.getpid():
            os.killpg(0, signal.SIGKILL)
        os._exit(1)

    threading.Thread(target=wait, name="lifeline", daemon=True).start()


@contextmanager
def locked(folder: str, *, wait: bool) -> Iterator[bool]:
    """Holds what belongs to `folder`: of all hosts of this user one builds it. False if another does."""
    lock = os.open(f"{folder}.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(lock)


def remove_garbage(root: str, marker: str) -> None:
    """Folders that nobody has finished, and nobody is at."""
    for name in os.listdir(root):
        folder = os.path.join(root, name)
        if os.path.isdir(folder) and not os.path.exists(os.path.join(folder, marker)):
            with locked(folder, wait=False) as ours:
                if ours:
                    shutil.rmtree(folder, ignore_errors=True)


def run(command: list[str]) -> None:
    """Runs a command to its end; all it prints goes to stderr. Raises Failed."""
    if subprocess.run(command, stdin=subprocess.DEVNULL, stdout=sys.stderr.fileno()).returncode:
        raise Failed(command[0])


def build(recipe: dict[str, Any]) -> None:
    """Raises OSError, Failed."""
    folder = recipe["folder"]
    run(recipe["make"])
    write(os.path.join(folder, "constraints.txt"), recipe["constraints"])
    write(recipe["requirements"], ["-c constraints.txt", *recipe["dependencies"]])
    run(recipe["install"])
    first, last = link(folder, "ours", recipe["ours"]), link(folder, "spare", recipe["spare"])
    packages = sysconfig.get_path("purelib", "venv", vars={"base": folder, "platbase": folder})
    # A plain path in a .pth would come after the packages that are installed.
    line = f"import sys; sys.path.insert(0, {first!a}); sys.path.append({last!a})"
    write(os.path.join(packages, _PTH), [line])
    run([os.path.join(folder, "bin", "python"), "-P", "-c", _SEES_US])
    write(f"{recipe['marker']}.new", [json.dumps(recipe["holds"], indent=2)])
    os.replace(f"{recipe['marker']}.new", recipe["marker"])


def link(folder: str, name: str, packages: dict[str, str]) -> str:
    """A folder in which exactly these packages can be imported."""
    there = os.path.join(folder, "outboard", name)
    os.makedirs(there)
    for package, target in packages.items():
        os.symlink(target, os.path.join(there, package))
    return there


def write(path: str, lines: list[str]) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in lines)
        file.flush()
        os.fsync(file.fileno())


def main(recipe: dict[str, Any]) -> int:
    folder, marker = recipe["folder"], recipe["marker"]
    root = os.path.dirname(folder)
    try:
        os.makedirs(root, mode=0o700, exist_ok=True)
        with locked(folder, wait=True):
            if os.path.exists(marker) and os.path.exists(os.path.join(folder, "bin", "python")):
                return 0  # another host has built it meanwhile
            remove_garbage(root, os.path.basename(marker))
            try:
                shutil.rmtree(folder, ignore_errors=True)
                build(recipe)
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise
    except Failed:
        return 1
    except OSError as error:
        print(f"error: {error.filename or root}: {error.strerror or error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    end_with_the_host()
    sys.exit(main(json.loads(os.environ.pop("OUTBOARD_BUILD"))))
