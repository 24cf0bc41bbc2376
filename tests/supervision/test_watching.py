"""A host that watches: plugins come, change and go on disk, and nobody says `reload`."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import anyio
import pytest
import tomli_w

from host import Host
from host.observability.events import HostEvent, PluginProblem, PluginsChanged
from host.observability.logs import line_of
from host.supervision import watching
from tests.support.plugins import ECHO, SDK, Events, is_gone, pid_of, write_plugin

pytestmark = pytest.mark.anyio

QUICKLY = {"interval": "20ms", "debounce": "60ms"}


class Place:
    """A folder of plugins that is watched, and whoever copies things into it."""

    def __init__(self, tmp_path: Path) -> None:
        self.folder = tmp_path / "plugins"
        self.aside = tmp_path / "aside"
        self.config = tmp_path / "outboard.toml"
        self._markers = 0
        self.folder.mkdir()
        self.watch()
        self.host = Host(config=self.config, data_dir=tmp_path / "data")
        self.events = Events(self.host)

    def watch(self, **more: Any) -> None:
        tables = {"host": {"plugins": [str(self.folder)]}, "watch": QUICKLY | more}
        self.config.write_text(tomli_w.dumps(tables), encoding="utf-8")

    def plugin(self, name: str, code: str = ECHO, **tables: Any) -> Path:
        return write_plugin(self.folder, name, code, **tables)

    async def told(self, kind: str, plugin: str | None, action: str) -> PluginsChanged:
        """The next change that the host speaks of, which must be this one."""
        event = await self.events.until(lambda event: isinstance(event, PluginsChanged))
        assert (event.kind, event.plugin, event.action) == (kind, plugin, action)
        found: PluginsChanged = event
        return found

    async def next_look(self) -> None:
        """Until what was changed before this has been dealt with, if anything is to be done about it."""
        for _ in range(2):  # the second is not looked at before the first one is through
            self._markers += 1
            name = f"marker-{self._markers}"
            self.plugin(name, start={"mode": "lazy"})
            await self.events.until(lambda event: getattr(event, "plugin", None) == name)  # noqa: B023

    def host_names(self) -> set[str]:
        names = {plugin.name for plugin in self.host.status().plugins}
        return {name for name in names if not name.startswith("marker")}

    def changes(self) -> list[tuple[str, str | None, str]]:
        return [
            (event.kind, event.plugin, event.action)
            for event in self.events.seen
            if isinstance(event, PluginsChanged) and not (event.plugin or "").startswith("marker")
        ]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not whole is waited for longer than any test takes, however slow the machine."""
    monkeypatch.setattr(watching, "PATIENCE_S", 3600.0)


def is_problem(event: HostEvent) -> bool:
    return isinstance(event, PluginProblem)


async def test_a_plugin_that_is_copied_in_is_announced_and_loaded(place: Place) -> None:
    place.plugin("old")
    async with place.host as host:
        folder = place.plugin("fresh")
        event = await place.told("added", "fresh", "load")
        assert event.file == str(folder / "plugin.toml")
        line = line_of(event)
        assert (line.event, line.plugin, line.level) == ("watch", "fresh", "info")
        await place.events.state("fresh", "running")
        assert await host.call("fresh", "echo", value=1) == 1
        assert host.status("old").plugins[0].generation == 1


async def test_changed_code_is_a_new_process_and_nobody_elses(place: Place) -> None:
    folder = place.plugin("a")
    place.plugin("b")
    async with place.host as host:
        pids = pid_of(host, "a"), pid_of(host, "b")
        (folder / "main.py").write_text(SDK + ECHO.replace("return value", "return [value]"))
        event = await place.told("changed", "a", "restart")
        assert event.reason == "main.py has changed"
        await place.events.state("a", "running")
        assert await host.call("a", "echo", value=1) == [1]
        assert is_gone(pids[0])
        assert pid_of(host, "b") == pids[1]


async def test_a_changed_manifest_restarts_only_if_a_process_has_it_from_its_start(place: Place) -> None:
    folder = place.plugin("a")
    text = (folder / "plugin.toml").read_text()
    async with place.host as host:
        pid = pid_of(host, "a")
        (folder / "plugin.toml").write_text(text + '[health]\ninterval = "1s"\n')
        event = await place.told("changed", "a", "keep")
        assert event.reason == "health.interval"
        assert pid_of(host, "a") == pid
        (folder / "plugin.toml").write_text(text + "[settings]\ncolour = 1\n")
        assert (await place.told("changed", "a", "restart")).reason == "settings.colour"
        await place.events.state("a", "running")
        assert pid_of(host, "a") != pid


async def test_a_plugin_whose_files_go_is_unloaded(place: Place) -> None:
    place.plugin("a")
    place.plugin("b")
    async with place.host as host:
        pid = pid_of(host, "a")
        shutil.rmtree(place.folder / "a")
        await place.told("removed", "a", "unload")
        await place.events.state("a", "stopped")
        assert is_gone(pid)
        await place.next_look()
        assert place.host_names() == {"b"}


@pytest.mark.usefixtures("patient")
async def test_a_half_written_manifest_is_waited_for_and_meanwhile_nothing_changes(place: Place) -> None:
    old = place.plugin("old") / "plugin.toml"
    whole = old.read_text()
    async with place.host as host:
        pid = pid_of(host, "old")
        fresh = place.aside / "fresh"
        manifest = (write_plugin(place.aside, "fresh") / "plugin.toml").read_text()
        (fresh / "plugin.toml").write_text(manifest[: len(manifest) // 2])
        fresh.rename(place.folder / "fresh")
        old.write_text(whole[: len(whole) // 2])
        await place.next_look()
        assert pid_of(host, "old") == pid
        assert place.host_names() == {"old"}
        assert not host.status().host.problems
        (place.folder / "fresh" / "plugin.toml").write_text(manifest)
        await place.told("added", "fresh", "load")
        old.write_text(whole)
        await place.events.state("fresh", "running")
        await place.next_look()
        assert pid_of(host, "old") == pid
        assert place.changes() == [("added", "fresh", "load")]
        assert not [event for event in place.events.seen if is_problem(event)]


async def test_a_manifest_that_stays_half_is_a_problem_and_ends_being_one(place: Place) -> None:
    manifest = place.plugin("a") / "plugin.toml"
    whole = manifest.read_text()
    async with place.host as host:
        pid = pid_of(host, "a")
        manifest.write_text(whole[: len(whole) // 2])
        event = await place.events.until(is_problem)
        assert event.file == str(manifest)
        assert host.status().host.problems == [event.message]
        assert pid_of(host, "a") == pid
        manifest.write_text(whole)
        await place.next_look()
        assert host.status().host.problems == []
        assert pid_of(host, "a") == pid


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("run", [{"python": "main.py"}, {"command": ["python3", "main.py"]}], ids=str)
async def test_a_folder_that_is_copied_file_by_file_is_waited_for(place: Place, run: dict[str, Any]) -> None:
    source = write_plugin(place.aside, "slow", ECHO + "\nif __name__ == '__main__':\n    plugin.run()\n")
    manifest = {"plugin": {"name": "slow", "version": "1.0.0"}, "run": run}
    async with place.host as host:
        (place.folder / "slow").mkdir()
        (place.folder / "slow" / "plugin.toml").write_text(tomli_w.dumps(manifest))
        await place.next_look()
        assert place.changes() == []
        shutil.copy(source / "main.py", place.folder / "slow")
        await place.told("added", "slow", "load")
        await place.events.state("slow", "starting")
        assert host.status("slow").plugins[0].restarts == 0


async def test_a_folder_that_is_replaced_in_one_go_is_a_change_even_by_an_older_one(place: Place) -> None:
    other = write_plugin(place.aside, "a", ECHO.replace("return value", "return 'other'"))
    folder = place.plugin("a")
    async with place.host as host:
        folder.rename(place.aside / "before")
        other.rename(folder)
        await place.told("changed", "a", "restart")
        await place.events.state("a", "running")
        assert await host.call("a", "echo") == "other"
        assert [change[0] for change in place.changes()] == ["changed"]


async def test_a_save_by_way_of_a_second_file_is_a_change(place: Place) -> None:
    folder = place.plugin("a")
    async with place.host as host:
        (folder / ".main.py.swp").write_text(SDK + ECHO.replace("return value", "return 'saved'"))
        os.replace(folder / ".main.py.swp", folder / "main.py")
        await place.told("changed", "a", "restart")
        await place.events.state("a", "running")
        assert await host.call("a", "echo") == "saved"


async def test_a_link_that_is_pointed_elsewhere_is_a_change(place: Place) -> None:
    for name in ("first", "second"):
        write_plugin(place.aside / name, "a", ECHO.replace("return value", f"return {name!r}"))
    (place.folder / "a").symlink_to(place.aside / "first" / "a")
    async with place.host as host:
        assert await host.call("a", "echo") == "first"
        (place.aside / "link").symlink_to(place.aside / "second" / "a")
        os.replace(place.aside / "link", place.folder / "a")
        await place.told("changed", "a", "restart")
        await place.events.state("a", "running")
        assert await host.call("a", "echo") == "second"


async def test_links_that_lead_nowhere_or_in_circles_harm_nobody(place: Place) -> None:
    folder = place.plugin("a")
    (place.folder / "loop").symlink_to("loop")
    (folder / "up").symlink_to(place.folder)
    async with place.host as host:
        (place.folder / "nowhere").symlink_to("not-there")
        (place.folder / "again").symlink_to(folder)
        await place.next_look()
        assert place.changes() == []
        assert host.status("a").plugins[0].generation == 1
        await place.events.until(lambda event: is_problem(event) and event.file.endswith("nowhere"))
        (place.folder / "nowhere").unlink()
        await place.next_look()
        assert len(host.status().host.problems) == 1


@pytest.mark.parametrize("kind", ["added", "changed", "removed"])
async def test_what_is_only_to_be_announced_is_only_announced(place: Place, kind: str) -> None:
    place.watch(**{kind: "announce"})
    folder = place.plugin("a")
    async with place.host as host:
        pid = pid_of(host, "a")
        if kind == "added":
            place.plugin("b")
        elif kind == "changed":
            (folder / "main.py").touch()
        else:
            shutil.rmtree(folder)
        await place.told(kind, "b" if kind == "added" else "a", "announce")
        assert place.host_names() == {"a"}
        assert pid_of(host, "a") == pid
        if kind != "removed":  # a reload still finds it
            assert not (await host.reload(dry_run=True)).is_empty


async def test_a_folder_that_comes_later_goes_as_a_whole_and_comes_back(place: Place) -> None:
    place.plugin("a")
    place.folder.rename(place.aside)
    async with place.host as host:
        assert len(host.status().host.problems) == 1
        place.aside.rename(place.folder)
        await place.told("added", "a", "load")
        await place.events.state("a", "running")
        assert host.status().host.problems == []
        place.folder.rename(place.aside)
        await place.told("removed", "a", "unload")
        await place.events.until(is_problem)
        assert place.host_names() == set()
        place.aside.rename(place.folder)
        await place.told("added", "a", "load")
        await place.events.state("a", "running")


async def test_a_folder_that_cannot_be_listed_keeps_its_plugins(place: Place) -> None:
    place.plugin("a")
    async with place.host as host:
        place.folder.chmod(0)
        try:
            if os.access(place.folder, os.R_OK):
                pytest.skip("this user may read everything")
            await place.events.until(is_problem)
            assert host.status("a").plugins[0].state == "running"
        finally:
            place.folder.chmod(0o700)


async def test_what_a_plugin_keeps_in_its_folder_is_no_change(place: Place) -> None:
    code = """
@plugin.method
def keep() -> None:
    import pathlib, sqlite3
    sqlite3.connect("kept.sqlite").execute("create table t (x)")
    for name in ("kept.txt", "__pycache__/kept.py", ".cache/kept.py", "node_modules/kept.js", "kept.pyc"):
        path = pathlib.Path(name)
        path.parent.mkdir(exist_ok=True)
        path.write_text("kept")
"""
    folder = place.plugin("a", code)
    async with place.host as host:
        await host.call("a", "keep")
        assert (folder / "kept.sqlite").exists()
        await place.next_look()
        assert place.changes() == []
        assert host.status("a").plugins[0].generation == 1


async def test_a_plugin_that_changes_its_own_code_is_restarted_a_few_times_and_then_has_to_wait(
    place: Place,
) -> None:
    place.plugin("busy", "os.utime('main.py')\n" + ECHO)
    async with place.host as host:
        event = await place.events.until(
            lambda event: isinstance(event, PluginsChanged) and event.action == "wait"
        )
        assert (event.kind, event.plugin, line_of(event).level) == ("changed", "busy", "warning")
        assert place.changes().count(("changed", "busy", "restart")) == 3
        await place.next_look()
        assert host.status("busy").plugins[0].generation == 4
        assert await host.call("busy", "echo", value=1) == 1


async def test_changed_code_brings_back_a_plugin_that_was_held_back(place: Place) -> None:
    restart = {"intensity": 1, "backoff_min": "1ms"}
    folder = place.plugin("a", "os._exit(3)", restart=restart)
    async with place.host as host:
        await place.events.state("a", "quarantined")
        (folder / "main.py").write_text(SDK + ECHO)
        await place.told("changed", "a", "restart")
        await place.events.state("a", "running")
        assert await host.call("a", "echo", value=1) == 1


async def test_what_somebody_stopped_or_removed_is_left_so(place: Place) -> None:
    stopped, removed = place.plugin("stopped"), place.plugin("removed")
    async with place.host as host:
        await host.stop("stopped")
        await host.remove("removed")
        for folder in (stopped, removed):
            (folder / "main.py").touch()
        await place.told("changed", "stopped", "keep")
        await place.next_look()
        assert host.status("stopped").plugins[0].state == "stopped"
        assert place.host_names() == {"stopped"}


async def test_a_plugin_added_by_hand_is_watched_too(place: Place) -> None:
    folder = write_plugin(place.aside, "guest")
    async with place.host as host:
        await host.add(folder)
        await place.next_look()
        (folder / "main.py").touch()
        await place.told("changed", "guest", "restart")
        await place.events.state("guest", "running")


async def test_another_name_in_a_manifest_is_one_plugin_less_and_one_more(place: Place) -> None:
    folder = place.plugin("a")
    async with place.host as host:
        text = (folder / "plugin.toml").read_text()
        (folder / "plugin.toml").write_text(text.replace('"a"', '"b"'))
        await place.told("added", "b", "load")
        await place.told("removed", "a", "unload")
        await place.events.state("b", "running")
        assert await host.call("b", "echo", value=1) == 1
        await place.next_look()
        assert place.host_names() == {"b"}


async def test_without_the_table_nobody_watches_and_a_reload_changes_that(place: Place) -> None:
    place.config.write_text(tomli_w.dumps({"host": {"plugins": [str(place.folder)]}}))
    place.plugin("a")
    async with place.host as host:
        place.plugin("b")
        place.watch()
        assert (await host.reload()).added == ["b"]
        place.plugin("c")
        await place.told("added", "c", "load")
        place.watch(enabled=False)
        await host.reload()
        place.plugin("d")
        place.watch(added="announce")
        plan = await host.reload()  # what came meanwhile is a reload's to load
        assert plan.added == ["d"]
        place.plugin("e")
        await place.told("added", "e", "announce")


async def test_a_slow_start_does_not_keep_the_host_from_seeing_that_it_was_mended(place: Place) -> None:
    async with place.host as host:
        folder = place.plugin("a", "time.sleep(60)")
        await place.told("added", "a", "load")
        await place.events.state("a", "starting")
        (folder / "main.py").write_text(SDK + ECHO)
        await place.told("changed", "a", "restart")
        with anyio.fail_after(20):
            await place.events.state("a", "running", within_s=20)
        assert await host.call("a", "echo", value=1) == 1


async def test_a_host_that_stops_while_it_looks_leaves_nothing(place: Place) -> None:
    async with place.host:
        place.plugin("a")
        await place.told("added", "a", "load")
        pids = [each.process.pid for each in place.host._tree.roster.generations if each.process]
    assert all(map(is_gone, pids))
    assert place.events.states("a")[-1] == "stopped"
