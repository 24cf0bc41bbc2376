"""An environment while it is built: who waits, who hears of it, and what a build that ends early leaves."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from pathlib import Path

import anyio
import msgspec
import pytest

import plugin_sdk
import protocol
from host import PluginUnavailable
from host.environments import build
from host.environments.recipe import Toolchain, build_environment, python_of, recipe
from tests.support.dependents import (
    BUILT_S,
    HangingInstaller,
    environments,
    until_failed,
    until_running,
    write_dependent,
)
from tests.support.plugins import Events, make_host, write_plugin
from tests.support.wheels import write_wheel

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


async def test_the_host_is_entered_and_others_serve_while_one_waits_for_its_build(
    tmp_path: Path, hanging: HangingInstaller
) -> None:
    echo = write_plugin(tmp_path, "echo")
    host = make_host(tmp_path, echo, write_dependent(tmp_path, "one", "shade==1.0"))
    async with host:
        plugin = host.status("one").plugins[0]
        assert plugin.state == "waiting"
        assert plugin.reason == "environment: building (uv pip install shade==1.0)"
        assert plugin.next_start_in_s is None
        assert await host.call("echo", "echo", value=1, timeout=10) == 1
        with pytest.raises(PluginUnavailable, match="building"):
            await host.call("one", "version", timeout=10)
        await hanging.until_begun()
    await hanging.until_gone()


async def test_stopping_the_plugin_kills_the_build_with_everything_in_it(
    tmp_path: Path, hanging: HangingInstaller
) -> None:
    one, two = (write_dependent(tmp_path, name, "shade==1.0") for name in ("one", "two"))
    async with make_host(tmp_path, one, two) as host:
        await hanging.until_begun()
        await host.stop("one")
        assert hanging.is_there, "the other one still waits for it"
        await host.stop("two")
        await hanging.until_gone()
        assert host.status("two").plugins[0].state == "stopped"


async def test_a_build_has_a_deadline(tmp_path: Path, hanging: HangingInstaller) -> None:
    config = tmp_path / "outboard.toml"
    config.write_text('[host]\nenvironment_timeout = "300ms"\n')
    host = make_host(tmp_path, write_dependent(tmp_path, "one", "shade==1.0"), config=config)
    events = Events(host)
    async with host:
        failed = await until_failed(events)
        assert "not built in 0.3 s" in failed.reason
        if hanging.began:
            await hanging.until_gone()


async def test_a_package_that_is_nowhere_is_a_reason_to_wait_and_no_crash(
    tmp_path: Path, installer: str
) -> None:
    host = make_host(tmp_path, write_dependent(tmp_path, "one", "shade==1.0", "no-such-thing==9"))
    events = Events(host)
    async with host:
        failed = await until_failed(events)
        assert failed.state == "waiting"
        assert "no-such-thing" in failed.reason
        plugin = host.status("one").plugins[0]
        assert plugin.restarts == 0
        assert 0 < plugin.next_start_in_s <= 30
        why = host.why("one")
        assert [cause.kind for cause in why.causes] == ["environment"]
        assert why.fix is not None
        assert "dependencies" in why.fix
    assert environments(tmp_path) == []


async def test_an_operator_may_have_it_tried_again_before_its_time(tmp_path: Path, pip: Path) -> None:
    host = make_host(tmp_path, write_dependent(tmp_path, "one", "shade==1.0", "late"))
    events = Events(host)
    async with host:
        await until_failed(events)
        write_wheel(pip, "late", "1.0", {"late.py": ""})
        with pytest.raises(PluginUnavailable, match="building"):
            await host.start("one")
        await until_running(host, events, "one")
        assert await host.call("one", "version", timeout=10) == "1.0"


async def test_a_reload_with_mended_dependencies_runs_it(tmp_path: Path, pip: Path) -> None:
    folder = write_dependent(tmp_path, "one", "shade==3.0")
    host = make_host(tmp_path, folder)
    events = Events(host)
    async with host:
        await until_failed(events)
        manifest = folder / "plugin.toml"
        manifest.write_text(manifest.read_text().replace("3.0", "2.0"))
        await host.reload()
        await until_running(host, events, "one")
        assert await host.call("one", "version", timeout=10) == "2.0"


async def test_equal_dependencies_share_an_environment_that_the_next_host_finds(
    tmp_path: Path, pip: Path
) -> None:
    one = write_dependent(tmp_path, "one", "shade==1.0")
    two = write_dependent(tmp_path, "two", "Shade == 1.0".replace(" ", ""))
    host = make_host(tmp_path, one, two)
    events = Events(host)
    async with host:
        await until_running(host, events, "one", "two")
    assert len(environments(tmp_path)) == 1
    shutil.rmtree(pip)
    async with make_host(tmp_path, one, two) as host:
        assert [plugin.state for plugin in host.status().plugins] == ["running", "running"]


async def test_two_hosts_that_need_the_same_at_once_both_get_it(tmp_path: Path, pip: Path) -> None:
    hosts = [
        make_host(tmp_path / name, write_dependent(tmp_path / name, name, "shade==1.0"))
        for name in ("a", "b")
    ]
    watching = [Events(host) for host in hosts]
    async with hosts[0], hosts[1]:
        for events, host, name in zip(watching, hosts, ("a", "b"), strict=True):
            await until_running(host, events, name)
            assert await host.call(name, "version", timeout=10) == "1.0"
    assert len(environments(tmp_path)) == 1


async def test_a_build_that_was_killed_half_way_leaves_garbage_that_the_next_one_removes(
    tmp_path: Path, pip: Path
) -> None:
    root = tmp_path / "cache/outboard/environments"
    (root / "0123456789abcdef/lib").mkdir(parents=True)
    one = write_dependent(tmp_path, "one", "shade==1.0")
    host = make_host(tmp_path, one)
    events = Events(host)
    async with host:
        await until_running(host, events, "one")
    (folder,) = environments(tmp_path)
    assert [entry.name for entry in root.iterdir() if entry.is_dir()] == [folder.name]
    (folder / "outboard.json").unlink()  # as if it had been killed before its last step
    (folder / "lib").rename(folder / "half")
    host = make_host(tmp_path, one)
    events = Events(host)
    async with host:
        assert host.status("one").plugins[0].state == "waiting"
        await until_running(host, events, "one")
    assert not (folder / "half").exists()


async def test_a_host_that_is_killed_leaves_no_installer(tmp_path: Path, hanging: HangingInstaller) -> None:
    plugin = write_dependent(tmp_path, "one", "shade==1.0")
    code = f"""
import anyio
from host import Host

async def main():
    async with Host(plugins=[{str(plugin)!r}], data_dir={str(tmp_path)!r}):
        await anyio.sleep(600)

anyio.run(main)
"""
    process = await anyio.open_process([sys.executable, "-c", code], stdin=None)
    await hanging.until_begun()
    process.send_signal(signal.SIGKILL)
    await process.wait()
    await process.aclose()
    await hanging.until_gone()


async def test_a_folder_that_cannot_be_written_is_a_reason_to_wait(
    tmp_path: Path, pip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    host = make_host(tmp_path, write_dependent(tmp_path, "one", "shade==1.0"))
    events = Events(host)
    async with host:
        failed = await until_failed(events)
        assert failed.state == "waiting"
        assert "Not a directory" in failed.reason


async def test_each_failure_in_a_row_doubles_the_wait_and_a_stop_ends_the_count(
    tmp_path: Path, refusing: None
) -> None:
    host = make_host(tmp_path, write_dependent(tmp_path, "one", "no-such-thing"))
    events = Events(host)

    def wait_s() -> float:
        return host.status("one").plugins[0].next_start_in_s or 0.0

    async with host:
        await until_failed(events)
        assert 25 < wait_s() <= 30
        with pytest.raises(PluginUnavailable):
            await host.restart("one")
        await until_failed(events)
        assert 55 < wait_s() <= 60
        await host.stop("one")
        with pytest.raises(PluginUnavailable):
            await host.start("one")
        await until_failed(events)
        assert 25 < wait_s() <= 30


async def test_two_are_built_at_once_and_no_more(
    tmp_path: Path, wheels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = tmp_path / "counts"
    at_it = tmp_path / "at-it"
    at_it.mkdir()
    program = tmp_path / "bin" / "uv"
    program.parent.mkdir()
    program.write_text(
        f"#!/bin/sh\ntouch {at_it}/$$\nsleep 0.3\nls {at_it} | wc -l >> {counts}\nrm {at_it}/$$\nexit 1\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    plugins = [write_dependent(tmp_path, f"p{number}", f"shade=={number}") for number in range(5)]
    host = make_host(tmp_path, *plugins)
    events = Events(host)
    async with host:
        for _ in plugins:
            await until_failed(events)
    assert sorted({int(count) for count in counts.read_text().split()}) in ([2], [1, 2])


async def test_a_host_without_uv_and_without_pip_builds_with_a_pip_in_the_environment(
    tmp_path: Path, pip: Path
) -> None:
    package = str(Path(plugin_sdk.__file__).parent)
    tools = Toolchain(
        python=sys.executable,
        python_tag="",
        outboard="",
        ours={"plugin_sdk": package, "protocol": str(Path(protocol.__file__).parent)},
        spare={"msgspec": str(Path(msgspec.__file__).parent)},
    )
    made = recipe(str(tmp_path / "environments"), ["shade==1.0"], tools, uv=None, has_pip=False)
    command = [sys.executable, "-I", build.__file__]
    told = build_environment(os.environ) | {"OUTBOARD_BUILD": msgspec.json.encode(made).decode()}
    with anyio.fail_after(BUILT_S):
        process = await anyio.open_process(command, env=told)
        async with process:
            await process.wait()
        assert process.returncode == 0
        ran = await anyio.run_process(
            [python_of(made.folder), "-P", "-c", "import shade, plugin_sdk; print(shade)"]
        )
    assert made.folder in ran.stdout.decode()
