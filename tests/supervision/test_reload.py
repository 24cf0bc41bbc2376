"""A reload: what it plans, and what becomes of plugins that run while it happens."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
import tomli_w

from host import ConfigError, Host
from host.supervision.plan import Change, Plan
from host.supervision.scope import Scope
from host.supervision.sources import Seen
from tests.support.plugins import ECHO, Events, pid_of, write_plugin

pytestmark = pytest.mark.anyio


class Place:
    """A folder of plugins and a configuration, with a host over them."""

    def __init__(self, tmp_path: Path) -> None:
        self.folder = tmp_path / "plugins"
        self.folder.mkdir()
        self.config = tmp_path / "outboard.toml"
        self.configure()
        self._tmp_path = tmp_path
        self.host = self.next_host()
        self.events = Events(self.host)

    def next_host(self) -> Host:
        data, state = self._tmp_path / "data", self._tmp_path / "state.json"
        return Host(config=self.config, data_dir=data, state_file=state)

    def configure(self, **tables: Any) -> None:
        host = {"plugins": [str(self.folder)]} | tables.pop("host", {})
        self.config.write_text(tomli_w.dumps({"host": host, **tables}), encoding="utf-8")

    def plugin(self, name: str, code: str = ECHO, **tables: Any) -> Path:
        return write_plugin(self.folder, name, code, **tables)

    def again(self, name: str, code: str = ECHO, **tables: Any) -> None:
        shutil.rmtree(self.folder / name)
        self.plugin(name, code, **tables)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


async def test_nothing_changed_means_that_nothing_is_touched(place: Place) -> None:
    place.plugin("a")
    async with place.host as host:
        pid = pid_of(host, "a")
        plan = await host.reload()
        assert plan == Plan(applied=True)
        assert plan.lines() == ["nothing has changed"]
        assert pid_of(host, "a") == pid


async def test_what_came_and_went_and_changed_is_told_and_done(place: Place) -> None:
    for name in ("gone", "same", "newer", "other"):
        place.plugin(name)
    async with place.host as host:
        before = {plugin.name: plugin.pid for plugin in host.status().plugins}
        shutil.rmtree(place.folder / "gone")
        place.plugin("fresh")
        (place.folder / "newer" / "main.py").touch()
        place.again("other", settings={"colour": "red"})
        dry = await host.reload(dry_run=True)
        assert not dry.applied
        assert {plugin.name: plugin.pid for plugin in host.status().plugins} == before
        plan = await host.reload()
        assert (plan.added, plan.removed) == (["fresh"], ["gone"])
        assert plan.restarted == [
            Change("newer", "main.py has changed"),
            Change("other", "main.py has changed"),
        ]
        after = {plugin.name: plugin.pid for plugin in host.status().plugins}
        assert set(after) == {"same", "newer", "other", "fresh"}
        assert after["same"] == before["same"]
        assert after["newer"] != before["newer"]
        assert await host.call("fresh", "echo", value=1) == 1


async def test_the_configuration_changes_what_it_can_without_a_new_process(place: Place) -> None:
    place.plugin("a")
    place.plugin("b")
    async with place.host as host:
        pids = pid_of(host, "a"), pid_of(host, "b")
        place.configure(
            host={"log_level": "debug"},
            plugins={"a": {"health": {"interval": "1s"}}, "b": {"settings": {"x": 1}}},
        )
        plan = await host.reload()
        assert plan.live == [Change("a", "health.interval")]
        assert plan.restarted == [Change("b", "settings.x")]
        assert plan.needs_new_host == ["host.log_level"]
        assert pid_of(host, "a") == pids[0]
        assert pid_of(host, "b") != pids[1]
        place.configure(plugins={"a": {"enabled": False}})
        plan = await host.reload()
        assert plan.disabled == ["a"]
        assert host.status("a").plugins[0].state == "disabled"
        place.configure()
        plan = await host.reload()
        assert plan.enabled == ["a"]
        assert host.status("a").plugins[0].state == "running"


async def test_a_mistake_in_the_configuration_changes_nothing_at_all(place: Place) -> None:
    place.plugin("a")
    async with place.host as host:
        pid = pid_of(host, "a")
        place.plugin("b")
        place.config.write_text('[host]\nplugins = "no list"\nlog_levle = "info"\n', encoding="utf-8")
        with pytest.raises(ConfigError) as caught:
            await host.reload()
        assert len(caught.value.data) == 2
        assert [plugin.name for plugin in host.status().plugins] == ["a"]
        assert pid_of(host, "a") == pid


async def test_a_plugin_whose_manifest_has_become_unreadable_goes_on_as_it_was(place: Place) -> None:
    manifest = place.plugin("a") / "plugin.toml"
    good = manifest.read_text(encoding="utf-8")
    async with place.host as host:
        pid = pid_of(host, "a")
        manifest.write_text(good[: len(good) // 2], encoding="utf-8")
        plan = await host.reload()
        assert plan.removed == []
        assert len(plan.problems) == 1
        assert str(manifest) in plan.problems[0]
        assert pid_of(host, "a") == pid
        assert host.status().host.problems == plan.problems
        manifest.write_text(good, encoding="utf-8")
        assert (await host.reload()).problems == []
        assert host.status().host.problems == []


async def test_a_failed_plugin_is_tried_again_when_its_code_has_changed(place: Place) -> None:
    place.plugin("a", "import sys\nsys.exit(78)\n")
    async with place.host as host:
        assert host.status("a").plugins[0].state == "failed"
        assert (await host.reload()).is_empty
        place.again("a")
        plan = await host.reload()
        assert plan.restarted == [Change("a", "main.py has changed")]
        assert host.status("a").plugins[0].state == "running"


async def test_what_somebody_stopped_is_not_started_by_a_reload(place: Place) -> None:
    place.plugin("a")
    async with place.host as host:
        await host.stop("a")
        (place.folder / "a" / "main.py").touch()
        assert (await host.reload()).restarted == []
        assert host.status("a").plugins[0].state == "stopped"


async def test_what_somebody_removed_stays_away_until_it_is_added(place: Place) -> None:
    folder = place.plugin("a")
    async with place.host as host:
        await host.remove("a")
        assert (await host.reload()).is_empty
        assert host.status().plugins == []
        await host.add(folder)
        assert (await host.reload()).is_empty
        assert host.status("a").plugins[0].state == "running"


async def test_two_reloads_at_once_are_done_one_after_the_other(place: Place) -> None:
    place.plugin("a")
    async with place.host as host:
        place.plugin("b")
        plans: list[Plan] = []

        async def reload() -> None:
            plans.append(await host.reload())

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(reload)
            tasks.start_soon(reload)
        assert [plan.added for plan in plans] == [["b"], []]
        assert host.status("b").plugins[0].generation == 1


async def test_what_operators_said_holds_for_the_next_host(place: Place, tmp_path: Path) -> None:
    extra = write_plugin(tmp_path / "elsewhere", "extra")
    for name in ("off", "away", "looping", "steady"):
        place.plugin(
            name, **({"restart": {"intensity": 1, "backoff_min": "1ms"}} if name == "looping" else {})
        )
    (place.folder / "looping" / "main.py").write_text("import os; os._exit(3)", encoding="utf-8")
    async with place.host as host:
        await place.events.state("looping", "quarantined")
        await host.disable("off")
        await host.remove("away")
        await host.add(extra)
    async with Host(
        config=place.config, data_dir=tmp_path / "data", state_file=tmp_path / "state.json"
    ) as host:
        plugins = {plugin.name: plugin for plugin in host.status().plugins}
        assert {name: plugin.state for name, plugin in plugins.items()} == {
            "off": "disabled",
            "looping": "quarantined",
            "steady": "running",
            "extra": "running",
        }
        assert "exit code 3" in (plugins["looping"].reason or "")
        assert plugins["looping"].expected
        assert not plugins["off"].expected
        why = host.why("looping")
        assert why.causes[0].exit_code == 3
        assert why.next[0] == "outboard release looping"
        shutil.copy(place.folder / "steady" / "main.py", place.folder / "looping" / "main.py")
        assert await host.release("looping")
        assert not await host.release("looping")
        assert await host.enable("off")
        assert not await host.enable("off")
        assert await host.call("off", "echo", value=1) == await host.call("looping", "echo", value=1) == 1
    async with Host(
        config=place.config, data_dir=tmp_path / "data", state_file=tmp_path / "state.json"
    ) as host:
        assert {plugin.state for plugin in host.status().plugins} == {"running"}


async def test_an_embedded_host_without_a_state_file_writes_none(tmp_path: Path) -> None:
    folder = write_plugin(tmp_path / "plugins", "a")
    async with Host(plugins=[folder], data_dir=tmp_path / "data") as host:
        await host.disable("a")
    assert sorted(os.listdir(tmp_path)) == ["data", "plugins"]


async def test_a_folder_given_by_a_relative_path_is_no_reason_to_lose_a_plugin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    manifest = write_plugin(tmp_path / "plugins", "a") / "plugin.toml"
    async with Host(plugins=["plugins"], data_dir=tmp_path / "data") as host:
        manifest.write_text("[plug")
        plan = await host.reload()
        assert (plan.removed, len(plan.problems)) == ([], 1)
        assert host.status("a").plugins[0].state == "running"


class Slow(Scope):
    """Everything, and looking at it takes as long as `go_on` says."""

    def __init__(self) -> None:
        self.has_looked = threading.Event()
        self.go_on = threading.Event()

    def narrow(self, seen: Seen) -> Seen:
        self.has_looked.set()
        assert self.go_on.wait(10)
        return seen


async def test_what_an_operator_says_while_a_reload_looks_is_the_last_word(place: Place) -> None:
    place.plugin("a")
    async with place.host as host:
        await host.disable("a")
        slow = Slow()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(host._tree.reloading.follow, slow)
            await anyio.to_thread.run_sync(slow.has_looked.wait, 10)  # it has seen a disabled plugin
            await host.enable("a")
            slow.go_on.set()
        assert host.status("a").plugins[0].state == "running"
        assert not await host.enable("a")  # for it is enabled
