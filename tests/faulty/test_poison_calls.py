"""Calls that kill their plugin, and calls that were only there: real processes."""

from __future__ import annotations

import os
import signal
import time
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from host import DeadlineExceeded, Host, OutboardError, PluginCrashed, PluginUnavailable, PoisonCall
from host.observability.events import CallReplayed, PluginProblem
from host.routing.replay import MOST_WAITING
from tests.support.plugins import QUICK, Stage, end_at_once, make_host, settled, staged, write_plugin

pytestmark = pytest.mark.anyio

OFTEN = QUICK | {"intensity": 100, "backoff_min": "10ms", "backoff_max": "20ms"}
CODE = """
import asyncio

@plugin.method(idempotent=True)
async def double(value: int, s: float = 0.0) -> int:
    await asyncio.sleep(s)
    return 2 * value

@plugin.method(idempotent=True)
async def parse(text: str, s: float = 0.0) -> str:
    await asyncio.sleep(s)
    if text == "poison":
        ctypes.string_at(0)
    return text

@plugin.method
async def once(text: str, s: float = 0.0) -> str:
    return await parse(text, s)

@plugin.method
def stubborn(s: float) -> None:
    time.sleep(s)  # on a thread, where no cancellation reaches it
    ctypes.string_at(0)

@plugin.method(idempotent=True)
async def hang(s: float = 60.0) -> None:
    await asyncio.sleep(s)
"""


def victim(tmp_path: Path, code: str = CODE, **restart: Any) -> Path:
    return write_plugin(tmp_path, "victim", code, restart=OFTEN | restart)


async def serving(stage: Stage, after: int = 0) -> None:
    """The next time that the victim serves."""
    await stage.events.until(
        lambda event: (
            getattr(event, "plugin", "") == "victim"
            and getattr(event, "state", "") in ("running", "degraded")
            and getattr(event, "generation", 0) > after
        )
    )


async def test_under_a_stream_of_innocent_calls_the_poison_is_refused_after_two_deaths(
    tmp_path: Path,
) -> None:
    async with staged(tmp_path, victim(tmp_path)) as stage:
        host, answers = stage.host, 0
        done = anyio.Event()

        async def innocent(number: int) -> None:
            nonlocal answers
            while not done.is_set():
                assert await host.call("victim", "double", value=number, s=0.01, timeout=20) == 2 * number
                answers += 1

        deaths: list[PluginCrashed] = []
        async with anyio.create_task_group() as tasks:
            for number in range(10):
                tasks.start_soon(innocent, number)
            for generation in range(2):
                await serving(stage, after=generation)
                with pytest.raises(PluginCrashed) as crashed:
                    await host.call("victim", "once", text="poison", s=0.005)
                deaths.append(crashed.value)
            await serving(stage, after=2)
            for _ in range(5):
                with pytest.raises(PoisonCall) as refused:
                    await host.call("victim", "once", text="poison", s=0.005)
            before = answers
            while answers < before + 100:
                assert await host.call("victim", "once", text="water") == "water"
            done.set()
        told = refused.value.data["incidents"]
        assert [each["incident"] for each in told] == [death.data["incident"] for death in deaths]
        assert [each["generation"] for each in told] == [1, 2]
        assert all("once" in each["in_flight"] and "SIGSEGV" in each["cause"] for each in told)
        (plugin,) = host.status("victim").plugins
        assert (plugin.generation, plugin.restarts, plugin.state) == (3, 2, plugin.state)
        methods = host.measures().plugins["victim"].methods
        assert methods["double"].errors == {}
        assert 0 < methods["double"].replayed <= 20
        assert methods["once"].errors == {"OB402": 2, "OB504": 5}
        assert len([event for event in stage.events.seen if isinstance(event, PluginProblem)]) == 1


async def test_innocent_calls_that_are_there_each_time_are_not_refused_with_it(tmp_path: Path) -> None:
    async with staged(tmp_path, victim(tmp_path)) as stage:
        host = stage.host
        innocent = [partial(host.call, "victim", "double", value=n, s=0.02, timeout=20) for n in range(10)]
        for generation in range(2):
            await serving(stage, after=generation)
            poison = partial(host.call, "victim", "once", text="poison")
            *answers, death = await settled([*innocent, poison])
            assert answers == [2 * number for number in range(10)]
            assert type(death) is PluginCrashed
        with pytest.raises(PoisonCall):
            await host.call("victim", "once", text="poison")
        assert await settled(innocent) == [2 * number for number in range(10)]


async def test_slow_innocent_calls_outlive_both_deaths(tmp_path: Path) -> None:
    async with staged(tmp_path, victim(tmp_path)) as stage:
        host, outcomes = stage.host, dict[int, Any]()

        async def innocent(number: int) -> None:
            outcomes[number] = await host.call("victim", "double", value=number, s=0.25, timeout=20)

        async with anyio.create_task_group() as tasks:
            for number in range(10):
                tasks.start_soon(innocent, number)
            for generation in range(2):
                await serving(stage, after=generation)
                with pytest.raises(PluginCrashed):
                    await host.call("victim", "once", text="poison")
        assert outcomes == {number: 2 * number for number in range(10)}
        with pytest.raises(PoisonCall):
            await host.call("victim", "once", text="poison")
        assert stage.host.status("victim").plugins[0].generation == 3


async def test_a_suspect_that_waits_for_its_turn_is_not_cut_off_by_the_one_that_has_it(
    tmp_path: Path,
) -> None:
    async with staged(tmp_path, victim(tmp_path)) as stage:
        once = partial(stage.host.call, "victim", "once")
        calls = [
            partial(once, text=text, s=s) for text, s in [("poison", 0.05), ("tea", 0.5), ("water", 0.5)]
        ]
        assert {type(each) for each in await settled(calls)} == {PluginCrashed}  # none may be repeated
        await serving(stage, after=1)
        death, *answers = await settled(calls)  # the first has the first turn
        assert type(death) is PluginCrashed
        assert answers == ["tea", "water"]
        stats = stage.host.measures().plugins["victim"].methods["once"]
        assert (stats.ok, stats.errors, stats.replayed) == (2, {"OB402": 4}, 0)


async def test_an_idempotent_poison_is_replayed_once_and_kills_two_processes_and_no_third(
    tmp_path: Path,
) -> None:
    async with staged(tmp_path, victim(tmp_path)) as stage:
        with pytest.raises(PluginCrashed):
            await stage.host.call("victim", "parse", text="poison")
        await serving(stage, after=2)
        with pytest.raises(PoisonCall):
            await stage.host.call("victim", "parse", text="poison")
        (plugin,) = stage.host.status("victim").plugins
        assert plugin.generation == 3
        assert stage.host.measures().plugins["victim"].methods["parse"].replayed == 1


async def test_a_call_that_nobody_waits_for_any_more_is_blamed_as_well(tmp_path: Path) -> None:
    async with staged(tmp_path, victim(tmp_path)) as stage:
        host = stage.host
        for generation in range(2):
            await serving(stage, after=generation)
            with pytest.raises(DeadlineExceeded):
                await host.call("victim", "stubborn", s=0.2, timeout=0.05)
            assert await host.call("victim", "hang", s=0.5, timeout=10) is None
        with pytest.raises(PoisonCall):
            await host.call("victim", "stubborn", s=0.2)
        assert host.measures().plugins["victim"].methods["hang"].errors == {}


async def test_a_client_that_varies_its_params_still_ends_in_quarantine(tmp_path: Path) -> None:
    code = "@plugin.method\ndef die(value: int) -> None:\n    os.abort()\n"
    async with staged(tmp_path, victim(tmp_path, code, intensity=3)) as stage:
        for value in range(4):
            await serving(stage, after=value)
            with pytest.raises(PluginCrashed):
                await stage.host.call("victim", "die", value=value)
        await stage.events.state("victim", "quarantined")


async def test_a_release_and_a_restart_let_it_pass_again(tmp_path: Path) -> None:
    async with staged(tmp_path, victim(tmp_path)) as stage:
        host = stage.host

        async def convict(after: int) -> None:
            await serving(stage, after=after)
            with pytest.raises(PluginCrashed):
                await host.call("victim", "parse", text="poison")
            await serving(stage, after=after + 2)
            with pytest.raises(PoisonCall):
                await host.call("victim", "parse", text="poison")

        await convict(after=0)
        pid = stage.pid("victim")
        assert await host.release("victim") is True
        assert stage.pid("victim") == pid  # it served all the time, and goes on
        assert await host.release("victim") is False
        with pytest.raises(PluginCrashed):
            await host.call("victim", "parse", text="poison")
        await serving(stage, after=4)
        await host.restart("victim")
        with pytest.raises(PluginCrashed):
            await host.call("victim", "parse", text="poison")


async def test_twenty_kills_under_a_hundred_idempotent_calls_lose_none_of_them(tmp_path: Path) -> None:
    async with staged(tmp_path, victim(tmp_path, backoff_min="1ms", backoff_max="1ms")) as stage:
        host = stage.host
        settled_calls = 0

        async def one(value: int) -> None:
            nonlocal settled_calls
            assert await host.call("victim", "double", value=value, s=0.05, timeout=20) == 2 * value
            settled_calls += 1

        for generation in range(20):
            await serving(stage, after=generation)
            pid = stage.pid("victim")
            async with anyio.create_task_group() as tasks:
                for value in range(100):
                    tasks.start_soon(one, value)
                await host.call("steady", "echo")  # by then the calls have been sent
                os.kill(pid, signal.SIGKILL)
        assert settled_calls == 2000
        double = host.measures().plugins["victim"].methods["double"]
        assert (double.ok, double.errors, double.in_flight) == (2000, {}, 0)
        replays = [event for event in stage.events.seen if isinstance(event, CallReplayed)]
        assert 1000 < len(replays) == double.replayed <= 2000  # a slow machine has answered some before
        assert len({event.call_id for event in replays}) == len(replays)
        assert len({event.incident for event in replays}) == 20
        assert host._tree.plugins["victim"].poison.watched == {}


async def cut_off(host: Host, method: str = "hang", **options: Any) -> OutboardError:
    """What becomes of a call whose process is killed."""
    found: list[OutboardError] = []

    async def call() -> None:
        with pytest.raises(OutboardError) as caught:
            await host.call("victim", method, **options)
        found.append(caught.value)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(call)
        while not host.status("victim").plugins[0].calls.in_flight:
            await anyio.lowlevel.checkpoint()
        os.kill(host.status("victim").plugins[0].pid or 0, signal.SIGKILL)
    return found[0]


async def test_a_restart_that_comes_after_the_deadline_is_not_waited_for(tmp_path: Path) -> None:
    plugin = write_plugin(tmp_path, "victim", CODE, restart={"backoff_min": "30s", "backoff_max": "30s"})
    async with make_host(tmp_path, plugin) as host:
        began_at = time.monotonic()
        error = await cut_off(host, timeout=15)
        assert type(error) is PluginCrashed
        assert time.monotonic() - began_at < 10
        for method in ("double", "once"):  # nor by new calls
            with pytest.raises(PluginUnavailable) as caught:
                await host.call("victim", method, timeout=5)
            assert caught.value.retry_after is not None
            assert caught.value.retry_after > 10


async def test_new_idempotent_calls_wait_for_a_backoff_and_others_do_not(tmp_path: Path) -> None:
    plugin = write_plugin(tmp_path, "victim", CODE, restart={"backoff_min": "400ms", "backoff_max": "400ms"})
    async with staged(tmp_path, plugin) as stage:
        os.kill(stage.pid("victim"), signal.SIGKILL)
        await stage.events.state("victim", "backoff")
        many = [partial(stage.host.call, "victim", "double", value=n) for n in range(MOST_WAITING + 8)]
        *answers, other = await settled([*many, partial(stage.host.call, "victim", "once", text="water")])
        assert type(other) is PluginUnavailable
        assert answers[:MOST_WAITING] == [2 * number for number in range(MOST_WAITING)]
        assert {type(each) for each in answers[MOST_WAITING:]} == {PluginUnavailable}


async def test_the_deadline_holds_while_the_next_process_starts(tmp_path: Path) -> None:
    code = CODE + "\nif os.path.exists('slow'): time.sleep(60)\nopen('slow', 'w').close()\n"
    async with make_host(tmp_path, victim(tmp_path, code)) as host:
        began_at = time.monotonic()
        error = await cut_off(host, timeout=1.0)
        assert type(error) is DeadlineExceeded
        assert 0.9 < time.monotonic() - began_at < 5
        end_at_once(host, "victim")


async def test_a_plugin_that_does_not_come_back_ends_its_idempotent_calls(tmp_path: Path) -> None:
    plugin = write_plugin(tmp_path, "victim", CODE, restart={"policy": "never"})
    async with make_host(tmp_path, plugin) as host:
        assert type(await cut_off(host, timeout=None)) is PluginCrashed


async def test_a_stop_by_an_operator_does_not_leave_idempotent_calls_waiting(tmp_path: Path) -> None:
    plugin = write_plugin(tmp_path, "victim", CODE, start={"stop_timeout": "50ms"})
    async with make_host(tmp_path, plugin) as host:
        (outcome, _) = await settled(
            [partial(host.call, "victim", "hang", timeout=None), partial(host.stop, "victim")]
        )
        assert type(outcome) is PluginCrashed


async def test_a_call_that_is_cancelled_while_it_waits_is_gone(tmp_path: Path) -> None:
    plugin = write_plugin(tmp_path, "victim", CODE, restart={"backoff_min": "10s", "backoff_max": "10s"})
    async with staged(tmp_path, plugin) as stage:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(partial(stage.host.call, "victim", "hang", timeout=None))
            await stage.host.call("steady", "echo")
            os.kill(stage.pid("victim"), signal.SIGKILL)
            await stage.events.state("victim", "backoff")
            assert stage.host.status("victim").plugins[0].calls.in_flight == 1
            tasks.cancel_scope.cancel()
        hang = stage.host.measures().plugins["victim"].methods["hang"]
        assert (hang.in_flight, hang.cancelled, hang.replayed) == (0, 1, 0)


async def test_what_may_not_be_called_twice_ends_at_once_and_is_told_how_it_could(tmp_path: Path) -> None:
    async with staged(tmp_path, victim(tmp_path)) as stage:
        with pytest.raises(PluginCrashed) as caught:
            await stage.host.call("victim", "once", text="poison")
        error = caught.value
        assert "idempotent" in (error.hint or "")
        down = await stage.events.state("victim", "backoff")
        assert down.cause is not None
        assert error.data == {"incident": down.cause.incident, "cause": error.message}
        assert stage.host.why("victim").causes[0].incident == error.data["incident"]
        assert error.call_id is not None
        assert error.call_id.startswith("1.")
