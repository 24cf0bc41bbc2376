"""What outlives a host: written whole or not at all, and read whatever is there."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from host.config.effective import PluginPolicy
from host.config.problems import FileProblem
from host.observability.causes import Cause
from host.supervision.memory import Memory, Quarantine, Remembered, first_life
from host.supervision.states import State

pytestmark = pytest.mark.anyio

HELD = Quarantine(
    reason="5 restarts in 2 s",
    since=1000.0,
    next_probe_at=1600.0,
    probes=1,
    causes=[Cause(kind="exception", text="ValueError", stderr=["Traceback"], generation=6)],
)


async def written(file: Path, *changes: tuple[str, dict[str, object]]) -> list[FileProblem]:
    """Notes `changes` in a memory of its own and waits until they are on the disk."""
    problems: list[FileProblem] = []
    memory = Memory(file, problems.append)
    memory.load()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(memory.run)
        for name, change in changes:
            memory.note(name, **change)
        with anyio.fail_after(10):
            await memory.saved()
        tasks.cancel_scope.cancel()
    return problems


def read(file: Path) -> tuple[Memory, list[FileProblem]]:
    problems: list[FileProblem] = []
    memory = Memory(file, problems.append)
    memory.load()
    return memory, problems


async def test_what_was_noted_is_there_for_the_next_host(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "plugins.json"
    assert not await written(
        file,
        ("a", {"enabled": False}),
        ("b", {"quarantine": HELD}),
        ("c", {"removed": True}),
        ("d", {"added": "/x/plugin.toml"}),
    )
    memory, problems = read(file)
    assert not problems
    assert memory.of("a").enabled is False
    assert memory.of("b").quarantine == HELD
    assert memory.removed == {"c"}
    assert memory.added == {"d": "/x/plugin.toml"}
    assert memory.of("nobody") == Remembered()


async def test_what_is_forgotten_leaves_no_trace(tmp_path: Path) -> None:
    file = tmp_path / "plugins.json"
    await written(file, ("a", {"enabled": False}), ("a", {"enabled": None}), ("b", {"removed": True}))
    assert b'"a"' not in file.read_bytes()


LATER = b'{"schema": 2, "plugins": {"a": {"enabled": false}}}'


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\xff\xfe", b"[]", b'{"plugins": {"a": {"enabled": 7}}}', LATER]
)
def test_a_damaged_file_is_put_aside_and_said(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "plugins.json"
    file.write_bytes(content)
    memory, problems = read(file)
    assert memory.of("a") == Remembered()
    assert [problem.file for problem in problems] == [str(file)]
    assert Path(f"{file}.damaged").read_bytes() == content


async def test_a_disk_that_takes_nothing_is_said_and_nobody_waits_for_it(tmp_path: Path) -> None:
    blocked = tmp_path / "a file where the folder should be"
    blocked.touch()
    problems = await written(blocked / "plugins.json", ("a", {"enabled": False}))
    assert [problem.reason.split(":")[0] for problem in problems] == ["cannot be read", "cannot be written"]


def test_killed_at_any_moment_the_file_is_the_old_one_or_the_new_one(tmp_path: Path) -> None:
    """A writer that counts, killed at random points; what it left is read each time."""
    file = tmp_path / "plugins.json"
    code = f"""
import pathlib
from host.supervision.memory import _File, Remembered, write_whole
import msgspec
n = 0
print(flush=True)
while True:
    n += 1
    plugins = {{f"p{{i}}": Remembered(enabled=False, added=str(n)) for i in range(50)}}
    write_whole(pathlib.Path({str(file)!r}), msgspec.json.encode(_File(plugins=plugins)))
"""
    seed = random.randrange(2**32)
    print("seed", seed)
    dice = random.Random(seed)
    last = 0
    for _ in range(12):
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            try:
                writer.wait(dice.uniform(0.0, 0.03))
            except subprocess.TimeoutExpired:
                pass
            writer.kill()
        memory, problems = read(file)
        assert not problems
        versions = set(memory.added.values())
        assert len(versions) <= 1  # never parts of two
        assert os.listdir(tmp_path) in ([], [file.name])  # what it had begun was cleaned up
        last += len(memory.added)
    assert last > 0


def test_a_life_begins_as_it_is_remembered() -> None:
    eager = PluginPolicy()
    assert first_life(eager, Remembered(), now=5.0, unix_now=1100.0).is_wanted
    off = first_life(PluginPolicy(enabled=False), Remembered(enabled=False), now=5.0, unix_now=1100.0)
    assert (off.state, off.is_wanted) == (State.DISABLED, False)
    assert "an operator" in off.reason
    held = first_life(eager, Remembered(quarantine=HELD), now=5.0, unix_now=1100.0)
    assert (held.state, held.reason, held.is_wanted) == (State.QUARANTINED, "5 restarts in 2 s", True)
    assert held.next_start_at == 505.0
    assert held.since == -95.0


@pytest.mark.parametrize("unix_now", [0.0, 1e9])
def test_a_clock_that_jumped_cannot_hold_a_plugin_for_ever(unix_now: float) -> None:
    policy = PluginPolicy()
    held = first_life(policy, Remembered(quarantine=HELD), now=5.0, unix_now=unix_now)
    assert held.next_start_at is not None
    assert 5.0 <= held.next_start_at <= 5.0 + policy.probe_max_s


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_file_is_complained_of_and_nobody_waits_for_it(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    make(tmp_path / "plugins.json")
    memory, problems = read(tmp_path / "plugins.json")
    assert [problem.reason.split(":")[0] for problem in problems] == ["cannot be read"]
    assert memory.of("a") == Remembered()
