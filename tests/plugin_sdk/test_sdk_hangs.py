"""A handler that hangs: pings are answered, cancels arrive, and afterwards all is as before."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from protocol.errors import ErrorCode, RpcError
from tests.support.raw_host import RawHost

Launch = Callable[..., RawHost]

NUDGED = ("deadline", "progress", "nudge")
UNNUDGED = ("deadline", "progress")
EITHER_WAY = pytest.mark.parametrize("features", [NUDGED, UNNUDGED], ids=["nudged", "by itself"])


HANGS = {
    "a sleep": """
        @plugin.method
        def hang(ctx: Context) -> str:
            ctx.status("in")
            while not ctx.cancelled: time.sleep(0.02)
            return "came back"
    """,
    "a busy loop": """
        @plugin.method
        def hang(ctx: Context) -> str:
            ctx.status("in")
            while not ctx.cancelled: pass
            return "came back"
    """,
    "a blocked event loop": """
        @plugin.method
        async def hang(ctx: AsyncContext) -> str:
            ctx.status("in")
            while not ctx.cancelled: time.sleep(0.02)
            return "came back"
    """,
}
AROUND = """
        ran = []

        @plugin.method
        {kind} echo(value: Any) -> Any:
            ran.append(value)
            return value

        @plugin.method
        {kind} what_ran() -> list[Any]:
            return ran
"""


def launch_hanging(launch: Launch, which: str, features: tuple[str, ...]) -> RawHost:
    kind = "async def" if "async def" in HANGS[which] else "def"
    return launch(HANGS[which] + AROUND.replace("{kind}", kind)).begin(features=features)


@EITHER_WAY
@pytest.mark.parametrize("which", HANGS)
def test_while_a_handler_hangs_pings_are_answered_and_a_cancel_reaches_it(
    launch: Launch, which: str, features: tuple[str, ...]
) -> None:
    host = launch_hanging(launch, which, features)
    for _ in range(3):  # the role goes away and comes home
        hanging = host.send("hang")
        assert host.next_notification("status/text") == {"text": "in"}
        if features is NUDGED:
            host.nudge()
        ping = host.call("lifecycle/ping", timeout=1)
        assert ping["in_flight"] == 1
        assert ping["oldest_ms"] > 0
        queued = [host.send("echo", {"value": n}) for n in range(3)]
        assert host.call("lifecycle/ping", timeout=1)["in_flight"] == 4
        host.send_cancel(hanging)
        assert host.result_of(hanging) == "came back"
        assert [host.result_of(call) for call in queued] == [0, 1, 2]
    for n in range(300):
        assert host.call("echo", {"value": n}) == n
    assert host.call("lifecycle/ping")["loop_lag_ms"] == 0
    assert host.end() == 0


@pytest.mark.parametrize("which", HANGS)
def test_a_call_cancelled_while_it_waits_behind_a_hung_one_never_runs(launch: Launch, which: str) -> None:
    host = launch_hanging(launch, which, NUDGED)
    hanging = host.send("hang")
    host.next_notification("status/text")
    host.nudge()
    unwanted, wanted = host.send("echo", {"value": "no"}), host.send("echo", {"value": "yes"})
    host.call("lifecycle/ping")
    host.send_cancel(unwanted)
    host.send_cancel(hanging)
    assert host.result_of(wanted) == "yes"
    with pytest.raises(RpcError) as caught:
        host.result_of(unwanted)
    assert caught.value.code == ErrorCode.REQUEST_CANCELLED
    assert host.call("what_ran") == ["yes"]


def test_nudges_that_come_at_any_time_do_no_harm(launch: Launch) -> None:
    host = launch_hanging(launch, "a sleep", NUDGED)
    for n in range(200):
        call = host.send("echo", {"value": n})
        host.nudge()
        assert host.result_of(call) == n
    assert host.call("what_ran") == list(range(200))
    assert host.end() == 0


def test_nudges_during_pipelined_calls_keep_their_order(launch: Launch) -> None:
    host = launch_hanging(launch, "a sleep", NUDGED)
    for _ in range(20):
        calls = [host.send("echo", {"value": n}) for n in range(30)]
        host.nudge()
        assert [host.result_of(call) for call in calls] == list(range(30))
    assert host.call("what_ran") == list(range(30)) * 20
