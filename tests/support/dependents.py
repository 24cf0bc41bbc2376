"""Plugins with dependencies, and installers that never end: what tests of environments wait for."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import anyio

from host import Host
from host.observability.events import StateChanged
from tests.support.plugins import Events, is_gone, write_plugin

BUILT_S = 40.0
SAYS_VERSION = """
import importlib
import shade

@plugin.method
def version() -> str:
    return shade.VERSION

@plugin.method
def imports(module: str) -> str | None:
    try:
        return importlib.import_module(module).__file__
    except ModuleNotFoundError:
        return None

@plugin.method
def process() -> dict[str, Any]:
    return {"safe_path": sys.flags.safe_path, "utf8": sys.flags.utf8_mode, "python": sys.executable}
"""


def write_dependent(parent: Path, name: str, *dependencies: str, code: str = SAYS_VERSION) -> Path:
    """A plugin that has dependencies; by default it needs `shade`."""
    folder = write_plugin(parent, name, code)
    manifest = folder / "plugin.toml"
    listed = f"[run]\ndependencies = {json.dumps(dependencies)}\n"
    manifest.write_text(manifest.read_text().replace("[run]\n", listed))
    return folder


def environments(tmp_path: Path) -> list[Path]:
    """Those that are whole."""
    return [marker.parent for marker in (tmp_path / "cache/outboard/environments").glob("*/outboard.json")]


async def until_running(host: Host, events: Events, *names: str) -> None:
    """Also when that takes a build."""
    for name in names:
        if host.status(name).plugins[0].state != "running":
            await events.state(name, "running", within_s=BUILT_S)


async def until_failed(events: Events) -> StateChanged:
    """The first time that a plugin enters a state for a cause."""

    def fits(event: object) -> bool:
        return isinstance(event, StateChanged) and event.cause is not None

    found: StateChanged = await events.until(fits, within_s=BUILT_S)
    return found


class HangingInstaller:
    """A `uv` in `folder`, to be put on the PATH, that starts a child and never ends."""

    def __init__(self, folder: Path) -> None:
        self._pids = folder / "pids"
        program = folder / "uv"
        folder.mkdir()
        said = f"echo $$ $! > {self._pids}.new; mv {self._pids}.new {self._pids}"
        program.write_text(f"#!/bin/sh\nsleep 600 &\n{said}\nwait\n")
        program.chmod(0o755)

    @property
    def began(self) -> bool:
        return self._pids.exists()

    @property
    def is_there(self) -> bool:
        """Whether any process of it is."""
        return not all(map(is_gone, map(int, self._pids.read_text().split())))

    async def until_begun(self) -> None:
        await eventually(lambda: self.began)

    async def until_gone(self) -> None:
        await eventually(lambda: not self.is_there)


async def eventually(condition: Callable[[], bool], *, within_s: float = 20.0) -> None:
    with anyio.fail_after(within_s):
        while True:
            if condition():
                return
            await anyio.sleep(0.01)
