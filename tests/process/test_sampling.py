"""When trees are looked at, in a time of our own; and what the two readers see of real processes."""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from host.process.portable import PsutilReader
from host.process.procfs import ProcReader
from host.process.sampling import EXACT_REST, Sampler
from host.process.table import Process, walk
from host.process.usage import Bounds, Measure, Quick, Usage

MIB = 1024**2
linux = pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
READERS = [pytest.param(ProcReader, marks=linux), PsutilReader]


class Imagined:
    """Trees that use what a test says, with a count of how often each was looked at."""

    def __init__(self) -> None:
        self.rss: dict[int, float] = {}
        self.shared = 0
        self.processes = 1
        self.cpu_s = 0.0
        self.looks: dict[int, int] = {}
        self.exact = 0
        self.scans = 0

    def follow(self, roots: set[int]) -> None:
        pass

    def find_descendants(self) -> None:
        self.scans += 1

    def quick(self, root: int) -> Quick | None:
        self.looks[root] = self.looks.get(root, 0) + 1
        if root not in self.rss:
            return None
        return Quick(int(self.rss[root]), self.cpu_s, self.processes, self.processes)

    def exact_memory(self, root: int) -> tuple[int, Measure] | None:
        self.exact += 1
        return int(self.rss[root]) - self.shared, "pss"

    def open_files(self, root: int) -> int | None:
        return 7

    def below(self, root: int) -> frozenset[Process]:
        return frozenset()

    def close(self) -> None:
        pass


class World:
    """A sampler that is asked as its shell asks it."""

    def __init__(self, *roots: int, **bounds: int) -> None:
        self.reader = Imagined()
        self.sampler = Sampler(self.reader)
        self.wanted = dict.fromkeys(roots or (1,), Bounds(**bounds))
        self.now = 1000.0
        self.turns = 0
        self.seen: list[tuple[float, Usage]] = []

    def run(self, seconds: float, rss: Any = None) -> None:
        """`rss(t)` is what the first tree has at `t` seconds from now."""
        began = self.now
        while self.now < began + seconds:
            if rss is not None:
                self.reader.rss[1] = rss(self.now - began)
            for root, usage in self.sampler.look(self.wanted, self.now).items():
                if root == 1:
                    self.seen.append((self.now, usage))
            self.turns += 1
            self.now = max(self.now + 0.02, self.sampler.due(self.now))


def test_five_hundred_trees_at_rest_are_looked_at_together_once_a_second() -> None:
    world = World(*range(500), memory_bytes=100 * MIB)
    world.reader.rss = dict.fromkeys(range(500), 10.0 * MIB)
    world.run(60)
    assert 59 <= world.turns <= 62
    assert set(world.reader.looks.values()) <= {59, 60, 61, 62}
    assert world.reader.exact == 0
    assert world.reader.scans <= 62


def test_one_that_nears_its_limit_is_seen_in_time_and_only_that_one_more_often() -> None:
    world = World(1, 2, memory_bytes=1000 * MIB)
    world.reader.rss[2] = 10 * MIB
    world.run(20, rss=lambda t: t * 60 * MIB)
    over = [usage.memory_bytes for _, usage in world.seen if usage.memory_bytes > 1000 * MIB]
    assert over[0] <= 1010 * MIB
    assert world.reader.looks[2] <= 22


def test_what_has_become_calm_is_looked_at_seldom_again() -> None:
    world = World(memory_bytes=1000 * MIB)
    world.run(10, rss=lambda t: min(t, 2) * 300 * MIB)
    looks = world.reader.looks[1]
    world.run(10, rss=lambda t: 600 * MIB)
    assert world.reader.looks[1] - looks <= 12


def test_a_process_count_that_grows_is_followed_like_memory() -> None:
    world = World(processes=64)
    world.reader.rss[1] = 1.0
    for count in (1, 20, 40):
        world.reader.processes = count
        world.run(1.0)
    assert world.sampler.due(world.now) - world.now <= 0.3


def test_memory_is_counted_exactly_only_where_it_matters_and_nobody_exceeds_by_a_guess() -> None:
    world = World(memory_bytes=300 * MIB)
    world.reader.shared = 500 * MIB
    world.reader.exact_memory = slow(world.reader.exact_memory)  # type: ignore[method-assign]
    world.run(5, rss=lambda t: 600 * MIB)
    assert world.seen
    assert all(usage.memory_bytes <= 300 * MIB for _, usage in world.seen)
    assert world.seen[-1][1].measure == "pss"
    assert 1 <= world.reader.exact <= 5 / (0.01 * EXACT_REST) + 2


def slow(count: Any) -> Any:
    def wrapped(root: int) -> Any:
        until = time.perf_counter() + 0.01
        while time.perf_counter() < until:
            pass
        return count(root)

    return wrapped


def test_below_the_soft_limit_the_quick_count_is_enough() -> None:
    world = World(memory_bytes=300 * MIB)
    world.run(5, rss=lambda t: 239 * MIB)
    assert world.reader.exact == 0
    assert world.seen[-1][1].measure == "rss"


def test_processor_time_is_per_second_and_never_negative() -> None:
    world = World()
    world.reader.rss[1] = 1.0
    world.reader.cpu_s = 50.0
    world.run(3)
    assert {usage.cpu_percent for _, usage in world.seen} == {0.0}
    world.reader.cpu_s += 1.0
    world.run(1)
    assert 90 <= max(usage.cpu_percent for _, usage in world.seen) <= 105
    world.reader.cpu_s = 0.0  # one that had computed a lot is gone
    world.run(1)
    assert world.seen[-1][1].cpu_percent == 0.0


def test_peaks_stay_when_use_falls() -> None:
    world = World()
    world.run(2, rss=lambda t: 50.0)
    world.run(2, rss=lambda t: 20.0)
    assert world.seen[-1][1].memory_bytes == 20
    assert world.seen[-1][1].peak.memory_bytes == 50
    assert world.seen[-1][1].peak.open_files == 7


def test_a_changed_limit_is_looked_at_at_once() -> None:
    world = World(memory_bytes=1000)
    world.run(2, rss=lambda t: 10.0)
    looks = len(world.seen)
    world.wanted = {1: Bounds(memory_bytes=20)}
    world.run(0.01, rss=lambda t: 10.0)
    assert len(world.seen) == looks + 1


# -- real processes --------------------------------------------------------------------------------


@contextlib.contextmanager
def running(code: str, *, lines: int = 1) -> Iterator[tuple[subprocess.Popen[bytes], list[int]]]:
    """A Python that says so many lines of numbers and then waits for the end of its stdin."""
    process = subprocess.Popen(
        [sys.executable, "-c", f"import os, sys, subprocess, threading\n{code}\nsys.stdin.read()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        process_group=0,
    )
    assert process.stdout is not None
    try:
        yield process, [int(process.stdout.readline()) for _ in range(lines)]
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, 9)
        process.communicate()


@pytest.fixture
def reader(request: pytest.FixtureRequest) -> Iterator[Any]:
    reader = request.param()
    yield reader
    reader.close()


GRANDCHILD = """
child = subprocess.Popen([sys.executable, "-c", "import subprocess; subprocess.run(['sleep', '60'])"])
print(child.pid, flush=True)
"""


@pytest.mark.parametrize("reader", READERS, indirect=True)
def test_a_reader_sees_the_whole_tree_and_forgets_what_ends(reader: Any) -> None:
    with running(GRANDCHILD) as (process, (child,)):
        until = time.monotonic() + 10
        while True:
            reader.follow({process.pid})
            reader.find_descendants()
            quick = reader.quick(process.pid)
            if quick is not None and quick.processes == 3:
                break
            assert time.monotonic() < until
        assert quick.rss_bytes > 10 * MIB
        assert quick.threads == 3
        assert (reader.open_files(process.pid) or 0) >= 3
        exact, _ = reader.exact_memory(process.pid)
        assert 0 < exact < quick.rss_bytes
        os.kill(child, 9)
        os.killpg(process.pid, 9)
        process.wait()
        while (quick := reader.quick(process.pid)) is not None:
            assert time.monotonic() < until, quick
        assert reader.exact_memory(process.pid) is None


@linux
def test_a_reader_says_who_is_below_a_root_also_once_the_root_is_gone() -> None:
    with running(GRANDCHILD) as (process, (child,)), contextlib.closing(ProcReader()) as reader:
        until = time.monotonic() + 10
        reader.follow({process.pid})
        while len(reader.below(process.pid)) < 2:
            reader.find_descendants()
            assert time.monotonic() < until
        below = reader.below(process.pid)
        assert below == set(walk(process.pid))
        reader.find_descendants()
        assert reader.below(process.pid) is below  # nobody has come or gone
        process.kill()
        process.wait()
        assert reader.quick(process.pid) is not None
        assert reader.below(process.pid) == below
        os.kill(child, 9)
        while child in {one.pid for one in reader.below(process.pid)}:
            reader.quick(process.pid)
            assert time.monotonic() < until


@pytest.mark.parametrize("reader", READERS, indirect=True)
def test_a_reader_counts_threads_and_time(reader: Any) -> None:
    code = (
        "[threading.Thread(target=sys.stdin.read).start() for _ in range(4)]\n"
        "sum(range(20_000_000))\nprint(1, flush=True)"
    )
    with running(code) as (process, _):
        reader.follow({process.pid})
        quick = reader.quick(process.pid)
        assert quick is not None
        assert quick.threads == 5
        assert quick.cpu_s > 0.05


@pytest.mark.parametrize("reader", READERS, indirect=True)
def test_a_reader_is_silent_about_a_pid_that_is_not_there(reader: Any) -> None:
    reader.follow({2**22 + 1})
    reader.find_descendants()
    assert reader.quick(2**22 + 1) is None
    assert reader.exact_memory(2**22 + 1) is None
    assert reader.open_files(2**22 + 1) is None


FORKS = """
data = bytearray(40 * 1024**2)
for at in range(0, len(data), 4096): data[at] = 1
for _ in range(4):
    if not os.fork():
        os.write(1, b"%d\\n" % os.getpid())
        sys.stdin.read()
        os._exit(0)
"""


@linux
def test_what_forks_share_is_counted_once_when_it_is_counted_exactly() -> None:
    reader = ProcReader()
    with running(FORKS, lines=4) as (process, _):
        reader.follow({process.pid})
        reader.find_descendants()
        quick = reader.quick(process.pid)
        assert quick is not None
        assert quick.rss_bytes > 200 * MIB
        exact, measure = reader.exact_memory(process.pid)  # type: ignore[misc]
        assert measure == "pss"
        assert 40 * MIB < exact < 80 * MIB
    reader.close()


@linux
def test_without_kept_descriptors_it_sees_the_same() -> None:
    kept, unkept = ProcReader(), ProcReader(max_kept=0)
    with running(GRANDCHILD) as (process, _):
        for reader in (kept, unkept):
            reader.follow({process.pid})
            reader.find_descendants()
        assert (kept.kept > 0, unkept.kept) == (True, 0)
        one, other = kept.quick(process.pid), unkept.quick(process.pid)
        assert one is not None
        assert other is not None
        assert abs(one.processes - other.processes) <= 1
    until = time.monotonic() + 10
    while unkept.quick(process.pid) is not None:  # its killed children take a moment
        assert time.monotonic() < until
    kept.close()


@linux
def test_out_of_descriptors_it_gives_back_half_and_goes_on() -> None:
    with contextlib.ExitStack() as stack:
        roots = {stack.enter_context(running("print(1, flush=True)"))[0].pid for _ in range(4)}
        reader = ProcReader()
        reader.follow(roots)
        assert reader.kept == 4
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        late = stack.enter_context(running("print(1, flush=True)"))[0].pid
        highest = max(map(int, os.listdir("/proc/self/fd")))
        filler: list[int] = []
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, hard))
        try:
            with contextlib.suppress(OSError):
                while True:
                    filler.append(os.open("/dev/null", os.O_RDONLY))
            reader.find_descendants()  # cannot even list
            reader.follow(roots | {late})
            assert reader.kept == 2
            assert all(reader.quick(root) is not None for root in roots)
            assert all(reader.quick(root) is not None for root in roots)  # and nobody is taken for gone
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            for fd in filler:
                os.close(fd)
        before = len(os.listdir("/proc/self/fd"))
        reader.close()
        assert len(os.listdir("/proc/self/fd")) == before - 2


@linux
def test_a_tree_that_is_not_wanted_any_more_leaves_no_descriptor() -> None:
    before = len(os.listdir("/proc/self/fd"))
    sampler = Sampler(ProcReader())
    with running("print(1, flush=True)") as (process, _):
        assert process.pid in sampler.look({process.pid: Bounds()}, 5.0)
        assert sampler.look({}, 6.0) == {}
        pipes = 2
        assert len(os.listdir("/proc/self/fd")) == before + pipes
