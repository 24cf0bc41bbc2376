"""Where the rows of the fault matrix are fought out, and the one place where its invariants are held.

Entered, it is a running host with a healthy plugin, `steady`, that is called throughout, and whatever
victims a row brings. Whatever the row does to them, this holds, and is asserted on leaving:

* the host is the same process, and its loop was never late (p99);
* `steady` answered every call, out of one and the same process;
* every call to a victim that was made through `Arena.call` ended in a typed error within its deadline;
* descriptors, threads and tasks of the host are as many as before the victims came;
* no process of a victim is left: none with the host's tag, and none that works in the test's folder;
* each life of a process ended in exactly one event, and it has a reason.

The matrix says 25 ms and deadline + 100 ms. That is asserted where the machine is the test's own
(`OUTBOARD_STRICT=1`, as `make test-chaos` has it); elsewhere other tests want the processors too.
"""

from __future__ import annotations

import asyncio
import gc
import os
import shutil
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
import tomli_w

from host import Host, OutboardError
from host.observability.events import HostEvent, StateChanged
from tests.support.daemon import SAMPLES, Daemon
from tests.support.plugins import QUICK, Events, Stage, settled, write_plugin

STRICT = os.environ.get("OUTBOARD_STRICT") == "1"
LATENESS_P99_S = 0.025 if STRICT else 0.25
ONE_MOMENT = 0 if STRICT else 1
"""Many rows take less than a second, of which the 99th of a hundred is the worst: it may be other tests'."""
OVERTIME_S = 0.1 if STRICT else 2.0
"""How long after its deadline a call may end."""
SWEPT_S = 1.0 if STRICT else 3.0
"""How long after its plugin a process may live."""
SETTLED_S = 5.0
"""How long the counts of the host may take to come back."""
LIVE = ("starting", "running", "degraded", "stopping")
SERVING = ("running", "degraded")
WATCHFUL = {"interval": "100ms", "timeout": "200ms", "misses": 2}
"""A [health] table that finds a hang in half a second."""
REPLACED_SOON: dict[str, Any] = {
    "restart": {"backoff_min": "20ms", "backoff_max": "50ms"},
    "health": {"interval": "200ms", "timeout": "500ms", "misses": 2},
    "start": {"stop_timeout": "50ms"},
}
"""Tables of a plugin that, whatever becomes of it, has a successor within a second or two."""
PROBE_S = 0.005
CALL_PACE_S = 0.01
"""Between two calls to the sibling: a call costs two processes much more than a look at the loop."""


def gremlin(
    parent: Path, vice: str = "none", *, seconds: float = 20.0, name: str = "victim", **tables: Any
) -> Path:
    """A gremlin of its own name, with a vice and further tables of its manifest; quick to restart."""
    folder = parent / name
    folder.mkdir(parents=True)
    shutil.copy(SAMPLES / "gremlin" / "gremlin.py", folder)
    command = [sys.executable, "gremlin.py", "--vice", vice, "--seconds", f"{seconds:g}"]
    manifest: dict[str, Any] = {
        "plugin": {"name": name, "version": "1.0.0"},
        "run": {"command": command},
        "restart": QUICK,
        "start": {"stop_timeout": "100ms"},
    }
    for table, keys in tables.items():
        manifest[table] = manifest.get(table, {}) | keys
    (folder / "plugin.toml").write_text(tomli_w.dumps(manifest), encoding="utf-8")
    return folder


class Arena(Stage):
    """A stage whose calls are watched."""

    def __init__(self, host: Host, events: Events) -> None:
        super().__init__(host, events)
        self.lateness: list[float] = []
        self.delays: list[float] = []
        """Before each restart of a victim, seconds."""
        host.on_event(self._note_delay)
        self.wrong: list[str] = []
        """What was not as it has to be."""

    def _note_delay(self, event: HostEvent) -> None:
        if isinstance(event, StateChanged) and event.state == "backoff":
            self.delays.append(self.status(event.plugin).next_start_in_s)

    def ours(self) -> set[int]:
        """Whom the host has besides its victims: the healthy plugin, and what plugins are forked from."""
        return {self.pid("steady"), self.host.status().host.warm_start.pid or 0}

    def status(self, name: str = "victim") -> Any:
        return self.host.status(name).plugins[0]

    async def call(self, plugin: str, method: str, *, timeout: float = 5.0, **params: Any) -> Any:
        """A call; whatever comes of it has to come in time, and an error has to be one of ours."""
        began_at = time.monotonic()
        try:
            return await self.host.call(plugin, method, timeout=timeout, **params)
        except OutboardError:
            raise
        except Exception as error:
            self.wrong.append(f"{plugin}.{method} ended in {error!r}, which is not typed")
            raise
        finally:
            over_s = time.monotonic() - began_at - timeout
            if over_s > OVERTIME_S:
                self.wrong.append(f"{plugin}.{method} ended {over_s:.2f} s after its deadline")

    async def fails(
        self, method: str, *errors: type[OutboardError], plugin: str = "victim", **options: Any
    ) -> OutboardError:
        """The error in which a call ends, which has to be one of `errors`."""
        with pytest.raises(errors or OutboardError) as caught:
            await self.call(plugin, method, **options)
        return caught.value

    async def all_fail(self, methods: list[str], **options: Any) -> list[Any]:
        """The errors of calls to `victim` that are made at once, in their order."""
        return await settled([partial(self.call, "victim", method, **options) for method in methods])

    async def ends(
        self, state: str, *words: str, plugin: str = "victim", within_s: float = 10.0
    ) -> StateChanged:
        """The next end of a life of `plugin`: it has to be in `state`, with `words` in its reason."""

        def fits(event: HostEvent) -> bool:
            return isinstance(event, StateChanged) and event.plugin == plugin and is_end(event)

        ended: StateChanged = await self.events.until(fits, within_s=within_s)
        assert ended.state == state, ended
        for word in words:
            assert word in ended.reason, ended
        return ended

    def kernel_keeps(self, limit: str, plugin: str = "victim") -> bool:
        """Whether a limit of `plugin` is kept by its control group: what exceeds it then ends otherwise."""
        found = next(each for each in self.status(plugin).limits if each.name == limit)
        return "cgroup" in (found.mechanism or "")

    async def sibling_answers(self) -> None:
        """Returns once `steady` has answered three times more."""
        until = self.answered + 3
        assert not await _until_none(lambda: self.answered < until, 10.0)

    async def serves(self, plugin: str = "victim", *, within_s: float = 10.0) -> StateChanged:
        """The next time that `plugin` begins to serve."""
        return await self.events.state(plugin, *SERVING, within_s=within_s)

    async def becomes(
        self, so: Callable[[Any], object], plugin: str = "victim", *, within_s: float = 10.0
    ) -> None:
        """Returns once the status of `plugin` is so."""
        assert not await _until_none(lambda: not so(self.status(plugin)), within_s), self.status(plugin)

    async def comes_back(self, plugin: str = "victim") -> None:
        """It serves again, and answers."""
        await self.serves(plugin)
        await self.call(plugin, "echo", value=1)

    async def serves_again(self) -> int:
        """Started if need be, the victim answers: the generation that does."""
        with anyio.fail_after(15):
            while True:
                with suppress(OutboardError):
                    if await self.call("victim", "echo", value=1, timeout=1.0) == 1:
                        return int(self.status().generation)
                if self.status().state in ("stopped", "failed", "quarantined"):
                    with suppress(OutboardError):
                        await self.host.start("victim")
                await anyio.sleep(0.02)


def is_end(event: StateChanged) -> bool:
    """Whether the event tells the end of a process's life."""
    return event.previous in LIVE and event.state not in LIVE


@asynccontextmanager
async def arena(tmp_path: Path, *victims: Path, **options: Any) -> AsyncIterator[Arena]:
    """`victims` are plugins; `options` are those of `Host`."""
    steady = write_plugin(tmp_path / "healthy", "steady")
    host = Host(plugins=[steady], data_dir=tmp_path / "data", **options)
    fought = Arena(host, Events(host))
    pid = os.getpid()
    # What pytest and other tests have in memory is not the host's, and it is not for the host to be late
    # because it is looked through: that takes 10 ms and more. It stays frozen: most of it lives to the end.
    gc.collect()
    gc.freeze()
    try:
        async with host:
            instance = tag_of(fought.pid("steady")).partition(":")[0]
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_call_steady, fought)
                tasks.start_soon(_measure_lateness, fought.lateness)
                await fought.sibling_answers()
                await fought.becomes(lambda status: status.memory_bytes, "steady")  # it has been looked at
                before = counts()
                for victim in victims:
                    await host.add(victim)
                yield fought
                await fought.sibling_answers()
                names = [plugin.name for plugin in host.status().plugins if plugin.name != "steady"]
                for name in names:
                    if (victim_pid := fought.status(name).pid) is not None:
                        os.kill(victim_pid, signal.SIGKILL)  # or a deaf one would take its 6 s
                    await host.remove(name)
                left = await _until_none(
                    lambda: left_behind(instance, tmp_path, besides=fought.ours()), SWEPT_S
                )
                assert not left, f"processes are left behind: {left}"
                excess = await _until_none(lambda: _excess(before), SETTLED_S)
                assert not excess, f"the host does not let go of {excess}"
                assert host.status().host.pid == pid
                assert fought.status("steady").generation == 1
                assert fought.status("steady").calls.timeout == fought.status("steady").calls.error == 0
                tasks.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        raise _first_of(group) from None  # one is what a person can read
    assert not fought.wrong
    assert not fought.events.failures("steady")
    assert not wrong_ends(fought.events.seen)
    late = sorted(fought.lateness)
    beyond = max(len(late) - 1 - int(len(late) * 0.99), ONE_MOMENT)
    assert late[-1 - beyond] <= LATENESS_P99_S, late[-5:]


def _first_of(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


async def _call_steady(fought: Arena) -> None:
    while True:
        assert await fought.host.call("steady", "echo", value=fought.answered, timeout=10) == fought.answered
        fought.answered += 1
        await anyio.sleep(CALL_PACE_S)  # a pace, not a wait: the machine is for the plugin under test too


async def _measure_lateness(lateness: list[float]) -> None:
    while True:
        due = time.monotonic() + PROBE_S
        await anyio.sleep(PROBE_S)
        lateness.append(time.monotonic() - due)


async def _until_none(condition: Callable[[], Any], within_s: float) -> Any:
    """What `condition` finds, until it finds nothing or the time is over."""
    ends_at = time.monotonic() + within_s
    while (found := condition()) and time.monotonic() < ends_at:  # noqa: ASYNC110  # of what no event tells
        await anyio.sleep(0.02)
    return found


def p99(values: list[float]) -> float:
    return sorted(values)[int(len(values) * 0.99)] if values else 0.0


def wrong_ends(events: list[HostEvent]) -> list[str]:
    """Lives that ended in more than one event, or in one without a reason."""
    ends = [event for event in events if isinstance(event, StateChanged) and is_end(event)]
    twice = Counter((event.plugin, event.generation) for event in ends)
    wrong = [f"{plugin}, generation {number}: {n} ends" for (plugin, number), n in twice.items() if n > 1]
    return wrong + [f"no reason: {event}" for event in ends if not event.reason]


# ---- what a host holds -----------------------------------------------------------------------------


def counts() -> Counter[str]:
    """Descriptors, tasks and threads of this process, without the pool of threads, which has a bound."""
    threads = [each.name for each in threading.enumerate() if "worker" not in each.name.lower()]
    return Counter(
        {
            "descriptors": len(os.listdir("/proc/self/fd")),
            "tasks": len(asyncio.all_tasks()),
            "threads": len(threads),
        }
    )


def _excess(before: Counter[str]) -> dict[str, int]:
    return dict(counts() - before)


# ---- processes -------------------------------------------------------------------------------------


def tag_of(pid: int) -> str:
    """What the host has written on the process; "" if nothing, or if it is gone."""
    for entry in _read(pid, "environ").split(b"\0"):
        if entry.startswith(b"OUTBOARD_INSTANCE="):
            return entry.partition(b"=")[2].decode()
    return ""


def working_in(folder: Path) -> set[int]:
    """Processes whose folder that is, or one below it."""
    return set(left_behind("nobody", folder, besides=set()))


def left_behind(instance: str, folder: Path, *, besides: set[int]) -> dict[int, str]:
    """Processes that have the tag of a host's plugin, or work in `folder`, with what they are."""
    found = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) in besides | {os.getpid()}:
            continue
        pid = int(entry)
        try:
            works_there = f"{os.readlink(f'/proc/{pid}/cwd')}/".startswith(f"{folder}/")
        except OSError:  # ended, a zombie, or a stranger's
            continue
        if works_there or tag_of(pid).startswith(f"{instance}:"):
            found[pid] = _read(pid, "cmdline").replace(b"\0", b" ").decode(errors="replace")
    return found


def _read(pid: int, what: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{what}").read_bytes()
    except OSError:
        return b""


# ---- with a daemon ---------------------------------------------------------------------------------


class Besieged(Daemon):
    """A daemon in whose healthy plugin `steady` calls are made throughout, from a thread."""

    answered = 0
    failed = ""

    def counts(self) -> Counter[str]:
        """Its descriptors and threads."""
        return Counter({what: len(os.listdir(f"/proc/{self.process.pid}/{what}")) for what in ("fd", "task")})

    def call_steady(self, until: threading.Event) -> None:
        while not until.wait(CALL_PACE_S):
            try:
                params = {"plugin": "steady", "method": "echo", "params": {"value": self.answered}}
                assert self.ask("call", params, timeout=60) == self.answered  # the daemon may be stopped
            except Exception as error:
                self.failed = repr(error)
                return
            self.answered += 1


@contextmanager
def besieged(home: Path, *victims: Path, is_to_die: bool = False, **options: Any) -> Iterator[Besieged]:
    """The same invariants for a real `outboard run`, but for its tasks, which nobody can see from outside.

    `is_to_die`: the row ends the daemon itself, and says itself what has to be true then.
    """
    steady = write_plugin(home / "healthy", "steady")
    with Besieged(home, steady, *victims, whole=STRICT, **options) as daemon:
        instance = tag_of(daemon.plugin("steady")["pid"]).partition(":")[0]
        over = threading.Event()
        caller = threading.Thread(target=daemon.call_steady, args=(over,))
        before = daemon.counts()
        if not is_to_die:
            caller.start()
        try:
            yield daemon
            if not is_to_die:
                _assert_that_it_stood(daemon, before)
        finally:
            over.set()
            if caller.ident is not None:
                caller.join(30)
        if not is_to_die:
            assert daemon.stop() == 0
        left = _wait_until_none(lambda: left_behind(instance, home, besides=set()), SWEPT_S)
        assert not left, f"processes are left behind: {left}"
        assert "Traceback" not in daemon.said


def _assert_that_it_stood(daemon: Besieged, before: Counter[str]) -> None:
    answered = daemon.answered
    assert _wait_until_none(lambda: daemon.answered < answered + 3 and not daemon.failed, 10) is False
    assert not daemon.failed
    assert daemon.process.poll() is None
    status = daemon.status()
    assert status["host"]["pid"] == daemon.process.pid
    assert {plugin["generation"] for plugin in status["plugins"] if plugin["name"] == "steady"} == {1}
    excess = _wait_until_none(lambda: dict(daemon.counts() - before), SETTLED_S)
    allowed = {"fd": 1, "task": 4}  # a connection of the caller's, and the loop's pool of threads
    assert all(extra <= allowed[what] for what, extra in excess.items()), f"the daemon keeps {excess}"


def _wait_until_none(condition: Callable[[], Any], within_s: float) -> Any:
    ends_at = time.monotonic() + within_s
    while (found := condition()) and time.monotonic() < ends_at:
        threading.Event().wait(0.02)
    return found
