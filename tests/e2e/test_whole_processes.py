"""Each command as whole processes: an interpreter that starts, imports what it needs, and ends.

Other tests here run commands as forks of a process that has imported everything (tests/support/forks.py),
so this is where a missing import would be seen, and a start or an end that goes wrong.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from host.cli.app import COMMANDS
from tests.support.daemon import SAMPLES, Daemon, on_terminal
from tests.support.plugins import write_plugin

POINTED = """
@plugin.hook("text.mark")
def mark(text: str) -> str:
    return text + "!"

@plugin.method
def keep(ctx: Context) -> None:
    ctx.store.set("kept", 1)
"""
RUN: list[list[str]] = [
    ["systemd"],
    ["status"],
    ["call", "mine", "keep"],
    ["hook", "text.mark", "text=x"],
    ["hooks"],
    ["hooks", "explain", "text.mark"],
    ["contract", "show", "mine"],
    ["contract", "diff", "mine", "mine"],
    ["metrics"],
    ["logs"],
    ["logs", "--since", "1h"],
    ["why", "mine"],
    ["events"],
    ["restart", "mine"],
    ["stop", "mine"],
    ["start", "mine"],
    ["disable", "mine"],
    ["enable", "mine"],
    ["release", "mine"],
    ["reload"],
    ["reload", "--dry-run"],
    ["config", "show"],
    ["config", "get", "plugins.hello.settings.greeting"],
    ["config", "set", "plugins.mine.restart.intensity", "3"],
    ["config", "unset", "plugins.mine.restart.intensity"],
    ["config", "validate"],
    ["config", "schema"],
    ["store", "list", "mine"],
    ["store", "set", "mine", "kept", "2"],
    ["store", "get", "mine", "kept"],
    ["store", "delete", "mine", "kept"],
    ["remove", "hello"],
    ["add", str(SAMPLES / "hello")],
    ["explain", "OB401"],
    ["doctor"],
    ["completion", "bash"],
]
"""With which the plugins are as before when all is done."""
ELSEWHERE = {"run", "demo", "new", "check", "test", "dev", "pack", "install", "uninstall", "conformance"}
"""Run where they have their tests: test_demo, test_author_commands, test_installing, tests/conformance."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    home = tmp_path_factory.mktemp("whole")
    with Daemon(home, SAMPLES / "hello", write_plugin(home / "p", "mine", POINTED), whole=True) as daemon:
        yield daemon


def test_no_command_is_left_out() -> None:
    assert {words[0] for words in RUN} | ELSEWHERE == set(COMMANDS)


@pytest.mark.parametrize("words", RUN, ids=" ".join)
def test_a_command_does_its_work_and_says_nothing_else(whole: Daemon, words: list[str]) -> None:
    done = whole.cli(*words, whole=True)
    assert (done.code, done.err) == (0, "")


@pytest.mark.parametrize("words", [["status"], ["logs"], ["explain", "OB401"]], ids=" ".join)
def test_a_command_on_a_terminal_has_colours(whole: Daemon, words: list[str]) -> None:
    done = on_terminal(*words, env=whole.env, whole=True)
    assert done.code == 0
    assert "\x1b[" in done.out


@pytest.mark.parametrize(
    ("words", "code"), [(["status", "nobody"], 4), (["stauts"], 2), (["call", "mine", "nothing"], 1)]
)
def test_an_error_is_one(whole: Daemon, words: list[str], code: int) -> None:
    done = whole.cli(*words, whole=True)
    assert (done.code, done.out) == (code, "")
    assert done.err


def test_the_daemon_ends_with_0(tmp_path: Path) -> None:
    with Daemon(tmp_path, whole=True) as daemon:
        assert daemon.stop() == 0
        assert daemon.said.splitlines()[-1].endswith("outboard stopped")
