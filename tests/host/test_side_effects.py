"""An embedded host leaves the process that it is in as it was: proved in a fresh interpreter."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.plugins import write_plugin

LOOK = '''
import asyncio, ctypes, faulthandler, gc, logging, os, resource, signal, sys, threading, time, warnings

libc = ctypes.CDLL(None)
LIMITS = [name for name in dir(resource) if name.startswith("RLIMIT_")]

def is_subreaper():
    flag = ctypes.c_int()
    libc.prctl(37, ctypes.byref(flag), 0, 0, 0)
    return flag.value

def umask():
    mask = os.umask(0o22)
    os.umask(mask)
    return mask

def settings():
    """What belongs to the whole process and to the embedder alone."""
    loggers = {
        name: (logger.level, logger.disabled, logger.propagate, list(logger.handlers))
        for name, logger in logging.root.manager.loggerDict.items()
        if isinstance(logger, logging.Logger)
    }
    return {
        "signal handlers": {number: signal.getsignal(number) for number in signal.valid_signals()},
        "blocked signals": signal.pthread_sigmask(signal.SIG_BLOCK, []),
        "timer": signal.getitimer(signal.ITIMER_REAL),
        "logging": (logging.root.level, list(logging.root.handlers), logging.lastResort),
        "loggers": {name: said for name, said in loggers.items() if said[0] or said[3] or said[1]},
        "loguru": "loguru" in sys.modules,
        "warnings": (list(warnings.filters), warnings.showwarning),
        "hooks": (sys.excepthook, threading.excepthook, sys.unraisablehook, sys.displayhook),
        "streams": (sys.stdin, sys.stdout, sys.stderr),
        "umask": umask(),
        "folder": os.getcwd(),
        "environment": dict(os.environ),
        "path": list(sys.path),
        "policy": asyncio.get_event_loop_policy(),
        "subreaper": is_subreaper(),
        "group": (os.getpgrp(), os.getsid(0), os.nice(0)),
        "limits": [resource.getrlimit(getattr(resource, name)) for name in LIMITS],
        "collector": (gc.isenabled(), gc.get_threshold()),
        "interpreter": (sys.getswitchinterval(), sys.getrecursionlimit(), faulthandler.is_enabled()),
    }

def resources():
    """What is held by the process."""
    children = ""
    for thread in os.listdir("/proc/self/task"):
        try:
            with open(f"/proc/self/task/{thread}/children") as file:
                children += file.read()
        except FileNotFoundError:
            pass  # it has just ended
    fds = set()
    for fd in os.listdir("/proc/self/fd"):
        try:
            fds.add((fd, os.readlink(f"/proc/self/fd/{fd}")))
        except FileNotFoundError:
            pass  # the one that listed the folder
    return {
        "descriptors": fds,
        # trio keeps its idle threads for ten seconds: those are its, and no host's
        "threads": sorted(
            thread.name for thread in threading.enumerate() if not thread.name.startswith("Trio thread")
        ),
        "children": children,
    }

def differences(before, after):
    return sorted(name for name in before if before[name] != after[name])

def main(folder, data):
    before = settings()
    held = resources()
    inside, told = life(folder, data)
    ends_at = time.monotonic() + 5
    while differences(held, resources()) and time.monotonic() < ends_at:
        time.sleep(0.01)  # idle threads of the loop's own end a moment after it
    print("inside:", differences(told, inside))
    print("after:", differences(before, settings()), differences(held, resources()))
    print("left open:", held["descriptors"] ^ resources()["descriptors"], file=sys.stderr)
'''

ASYNC = """
from host import Host

async def embedded(folder, data):
    told = settings()  # a loop has handlers of its own
    async with Host(plugins=[folder], data_dir=data) as host:
        assert await host.call("echo", "echo", value=1) == 1
        host.on_event(lambda event: None)
        os.kill(host.status("echo").plugins[0].pid, 9)
        await host.start("echo")
        assert await host.call("echo", "echo", value=1) == 1
        inside = settings()
    assert not differences(told, settings())
    return inside, told
"""

LIBUV = """
import uvloop
uvloop.run(asyncio.sleep(0))  # libuv makes one pipe with its first loop and keeps it, whoever asks
"""

LIVES = {
    "asyncio": ASYNC + "def life(*given): return asyncio.run(embedded(*given))\n",
    "uvloop": ASYNC + LIBUV + "def life(*given): return uvloop.run(embedded(*given))\n",
    "trio": ASYNC
    + """
import trio

async def with_a_thread(*given):
    await trio.to_thread.run_sync(int)  # trio keeps idle threads for ten seconds
    return await embedded(*given)

trio.run(trio.to_thread.run_sync, int)

def life(*given):
    return trio.run(embedded, *given)
""",
    "BlockingHost": LIBUV
    + """
from host import BlockingHost

def life(folder, data):
    told = settings()
    with BlockingHost(plugins=[folder], data_dir=data) as host:
        assert host.call("echo", "echo", value=1) == 1
        inside = settings()
    return inside, told
""",
}


@pytest.mark.parametrize("life", LIVES)
def test_a_host_changes_nothing_of_the_process_that_it_is_in(tmp_path: Path, life: str) -> None:
    folder = write_plugin(tmp_path, "echo")
    script = tmp_path / "app.py"
    end = f"\nmain({os.fspath(folder)!r}, {os.fspath(tmp_path / 'data')!r})\n"
    script.write_text(LOOK + LIVES[life] + end, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "error", str(script)], capture_output=True, text=True, timeout=50, check=False
    )
    assert done.stdout == "inside: []\nafter: [] []\n", done.stdout + done.stderr
