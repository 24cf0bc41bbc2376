"""The environments of one host: which are there, which are being built, and who waits for them.

A build begins when a plugin needs it and goes on as long as one that needs it is waiting. Everybody who
waits hears once how it ended. Builds run in a process group each, two at a time, and none of them
outlives its deadline, `run`, or the host. Used on the loop's thread alone.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
import sysconfig
from collections.abc import Callable, Sequence
from pathlib import Path

import anyio
import anyio.abc
import msgspec

import plugin_sdk
import protocol
from host.environments.outcome import Failure, retry_after_s, telling_line
from host.environments.recipe import (
    MARKER,
    Recipe,
    Toolchain,
    build_environment,
    folder_of,
    python_of,
    recipe,
)
from host.process.driver import Driver
from host.process.launchers import LaunchSpec
from host.process.spawn import spawn
from host.process.stderr import StderrReader

MAX_BUILDS = 2
REAP_S = 5.0
_BUILD = str(Path(__file__).with_name("build.py"))

OnEnd = Callable[[Failure | None], None]


class _Build:
    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.waiting: dict[str, OnEnd] = {}
        """By plugin."""
        self.scope = anyio.CancelScope()


class Environments:
    """`root` is a folder of ours alone, made when it is needed; `timeout_s` is what one build may take."""

    def __init__(self, root: str, driver: Driver, *, timeout_s: float) -> None:
        self._root = root
        self._driver = driver
        self._timeout_s = timeout_s
        self._slots = anyio.CapacityLimiter(MAX_BUILDS)
        self._builds: dict[str, _Build] = {}
        """By folder."""
        self._failures: dict[str, tuple[str, int]] = {}
        """By plugin that waits or will: which folder, and how often in a row."""
        self._tasks: anyio.abc.TaskGroup | None = None

    async def run(self, *, task_status: anyio.abc.TaskStatus[None]) -> None:
        """Holds the builds, until it is cancelled; kills those that are left."""
        async with anyio.create_task_group() as self._tasks:
            task_status.started()
            await anyio.sleep_forever()

    def folder(self, dependencies: Sequence[str]) -> str | None:
        """The environment for `dependencies`, if it is there and whole."""
        folder = folder_of(self._root, dependencies, _toolchain())
        return folder if _is_whole(folder) else None

    def build(self, plugin: str, dependencies: Sequence[str], on_end: OnEnd) -> str:
        """Has it built, or joins who is at it already; says what is being done.

        `on_end` is called once, never before this returns, and not at all after `leave`.
        """
        assert self._tasks is not None
        wanted = recipe(
            self._root,
            dependencies,
            _toolchain(),
            uv=shutil.which("uv"),  # somebody may install it while the host runs
            has_pip=importlib.util.find_spec("pip") is not None,
        )
        for folder in [folder for folder in self._builds if folder != wanted.folder]:
            self._leave(folder, plugin)
        build = self._builds.get(wanted.folder)
        if build is None:
            build = self._builds[wanted.folder] = _Build(wanted)
            self._tasks.start_soon(self._carry_out, build)
        build.waiting[plugin] = on_end
        return wanted.summary

    def leave(self, plugin: str) -> None:
        """`plugin` waits no longer. A build that nobody waits for is killed."""
        self._failures.pop(plugin, None)
        for folder in list(self._builds):
            self._leave(folder, plugin)

    def _leave(self, folder: str, plugin: str) -> None:
        build = self._builds[folder]
        build.waiting.pop(plugin, None)
        if not build.waiting:
            del self._builds[folder]  # who asks again begins anew, and finds the lock taken for a moment
            build.scope.cancel()

    async def _carry_out(self, build: _Build) -> None:
        folder = build.recipe.folder
        with build.scope:
            try:
                async with self._slots:
                    failure = await self._attempt(build.recipe)
            except Exception as error:  # a slip of ours costs the plugins that wait, and never the host
                failure = Failure(text=f"the host's own fault: {type(error).__name__}: {error}")
            if self._builds.get(folder) is build:
                del self._builds[folder]
            for plugin, on_end in build.waiting.items():
                on_end(self._counted(plugin, folder, failure))

    def _counted(self, plugin: str, folder: str, failure: Failure | None) -> Failure | None:
        if failure is None:
            self._failures.pop(plugin, None)
            return None
        before, count = self._failures.get(plugin, (folder, 0))
        count = count + 1 if before == folder else 1
        self._failures[plugin] = (folder, count)
        return msgspec.structs.replace(failure, retry_after_s=retry_after_s(count))

    async def _attempt(self, wanted: Recipe) -> Failure | None:
        """Runs build.py to its end or its deadline; None if the environment is there afterwards."""
        told = {"OUTBOARD_BUILD": msgspec.json.encode(wanted).decode(), "OUTBOARD_INSTANCE": "build"}
        spec = LaunchSpec([sys.executable, "-I", _BUILD], "/", build_environment(os.environ) | told)
        try:
            child = spawn(spec, self._driver)
        except OSError as error:
            return Failure(text=f"the build could not be started: {error.strerror or error}")
        stderr = StderrReader(self._driver, child.stderr_fd, lambda line: None)
        try:
            with anyio.move_on_after(self._timeout_s):
                await child.exited.wait()
            in_time = child.exit is not None  # before we see to it
        finally:
            child.kill()
            with anyio.move_on_after(REAP_S, shield=True):
                await child.exited.wait()
            stderr.close()
            os.close(child.stdin_fd)  # the lifeline
            os.close(child.stdout_fd)
        if child.exit is not None and child.exit.is_clean and _is_whole(wanted.folder):
            return None
        lines = list(stderr.tail)
        if not in_time:
            text = f"not built in {self._timeout_s:g} s (host.environment_timeout); the last line: "
            return Failure(text=text + (telling_line(lines) or "none"), lines=lines)
        return Failure(text=telling_line(lines) or f"the build ended: {child.exit}", lines=lines)


def _is_whole(folder: str) -> bool:
    """Also whether its Python is there, which is a link to one that may have been removed."""
    return os.path.exists(os.path.join(folder, MARKER)) and os.access(python_of(folder), os.X_OK)


def _toolchain() -> Toolchain:
    version, abi = ".".join(map(str, sys.version_info[:3])), sysconfig.get_config_var("SOABI")
    return Toolchain(
        python=sys.executable,
        python_tag=f"{version} {abi} {sysconfig.get_platform()}",
        outboard=protocol.__version__,
        ours={package.__name__: _folder_of(package.__file__) for package in (plugin_sdk, protocol)},
        spare={"msgspec": _folder_of(msgspec.__file__)},
    )


def _folder_of(file: str | None) -> str:
    assert file is not None
    return str(Path(file).parent.resolve())
