"""Settings of a plugin that change while it runs: checked, then told; or nothing has changed."""

from __future__ import annotations

import os
import tomllib
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from host import ConfigError, Host, PluginCrashed
from host.observability.events import PluginLogged, SettingsChanged
from tests.support.plugins import Events, make_host, pid_of, settled, write_plugin, write_raw_plugin

pytestmark = pytest.mark.anyio

SETTINGS = """
from typing import Annotated
import msgspec
class Settings(msgspec.Struct):
    greeting: Annotated[str, msgspec.Meta(min_length=1)] = "Hi"
    times: int = 1
    token: Annotated[str, msgspec.Meta(extra_json_schema={"secret": True}, min_length=3)] = "none"
plugin.settings(Settings)
changes = []

@plugin.validate_settings
def check(settings: Settings) -> None:
    if settings.greeting == "Boo":
        raise ValueError("we do not say Boo")

@plugin.method
def told(ctx: Context) -> list[Any]:
    return [ctx.settings.greeting, ctx.settings.times, len(ctx.settings.token), changes]
"""
LIVE = (
    SETTINGS
    + """
@plugin.on_config_change
def changed(ctx: Context) -> None:
    changes.append(ctx.settings.greeting)
"""
)
GREETING = "plugins.greeter.settings.greeting"
TOKEN = "plugins.greeter.settings.token"


def greeter(tmp_path: Path, code: str = LIVE, **more: Any) -> Host:
    plugin = write_plugin(tmp_path / "plugins", "greeter", code)
    return make_host(tmp_path, plugin, overrides=tmp_path / "overrides.toml", **more)


def overrides(tmp_path: Path) -> Any:
    file = tmp_path / "overrides.toml"
    return tomllib.loads(file.read_text()) if file.exists() else {}


def read(path: str) -> str:
    return Path(path).read_text()


async def told(host: Host) -> Any:
    return await host.call("greeter", "told")


async def refused(host: Host, **changes: Any) -> list[str]:
    """Why `changes` to greeter's settings are refused, each as one line."""
    with pytest.raises(ConfigError) as caught:
        await host.configure({f"plugins.greeter.settings.{key}": value for key, value in changes.items()})
    lines: list[str] = caught.value.data
    return lines


async def test_a_plugin_that_takes_changes_is_told_and_keeps_its_process(tmp_path: Path) -> None:
    async with greeter(tmp_path) as host:
        pid = pid_of(host, "greeter")
        plan = await host.configure({GREETING: "Servus", "plugins.greeter.settings.times": 2})
        assert [(change.name, change.why) for change in plan.live] == [
            ("greeter", "settings.greeting, settings.times")
        ]
        assert await told(host) == ["Servus", 2, 4, ["Servus"]]
        assert pid_of(host, "greeter") == pid
        settings = {"greeting": "Servus", "times": 2}
        assert overrides(tmp_path) == {"plugins": {"greeter": {"settings": settings}}}
        await host.restart("greeter")
        assert await told(host) == ["Servus", 2, 4, []]


async def test_an_async_plugin_is_told_before_the_next_call(tmp_path: Path) -> None:
    code = LIVE.replace("def changed(ctx: Context)", "async def changed(ctx: AsyncContext)")
    code = code.replace("def told(ctx: Context)", "async def told(ctx: AsyncContext)")
    async with greeter(tmp_path, code) as host:
        for number in range(5):
            await host.configure({"plugins.greeter.settings.times": number})
            assert (await told(host))[1] == number


async def test_a_plugin_that_does_not_take_changes_gets_a_new_process(tmp_path: Path) -> None:
    async with greeter(tmp_path, SETTINGS) as host:
        plan = await host.configure({GREETING: "Servus"})
        assert [change.name for change in plan.restarted] == ["greeter"]
        assert (await told(host))[0] == "Servus"


async def test_what_the_schema_or_the_plugin_refuses_changes_nothing(tmp_path: Path) -> None:
    async with greeter(tmp_path) as host:
        before = await told(host)
        assert await refused(host, greeting="Boo") == ["plugins.greeter.settings: we do not say Boo"]
        first, second = await refused(host, greeting="", times="many")
        assert first.startswith("plugins.greeter.settings.greeting:")
        assert second == 'plugins.greeter.settings.times: "many" is not of type "integer"'
        assert await refused(host, greting="Servus", times=2) == [
            "plugins.greeter.settings.greting: unknown key; did you mean `greeting`?"
        ]
        assert await told(host) == before
        assert overrides(tmp_path) == {}
        await host.restart("greeter")
        assert await told(host) == before


async def test_one_plugin_that_refuses_keeps_the_others_as_they_are(tmp_path: Path) -> None:
    other = write_plugin(tmp_path / "plugins", "other", LIVE)
    async with greeter(tmp_path) as host:
        await host.add(other)
        with pytest.raises(ConfigError):
            await host.configure({GREETING: "Servus", "plugins.other.settings.greeting": "Boo"})
        assert (await told(host))[0] == "Hi"
        assert (await host.call("other", "told"))[3] == []


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("plugins.greter.settings.greeting", "Servus"),
        ("host.max_starts", "lots"),
        ("hots.x", 1),
        ("plugins.greeter.restart.backoff_min", "1h"),
        ("host.plugins", ["relative"]),
        ("a b", 1),
        ("plugins.greeter.settings.greeting", None),
        ("plugins.greeter.settings.greeting", {"a": [None]}),
        ("plugins.greeter.settings.greeting", object()),
    ],
)
async def test_a_change_that_makes_no_sense_is_not_written(tmp_path: Path, key: str, value: Any) -> None:
    async with greeter(tmp_path) as host:
        with pytest.raises(ConfigError):
            await host.configure({key: value})
        assert overrides(tmp_path) == {}
        assert (await host.reload()).is_empty


async def test_a_dry_run_asks_everybody_and_changes_nothing(tmp_path: Path) -> None:
    async with greeter(tmp_path) as host:
        with pytest.raises(ConfigError):
            await host.configure({GREETING: "Boo"}, dry_run=True)
        plan = await host.configure({GREETING: "Servus"}, dry_run=True)
        assert ([change.name for change in plan.live], plan.applied) == (["greeter"], False)
        assert (overrides(tmp_path), (await told(host))[3]) == ({}, [])


async def test_what_was_set_can_be_taken_back_and_nothing_else_can(tmp_path: Path) -> None:
    async with greeter(tmp_path) as host:
        await host.configure({GREETING: "Servus"})
        await host.configure({GREETING: msgspec.UNSET})
        assert (await told(host))[0] == "Hi"
        assert overrides(tmp_path) == {}
        with pytest.raises(ConfigError):
            await host.configure({GREETING: msgspec.UNSET})


async def test_a_host_without_a_file_forgets_what_was_set_when_it_ends(tmp_path: Path) -> None:
    plugin = write_plugin(tmp_path / "plugins", "greeter", LIVE)
    async with make_host(tmp_path, plugin) as host:
        await host.configure({GREETING: "Servus"})
        assert (await host.reload()).is_empty
        assert (await told(host))[0] == "Servus"
    async with make_host(tmp_path, plugin) as host:
        assert (await told(host))[0] == "Hi"


async def test_overrides_that_cannot_be_written_change_nothing(tmp_path: Path) -> None:
    (tmp_path / "overrides.toml").mkdir()
    async with make_host(
        tmp_path, write_plugin(tmp_path / "plugins", "greeter", LIVE), overrides=tmp_path / "file" / "o.toml"
    ) as host:
        (tmp_path / "file").write_text("not a folder")
        assert len(await refused(host, greeting="Servus")) == 1
        assert await told(host) == ["Hi", 1, 4, []]


async def test_a_reload_of_settings_that_are_refused_keeps_the_old_ones(tmp_path: Path) -> None:
    config = tmp_path / "outboard.toml"
    config.write_text("[plugins.greeter.settings]\ngreeting = 'Moin'\n")
    async with greeter(tmp_path, config=config) as host:
        config.write_text("[plugins.greeter.settings]\ngreeting = 'Servus'\ntimes = 'many'\n")
        with pytest.raises(ConfigError) as caught:
            await host.reload()
        assert caught.value.data == [
            f'{config}:3: plugins.greeter.settings.times: "many" is not of type "integer"'
        ]
        assert (await told(host))[0] == "Moin"
        config.write_text("[plugins.greeter.settings]\ngreeting = 'Servus'\n")
        assert [change.name for change in (await host.reload()).live] == ["greeter"]
        assert (await told(host))[0] == "Servus"


async def test_new_code_may_have_new_settings(tmp_path: Path) -> None:
    config = tmp_path / "outboard.toml"
    config.write_text("")
    async with greeter(tmp_path, config=config) as host:
        code = tmp_path / "plugins" / "greeter" / "main.py"
        code.write_text(code.read_text().replace("times: int = 1", "times: str = ''"))
        config.write_text("[plugins.greeter.settings]\ntimes = 'many'\n")
        assert [change.name for change in (await host.reload()).restarted] == ["greeter"]
        assert (await told(host))[1] == "many"


async def test_a_plugin_that_ends_when_it_is_asked_refuses_and_is_restarted(tmp_path: Path) -> None:
    code = LIVE.replace('raise ValueError("we do not say Boo")', "os._exit(1)")
    async with greeter(tmp_path, code) as host:
        events = Events(host)
        [line] = await refused(host, greeting="Boo")
        assert "ended" in line
        await events.state("greeter", "running", "degraded")
        assert (await told(host))[0] == "Hi"


async def test_a_change_that_the_author_fails_to_digest_is_logged_and_holds(tmp_path: Path) -> None:
    code = LIVE.replace("changes.append", "raise RuntimeError('indigestible') and changes.append")
    async with greeter(tmp_path, code) as host:
        events = Events(host)
        await host.configure({GREETING: "Servus"})
        await events.log("greeter", "indigestible")
        assert (await told(host))[0] == "Servus"


async def test_settings_that_the_author_refuses_at_the_start_are_a_reason_to_fail(tmp_path: Path) -> None:
    config = tmp_path / "outboard.toml"
    config.write_text("[plugins.greeter.settings]\ngreeting = 'Boo'\n")
    async with greeter(tmp_path, config=config) as host:
        [plugin] = host.status().plugins
        assert plugin.state == "failed"
        assert "we do not say Boo" in (plugin.reason or "")


async def test_a_plugin_that_cannot_be_told_is_not_asked(tmp_path: Path) -> None:
    plugin = write_raw_plugin(tmp_path, "greeter", "handshake()\nserve()")
    async with make_host(tmp_path, plugin) as host:
        plan = await host.configure({GREETING: "Servus"})
        assert [change.name for change in plan.restarted] == ["greeter"]


@pytest.mark.parametrize(
    "schema", [{"$ref": "#"}, {"type": 5}, {"$defs": 1, "$ref": []}, {"properties": []}, {"$ref": "http://x"}]
)
async def test_a_schema_that_is_none_does_no_harm(tmp_path: Path, schema: dict[str, Any]) -> None:
    code = f"handshake(features=['validate'], provides={{'config_schema': {schema!r}}})\nserve()"
    async with make_host(tmp_path, write_raw_plugin(tmp_path, "greeter", code)) as host:
        assert (await host.configure({"plugins.greeter.settings.a": 1})).restarted
        assert host.configuration("plugins.greeter.settings.a")[0].value == 1
        msgspec.json.encode(host.configuration_schema())


# -- secrets -------------------------------------------------------------------------------------------


def secret_file(tmp_path: Path, mode: int = 0o600) -> dict[str, str]:
    path = tmp_path / "token"
    path.write_text("s3cret-token\n")
    path.chmod(mode)
    return {"file": str(path)}


async def test_a_secret_comes_from_a_file_and_is_shown_nowhere(tmp_path: Path) -> None:
    async with greeter(tmp_path) as host:
        events = Events(host)
        await host.configure({TOKEN: secret_file(tmp_path)})
        assert (await told(host))[2] == len("s3cret-token")
        await host.restart("greeter")
        assert (await told(host))[2] == len("s3cret-token")
        told_by_host = [events.seen, host.status(), host.why("greeter"), host.configuration()]
        assert "s3cret" not in repr(told_by_host)
        pid = pid_of(host, "greeter")
        for file in ("cmdline", "environ"):
            assert "s3cret" not in read(f"/proc/{pid}/{file}")
    assert "s3cret" not in (tmp_path / "overrides.toml").read_text()


async def test_what_a_plugin_gives_away_of_its_secret_is_masked(tmp_path: Path) -> None:
    code = (
        LIVE
        + """
@plugin.method
def blab(ctx: Context) -> None:
    ctx.log.warning("token %s", ctx.settings.token, extra={"token": ctx.settings.token})
    ctx.status(ctx.settings.token)
    print("token", ctx.settings.token, file=sys.stderr)
    sys.stderr.flush()
    os._exit(1)
"""
    )
    code = code.replace("we do not say Boo", "not with {settings.token}").replace(
        'ValueError("', 'ValueError(f"'
    )
    async with greeter(tmp_path, code) as host:
        events = Events(host)
        await host.configure({TOKEN: secret_file(tmp_path)})
        assert await refused(host, greeting="Boo") == ["plugins.greeter.settings: not with •••"]
        for _ in range(2):  # told while it ran, and from its start on
            with pytest.raises(PluginCrashed):
                await host.call("greeter", "blab")
            await events.state("greeter", "backoff")
            assert host.why("greeter").causes[0].stderr[-1] == "token •••"
            await host.restart("greeter")
        assert len([e for e in events.seen if isinstance(e, PluginLogged) and e.message == "token •••"]) == 4
        assert "s3cret" not in repr([events.seen, host.status(), host.why("greeter")])


async def test_a_secret_comes_from_a_command(tmp_path: Path) -> None:
    async with greeter(tmp_path) as host:
        await host.configure({TOKEN: {"command": ["printf", "12345"]}})
        assert (await told(host))[2] == 5


@pytest.mark.parametrize(
    ("reference", "reason"),
    [
        ("s3cret", "must not stand here"),
        ({"file": "relative"}, "relative"),
        ({"file": "/nowhere/at/all"}, "cannot be read"),
        ({"file": "/dev/null"}, "not a regular file"),
        ({"command": ["no-such-program"]}, "cannot be run"),
        ({"command": ["false"]}, "exit code 1"),
        ({"command": ["true"]}, "empty"),
        ({"command": ["head", "-c", "100000", "/dev/zero"]}, "larger than"),
        ({"command": ["printf", "\\377"]}, "not UTF-8"),
        ({"command": ["printf", "s3"]}, "shorter than 3"),
    ],
)
async def test_a_secret_that_cannot_be_had_is_refused_without_a_word_of_it(
    tmp_path: Path, reference: Any, reason: str
) -> None:
    async with greeter(tmp_path) as host:
        [line] = await refused(host, token=reference)
        assert reason in line
        assert "s3" not in line.removeprefix("plugins.greeter.settings.token")
        assert (await told(host))[2] == len("none")


@pytest.mark.skipif(os.name != "posix", reason="modes are the point")
async def test_a_secret_that_others_may_read_is_refused_at_the_start_too(tmp_path: Path) -> None:
    config = tmp_path / "outboard.toml"
    reference = secret_file(tmp_path, mode=0o640)["file"]
    config.write_text(f"[plugins.greeter.settings]\ntoken = {{ file = '{reference}' }}\n")
    async with greeter(tmp_path, config=config) as host:
        [plugin] = host.status().plugins
        assert plugin.state == "failed"
        assert "0640" in (plugin.reason or "")
        os.chmod(reference, 0o600)
        await host.start("greeter")
        assert (await told(host))[2] == len("s3cret-token")


async def test_a_command_has_ten_seconds_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("host.process.secrets.COMMAND_S", 0.2)
    async with greeter(tmp_path) as host:
        [line] = await refused(host, token={"command": ["sleep", "60"]})
        assert "took longer" in line


async def test_a_change_that_is_written_is_carried_out_though_nobody_waits_for_it_any_more(
    tmp_path: Path,
) -> None:
    async with greeter(tmp_path, SETTINGS) as host:
        events = Events(host)
        with anyio.CancelScope() as waiting:

            def give_up(event: Any) -> None:
                if isinstance(event, SettingsChanged):
                    waiting.cancel()

            host.on_event(give_up)
            await host.configure({GREETING: "Servus"})
        assert waiting.cancelled_caught
        await events.state("greeter", "running")
        assert (await told(host))[0] == "Servus"


async def test_a_plugin_that_is_starting_has_the_last_of_its_settings(tmp_path: Path) -> None:
    code = SETTINGS + (
        "\n@plugin.on_start\ndef begin() -> None:\n    open('began', 'w').close()\n"
        "    while not os.path.exists('go'):\n        time.sleep(0.01)\n"
    )
    plugin = write_plugin(tmp_path / "plugins", "greeter", code)
    async with (
        make_host(tmp_path, write_plugin(tmp_path, "echo")) as host,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(host.add, plugin)
        with anyio.fail_after(10):
            while not await anyio.Path(plugin / "began").exists():
                await anyio.lowlevel.checkpoint()
        (plugin / "go").touch()
        await settled([partial(host.configure, {GREETING: word}) for word in ("Servus", "Moin", "Hallo")])
        assert (await told(host))[0] == "Hallo"


async def test_each_change_of_settings_is_told_by_its_keys_and_never_by_a_value(tmp_path: Path) -> None:
    async with greeter(tmp_path) as host:
        events = Events(host)
        await host.configure({GREETING: "Servus", "plugins.greeter.settings.times": 2})
        await host.configure({"plugins.greeter.settings.times": 2})
        await host.configure({"plugins.greeter.limits.processes": 9})
        await host.configure({GREETING: msgspec.UNSET})
        changes = [event for event in events.seen if isinstance(event, SettingsChanged)]
        assert [(event.keys, event.revision, event.by) for event in changes] == [
            (["greeting", "times"], 1, ""),
            (["greeting"], 2, ""),
        ]


async def test_a_secret_from_elsewhere_replaces_where_it_came_from(tmp_path: Path) -> None:
    config = tmp_path / "outboard.toml"
    reference = secret_file(tmp_path)["file"]
    config.write_text(f"[plugins.greeter.settings]\ntoken = {{ file = '{reference}' }}\n")
    async with greeter(tmp_path, config=config) as host:
        assert (await told(host))[2] == len("s3cret-token")
        await host.configure({TOKEN: {"command": ["printf", "12345"]}})
        assert (await told(host))[2] == 5


async def test_a_disabled_plugin_is_held_to_its_schema_and_one_that_is_being_disabled_is_not(
    tmp_path: Path,
) -> None:
    async with greeter(tmp_path) as host:
        both = {"plugins.greeter.enabled": False, "plugins.greeter.settings.times": "many"}
        assert (await host.configure(both)).disabled == ["greeter"]
        await host.configure({"plugins.greeter.settings.times": msgspec.UNSET})
        assert len(await refused(host, times="lots")) == 1
        plan = await host.configure({GREETING: "Servus"})
        assert [change.name for change in plan.at_start] == ["greeter"]
