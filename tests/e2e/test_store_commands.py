"""What an operator sees of plugins' stores, and can do about them."""

from __future__ import annotations

from pathlib import Path

from tests.support.daemon import Daemon
from tests.support.plugins import write_plugin

KEEPER = """
@plugin.method
def keep(key: str, value: Any, ctx: Context) -> None:
    (ctx.data_dir / "file").write_text("x")
    ctx.store.set(key, value)

@plugin.method
def look(key: str, ctx: Context) -> Any:
    return ctx.store.get(key)
"""


def test_an_operator_looks_into_a_store_and_changes_it(tmp_path: Path) -> None:
    with Daemon(tmp_path, write_plugin(tmp_path, "keeper", KEEPER)) as daemon:
        daemon.call("keeper", "keep", key="seen/mail", value={"last": 41})
        daemon.call("keeper", "keep", key="other\x1b[31m", value=1)
        assert daemon.cli("store", "list", "keeper").out == "other\\x1b[31m\nseen/mail\n"
        assert daemon.cli("store", "list", "keeper", "seen/").out == "seen/mail\n"
        assert daemon.cli("store", "get", "keeper", "seen/mail").json == {"last": 41}
        assert daemon.cli("store", "set", "keeper", "seen/mail", '{"last": 7}').code == 0
        assert daemon.call("keeper", "look", key="seen/mail") == {"last": 7}
        assert daemon.cli("store", "set", "keeper", "word", "plain").code == 0
        assert daemon.call("keeper", "look", key="word") == "plain"
        assert daemon.cli("store", "delete", "keeper", "word").out == "word is deleted\n"
        assert daemon.cli("store", "delete", "keeper", "word").out == "word is not there\n"
        assert "store     2 keys, " in daemon.cli("status", "keeper").out
        daemon.cli("stop", "keeper")  # nobody needs to run for it
        found = daemon.cli("store", "get", "keeper", "seen/mail", "--json").json
        assert (found["ok"], found["value"]) == (True, {"last": 7})
        assert daemon.cli("store", "list", "keeper", "seen", "--json").json["keys"] == ["seen/mail"]


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    with Daemon(tmp_path, write_plugin(tmp_path, "keeper", KEEPER)) as daemon:
        missing = daemon.cli("store", "get", "keeper", "no", "--json")
        assert (missing.code, missing.error["code"]) == (1, "OB202")
        assert daemon.cli("store", "list", "nobody").code == 4
        assert daemon.cli("store", "set", "keeper", "k" * 600, "1").code != 0


def test_remove_keeps_what_a_plugin_keeps_unless_it_is_purged(tmp_path: Path) -> None:
    plugin = write_plugin(tmp_path, "keeper", KEEPER)
    data = tmp_path / "data" / "outboard" / "data"
    with Daemon(tmp_path, plugin) as daemon:
        daemon.call("keeper", "keep", key="k", value=1)
        assert (data / "keeper").stat().st_mode & 0o777 == 0o700
        daemon.cli("remove", "keeper")
        daemon.cli("add", plugin)
        assert daemon.call("keeper", "look", key="k") == 1
        assert daemon.cli("remove", "keeper", "--purge").out == "keeper is removed, with what it kept\n"
        assert not (data / "keeper").exists()
        assert list((data / ".store").iterdir()) == []
        daemon.cli("add", plugin)
        assert daemon.call("keeper", "look", key="k") is None


def test_a_plugin_that_lives_where_its_data_does_is_not_purged(tmp_path: Path) -> None:
    parent = tmp_path / "data" / "outboard" / "data"
    with Daemon(tmp_path, write_plugin(parent, "keeper", KEEPER)) as daemon:
        refused = daemon.cli("remove", "keeper", "--purge", "--json")
        assert refused.error["code"] == "OB411"
        assert daemon.plugin("keeper")["state"] == "running"
        assert (parent / "keeper" / "main.py").exists()
