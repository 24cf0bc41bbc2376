"""`outboard config`, as an operator uses it: a daemon, files, variables and flags."""

from __future__ import annotations

import json
import os
import tomllib
from pathlib import Path

import jsonschema_rs
import pytest

from host.config.places import overrides_file
from tests.support.daemon import Daemon, on_terminal, outboard
from tests.support.plugins import write_plugin

CODE = """
from typing import Annotated
import msgspec
class Settings(msgspec.Struct):
    greeting: Annotated[str, msgspec.Meta(min_length=1, description="The first word.")] = "Hi"
    token: Annotated[str, msgspec.Meta(extra_json_schema={"secret": True})] = "unknown"
plugin.settings(Settings)

@plugin.method
def greet(ctx: Context) -> str:
    return ctx.settings.greeting

@plugin.on_config_change
def changed() -> None:
    pass
"""
GREETING = "plugins.greeter.settings.greeting"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    write_plugin(tmp_path / "plugins", "greeter", CODE, settings={"greeting": "Hello"})
    (tmp_path / "outboard.toml").write_text("[host]\nplugins = ['plugins']\n")
    return tmp_path


def daemon_of(home: Path, *words: str, **env: str) -> Daemon:
    return Daemon(home, words=["--config", home / "outboard.toml", *words], env=env)


def overrides(daemon: Daemon) -> Path:
    return Path(overrides_file(daemon.env, os.getuid(), daemon.socket))


def test_a_value_is_set_shown_kept_and_taken_back(home: Path) -> None:
    with daemon_of(home) as daemon:
        assert daemon.cli("config", "get", GREETING).out == "Hello\n"
        done = daemon.cli("config", "set", GREETING, "Good day")
        assert done == (0, "live       greeter: settings.greeting\n", "")
        assert daemon.call("greeter", "greet") == "Good day"
        shown = daemon.cli("config", "show", "plugins.greeter.settings", "--origin").out
        assert shown == f'{GREETING} = "Good day"  # overrides {overrides(daemon)}\n'
        assert daemon.stop() == 0
        daemon.start()
        assert daemon.call("greeter", "greet") == "Good day"
        assert daemon.cli("config", "unset", GREETING).code == 0
        assert daemon.cli("config", "get", GREETING, "--origin").out.startswith("Hello\n# manifest ")
    assert (home / "outboard.toml").read_text() == "[host]\nplugins = ['plugins']\n"


def test_what_is_shown_is_toml_that_says_the_same(home: Path) -> None:
    with daemon_of(home) as daemon:
        shown = daemon.cli("config", "show", "--all", "--origin").out
        again = tomllib.loads(shown)
        assert again["plugins"]["greeter"]["limits"]["memory"] == "512MiB"
        assert again["watch"]["interval"] == "1s"
        (home / "again.toml").write_text(shown)
        assert outboard("config", "validate", home / "again.toml", env=daemon.env).code == 0


def test_every_layer_of_a_daemon_has_its_say(home: Path) -> None:
    user = home / "config" / "outboard" / "outboard.toml"
    user.parent.mkdir(parents=True)
    user.write_text("[plugins.greeter.settings]\ngreeting = 'user'\n")
    (home / "conf.d").mkdir()
    with daemon_of(home) as daemon:
        assert daemon.call("greeter", "greet") == "user"
        (home / "conf.d" / "1.toml").write_text(f"{GREETING} = 'conf.d'")
        assert daemon.cli("reload").code == 0
        assert daemon.call("greeter", "greet") == "conf.d"
        assert daemon.cli("config", "set", GREETING, "overrides").code == 0
        assert daemon.call("greeter", "greet") == "overrides"
    variable = {"OUTBOARD__PLUGINS__GREETER__SETTINGS__GREETING": "variable"}
    with daemon_of(home, "--log-level", "debug", **variable) as daemon:
        assert daemon.call("greeter", "greet") == "variable"
        assert daemon.cli("config", "get", GREETING, "--json").json["layer"] == "environment"
        assert daemon.cli("config", "get", "host.log_level", "--origin").out == "debug\n# flags\n"
        done = daemon.cli("config", "set", GREETING, "again")
        assert (done.code, "environment" in done.out) == (0, True)
        assert daemon.call("greeter", "greet") == "variable"


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        (GREETING, '""', "greeting"),
        ("plugins.greeter.settings.greting", "x", "did you mean `greeting`?"),
        ("plugins.greter.settings.greeting", "x", "did you mean `greeter`?"),
        ("host.log_level", "loud", "'loud'"),
        ("plugins.greeter.limits.memory", "lots", "'lots' is not a size"),
        ("plugins.greeter.settings.token", "s3cret", "is a secret"),
    ],
)
def test_6_what_cannot_be_set_is_said_and_changes_nothing(
    home: Path, key: str, value: str, said: str
) -> None:
    with daemon_of(home) as daemon:
        before = daemon.cli("config", "show", "--all").out
        done = daemon.cli("config", "set", key, value)
        assert (done.code, done.out) == (6, "")
        assert done.err.startswith("error[OB201]: plugins." if "plugins" in key else "error[OB201]: host.")
        assert said in done.err
        assert "s3cret" not in done.err + daemon.said
        assert daemon.cli("config", "show", "--all").out == before
        assert not overrides(daemon).exists()


def test_a_key_that_is_not_there_is_an_error_with_the_nearest_one(home: Path) -> None:
    with daemon_of(home) as daemon:
        done = daemon.cli("config", "get", "plugins.greeter.settings.greting")
        assert (done.code, done.out) == (1, "")
        assert done.err.startswith("error[OB202]")
        assert f"did you mean {GREETING}?" in done.err
        assert daemon.cli("config", "get", "a b").code == 2
        assert daemon.cli("config", "show", "nothing.here").out == ""


def test_a_secret_is_masked_and_where_it_comes_from_is_not(home: Path) -> None:
    token = home / "token"
    token.write_text("s3cret")
    token.chmod(0o600)
    key = "plugins.greeter.settings.token"
    with daemon_of(home) as daemon:
        assert daemon.cli("config", "get", key).out == "•••\n"  # the author's default
        assert daemon.cli("config", "set", key, f'{{ file = "{token}" }}').code == 0
        assert daemon.cli("config", "get", f"{key}.file").out == f"{token}\n"
        assert "s3cret" not in daemon.cli("config", "show", "--all").out + daemon.said


def test_files_are_validated_without_a_daemon(home: Path) -> None:
    env = daemon_of(home).env
    good = outboard("config", "validate", home / "outboard.toml", env=env)
    assert good == (0, "the configuration is valid\n", "")
    (home / "bad.toml").write_text("[host]\nlog_levl = 'info'\nmax_starts = 'lots'\n")
    bad = outboard("config", "validate", home / "bad.toml", env=env)
    assert bad.code == 6
    assert f"{home}/bad.toml:2: host.log_levl: unknown key; did you mean `log_level`?" in bad.err
    assert f"{home}/bad.toml:3: host.max_starts: " in bad.err
    assert outboard("config", "validate", env=env | {"OUTBOARD__HOST__X": "1"}).code == 6


def test_validate_asks_the_daemon_and_its_plugins(home: Path) -> None:
    with daemon_of(home) as daemon:
        assert daemon.cli("config", "validate").code == 0
        with open(home / "outboard.toml", "a") as file:
            file.write("[plugins.greeter.settings]\ngreeting = ''\n")
        done = daemon.cli("config", "validate")
        assert (done.code, ":4: plugins.greeter.settings.greeting" in done.err) == (6, True)
        assert daemon.cli("reload").code == 6
        assert daemon.call("greeter", "greet") == "Hello"


def test_the_schema_is_one_and_has_the_settings_of_plugins(home: Path) -> None:
    with daemon_of(home) as daemon:
        done = daemon.cli("config", "schema")
        validator = jsonschema_rs.Draft202012Validator(json.loads(done.out))
        reference = {"file": "/x"}
        assert validator.is_valid(
            {"plugins": {"greeter": {"settings": {"greeting": "x", "token": reference}}}}
        )
        assert not validator.is_valid({"plugins": {"greeter": {"settings": {"greeting": 1}}}})
        assert not validator.is_valid({"plugins": {"greeter": {"settings": {"token": "s3cret"}}}})
        assert not validator.is_valid({"hots": {}})
        assert validator.is_valid(
            {"plugins": {"other": {"settings": {"x": 1}, "limits": {"memory": "1GiB"}}}}
        )
        assert not validator.is_valid({"plugins": {"other": {"limits": {"memory": "lots"}}}})
        assert "The first word." in done.out
    without = outboard("config", "schema", env=daemon.env)
    assert jsonschema_rs.Draft202012Validator(json.loads(without.out)).is_valid({"host": {"plugins": []}})


def test_every_command_of_config_prints_one_json_value(home: Path) -> None:
    with daemon_of(home) as daemon:
        for words in (
            ["show"],
            ["get", GREETING],
            ["get", "plugins.greeter"],
            ["set", GREETING, "x", "--dry-run"],
            ["set", GREETING, "x"],
            ["unset", GREETING],
            ["validate"],
            ["schema"],
        ):
            done = daemon.cli("config", *words, "--json")
            assert (done.code, done.err) == (0, "")
            assert isinstance(done.json, dict | list)
        assert daemon.cli("config", "set", "hots.x", "1", "--json").error["code"] == "OB201"


def test_a_terminal_gets_what_to_type_next_and_origins_below_what_is_long(home: Path) -> None:
    with daemon_of(home) as daemon:
        done = on_terminal("config", "set", GREETING, "Servus", env=daemon.env)
        assert f"next: outboard config get {GREETING} --origin" in done.out
        shown = on_terminal("config", "show", "--origin", env=daemon.env | {"NO_COLOR": "1"})
        assert f'\n{GREETING} = "Servus"\n  # overrides ' in shown.out


def test_8_without_a_daemon_there_is_nothing_to_show_or_change(tmp_path: Path) -> None:
    env = Daemon(tmp_path).env
    for words in (
        ["show"],
        ["get", "host.plugins"],
        ["set", "host.max_starts", "1"],
        ["unset", "host.max_starts"],
    ):
        assert outboard("config", *words, env=env).code == 8
