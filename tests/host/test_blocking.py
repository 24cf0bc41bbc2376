"""`BlockingHost`: for programs without a loop, and with threads."""

from __future__ import annotations

import inspect
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from host import (
    BlockingHost,
    DeadlineExceeded,
    Host,
    HostMisuse,
    OutboardError,
    PluginCrashed,
    PluginNotFound,
)
from host.errors import ConfigError
from tests.host.test_cancellation import PATIENT
from tests.support.plugins import ECHO, is_gone, write_plugin


def make(tmp_path: Path, *plugins: Path) -> BlockingHost:
    return BlockingHost(plugins=plugins or [write_plugin(tmp_path, "echo")], data_dir=tmp_path / "data")


def pid_of(host: BlockingHost, name: str = "echo") -> int:
    pid = host.status(name).plugins[0].pid
    assert pid is not None
    return pid


@contextmanager
def interrupted_once(ready: Callable[[], bool]) -> Iterator[None]:
    """Ctrl-C for this thread as soon as `ready`."""
    target = threading.get_ident()

    def press() -> None:
        ends_at = time.monotonic() + 10
        while not ready() and time.monotonic() < ends_at:
            time.sleep(0.001)
        signal.pthread_kill(target, signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    presser = threading.Thread(target=press)
    presser.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            yield
    finally:
        presser.join()
        signal.signal(signal.SIGINT, before)


def ends_soon() -> None:
    """The host's thread has no more to do, and ends."""
    for thread in threading.enumerate():
        if thread.name == "outboard":
            thread.join(1)
            assert not thread.is_alive()


def test_it_has_what_host_has() -> None:
    for name, method in inspect.getmembers(Host, inspect.isfunction):
        if not name.startswith("_") and name not in ("call_raw", "provides_of", "take_installed"):
            ours, its = inspect.signature(getattr(BlockingHost, name)), inspect.signature(method)
            assert ours.parameters == its.parameters, name
            if name != "stream":  # which returns an iterator here, and an async one there
                assert ours == its, name
    assert inspect.signature(BlockingHost) == inspect.signature(Host)


def test_plugins_are_called_and_come_and_go(tmp_path: Path) -> None:
    late = write_plugin(tmp_path, "late")
    seen: list[Any] = []
    with make(tmp_path) as host:
        assert host.call("echo", "echo", value={"a": [1]}, timeout=5) == {"a": [1]}
        end = host.on_event(seen.append)
        assert host.add(late) == "late"
        assert [plugin.name for plugin in host.status().plugins] == ["echo", "late"]
        assert [info.name for info in host.methods_of("late")] == ["echo", "hang"]
        host.stop("late")
        assert host.why("late").state == "stopped"
        host.start("late")
        host.restart("late")
        assert host.disable("late")
        assert host.enable("late")
        assert host.release("late") is False
        end()
        host.remove("late")
        assert "outboard_" in host.metrics()
        assert list(host.measures().plugins) == ["echo"]
        assert host.reload(dry_run=True).applied is False
        pid = pid_of(host)
    assert is_gone(pid)
    assert seen[-1].state == "running"
    ends_soon()


def test_errors_are_those_of_host(tmp_path: Path) -> None:
    with make(tmp_path) as host:
        with pytest.raises(DeadlineExceeded) as late:
            host.call("echo", "hang", s=0.2, timeout=0.05)
        assert (late.value.plugin, late.value.method, late.value.code) == ("echo", "hang", "OB403")
        with pytest.raises(PluginNotFound):
            host.status("ecko")
        assert host.call("echo", "echo", value=1) == 1


def test_many_threads_call_at_once(tmp_path: Path) -> None:
    with make(tmp_path) as host, ThreadPoolExecutor(16) as pool:
        numbers = range(400)
        assert list(pool.map(lambda n: host.call("echo", "echo", value=n), numbers)) == list(numbers)


def test_a_slow_call_of_one_thread_does_not_hold_up_another(tmp_path: Path) -> None:
    folders = [write_plugin(tmp_path, name) for name in ("slow", "quick")]
    with make(tmp_path, *folders) as host, ThreadPoolExecutor(1) as pool:
        slow = pool.submit(host.call, "slow", "hang", s=60, timeout=None)
        for n in range(50):
            assert host.call("quick", "echo", value=n, timeout=5) == n
        assert not slow.done()
        os.kill(pid_of(host, "slow"), signal.SIGKILL)
        with pytest.raises(PluginCrashed):
            slow.result(10)


def test_an_exception_in_the_body_comes_out_as_itself_and_ends_the_plugins(tmp_path: Path) -> None:
    pid = 0
    with pytest.raises(ZeroDivisionError), make(tmp_path) as host:
        pid = pid_of(host)
        1 / 0  # noqa: B018
    assert is_gone(pid)


def test_plugins_outlive_the_thread_that_entered_the_host(tmp_path: Path) -> None:
    host = make(tmp_path)
    entering = threading.Thread(target=host.__enter__)
    entering.start()
    entering.join()
    pid = pid_of(host)
    for n in range(20):  # Linux would have told it by now
        assert host.call("echo", "echo", value=n) == n
    assert pid_of(host) == pid
    host.__exit__(None, None, None)
    assert is_gone(pid)


# -- Ctrl-C --------------------------------------------------------------------------------------------


def test_an_interrupt_cancels_the_call_and_no_more(tmp_path: Path) -> None:
    lines: list[str] = []
    with make(tmp_path, write_plugin(tmp_path, "echo", PATIENT)) as host:
        host.on_event(lambda event: lines.append(getattr(event, "message", "")))
        with interrupted_once(lambda: "waiting" in lines):
            host.call("echo", "wait", timeout=None)
        ends_at = time.monotonic() + 10
        while host.call("echo", "cancellations") == 0:
            assert time.monotonic() < ends_at
        plugin = host.status("echo").plugins[0]
        assert (plugin.generation, plugin.calls.in_flight) == (1, 0)


def test_an_interrupt_while_entering_leaves_no_process(tmp_path: Path) -> None:
    code = (
        ECHO + "@plugin.on_start\ndef start() -> None:\n    print('here', file=sys.stderr); time.sleep(60)\n"
    )
    host = make(tmp_path, write_plugin(tmp_path, "hung", code, start={"stop_timeout": "10ms"}))
    seen: list[Any] = []
    host.on_event(seen.append)
    with interrupted_once(lambda: any(getattr(event, "message", "") == "here" for event in seen)):
        host.__enter__()
    assert all(is_gone(event.pid) for event in seen if getattr(event, "message", "") == "here")
    ends_soon()


def test_an_interrupt_while_leaving_kills_what_takes_its_time(tmp_path: Path) -> None:
    code = ECHO + "@plugin.on_stop\ndef stop() -> None:\n    time.sleep(60)\n"
    host = make(tmp_path, write_plugin(tmp_path, "echo", code, start={"stop_timeout": "60s"}))
    seen: list[Any] = []
    host.on_event(seen.append)
    host.__enter__()
    pid = pid_of(host)
    with interrupted_once(lambda: any(getattr(event, "state", "") == "stopping" for event in seen)):
        host.__exit__(None, None, None)
    assert is_gone(pid)
    ends_soon()


# -- misuse --------------------------------------------------------------------------------------------


def test_outside_of_its_life_it_refuses_everything(tmp_path: Path) -> None:
    host = make(tmp_path)
    uses: list[Callable[[], Any]] = [
        lambda: host.call("echo", "echo"),
        lambda: host.add(tmp_path),
        lambda: host.start("echo"),
        host.status,
        lambda: host.__exit__(None, None, None),
    ]
    for use in uses:
        with pytest.raises(HostMisuse):
            use()
    with host, pytest.raises(HostMisuse):
        host.__enter__()
    for use in [*uses[:-1], host.__enter__]:
        with pytest.raises(HostMisuse):
            use()


def test_a_wrong_configuration_is_said_on_entering_and_leaves_no_thread(tmp_path: Path) -> None:
    config = tmp_path / "outboard.toml"
    config.write_text("[host]\ncolour = 1\n")
    with pytest.raises(ConfigError):
        BlockingHost(config=config).__enter__()
    ends_soon()


def test_a_subscriber_that_calls_its_host_is_refused_instead_of_waiting_for_itself(tmp_path: Path) -> None:
    refused: list[str] = []

    def call_back(event: object) -> None:
        try:
            host.call("echo", "echo")
        except HostMisuse as error:
            refused.append(error.code)

    with make(tmp_path) as host:
        host.on_event(call_back)
        host.restart("echo")
    assert set(refused) == {"OB411"}


def test_calls_under_way_end_when_another_thread_leaves(tmp_path: Path) -> None:
    hasty = write_plugin(tmp_path, "echo", start={"stop_timeout": "10ms"})
    outcomes: list[Any] = []

    def call_on() -> None:
        try:
            while True:
                host.call("echo", "hang", s=0.01, timeout=None)
        except OutboardError as error:
            outcomes.append(error)

    with make(tmp_path, hasty) as host:
        callers = [threading.Thread(target=call_on) for _ in range(8)]
        for caller in callers:
            caller.start()
        while host.status("echo").plugins[0].calls.in_flight < 4:
            pass
    for caller in callers:
        caller.join(10)
        assert not caller.is_alive()
    assert len(outcomes) == 8


def test_a_forked_child_is_refused_and_does_not_wait_for_ever(tmp_path: Path) -> None:
    with make(tmp_path) as host:
        child = os.fork()
        if child == 0:
            signal.alarm(10)
            try:
                host.call("echo", "echo")
            except HostMisuse:
                os._exit(7)
            os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        assert host.call("echo", "echo", value=1) == 1
