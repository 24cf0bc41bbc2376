"""How handlers run: one at a time, on threads or on a loop, and never in the way of the reading."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from protocol.envelope import Meta
from protocol.errors import ErrorCode, RpcError
from protocol.lifecycle import ProgressValue
from protocol.pending import Call
from tests.support.raw_host import RawHost, error_of, frame

Launch = Callable[..., RawHost]


def error_of_call(host: RawHost, call: Call) -> int:
    with pytest.raises(RpcError) as caught:
        host.result_of(call)
    return caught.value.code


def test_sync_handlers_run_one_at_a_time_in_order(serve: Launch) -> None:
    host = serve("""
        running, seen = [], []

        @plugin.method
        def work(n: int) -> None:
            running.append(n)
            assert running == [n]
            time.sleep(0.001)
            seen.append(n)
            running.remove(n)

        @plugin.method
        def order() -> list[int]:
            return seen
    """)
    calls = [host.send("work", {"n": n}) for n in range(50)]
    assert [host.result_of(call) for call in calls] == [None] * 50
    assert host.call("order") == list(range(50))


def test_threads_run_as_many_handlers_at_once(serve: Launch) -> None:
    source = """
        barrier = threading.Barrier(3)

        @plugin.method
        def meet() -> bool:
            barrier.wait(5)
            return True
    """
    host = serve(source, options="threads=3")
    calls = [host.send("meet") for _ in range(3)]
    assert [host.result_of(call) for call in calls] == [True] * 3
    assert host.end() == 0


def test_async_handlers_run_at_once(serve: Launch) -> None:
    host = serve("""
        import asyncio
        met = asyncio.Event()

        @plugin.method
        async def wait() -> str:
            await met.wait()
            return "met"

        @plugin.method
        async def meet() -> None:
            met.set()
    """)
    waiting = host.send("wait")
    host.call("meet")
    assert host.result_of(waiting) == "met"
    assert host.end() == 0


def test_a_sync_handler_in_an_async_plugin_does_not_block_the_others(serve: Launch) -> None:
    host = serve("""
        gate = threading.Event()

        @plugin.method
        def wait() -> str:
            gate.wait(5)
            return threading.current_thread() is not threading.main_thread()

        @plugin.method
        async def open_gate() -> None:
            gate.set()
    """)
    waiting = host.send("wait")
    host.call("open_gate")
    assert host.result_of(waiting) is True


def test_an_async_handler_is_cancelled_where_it_waits(serve: Launch) -> None:
    host = serve("""
        import asyncio
        ends = []

        @plugin.method
        async def wait(ctx: AsyncContext) -> None:
            ctx.status("in")
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                ends.append(ctx.cancelled)
                raise

        @plugin.method
        async def seen() -> list[bool]:
            return ends
    """)
    call = host.send("wait")
    host.next_notification("status/text")
    host.send_cancel(call)
    assert error_of_call(host, call) == ErrorCode.REQUEST_CANCELLED
    assert host.call("seen") == [True]


@pytest.mark.parametrize("kind", ["def", "async def"])
def test_a_request_and_its_cancel_in_one_chunk_never_run(serve: Launch, kind: str) -> None:
    host = serve(
        """
        ran = []

        @plugin.method
        KIND work(n: int) -> list[int]:
            ran.append(n)
            return ran
    """.replace("KIND", kind)
    )
    call = host.session.request("work", {"n": 1})
    chunk = host.session.outbox.take()
    host.write(chunk + frame({"method": "$/cancelRequest", "params": {"id": call.id}}))
    assert error_of_call(host, call) == ErrorCode.REQUEST_CANCELLED
    assert host.call("work", {"n": 2}) == [2]


@pytest.mark.parametrize("options", ["", "threads=3"])
@pytest.mark.parametrize("kind", ["def", "async def"])
def test_six_hundred_pipelined_requests_are_answered(serve: Launch, kind: str, options: str) -> None:
    host = serve(f"@plugin.method\n{kind} double(n: int) -> int: return 2 * n\n", options=options)
    for start in (0, 150, 300, 450):
        calls = [host.send("double", {"n": n}) for n in range(start, start + 150)]
        assert [host.result_of(call) for call in calls] == [2 * n for n in range(start, start + 150)]
    assert host.call("lifecycle/ping")["in_flight"] == 0
    assert host.end() == 0


def test_more_than_it_announced_is_refused_at_once_and_the_rest_answered(serve: Launch) -> None:
    host = serve("@plugin.method\ndef double(n: int) -> int: return 2 * n\n")
    requests = [{"id": 1000 + n, "method": "double", "params": {"n": n}} for n in range(600)]
    host.write(b"".join(frame(request) for request in requests))
    host.call("lifecycle/ping")  # never too many
    assert host.call("double", {"n": 21}) == 42
    assert host.session.counts.unknown_replies == 600


@pytest.mark.parametrize("kind", ["def", "async def"])
def test_a_megabyte_goes_both_ways(serve: Launch, kind: str) -> None:
    host = serve(f"@plugin.method\n{kind} echo(text: str) -> str: return text\n")
    text = "ü€😀x" * 105_000
    assert len(text.encode()) > 1 << 20
    calls = [host.send("echo", {"text": text}) for _ in range(3)]
    assert all(host.result_of(call) == text for call in calls)


def test_progress_comes_only_if_it_is_asked_for(serve: Launch) -> None:
    host = serve("""
        @plugin.method
        def work(ctx: Context) -> float:
            ctx.progress(1, 2, "half")
            return ctx.deadline is not None
    """)
    assert host.call("work") is False
    asking = host.send("work", meta=Meta(progress=True, timeout_ms=1000))
    assert host.result_of(asking) is True
    progress = host.next_progress()
    assert progress.call is asking
    assert progress.value == ProgressValue(done=1, total=2, message="half")
    with pytest.raises(TimeoutError):
        host.next_event(timeout=0)


def test_a_result_larger_than_the_host_takes_is_an_error_that_says_so(launch: Launch) -> None:
    host = launch("@plugin.method\ndef big() -> str: return 'x' * 100_000\n")
    host.begin(limits={"max_frame": 10_000})
    assert error_of(host, "big").code == ErrorCode.PAYLOAD_TOO_LARGE


def test_bytes_travel_as_base64(serve: Launch) -> None:
    host = serve("@plugin.method\ndef reverse(data: bytes) -> bytes: return data[::-1]\n")
    encoded = msgspec.to_builtins(b"\x00\xff")
    assert host.call("reverse", {"data": encoded}) == msgspec.to_builtins(b"\xff\x00")
