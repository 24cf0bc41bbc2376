"""Plugins that are added, removed, stopped and broken while a daemon runs."""

from __future__ import annotations

from pathlib import Path

from tests.support.daemon import SAMPLES, Daemon, on_terminal
from tests.support.plugins import is_gone, write_plugin

ONE_FILE = """\
# /// script
# requires-python = ">=3.11"
# dependencies = []
#
# [tool.outboard]
# name = "single"
# version = "1.0"
# ///
from plugin_sdk import Plugin

plugin = Plugin()


@plugin.method
def double(n: int) -> int:
    return 2 * n


if __name__ == "__main__":
    plugin.run()
"""


def test_a_folder_is_added_called_and_removed_and_its_files_stay(home: Path) -> None:
    folder = write_plugin(home / "elsewhere", "guest")
    with Daemon(home, SAMPLES / "hello") as daemon:
        assert daemon.cli("add", folder) == (0, "guest is added\n", "")
        assert daemon.cli("call", "guest", "echo", "value=3").out == "3\n"
        pid = daemon.plugin("guest")["pid"]
        assert daemon.cli("remove", "guest") == (0, "guest is removed\n", "")
        assert is_gone(pid)
        assert daemon.cli("call", "guest", "echo").code == 4
        assert (folder / "plugin.toml").exists()
        assert daemon.cli("add", folder / "plugin.toml").code == 0


def test_a_one_file_plugin_is_added_by_a_relative_path(home: Path) -> None:
    (home / "single.py").write_text(ONE_FILE)
    with Daemon(home, SAMPLES / "hello") as daemon:
        added = daemon.begin("add", "single.py", cwd=home)
        assert added.communicate(timeout=15) == (b"single is added\n", b"")
        done = daemon.cli("call", "single", "double", "n=21", "--json")
        assert done.json["result"] == 42


def test_a_word_of_the_command_line_becomes_what_the_method_wants(daemon: Daemon) -> None:
    assert daemon.cli("call", "tester", "text", "value=42", "--json").json["result"] == "42"
    assert daemon.cli("call", "tester", "echo", "value=42", "--json").json["result"] == 42
    assert daemon.cli("call", "tester", "echo", "value=[1,true]", "--json").json["result"] == [1, True]
    assert daemon.cli("call", "tester", "echo", "value=plain", "--json").json["result"] == "plain"


def test_start_stop_and_restart_do_what_they_say(home: Path) -> None:
    with Daemon(home, SAMPLES / "hello") as daemon:
        first = daemon.plugin("hello")["pid"]
        assert daemon.cli("restart", "hello") == (0, "hello runs\n", "")
        assert is_gone(first)
        assert daemon.plugin("hello")["generation"] == 2
        assert daemon.cli("stop", "hello") == (0, "hello is stopped\n", "")
        assert daemon.plugin("hello")["pid"] is None
        refused = daemon.cli("call", "hello", "greet", "name=you")
        assert refused.code == 3
        assert "hint: outboard start hello" in refused.err
        assert daemon.cli("start", "hello") == (0, "hello runs\n", "")
        assert daemon.cli("start", "hello").code == 0
        assert daemon.plugin("hello")["generation"] == 3


def test_broken_folders_do_not_keep_the_others_from_running(home: Path) -> None:
    plugins = home / "plugins"
    write_plugin(plugins, "good")
    broken = write_plugin(plugins, "broken")
    (broken / "plugin.toml").write_text("[plugin\n")
    (plugins / "a-loop").symlink_to("a-loop")
    with Daemon(home, plugins, home / "nowhere") as daemon:
        done = daemon.cli("status")
        assert done.code == 0  # nobody knows whether they ought to run
        assert daemon.cli("doctor").code == 1
        assert "3 problems" in done.out.splitlines()[0]
        assert f"{broken / 'plugin.toml'}:1: not TOML" in done.out
        assert on_terminal("status", env=daemon.env).out.count("next: outboard doctor") == 1
        problems = daemon.status()["host"]["problems"]
        assert len(problems) == 3
        assert any("nowhere" in problem for problem in problems)
        assert any("a-loop" in problem for problem in problems)
        assert daemon.call("good", "echo", value=1) == 1
        assert "not TOML" in daemon.cli("logs").out


def test_a_plugin_that_cannot_start_is_added_and_says_why(home: Path) -> None:
    folder = write_plugin(home / "elsewhere", "typo", "import nonsense\n", restart={"policy": "never"})
    with Daemon(home, SAMPLES / "hello") as daemon:
        daemon.cli("add", folder)
        done = daemon.cli("status", "typo")
        assert done.code == 3
        assert "nonsense" in done.out
        assert daemon.cli("call", "hello", "greet", "name=you").code == 0
