"""Each vice of the gremlin does what its row of the fault matrix says, and only that."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from protocol.errors import Fault
from protocol.events import Ended, Strayed
from sample_plugins.gremlin.gremlin import VICES
from tests.support.raw_host import SDK, Gone, RawHost

Start = Callable[..., RawHost]

ENDS = {
    "exit_at_import": 1,
    "exit_unasked": 0,
    "segfault": -signal.SIGSEGV,
    "abort": -signal.SIGABRT,
    "die": -signal.SIGKILL,
}


@pytest.mark.parametrize("vice", ENDS)
def test_a_deadly_vice_ends_the_process_in_a_call(sample: Start, vice: str) -> None:
    host = sample("gremlin").begin()
    with pytest.raises(Gone):
        host.call(vice)
    assert host.wait_exit() == ENDS[vice]


@pytest.mark.parametrize("vice", [vice for vice in ENDS if vice != "exit_at_import"])
def test_a_deadly_vice_in_the_settings_breaks_out_after_the_start(sample: Start, vice: str) -> None:
    host = sample("gremlin").begin({"vice": vice})
    assert host.wait_exit() == ENDS[vice]


def test_exit_at_import_comes_before_a_word(sample: Start) -> None:
    host = sample("gremlin", "--vice", "exit_at_import")
    assert host.wait_exit() == 1
    assert host.wait_ended() == Ended(None, "end of file")


def test_a_crash_leaves_a_stack(sample: Start) -> None:
    host = sample("gremlin").begin({"vice": "segfault"})
    host.wait_exit()
    assert "Segmentation fault" in host.stderr()
    assert "in segfault" in host.stderr()


def test_crash_every_crashes_every_life(sample: Start) -> None:
    for generation in (1, 2):
        host = sample("gremlin")
        host.begin({"vice": "crash_every", "seconds": 0.05}, plugin={"name": "g", "generation": generation})
        assert host.wait_exit() == 1


def test_crash_after_crashes_the_first_life_only(sample: Start) -> None:
    config = {"vice": "crash_after", "seconds": 0.05}
    first = sample("gremlin").begin(config, plugin={"name": "g", "generation": 1})
    assert first.wait_exit() == 1
    second = sample("gremlin").begin(config, plugin={"name": "g", "generation": 2})
    with pytest.raises(TimeoutError):
        second.next_event(0.3)
    assert second.end() == 0


@pytest.mark.parametrize("way", ["command line", "settings"])
def test_never_initialize_leaves_the_host_waiting(sample: Start, way: str) -> None:
    by_hand = way == "command line"
    host = sample("gremlin", *(["--vice", "never_initialize"] if by_hand else []))
    config = {} if by_hand else {"vice": "never_initialize"}
    call = host.send("initialize", {"plugin": {"name": "g"}, "config": config})
    with pytest.raises(TimeoutError):
        host.result_of(call, timeout=0.4)
    assert host.process.poll() is None


def test_slow_start_makes_progress_and_never_arrives(sample: Start) -> None:
    host = sample("gremlin")
    host.initialize({"vice": "slow_start"})
    host.notify("initialized")
    start = host.send("lifecycle/start")
    said = [host.next_progress() for _ in range(3)]
    assert [each.value.done for each in said] == [1, 2, 3]
    assert all(each.call is start for each in said)
    assert host.call("lifecycle/ping") == {}
    assert not start.settled


def test_spin_answers_nothing_and_burns(sample: Start) -> None:
    host = sample("gremlin").begin()
    host.send("spin")
    with pytest.raises(TimeoutError):
        host.call("lifecycle/ping", timeout=0.3)
    host.process.send_signal(signal.SIGABRT)
    assert host.wait_exit() == -signal.SIGABRT
    assert "in spin" in host.stderr()


def test_spinning_in_an_async_handler_answers_pings_and_its_stack_names_it(sample: Start) -> None:
    host = sample("gremlin", command=[*SDK, "spin.py"]).begin(features=())
    assert host.call("echo", {"text": "x"}) == "x"
    host.send("spin")
    deadline = time.monotonic() + 5
    while host.call("lifecycle/ping")["loop_lag_ms"] == 0:  # until it is stuck, and has noticed
        assert time.monotonic() < deadline
    host.process.send_signal(signal.SIGABRT)
    assert host.wait_exit() == -signal.SIGABRT
    assert "in spin" in host.stderr()


def test_print_noise_strays_into_the_stream_and_costs_no_frame(sample: Start) -> None:
    host = sample("gremlin").begin()
    assert host.call("print_noise") is None
    strayed = [host.next_event(), host.next_event()]
    assert strayed == [Strayed(b"hello from print\n"), Strayed(b"and no newline at the end")]
    assert host.call("echo", {"a": 1}) == {"a": 1}
    assert host.end() == 0


def test_garbage_is_a_fault_with_its_name(sample: Start) -> None:
    host = sample("gremlin").begin()
    host.send("garbage")
    assert host.wait_ended().fault is Fault.FRAME_TOO_LARGE


def test_stop_reading_answers_once_more(sample: Start) -> None:
    host = sample("gremlin").begin()
    assert host.call("stop_reading") is None
    with pytest.raises(TimeoutError):
        host.call("echo", {"text": "x" * 200_000}, timeout=0.3)
    assert host.process.poll() is None


def test_freeze_stops_the_process(sample: Start) -> None:
    host = sample("gremlin").begin()
    host.send("freeze")
    with pytest.raises(TimeoutError):
        host.call("lifecycle/ping", timeout=0.3)
    assert Path(f"/proc/{host.process.pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "T"


@pytest.mark.parametrize("vice", ["share_memory", "fork_bomb", "split_memory", "hop", "burn"])
def test_what_a_vice_starts_ends_by_itself(sample: Start, vice: str) -> None:
    host = sample("gremlin").begin()
    host.call(vice, {"seconds": 0.2}, timeout=20)
    assert host.call("echo", {"n": 1}, timeout=20) == {"n": 1}
    ends_at = time.monotonic() + 20
    while alive := [each for each in psutil.process_iter(["status"]) if in_group(each, host.process.pid)]:
        assert time.monotonic() < ends_at, alive
    assert host.end() == 0


def in_group(process: psutil.Process, leader: int) -> bool:
    """Whether it lives, and belongs to the plugin without being it."""
    try:
        same = os.getpgid(process.pid) == leader != process.pid
    except ProcessLookupError:
        return False
    return same and process.info["status"] != psutil.STATUS_ZOMBIE


def test_the_healthy_one_echoes(sample: Start) -> None:
    host = sample("gremlin").begin()
    assert host.call("echo", {"text": "ü", "n": [1, None]}) == {"text": "ü", "n": [1, None]}
    provided = sample("gremlin").initialize()["provides"]["methods"]
    assert {method["name"] for method in provided} == {"echo", *VICES}


def test_every_vice_names_its_row() -> None:
    rows = [int((vice.__doc__ or "").removeprefix("Row ").partition(":")[0]) for vice in VICES.values()]
    assert rows == sorted(rows)
    assert set(rows) == {
        *range(1, 12),
        *range(13, 16),
        *range(17, 27),
        *range(32, 40),
    }  # the others are not a plugin's doing
