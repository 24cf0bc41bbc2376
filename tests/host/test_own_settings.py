"""A plugin changes its own settings: checked as any change, told, kept and known as its own; or nothing."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from host import ConfigError, Host, PluginUnavailable, RemoteError
from host.config.load import Layers
from host.observability.events import CallFailed
from tests.support.plugins import (
    ECHO,
    QUICK,
    Events,
    make_host,
    pid_of,
    settled,
    write_plugin,
    write_raw_plugin,
)

pytestmark = pytest.mark.anyio

CODE = """
from typing import Annotated
import msgspec
from plugin_sdk import CallFailed, PluginBusy, SettingsRefused

class Settings(msgspec.Struct):
    greeting: Annotated[str, msgspec.Meta(min_length=1)] = "Hi"
    times: int = 1
    tags: dict[str, str] = {}
    token: Annotated[str, msgspec.Meta(extra_json_schema={"secret": True})] = "none"

plugin.settings(Settings)
seen = []

@plugin.validate_settings
def check(settings: Settings) -> None:
    if settings.greeting == "Boo":
        raise ValueError("we do not say Boo")

def plainly(settings: Settings) -> list[Any]:
    return [settings.greeting, settings.times]

@plugin.method
def told(ctx: Context) -> list[Any]:
    return plainly(ctx.settings)

@plugin.method
def history() -> list[Any]:
    return seen

@plugin.method
def revision(ctx: Context) -> int:
    return ctx.settings_revision

def why(refused: CallFailed) -> dict[str, Any]:
    about: dict[str, Any] = {"kind": type(refused).__name__, "code": refused.code}
    if isinstance(refused, SettingsRefused):
        about |= {"problems": refused.problems, "is_stale": refused.is_stale}
    return about | {"retry_after": refused.retry_after}
"""
SERIAL = (
    CODE
    + """
@plugin.on_config_change
def changed(ctx: Context, old: Settings, new: Settings) -> None:
    seen.append([plainly(old), plainly(new)])

@plugin.method
def change(ctx: Context, changes: dict[str, Any], seen_revision: int | None = None) -> Any:
    try:
        return plainly(ctx.update_settings(changes, seen_revision)) + plainly(ctx.settings)
    except CallFailed as refused:
        return why(refused)

@plugin.method
def take_back(name: str, ctx: Context) -> Any:
    try:
        return plainly(ctx.update_settings(**{name: msgspec.UNSET}))
    except CallFailed as refused:
        return why(refused)
"""
)
ASYNC = (
    CODE
    + """
@plugin.on_config_change
async def changed(ctx: AsyncContext, old: Settings, new: Settings) -> None:
    seen.append([plainly(old), plainly(new)])

@plugin.method
async def change(ctx: AsyncContext, changes: dict[str, Any]) -> Any:
    try:
        return plainly(await ctx.update_settings(changes)) + plainly(ctx.settings)
    except CallFailed as refused:
        return why(refused)
"""
)
MUTE = SERIAL.replace("@plugin.on_config_change", "")
THREADED = SERIAL.replace("plugin.settings(", "plugin.threads = 4\nplugin.settings(")
GREETING = "plugins.greeter.settings.greeting"


def greeter(tmp_path: Path, code: str = SERIAL, **more: Any) -> Host:
    plugin = write_plugin(tmp_path / "plugins", "greeter", code, restart=QUICK)
    return make_host(tmp_path, plugin, overrides=tmp_path / "overrides.toml", **more)


async def until(is_so: Callable[[], Awaitable[bool]]) -> None:
    """Returns once it is so, which another process sees to."""
    with anyio.fail_after(10):
        while not await is_so():  # noqa: ASYNC110  # no event tells of it
            await anyio.sleep(0.005)


async def in_flight(host: Host) -> bool:
    """Whether greeter has a call in hand."""
    return host.status("greeter").plugins[0].calls.in_flight > 0


def overrides(tmp_path: Path) -> Any:
    file = tmp_path / "overrides.toml"
    return tomllib.loads(file.read_text()) if file.exists() else {}


def said_by_plugin(**settings: Any) -> dict[str, Any]:
    """The file of overrides after greeter has said that."""
    keys = sorted(f"plugins.greeter.settings.{key}" for key in settings)
    return {"written_by_plugins": keys, "plugins": {"greeter": {"settings": settings}}}


async def change(host: Host, seen_revision: int | None = None, /, **changes: Any) -> Any:
    more = {} if seen_revision is None else {"seen_revision": seen_revision}
    return await host.call("greeter", "change", changes=changes, **more)


@pytest.mark.parametrize("code", [SERIAL, THREADED, ASYNC, MUTE], ids=["serial", "threads", "async", "mute"])
async def test_what_a_plugin_changes_holds_once_it_goes_on_and_for_the_next_process(
    tmp_path: Path, code: str
) -> None:
    async with greeter(tmp_path, code) as host:
        pid = pid_of(host, "greeter")
        assert await change(host, greeting="Servus", times=2) == ["Servus", 2, "Servus", 2]
        assert await host.call("greeter", "told") == ["Servus", 2]
        assert overrides(tmp_path) == said_by_plugin(greeting="Servus", times=2)
        assert pid_of(host, "greeter") == pid
        await host.restart("greeter")
        assert await host.call("greeter", "told") == ["Servus", 2]
        assert await host.call("greeter", "revision") == 1
    async with make_host(
        tmp_path, tmp_path / "plugins" / "greeter", overrides=tmp_path / "overrides.toml"
    ) as host:
        assert await host.call("greeter", "told") == ["Servus", 2]


@pytest.mark.parametrize("code", [SERIAL, ASYNC], ids=["serial", "async"])
async def test_the_author_hears_of_every_change_with_what_was_and_what_is(tmp_path: Path, code: str) -> None:
    async with greeter(tmp_path, code) as host:
        await change(host, greeting="Servus")
        await host.configure({"plugins.greeter.settings.times": 2})
        expected = [[["Hi", 1], ["Servus", 1]], [["Servus", 1], ["Servus", 2]]]

        async def heard() -> bool:
            return await host.call("greeter", "history") == expected

        await until(heard)


async def test_whose_word_it_is_is_kept_and_shown(tmp_path: Path) -> None:
    async with greeter(tmp_path) as host:
        await host.configure({"plugins.greeter.settings.times": 3})
        await change(host, greeting="Servus", tags={"a": "1", "b": "2"})
        by = {row.key: (row.layer, row.by) for row in host.configuration("plugins.greeter.settings")}
        assert by[GREETING] == ("overrides", "plugin greeter")
        assert by["plugins.greeter.settings.tags.a"] == ("overrides", "plugin greeter")
        assert by["plugins.greeter.settings.times"] == ("overrides", "")
        await host.configure({GREETING: "Moin", "plugins.greeter.settings.tags.a": "3"})
        by = {row.key: (row.value, row.by) for row in host.configuration("plugins.greeter.settings")}
        assert by[GREETING] == ("Moin", "")
        assert by["plugins.greeter.settings.tags.a"] == ("3", "")
        assert by["plugins.greeter.settings.tags.b"] == ("2", "plugin greeter")
    async with make_host(
        tmp_path, tmp_path / "plugins" / "greeter", overrides=tmp_path / "overrides.toml"
    ) as host:
        [row] = host.configuration("plugins.greeter.settings.tags.b")
        assert row.by == "plugin greeter"


@pytest.mark.parametrize("code", [SERIAL, THREADED, ASYNC], ids=["serial", "threads", "async"])
async def test_what_does_not_fit_is_refused_whole_with_every_problem(tmp_path: Path, code: str) -> None:
    async with greeter(tmp_path, code) as host:
        refused = await change(host, greeting="", times="many")
        assert refused["kind"] == "SettingsRefused"
        assert sorted(refused["problems"]) == [
            '$.greeting: "" is shorter than 1 character',
            '$.times: "many" is not of type "integer"',
        ]
        refused = await change(host, greting="Servus", times=2)
        assert refused["problems"] == ["$.greting: unknown key; did you mean `greeting`?"]
        refused = await change(host, greeting="Boo", times=2)
        assert refused["problems"] == ["$: we do not say Boo"]
        refused = await change(host, tags={"a": None})
        assert refused["problems"] == ["$.tags: TOML has no word for a dict"]
        assert await host.call("greeter", "told") == ["Hi", 1]
        assert (overrides(tmp_path), await host.call("greeter", "revision")) == ({}, 0)


async def test_a_plugin_takes_back_what_was_changed_and_so_does_an_operator(tmp_path: Path) -> None:
    import msgspec

    async with greeter(tmp_path) as host:
        await change(host, greeting="Servus", times=2)
        assert await host.call("greeter", "take_back", name="greeting") == ["Hi", 2]
        assert overrides(tmp_path) == said_by_plugin(times=2)
        refused = await host.call("greeter", "take_back", name="greeting")
        assert refused["problems"] == ["$.greeting: nobody has set it with `config set`"]
        await host.configure({"plugins.greeter.settings.times": msgspec.UNSET})
        assert await host.call("greeter", "told") == ["Hi", 1]
        assert overrides(tmp_path) == {}


async def test_a_revision_rises_with_each_change_and_an_older_one_is_refused(tmp_path: Path) -> None:
    async with greeter(tmp_path) as host:
        assert await change(host, 0, greeting="Servus") == ["Servus", 1, "Servus", 1]
        await host.configure({"plugins.greeter.settings.times": 2})
        refused = await change(host, 1, times=3)
        assert (refused["kind"], refused["is_stale"]) == ("SettingsRefused", True)
        assert await host.call("greeter", "revision") == 2
        assert await change(host, 2, times=3) == ["Servus", 3, "Servus", 3]


async def test_what_is_so_already_is_no_change(tmp_path: Path) -> None:
    async with greeter(tmp_path) as host:
        await change(host, greeting="Servus")
        written_at = (tmp_path / "overrides.toml").stat().st_mtime_ns
        assert await change(host, greeting="Servus") == ["Servus", 1, "Servus", 1]
        assert (tmp_path / "overrides.toml").stat().st_mtime_ns == written_at
        assert await host.call("greeter", "revision") == 1


async def test_start_code_and_a_change_may_lead_to_changes(tmp_path: Path) -> None:
    code = """
    @plugin.on_start
    def begin(ctx: Context) -> None:
        ctx.update_settings(greeting="Started")

    @plugin.on_config_change
    def changed(ctx: Context) -> None:
        if ctx.settings.times < 5:
            ctx.update_settings(times=5)
    """
    import textwrap

    async with greeter(tmp_path, CODE + textwrap.dedent(code)) as host:

        async def changed() -> bool:
            return await host.call("greeter", "told") == ["Started", 5]

        await until(changed)
        assert overrides(tmp_path) == said_by_plugin(greeting="Started", times=5)


# -- what a plugin cannot change -------------------------------------------------------------------------


@pytest.mark.parametrize("token", ["s3cret", {"file": "/etc/passwd"}, {"command": ["touch", "made"]}])
async def test_where_a_secret_comes_from_is_not_a_plugins_to_say(tmp_path: Path, token: Any) -> None:
    async with greeter(tmp_path) as host:
        refused = await change(host, token=token, greeting="Servus")
        [problem] = refused["problems"]
        assert "operator" in problem
        assert "s3cret" not in problem
        assert (await host.call("greeter", "told"), overrides(tmp_path)) == (["Hi", 1], {})


async def test_a_secret_stays_where_an_operator_has_it_and_out_of_sight(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("s3cret-token")
    token.chmod(0o600)
    async with greeter(tmp_path) as host:
        events = Events(host)
        await host.configure({"plugins.greeter.settings.token": {"file": str(token)}})
        assert await change(host, greeting="Servus") == ["Servus", 1, "Servus", 1]
        refused = await host.call("greeter", "take_back", name="token")
        assert "operator" in refused["problems"][0]
        assert "s3cret" not in (tmp_path / "overrides.toml").read_text()
        assert "s3cret" not in repr([events.seen, host.configuration(), host.why("greeter")])


async def test_a_secret_in_an_error_is_masked_wherever_that_is_told(tmp_path: Path) -> None:
    code = """
        import msgspec
        from typing import Annotated
        from plugin_sdk import PluginError

        class Settings(msgspec.Struct):
            token: Annotated[str, msgspec.Meta(extra_json_schema={"secret": True})] = "none"

        plugin.settings(Settings)

        @plugin.method
        def blurt(ctx: Context) -> None:
            raise PluginError(7, f"denied: {ctx.settings.token}", {"used": [ctx.settings.token]})
    """
    token = tmp_path / "token"
    token.write_text("s3cret-token")
    token.chmod(0o600)
    plugin = write_plugin(tmp_path, "loud", code)
    host = make_host(tmp_path, plugin)
    events = Events(host)
    async with host:
        await host.configure({"plugins.loud.settings.token": {"file": str(token)}})
        with pytest.raises(RemoteError) as raised:
            await host.call("loud", "blurt")
        assert raised.value.message == "denied: •••"
        assert raised.value.data == {"used": ["•••"]}
        await events.until(lambda event: isinstance(event, CallFailed))
        assert "s3cret" not in repr([events.seen, host.why("loud")])


async def test_what_a_higher_layer_says_is_not_a_plugins_to_change(tmp_path: Path) -> None:
    plugin = write_plugin(tmp_path / "plugins", "greeter", SERIAL)
    variable = "OUTBOARD__PLUGINS__GREETER__SETTINGS__TIMES"
    layers = Layers(environ={variable: "7"}, overrides=tmp_path / "overrides.toml")
    async with make_host(tmp_path, plugin, config=layers) as host:
        refused = await change(host, times=2, greeting="Servus")
        assert refused["problems"] == [
            f"$.times: a change would have no effect: environment ${variable} is above it"
        ]
        assert (await host.call("greeter", "told"), overrides(tmp_path)) == (["Hi", 7], {})
        assert await change(host, greeting="Servus") == ["Servus", 7, "Servus", 7]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"tags": {"a": "x" * 70_000}}, "64 KiB"),
        ({"tags": {f"{n}": "x" * 100 for n in range(1000)}}, "64 KiB"),
        ({"deep": "DEEP"}, "64 levels"),
        ({"plugins.other.settings.x": 1}, "unknown key"),
        ({"": 1}, "unknown key"),
        ({"a\nb": 1}, "unknown key"),
    ],
)
async def test_nonsense_is_refused_and_the_host_can_read_what_it_has_written(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    deep: Any = 1
    for _ in range(70):
        deep = {"a": deep}
    changes = {key: deep if value == "DEEP" else value for key, value in changes.items()}
    async with greeter(tmp_path) as host:
        refused = await change(host, **changes)
        assert said in refused["problems"][0]
        assert overrides(tmp_path) == {}
        assert (await host.reload()).is_empty


async def test_a_value_too_deep_for_a_file_is_refused_to_the_app_as_well(tmp_path: Path) -> None:
    deep: Any = 1
    for _ in range(70):
        deep = {"a": deep}
    async with make_host(tmp_path, overrides=tmp_path / "overrides.toml") as host:
        with pytest.raises(ConfigError):
            await host.configure({"plugins.echo.settings.x": deep})
        with pytest.raises(ConfigError):
            await host.configure({"plugins.echo.settings.x": "x" * 2**20})
        assert (await host.reload()).is_empty


async def test_a_disk_that_takes_nothing_changes_nothing(tmp_path: Path) -> None:
    plugin = write_plugin(tmp_path / "plugins", "greeter", SERIAL)
    async with make_host(tmp_path, plugin, overrides=tmp_path / "file" / "overrides.toml") as host:
        (tmp_path / "file").write_text("not a folder")
        refused = await change(host, greeting="Servus")
        assert refused["kind"] == "SettingsRefused"
        assert "cannot be written" in refused["problems"][0]
        assert (await host.call("greeter", "told"), await host.call("greeter", "history")) == (["Hi", 1], [])
        (tmp_path / "file").unlink()
        assert await change(host, greeting="Servus") == ["Servus", 1, "Servus", 1]


async def test_what_a_person_has_edited_is_not_written_over(tmp_path: Path) -> None:
    async with greeter(tmp_path) as host:
        edited = "[plugins.greeter.settings]\ntimes = 9\n"
        (tmp_path / "overrides.toml").write_text(edited)
        refused = await change(host, greeting="Servus")
        assert "outboard reload" in refused["problems"][0]
        assert (tmp_path / "overrides.toml").read_text() == edited
        await host.reload()
        assert await change(host, greeting="Servus") == ["Servus", 9, "Servus", 9]


async def test_files_that_an_operator_has_not_loaded_yet_are_left_alone(tmp_path: Path) -> None:
    config = tmp_path / "outboard.toml"
    config.write_text("[plugins.greeter.settings]\ntimes = 2\n")
    async with greeter(tmp_path, config=config) as host:
        config.write_text("[plugins.greeter.settings]\ntimes = 3\n[oops")
        assert await change(host, greeting="Servus") == ["Servus", 2, "Servus", 2]


async def test_a_plugin_that_changes_its_settings_in_a_loop_is_slowed_down(tmp_path: Path) -> None:
    async with greeter(tmp_path) as host:
        outcomes = [await change(host, times=number) for number in range(2, 32)]
        busy = [each for each in outcomes if isinstance(each, dict)]
        assert {each["kind"] for each in busy} == {"PluginBusy"}
        assert all(0 < each["retry_after"] <= 1.1 for each in busy)
        assert len(busy) < 11
        await host.configure({GREETING: "Moin"})
        assert (await host.call("greeter", "told"))[0] == "Moin"


# -- while other things happen ---------------------------------------------------------------------------

SLOW = """
import msgspec
class Settings(msgspec.Struct):
    x: int = 0
plugin.settings(Settings)

@plugin.validate_settings
def check(settings: Settings) -> None:
    if settings.x:
        open("asked", "w").close()
        while not os.path.exists("go"):
            time.sleep(0.01)

@plugin.on_config_change
def changed() -> None:
    pass

@plugin.method
def told(ctx: Context) -> int:
    return ctx.settings.x
"""


async def test_an_operators_change_and_a_plugins_own_do_not_wait_for_each_other(tmp_path: Path) -> None:
    slow = write_plugin(tmp_path / "plugins", "slow", SLOW)
    async with greeter(tmp_path) as host:
        await host.add(slow)
        host_is_busy = partial_configure(host, "plugins.slow.settings.x", 1)
        operators = partial_configure(host, "plugins.greeter.settings.times", 4)

        async def release() -> None:
            await until(anyio.Path(slow / "asked").exists)
            await until(partial(in_flight, host))
            (slow / "go").touch()

        with anyio.fail_after(20):
            busy, theirs, own, released = await settled(
                [host_is_busy, operators, lambda: change(host, greeting="Servus"), release]
            )
        assert released is None
        assert [change.name for change in busy.live] == ["slow"]
        assert [change.name for change in theirs.live] == ["greeter"]
        assert own == ["Servus", 4, "Servus", 4]


async def test_a_plugin_that_waits_to_change_its_settings_can_be_restarted(tmp_path: Path) -> None:
    slow = write_plugin(tmp_path / "plugins", "slow", SLOW)
    async with greeter(tmp_path) as host:
        await host.add(slow)
        pid = pid_of(host, "greeter")

        async def restart() -> None:
            await until(partial(in_flight, host))
            await host.restart("greeter")
            (slow / "go").touch()

        _, own, restarted = await settled(
            [
                partial_configure(host, "plugins.slow.settings.x", 1),
                lambda: change(host, greeting="Servus"),
                restart,
            ]
        )
        assert restarted is None
        assert own["kind"] == "RemoteError"  # it was told in time, and could say so
        assert pid_of(host, "greeter") != pid
        assert "greeter" not in overrides(tmp_path)["plugins"]


async def test_a_plugin_that_waits_for_another_can_be_asked_meanwhile(tmp_path: Path) -> None:
    code = SERIAL + (
        "\n@plugin.method\ndef wait(ctx: Context) -> list[Any]:\n"
        "    ctx.call('echo', 'until', path='go')\n    return plainly(ctx.settings)\n"
    )
    waiting = (
        "\n@plugin.method\ndef until(path: str) -> None:\n    open('asked', 'w').close()\n"
        "    while not os.path.exists(path):\n        time.sleep(0.01)\n"
    )
    echo = write_plugin(tmp_path / "plugins", "echo", ECHO + waiting)
    plugin = write_plugin(tmp_path / "plugins", "greeter", code, permissions={"plugins": ["echo"]})
    async with make_host(tmp_path, plugin, echo) as host:

        async def configure() -> None:
            await until(anyio.Path(echo / "asked").exists)
            await host.configure({GREETING: "Servus"})
            (echo / "go").touch()

        with anyio.fail_after(20):
            answer, configured = await settled([lambda: host.call("greeter", "wait"), configure])
        assert (answer, configured) == (["Servus", 1], None)


async def test_a_plugin_that_dies_over_its_own_change_has_changed_nothing(tmp_path: Path) -> None:
    code = SERIAL.replace('raise ValueError("we do not say Boo")', "os._exit(1)")
    async with greeter(tmp_path, code) as host:
        events = Events(host)
        [outcome] = await settled([lambda: change(host, greeting="Boo")])
        assert isinstance(outcome, Exception)
        await events.state("greeter", "running", "degraded")
        assert await host.call("greeter", "told") == ["Hi", 1]
        assert overrides(tmp_path) == {}


async def test_many_changes_at_once_all_hold(tmp_path: Path) -> None:
    code = SERIAL.replace("tags: dict[str, str] = {}", "a: int = 0; b: int = 0; c: int = 0; d: int = 0")
    async with greeter(tmp_path, code) as host:
        outcomes = await settled(
            [
                lambda: change(host, a=1),
                partial_configure(host, "plugins.greeter.settings.b", 2),
                lambda: change(host, c=3),
                partial_configure(host, "plugins.greeter.settings.d", 4),
            ]
        )
        assert not [each for each in outcomes if isinstance(each, Exception)]
        settings = overrides(tmp_path)["plugins"]["greeter"]["settings"]
        assert settings == {"a": 1, "b": 2, "c": 3, "d": 4}


def partial_configure(host: Host, key: str, value: Any) -> Any:
    async def run() -> Any:
        return await host.configure({key: value})

    return run


# -- on the wire -----------------------------------------------------------------------------------------

ASKS = """
handshake()
def ask(method, params, id=7):
    send(id=id, method=method, params=params)
    while True:
        message = receive()
        if message.get("id") == id and "method" not in message:
            return message
        if message.get("method") == "exit":
            sys.exit(0)
        notes.append(message["params"])
notes = []
while True:
    message = receive()
    if message["method"] == "exit":
        sys.exit(0)
    if "id" in message:
        params = message["params"]
        answer = ask(params["method"], params["params"]) if "method" in params else None
        send(id=message["id"], result={"answer": answer, "notes": notes})
        notes = []
"""


async def test_a_plugin_in_any_language_may_ask(tmp_path: Path) -> None:
    plugin = write_raw_plugin(tmp_path, "foreign", ASKS, settings={"a": 1})
    async with make_host(tmp_path, plugin) as host:

        async def ask(method: str, params: Any) -> Any:
            return await host.call("foreign", "echo", params={"method": method, "params": params})

        first = (await ask("config/get", {}))["answer"]["result"]
        assert first == {"config": {"a": 1}, "config_revision": 0}
        said = await ask("config/update", {"set": {"b": {"c": 2}}})
        assert said["answer"]["result"] == {"config": {"a": 1, "b": {"c": 2}}, "config_revision": 1}
        assert said["notes"] == [said["answer"]["result"]], "told before it was answered"
        said = await ask("config/update", {"set": {"b": 3}, "config_revision": 0})
        assert said["answer"]["error"]["code"] == -32003
        assert said["answer"]["error"]["data"] == {"config_revision": 1}
        said = await ask("config/update", {"unset": ["b"], "config_revision": 1})
        assert said["answer"]["result"] == {"config": {"a": 1}, "config_revision": 2}
        nonsense: Any
        for nonsense in ({"set": 5}, {"unset": [1]}, {"set": {"a": None}}, [], {"unset": ["zzz"]}):
            said = await ask("config/update", nonsense)
            assert said["answer"]["error"]["code"] == -32602, nonsense
            assert isinstance(said["answer"]["error"]["data"], list)
        assert (await ask("config/get", {}))["answer"]["result"]["config_revision"] == 2


async def test_a_plugin_that_is_gone_or_going_changes_nothing(tmp_path: Path) -> None:
    code = SERIAL + (
        "\n@plugin.on_stop\ndef end(ctx: Context) -> None:\n"
        "    try:\n        ctx.update_settings(greeting='Bye')\n"
        "    except CallFailed as error:\n        ctx.log.warning('not any more: %s', error)\n"
    )
    async with greeter(tmp_path, code) as host:
        events = Events(host)
        await host.stop("greeter")
        await events.log("greeter", "not any more")
        assert overrides(tmp_path) == {}
        with pytest.raises(PluginUnavailable):
            await change(host, greeting="Servus")


async def test_settings_of_a_plugin_without_a_struct_are_free(tmp_path: Path) -> None:
    code = ECHO + (
        "\n@plugin.method\ndef change(changes: dict[str, Any], ctx: Context) -> Any:\n"
        "    return ctx.update_settings(changes)\n"
    )
    plugin = write_plugin(tmp_path / "plugins", "greeter", code)
    async with make_host(tmp_path, plugin) as host:
        assert await change(host, anything=[1, {"x": True}]) == {"anything": [1, {"x": True}]}
        with pytest.raises(RemoteError):
            await change(host, anything=None)


def test_nothing_is_left_in_the_folder_of_overrides_by_a_host_that_was_killed(tmp_path: Path) -> None:
    from host.config.overrides import Overrides
    from host.supervision.overrides import OverridesFile

    (tmp_path / ".overrides.toml.abcd").write_text("half of")
    file = OverridesFile(Layers(overrides=tmp_path / "overrides.toml"))
    file.keep(Overrides({"host": {"max_starts": 1}}))
    assert os.listdir(tmp_path) == ["overrides.toml"]
    assert file.told().config.host.max_starts == 1
