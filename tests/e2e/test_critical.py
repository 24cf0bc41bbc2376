"""What an operator sees of plugins that are critical, that wait for others, and that hang."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.daemon import Daemon, eventually
from tests.support.plugins import write_plugin, write_raw_plugin

LOOPING = {"intensity": 1, "backoff_min": "1ms", "backoff_max": "1ms"}
DEADLOCK = """
@plugin.method(idempotent=True)
def the_culprit() -> None:
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()
"""


def configured(home: Path, text: str) -> list[str | Path]:
    config = home / "outboard.toml"
    config.write_text(text)
    return ["--config", config]


@pytest.mark.parametrize("word", ["stop", "disable"])
def test_a_critical_plugin_counts_whoever_stopped_it(home: Path, word: str) -> None:
    vital = write_plugin(home / "plugins", "vital")
    words = configured(home, "[plugins.vital]\ncritical = true\n")
    with Daemon(home, vital, words=words) as daemon:
        assert daemon.cli("status").code == 0
        assert daemon.cli(word, "vital").code == 0
        done = daemon.cli("status", "--json")
        assert done.code == 3
        (seen,) = done.json["plugins"]
        assert (seen["critical"], seen["expected"]) == (True, True)


def test_the_daemon_ends_with_a_critical_plugin_if_it_is_told_to(home: Path) -> None:
    code = "handshake()\nreceive()\nos._exit(9)\n"
    vital = write_raw_plugin(home / "plugins", "vital", code, restart=LOOPING)
    other = write_raw_plugin(home / "plugins", "other", "os._exit(9)\n", restart=LOOPING)
    words = configured(home, '[host]\non_critical = "exit"\n[plugins.vital]\ncritical = true\n')
    with Daemon(home, vital, other, words=words) as daemon:
        daemon.until_state("other", "quarantined")
        for _ in range(2):
            daemon.until_state("vital", "running", "degraded")
            daemon.cli("call", "vital", "echo")
        assert daemon.process.wait(20) == 3
        assert "vital is critical, and quarantined" in daemon.said


def test_no_manifest_says_of_its_plugin_that_it_is_critical(home: Path) -> None:
    eager = write_plugin(home / "plugins", "eager", start={"critical": True})
    with Daemon(home) as daemon:
        done = daemon.cli("add", eager)
        assert done.code == 6
        assert "plugins.NAME.critical = true" in done.err


def test_status_says_what_is_waited_for_and_why_shows_where_it_hung(home: Path) -> None:
    db = write_plugin(home / "plugins", "db")
    web = write_plugin(home / "plugins", "web", start={"requires": ["db"]})
    health = {"interval": "100ms", "blocked_after": "300ms"}
    stuck = write_plugin(home / "plugins", "stuck", DEADLOCK, health=health)
    with Daemon(home, db, web, stuck) as daemon:
        assert daemon.cli("stop", "db").code == 0
        eventually(lambda: daemon.plugin("web")["reason"] == "requires db, which is stopped")
        assert "web: requires db, which is stopped" in daemon.cli("status").out
        assert "outboard why db" in daemon.cli("why", "web").out
        assert daemon.cli("call", "stuck", "the_culprit").code != 0
        why = eventually(lambda: (done := daemon.cli("why", "stuck")) and "blocked" in done.out and done)
        assert "where it hung" in why.out
        assert "the_culprit" in why.out
