"""A plugin that was forked is the plugin that would have been executed, whatever it looks at or does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from host import BlockingHost, PluginCrashed
from host.process.table import children
from tests.support.brood import left_of, with_sdk
from tests.support.daemon import Daemon, eventually
from tests.support.plugins import ECHO, QUICK, is_gone, write_plugin

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing is forked")

SERVING = ("running", "degraded")
LOOKS = (
    ECHO
    + """
import asyncio, gc, logging, random, resource

def flag(option):
    value = ctypes.c_int()
    ctypes.CDLL(None).prctl(option, ctypes.byref(value), 0, 0, 0)
    return value.value

@plugin.method
def look() -> dict:
    'Whatever a process can see of itself that was settled at its start.'
    limits = {name: resource.getrlimit(getattr(resource, name)) for name in dir(resource) if "RLIMIT" in name}
    mask = os.umask(0o77)
    return {
        "argv": sys.argv, "orig_argv": sys.orig_argv, "flags": str(sys.flags), "path": sys.path,
        "main": [__import__("__main__").__spec__.name, __import__("__main__").__file__],
        "executable": sys.executable,
        "environment": {**os.environ, "OUTBOARD_INSTANCE": ""}, "folder": os.getcwd(), "mask": mask,
        "limits": {name: list(pair) for name, pair in limits.items()}, "nice": os.nice(0),
        "parent": os.getppid(), "leads": os.getpid() == os.getsid(0) == os.getpgid(0),
        "subreaper": flag(37), "death signal": flag(2),
        "blocked": sorted(map(int, signal.pthread_sigmask(signal.SIG_BLOCK, []))),
        "handlers": [str(signal.getsignal(number)).split(" at ")[0] for number in signal.valid_signals()],
        "gc": gc.isenabled(), "threads": sorted(each.name for each in threading.enumerate()),
        "thread": threading.main_thread().native_id == os.getpid(), "stdin": os.fstat(0).st_rdev,
        "handles": len(os.listdir("/proc/self/fd")), "zone": list(time.tzname),
        "encodings": [sys.stdin.encoding, sys.stdout.encoding, sys.getfilesystemencoding()],
        "buffered": [sys.stdout.line_buffering, sys.stderr.line_buffering],
    }

@plugin.method
def draw() -> list[float]:
    return [random.random(), hash("outboard")]

@plugin.method
def end(how: int) -> None:
    os._exit(how) if how >= 0 else os.kill(os.getpid(), -how)

@plugin.method
def allocate() -> str:
    try:
        return str(len(bytearray(1 << 30)))
    except MemoryError:
        return "refused"
"""
)
ASYNC = """
@plugin.method
async def late() -> str:
    import asyncio
    await asyncio.sleep(0.001)
    return "late"
"""


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BlockingHost]:
    """It has two plugins that look at themselves, and one that is async."""
    folder = tmp_path_factory.mktemp("warm")
    for name in ("one", "other"):
        write_plugin(folder / "plugins", name, LOOKS, restart=QUICK | {"intensity": 100})
    write_plugin(folder / "plugins", "later", ASYNC)
    with BlockingHost(plugins=[folder / "plugins"], data_dir=folder / "data", warm_start=True) as host:
        yield host


def status(host: BlockingHost, name: str) -> Any:
    return host.status(name).plugins[0]


def pid_of(host: BlockingHost, name: str) -> int:
    pid: int = status(host, name).pid
    return pid


def zygote_of(host: BlockingHost) -> int:
    pid = host.status().host.warm_start.pid
    assert pid is not None
    return pid


def comes_back(host: BlockingHost, name: str, generation: int) -> None:
    eventually(lambda: status(host, name).generation > generation and status(host, name).state in SERVING)


def test_it_sees_what_one_sees_that_was_executed(host: BlockingHost, tmp_path: Path) -> None:
    folder = Path(status(host, "one").file).parent
    with BlockingHost(plugins=[folder], data_dir=tmp_path, warm_start=False) as other:
        assert status(other, "one").start == "cold"
        cold = other.call("one", "look")
    assert status(host, "one").start == "warm"
    warm = host.call("one", "look")
    assert warm["environment"].pop("HOME") != cold["environment"].pop("HOME")
    assert warm["environment"].pop("OUTBOARD_HOST_PID") == cold["environment"].pop("OUTBOARD_HOST_PID")
    for key, value in cold.items():
        assert warm[key] == value, key
    assert (warm["leads"], warm["subreaper"], warm["death signal"]) == (True, 1, signal.SIGKILL)


def test_whoever_looks_from_outside_sees_which_plugin_it_is(host: BlockingHost) -> None:
    proc = Path(f"/proc/{pid_of(host, 'one')}")
    assert (proc / "comm").read_text() == "one\n"
    assert (proc / "cmdline").read_bytes() == b"outboard plugin one: plugin_sdk run main.py\0"
    variables = (proc / "environ").read_bytes().rstrip(b"\0").split(b"\0")
    assert variables[0].startswith(b"OUTBOARD_INSTANCE=")
    assert variables[0].endswith(b":one:%d" % status(host, "one").generation)
    assert not any(variable.startswith(b"OUTBOARD_ROOM") for variable in variables)


def test_no_descriptor_of_one_is_open_in_another(host: BlockingHost) -> None:
    def pipes(pid: int) -> set[str]:
        links = [os.readlink(entry) for entry in Path(f"/proc/{pid}/fd").iterdir()]
        return {link for link in links if link.startswith(("pipe:", "socket:"))}

    one, other, zygote = (pipes(pid) for pid in (pid_of(host, "one"), pid_of(host, "other"), zygote_of(host)))
    assert len(one) == len(other) == 3
    assert not one & other
    assert not (one | other) & zygote


@pytest.mark.parametrize("how", [0, 3, -signal.SIGKILL, -signal.SIGSEGV])
def test_how_it_ends_is_known(host: BlockingHost, how: int) -> None:
    generation = status(host, "one").generation
    with pytest.raises(PluginCrashed):
        host.call("one", "end", how=how)
    if how == 0:
        eventually(lambda: status(host, "one").state == "stopped")
        host.start("one")
    comes_back(host, "one", generation)
    end = status(host, "one").last_exit
    assert end.code == (how if how >= 0 else None)
    assert end.signal == (signal.Signals(-how).name if how < 0 else None)
    assert status(host, "one").start == "warm"


def test_its_memory_is_limited(host: BlockingHost) -> None:
    assert host.call("other", "allocate") == "refused"


def test_chance_is_its_own_and_the_hash_seed_is_the_zygotes(host: BlockingHost) -> None:
    (one, seed), (other, same_seed) = host.call("one", "draw"), host.call("other", "draw")
    assert one != other
    assert seed == same_seed


def test_an_async_one_is_forked_too(host: BlockingHost) -> None:
    assert status(host, "later").start == "warm"
    assert host.call("later", "late") == "late"


def test_code_that_has_changed_is_run_by_the_next(host: BlockingHost, tmp_path: Path) -> None:
    plugin = write_plugin(tmp_path, "fresh", "@plugin.method\ndef version() -> int:\n    return 1\n")
    host.add(plugin)
    assert host.call("fresh", "version") == 1
    code = (plugin / "main.py").read_text()
    (plugin / "main.py").write_text(code.replace("return 1", "return 22"))
    host.restart("fresh")
    assert host.call("fresh", "version") == 22
    assert status(host, "fresh").start == "warm"
    host.remove("fresh")


def test_whoever_was_below_it_is_ended_with_it(host: BlockingHost, tmp_path: Path) -> None:
    """In an embedded host, which goes by the mark in their environment, and by having seen them."""
    host.add(with_sdk(tmp_path))
    brood = host.call("victim", "brood")
    assert status(host, "victim").start == "warm"
    host.remove("victim")
    assert not left_of(brood)


def test_a_zygote_that_dies_takes_no_plugin_along(host: BlockingHost) -> None:
    before = {name: pid_of(host, name) for name in ("one", "other", "later")}
    os.kill(zygote_of(host), signal.SIGKILL)
    eventually(lambda: host.status().host.warm_start.reason)
    assert host.status().host.warm_start.reason.startswith("the zygote has ended: SIGKILL")
    eventually(lambda: host.status().host.warm_start.state == "ready")
    assert {name: pid_of(host, name) for name in before} == before
    host.restart("one")
    assert status(host, "one").start == "warm"


def test_what_they_have_in_common_is_there_once(tmp_path: Path) -> None:
    for number in range(20):
        write_plugin(tmp_path / "plugins", f"p{number}")
    with BlockingHost(plugins=[tmp_path / "plugins"], data_dir=tmp_path / "data", warm_start=True) as host:
        plugins = host.status().plugins
        assert {(plugin.state, plugin.start) for plugin in plugins} == {("running", "warm")}
        pids = [plugin.pid for plugin in plugins if plugin.pid is not None]
        own = sorted(kib(pid, "Private_Dirty") for pid in pids)
        zygote = zygote_of(host)
    assert own[10] < 6 * 1024  # 4.3 MiB; 10 MiB of one that was executed
    assert all(map(is_gone, [*pids, zygote]))


def kib(pid: int, of: str) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(f"{of}:")).split()[1])


EMBEDDING = """
import sys, threading, time
from host import BlockingHost
with BlockingHost(plugins=[sys.argv[1]], data_dir=sys.argv[2], warm_start=True) as host:
    assert {plugin.start for plugin in host.status().plugins} == {"warm"}
    threading.Thread(target=lambda: host.call("holder", "hold", timeout=60), daemon=True).start()
    while not host.status("holder").plugins[0].calls.in_flight:
        time.sleep(0.01)
    print(host.status().host.warm_start.pid, *(plugin.pid for plugin in host.status().plugins), flush=True)
    time.sleep(60)
"""


def test_all_of_them_end_with_an_embedding_program_that_is_killed(tmp_path: Path) -> None:
    """Also one that holds Python's lock in C, and hears of no end of a pipe."""
    plugins = tmp_path / "plugins"
    write_plugin(plugins, "idle")
    write_plugin(plugins, "holder", "@plugin.method\ndef hold() -> None:\n    ctypes.PyDLL(None).sleep(60)\n")
    words = [sys.executable, "-c", EMBEDDING, str(plugins), str(tmp_path / "data")]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as program:
        assert program.stdout is not None
        pids = [int(word) for word in program.stdout.readline().split()]
        assert len(pids) == 3
        program.kill()
    eventually(lambda: all(map(is_gone, pids)), within_s=5)


def test_all_of_them_end_with_a_daemon_that_is_killed_also_while_it_starts_them(tmp_path: Path) -> None:
    plugins = tmp_path / "plugins"
    for number in range(12):
        write_plugin(plugins, f"p{number}")
    env = {"OUTBOARD__HOST__WARM_START": "true"}
    with Daemon(tmp_path, plugins, env=env) as daemon:
        assert {plugin["start"] for plugin in daemon.status()["plugins"]} == {"warm"}
        for plugin in daemon.status()["plugins"]:
            os.kill(plugin["pid"], signal.SIGKILL)
        eventually(lambda: any(plugin["generation"] > 1 for plugin in daemon.status()["plugins"]))
        pids = children(daemon.process.pid)
        daemon.process.kill()
        eventually(lambda: all(map(is_gone, pids)), within_s=5)
