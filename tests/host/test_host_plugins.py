"""What a host does with its plugins: they come and go, are looked at and configured."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from host import DeadlineExceeded, Host, ManifestError, PluginCrashed, PluginNotFound, PluginUnavailable
from host.errors import ConfigError, PluginExists
from tests.support.plugins import Events, is_gone, make_host, pid_of, settled, write_plugin

pytestmark = pytest.mark.anyio


# -- plugins come and go -----------------------------------------------------------------------------


async def test_plugins_come_and_go_while_the_host_runs(tmp_path: Path) -> None:
    folder = write_plugin(tmp_path, "late")
    async with make_host(tmp_path) as host:
        assert await host.add(folder) == "late"
        assert await host.call("late", "echo", value=1) == 1
        pid = pid_of(host, "late")
        with pytest.raises(PluginExists) as taken:
            await host.add(folder)
        assert taken.value.plugin == "late"
        await host.remove("late")
        assert is_gone(pid)
        with pytest.raises(PluginNotFound):
            await host.call("late", "echo")
        assert await host.add(folder) == "late"
        assert await host.call("late", "echo", value=2) == 2


async def test_a_broken_manifest_is_refused_with_all_its_problems(tmp_path: Path) -> None:
    folder = write_plugin(tmp_path, "broken")
    (folder / "plugin.toml").write_text('[plugin]\nname = "Bad Name"\ncolour = 1\n[run]\npython = "no.py"\n')
    async with make_host(tmp_path) as host:
        with pytest.raises(ManifestError) as caught:
            await host.add(folder)
        text = "\n".join(caught.value.data)
        assert len(caught.value.data) >= 3
        for word in ("name", "version", "colour"):
            assert word in text
        assert [plugin.name for plugin in host.status().plugins] == ["echo"]


async def test_a_call_in_flight_survives_a_removal_if_it_ends_in_time(tmp_path: Path) -> None:
    async with make_host(tmp_path) as host:
        call = partial(host.call, "echo", "hang", s=0.2)
        assert await settled([call, partial(host.remove, "echo")]) == [None, None]


async def test_a_call_in_flight_that_does_not_end_is_ended_by_a_removal(tmp_path: Path) -> None:
    hasty = write_plugin(tmp_path, "echo", start={"stop_timeout": "100ms"})
    async with make_host(tmp_path, hasty) as host:
        call = partial(host.call, "echo", "hang", s=60)
        outcome, removed = await settled([call, partial(host.remove, "echo")])
        assert isinstance(outcome, PluginCrashed)
        assert removed is None


async def test_of_operators_at_odds_the_last_wins_and_nobody_waits_for_ever(tmp_path: Path) -> None:
    async with make_host(tmp_path) as host:
        with anyio.fail_after(20):
            await settled([partial(host.stop, "echo"), partial(host.start, "echo")])
            assert host.status("echo").plugins[0].state == "running"
            outcomes = await settled([partial(host.start, "echo"), partial(host.stop, "echo")])
            assert host.status("echo").plugins[0].state == "stopped"
            assert outcomes[1] is None
            await settled([partial(host.restart, "echo"), partial(host.stop, "echo")])
            assert host.status("echo").plugins[0].state == "stopped"
            await host.start("echo")
            await settled([partial(host.remove, "echo"), partial(host.start, "echo")])
            assert not host.status().plugins


async def test_a_lazy_plugin_starts_with_its_first_calls_and_once(tmp_path: Path) -> None:
    lazy = write_plugin(tmp_path, "lazy", start={"mode": "lazy"})
    async with make_host(tmp_path, lazy) as host:
        assert host.status("lazy").plugins[0].state == "stopped"
        calls = [partial(host.call, "lazy", "echo", value=n) for n in range(50)]
        assert await settled(calls) == list(range(50))
        assert host.status("lazy").plugins[0].generation == 2  # the first was to learn what it provides
        await host.stop("lazy")
        with pytest.raises(PluginUnavailable):
            await host.call("lazy", "echo")


# -- looking -----------------------------------------------------------------------------------------

PLUGIN_KEYS = (
    "name version state reason since generation pid uptime_s restarts cpu_percent memory_bytes "
    "memory_limit_bytes processes calls latency_ms next_start_in_s last_exit note"
)


async def test_status_has_every_key_whatever_the_plugin_does(tmp_path: Path) -> None:
    broken = write_plugin(tmp_path, "broken", "os._exit(1)", restart={"policy": "never"})
    async with make_host(tmp_path, write_plugin(tmp_path, "echo"), broken) as host:
        await host.call("echo", "echo")
        status = msgspec.to_builtins(host.status())
        assert status["schema"] == 1
        assert {"pid", "version", "uptime_s", "socket", "mode", "loop_lag_p99_ms"} <= set(status["host"])
        down, up = status["plugins"]
        for plugin in (down, up):
            assert set(PLUGIN_KEYS.split()) <= set(plugin)
            assert set(plugin["calls"]) == {"ok", "error", "timeout", "in_flight"}
            assert set(plugin["latency_ms"]) == {"p50", "p99"}
        assert set(down["last_exit"]) == {"code", "signal", "cause", "at"}
        assert (up["state"], up["last_exit"], up["calls"]["ok"]) == ("running", None, 1)
        assert down["pid"] is None


async def test_events_tell_each_state_once_and_in_order(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    events = Events(host)
    async with host:
        assert events.states("echo") == ["starting", "running"]
    assert events.states("echo") == ["starting", "running", "stopping", "stopped"]


async def test_a_subscriber_that_raises_harms_nobody(tmp_path: Path, capsys: Any) -> None:
    host = make_host(tmp_path)
    end = host.on_event(lambda event: 1 / 0)
    events = Events(host)
    async with host:
        end()
        assert events.states("echo") == ["starting", "running"]
    assert capsys.readouterr().err.count("ZeroDivisionError") == 2


# -- configuration -----------------------------------------------------------------------------------


async def test_a_configuration_file_finds_plugins_and_overrides_them(tmp_path: Path) -> None:
    code = "@plugin.method\ndef settings(ctx: Context) -> dict:\n    return ctx.settings\n"
    write_plugin(tmp_path / "plugins", "one", code, settings={"a": 1, "b": {"c": 2, "d": 3}})
    write_plugin(tmp_path / "plugins", "two", code)
    config = tmp_path / "outboard.toml"
    config.write_text(
        '[host]\nplugins = ["plugins"]\n[plugins.one.settings]\na = 10\nb = { c = 20 }\n'
        '[plugins.one.limits]\nmemory = "100MiB"\n[plugins.two]\nenabled = false\n'
    )
    async with Host(config=config, data_dir=tmp_path / "data") as host:
        assert await host.call("one", "settings") == {"a": 10, "b": {"c": 20, "d": 3}}
        one, two = host.status().plugins
        assert one.memory_limit_bytes == 100 * 1024**2
        assert (two.state, two.generation, two.expected) == ("disabled", 0, False)


async def test_a_method_says_how_long_it_may_take_when_the_caller_does_not(tmp_path: Path) -> None:
    code = "@plugin.method(timeout_s=0.05)\ndef nap(s: float) -> None:\n    time.sleep(s)\n"
    async with make_host(tmp_path, write_plugin(tmp_path, "sleeper", code)) as host:
        with pytest.raises(DeadlineExceeded):
            await host.call("sleeper", "nap", s=0.5)
        assert await host.call("sleeper", "nap", s=0.1, timeout=10) is None


async def test_a_name_that_only_the_configuration_knows_is_pointed_out(tmp_path: Path) -> None:
    config = tmp_path / "outboard.toml"
    config.write_text("[plugins.on.limits]\nthreads = 4\n")
    async with make_host(tmp_path, write_plugin(tmp_path, "one"), config=config) as host:
        assert [
            "plugins.on" in problem and "`one`" in problem for problem in host.status().host.problems
        ] == [True]


async def test_a_broken_configuration_starts_nothing(tmp_path: Path) -> None:
    config = tmp_path / "outboard.toml"
    config.write_text("[host]\nplugin = []\n[defaults.restart]\nintensity = 0\n")
    with pytest.raises(ConfigError) as caught:
        async with make_host(tmp_path, config=config):
            raise AssertionError("never entered")
    assert len(caught.value.data) == 2


async def test_a_plugin_whose_manifest_is_invalid_is_not_said_to_be_missing(tmp_path: Path) -> None:
    manifest = write_plugin(tmp_path, "good") / "plugin.toml"
    right = manifest.read_text(encoding="utf-8")
    manifest.write_text(right.replace('name = "good"', 'name = "rough"\nnam = 1'), encoding="utf-8")
    torn = tmp_path / "torn" / "plugin.toml"
    torn.parent.mkdir()
    torn.write_text("[plugin", encoding="utf-8")
    async with make_host(tmp_path, tmp_path) as host:
        asked = [
            partial(host.call, "rough", "echo"),
            partial(host.start, "rough"),
            partial(host.stop, "rough"),
            partial(host.call, "torn", "echo"),
        ]
        for ask in asked:
            with pytest.raises(ManifestError) as error:
                await ask()
            assert (error.value.code, error.value.exit_code) == ("OB101", 6)
            assert "its manifest cannot be used\n" in str(error.value)
            assert "outboard reload" in (error.value.hint or "")
        for look in (host.why, host.status):
            with pytest.raises(ManifestError) as error:
                look("rough")
            assert [line.split("plugin.toml:")[1] for line in error.value.data] == [
                "3: plugin.nam: unknown key; did you mean `name`?"
            ]
        with pytest.raises(PluginNotFound) as missing:
            host.why("ruogh")
        assert missing.value.hint == "did you mean `rough`?"
        manifest.write_text(right.replace('"good"', '"rough"'), encoding="utf-8")
        await host.reload()
        assert await host.call("rough", "echo", value=1) == 1
