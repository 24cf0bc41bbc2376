"""Replies that leave together, and calls that nobody has to wait for because of that."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from plugin_sdk.channel import Channel
from protocol.events import Reply, Request
from protocol.pending import Call
from protocol.phases import Phase
from protocol.session import Session
from tests.support.raw_host import RawHost

Launch = Callable[..., RawHost]

PLUGIN = """
    @plugin.method
    def echo(value: Any) -> Any:
        return value

    @plugin.method
    def brief_mostly(hang: bool, ctx: Context) -> bool:
        while hang and not ctx.cancelled:
            time.sleep(0.001)
        return hang

    @plugin.method
    def hang(ctx: Context) -> bool:
        while not ctx.cancelled:
            time.sleep(0.001)
        return True
"""


def nudged(host: RawHost, call: Call) -> Any:
    """The result of a call; the plugin is nudged until it comes, as by a host that hears nothing."""
    for _ in range(100):
        host.nudge()
        try:
            return host.result_of(call, timeout=0.05)
        except TimeoutError:
            pass
    raise TimeoutError(f"no answer to {call.method}")


def write_calls(host: RawHost) -> int:
    """System calls that have written something, as the kernel counts them."""
    lines = Path(f"/proc/{host.process.pid}/io").read_text().splitlines()
    return int(dict(line.split(": ") for line in lines)["syscw"])


@pytest.mark.skipif(not os.path.exists("/proc/self/io"), reason="the kernel does not count")
def test_many_brief_calls_are_answered_in_a_few_writes(launch: Launch) -> None:
    host = launch(PLUGIN).begin()
    for _ in range(3):  # the first few are answered one by one
        before = write_calls(host)
        calls = host.send_together(*[("echo", {"value": n}) for n in range(100)])
        assert [host.result_of(call) for call in calls] == list(range(100))
        writes = write_calls(host) - before
    assert writes < 50


def test_nobody_waits_for_a_handler_that_is_not_known_to_be_brief(launch: Launch) -> None:
    host = launch(PLUGIN).begin(features=("nudge",))  # and nobody nudges: nothing else can free a reply
    for _ in range(2):
        calls = host.send_together(*[("echo", {"value": n}) for n in range(50)], ("hang", {}))
        assert [host.result_of(call) for call in calls[:-1]] == list(range(50))
        host.send_cancel(calls[-1])
        assert nudged(host, calls[-1]) is True


@pytest.mark.parametrize("features", [("nudge",), ()], ids=["nudged", "by itself"])
def test_a_brief_handler_that_hangs_keeps_nobody_waiting_for_long(
    launch: Launch, features: tuple[str, ...]
) -> None:
    host = launch(PLUGIN).begin(features=features)
    brief = [("brief_mostly", {"hang": False})] * 50
    for _ in range(2):
        assert not any(map(host.result_of, host.send_together(*brief)))
    *before, hanging, behind = host.send_together(*brief, ("brief_mostly", {"hang": True}), brief[0])
    look = nudged if features else RawHost.result_of
    assert not any(look(host, call) for call in before)
    host.send_cancel(hanging)
    assert look(host, hanging) is True
    assert look(host, behind) is False


def test_what_waits_leaves_with_the_next_request_and_in_its_order() -> None:
    host, plugin = Session("host"), Session("plugin")
    host.phase = plugin.phase = Phase.READY
    read_fd, write_fd = os.pipe()
    os.set_blocking(read_fd, False)
    channel = Channel(plugin, write_fd)
    for _ in range(2):
        host.request("echo", {})
    first, second = channel.receive(host.outbox.take())
    assert isinstance(first, Request)
    assert isinstance(second, Request)
    channel.holds = True
    channel.reply(first.id, 1)
    channel.reply(second.id, 2)
    with pytest.raises(BlockingIOError):
        os.read(read_fd, 65536)
    channel.request("plugin/call", {}, token=None, meta=None)
    heard = host.receive(os.read(read_fd, 65536), 0.0)
    assert [type(event) for event in heard] == [Reply, Reply, Request]
    assert not channel.holds
    os.close(read_fd)
    os.close(write_fd)
