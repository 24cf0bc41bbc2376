"""A plugin that misbehaves on demand, each time in one well-known way.

A vice is called as a method, or chosen by the setting `vice`, or, for what must happen before settings
arrive, by `--vice NAME` on the command line. The rows are those of the project's fault matrix. It speaks
the protocol in raw bytes, with the standard library only, because an SDK would keep it from most of this.
"""

from __future__ import annotations

import ctypes
import faulthandler
import json
import os
import resource
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any


class NoAnswer(Exception):
    """Raised by a vice that leaves the host waiting for its reply."""


class Gremlin:
    """The plugin's side of the wire, and what the vices need to know."""

    def __init__(self) -> None:
        self.generation = 1
        self.asked: int | str | None = None
        """The request that is being worked on; None once it is answered."""
        self._writing = threading.Lock()

    def write(self, data: bytes) -> None:
        with self._writing:
            while data:
                data = data[os.write(1, data) :]

    def send(self, message: dict[str, Any]) -> None:
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        self.write(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))

    def answer(self, result: Any) -> None:
        if self.asked is not None:
            self.send({"id": self.asked, "result": result})
            self.asked = None

    def refuse(self, code: int, message: str) -> None:
        self.send({"id": self.asked, "error": {"code": code, "message": message}})
        self.asked = None


# ---- the vices -----------------------------------------------------------------------------------


def exit_at_import(gremlin: Gremlin, seconds: float) -> None:
    """Row 1: exits with 1 before it has said a word."""
    raise SystemExit(1)


def exit_unasked(gremlin: Gremlin, seconds: float) -> None:
    """Row 2: exits with 0, although nobody asked it to."""
    raise SystemExit(0)


def segfault(gremlin: Gremlin, seconds: float) -> None:
    """Row 3: reads memory that is not there."""
    ctypes.string_at(0)


def abort(gremlin: Gremlin, seconds: float) -> None:
    """Row 4: aborts, as a failed assertion in C does."""
    os.abort()


def die(gremlin: Gremlin, seconds: float) -> None:
    """Row 5: is killed with SIGKILL, as by the kernel when memory is short."""
    os.kill(os.getpid(), signal.SIGKILL)


def crash_every(gremlin: Gremlin, seconds: float) -> None:
    """Row 6: crashes after so many seconds of every life."""
    later(seconds, lambda: os._exit(1))


def crash_after(gremlin: Gremlin, seconds: float) -> None:
    """Row 7: crashes after so many seconds of its first life (try 59 and 61), and then no more."""
    if gremlin.generation <= 1:
        later(seconds, lambda: os._exit(1))


def never_initialize(gremlin: Gremlin, seconds: float) -> None:
    """Row 8: never answers `initialize`."""
    raise NoAnswer


def slow_start(gremlin: Gremlin, seconds: float) -> None:
    """Row 9: says that it makes progress with starting, and never gets there."""
    token, done = gremlin.asked, 0

    def say() -> None:
        nonlocal done
        done += 1
        value = {"done": done, "message": "still starting"}
        gremlin.send({"method": "$/progress", "params": {"token": token, "value": value}})
        later(0.1, say)

    say()
    raise NoAnswer


def spin(gremlin: Gremlin, seconds: float) -> None:
    """Row 10: loops for ever where it ought to read. In an `async def` of the SDK's: see spin.py."""
    while True:
        pass


def print_noise(gremlin: Gremlin, seconds: float) -> None:
    """Row 32: prints to the protocol's stream, before a frame and glued to one."""
    gremlin.write(b"hello from print\nand no newline at the end")


def garbage(gremlin: Gremlin, seconds: float) -> None:
    """Row 33: announces a frame of 4 GiB."""
    gremlin.write(b"Content-Length: 4294967296\r\n\r\n")


def stop_reading(gremlin: Gremlin, seconds: float) -> None:
    """Row 35: answers once more, and never reads again."""
    gremlin.answer(None)
    while True:
        signal.pause()


Vice = Callable[[Gremlin, float], None]
VICES: dict[str, Vice] = {
    vice.__name__: vice
    for vice in (
        exit_at_import,
        exit_unasked,
        segfault,
        abort,
        die,
        crash_every,
        crash_after,
        never_initialize,
        slow_start,
        spin,
        print_noise,
        garbage,
        stop_reading,
    )
}
MOMENTS = {"exit_at_import": "import", "never_initialize": "initialize", "slow_start": "lifecycle/start"}
"""When a chosen vice breaks out; the others do once the plugin runs."""


def later(seconds: float, what: Callable[[], None]) -> None:
    timer = threading.Timer(seconds, what)
    timer.daemon = True
    timer.start()


# ---- the plugin ----------------------------------------------------------------------------------


def read_messages() -> Iterator[dict[str, Any]]:
    unread = b""
    while data := os.read(0, 65536):
        unread += data
        while (blank := unread.find(b"\r\n\r\n")) >= 0:
            end = blank + 4 + int(unread[:blank].rpartition(b":")[2])
            if len(unread) < end:
                break
            yield json.loads(unread[blank + 4 : end])
            unread = unread[end:]


def provided() -> dict[str, Any]:
    methods = [{"name": name, "doc": vice.__doc__} for name, vice in VICES.items()]
    echo = {"name": "echo", "doc": "Gives back what it is given: the healthy one.", "idempotent": True}
    return {"protocol": 1, "plugin": {"name": "gremlin"}, "provides": {"methods": [echo, *methods]}}


def serve(chosen: str, seconds: float) -> None:
    gremlin = Gremlin()

    def break_out(moment: str) -> None:
        if chosen in VICES and MOMENTS.get(chosen, "running") == moment:
            VICES[chosen](gremlin, seconds)

    break_out("import")
    for message in read_messages():
        method, params = message.get("method"), message.get("params", {})
        if method == "exit":
            return
        if message.get("id") is None or method is None:
            continue
        gremlin.asked = message["id"]
        try:
            if method == "initialize":
                settings = params.get("config", {})
                chosen = chosen if chosen != "none" else settings.get("vice", "none")
                seconds = settings.get("seconds", seconds)
                gremlin.generation = params.get("plugin", {}).get("generation", 1)
                break_out("import")  # too late for the real thing, but as good as it gets
                break_out("initialize")
                gremlin.answer(provided())
            elif method == "lifecycle/start":
                break_out("lifecycle/start")
                gremlin.answer({})
                break_out("running")
            elif method in ("lifecycle/ping", "shutdown"):
                gremlin.answer({})
            elif method == "echo":
                gremlin.answer(params)
            elif method in VICES:
                VICES[method](gremlin, params.get("seconds", seconds))
                gremlin.answer(None)
            else:
                gremlin.refuse(-32601, f"no method {method}")
        except NoAnswer:
            pass


def main(arguments: list[str]) -> None:
    faulthandler.enable()  # so that a crash, and the host's SIGABRT, leave a stack on stderr
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # but no core file in this folder
    given = dict(zip(arguments[::2], arguments[1::2], strict=False))
    serve(given.get("--vice", "none"), float(given.get("--seconds", "20")))


if __name__ == "__main__":
    main(sys.argv[1:])
