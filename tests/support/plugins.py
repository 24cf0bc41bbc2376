"""Folder plugins made on the spot, and bounded waits for what a host says of them.

Nothing here sleeps to wait: `Events` is fed by the host's own event subscription.
"""

from __future__ import annotations

import os
import signal
import sys
import textwrap
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import tomli_w
from anyio.abc import TaskStatus

from host import Host
from host.observability.events import CallFailed, HostEvent, PluginLogged, StateChanged

SDK = """\
import ctypes, os, signal, subprocess, sys, threading, time
from typing import Any
from plugin_sdk import AsyncContext, Context, NotReady, Plugin, PluginError
plugin = Plugin()
"""

RAW = """\
import json, os, signal, subprocess, sys, time
def send(**message):
    body = json.dumps({"jsonrpc": "2.0", **message}).encode()
    write(b"Content-Length: %d\\r\\n\\r\\n%b" % (len(body), body))
def write(data):
    while data:
        data = data[os.write(1, data):]
def receive():
    header = b""
    while not header.endswith(b"\\r\\n\\r\\n"):
        byte = os.read(0, 1)
        if not byte:
            sys.exit(0)
        header += byte
    body = b""
    length = int(header.split(b":")[1])
    while len(body) < length:
        body += os.read(0, length - len(body))
    return json.loads(body)
def handshake(**result):
    send(id=receive()["id"], result={"protocol": 1, "provides": {"methods": [{"name": "echo"}]}, **result})
    receive()
    send(id=receive()["id"], result=None)
def serve():
    while True:
        message = receive()
        if message["method"] == "exit":
            sys.exit(0)
        if "id" in message:
            send(id=message["id"], result=message["params"])
"""

ECHO = """
@plugin.method
def echo(value: Any = None) -> Any:
    return value

@plugin.method
def hang(s: float = 60.0) -> None:
    time.sleep(s)
"""

QUICK = {"backoff_min": "20ms", "backoff_max": "50ms"}
"""A [restart] table for tests that wait for a restart."""


def write_plugin(parent: Path, name: str, code: str = ECHO, **tables: Any) -> Path:
    """A Python plugin in a folder of its own; `tables` are further tables of its manifest.

    `code` comes after a preamble that imports the SDK and makes `plugin`.
    """
    return _write(parent, name, SDK + textwrap.dedent(code), {"python": "main.py"}, tables)


def write_raw_plugin(parent: Path, name: str, code: str, **tables: Any) -> Path:
    """A plugin that has no SDK and speaks bytes: see `RAW` for what it may use."""
    command = {"command": [sys.executable, "-u", "main.py"]}
    return _write(parent, name, RAW + textwrap.dedent(code), command, tables)


def _write(parent: Path, name: str, code: str, run: dict[str, Any], tables: dict[str, Any]) -> Path:
    folder = parent / name
    folder.mkdir(parents=True)
    (folder / "main.py").write_text(code, encoding="utf-8")
    manifest = {"plugin": {"name": name, "version": "1.0.0"}, "run": run} | tables
    (folder / "plugin.toml").write_text(tomli_w.dumps(manifest), encoding="utf-8")
    return folder


def make_host(tmp_path: Path, *plugins: Path, **more: Any) -> Host:
    """A host with `plugins`, or else with one called `echo`."""
    return Host(plugins=plugins or [write_plugin(tmp_path, "echo")], data_dir=tmp_path / "data", **more)


def pid_of(host: Host, name: str = "echo") -> int:
    pid = host.status(name).plugins[0].pid
    assert pid is not None
    return pid


class Events:
    """What a host has said, in order. Each wait goes on from where the last one found something."""

    def __init__(self, host: Host) -> None:
        self.seen: list[HostEvent] = []
        self._at = 0
        self._more = anyio.Event()
        host.on_event(self._take)

    def _take(self, event: HostEvent) -> None:
        self.seen.append(event)
        self._more.set()
        self._more = anyio.Event()

    async def until(self, condition: Callable[[HostEvent], bool], *, within_s: float = 10.0) -> Any:
        """The next event that fits. Raises TimeoutError."""
        with anyio.fail_after(within_s):
            while True:
                while self._at < len(self.seen):
                    event = self.seen[self._at]
                    self._at += 1
                    if condition(event):
                        return event
                await self._more.wait()

    async def state(self, plugin: str, *states: str, within_s: float = 10.0) -> StateChanged:
        """The next time that `plugin` enters one of `states`."""

        def fits(event: HostEvent) -> bool:
            return isinstance(event, StateChanged) and event.plugin == plugin and event.state in states

        found: StateChanged = await self.until(fits, within_s=within_s)
        return found

    async def log(self, plugin: str, text: str, *, within_s: float = 10.0) -> PluginLogged:
        """The next line of `plugin` that has `text` in it."""

        def fits(event: HostEvent) -> bool:
            return isinstance(event, PluginLogged) and event.plugin == plugin and text in event.message

        found: PluginLogged = await self.until(fits, within_s=within_s)
        return found

    def states(self, plugin: str) -> list[str]:
        return [e.state for e in self.seen if isinstance(e, StateChanged) and e.plugin == plugin]

    def failures(self, plugin: str) -> list[CallFailed]:
        return [e for e in self.seen if isinstance(e, CallFailed) and e.plugin == plugin]


class Stage:
    """A running host, its events, and how often its healthy plugin has answered."""

    def __init__(self, host: Host, events: Events) -> None:
        self.host = host
        self.events = events
        self.answered = 0

    def pid(self, plugin: str) -> int:
        return pid_of(self.host, plugin)

    def reason(self, plugin: str) -> str:
        return self.host.status(plugin).plugins[0].reason or ""


@asynccontextmanager
async def staged(tmp_path: Path, *plugins: Path) -> AsyncIterator[Stage]:
    """A host with `plugins` and a healthy one, `steady`, that is called throughout and must never fail."""
    steady = write_plugin(tmp_path / "healthy", "steady")
    host = Host(plugins=[steady], data_dir=tmp_path / "data")
    stage = Stage(host, Events(host))
    async with host, anyio.create_task_group() as tasks:

        async def call_on() -> None:
            while True:
                assert await host.call("steady", "echo", value=stage.answered, timeout=5) == stage.answered
                stage.answered += 1
                await anyio.sleep(0.005)  # a pace, not a wait: the machine is for the plugin under test too

        tasks.start_soon(call_on)
        for plugin in plugins:
            await host.add(plugin)
        before = stage.answered
        yield stage
        while stage.answered == before:
            await host.call("steady", "echo", timeout=5)
        assert host.status("steady").plugins[0].generation == 1
        tasks.cancel_scope.cancel()
        end_at_once(host, *(plugin.name for plugin in plugins))
    assert not stage.events.failures("steady")


def end_at_once(host: Host, *names: str) -> None:
    """Kills plugins that would take the whole ladder of a stop, which is the subject of other tests."""
    for plugin in host.status().plugins:
        if plugin.name in names and plugin.pid is not None and not is_gone(plugin.pid):
            os.kill(plugin.pid, signal.SIGKILL)


def is_gone(pid: int) -> bool:
    """Whether the process has ended; one that nobody has reaped yet counts as gone."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


async def settled(calls: Iterable[Callable[[], Any]]) -> list[Any]:
    """Runs all of `calls` at once; what each returned, or the exception that it raised, in their order.

    They begin in their order too, which trio would not see to.
    """
    outcomes: dict[int, Any] = {}

    async def one(place: int, call: Callable[[], Any], *, task_status: TaskStatus[None]) -> None:
        task_status.started()
        try:
            outcomes[place] = await call()
        except Exception as error:
            outcomes[place] = error

    async with anyio.create_task_group() as tasks:
        for place, call in enumerate(calls):
            await tasks.start(one, place, call)
    return [outcomes[place] for place in sorted(outcomes)]
