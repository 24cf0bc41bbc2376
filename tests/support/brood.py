"""Every kind of process that a plugin can leave behind, started by real plugins; and who is left of them.

`with_sdk` and `without_sdk` make the same plugin: with the SDK, and as a command that speaks bytes.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from tests.support.plugins import is_gone, write_plugin, write_raw_plugin

KINDS = ("child", "grandchild", "setsid", "daemon", "clean daemon", "stubborn")

BROOD = '''
def start(*, setsid=False, twice=False, under=False, deaf=False, env=None):
    """A process that sleeps, and its pid. `twice`: it has lost its parent; `under`: its parent sleeps too."""
    reading, writing = os.pipe()
    first = os.fork()
    if first == 0:
        if setsid:
            os.setsid()
        if twice and os.fork():
            os._exit(0)
        if not under or not os.fork():
            os.write(writing, b"%d" % os.getpid())
        if deaf:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        null = os.open("/dev/null", os.O_RDWR)
        for fd in range(3):
            os.dup2(null, fd)
        os.execve("/bin/sleep", ["sleep", "120"], os.environ if env is None else env)
    os.close(writing)
    pid = int(os.read(reading, 20))
    os.read(reading, 1)  # the end of the file: it has become a sleep, and its environment can be read
    os.close(reading)
    if twice:
        os.waitpid(first, 0)
    return pid


def brood():
    return {
        "child": start(),
        "grandchild": start(under=True),
        "setsid": start(setsid=True),
        "daemon": start(setsid=True, twice=True),
        "clean daemon": start(setsid=True, twice=True, env={}),
        "stubborn": start(deaf=True),
    }


def many(count):
    return [start(setsid=True, twice=number % 2 == 0) for number in range(count)]


def hop():
    """A process that is a thousand processes a second, one after the other; ends by itself after 20 s."""
    if os.fork() == 0:
        os.setsid()
        null = os.open("/dev/null", os.O_RDWR)
        for fd in range(3):
            os.dup2(null, fd)
        ends_at = time.monotonic() + 20
        while time.monotonic() < ends_at:
            if os.fork():
                os._exit(0)
            time.sleep(0.001)
        os._exit(0)


def hang():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGABRT, signal.SIG_IGN)
    while True:
        ctypes.PyDLL(None).sleep(60)  # and no other thread gets its turn
'''

_SDK = """
plugin.method(brood)
plugin.method(many)
plugin.method(hop)
plugin.method(hang)

@plugin.method
def leave(how: str) -> None:
    os._exit(3) if how == "exit" else ctypes.string_at(0)
"""
_TYPED = BROOD.replace("def brood():", "def brood() -> Any:").replace("def hop():", "def hop() -> None:")
_TYPED = _TYPED.replace("def many(count):", "def many(count: int) -> Any:").replace(
    "def hang():", "def hang() -> None:"
)

_RAW = """
import ctypes
handshake()
while True:
    message = receive()
    name, params = message["method"], message.get("params") or {}
    if name == "exit":
        sys.exit(0)
    if name == "leave":
        os._exit(3) if params["how"] == "exit" else ctypes.string_at(0)
    known = {"brood": brood, "many": many, "hop": hop, "hang": hang}
    if "id" in message:
        send(id=message["id"], result=known[name](**params) if name in known else None)
"""
_TABLES = {
    "health": {"interval": "300ms", "timeout": "1s", "misses": 1},
    "restart": {"backoff_min": "20ms", "backoff_max": "50ms"},
    "start": {"stop_timeout": "100ms"},
    "limits": {"processes": 1000, "threads": 2000},
}


def with_sdk(parent: Path, name: str = "victim") -> Path:
    return write_plugin(parent, name, _TYPED + _SDK, **_TABLES)


def without_sdk(parent: Path, name: str = "victim") -> Path:
    return write_raw_plugin(parent, name, BROOD + _RAW, **_TABLES)


def left_of(brood: dict[str, int]) -> dict[str, int]:
    """Who of them is there still."""
    return {kind: pid for kind, pid in brood.items() if not is_gone(pid)}


def children_of(pid: int) -> set[int]:
    """Alive or dead."""
    found: set[int] = set()
    for thread in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{thread}/children") as listed:
            found.update(map(int, listed.read().split()))
    return found


def bearing(mark: str) -> list[int]:
    """Pids of whoever was started with `mark` in OUTBOARD_INSTANCE, and has not ended."""
    found: list[Any] = []
    for name in filter(str.isdecimal, os.listdir("/proc")):
        try:
            environment = Path(f"/proc/{name}/environ").read_bytes()
        except OSError:
            continue
        if f"OUTBOARD_INSTANCE={mark}".encode() in environment and not is_gone(int(name)):
            found.append(int(name))
    return found
