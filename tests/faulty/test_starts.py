"""Plugins that do not start: the reason names the cause, and only what can change is tried again."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from host import PluginUnavailable
from tests.support.plugins import ECHO, QUICK, staged, write_plugin, write_raw_plugin

pytestmark = pytest.mark.anyio


TOO_MUCH = "bytearray(600 * 1024**2)"


@pytest.mark.parametrize(
    "code",
    [TOO_MUCH, f"@plugin.on_start\ndef begin() -> None:\n    {TOO_MUCH}\n" + ECHO],
    ids=["as it is loaded", "in its start code"],
)
async def test_a_start_that_takes_more_memory_than_it_may_names_the_limit(tmp_path: Path, code: str) -> None:
    victim = write_plugin(tmp_path, "victim", code, limits={"memory": "200MiB"}, restart=QUICK)
    async with staged(tmp_path, victim) as stage:
        down = await stage.events.state("victim", "backoff")
    assert down.cause is not None
    assert down.cause.kind == "limit"
    assert "MemoryError (limits.memory, which RLIMIT_DATA keeps)" in down.reason
    assert "limits.memory" in (down.cause.fix or "")


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("exit(1)", ["exit code 1", "initialize"]),
        ("exit(0)", ["exit code 0", "initialize"]),
        ("exit('no licence')", ["exit code 1", "no licence"]),
        ("raise ValueError('no licence')", ["ValueError", "no licence"]),
        ("import nowhere_to_be_found", ["nowhere_to_be_found"]),
        ("os._exit(1)", ["exit code 1", "initialize"]),
        ("def oops(:", ["SyntaxError"]),
        ("raise ValueError('red \\x1b[31m and\\nblack')", ["ValueError: red \\x1b[31m and black"]),
        ("pass", ["@plugin.method"]),
    ],
)
async def test_code_that_cannot_be_loaded_is_tried_again_and_the_reason_names_it(
    tmp_path: Path, code: str, words: list[str]
) -> None:
    async with staged(tmp_path, write_plugin(tmp_path, "victim", code)) as stage:
        down = await stage.events.state("victim", "backoff")
        for word in words:
            assert word in down.reason
        assert "\n" not in down.reason
        with pytest.raises(PluginUnavailable) as caught:
            await stage.host.call("victim", "echo")
        assert words[0] in caught.value.reason


async def test_a_missing_module_of_a_plugin_without_sdk_is_named(tmp_path: Path) -> None:
    async with staged(tmp_path, write_raw_plugin(tmp_path, "victim", "import nowhere_at_all")) as stage:
        down = await stage.events.state("victim", "backoff")
        assert "module `nowhere_at_all` is missing" in down.reason


async def test_start_code_that_hangs_is_given_its_time_and_no_more(tmp_path: Path) -> None:
    code = ECHO + "\n@plugin.on_start\ndef begin() -> None:\n    time.sleep(60)\n"
    victim = write_plugin(tmp_path, "victim", code, start={"timeout": "2s"})
    async with staged(tmp_path, victim) as stage:
        assert "had not finished starting after 2 s" in stage.reason("victim")


async def test_a_program_that_prints_its_help_says_that_its_arguments_are_wrong(tmp_path: Path) -> None:
    code = "import argparse\nargparse.ArgumentParser().parse_args(['--nonsense'])\n"
    async with staged(tmp_path, write_raw_plugin(tmp_path, "victim", code)) as stage:
        down = await stage.events.state("victim", "backoff")
        assert "exit code 2" in down.reason
        assert "usage" in down.reason


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ('send(id=receive()["id"], result={"protocol": 7})', ["protocol 7"]),
        (
            'send(id=receive()["id"], error={"code": -32008, "message": "no", "data": {"supported": [9]}})',
            ["speaks protocol [9]", "update"],
        ),
        ('handshake(plugin={"name": "somebody"})', ["'somebody'", "'victim'"]),
        ('handshake(plugin={"version": "2.0"})', ["'2.0'", "'1.0.0'"]),
        ('send(id=receive()["id"], result=[])', ["malformed"]),
        ("os._exit(78)", ["configuration is wrong"]),
    ],
)
async def test_one_that_does_not_fit_has_failed_and_is_not_tried_again(
    tmp_path: Path, code: str, words: list[str]
) -> None:
    async with staged(tmp_path, write_raw_plugin(tmp_path, "victim", code + "\nserve()")) as stage:
        failed = await stage.events.state("victim", "failed")
        for word in words:
            assert word in failed.reason
        assert stage.events.states("victim") == ["starting", "failed"]
        assert stage.host.status("victim").plugins[0].next_start_in_s is None


async def test_settings_that_the_plugin_refuses_have_failed_it(tmp_path: Path) -> None:
    code = ECHO + "\nimport msgspec\nclass S(msgspec.Struct):\n    port: int\nplugin.settings(S)\n"
    victim = write_plugin(tmp_path, "victim", code, settings={"port": "eighty"})
    async with staged(tmp_path, victim) as stage:
        failed = await stage.events.state("victim", "failed")
        assert "port" in failed.reason
        assert stage.events.states("victim") == ["starting", "failed"]


@pytest.mark.parametrize("code", ["raise NotReady('the model loads', retry_after=0.05)", "os._exit(75)"])
async def test_one_that_is_not_ready_waits_and_then_runs(tmp_path: Path, code: str) -> None:
    begin = f"""
@plugin.on_start
def begin() -> None:
    if not os.path.exists("ready"):
        {code}
"""
    victim = write_plugin(tmp_path, "victim", ECHO + begin)
    async with staged(tmp_path, victim) as stage:
        waiting = await stage.events.state("victim", "waiting")
        if "NotReady" in code:
            assert "the model loads" in waiting.reason
        (victim / "ready").touch()
        if "75" in code:  # without a word about when, it would be 5 s
            await stage.host.start("victim")
        await stage.events.state("victim", "running")
        status = stage.host.status("victim").plugins[0]
        assert status.restarts == 0
        assert await stage.host.call("victim", "echo", value=1) == 1


@pytest.mark.parametrize("code", ["sys.exit(78)", "@plugin.on_start\ndef begin() -> None:\n    sys.exit(78)"])
async def test_a_plugin_with_the_sdk_may_say_that_its_configuration_is_wrong(
    tmp_path: Path, code: str
) -> None:
    async with staged(tmp_path, write_plugin(tmp_path, "victim", f"{ECHO}\n{code}\n")) as stage:
        failed = await stage.events.state("victim", "failed", "backoff")
        assert "configuration is wrong" in failed.reason
        assert stage.events.states("victim") == ["starting", "failed"]


@pytest.mark.parametrize("code", ["sys.exit(75)", "@plugin.on_start\ndef begin() -> None:\n    sys.exit(75)"])
async def test_a_plugin_with_the_sdk_may_say_that_it_is_to_be_tried_later(tmp_path: Path, code: str) -> None:
    async with staged(tmp_path, write_plugin(tmp_path, "victim", f"{ECHO}\n{code}\n")) as stage:
        waiting = await stage.events.state("victim", "waiting", "backoff")
        assert "exit code 75" in waiting.reason
        assert stage.events.states("victim") == ["starting", "waiting"]
        assert stage.host.status("victim").plugins[0].restarts == 0


async def test_start_code_that_raises_says_what(tmp_path: Path) -> None:
    code = ECHO + "\n@plugin.on_start\ndef begin() -> None:\n    raise KeyError('region')\n"
    async with staged(tmp_path, write_plugin(tmp_path, "victim", code)) as stage:
        down = await stage.events.state("victim", "backoff")
        assert "start code failed" in down.reason
        assert "region" in down.reason


@pytest.mark.parametrize("program", ["no-such-interpreter", "./no-such-file"])
async def test_a_missing_interpreter_is_waited_for_and_named(tmp_path: Path, program: str) -> None:
    run: dict[str, Any] = {"command": [program, "main.js"]}
    async with staged(tmp_path, write_raw_plugin(tmp_path, "victim", "", run=run)) as stage:
        waiting = await stage.events.state("victim", "waiting")
        assert program in waiting.reason
        assert stage.host.status("victim").plugins[0].next_start_in_s > 1
        with pytest.raises(PluginUnavailable) as caught:
            await stage.host.start("victim")
        assert program in caught.value.reason


async def test_a_folder_that_goes_away_is_named_and_no_crash(tmp_path: Path) -> None:
    victim = write_plugin(tmp_path, "victim", start={"mode": "lazy"})
    async with staged(tmp_path, victim) as stage:
        shutil.rmtree(victim)
        with pytest.raises(PluginUnavailable) as caught:
            await stage.host.call("victim", "echo")
        assert f"its folder {victim} is not there" in caught.value.reason
        waiting = await stage.events.state("victim", "waiting")
        assert f"its folder {victim} is not there" in waiting.reason


async def test_a_folder_that_goes_away_while_it_starts_hurts_nobody(tmp_path: Path) -> None:
    code = ECHO + "\n@plugin.on_start\ndef begin() -> None:\n    print('begun')\n    time.sleep(0.2)\n"
    victim = write_plugin(tmp_path, "victim", code, start={"mode": "lazy"})
    async with staged(tmp_path, victim) as stage:
        stage.host.on_event(
            lambda event: shutil.rmtree(victim) if getattr(event, "message", "") == "begun" else None
        )
        assert await stage.host.call("victim", "echo", value=1) == 1
        assert not victim.exists()
        await stage.host.stop("victim")
        with pytest.raises(PluginUnavailable):
            await stage.host.start("victim")
