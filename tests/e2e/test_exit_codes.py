"""Each exit code of the command line, and what is said with it. Codes and names are public."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.daemon import SAMPLES, Daemon, environment, outboard
from tests.support.plugins import QUICK, write_plugin, write_raw_plugin


def test_0_what_was_asked_for_was_done(daemon: Daemon) -> None:
    done = daemon.cli("call", "hello", "greet", "name=Ada")
    assert done == (0, "Hello, Ada.\n", "")
    assert daemon.cli("status").code == 0
    assert daemon.cli("logs").code == 0
    assert daemon.cli("--version").code == 0


@pytest.mark.parametrize(
    ("words", "code", "name"),
    [
        (["sorry"], "OB404", "RemoteError"),
        (["broken"], "OB404", "RemoteError"),
        (["text"], "OB406", "ContractError"),
        (["text", "--params", '{"value": 3}'], "OB406", "ContractError"),
        (["text", "value=x", "more=y"], "OB406", "ContractError"),
        (["txt"], "OB405", "MethodNotFound"),
        (["shutdown"], "OB405", "MethodNotFound"),
        (["exit"], "OB405", "MethodNotFound"),
        (["initialize"], "OB405", "MethodNotFound"),
        (["lifecycle/ping"], "OB405", "MethodNotFound"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_1_the_call_failed_in_the_plugin(daemon: Daemon, words: list[str], code: str, name: str) -> None:
    done = daemon.cli("call", "tester", *words, "--json")
    assert done.code == 1
    assert (done.error["code"], done.error["name"]) == (code, name)
    assert (done.error["plugin"], done.error["method"]) == ("tester", words[0])
    said = daemon.cli("call", "tester", *words)
    assert (said.code, said.out) == (1, "")
    assert said.err.startswith(f"error[{code}]: tester.{words[0]}: ")
    assert "\n  hint: " in said.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["stauts"], "did you mean `status`?"),
        (["frobnicate"], "outboard --help"),
        (["status", "--jsn"], "--json"),
        (["--nope"], "--nope"),
        (["status", "one", "two"], "two"),
        (["call", "hello"], "method"),
        (["call", "hello", "greet", "name"], "`name` is not key=value"),
        (["call", "hello", "greet", "=Ada"], "`=ada` is not key=value"),
        (["call", "hello", "greet", "name=a", "name=b"], "`name` is given twice"),
        (["call", "hello", "greet", "--params", "{name"], "--params is not json"),
        (["call", "hello", "greet", "--params", "[1]"], "--params must be a json object"),
        (["call", "hello", "greet", "name=a", "--params", "{}"], "not both"),
        (["call", "hello", "greet", "--timeout", "soon"], "--timeout"),
        (["run", "--log-level", "loud"], "loud"),
        ([], "usage: outboard"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_2_the_command_line_makes_no_sense(daemon: Daemon, words: list[str], said: str) -> None:
    done = daemon.cli(*words)
    assert (done.code, done.out) == (2, "")
    assert said in done.err.lower()


def test_3_a_plugin_that_ought_to_run_does_not(home: Path) -> None:
    crashes = "os._exit(9)\n"
    restart = {"backoff_min": "30s", "backoff_max": "30s"}
    looping = write_raw_plugin(home / "plugins", "looping", crashes, restart=restart)
    steady = write_plugin(home / "plugins", "steady")
    with Daemon(home, looping, steady) as daemon:
        daemon.until_state("looping", "backoff")
        done = daemon.cli("status")
        assert done.code == 3
        assert "looping: " in done.out
        assert "exit code 9" in done.out
        assert daemon.cli("status", "--json").code == 3
        assert daemon.cli("status", "looping").code == 3
        assert daemon.cli("status", "steady").code == 0
        assert daemon.cli("call", "looping", "echo").code == 3
        assert daemon.cli("start", "looping", "--json").error["code"] == "OB401"
        # once its operator has stopped it, nobody expects it to run
        assert daemon.cli("stop", "looping").code == 0
        assert daemon.cli("status").code == 0


def test_3_a_quarantined_plugin_says_how_it_is_released(home: Path) -> None:
    restart = {"intensity": 1, "backoff_min": "1ms", "backoff_max": "1ms"}
    looping = write_raw_plugin(home / "plugins", "looping", "os._exit(9)\n", restart=restart)
    with Daemon(home, looping) as daemon:
        daemon.until_state("looping", "quarantined")
        assert daemon.cli("status").code == 3
        done = daemon.cli("call", "looping", "echo", "--json")
        assert (done.code, done.error["code"]) == (3, "OB501")
        assert "outboard start looping" in done.error["hint"]


def test_3_is_not_about_lazy_stopped_or_disabled_plugins(home: Path) -> None:
    lazy = write_plugin(home / "plugins", "lazy", start={"mode": "lazy"})
    stopped = write_plugin(home / "plugins", "stopped")
    disabled = write_plugin(home / "plugins", "disabled")
    config = home / "outboard.toml"
    config.write_text("[plugins.disabled]\nenabled = false\n")
    with Daemon(home, lazy, stopped, disabled, words=["--config", config]) as daemon:
        assert daemon.cli("stop", "stopped").code == 0
        done = daemon.cli("status", "--json")
        assert {p["name"]: p["pid"] for p in done.json["plugins"]} == dict.fromkeys(
            ("lazy", "stopped", "disabled")
        )
        assert done.code == 0


@pytest.mark.parametrize(
    "words", [["call", "x"], ["status"], ["logs"], ["start"], ["stop"], ["restart"], ["remove"]], ids=str
)
def test_4_there_is_no_such_plugin(daemon: Daemon, words: list[str]) -> None:
    words = [words[0], "helo", *words[1:]]
    done = daemon.cli(*words, "--json")
    assert done.code == 4
    assert done.error["code"] == "OB102"
    assert done.error["hint"] == "did you mean `hello`?"
    assert "hint: did you mean `hello`?" in daemon.cli(*words).err


def test_5_the_deadline_passed(daemon: Daemon) -> None:
    done = daemon.cli("call", "tester", "nap", "s=30", "--timeout", "0.05", "--json")
    assert done.code == 5
    assert (done.error["code"], done.error["name"]) == ("OB403", "DeadlineExceeded")


def test_6_a_manifest_is_invalid_and_all_of_its_problems_are_told(daemon: Daemon, home: Path) -> None:
    manifest = home / "plugin.toml"
    manifest.write_text('[plugin]\nname = "Bad Name"\nversion = "1"\n\n[run]\npyton = "main.py"\n')
    done = daemon.cli("add", home)
    assert (done.code, done.out) == (6, "")
    assert f"{manifest}:2: plugin.name: " in done.err
    assert f"{manifest}:6: run.pyton: unknown key; did you mean `python`?" in done.err
    found = daemon.cli("add", home, "--json").error
    assert found["code"] == "OB101"
    assert len(found["data"]) >= 2


def test_6_a_configuration_is_invalid_and_all_of_its_problems_are_told(home: Path) -> None:
    config = home / "outboard.toml"
    config.write_text('[host]\nlog_levl = "info"\n\n[defaults.limits]\nmemory = "much"\n')
    done = outboard("run", "--config", config, env=environment(home))
    assert (done.code, done.out) == (6, "")
    assert f"{config}:2: host.log_levl: unknown key; did you mean `log_level`?" in done.err
    assert f"{config}:5: defaults.limits.memory: " in done.err


def test_7_a_second_daemon_is_refused_and_the_first_one_lives(daemon: Daemon) -> None:
    done = daemon.cli("run", "--plugins", SAMPLES / "hello")
    assert (done.code, done.out) == (7, "")
    assert "error[OB702]" in done.err
    assert daemon.cli("call", "hello", "greet", "name=you").code == 0


def test_7_a_name_is_taken(daemon: Daemon) -> None:
    done = daemon.cli("add", SAMPLES / "hello", "--json")
    assert (done.code, done.error["code"]) == (7, "OB103")


def test_7_a_call_that_has_killed_its_plugin_twice_is_refused_until_it_is_released(home: Path) -> None:
    code = "@plugin.method(idempotent=True)\ndef fall(how: str) -> str:\n    return how or os.abort()\n"
    weak = write_plugin(home / "plugins", "weak", code, restart=QUICK)
    with Daemon(home, weak) as daemon:
        died = daemon.cli("call", "weak", "fall", "how=", "--json")  # twice: it may be repeated
        assert (died.code, died.error["code"]) == (1, "OB402")
        assert daemon.cli("start", "weak").code == 0
        refused = daemon.cli("call", "weak", "fall", "how=", "--json")
        assert (refused.code, refused.error["code"], refused.error["name"]) == (7, "OB504", "PoisonCall")
        incidents = refused.error["data"]["incidents"]
        assert [each["generation"] for each in incidents] == [1, 2]
        assert incidents[1]["incident"] == died.error["data"]["incident"]
        assert incidents[1]["incident"] in daemon.cli("why", "weak").out
        assert daemon.cli("call", "weak", "fall", "how=softly").out == "softly\n"
        assert daemon.cli("release", "weak").out.startswith("weak is released")
        assert daemon.cli("call", "weak", "fall", "how=", "--json").error["code"] == "OB402"


@pytest.mark.parametrize(
    "words", [["status"], ["call", "hello", "greet"], ["logs"], ["stop", "hello"]], ids=str
)
def test_8_no_daemon_is_there(home: Path, words: list[str]) -> None:
    env = environment(home)
    done = outboard(*words, env=env)
    assert (done.code, done.out) == (8, "")
    assert "hint: start one with: outboard run" in done.err
    assert outboard(*words, "--json", env=env).error["code"] == "OB701"
