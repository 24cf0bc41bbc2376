"""Plugins are installed under a daemon, replaced, removed and uninstalled, as an operator would."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from host.errors import DaemonError
from tests.support.daemon import Daemon, environment, outboard
from tests.support.plugins import write_plugin


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with Daemon(tmp_path_factory.mktemp("installing")) as running:
        yield running


def version(plugin: Path, number: str) -> Path:
    manifest = plugin / "plugin.toml"
    lines = [
        f'version = "{number}"' if line.startswith("version") else line
        for line in manifest.read_text().split("\n")
    ]
    manifest.write_text("\n".join(lines))
    return plugin


def test_an_upgrade_keeps_what_the_plugin_keeps_and_gets_a_new_process(
    daemon: Daemon, tmp_path: Path
) -> None:
    plugin = version(write_plugin(tmp_path, "ada"), "1.0")
    packed = daemon.cli("pack", plugin, "-o", tmp_path / "ada.zip", "--json").json
    done = daemon.cli("install", tmp_path / "ada.zip", "--sha256", packed["sha256"], "--json").json
    assert (done["change"], done["state"]) == ("new", "running")
    daemon.ask("store/set", {"name": "ada", "key": "k", "value": 7})
    before = daemon.plugin("ada")
    assert before["installed"]["sha256"] == packed["sha256"]
    assert daemon.cli("install", version(plugin, "1.1"), "--json").json["change"] == "upgrade"
    after = daemon.plugin("ada")
    assert (after["version"], after["state"]) == ("1.1", "running")
    assert after["pid"] != before["pid"]
    assert daemon.ask("store/get", {"name": "ada", "key": "k"})["value"] == 7
    assert daemon.cli("install", tmp_path / "ada.zip", "--json").json["change"] == "downgrade"
    assert daemon.cli("uninstall", "ada").code == 0
    assert daemon.cli("status", "ada").code == 4
    assert daemon.cli("uninstall", "ada", "--json").error["code"] == "OB102"


def test_one_file_and_a_removal_that_holds_until_it_is_installed_again(
    daemon: Daemon, tmp_path: Path
) -> None:
    single = tmp_path / "bob.py"
    single.write_text(
        '# /// script\n# [tool.outboard]\n# name = "bob"\n# version = "1"\n# ///\n' + "from plugin_sdk import"
        " Plugin\n\nplugin = Plugin()\n\n\n@plugin.method\ndef hi() -> str:\n    return 'hi'\n"
    )
    assert daemon.cli("install", single).code == 0
    assert daemon.call("bob", "hi") == "hi"
    assert daemon.cli("remove", "bob").code == 0
    assert daemon.cli("reload").code == 0
    assert daemon.cli("status", "bob").code == 4
    assert daemon.cli("install", single, "--json").json["state"] == "running"
    assert daemon.cli("uninstall", "bob", "--purge").code == 0


def test_a_name_that_is_used_from_elsewhere_is_refused_both_ways(daemon: Daemon, tmp_path: Path) -> None:
    plugin = write_plugin(tmp_path / "here", "cid")
    assert daemon.cli("add", plugin).code == 0
    assert daemon.cli("install", write_plugin(tmp_path / "there", "cid"), "--json").error["code"] == "OB103"
    assert daemon.cli("uninstall", "cid", "--json").error["code"] == "OB702"
    assert daemon.plugin("cid")["state"] == "running"


def test_one_behind_another_of_its_name_can_be_uninstalled_and_leaves_that_one_alone(
    daemon: Daemon, tmp_path: Path
) -> None:
    plugin = write_plugin(tmp_path / "here", "hal")
    assert daemon.cli("install", plugin).code == 0
    assert daemon.cli("remove", "hal").code == 0
    assert daemon.cli("add", plugin).code == 0
    assert daemon.cli("uninstall", "hal", "--purge", "--json").error["code"] == "OB702"
    assert daemon.cli("uninstall", "hal").code == 0
    assert daemon.plugin("hal")["state"] == "running"
    assert daemon.cli("uninstall", "hal", "--json").error["code"] == "OB702"


def test_without_a_daemon_the_next_one_starts_it_also_one_that_was_removed(tmp_path: Path) -> None:
    plugin = write_plugin(tmp_path, "dot")
    with Daemon(tmp_path) as daemon:
        assert daemon.cli("install", plugin).code == 0
        assert daemon.cli("remove", "dot").code == 0
        daemon.stop()
        done = outboard("install", plugin, "--json", env=daemon.env)
        assert (done.code, done.json["state"]) == (0, None)
        daemon.start()
        assert daemon.plugin("dot")["state"] == "running"


def test_a_daemon_that_is_there_and_cannot_be_asked_stops_an_install_before_anything_changes(
    tmp_path: Path,
) -> None:
    plugin = write_plugin(tmp_path, "eve")
    env = environment(tmp_path / "home")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "s"))
        listening.listen()
        asked = threading.Thread(target=lambda: listening.accept()[0].close(), daemon=True)
        asked.start()
        done = outboard("install", plugin, "--socket", tmp_path / "s", "--json", env=env)
        asked.join(5)
    assert done.error["code"] == DaemonError.code
    assert not list(tmp_path.glob("home/**/eve"))


def test_a_version_with_a_slash_makes_a_pack_beside_the_others(tmp_path: Path) -> None:
    plugin = version(write_plugin(tmp_path, "fay"), "1/2")
    done = outboard("pack", plugin, "--json", env=environment(tmp_path), cwd=tmp_path)
    assert done.json["file"] == "fay-1_2.zip"


def test_files_of_a_version_stay_until_a_daemon_has_taken_another(tmp_path: Path) -> None:
    plugin = write_plugin(tmp_path, "gus")
    with Daemon(tmp_path) as daemon:
        assert daemon.cli("install", version(plugin, "1")).code == 0
        daemon.stop()
        assert outboard("install", version(plugin, "2"), env=daemon.env).code == 0
        assert len(list(tmp_path.rglob(".versions/gus-*.json"))) == 2
        daemon.start()
        assert daemon.cli("install", version(plugin, "3")).code == 0
        assert len(list(tmp_path.rglob(".versions/gus-*.json"))) == 1
