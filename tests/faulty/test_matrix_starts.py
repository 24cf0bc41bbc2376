"""Rows 1, 8, 9, 29, 40 and 42 of the fault matrix: plugins that do not come up, or not as they were."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from pathlib import Path

import anyio.to_thread
import pytest

from host import PluginUnavailable
from host.supervision import starting
from tests.support.arena import arena, gremlin
from tests.support.plugins import ECHO, QUICK, write_plugin

pytestmark = pytest.mark.anyio


async def test_row_01_an_exit_at_import_is_tried_again_and_then_quarantined(tmp_path: Path) -> None:
    victim = gremlin(tmp_path, "exit_at_import", restart={"intensity": 2})
    async with arena(tmp_path, victim) as fought:
        await fought.ends("backoff", "exit code 1 before it answered initialize")
        await fought.fails("echo", PluginUnavailable)
        await fought.ends("backoff", "exit code 1")
        given_up = await fought.ends("quarantined", "2 restarts", "exit code 1")
        assert given_up.generation == 3


async def test_row_08_initialize_that_is_never_answered_has_its_time_and_no_more(tmp_path: Path) -> None:
    victim = gremlin(tmp_path, "never_initialize", start={"timeout": "300ms"}, restart={"policy": "never"})
    async with arena(tmp_path, victim) as fought:
        await fought.ends("failed", "had not answered initialize after 0.3 s")
        await fought.fails("echo", PluginUnavailable)


async def test_row_09_progress_extends_a_start_and_not_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(starting, "LONGEST_START_S", 1.5)
    victim = gremlin(tmp_path, "slow_start", start={"timeout": "500ms"}, restart={"policy": "never"})
    async with arena(tmp_path, victim) as fought:
        ended = await fought.ends("failed", "had not finished starting after 1.5 s")
        assert ended.cause is not None
        assert ended.cause.up_s is not None
        assert ended.cause.up_s > 1.4


async def test_row_09_start_code_that_tells_its_progress_gets_the_time_it_needs(tmp_path: Path) -> None:
    code = (
        ECHO
        + """
@plugin.on_start
def begin(ctx: Context) -> None:
    for done in range(8):
        ctx.progress(done, 8)
        time.sleep(0.25)
"""
    )
    victim = write_plugin(tmp_path, "victim", code, start={"timeout": "1s"}, restart={"policy": "never"})
    async with arena(tmp_path, victim) as fought:
        await fought.serves()
        assert await fought.call("victim", "echo", value=1) == 1


@pytest.mark.parametrize("restarted", [False, True], ids=["started", "restarted"])
async def test_row_29_a_start_asked_for_from_a_worker_thread_outlives_the_thread(
    tmp_path: Path, restarted: bool
) -> None:
    """The kernel's death signal comes when the *thread* that forked ends: so it has to be the loop's."""
    victim = gremlin(tmp_path, start={"mode": "eager" if restarted else "lazy"})
    async with arena(tmp_path, victim) as fought:
        loop = asyncio.get_running_loop()
        ask = fought.host.restart if restarted else fought.host.start

        def ask_and_end() -> None:
            asyncio.run_coroutine_threadsafe(ask("victim"), loop).result(20)

        thread = threading.Thread(target=ask_and_end)
        thread.start()
        await anyio.to_thread.run_sync(thread.join)
        pid = fought.pid("victim")
        assert await fought.call("victim", "echo", n=1) == {"n": 1}
        assert fought.pid("victim") == pid
        assert fought.status().state == "running"


async def test_row_40_code_and_manifest_may_change_under_a_running_plugin(tmp_path: Path) -> None:
    code = ECHO + "\n@plugin.method\ndef version() -> int:\n    return 1\n"
    victim = write_plugin(tmp_path, "victim", code, restart=QUICK)
    async with arena(tmp_path, victim) as fought:
        await fought.serves()
        pid = fought.pid("victim")
        main = victim / "main.py"
        main.write_text(main.read_text().replace("return 1", "return 22"))
        manifest = victim / "plugin.toml"
        manifest.write_text("this is [no manifest")
        assert await fought.call("victim", "version") == 1
        changes = await fought.host.reload()
        assert not changes.restarted
        assert any("plugin.toml" in problem for problem in fought.host.status().host.problems)
        assert fought.pid("victim") == pid  # it goes on as it was
        os.kill(pid, signal.SIGKILL)
        await fought.ends("backoff", "SIGKILL")
        await fought.serves()
        assert await fought.call("victim", "version") == 22  # today's code, yesterday's manifest


async def test_row_42_dependants_wait_while_what_they_require_is_quarantined_and_then_resume(
    tmp_path: Path,
) -> None:
    code = ECHO + "\nif not os.path.exists('mended'): os._exit(9)\n"
    base = write_plugin(tmp_path, "base", code, restart=QUICK | {"intensity": 1})
    victim = write_plugin(tmp_path, "victim", restart=QUICK, start={"requires": ["base"]})
    async with arena(tmp_path, base) as fought:
        await fought.host.add(victim)
        await fought.events.state("base", "quarantined")
        assert fought.status("victim").state == "waiting"
        assert "base" in fought.reason("victim")
        await fought.fails("echo", PluginUnavailable)
        (base / "mended").touch()
        await fought.host.release("base")
        await fought.serves("victim")
        assert await fought.call("victim", "echo", value=1) == 1
        assert fought.status("victim").restarts == 0
        assert fought.status("victim").generation == 1
