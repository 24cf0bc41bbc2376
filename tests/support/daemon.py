"""A daemon and a command line as an operator has them: real processes, in a folder of their own.

Every wait has a bound, and leaving a `Daemon` leaves no process: neither it nor a plugin.
"""

from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import msgspec

from host.config.places import log_file
from host.control.client import Client
from host.errors import OutboardError
from tests.support.forks import Fork, Word, can_fork
from tests.support.plugins import is_gone

OUTBOARD = [sys.executable, "-m", "host.cli"]
SAMPLES = Path(__file__).parents[2] / "sample_plugins"
PATIENCE_S = 15.0
PACE_S = 0.01
FORKABLE = {"cwd", "stdin", "stdout", "stderr", "start_new_session"}
"""The options of Popen that a fork has too."""


class Done(NamedTuple):
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What it printed, which is one JSON value."""
        return json.loads(self.out)

    @property
    def error(self) -> Any:
        """The error that it printed as JSON."""
        value = self.json
        assert value["ok"] is False
        return value["error"]


def environment(home: Path, **extra: str) -> dict[str, str]:
    """Of somebody who has just come to this machine: nothing of the tests' own but the PATH."""
    folders = {f"XDG_{name}_HOME": str(home / name.lower()) for name in ("DATA", "STATE", "CONFIG", "CACHE")}
    own = {
        "PATH": os.environ["PATH"],
        "LANG": "C.UTF-8",
        "HOME": str(home),
        "OUTBOARD_SOCKET": str(home / "run" / "control.sock"),
        "PYTHONWARNINGS": "error",
    }
    own.update({name: value for name, value in os.environ.items() if name == "OUTBOARD__HOST__WARM_START"})
    return own | folders | extra


def begin(
    words: Sequence[Word], *, env: dict[str, str], whole: bool = False, **options: Any
) -> subprocess.Popen[bytes] | Fork:
    """A command that has begun; `options` are those of Popen.

    It is forked if nothing is told of it that matters to its start alone; if it is `whole`, never.
    """
    if whole or not can_fork(env) or not FORKABLE.issuperset(options):
        return subprocess.Popen([*OUTBOARD, *words], env=env, **options)
    return Fork(words, env=env, **options)


def outboard(*words: Word, env: dict[str, str], **options: Any) -> Done:
    """Runs a command to its end; `options` are those of `begin`. No command may ever show a traceback."""
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = begin(words, env=env, **pipes | options)
    try:
        out, err = process.communicate(timeout=PATIENCE_S)
    finally:
        process.kill()
        process.wait()
    done = Done(process.returncode, out.decode(), err.decode())
    assert "Traceback" not in done.err, done.err  # in the output of `logs` one may be a plugin's
    return done


def on_terminal(*words: Word, env: dict[str, str], columns: int = 80, **options: Any) -> Done:
    """Runs a command whose stdin, stdout and stderr are a terminal; `out` is what a person sees.

    `options` are those of `begin`.
    """
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 24, columns, 0, 0))
    env = env | {"TERM": "xterm-256color"}
    process = begin(words, env=env, **{"stdin": theirs, "stdout": theirs, "stderr": theirs} | options)
    os.close(theirs)
    seen = b""
    ends_at = time.monotonic() + PATIENCE_S
    try:
        while select.select([ours], [], [], max(0.0, ends_at - time.monotonic()))[0]:
            try:
                data = os.read(ours, 65536)
            except OSError:  # EIO: the last of them has closed its end
                break
            if not data:
                break
            seen += data
        return Done(process.wait(PATIENCE_S), seen.decode().replace("\r\n", "\n"), "")
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def eventually(condition: Callable[[], Any], *, within_s: float = PATIENCE_S) -> Any:
    """What `condition` returns once it is true. Paced by a poll of nothing; raises TimeoutError."""
    ends_at = time.monotonic() + within_s
    while not (value := condition()):
        if time.monotonic() > ends_at:
            raise TimeoutError(f"not within {within_s:g} s")
        select.select([], [], [], PACE_S)
    return value


class Daemon:
    """`outboard run` with `plugins`, which are folders to scan or plugins. Entered, it is ready.

    `under` is a command that becomes it: `nohup`, say, or a shell that ends in `exec "$@"`. If `options`,
    which are those of Popen, name a stderr, then `said` is empty. It is forked as `begin` says.
    """

    def __init__(
        self,
        home: Path,
        *plugins: Path,
        words: Sequence[Word] = (),
        env: dict[str, str] | None = None,
        under: Sequence[Word] = (),
        whole: bool = False,
        **options: Any,
    ) -> None:
        self.home = home
        self.env = environment(home) | (env or {})
        self.socket = self.env["OUTBOARD_SOCKET"]
        self._under = under
        self._whole = whole
        self._words: list[Word] = ["run", *words]
        for plugin in plugins:
            self._words += ["--plugins", plugin]
        self._options: dict[str, Any] = {"env": self.env, "stdin": subprocess.DEVNULL} | options
        self.process: subprocess.Popen[bytes] | Fork
        self._pids: set[int] = set()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._note_pids()
        self.process.kill()
        self.process.wait()
        for pid in self._pids:
            if not is_gone(pid):
                os.kill(pid, signal.SIGKILL)

    def start(self) -> None:
        """Returns when every eager plugin has been tried once."""
        with open(self.home / "daemon.log", "wb") as log:
            options = {"stderr": log} | self._options
            if self._under:
                self.process = subprocess.Popen([*self._under, *OUTBOARD, *self._words], **options)
            else:
                self.process = begin(self._words, whole=self._whole, **options)
        try:
            eventually(self._is_ready)
        except BaseException:
            self.process.kill()
            raise

    def _is_ready(self) -> bool:
        assert self.process.poll() is None, self.said
        try:
            self.status()
        except OutboardError:
            return False
        if "stderr" in self._options:
            return any("ready: " in message for message in self.logged())
        return "ready: " in self.said

    @property
    def said(self) -> str:
        """Its stderr so far."""
        return (self.home / "daemon.log").read_text(errors="replace")

    def logged(self) -> list[str]:
        """The messages in its log file."""
        lines = self.log_file.read_text().splitlines() if self.log_file.exists() else []
        return [json.loads(line)["message"] for line in lines]

    @property
    def log_file(self) -> Path:
        return Path(log_file(self.env, os.getuid(), self.socket))

    # -- what an operator does --------------------------------------------------------------------

    def cli(self, *words: Word, whole: bool = False, **env: str) -> Done:
        return outboard(*words, env=self.env | env, whole=whole)

    def begin(self, *words: Word, **options: Any) -> subprocess.Popen[bytes] | Fork:
        """A command that goes on; the caller waits for it. `options` are those of `begin`."""
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return begin(words, **{"env": self.env} | pipes | options)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """By signal; its exit code."""
        self._note_pids()
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_S)

    # -- what a test looks at ---------------------------------------------------------------------

    def ask(self, method: str, params: Any = None, *, timeout: float = 5.0) -> Any:
        with Client(self.socket) as client:
            return msgspec.json.decode(client.ask(method, params, timeout=timeout))

    def call(self, plugin: str, method: str, **params: Any) -> Any:
        return self.ask("call", {"plugin": plugin, "method": method, "params": params})

    def status(self) -> Any:
        return self.ask("status")

    def plugin(self, name: str) -> Any:
        return self.ask("status", {"name": name})["plugins"][0]

    def pids(self) -> list[int]:
        """Of the plugins."""
        return [plugin["pid"] for plugin in self.status()["plugins"] if plugin["pid"] is not None]

    def until_state(self, name: str, *states: str) -> Any:
        """The plugin's line of status once it is in one of `states`."""

        def there() -> Any:
            seen = self.plugin(name)
            return seen if seen["state"] in states else None

        return eventually(there)

    def _note_pids(self) -> None:
        try:
            self._pids.update(self.pids())
        except OutboardError:
            pass
