"""What an author types: from nothing to a plugin that is called, tested and checked."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.daemon import OUTBOARD, PATIENCE_S, environment, on_terminal, outboard
from tests.support.plugins import write_plugin


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("author")


@pytest.fixture(scope="module")
def env(home: Path) -> dict[str, str]:
    return environment(home)


@pytest.fixture(scope="module")
def greeter(home: Path, env: dict[str, str]) -> Path:
    made = outboard("new", "greeter", "--json", env=env, cwd=home)
    assert made.json["path"] == "greeter"
    assert all((home / file).exists() for file in made.json["files"])
    return home / "greeter"


def test_a_new_plugin_may_be_called_at_once_and_the_last_line_says_how(
    home: Path, env: dict[str, str]
) -> None:
    done = on_terminal("new", "first", "--into", home / "shown", env=env)
    assert f"next: outboard dev {home}/shown/first --call greet name=Ada" in done.out.splitlines()[-1]


def test_a_name_that_is_taken_is_refused_and_one_that_cannot_be_is_a_slip(
    greeter: Path, home: Path, env: dict[str, str]
) -> None:
    again = outboard("new", "greeter", "--json", env=env, cwd=home)
    assert (again.code, again.error["code"]) == (7, "OB103")
    slip = outboard("new", "Greeter", env=env, cwd=home)
    assert slip.code == 2
    assert "Did you mean `greeter`?" in slip.err


def test_a_check_of_a_sound_plugin_is_ok_and_shows_what_it_provides(
    greeter: Path, env: dict[str, str]
) -> None:
    done = outboard("check", greeter, "--json", env=env)
    assert (done.code, done.json["ok"], done.json["findings"]) == (0, True, [])
    assert [method["name"] for method in done.json["contract"]["methods"]] == ["greet"]


def test_a_check_says_where_and_whether_it_is_the_manifest_or_the_code(
    home: Path, env: dict[str, str]
) -> None:
    manifest = write_plugin(home, "broken", "") / "plugin.toml"
    (home / "broken" / "main.py").write_text("import plugin_sdk\n1 / 0\n")
    done = outboard("check", "broken", env=env, cwd=home)
    assert done.code == 1
    assert done.out.startswith("broken/main.py:2: error: ZeroDivisionError")
    manifest.write_text(manifest.read_text().replace("version", "verison"))
    done = outboard("check", "broken", env=env, cwd=home)
    assert done.code == 6
    assert (
        "broken/plugin.toml:3: error: plugin.verison: unknown key\n  hint: did you mean `version`?"
        in done.out
    )


def test_a_plugins_tests_are_run_and_their_exit_code_is_passed_on(greeter: Path, env: dict[str, str]) -> None:
    quick = env | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = outboard("test", greeter, "--json", "--", "-p", "no:cacheprovider", env=quick)
    assert done.json | {"python": ""} == {"ok": True, "exit_code": 0, "runner": "pytest", "python": ""}
    assert "2 passed" in done.err
    done = outboard("test", greeter, "--", "-k", "nothing", "-p", "no:cacheprovider", env=quick)
    assert done.code == 5  # pytest's own: nothing was selected


def test_a_plugin_without_tests_is_told_what_they_are(home: Path, env: dict[str, str]) -> None:
    bare = write_plugin(home, "bare")
    done = outboard("test", bare, env=env)
    assert done.code == 1
    assert "test_*.py" in done.err


class Dev:
    """`outboard dev --json`, and what it has said so far."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self._unread = b""

    def until(self, fits: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The next line that fits. Raises TimeoutError."""
        assert self.process.stdout is not None
        ends_at = time.monotonic() + PATIENCE_S
        while time.monotonic() < ends_at:
            line, newline, rest = self._unread.partition(b"\n")
            if newline:
                self._unread = rest
                said: dict[str, Any] = json.loads(line)
                if fits(said):
                    return said
                continue
            if select.select([self.process.stdout], [], [], max(0.0, ends_at - time.monotonic()))[0]:
                data = os.read(self.process.stdout.fileno(), 65536)
                assert data, "it has ended"
                self._unread += data
        raise TimeoutError


@pytest.fixture
def dev(greeter: Path, env: dict[str, str]) -> Iterator[Dev]:
    command = [*OUTBOARD, "dev", greeter, "--call", "greet", "name=Ada", "--json"]
    process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        yield Dev(process)
    finally:
        process.kill()
        process.communicate()


def test_dev_makes_the_call_again_after_each_save_until_it_is_interrupted(greeter: Path, dev: Dev) -> None:
    code = greeter / "main.py"
    source = code.read_text()
    assert dev.until(lambda said: "ok" in said) == {"ok": True, "result": "Hello, Ada."}
    code.write_text(source.replace("Hello", "Hi"))
    assert dev.until(lambda said: "ok" in said)["result"] == "Hi, Ada."
    code.write_text(source + "x = (\n")
    failed = dev.until(lambda said: said.get("state") == "failed")
    assert failed["reason"].startswith("SyntaxError")
    code.write_text(source.replace("name: str", "nam: str"))
    refused = dev.until(lambda said: "ok" in said)
    assert (refused["ok"], refused["error"]["code"]) == (False, "OB406")
    for word in ("Hey", "Howdy", "Good day"):  # more often in a row than a host would go along with
        # Each of another length: Python tells its cached bytecode by that, and by the second of the change.
        code.write_text(source.replace("Hello", word))
        assert dev.until(lambda said: "ok" in said)["result"] == f"{word}, Ada."
    dev.process.send_signal(signal.SIGINT)
    assert dev.process.wait(PATIENCE_S) == 0
    assert dev.process.stderr is not None
    assert dev.process.stderr.read() == b""


def test_dev_wants_to_know_which_call_and_which_plugin(home: Path, env: dict[str, str]) -> None:
    assert outboard("dev", "greeter", "name=Ada", env=env, cwd=home).code == 2
    assert outboard("dev", "name=Ada", "--call", "greet", env=env, cwd=home).code == 2
    assert outboard("dev", "nowhere", "--json", env=env, cwd=home).error["code"] == "OB101"
