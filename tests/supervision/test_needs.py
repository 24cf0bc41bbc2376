"""Plugins that require each other, lazy ones and idle ones, as real processes."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from host import ExtensionPoint, Host, PluginUnavailable
from host.discovery.validate import Candidate, load_manifest
from host.observability.events import StateChanged
from host.supervision.known import Known, content_hash
from protocol.lifecycle import MethodInfo, Provides
from tests.support.plugins import ECHO, QUICK, Events, make_host, pid_of, settled, write_plugin

pytestmark = pytest.mark.anyio

DYING = ECHO + "\n@plugin.method\ndef die() -> None:\n    os._exit(1)\n"
DEAF = """
signal.signal(signal.SIGTERM, signal.SIG_IGN)

@plugin.on_stop
def stop() -> None:
    time.sleep(60)
"""
HOOK = ECHO + '\n@plugin.hook("text.mark")\ndef mark(text: str) -> str:\n    return text + "!"\n'


def plugin(tmp_path: Path, name: str, code: str = ECHO, *requires: str, **tables: Any) -> Path:
    start = tables.pop("start", {}) | ({"requires": list(requires)} if requires else {})
    return write_plugin(tmp_path, name, code, start=start, **tables)


def told(events: Events) -> list[tuple[str, str]]:
    return [(event.plugin, event.state) for event in events.seen if isinstance(event, StateChanged)]


async def until(host: Host, name: str, condition: Callable[[Any], bool]) -> Any:
    """A plugin's status once `condition` holds."""
    events = Events(host)
    with anyio.fail_after(20):
        while not condition(seen := host.status(name).plugins[0]):
            await events.until(lambda event: isinstance(event, StateChanged) and event.plugin == name)
    return seen


async def test_they_start_in_order_and_stop_in_reverse(tmp_path: Path) -> None:
    plugins = [plugin(tmp_path, "a", ECHO, "b"), plugin(tmp_path, "b", ECHO, "c"), plugin(tmp_path, "c")]
    host = make_host(tmp_path, *plugins)
    events = Events(host)
    async with host:
        assert [each.state for each in host.status().plugins] == ["running"] * 3
    order = [each for each in told(events) if each[1] in ("running", "stopped")]
    assert order == [(name, "running") for name in "cba"] + [(name, "stopped") for name in "abc"]


async def test_what_requires_one_that_was_stopped_waits_with_the_reason_and_resumes(tmp_path: Path) -> None:
    plugins = [plugin(tmp_path, "db"), plugin(tmp_path, "web", ECHO, "db")]
    host = make_host(tmp_path, *plugins)
    events = Events(host)
    async with host:
        await host.stop("db")
        assert told(events)[-4:] == [
            ("web", "stopping"),
            ("web", "waiting"),
            ("db", "stopping"),
            ("db", "stopped"),
        ]
        seen = await until(host, "web", lambda seen: seen.reason == "requires db, which is stopped")
        assert (seen.state, seen.expected) == ("waiting", True)
        with pytest.raises(PluginUnavailable, match="requires db"):
            await host.call("web", "echo")
        with pytest.raises(PluginUnavailable, match="requires db"):
            await host.start("web")
        assert host.why("web").next == ["outboard why db", "outboard logs web"]
        await host.start("db")
        await until(host, "web", lambda seen: seen.state == "running")
        assert await host.call("web", "echo", value=1) == 1


async def test_a_crash_of_what_is_required_stops_nobody_and_its_quarantine_does(tmp_path: Path) -> None:
    patient = QUICK | {"intensity": 2, "probe_min": "1h"}
    plugins = [plugin(tmp_path, "db", DYING, restart=patient), plugin(tmp_path, "web", ECHO, "db")]
    async with make_host(tmp_path, *plugins) as host:
        pid = pid_of(host, "web")
        os.kill(pid_of(host, "db"), signal.SIGKILL)
        await until(host, "db", lambda seen: seen.generation == 2 and seen.state in ("degraded", "running"))
        assert pid_of(host, "web") == pid
        for _ in range(2):
            await until(host, "db", lambda seen: seen.state in ("degraded", "running"))
            os.kill(pid_of(host, "db"), signal.SIGKILL)
            await until(host, "db", lambda seen: seen.state not in ("degraded", "running"))
        seen = await until(host, "web", lambda seen: seen.state == "waiting")
        assert seen.reason == "requires db, which is quarantined"
        assert await host.release("db")
        await until(host, "web", lambda seen: seen.state == "running")


async def test_an_unknown_name_is_waited_for_and_a_circle_fails_its_members_alone(tmp_path: Path) -> None:
    plugins = [
        plugin(tmp_path, "one", ECHO, "two"),
        plugin(tmp_path, "two", ECHO, "one"),
        plugin(tmp_path, "typo", ECHO, "sted"),
        plugin(tmp_path, "stead"),
    ]
    async with make_host(tmp_path, *plugins) as host:
        seen = {each.name: each for each in host.status().plugins}
        assert {name: each.state for name, each in seen.items()} == {
            "one": "failed",
            "two": "failed",
            "typo": "waiting",
            "stead": "running",
        }
        assert "did you mean `stead`?" in (seen["typo"].reason or "")
        assert "one -> two -> one" in (seen["one"].reason or "")
        assert any("one -> two -> one" in problem for problem in host.status().host.problems)
        await host.add(plugin(tmp_path, "sted"))
        await until(host, "typo", lambda seen: seen.state == "running")


async def test_a_chain_of_hung_plugins_is_stopped_in_order_and_inside_the_bound(tmp_path: Path) -> None:
    plugins = [
        plugin(tmp_path, "top", ECHO + DEAF, "middle"),
        plugin(tmp_path, "middle", ECHO + DEAF, "bottom"),
        plugin(tmp_path, "bottom", ECHO + DEAF),
    ]
    host = make_host(tmp_path, *plugins)
    events = Events(host)
    async with host:
        began_at = time.monotonic()
    assert time.monotonic() - began_at < 13
    stopping = [name for name, state in told(events) if state == "stopping"]
    assert stopping == ["top", "middle", "bottom"]


# -- lazy ----------------------------------------------------------------------------------------------


async def test_what_a_lazy_plugin_provides_is_known_before_it_is_called_and_asked_of_it_once(
    tmp_path: Path,
) -> None:
    lazy = plugin(tmp_path, "lazy", HOOK, start={"mode": "lazy"})
    for generation in (1, 0):
        async with make_host(tmp_path, lazy, cache_dir=tmp_path / "cache") as host:
            (seen,) = host.status("lazy").plugins
            assert (seen.state, seen.generation, seen.expected) == ("stopped", generation, False)
            assert seen.methods == ["echo", "hang"]
            assert "text.mark" in host.hooks.names()


async def test_other_code_is_asked_again_and_a_damaged_file_counts_for_nothing(tmp_path: Path) -> None:
    lazy = plugin(tmp_path, "lazy", start={"mode": "lazy"})
    cache = tmp_path / "cache"
    async with make_host(tmp_path, lazy, cache_dir=cache):
        pass
    (file,) = (cache / "provides").iterdir()
    file.write_bytes(b'{"methods": [{"na')
    async with make_host(tmp_path, lazy, cache_dir=cache) as host:
        assert host.status("lazy").plugins[0].generation == 1
    with (lazy / "main.py").open("a") as code:
        code.write("@plugin.method\ndef more() -> None: ...\n")
    async with make_host(tmp_path, lazy, cache_dir=cache) as host:
        assert host.status("lazy").plugins[0].methods == ["echo", "hang", "more"]
        assert host.status("lazy").plugins[0].generation == 1


async def test_a_point_that_none_may_fail_knows_the_hook_of_one_that_begins_in_quarantine(
    tmp_path: Path,
) -> None:
    terms = QUICK | {"intensity": 1, "probe_min": "1h"}
    victim = plugin(tmp_path, "victim", HOOK, restart=terms)
    more = {"cache_dir": tmp_path / "cache", "state_file": tmp_path / "state.json"}
    async with make_host(tmp_path, victim, **more) as host:
        for _ in range(2):
            await until(host, "victim", lambda seen: seen.state in ("degraded", "running"))
            os.kill(pid_of(host, "victim"), signal.SIGKILL)
            await until(host, "victim", lambda seen: seen.state not in ("degraded", "running"))
        await until(host, "victim", lambda seen: seen.state == "quarantined")
    points = [ExtensionPoint("text.mark", mode="collect", on_error="fail")]
    async with make_host(tmp_path, victim, extension_points=points, **more) as host:
        assert host.status("victim").plugins[0].state == "quarantined"
        (implementation,) = host.hooks.explain("text.mark").implementations
        assert implementation.plugin == "victim"


def test_the_cache_is_bounded_and_goes_by_content(tmp_path: Path) -> None:
    folder = plugin(tmp_path, "lazy")
    candidate = load_manifest(folder)
    assert isinstance(candidate, Candidate)
    known = Known(tmp_path / "cache")
    provides = Provides(methods=[MethodInfo(name="m")])
    assert known.of(candidate) is None
    known.keep(candidate, provides, time.time() - 3600)
    assert known.of(candidate) is None, "its files are newer than the process that said so"
    known.keep(candidate, provides, time.time() + 3600)
    assert known.of(candidate) == provides
    before = content_hash(candidate)
    (folder / "data.db").write_bytes(b"a database is no code")
    assert content_hash(candidate) == before
    for number in range(1100):
        (tmp_path / "cache" / f"{number}.json").write_bytes(b"{}")
        os.utime(tmp_path / "cache" / f"{number}.json", (number, number))
    (folder / "main.py").write_text("pass\n")
    assert content_hash(candidate) != before
    known.keep(candidate, provides, time.time() + 3600)
    assert known.of(candidate) == provides
    assert len(list((tmp_path / "cache").iterdir())) == 1000


# -- idle ----------------------------------------------------------------------------------------------


async def test_an_idle_lazy_plugin_is_stopped_and_the_next_call_starts_it(tmp_path: Path) -> None:
    lazy = plugin(tmp_path, "lazy", HOOK, start={"mode": "lazy", "idle_stop": "100ms"})
    async with make_host(tmp_path, lazy) as host:
        assert await host.call("lazy", "echo", value=1) == 1
        seen = await until(host, "lazy", lambda seen: seen.state == "stopped")
        assert (seen.reason, seen.expected) == ("idle: no call for 0.1 s", False)
        assert await host.call("lazy", "echo", value=2) == 2
        await until(host, "lazy", lambda seen: seen.state == "stopped")
        assert (await host.hook("text.mark", text="x")).value == ["x!"]
        await host.stop("lazy")
        with pytest.raises(PluginUnavailable):
            await host.call("lazy", "echo")


async def test_no_call_is_lost_between_idle_and_stopped(tmp_path: Path) -> None:
    lazy = plugin(tmp_path, "lazy", start={"mode": "lazy", "idle_stop": "20ms"})
    async with make_host(tmp_path, lazy) as host:
        host_events = Events(host)
        for round in range(12):
            calls = [partial(host.call, "lazy", "echo", value=n, timeout=20) for n in range(5)]
            assert await settled(calls) == list(range(5))
            if round % 3:
                await host_events.state("lazy", "stopping")
        assert not host_events.failures("lazy")
        assert host.status("lazy").plugins[0].restarts == 0


async def test_a_call_keeps_it_awake_however_long_it_takes(tmp_path: Path) -> None:
    lazy = plugin(tmp_path, "lazy", start={"mode": "lazy", "idle_stop": "50ms"})
    async with make_host(tmp_path, lazy) as host:
        events = Events(host)
        await host.call("lazy", "hang", s=0.6)
        assert "stopping" not in events.states("lazy")


async def test_one_that_is_needed_does_not_sleep(tmp_path: Path) -> None:
    plugins = [
        plugin(tmp_path, "db", start={"mode": "lazy", "idle_stop": "30ms"}),
        plugin(tmp_path, "web", ECHO, "db"),
    ]
    async with make_host(tmp_path, *plugins) as host:
        assert [each.state for each in host.status().plugins] == ["running", "running"]
        events = Events(host)
        with anyio.move_on_after(0.4):
            await events.state("db", "stopping")
            raise AssertionError("it was stopped though it is needed")
        await host.stop("web")
        await until(host, "db", lambda seen: seen.state == "stopped")
        await host.start("web")
        assert [each.state for each in host.status().plugins] == ["running", "running"]


@pytest.mark.parametrize("idempotent", [False, True])
async def test_calls_wait_with_one_that_is_held_while_what_it_requires_is_starting(
    tmp_path: Path, idempotent: bool
) -> None:
    slow = ECHO + "\n@plugin.on_start\ndef start() -> None:\n    time.sleep(0.4)\n"
    code = ECHO.replace("@plugin.method\ndef echo", f"@plugin.method(idempotent={idempotent})\ndef echo")
    plugins = [plugin(tmp_path, "db", slow), plugin(tmp_path, "web", code, "db")]
    async with make_host(tmp_path, *plugins) as host:
        await host.stop("db")
        events = Events(host)

        async def call() -> Any:
            seen = await events.state("web", "waiting")
            while "starting" not in seen.reason:
                seen = await events.state("web", "waiting")
            return await host.call("web", "echo", value=2, timeout=20)

        assert await settled([call, partial(host.start, "db")]) == [2, None]
