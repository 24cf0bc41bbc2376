"""Who may import whom. A room of the host imports only rooms below it."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = [
    *("__init__", "__main__", "cli", "conformance", "authoring", "control", "blocking", "doorbell", "lent"),
    *("host", "engine", "proxy"),
    *("routing", "supervision", "environments", "store", "process", "packing", "discovery", "config"),
    *("contracts", "observability", "errors"),
]
"""Of the package `host`, from top to bottom."""
PURE = {"time", "asyncio", "logging", "os", "threading", "anyio", "host", "plugin_sdk"}


def files(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imports(file: Path) -> Iterator[str]:
    """Every absolute name that the file imports, wherever in it, but not for types alone."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room(file: Path) -> str:
    return file.relative_to(ROOT / "host").parts[0].removesuffix(".py")


def fresh(code: str) -> str:
    """What `code` prints in an interpreter that has imported nothing."""
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=30
    ).stdout.strip()


@pytest.mark.parametrize("file", files("protocol"), ids=lambda file: file.name)
def test_the_protocol_knows_neither_side_and_touches_nothing(file: Path) -> None:
    assert not {name.split(".")[0] for name in imports(file)} & PURE


@pytest.mark.parametrize("file", files("plugin_sdk"), ids=lambda file: file.name)
def test_the_sdk_needs_the_standard_library_and_msgspec(file: Path) -> None:
    allowed = {"protocol", "plugin_sdk", "msgspec"} | sys.stdlib_module_names
    # asyncio is for plugins with async handlers alone
    if file.name not in ("loop.py", "async_calls.py", "async_streams.py", "async_uploads.py"):
        allowed -= {"asyncio"}
    assert {name.split(".")[0] for name in imports(file)} <= allowed


@pytest.mark.parametrize("file", files("host"), ids=lambda file: str(file.relative_to(ROOT)))
def test_a_room_of_the_host_imports_only_rooms_below_it(file: Path) -> None:
    assert room(file) in ROOMS, "a new room needs its place in the order"
    level = ROOMS.index(room(file))
    for name in imports(file):
        top, _, rest = name.partition(".")
        target = rest.split(".")[0]
        if top == "host" and target in ROOMS and target != room(file):
            assert ROOMS.index(target) > level, f"{name} is above {room(file)}"


@pytest.mark.parametrize("package", ["protocol", "plugin_sdk", "host"])
def test_importing_a_package_configures_nothing(package: str) -> None:
    look = (
        "[logging.root.handlers, logging.root.level, [signal.getsignal(s) for s in signal.valid_signals()],"
        " sys.excepthook, threading.active_count()]"
    )
    code = f"import logging, signal, sys, threading; a = {look}; import {package}; print(a == {look})"
    assert fresh(code) == "True"


def test_importing_host_loads_no_event_loop() -> None:
    assert fresh("import host, sys; print({'anyio', 'asyncio', 'psutil', 'loguru'} & set(sys.modules))") == (
        "set()"
    )


def test_importing_plugin_sdk_loads_no_event_loop() -> None:
    assert fresh("import plugin_sdk, sys; print({'anyio', 'asyncio', 'host'} & set(sys.modules))") == "set()"
