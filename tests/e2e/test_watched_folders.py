"""A daemon that watches its folders, as an operator sees it."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from tests.support.daemon import SAMPLES, Daemon, eventually
from tests.support.plugins import is_gone, write_plugin

CONFIG = '[host]\nplugins = ["plugins"]\n[watch]\ninterval = "50ms"\ndebounce = "100ms"\n'


def test_plugins_come_change_break_and_go_while_an_operator_looks_on(home: Path) -> None:
    (home / "outboard.toml").write_text(CONFIG)
    folder = home / "plugins"
    write_plugin(folder, "steady")
    with Daemon(home, words=["--config", home / "outboard.toml"]) as daemon:
        steady = daemon.plugin("steady")["pid"]

        shutil.copytree(SAMPLES / "hello", folder / "hello")
        eventually(lambda: daemon.cli("status", "hello").code == 0)
        assert "hello added on disk" in daemon.said
        first = daemon.plugin("hello")["pid"]

        code = (folder / "hello" / "main.py").read_text()
        (folder / "hello" / ".new").write_text(code.replace('"Hello"', '"Moin"'))
        os.replace(folder / "hello" / ".new", folder / "hello" / "main.py")
        eventually(lambda: "generation 2" in daemon.cli("status", "hello").out)
        assert is_gone(first)
        assert daemon.cli("call", "hello", "greet", "name=Ada").code == 0

        manifest = folder / "hello" / "plugin.toml"
        manifest.write_text(manifest.read_text() + "[setings]\n")
        eventually(lambda: "setings" in daemon.cli("status").out)
        assert daemon.cli("call", "hello", "greet", "name=Ada").code == 0

        shutil.rmtree(folder / "hello")
        eventually(lambda: daemon.cli("status", "hello").code == 4)
        eventually(lambda: "setings" not in daemon.cli("status").out)
        lines = map(json.loads, daemon.cli("logs", "--json").out.splitlines())
        told = [line["message"] for line in lines if line["event"] == "watch"]
        assert [message.split(" on disk")[0] for message in told] == ["added", "changed", "removed"]
        assert daemon.plugin("steady")["pid"] == steady
        assert daemon.stop() == 0
