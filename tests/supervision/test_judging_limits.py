"""What a use means against its limits, in a time of our own."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from host.config.effective import PluginPolicy
from host.process.usage import Peak, Usage
from host.supervision.limits import EASED_AFTER_S, LIMITS, Judgement, Watches, judge, mechanisms, rows

MIB = 1024**2
POLICY = PluginPolicy(memory_bytes=100 * MIB, processes=10, threads=20, open_files=40, cpu_percent=200)


class Watched:
    """A plugin that is looked at once a second."""

    def __init__(self, policy: PluginPolicy = POLICY) -> None:
        self.policy = policy
        self.now = 1000.0
        self.watches: Watches = {}
        self.concerns: set[str] = set()

    def look(self, **used: Any) -> Judgement:
        judged = judge(self.policy, Usage(**({"memory_bytes": 0} | used)), self.watches, self.now)
        self.now += 1.0
        self.watches = judged.watches
        assert not self.concerns & judged.concerns.keys(), "told twice"
        self.concerns |= judged.concerns.keys()
        assert set(judged.eased) <= self.concerns, "eased, and was none"
        self.concerns -= set(judged.eased)
        return judged


def test_at_rest_nothing_is_remembered() -> None:
    plugin = Watched()
    assert plugin.look(memory_bytes=79 * MIB, processes=7, threads=15, open_files=9) == Judgement({})


@pytest.mark.parametrize(
    ("used", "text"),
    [
        ({"memory_bytes": 80 * MIB}, "memory: 80 MiB of 100 MiB"),
        ({"processes": 8}, "processes: 8 of 10"),
        ({"threads": 16}, "threads: 16 of 20"),
        ({"open_files": 10}, "open_files: 10 of 40"),
    ],
)
def test_a_soft_limit_is_a_concern_at_once_and_told_once(used: dict[str, int], text: str) -> None:
    plugin = Watched()
    (name,) = plugin.look(**used).concerns.items()
    assert name == (text.split(":")[0], text)
    for _ in range(100):
        assert not plugin.look(**used).concerns


def test_a_plugin_that_may_have_one_process_and_has_one_is_no_concern() -> None:
    plugin = Watched(PluginPolicy(processes=1))
    assert plugin.look(processes=1) == Judgement({})
    assert plugin.look(processes=2).breach
    (row,) = (row for row in rows(plugin.policy, None, (), platform="linux") if row.name == "processes")
    assert row.soft is None


def test_it_is_over_after_thirty_seconds_below_and_not_for_a_dip() -> None:
    plugin = Watched()
    plugin.look(memory_bytes=85 * MIB)
    for _ in range(29):
        assert not plugin.look(memory_bytes=10 * MIB).eased
    assert not plugin.look(memory_bytes=85 * MIB).eased  # a dip of 29 s
    for _ in range(30):
        assert not plugin.look(memory_bytes=10 * MIB).eased
    assert plugin.look(memory_bytes=10 * MIB).eased == ("memory",)
    assert plugin.watches == {}


def test_processor_time_is_a_concern_only_after_thirty_seconds_and_never_the_end() -> None:
    plugin = Watched()
    for _ in range(30):
        assert not plugin.look(cpu_percent=900.0).concerns
    judged = plugin.look(cpu_percent=900.0)
    assert judged.concerns == {"cpu_percent": "cpu_percent: 900 % of 200 %"}
    assert judged.breach is None


def test_a_burst_of_processor_time_is_nobodys_business() -> None:
    plugin = Watched()
    for _ in range(10):
        for _ in range(29):
            plugin.look(cpu_percent=200.0)
        plugin.look(cpu_percent=10.0)
    assert not plugin.concerns


@pytest.mark.parametrize(
    ("used", "text"),
    [
        (
            {"memory_bytes": 231 * MIB, "processes": 3, "measure": "pss"},
            "memory: 231 MiB of 100 MiB (PSS of 3 processes), killed by the host",
        ),
        (
            {"memory_bytes": 101 * MIB + 1, "measure": "private"},
            "memory: 101.0 MiB of 100 MiB (private memory of 1 process), killed by the host",
        ),
        ({"processes": 11}, "processes: 11 of 10, killed by the host"),
        ({"threads": 21}, "threads: 21 of 20, killed by the host"),
    ],
)
def test_more_than_a_hard_limit_is_the_end_and_says_how_much(used: dict[str, Any], text: str) -> None:
    judged = Watched().look(**used)
    assert judged.breach is not None
    assert judged.breach.text.replace("101.0", "101") == text.replace("101.0", "101")
    assert f"limits.{judged.breach.limit}" in judged.breach.fix
    assert judged.breach.limit not in judged.concerns  # it is past that


def test_exactly_the_hard_limit_is_not_too_much() -> None:
    assert Watched().look(memory_bytes=100 * MIB, processes=10, threads=20).breach is None


def test_without_a_limit_nothing_is_ever_said() -> None:
    free = msgspec.structs.replace(
        POLICY, memory_bytes=None, processes=None, threads=None, open_files=None, cpu_percent=None
    )
    plugin = Watched(free)
    for _ in range(100):
        judged = plugin.look(memory_bytes=2**50, processes=10**6, threads=10**6, cpu_percent=1e6)
        assert judged == Judgement({})


def test_a_limit_that_is_lowered_holds_at_the_next_look() -> None:
    plugin = Watched()
    assert plugin.look(processes=7).breach is None
    plugin.policy = msgspec.structs.replace(POLICY, processes=5)
    assert plugin.look(processes=7).breach is not None


looks = st.lists(
    st.builds(
        dict,
        memory_bytes=st.sampled_from([0, 79 * MIB, 80 * MIB, 100 * MIB, 101 * MIB]),
        processes=st.integers(1, 12),
        threads=st.integers(1, 22),
        open_files=st.none() | st.integers(0, 40),
        cpu_percent=st.sampled_from([0.0, 179.0, 180.0, 500.0]),
    ),
    max_size=200,
)


@given(looks=looks)
def test_whatever_is_seen_a_concern_comes_and_goes_in_turn_and_an_end_has_a_limit(looks: list[Any]) -> None:
    plugin = Watched()
    since: dict[str, float] = {}
    for used in looks:
        judged = plugin.look(**used)
        for name in judged.eased:
            assert plugin.now - since.pop(name) >= EASED_AFTER_S
        since |= dict.fromkeys(judged.concerns, plugin.now)
        over = used["memory_bytes"] > 100 * MIB or used["processes"] > 10 or used["threads"] > 20
        assert (judged.breach is not None) == over


def test_status_has_a_row_for_every_limit_with_who_keeps_it() -> None:
    usage = Usage(memory_bytes=5, processes=2, threads=3, cpu_percent=4.5, peak=Peak(memory_bytes=9))
    found = {row.name: row for row in rows(POLICY, usage, (), platform="linux")}
    assert list(found) == [limit.name for limit in LIMITS] + ["file_size", "core"]
    memory = found["memory"]
    assert (memory.soft, memory.hard, memory.usage, memory.peak) == (80 * MIB, 100 * MIB, 5, 9)
    assert (found["open_files"].soft, found["cpu_percent"].soft, found["core"].hard) == (10, 180, 0)
    assert found["open_files"].usage is None


@pytest.mark.parametrize(
    ("controllers", "platform", "memory", "threads", "cpu"),
    [
        ((), "linux", "RLIMIT_DATA, the host", "the host", "nobody (nice 5)"),
        ((), "darwin", "the host", "the host", "nobody (nice 5)"),
        (
            ("memory", "pids", "cpu"),
            "linux",
            "RLIMIT_DATA, cgroup memory.max",
            "cgroup pids.max",
            "cgroup cpu.max",
        ),
        (("pids",), "linux", "RLIMIT_DATA, the host", "cgroup pids.max", "nobody (nice 5)"),
    ],
)
def test_who_keeps_a_limit_depends_on_what_there_is(
    controllers: tuple[str, ...], platform: str, memory: str, threads: str, cpu: str
) -> None:
    found = mechanisms(POLICY, controllers, platform=platform)
    assert (found["memory"], found["threads"], found["cpu_percent"]) == (memory, threads, cpu)


def test_nobody_keeps_a_limit_that_is_none() -> None:
    free = PluginPolicy(memory_bytes=None, file_size_bytes=None)
    assert {"memory", "file_size", "cpu_percent"}.isdisjoint(mechanisms(free, (), platform="linux"))
