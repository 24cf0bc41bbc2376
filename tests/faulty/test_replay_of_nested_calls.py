"""Calls that are sent again after a crash, and the calls that they make of other plugins meanwhile."""

from __future__ import annotations

from pathlib import Path

import pytest

from host import CallReplayed
from tests.support.plugins import QUICK, Stage, staged, write_plugin

pytestmark = pytest.mark.anyio

OFTEN = QUICK | {"intensity": 100, "backoff_min": "10ms", "backoff_max": "20ms"}
OUTER = """
def is_first(flag: str) -> bool:
    with open(flag, "a+") as file:
        file.seek(0)
        before = file.read()
        file.write("x")
    return not before

@plugin.method(idempotent=True)
def through(flag: str, dies: str, ctx: Context) -> list[int]:
    first = is_first(flag)
    if first and dies == "before it asks":
        os._exit(3)
    if first and dies == "while it waits":
        ctx.call("inner", "kill", pid=os.getpid())
    found = [ctx.call("inner", "count")]
    if first and dies == "after an answer":
        os._exit(3)
    return [*found, ctx.call("inner", "count")]

@plugin.method(idempotent=True)
def around(flag: str, ctx: Context) -> str:
    return "around " + ctx.call("outer", "dies_once", flag=flag)

@plugin.method(idempotent=True)
def dies_once(flag: str) -> str:
    if is_first(flag):
        os._exit(3)
    return "dies once"

@plugin.method
def carefully(flag: str, ctx: Context) -> str:
    return "carefully " + ctx.call("inner", "dies_once", flag=flag)
"""
INNER = (
    """
counted = 0

@plugin.method
def count() -> int:
    global counted
    counted += 1
    return counted

@plugin.method
async def kill(pid: int, ctx: AsyncContext) -> None:
    import asyncio
    os.kill(pid, signal.SIGKILL)
    try:
        await asyncio.sleep(60)
    finally:
        ctx.log.info("the kill is cancelled")
"""
    + OUTER[: OUTER.index("@plugin.method")]
    + """
@plugin.method(idempotent=True)
def dies_once(flag: str) -> str:
    if is_first(flag):
        os._exit(3)
    return "dies once"
"""
)


def plugins(tmp_path: Path) -> tuple[Path, Path]:
    return (
        write_plugin(tmp_path, "inner", INNER, restart=OFTEN),
        write_plugin(tmp_path, "outer", OUTER, restart=OFTEN, permissions={"plugins": ["inner"]}),
    )


def replayed(stage: Stage) -> list[tuple[str, str]]:
    return [(each.plugin, each.method) for each in stage.events.seen if isinstance(each, CallReplayed)]


def begun(flag: str) -> int:
    """How often the call that makes its mark there was worked on."""
    return Path(flag).stat().st_size


def in_flight(stage: Stage, plugin: str) -> int:
    return stage.host.status(plugin).plugins[0].calls.in_flight


@pytest.mark.parametrize(
    ("dies", "answer"),
    [("before it asks", [1, 2]), ("while it waits", [1, 2]), ("after an answer", [2, 3])],
)
async def test_a_call_that_is_sent_again_asks_others_again(
    tmp_path: Path, dies: str, answer: list[int]
) -> None:
    async with staged(tmp_path, *plugins(tmp_path)) as stage:
        flag = str(tmp_path / "flag")
        assert await stage.host.call("outer", "through", flag=flag, dies=dies, timeout=20) == answer
        assert begun(flag) == 2
        assert replayed(stage) == [("outer", "through")]
        if dies == "while it waits":
            await stage.events.until(lambda event: getattr(event, "message", "") == "the kill is cancelled")
        assert (in_flight(stage, "outer"), in_flight(stage, "inner")) == (0, 0)
        assert stage.host.status("inner").plugins[0].generation == 1


async def test_a_call_inside_another_of_the_same_process_is_asked_again_by_it_and_not_by_the_host(
    tmp_path: Path,
) -> None:
    async with staged(tmp_path, *plugins(tmp_path)) as stage:
        flag = str(tmp_path / "flag")
        assert await stage.host.call("outer", "around", flag=flag, timeout=20) == "around dies once"
        assert begun(flag) == 2
        assert replayed(stage) == [("outer", "around")]
        assert in_flight(stage, "outer") == 0


async def test_a_nested_call_that_is_sent_again_leaves_the_outer_one_waiting(tmp_path: Path) -> None:
    async with staged(tmp_path, *plugins(tmp_path)) as stage:
        flag = str(tmp_path / "flag")
        assert await stage.host.call("outer", "carefully", flag=flag, timeout=20) == "carefully dies once"
        assert begun(flag) == 2
        assert replayed(stage) == [("inner", "dies_once")]
        assert stage.host.status("outer").plugins[0].generation == 1
