"""Nothing that a plugin has started outlives it, however it hides, and however plugin or host die."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from host.control.client import Client
from host.errors import OutboardError
from host.observability.events import ProcessesLeaked
from host.observability.logs import line_of
from host.process import tree
from tests.support.brood import KINDS, bearing, children_of, left_of, with_sdk, without_sdk
from tests.support.daemon import Daemon, eventually
from tests.support.plugins import is_gone, staged, write_plugin

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux alone can say who descends from whom")

SOON_S = 1.0
Maker = Callable[..., Path]
any_plugin = pytest.mark.parametrize("make", [with_sdk, without_sdk])


class Stage:
    """A daemon with a plugin called `victim`, whose brood is there, and a healthy one."""

    def __init__(self, daemon: Daemon, answered: list[int]) -> None:
        self.daemon = daemon
        self.answered = answered
        self.pid: int = daemon.status()["host"]["pid"]
        self.victim: int = daemon.plugin("victim")["pid"]
        environment = Path(f"/proc/{self.victim}/environ").read_bytes()
        self.mark = environment.split(b"OUTBOARD_INSTANCE=")[1].split(b":")[0].decode() + ":"
        """What all processes below this daemon bear, but for those that have cleared their environment."""
        self.brood: dict[str, int] = daemon.call("victim", "brood")
        assert tuple(self.brood) == KINDS
        assert left_of(self.brood) == self.brood

    def fds(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def call(self, method: str, **params: Any) -> None:
        """Of a call that does not come back."""
        with pytest.raises(OutboardError):
            self.daemon.ask(
                "call", {"plugin": "victim", "method": method, "params": params, "timeout": 1}, timeout=10
            )

    def nothing_is_left(self) -> bool:
        return not left_of(self.brood) and is_gone(self.victim)

    def only_plugins_are_here(self) -> bool:
        ours = {*self.daemon.pids(), self.daemon.status()["host"]["warm_start"]["pid"]}
        return children_of(self.pid) <= ours


@contextmanager
def stage(home: Path, make: Maker, **options: Any) -> Iterator[Stage]:
    """The healthy plugin is called throughout, and must never fail while the daemon lives."""
    steady = write_plugin(home / "plugins", "steady")
    with Daemon(home, make(home / "plugins"), steady, **options) as daemon:
        answered: list[int] = []
        failed: list[BaseException] = []
        over = Event()

        def call_on() -> None:
            try:
                with Client(daemon.socket) as client:
                    asked = {"plugin": "steady", "method": "echo", "params": {}, "timeout": 5}
                    while not over.wait(0.02):
                        client.ask("call", asked, timeout=10)
                        answered.append(1)
            except BaseException as error:
                failed.append(error)

        caller = Thread(target=call_on)
        caller.start()
        made = Stage(daemon, answered)
        try:
            yield made
            if daemon.process.poll() is None:
                before = len(answered)
                eventually(lambda: failed or len(answered) > before)
                assert not failed
                assert daemon.plugin("steady")["generation"] == 1
        finally:
            over.set()
            caller.join()
            for pid in left_of(made.brood).values():
                os.kill(pid, signal.SIGKILL)


DEATHS: dict[str, Callable[[Stage], object]] = {
    "it exits": lambda stage: stage.call("leave", how="exit"),
    "it touches memory that is not its own": lambda stage: stage.call("leave", how="segv"),
    "it is killed from outside": lambda stage: os.kill(stage.victim, signal.SIGKILL),
    "an operator stops it": lambda stage: stage.daemon.cli("stop", "victim"),
    "an operator restarts it": lambda stage: stage.daemon.cli("restart", "victim"),
    "it hangs": lambda stage: stage.call("hang"),
}


@any_plugin
@pytest.mark.parametrize("death", DEATHS)
def test_when_a_plugin_ends_nothing_of_it_is_left(tmp_path: Path, make: Maker, death: str) -> None:
    with stage(tmp_path, make) as on:
        fds = on.fds()
        DEATHS[death](on)
        eventually(lambda: is_gone(on.victim), within_s=10)
        eventually(on.nothing_is_left, within_s=SOON_S)
        eventually(on.only_plugins_are_here, within_s=SOON_S)
        if "stops" not in death:
            eventually(lambda: on.daemon.plugin("victim")["generation"] == 2)
            on.daemon.until_state("victim", "running", "degraded")
            on.brood = on.daemon.call("victim", "brood")  # and again, for the end of the daemon
        eventually(lambda: on.fds() <= fds, within_s=SOON_S)
        if "hangs" not in death:  # there they were ended with it, and not after it
            assert any("that it had left: killed" in line for line in on.daemon.logged())
        assert on.daemon.stop() == 0
        assert not left_of(on.brood)
        assert not bearing(on.mark)


@any_plugin
def test_a_killed_host_takes_everybody_along_with_its_guardian(tmp_path: Path, make: Maker) -> None:
    with stage(tmp_path, make, words=["--config", guarded(tmp_path)]) as on:
        assert on.daemon.status()["host"]["descendants_after_host_death"] == "guardian"
        assert on.pid != on.daemon.process.pid
        os.kill(on.pid, signal.SIGKILL)
        eventually(on.nothing_is_left, within_s=SOON_S)
        assert on.daemon.process.wait(SOON_S) == -signal.SIGKILL
        assert "killed what its plugins had left" in on.daemon.said


@any_plugin
def test_a_killed_guardian_takes_the_host_and_everybody_along(tmp_path: Path, make: Maker) -> None:
    with stage(tmp_path, make, words=["--config", guarded(tmp_path)]) as on:
        on.daemon.process.kill()
        eventually(on.nothing_is_left, within_s=SOON_S)
        eventually(lambda: is_gone(on.pid), within_s=SOON_S)


@any_plugin
def test_without_a_guardian_the_next_host_ends_what_a_killed_one_has_left(
    tmp_path: Path, make: Maker
) -> None:
    with stage(tmp_path, make) as on:
        assert on.daemon.status()["host"]["descendants_after_host_death"] == "next-start"
        (record,) = (tmp_path / "state" / "outboard").glob("*.processes.json")
        eventually(lambda: all(f"[{pid}," in record.read_text() for pid in on.brood.values()))
        os.kill(on.pid, signal.SIGKILL)
        assert on.daemon.process.wait(SOON_S) == -signal.SIGKILL
        eventually(lambda: is_gone(on.victim), within_s=SOON_S)
        assert left_of(on.brood)  # or this test would show nothing
        on.daemon.start()
        assert on.nothing_is_left()
        assert any("an earlier host had left: killed" in line for line in on.daemon.logged())
        assert on.daemon.stop() == 0
        assert not record.exists()


def guarded(home: Path) -> Path:
    config = home / "outboard.toml"
    config.write_text("[host]\nguardian = true\n")
    return config


# -- the guardian is as good as not there --------------------------------------------------------------


def test_a_guardian_hands_signals_on_and_ends_as_its_daemon_does(tmp_path: Path) -> None:
    plugin = write_plugin(tmp_path / "plugins", "idle")
    with Daemon(tmp_path, plugin, words=["--config", guarded(tmp_path)]) as daemon:
        pid = daemon.status()["host"]["pid"]
        daemon.process.send_signal(signal.SIGHUP)
        eventually(lambda: any("SIGHUP" in line for line in daemon.logged()))
        assert daemon.stop() == 0
        assert is_gone(pid)
        assert daemon.logged()[-1] == "stopped"


def test_an_interrupt_for_a_whole_terminal_comes_to_the_daemon_once(tmp_path: Path) -> None:
    plugin = write_plugin(tmp_path / "plugins", "idle")
    words = ["--config", guarded(tmp_path)]
    with Daemon(tmp_path, plugin, words=words, start_new_session=True) as daemon:
        os.killpg(daemon.process.pid, signal.SIGINT)
        assert daemon.process.wait(15) == 0
        assert [line for line in daemon.logged() if "SIGINT" in line] == ["SIGINT: stopping"]


def test_a_daemon_that_cannot_start_says_so_through_its_guardian(tmp_path: Path) -> None:
    plugin = write_plugin(tmp_path / "plugins", "idle")
    with Daemon(tmp_path, plugin, words=["--config", guarded(tmp_path)]) as daemon:
        second = daemon.cli("run", "--config", guarded(tmp_path))
        assert (second.code, "OB702" in second.err) == (7, True)


def test_a_guardian_is_small(tmp_path: Path) -> None:
    with Daemon(tmp_path, words=["--config", guarded(tmp_path)]) as daemon:
        status = Path(f"/proc/{daemon.process.pid}/status").read_text()
        rss_kib = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("RssAnon"))
        assert rss_kib < 12 * 1024


# -- strangers -----------------------------------------------------------------------------------------


def test_children_that_the_daemon_was_born_with_are_nobodys_business(tmp_path: Path) -> None:
    with_one = ["bash", "-c", 'sleep 60 & (sleep 61 &) ; exec "$@"', "sh"]
    with stage(tmp_path, with_sdk, under=with_one) as on:
        strangers = children_of(on.pid) - set(on.daemon.pids())
        assert strangers
        os.kill(on.victim, signal.SIGKILL)
        marked = {kind: pid for kind, pid in on.brood.items() if kind != "clean daemon"}
        eventually(lambda: not left_of(marked), within_s=SOON_S)
        assert not any(map(is_gone, strangers))
        for pid in strangers:
            os.kill(pid, signal.SIGKILL)


# -- sizes -----------------------------------------------------------------------------------------------


@any_plugin
def test_three_hundred_processes_are_as_good_as_one(tmp_path: Path, make: Maker) -> None:
    with stage(tmp_path, make) as on:
        # Not all at once: without SDK it answers no ping meanwhile, and would count as hung.
        many = [pid for _ in range(10) for pid in on.daemon.call("victim", "many", count=30)]
        os.kill(on.victim, signal.SIGKILL)
        eventually(lambda: all(map(is_gone, many)), within_s=SOON_S)
        eventually(on.nothing_is_left, within_s=SOON_S)


@any_plugin
@pytest.mark.parametrize("death", ["it is killed from outside", "an operator stops it"])
def test_one_that_is_another_process_every_millisecond_is_met(
    tmp_path: Path, make: Maker, death: str
) -> None:
    with stage(tmp_path, make) as on:
        mark = f"{on.mark}victim:1"
        on.daemon.call("victim", "hop")
        eventually(lambda: len(bearing(mark)) > len(KINDS) - 1)
        DEATHS[death](on)
        eventually(lambda: not bearing(mark), within_s=2 * SOON_S)
        eventually(on.nothing_is_left, within_s=SOON_S)


# -- an embedded host, which adopts nobody -----------------------------------------------------------------


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
@pytest.mark.parametrize("death", ["it exits", "it is stopped", "it hangs"])
async def test_an_embedded_host_finds_whom_it_has_seen(tmp_path: Path, death: str) -> None:
    async with staged(tmp_path, with_sdk(tmp_path)) as on:
        pid = on.pid("victim")
        brood = await on.host.call("victim", "brood")
        if death == "it exits":
            supervisor = on.host._tree.plugins["victim"]
            seen = supervisor.process.tree  # type: ignore[union-attr]
            deadline = time.monotonic() + 10
            while not set(brood.values()) <= {one.pid for one in seen.known}:
                assert time.monotonic() < deadline
                await on.host.call("steady", "echo")
            with pytest.raises(OutboardError):
                await on.host.call("victim", "leave", how="exit")
        elif death == "it is stopped":
            await on.host.stop("victim")
        else:
            with pytest.raises(OutboardError):
                await on.host.call("victim", "hang", timeout=0.1)
        await on.events.state("victim", "stopped", "backoff")
        assert not left_of(brood)
        assert is_gone(pid)
        assert not [event for event in on.events.seen if isinstance(event, ProcessesLeaked)]


@pytest.mark.anyio
async def test_who_cannot_be_ended_is_told_of_and_holds_nobody_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tree, "kill", lambda *_: None)  # as one that waits for a dead disk
    async with staged(tmp_path, with_sdk(tmp_path)) as on:
        brood = await on.host.call("victim", "brood")
        try:
            with pytest.raises(OutboardError):
                await on.host.call("victim", "leave", how="exit")
            leaked = await on.events.until(lambda event: isinstance(event, ProcessesLeaked))
            assert (leaked.plugin, leaked.generation) == ("victim", 1)
            # The group of the plugin has been killed; the others bear its mark.
            assert {brood["setsid"], brood["daemon"]} <= set(leaked.pids)
            assert str(brood["daemon"]) in line_of(leaked).message
            await on.events.state("victim", "running", "degraded")
        finally:
            for pid in left_of(brood).values():
                os.kill(pid, signal.SIGKILL)
