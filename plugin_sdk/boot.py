"""The first code that runs in a plugin's process: hardening, then the author's code or another program.

All of it happens here, in the child, because doing it between fork and exec in the host would cost the
host 20 ms and a blocked loop per start. Run as a file (`python -I -S boot.py -- COMMAND …`) it is the
wrapper that starts plugins in other languages; so at the top it imports what is built in and no more.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # `typing` would double what this file costs as a wrapper
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_SIGKILL = 9
_NICE = 5
"""Whoever computes a lot yields to the host, and to everybody else who does not say so."""
_KILLED_FIRST = 500
"""Of 1000. When a service or the machine runs out of memory, the kernel looks for the largest process, and
files in memory count for nobody: the host would go for what its plugin has hoarded."""


def harden() -> None:
    """Ties this process to the host that started it, and applies the limits that the kernel keeps.

    Does nothing when no host started it.
    """
    host_pid = os.environ.get("OUTBOARD_HOST_PID")
    if host_pid is None:
        return
    os.umask(0o077)
    os.nice(_NICE)
    if sys.platform == "linux":
        # What loses its parent below us stays below us, where the host finds it when it ends us. Else it
        # would come to the host, which could not tell whose it was.
        _prctl()(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        _be_killed_first()
    tie_to_host(host_pid)
    _limit(os.environ.get("OUTBOARD_RLIMITS", ""))


def tie_to_host(pid: str) -> None:
    """From now on this process ends with the host, whose pid that is, by SIGKILL.

    The pid is compared after the death signal is armed: a host that died before that would otherwise never
    be noticed.
    """
    if sys.platform == "linux":
        _prctl()(_PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0)
        if os.getppid() != int(pid):
            os._exit(1)


def _prctl() -> Callable[..., int]:
    """The system call, which Python does not have.

    By what `ctypes` is made of, where it is as it has always been: all of `ctypes` is a sixth of what this
    file costs as a wrapper.
    """
    try:
        from _ctypes import call_function, dlopen, dlsym

        address = dlsym(dlopen(None, os.RTLD_NOW), "prctl")  # type: ignore[arg-type]  # None: what is linked in
        return lambda *arguments: call_function(address, arguments)
    except (ImportError, OSError, TypeError):
        import ctypes

        return ctypes.CDLL(None).prctl


def _be_killed_first() -> None:
    try:
        with open("/proc/self/oom_score_adj", "r+") as file:
            if int(file.read()) < _KILLED_FIRST:
                file.write(str(_KILLED_FIRST))
    except (OSError, ValueError):
        pass  # a sandbox without it; then the kernel chooses as it does


def _limit(text: str) -> None:
    """Applies "DATA=268435456,NOFILE=1024": soft and hard limit alike, never above what we were given."""
    import resource

    for item in filter(None, text.split(",")):
        name, _, value = item.partition("=")
        which = getattr(resource, f"RLIMIT_{name}", None)
        if which is None:
            continue
        _, ceiling = resource.getrlimit(which)
        wanted = int(value) if ceiling == resource.RLIM_INFINITY else min(int(value), ceiling)
        try:
            resource.setrlimit(which, (wanted, wanted))
        except (OSError, ValueError) as error:
            print(f"outboard: the limit {item} could not be set: {error}", file=sys.stderr)


def execute(command: list[str]) -> None:
    """Becomes `command`. Only returns by exiting with the shell's codes, 127 or 126."""
    harden()
    try:
        os.execvp(command[0], command)
    except FileNotFoundError:
        print(f"outboard: {command[0]}: command not found", file=sys.stderr)
        os._exit(127)
    except OSError as error:
        print(f"outboard: {command[0]}: {error.strerror}", file=sys.stderr)
        os._exit(126)


def run(target: str) -> int:
    """Serves the plugin in `target`, a file or a module; returns the exit code."""
    harden()

    def load() -> Any:
        from plugin_sdk.lean import settle
        from plugin_sdk.load import load_plugin

        settle()
        return load_plugin(target)

    return serve(load)


def serve(load: Callable[[], Any]) -> int:
    """Talks to the host over this process's stdin and stdout, until one of them ends it."""
    if sys.stdin is not None and sys.stdin.isatty():
        print(
            "This is an outboard plugin: a host starts it and talks to it. Try\n"
            "    outboard dev PATH    with this plugin's folder, or with this file if it is all of it",
            file=sys.stderr,
        )
        return 2
    import faulthandler

    from plugin_sdk import stdio

    faulthandler.enable()  # a crash, or the host's SIGABRT, prints every thread's stack to stderr
    reading, writing = stdio.claim()
    from plugin_sdk.runtime import serve_plugin

    return serve_plugin(load, reading, writing)


if __name__ == "__main__":
    execute(sys.argv[sys.argv.index("--") + 1 :])
