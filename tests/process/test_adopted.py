"""Orphans are reaped, and nobody's exit code is stolen."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import anyio
import pytest

from host.process import adopted
from host.process.adopted import reap_adopted
from tests.support.plugins import is_gone

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(sys.platform != "linux", reason="orphans come to a subreaper, which Linux has"),
]


def dead_child() -> int:
    """The pid of a child of ours that has ended and that nobody has waited for."""
    pid = os.posix_spawn("/bin/true", ["true"], os.environ)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    return pid


def seven() -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-S", "-c", "raise SystemExit(7)"])


def is_there(pid: int) -> bool:
    return os.path.exists(f"/proc/{pid}")


async def until(condition: Callable[[], bool]) -> None:
    with anyio.fail_after(10):
        while not condition():  # noqa: ASYNC110  # of the kernel's, which tells nobody
            await anyio.sleep(0.005)


async def until_reaped(pid: int) -> None:
    await until(lambda: not is_there(pid))


@pytest.mark.parametrize("lists_children", [True, False])
async def test_whom_nobody_waits_for_is_reaped_and_ours_never(
    monkeypatch: pytest.MonkeyPatch, lists_children: bool
) -> None:
    monkeypatch.setattr(adopted, "EVERY_S", 0.01)
    if not lists_children:
        monkeypatch.setattr(adopted, "_children", set)
    orphan = dead_child()
    async with anyio.create_task_group() as tasks:
        ours: set[int] = set()
        tasks.start_soon(reap_adopted, lambda: ours)
        await until_reaped(orphan)
        process = seven()
        ours.add(process.pid)
        await until(lambda: is_gone(process.pid))
        if lists_children:  # ours, dead and unreaped, hides nobody
            await until_reaped(dead_child())
            await until_reaped(dead_child())
        assert is_there(process.pid)
        assert process.wait() == 7
        tasks.cancel_scope.cancel()


async def test_whoever_takes_an_exit_code_at_once_gets_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adopted, "EVERY_S", 0.01)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(reap_adopted, list)
        for _ in range(20):
            ended = await anyio.run_process([sys.executable, "-S", "-c", "raise SystemExit(7)"], check=False)
            assert ended.returncode == 7
        tasks.cancel_scope.cancel()


DAEMONS = """
import subprocess, sys
from host.process.adopted import become_subreaper, kill_descendants
assert become_subreaper()
deep = "import subprocess as s; print(s.Popen(['sleep', '60'], stdout=s.DEVNULL, start_new_session=True).pid)"
child = subprocess.run([sys.executable, "-c", deep], stdout=subprocess.PIPE, text=True)
here = subprocess.Popen(["sleep", "60"], stdout=subprocess.DEVNULL)
kill_descendants()
print(child.stdout.strip(), here.pid)
"""


def test_all_that_is_below_is_killed_whatever_its_session() -> None:
    ran = subprocess.run([sys.executable, "-c", DAEMONS], capture_output=True, text=True, timeout=30)
    assert ran.returncode == 0, ran.stderr
    pids = [int(word) for word in ran.stdout.split()]
    assert len(pids) == 2
    assert all(map(is_gone, pids))
