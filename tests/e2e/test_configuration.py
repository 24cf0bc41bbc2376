"""`outboard config`, as an operator uses it: a daemon, files, variables and flags."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
import tomllib
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import jsonschema_rs
import pytest

from host.config.places import overrides_file
from host.errors import OutboardError
from tests.support.daemon import Daemon, environment, eventually, on_terminal, outboard
from tests.support.plugins import QUICK, write_plugin

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
OWN = (
    CODE
    + """
@plugin.method
def prefer(greeting: str, ctx: Context) -> str:
    return ctx.update_settings(greeting=greeting).greeting
"""
)
GREETING = "plugins.greeter.settings.greeting"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    write_plugin(tmp_path / "plugins", "greeter", CODE, settings={"greeting": "Hello"})
    (tmp_path / "outboard.toml").write_text("[host]\nplugins = ['plugins']\n")
    return tmp_path


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon for the tests that look, or try what is refused."""
    home = tmp_path_factory.mktemp("untouched")
    write_plugin(home / "plugins", "greeter", OWN, settings={"greeting": "Hello"})
    (home / "outboard.toml").write_text("[host]\nplugins = ['plugins']\n")
    with daemon_of(home) as daemon:
        yield daemon


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon for the tests that set a value and take it back."""
    home = tmp_path_factory.mktemp("changed")
    write_plugin(home / "plugins", "greeter", OWN, settings={"greeting": "Hello"}, restart=QUICK)
    (home / "outboard.toml").write_text("[host]\nplugins = ['plugins']\n")
    with daemon_of(home) as daemon:
        yield daemon


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
        lines = shown.splitlines()
        assert f'{GREETING} = "Good day"  # overrides {overrides(daemon)}' in lines
        assert len(lines) > 1
        assert all(line.endswith("  # plugin") for line in lines if GREETING not in line)
        assert daemon.stop() == 0
        daemon.start()
        assert daemon.call("greeter", "greet") == "Good day"
        assert daemon.cli("config", "unset", GREETING).code == 0
        assert daemon.cli("config", "get", GREETING, "--origin").out.startswith("Hello\n# manifest ")
    assert (home / "outboard.toml").read_text() == "[host]\nplugins = ['plugins']\n"


def test_what_is_shown_is_toml_that_says_the_same(untouched: Daemon, tmp_path: Path) -> None:
    shown = untouched.cli("config", "show", "--all", "--origin").out
    again = tomllib.loads(shown)
    assert again["plugins"]["greeter"]["limits"]["memory"] == "512MiB"
    assert again["watch"]["interval"] == "1s"
    (tmp_path / "again.toml").write_text(shown)
    assert outboard("config", "validate", tmp_path / "again.toml", env=untouched.env).code == 0


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
    untouched: Daemon, key: str, value: str, said: str
) -> None:
    before = untouched.cli("config", "show", "--all").out
    done = untouched.cli("config", "set", key, value)
    assert (done.code, done.out) == (6, "")
    assert done.err.startswith("error[OB201]: plugins." if "plugins" in key else "error[OB201]: host.")
    assert said in done.err
    assert "s3cret" not in done.err + untouched.said
    assert untouched.cli("config", "show", "--all").out == before
    assert not overrides(untouched).exists()


def test_a_key_that_is_not_there_is_an_error_with_the_nearest_one(untouched: Daemon) -> None:
    done = untouched.cli("config", "get", "plugins.greeter.settings.greting")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("error[OB202]")
    assert f"did you mean {GREETING}?" in done.err
    assert untouched.cli("config", "get", "a b").code == 2
    assert untouched.cli("config", "show", "nothing.here").out == ""


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


def test_the_schema_is_one_and_has_the_settings_of_plugins(untouched: Daemon, tmp_path: Path) -> None:
    done = untouched.cli("config", "schema")
    validator = jsonschema_rs.Draft202012Validator(json.loads(done.out))
    reference = {"file": "/x"}
    assert validator.is_valid({"plugins": {"greeter": {"settings": {"greeting": "x", "token": reference}}}})
    assert not validator.is_valid({"plugins": {"greeter": {"settings": {"greeting": 1}}}})
    assert not validator.is_valid({"plugins": {"greeter": {"settings": {"token": "s3cret"}}}})
    assert not validator.is_valid({"hots": {}})
    assert validator.is_valid({"plugins": {"other": {"settings": {"x": 1}, "limits": {"memory": "1GiB"}}}})
    assert not validator.is_valid({"plugins": {"other": {"limits": {"memory": "lots"}}}})
    assert "The first word." in done.out
    without = outboard("config", "schema", env=environment(tmp_path))
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


# -- what plugins change themselves, and what is not live --------------------------------------------------


@pytest.fixture
def own(tmp_path: Path) -> Path:
    write_plugin(tmp_path / "plugins", "greeter", OWN, settings={"greeting": "Hello"}, restart=QUICK)
    (tmp_path / "outboard.toml").write_text("[host]\nplugins = ['plugins']\n")
    return tmp_path


def test_what_a_plugin_has_set_is_known_as_its_own_and_an_operator_can_take_it_back(own: Path) -> None:
    with daemon_of(own) as daemon:
        assert daemon.call("greeter", "prefer", greeting="Servus") == "Servus"
        origin = f"overrides {overrides(daemon)} by the plugin greeter"
        assert daemon.cli("config", "get", GREETING, "--origin").out == f"Servus\n# {origin}\n"
        assert daemon.cli("config", "get", GREETING, "--json").json["by"] == "plugin greeter"
        log = daemon.cli("logs", "greeter").out
        assert "settings changed: greeting, by the plugin greeter" in log
        daemon.stop()
        daemon.start()
        assert daemon.call("greeter", "greet") == "Servus"
        assert daemon.cli("config", "get", GREETING, "--origin").out.endswith("by the plugin greeter\n")
        assert daemon.cli("config", "unset", GREETING).code == 0
        assert daemon.call("greeter", "greet") == "Hello"
        assert tomllib.loads(overrides(daemon).read_text()) == {}


def test_a_call_whose_change_is_refused_says_why(untouched: Daemon) -> None:
    done = untouched.cli("call", "greeter", "prefer", "greeting=")
    assert done.code == 1
    assert "SettingsRefused" in done.err
    assert "shorter than 1 character" in done.err


@pytest.mark.parametrize(
    ("key", "value", "word"),
    [
        (GREETING, "Moin", "live"),
        ("plugins.greeter.limits.processes", "9", "live"),
        ("plugins.greeter.limits.memory", "300MiB", "live"),
        ("plugins.greeter.restart.intensity", "2", "live"),
        ("plugins.greeter.health.interval", "1s", "live"),
        ("plugins.greeter.critical", "true", "live"),
        ("plugins.greeter.enabled", "false", "disabled"),
        ("host.max_starts", "3", "not yet"),
    ],
)
def test_it_is_said_what_holds_at_once_and_what_does_not(
    changed: Daemon, key: str, value: str, word: str
) -> None:
    before = changed.until_state("greeter", "running")["pid"]
    try:
        for dry in (["--dry-run"], []):
            done = changed.cli("config", "set", key, value, *dry)
            assert (done.code, done.out[: len(word)]) == (0, word)
        after = changed.cli("status", "greeter", "--json").json["plugins"][0]
        assert after["pid"] == (None if word == "disabled" else before)
        if key.endswith("memory"):
            assert after["memory_limit_bytes"] == 300 * 1024**2
    finally:
        changed.cli("config", "unset", key)


def test_what_a_plugin_is_made_of_is_not_configuration(untouched: Daemon) -> None:
    done = untouched.cli("config", "set", "plugins.greeter.run.python", "other.py")
    assert (done.code, "unknown key" in done.err) == (6, True)


@pytest.mark.parametrize("how", ["stopped", "lazy", "disabled", "quarantined"])
def test_a_plugin_that_does_not_run_is_told_when_it_starts(own: Path, how: str) -> None:
    if how == "lazy":
        (own / "plugins" / "greeter" / "plugin.toml").write_text(
            "[plugin]\nname = 'greeter'\nversion = '1.0.0'\n[run]\npython = 'main.py'\n"
            "[start]\nmode = 'lazy'\n"
        )
    with daemon_of(own) as daemon:
        if how == "stopped":
            daemon.cli("stop", "greeter")
        elif how == "disabled":
            daemon.cli("disable", "greeter")
        elif how == "quarantined":
            assert daemon.cli("config", "set", "plugins.greeter.restart.intensity", "1").code == 0
            for _ in range(2):
                pid = daemon.until_state("greeter", "running", "degraded")["pid"]
                os.kill(pid, signal.SIGKILL)
                eventually(lambda: daemon.plugin("greeter")["pid"] != pid)  # noqa: B023
            daemon.until_state("greeter", "quarantined")
        bad = daemon.cli("config", "set", GREETING, '""')
        assert (bad.code, "shorter than" in bad.err) == (6, True)
        done = daemon.cli("config", "set", GREETING, "Moin")
        assert done.code == 0
        expected = "restarted" if how == "quarantined" else "at start"
        assert done.out.startswith(f"{expected}  {' ' * (9 - len(expected))}greeter: settings.greeting")
        if how == "disabled":
            daemon.cli("enable", "greeter")
        elif how == "stopped":
            daemon.cli("start", "greeter")
        assert daemon.call("greeter", "greet") == "Moin"


def test_a_daemon_that_is_killed_over_changes_comes_back_with_what_was_written_last(own: Path) -> None:
    with daemon_of(own) as daemon:
        for first in (100, 200, 300):
            accepted = [0]

            def change_on(first: int = first, accepted: list[int] = accepted) -> None:
                for number in range(first, first + 90):
                    try:
                        daemon.ask("config/set", {"set": {GREETING: str(number)}})
                    except OutboardError:
                        return
                    accepted.append(number)

            operator = threading.Thread(target=change_on)
            operator.start()
            eventually(partial(_has_more_than, 5, accepted))
            daemon.stop(signal.SIGKILL)
            operator.join(30)
            daemon.start()
            assert int(daemon.call("greeter", "greet")) in (accepted[-1], accepted[-1] + 1)
        assert daemon.cli("config", "set", GREETING, "again").code == 0
        left = [name for name in os.listdir(overrides(daemon).parent) if name.startswith(".overrides")]
        assert left == []


def _has_more_than(count: int, things: list[int]) -> bool:
    return len(things) > count


def test_a_daemon_that_is_killed_while_a_plugin_thinks_about_a_change_has_not_made_it(own: Path) -> None:
    code = OWN + (
        "\n@plugin.validate_settings\ndef check(settings: Settings) -> None:\n"
        "    if settings.greeting == 'slow':\n        open('asked', 'w').close()\n        time.sleep(60)\n"
    )
    shutil.rmtree(own / "plugins" / "greeter")
    folder = write_plugin(own / "plugins", "greeter", code)
    with daemon_of(own) as daemon:
        setting = daemon.begin("config", "set", GREETING, "slow")
        eventually((folder / "asked").exists)
        daemon.stop(signal.SIGKILL)
        setting.communicate(timeout=30)
        assert setting.returncode != 0
        daemon.start()
        assert daemon.call("greeter", "greet") == "Hi"
        assert not overrides(daemon).exists()


def test_files_of_conf_d_are_read_in_the_order_of_their_names_and_each_counts(own: Path) -> None:
    folder = own / "conf.d"
    folder.mkdir()
    (folder / "20-b.toml").write_text(f"{GREETING} = 'b'\n")
    (folder / "10-a.toml").write_text(f"{GREETING} = 'a'\nhost.max_starts = 7\n")
    (folder / "30-c.toml.off").write_text(f"{GREETING} = 'c'\n")
    with daemon_of(own) as daemon:
        assert daemon.call("greeter", "greet") == "b"
        assert daemon.cli("config", "get", GREETING, "--origin").out == f"b\n# conf.d {folder}/20-b.toml:1\n"
        assert daemon.cli("config", "get", "host.max_starts").out == "7\n"


def test_a_plan_says_what_a_reload_would_do_and_a_signal_does_it(own: Path) -> None:
    with daemon_of(own) as daemon:
        write_plugin(own / "plugins", "other", CODE)
        with open(own / "outboard.toml", "a") as file:
            file.write("[plugins.greeter.settings]\ngreeting = 'Moin'\n")
        plan = daemon.cli("reload", "--dry-run").out
        assert "added      other\n" in plan
        assert "live       greeter: settings.greeting\n" in plan
        assert daemon.call("greeter", "greet") == "Hello"
        daemon.process.send_signal(signal.SIGHUP)
        eventually(lambda: daemon.call("greeter", "greet") == "Moin")
        assert daemon.cli("start", "other").code == 0
