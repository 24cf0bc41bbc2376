"""A plugin that misbehaves on demand, each time in one well-known way.

A vice is called as a method, or chosen by the setting `vice`, or, for what must happen before settings
arrive, by `--vice NAME` on the command line. The rows are those of the project's fault matrix. It speaks
the protocol in raw bytes, with the standard library only, because an SDK would keep it from most of this.
Every vice has a bound: what it starts ends by itself after `seconds`, if nobody ends it before.
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
import time
from collections.abc import Callable, Iterator
from typing import Any

MIB = 1024 * 1024


class NoAnswer(Exception):
    """Raised by a vice that leaves the host waiting for its reply."""


class Gremlin:
    """The plugin's side of the wire, and what the vices need to know."""

    def __init__(self) -> None:
        self.name = "gremlin"
        """What the host calls it."""
        self.generation = 1
        self.asked: int | str | None = None
        """The request that is being worked on; None once it is answered."""
        self.at_shutdown: Callable[[], object] = lambda: None
        self.kept: list[bytearray] = []
        """Memory that is never given back."""
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


def hold_gil(gremlin: Gremlin, seconds: float) -> None:
    """Row 11: a call into C that never lets another thread of Python's run."""
    ctypes.PyDLL(None).sleep(int(max(1.0, seconds)))


def freeze(gremlin: Gremlin, seconds: float) -> None:
    """Row 13: is stopped, as by SIGSTOP from a debugger."""
    os.kill(os.getpid(), signal.SIGSTOP)


def turn_deaf(gremlin: Gremlin, seconds: float) -> None:
    """Row 14: answers once more, and then heeds neither words nor the end of its input nor SIGTERM."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    gremlin.answer(None)
    time.sleep(seconds)


def fail_to_stop(gremlin: Gremlin, seconds: float) -> None:
    """Row 15: will answer `shutdown` with an error."""
    gremlin.at_shutdown = lambda: gremlin.refuse(-32000, "its stop code failed")


def hang_in_stop(gremlin: Gremlin, seconds: float) -> None:
    """Row 15: will never answer `shutdown`."""
    gremlin.at_shutdown = lambda: time.sleep(seconds)


def allocate(gremlin: Gremlin, seconds: float) -> None:
    """Row 17: takes 600 MiB of memory a second, a GiB at the most."""
    grow(gremlin, 1024 * MIB, 600, seconds)


def leak(gremlin: Gremlin, seconds: float) -> None:
    """Row 18: takes 10 MiB of memory a second, and answers all the while; crashes when there is no more."""

    def go_on() -> None:
        try:
            grow(gremlin, 1024 * MIB, 10, seconds)
        except MemoryError:
            os.write(2, b"MemoryError\n")
            os._exit(1)

    threading.Thread(target=go_on, daemon=True).start()


def split_memory(gremlin: Gremlin, seconds: float) -> None:
    """Row 19: takes 600 MiB, 60 in each of 10 children, none of which is large."""

    def take() -> None:
        kept = touch(60 * MIB)
        time.sleep(seconds)
        del kept

    fork(10, take)


def share_memory(gremlin: Gremlin, seconds: float) -> None:
    """Row 20: has 100 MiB, and 5 children who see the same 100 MiB: together it is not more than that."""
    gremlin.kept.append(touch(100 * MIB))
    fork(5, lambda: time.sleep(seconds))


def hide_memory(gremlin: Gremlin, seconds: float) -> None:
    """Row 21: has 400 MiB in a memfd, which counts as a file."""
    fd = os.memfd_create("hidden")
    for _ in range(400):
        os.write(fd, bytes(MIB))


def fork_bomb(gremlin: Gremlin, seconds: float) -> None:
    """Row 22: forks 300 processes that wait."""
    fork(300, lambda: time.sleep(seconds))


def swarm(gremlin: Gremlin, seconds: float) -> None:
    """Row 23: starts 500 threads that wait."""
    threading.stack_size(64 * 1024)
    for _ in range(500):
        threading.Thread(target=time.sleep, args=(seconds,), daemon=True).start()


def daemonise(gremlin: Gremlin, seconds: float) -> None:
    """Row 24: leaves a daemon: two forks, a session of its own, and an environment that says nothing."""

    def leave() -> None:
        os.setsid()
        if os.fork() == 0:
            close_all()
            os.execve("/bin/sleep", ["sleep", str(seconds)], {})

    fork(1, leave, wait=True)


def hop(gremlin: Gremlin, seconds: float) -> None:
    """Row 25: forks a process that forks its successor and ends, a thousand times a second."""
    ends_at = time.monotonic() + seconds

    def go_on() -> None:
        close_all()
        while time.monotonic() < ends_at:
            if os.fork():
                os._exit(0)
            time.sleep(0.001)

    fork(1, go_on)


def hold_stdout(gremlin: Gremlin, seconds: float) -> None:
    """Row 26: leaves a process that keeps its output open, and exits with 5."""

    def hold() -> None:
        os.setsid()
        time.sleep(seconds)

    fork(1, hold)
    os._exit(5)


def print_noise(gremlin: Gremlin, seconds: float) -> None:
    """Row 32: prints to the protocol's stream, before a frame and glued to one."""
    gremlin.write(b"hello from print\nand no newline at the end")


def garbage(gremlin: Gremlin, seconds: float) -> None:
    """Row 33: announces a frame of 4 GiB."""
    gremlin.write(b"Content-Length: 4294967296\r\n\r\n")


def truncate(gremlin: Gremlin, seconds: float) -> None:
    """Row 33: ends in the middle of a frame."""
    gremlin.write(b'Content-Length: 100\r\n\r\n{"jsonrpc":')
    os.close(1)
    time.sleep(seconds)


def nest_deeply(gremlin: Gremlin, seconds: float) -> None:
    """Row 33: answers with 100,000 lists, one in the other."""
    body = b'{"jsonrpc":"2.0","id":%b,"result":%b%b}' % (
        json.dumps(gremlin.asked).encode(),
        b"[" * 100_000,
        b"]" * 100_000,
    )
    gremlin.write(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
    gremlin.asked = None


def reply_strangely(gremlin: Gremlin, seconds: float) -> None:
    """Row 34: answers what nobody asked, and asks what nobody answers; then twice what was asked."""
    asked = gremlin.asked
    gremlin.send({"id": 999_999, "result": "for nobody"})
    gremlin.send({"method": "no/such/notification", "params": {}})
    gremlin.send({"id": "mine", "method": "no/such/request", "params": {}})
    gremlin.answer("first")
    gremlin.send({"id": asked, "result": "second"})


def reply_late(gremlin: Gremlin, seconds: float) -> None:
    """Row 34: answers after so many seconds, when nobody waits any more."""
    time.sleep(seconds)


def stop_reading(gremlin: Gremlin, seconds: float) -> None:
    """Row 35: answers once more, and never reads again."""
    gremlin.answer(None)
    while True:
        signal.pause()


def flood_stderr(gremlin: Gremlin, seconds: float) -> None:
    """Row 36: writes to stderr as fast as it is read, and answers all the while."""
    ends_at = time.monotonic() + seconds

    def flood() -> None:
        while time.monotonic() < ends_at:
            os.write(2, b"x" * 99 + b"\n")

    threading.Thread(target=flood, daemon=True).start()


def burn(gremlin: Gremlin, seconds: float) -> None:
    """Row 37: keeps a core busy, in a child, and answers all the while."""
    ends_at = time.monotonic() + seconds

    def work() -> None:
        while time.monotonic() < ends_at:
            pass

    fork(1, work)


def hoard_files(gremlin: Gremlin, seconds: float) -> None:
    """Row 38: opens files until it may not open another, and tells how that ended."""
    opened = []
    try:
        while True:
            opened.append(os.open("/dev/null", os.O_RDONLY))
    except OSError as error:
        gremlin.answer({"opened": len(opened), "error": error.strerror})
    for fd in opened:
        os.close(fd)


def fill_disk(gremlin: Gremlin, seconds: float) -> None:
    """Row 39: writes to a file in its folder until it may not write more, and tells how that ended."""
    written = 0
    with open(os.path.join(os.environ["HOME"], "filler"), "wb", buffering=0) as file:
        try:
            while True:
                written += file.write(bytes(MIB))
        except OSError as error:
            gremlin.answer({"written": written, "error": error.strerror})


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
        hold_gil,
        freeze,
        turn_deaf,
        fail_to_stop,
        hang_in_stop,
        allocate,
        leak,
        split_memory,
        share_memory,
        hide_memory,
        fork_bomb,
        swarm,
        daemonise,
        hop,
        hold_stdout,
        print_noise,
        garbage,
        truncate,
        nest_deeply,
        reply_strangely,
        reply_late,
        stop_reading,
        flood_stderr,
        burn,
        hoard_files,
        fill_disk,
    )
}
MOMENTS = {"exit_at_import": "import", "never_initialize": "initialize", "slow_start": "lifecycle/start"}
"""When a chosen vice breaks out; the others do once the plugin runs."""


# ---- what the vices are made of --------------------------------------------------------------------


def touch(size: int) -> bytearray:
    """Memory that is really there: every page of it has been written to."""
    memory = bytearray(size)
    memory[::4096] = b"x" * len(memory[::4096])
    return memory


def grow(gremlin: Gremlin, up_to: int, mib_per_s: float, seconds: float) -> None:
    """Takes memory at a rate, and keeps it."""
    ends_at = time.monotonic() + seconds
    while len(gremlin.kept) * 4 * MIB < up_to and time.monotonic() < ends_at:
        gremlin.kept.append(touch(4 * MIB))
        time.sleep(4 / mib_per_s)


def fork(count: int, what: Callable[[], object], *, wait: bool = False) -> None:
    """Does `what` in `count` children, each of which ends then, without a word."""
    for _ in range(count):
        pid = os.fork()
        if pid == 0:
            try:
                what()
            finally:
                os._exit(0)
        elif wait:
            os.waitpid(pid, 0)


def close_all() -> None:
    """Lets go of every file, as a daemon does."""
    os.closerange(0, 256)


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


def provided(name: str) -> dict[str, Any]:
    methods = [{"name": name, "doc": vice.__doc__} for name, vice in VICES.items()]
    echo = {"name": "echo", "doc": "Gives back what it is given: the healthy one.", "idempotent": True}
    return {"protocol": 1, "plugin": {"name": name}, "provides": {"methods": [echo, *methods]}}


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
                gremlin.name = params.get("plugin", {}).get("name", gremlin.name)
                gremlin.generation = params.get("plugin", {}).get("generation", 1)
                break_out("import")  # too late for the real thing, but as good as it gets
                break_out("initialize")
                gremlin.answer(provided(gremlin.name))
            elif method == "lifecycle/start":
                break_out("lifecycle/start")
                gremlin.answer({})
                break_out("running")
            elif method in ("lifecycle/ping", "shutdown"):
                if method == "shutdown":
                    gremlin.at_shutdown()
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
