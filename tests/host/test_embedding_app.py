"""A program that embeds a host, outside of this repository: on every loop, and under mypy --strict."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.plugins import write_plugin

BODY = """
import sys
from functools import partial

import anyio

from host import DeadlineExceeded, Host, HostMisuse, OutboardError, PluginCrashed

plugin, data = sys.argv[1:]
states = []


def note(event):
    if hasattr(event, "state"):
        states.append(str(event.state))


async def main():
    host = Host(plugins=[plugin], data_dir=data)
    host.on_event(note)
    try:
        await host.call("echo", "echo")
    except HostMisuse as error:
        print("misuse:", error.code)
    async with host:
        print("call:", await host.call("echo", "echo", value="hello", timeout=5))
        results = []

        async def collect(number):
            results.append(await host.call("echo", "echo", value=number))

        async with anyio.create_task_group() as tasks:
            for number in range(10):
                tasks.start_soon(collect, number)
        print("together:", sorted(results))
        with anyio.move_on_after(0.1) as scope:
            await host.call("echo", "hang", s=0.3)
        print("cancelled:", scope.cancelled_caught)
        try:
            await host.call("echo", "hang", s=0.3, timeout=0.1)
        except DeadlineExceeded as error:
            print("late:", isinstance(error, TimeoutError), error.plugin, error.method)
        try:
            await host.call("echo", "ecko")
        except OutboardError as error:
            print("error:", error.code, error.plugin, error.method, bool(error.call_id), bool(error.hint))
        try:
            await host.call("echo", "die")
        except PluginCrashed as error:
            print("crash:", error)
        await host.start("echo")
        await host.stop("echo")
        print("status:", host.status("echo").plugins[0].state)
    print("states:", states)
    print("trio:", "trio" in sys.modules, "uvloop:", "uvloop" in sys.modules)
"""

RUN = {
    "asyncio": "import asyncio\nasyncio.run(main())\n",
    "uvloop": "import uvloop\nuvloop.run(main())\n",
    "trio": "import trio\ntrio.run(main)\n",
}

DIE = """
@plugin.method
def echo(value: Any = None) -> Any:
    return value

@plugin.method
def hang(s: float) -> None:
    time.sleep(s)

@plugin.method
def die() -> None:
    os._exit(3)
"""

SAID = """\
misuse: OB411
call: hello
together: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
cancelled: True
late: True echo hang
error: OB405 echo ecko True True
crash: echo.die: the plugin ended: exit code 3
status: stopped
states: ['starting', 'running', 'backoff', 'starting', 'degraded', 'stopping', 'stopped']
"""


@pytest.mark.parametrize("loop", RUN)
def test_the_same_program_does_the_same_on_every_loop(tmp_path: Path, loop: str) -> None:
    plugin = write_plugin(tmp_path, "echo", DIE)
    script = tmp_path / "app.py"
    script.write_text(BODY + RUN[loop], encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "error", str(script), str(plugin), str(tmp_path / "data")],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
        cwd=tmp_path,
    )
    loaded = f"trio: {loop == 'trio'} uvloop: {loop == 'uvloop'}\n"
    assert done.stdout == SAID + loaded, done.stdout + done.stderr
    assert done.stderr == ""


TYPED = """
from __future__ import annotations

from typing import Any, assert_type

import host as outboard
from host import (
    BlockingHost,
    DeadlineExceeded,
    ExtensionPoint,
    Host,
    HookOutcome,
    OutboardError,
    PluginUnavailable,
    RemoteError,
)


def note(event: object) -> None:
    print(event)


async def use(host: Host) -> str | None:
    assert_type(await host.call("hello", "greet", name="Ada", timeout=1), Any)
    await host.call("hello", "greet", params={"name": "Ada"}, timeout=None)
    assert_type(await host.add("path"), str)
    outcome = await host.hook("text.mark", text="x")
    assert_type(outcome, HookOutcome)
    end = host.on_event(note)
    assert_type(end(), None)
    for plugin in host.status().plugins:
        assert_type(plugin.name, str)
        assert_type(plugin.pid, int | None)
    try:
        await host.restart("hello")
    except PluginUnavailable as error:
        assert_type(error.retry_after, float | None)
    except RemoteError as error:
        assert_type(error.remote_code, int)
    except OutboardError as error:
        assert_type(error.code, str)
        return error.hint
    return None


async def main() -> None:
    async with Host(config="outboard.toml", plugins=["plugins/"], extension_points=[]) as host:
        assert_type(host, Host)
        await use(host)


def blocking() -> None:
    with BlockingHost(plugins=["plugins/"], data_dir="data") as host:
        assert_type(host, BlockingHost)
        assert_type(host.call("hello", "greet", name="Ada", timeout=1), Any)
        assert_type(host.status("hello").host.pid, int)
        assert_type(host.add("path"), str)


late: TimeoutError = DeadlineExceeded("late")
assert_type(outboard.Host, type[Host])
points: list[ExtensionPoint] = []
"""

WRONG = """
from host import Host, PluginCrashed

async def main() -> None:
    async with Host(plugin=["plugins/"]) as host:
        host.call(1, "greet")
        print(host.stats())
    print(PluginCrashed("x").remote_code)
"""


def mypy(folder: Path, source: str) -> subprocess.CompletedProcess[str]:
    (folder / "app.py").write_text(source, encoding="utf-8")
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(folder / "cache"), "app.py"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=170, check=False)


@pytest.mark.slow
@pytest.mark.timeout(360)
def test_a_program_of_somebody_elses_passes_mypy_strict_and_its_slips_do_not(tmp_path: Path) -> None:
    right = mypy(tmp_path, TYPED)
    assert right.returncode == 0, right.stdout
    wrong = mypy(tmp_path, WRONG)
    for slip in ("call-arg", "arg-type", "unused-coroutine", "attr-defined"):
        assert f"[{slip}]" in wrong.stdout, wrong.stdout
    assert wrong.stdout.count("[attr-defined]") == 2
