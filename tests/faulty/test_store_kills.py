"""What was acknowledged is there, whoever was killed, whenever; a full disk costs nothing that was."""

from __future__ import annotations

import os
import random
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.support.daemon import Daemon, eventually
from tests.support.plugins import QUICK, write_plugin

ROUNDS = 5
WRITER = """
@plugin.method
def write_on(ctx: Context) -> None:
    acknowledged = os.open(ctx.data_dir / "acknowledged", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    number = ctx.store.get("a", 0)
    while True:
        number += 1
        def change(t):
            for key in "abc":
                t.set(key, number)
            t.set(f"of {number % 50}", "x" * (number * 997 % 5000))
        ctx.store.transaction(change)
        os.write(acknowledged, b"%d\\n" % number)

@plugin.method
def look(ctx: Context) -> list[int]:
    return [ctx.store.get(key, 0) for key in "abc"]

@plugin.method
def fill(ctx: Context) -> Any:
    from plugin_sdk import StoreUnavailable
    kept = 0
    try:
        while kept < 1000:
            ctx.store.set(f"{kept:04}", "x" * 20000)
            kept += 1
    except StoreUnavailable as failed:
        return [kept, ctx.store.list(), failed.message]
"""


def acknowledged(home: Path) -> int:
    """The last number that the plugin was told is committed."""
    (file,) = (*home.glob("data/outboard/data/writer/acknowledged"), home / "nothing")[:1]
    lines = file.read_bytes().split(b"\n")[:-1] if file.exists() else []
    return int(lines[-1]) if lines else 0


def begin_to_write(daemon: Daemon, words: int) -> Any:
    """Returns the command that calls it, once it has been told of so many commits."""
    until = acknowledged(daemon.home) + words
    command = daemon.begin("call", "writer", "write_on", "--timeout", "60")
    eventually(lambda: acknowledged(daemon.home) >= until)
    return command


def assert_nothing_is_lost(daemon: Daemon) -> None:
    told = acknowledged(daemon.home)
    a, b, c = daemon.call("writer", "look")
    assert a == b == c, "half a transaction"
    assert a in (told, told + 1)  # the one that was on its way may be there, or not


@pytest.fixture
def chance(request: pytest.FixtureRequest) -> random.Random:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    return random.Random(seed)


def test_what_was_acknowledged_outlives_a_kill_of_the_daemon(tmp_path: Path, chance: random.Random) -> None:
    writer = write_plugin(tmp_path, "writer", WRITER, restart=QUICK)
    for _ in range(ROUNDS):
        with Daemon(tmp_path, writer) as daemon:
            assert_nothing_is_lost(daemon)
            command = begin_to_write(daemon, chance.randrange(1, 200))
            pid = daemon.plugin("writer")["pid"]
            daemon.process.kill()
            command.communicate(timeout=15)
            eventually(lambda pid=pid: not os.path.exists(f"/proc/{pid}"))  # or it would be told more
    with Daemon(tmp_path, writer) as daemon:
        assert_nothing_is_lost(daemon)


def test_what_was_acknowledged_outlives_a_kill_of_the_plugin(tmp_path: Path, chance: random.Random) -> None:
    writer = write_plugin(tmp_path, "writer", WRITER, restart={**QUICK, "intensity": 100})
    with Daemon(tmp_path, writer) as daemon:
        for _ in range(ROUNDS):
            command = begin_to_write(daemon, chance.randrange(1, 200))
            os.kill(daemon.plugin("writer")["pid"], signal.SIGKILL)
            command.communicate(timeout=15)
            assert daemon.cli("start", "writer").code == 0
            assert_nothing_is_lost(daemon)


def test_a_full_disk_loses_nothing_and_hurts_nobody(tmp_path: Path) -> None:
    writer = write_plugin(tmp_path, "writer", WRITER)
    steady = write_plugin(tmp_path, "steady")
    no_larger = ["bash", "-c", 'ulimit -f 300; exec "$@"', "bash"]
    with Daemon(tmp_path, writer, steady, under=no_larger) as daemon:
        kept, keys, message = daemon.call("writer", "fill")
        assert 0 < kept < 1000
        assert keys == [f"{number:04}" for number in range(kept)]
        assert "nothing was changed" in message
        assert daemon.call("steady", "echo", value=1) == 1
    with Daemon(tmp_path, writer) as daemon:
        assert daemon.call("writer", "fill") is None
