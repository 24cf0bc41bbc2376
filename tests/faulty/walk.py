"""A random walk over faults: one after the other, sometimes two at once, while calls go on.

    python -m tests.faulty.walk --faults 1000 --seed 7

What is done, and to whom, is drawn from the seed alone, so a walk can be walked again. The invariants of
the fault matrix hold all along (`tests/support/arena.py`); after each fault its victim has to serve again,
and every fifty faults nothing may be left of those before. Ends with a summary, or with the step that failed.
"""

from __future__ import annotations

import argparse
import math
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import msgspec
import tomli_w

from host import OutboardError
from tests.support.arena import WATCHFUL, Arena, arena, counts, gremlin, left_behind, p99, tag_of
from tests.support.daemon import SAMPLES
from tests.support.plugins import write_plugin

EVERY = 50
"""So many faults after each other, and then it is looked whether anything is left of them."""
RECOVERS_S = 20.0
TWO_AT_ONCE = 0.2
RESTART = {"backoff_min": "1ms", "backoff_max": "20ms", "intensity": 2000, "policy": "always"}
TABLES: dict[str, Any] = {"restart": RESTART, "health": WATCHFUL, "start": {"stop_timeout": "50ms"}}

SYNC = """
plugin.threads = THREADS

@plugin.method
def echo(value: Any = None) -> Any:
    return value

@plugin.method
def hang(s: float = 60.0) -> None:
    time.sleep(s)

@plugin.method
def leave(code: int) -> None:
    os._exit(code)

@plugin.method
def crash() -> None:
    ctypes.string_at(0)

@plugin.method
def fail() -> None:
    raise ZeroDivisionError("again")

@plugin.method
def talk(lines: int) -> None:
    for number in range(lines):
        print("line", number)
        sys.stderr.write("x" * 300 + "\\n")

@plugin.method
def close() -> None:
    os.closerange(3, 64)
"""
ASYNC = "import asyncio\n" + SYNC.replace("plugin.threads = THREADS\n", "").replace(
    "def ", "async def "
).replace("time.sleep", "await asyncio.sleep")


class Step(msgspec.Struct, frozen=True):
    """One fault. `luck`, from 0 to 1, is whatever the fault makes of it."""

    fault: str
    victim: str
    luck: float


class Summary(msgspec.Struct, kw_only=True):
    seed: int
    faults: int = 0
    by_fault: dict[str, int] = {}
    by_victim: dict[str, int] = {}
    took_s: float = 0.0
    sibling_calls: int = 0
    sibling_failures: int = 0
    victim_calls: int = 0
    victim_errors: dict[str, int] = {}
    restarts: int = 0
    leaked_processes: int = 0
    lag_p99_ms: float = 0.0
    lag_worst_ms: float = 0.0

    def lines(self) -> list[str]:
        """As a person reads it."""
        errors = ", ".join(f"{count} {name}" for name, count in sorted(self.victim_errors.items()))
        named = ", ".join(f"{name} {count}" for name, count in sorted(self.by_fault.items()))
        victims = ", ".join(f"{name} {count}" for name, count in sorted(self.by_victim.items()))
        return [
            f"seed               {self.seed}",
            f"faults injected    {self.faults} in {self.took_s:.0f} s",
            f"  of               {named}",
            f"  in               {victims}",
            f"processes ended    {self.restarts}",
            f"sibling calls      {self.sibling_calls}",
            f"sibling failures   {self.sibling_failures}",
            f"calls to victims   {self.victim_calls}, of which ended in an error: {errors or 'none'}",
            f"leaked processes   {self.leaked_processes}",
            f"loop lag           p99 {self.lag_p99_ms:.1f} ms, worst {self.lag_worst_ms:.0f} ms",
        ]


# ---- the faults ------------------------------------------------------------------------------------

Fault = Callable[[Arena, Step], Awaitable[None]]


def signalled(number: int) -> Fault:
    async def inject(fought: Arena, step: Step) -> None:
        send(fought, step.victim, number)

    return inject


def called(method: str, timeout: float = 2.0, **params: Any) -> Fault:
    """A call that ends as it likes, but in time and typed: `Arena.call` sees to that."""

    async def inject(fought: Arena, step: Step) -> None:
        with suppress(OutboardError):
            await fought.call(step.victim, method, timeout=timeout, **params)

    return inject


def send(fought: Arena, victim: str, number: int) -> None:
    pid = fought.status(victim).pid
    if pid is not None:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


async def pause(fought: Arena, step: Step) -> None:
    """Stopped for less than what counts as a hang."""
    send(fought, step.victim, signal.SIGSTOP)
    await anyio.sleep(step.luck * 0.1)
    send(fought, step.victim, signal.SIGCONT)


async def crowd(fought: Arena, step: Step) -> None:
    """Killed under fifty calls."""
    async with anyio.create_task_group() as calls:
        for _ in range(50):
            calls.start_soon(called("echo"), fought, step)
        await anyio.sleep(step.luck * 0.01)
        send(fought, step.victim, signal.SIGKILL)


async def give_up(fought: Arena, step: Step) -> None:
    """A caller that goes away."""
    with anyio.move_on_after(step.luck * 0.05), suppress(OutboardError):
        await fought.call(step.victim, "echo", timeout=2)


async def restart(fought: Arena, step: Step) -> None:
    with suppress(OutboardError):
        await fought.host.restart(step.victim)


async def kill_at_start(fought: Arena, step: Step) -> None:
    """Killed at some moment of its start."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(restart, fought, step)
        await anyio.sleep(step.luck * 0.15)
        send(fought, step.victim, signal.SIGKILL)


async def stop_and_start(fought: Arena, step: Step) -> None:
    with suppress(OutboardError):
        await fought.host.stop(step.victim)
    with suppress(OutboardError):
        await fought.host.start(step.victim)


async def disable_and_enable(fought: Arena, step: Step) -> None:
    await fought.host.disable(step.victim)
    with suppress(OutboardError):
        await fought.host.enable(step.victim)


async def reload(fought: Arena, step: Step) -> None:
    await fought.host.reload()


async def many_operators(fought: Arena, step: Step) -> None:
    async with anyio.create_task_group() as operators:
        for what in (stop_and_start, restart, disable_and_enable, reload):
            operators.start_soon(what, fought, step)


OUTSIDE: dict[str, Fault] = {
    "kill": signalled(signal.SIGKILL),
    "terminate": signalled(signal.SIGTERM),
    "segv": signalled(signal.SIGSEGV),
    "abort": signalled(signal.SIGABRT),
    "freeze": signalled(signal.SIGSTOP),
    "pause": pause,
    "crowd": crowd,
    "give-up": give_up,
    "restart": restart,
    "kill-at-start": kill_at_start,
    "stop-start": stop_and_start,
    "disable-enable": disable_and_enable,
    "reload": reload,
    "operators": many_operators,
}
"""What can happen to any plugin."""
OWN: dict[str, Fault] = {
    "exit-1": called("leave", code=1),
    "exit-0": called("leave", code=0),
    "crash-in-call": called("crash"),
    "exception": called("fail"),
    "late": called("hang", 0.05, s=0.1),
    "flood": called("talk", lines=500),
    "close-pipes": called("close", 0.5),
}
"""What the walk's own plugins do when asked to."""
RAW: dict[str, Fault] = {
    name.replace("_", "-"): called(name, 0.5, seconds=0.1)
    for name in (
        *("exit_unasked", "segfault", "die", "print_noise", "garbage", "truncate", "nest_deeply"),
        *("reply_strangely", "reply_late", "stop_reading", "spin", "hold_gil", "flood_stderr", "burn"),
    )
}
"""What the gremlin does, in raw bytes."""
FAULTS: dict[str, Fault] = {**RAW, **OWN, **OUTSIDE}


def victims(folder: Path) -> dict[str, Path]:
    """By name, where each is: one of every way to run handlers, and what other languages there are."""
    made = {
        "serial": write_plugin(folder, "serial", SYNC.replace("THREADS", "1"), **TABLES),
        "threads": write_plugin(folder, "threads", SYNC.replace("THREADS", "3"), **TABLES),
        "async": write_plugin(folder, "async", ASYNC, **TABLES),
        "raw": gremlin(folder, name="raw", **TABLES),
    }
    for program, sample in (("node", "wordcount"), ("perl", "rot13")):
        if shutil.which(program):
            made[sample] = folder / sample
            shutil.copytree(SAMPLES / sample, made[sample])
            with open(made[sample] / "plugin.toml", "a") as manifest:
                manifest.write(tomli_w.dumps(TABLES))
    return made


def faults_of(victim: str) -> list[str]:
    own: dict[str, dict[str, Fault]] = {"raw": RAW, "serial": OWN, "threads": OWN, "async": OWN}
    return sorted({*OUTSIDE, *own.get(victim, {})})


def plan(seed: int, count: int, names: list[str]) -> list[list[Step]]:
    """What is done, in what order; the steps of an inner list are done at once. Drawn from the seed alone."""
    dice = random.Random(seed)
    steps: list[list[Step]] = []
    drawn = 0
    while drawn < count:
        together = min(2 if dice.random() < TWO_AT_ONCE else 1, count - drawn)
        steps.append([])
        for _ in range(together):
            victim = dice.choice(names)
            steps[-1].append(Step(dice.choice(faults_of(victim)), victim, dice.random()))
        drawn += together
    return steps


# ---- the walk --------------------------------------------------------------------------------------


async def walk(seed: int, count: int, folder: Path, say: Callable[[str], object]) -> Summary:
    """Walks, and returns what it was like. Raises AssertionError with the step that failed."""
    began_at = time.monotonic()
    places = victims(folder)
    summary = Summary(seed=seed)
    by_fault: Counter[str] = Counter()
    by_victim: Counter[str] = Counter()
    errors: Counter[str] = Counter()
    async with arena(folder, *places.values()) as fought:
        instance = tag_of(fought.pid("steady")).partition(":")[0]
        for name in places:
            await recovered(fought, name)
        async with anyio.create_task_group() as calling:
            for name in places:
                calling.start_soon(call_on, fought, name, summary, errors)
            await fought.sibling_answers()
            before = counts()
            for number, steps in enumerate(plan(seed, count, list(places))):
                try:
                    with anyio.fail_after(RECOVERS_S * 3):
                        async with anyio.create_task_group() as faults:
                            for step in steps:
                                faults.start_soon(FAULTS[step.fault], fought, step)
                        for step in steps:
                            await recovered(fought, step.victim)
                    by_fault.update(step.fault for step in steps)
                    by_victim.update(step.victim for step in steps)
                    if summary.faults // EVERY != by_fault.total() // EVERY:
                        say(f"{by_fault.total()} faults, {fought.answered} calls to the sibling")
                        await nothing_is_left(fought, instance, folder, before, summary)
                    summary.faults = by_fault.total()
                    assert not fought.wrong, fought.wrong
                except Exception as error:
                    raise AssertionError(f"seed {seed}, step {number}, {steps}: {error!r}") from error
            calling.cancel_scope.cancel()
        summary.restarts = sum(event.generation for event in fought.host.status().plugins) - len(places) - 1
    summary.by_fault, summary.by_victim, summary.victim_errors = dict(by_fault), dict(by_victim), dict(errors)
    summary.took_s = time.monotonic() - began_at
    summary.sibling_calls = fought.answered
    summary.sibling_failures = len(fought.events.failures("steady"))
    summary.lag_p99_ms = p99(fought.lateness) * 1000
    summary.lag_worst_ms = max(fought.lateness) * 1000
    return summary


async def call_on(fought: Arena, victim: str, summary: Summary, errors: Counter[str]) -> None:
    """Calls that go on whatever happens."""
    method, params = {"wordcount": ("count", {"text": "a b"}), "rot13": ("encode", {"text": "a"})}.get(
        victim, ("echo", {"value": 1})
    )
    while True:
        summary.victim_calls += 1
        try:
            await fought.call(victim, method, timeout=1.0, **params)
        except OutboardError as error:
            errors[type(error).__name__] += 1
        await anyio.sleep(0.02)


async def recovered(fought: Arena, victim: str) -> None:
    """Returns once the victim serves and has answered. One that is at rest by right is started."""
    ends_at = time.monotonic() + RECOVERS_S
    while True:
        try:
            await fought.call(victim, "$no-such-method", timeout=0.5)
        except OutboardError as error:
            if error.code == "OB405":  # an answer, from whoever it is written in
                return
            if time.monotonic() > ends_at:
                raise
        if fought.status(victim).state in ("stopped", "failed", "quarantined"):
            with suppress(OutboardError):
                await fought.host.start(victim)
        await anyio.sleep(0.005)


async def nothing_is_left(
    fought: Arena, instance: str, folder: Path, before: Counter[str], summary: Summary
) -> None:
    """Descriptors, tasks and threads are as at first, and there is no process but the plugins' own."""
    ends_at = time.monotonic() + 10.0
    excess: Any = None
    left: dict[int, str] = {}
    while time.monotonic() < ends_at:
        ours = {plugin.pid for plugin in fought.host.status().plugins if plugin.pid is not None}
        left = left_behind(instance, folder, besides=ours | fought.ours())
        excess = {what: extra for what, extra in (counts() - before).items() if extra > 2}  # calls under way
        if not left and not excess:
            return
        await anyio.sleep(0.05)
    summary.leaked_processes += len(left)
    raise AssertionError(f"left behind: {left}, and more than before: {excess}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--faults", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--page", type=Path, help="a page whose block about the walk is written anew")
    given = parser.parse_args()
    seed = given.seed if given.seed is not None else random.SystemRandom().randrange(1 << 31)
    print(f"seed {seed}", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="walk-") as folder:
        said_at = -math.inf

        def say(text: str) -> None:
            nonlocal said_at
            if time.monotonic() - said_at > 10:
                said_at = time.monotonic()
                print(text, file=sys.stderr)

        summary = anyio.run(walk, seed, given.faults, Path(folder), say)
    print("\n".join(summary.lines()))
    if given.page is not None:
        write(given.page, given.faults, summary)


def write(page: Path, faults: int, summary: Summary) -> None:
    """The block between the two marks."""
    begin, end = "<!-- the walk -->", "<!-- the end of the walk -->"
    head, _, rest = page.read_text().partition(begin)
    _, _, tail = rest.partition(end)
    command = f"python -m tests.faulty.walk --faults {faults} --seed {summary.seed}"
    about = f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} processors, Python {sys.version.split()[0]}."
    block = "\n".join([f"$ {command}", *summary.lines()])
    page.write_text(f"{head}{begin}\n{about}\n\n```text\n{block}\n```\n{end}{tail}")


if __name__ == "__main__":
    main()
