"""A plugin's own requests: what they look like, what comes back, and what goes on while one is waited for."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from protocol.envelope import Meta
from protocol.errors import ErrorCode, RpcError
from protocol.events import Cancelled, Request
from tests.support.raw_host import RawHost

Launch = Callable[..., RawHost]

SYNC = """
    from plugin_sdk import CallFailed
    ran = []

    @plugin.method
    def ask(timeout: Any = "own", ctx: Context = None) -> Any:
        ran.append("ask begins")
        try:
            return ctx.call("other", "greet", name="Ada", timeout=... if timeout == "own" else timeout)
        finally:
            ran.append("ask ends")

    @plugin.method
    def ask_app(ctx: Context) -> Any:
        return ctx.host.mail.send(to="Ada")

    @plugin.method
    def careful(ctx: Context) -> Any:
        try:
            return ctx.call("other", "greet")
        except CallFailed as failed:
            return [type(failed).__name__, failed.plugin, failed.method, failed.code, failed.message]

    @plugin.method
    def echo(value: Any) -> Any:
        ran.append(value)
        return value

    @plugin.method
    def what_ran() -> list[Any]:
        return ran
"""
ASYNC = (
    SYNC.replace("    def ", "    async def ")
    .replace("Context", "AsyncContext")
    .replace("return ctx.", "return await ctx.")
)
WAYS = {"serial": (SYNC, ""), "threads": (SYNC, "threads=2"), "async": (ASYNC, "")}
MIXED = SYNC + "\n    @plugin.method\n    async def beside() -> None: ...\n"
EVERY_WAY = pytest.mark.parametrize(("source", "options"), WAYS.values(), ids=WAYS.keys())
SYNC_WAYS = {"serial": (SYNC, ""), "threads": (SYNC, "threads=2"), "beside a loop": (MIXED, "")}
EVERY_SYNC_WAY = pytest.mark.parametrize(("source", "options"), SYNC_WAYS.values(), ids=SYNC_WAYS.keys())


def error_in(host: RawHost, call: Any) -> RpcError:
    with pytest.raises(RpcError) as caught:
        host.result_of(call)
    return caught.value


@EVERY_WAY
def test_a_call_goes_to_the_host_with_the_request_that_it_is_made_for(
    serve: Launch, source: str, options: str
) -> None:
    host = serve(source, options=options)
    call = host.send("ask", {"timeout": 2.0}, meta=Meta(traceparent="00-1-2-00"))
    request = host.next_request("plugin/call")
    assert msgspec.json.decode(request.params) == {
        "plugin": "other",
        "method": "greet",
        "params": {"name": "Ada"},
    }
    assert request.meta is not None
    assert request.meta.parent == call.id
    assert request.meta.traceparent == "00-1-2-00"
    assert request.meta.timeout_ms == 2000
    host.answer(request, "Hello, Ada.")
    assert host.result_of(call) == "Hello, Ada."
    assert host.end() == 0


def test_no_timeout_is_no_limit_and_one_that_is_not_given_is_left_to_the_method(serve: Launch) -> None:
    host = serve(SYNC)
    for given, told in (({}, None), ({"timeout": None}, 10_000_000_000), ({"timeout": 0}, 1)):
        call = host.send("ask", given)
        request = host.next_request("plugin/call")
        assert request.meta is not None
        assert request.meta.timeout_ms == told
        host.answer(request, "Hello, Ada.")
        if told != 1:
            assert host.result_of(call) == "Hello, Ada."
    for nonsense in (-1, 1e300, "soon"):
        error = error_in(host, host.send("ask", {"timeout": nonsense}))
        assert error.message.startswith("ValueError: timeout=")


@EVERY_WAY
def test_a_service_of_the_app_is_called_by_its_name(serve: Launch, source: str, options: str) -> None:
    host = serve(source, options=options)
    call = host.send("ask_app")
    request = host.next_request("host/mail.send")
    assert msgspec.json.decode(request.params) == {"to": "Ada"}
    host.answer(request, {"id": 7})
    assert host.result_of(call) == {"id": 7}


@EVERY_WAY
def test_a_failure_that_escapes_is_the_handlers_own_and_names_its_cause(
    serve: Launch, source: str, options: str
) -> None:
    host = serve(source, options=options)
    call = host.send("ask")
    host.answer(host.next_request("plugin/call"), RpcError(7, "no such person"))
    error = error_in(host, call)
    assert error.code == ErrorCode.PLUGIN_ERROR
    assert error.data["type"] == "RemoteError"
    assert error.data["cause"] == {"plugin": "other", "code": 7, "message": "other.greet: no such person"}


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (ErrorCode.PERMISSION_DENIED, "PermissionDenied"),
        (ErrorCode.CALL_CYCLE, "CallCycle"),
        (ErrorCode.OVERLOADED, "PluginBusy"),
        (ErrorCode.NOT_READY, "PluginUnavailable"),
        (ErrorCode.DEADLINE_EXCEEDED, "DeadlineExceeded"),
        (ErrorCode.METHOD_NOT_FOUND, "MethodNotFound"),
        (ErrorCode.INVALID_PARAMS, "ContractError"),
        (3, "RemoteError"),
    ],
)
def test_a_failure_can_be_caught_by_what_it_is(serve: Launch, code: int, kind: str) -> None:
    host = serve(SYNC)
    call = host.send("careful")
    host.answer(host.next_request("plugin/call"), RpcError(code, "no"))
    assert host.result_of(call) == [kind, "other", "greet", code, "no"]


@EVERY_WAY
def test_a_call_gives_up_at_its_own_time(serve: Launch, source: str, options: str) -> None:
    host = serve(source, options=options)
    call = host.send("ask", {"timeout": 0.1})
    request = host.next_request("plugin/call")
    assert error_in(host, call).data["type"] == "DeadlineExceeded"
    assert host.next_event() == Cancelled(request.id)
    host.answer(request, "too late")
    assert host.call("echo", {"value": 1}) == 1


@EVERY_WAY
def test_a_call_gives_up_when_there_is_no_time_left_of_the_one_it_is_made_for(
    serve: Launch, source: str, options: str
) -> None:
    host = serve(source, options=options)
    call = host.send("ask", {"timeout": 60}, meta=Meta(timeout_ms=100))
    host.next_request("plugin/call")
    assert error_in(host, call).data["type"] == "DeadlineExceeded"


@EVERY_WAY
def test_cancelling_a_call_cancels_the_one_that_is_made_for_it(
    serve: Launch, source: str, options: str
) -> None:
    host = serve(source, options=options)
    call = host.send("ask")
    request = host.next_request("plugin/call")
    host.send_cancel(call)
    assert error_in(host, call).code == ErrorCode.REQUEST_CANCELLED
    assert host.next_event() == Cancelled(request.id)
    assert host.call("what_ran") == ["ask begins", "ask ends"]


@EVERY_WAY
def test_pings_are_answered_while_a_handler_waits(serve: Launch, source: str, options: str) -> None:
    host = serve(source, options=options)
    call = host.send("ask")
    request = host.next_request("plugin/call")
    for _ in range(3):
        assert host.call("lifecycle/ping", timeout=2)["in_flight"] == 1
    host.answer(request, 1)
    assert host.result_of(call) == 1


def test_another_call_does_not_begin_in_the_middle_of_a_serial_handler(serve: Launch) -> None:
    host = serve(SYNC)
    asking = host.send("ask")
    request = host.next_request("plugin/call")
    others = [host.send("echo", {"value": n}) for n in range(3)]
    assert host.call("lifecycle/ping")["in_flight"] == 4
    host.answer(request, "answer")
    assert host.result_of(asking) == "answer"
    assert [host.result_of(other) for other in others] == [0, 1, 2]
    assert host.call("what_ran") == ["ask begins", "ask ends", 0, 1, 2]


@EVERY_SYNC_WAY
def test_a_call_that_comes_round_runs_where_its_beginning_waits(
    serve: Launch, source: str, options: str
) -> None:
    host = serve(source, options=options)
    asking = [host.send("ask") for _ in range(1 if options == "" else 2)]  # no thread is free
    requests = [host.next_request("plugin/call") for _ in asking]
    for request in requests:
        assert host.call("echo", {"value": 5}, meta=Meta(parent=request.id)) == 5
    for request, call in zip(requests, asking, strict=True):
        host.answer(request, "answer")
        assert host.result_of(call) == "answer"


@pytest.mark.parametrize("options", ["", "threads=2"], ids=["serial", "threads"])
def test_fifty_calls_inside_one_another_come_back(serve: Launch, options: str) -> None:
    host = serve(
        """
        @plugin.method
        def down(n: int, ctx: Context) -> int:
            return 0 if n == 0 else 1 + ctx.call("other", "down", n=n - 1)
        """,
        options=options,
    )
    parents: list[Request] = []
    calls = [host.send("down", {"n": 50})]
    for n in range(49, -1, -1):
        parents.append(host.next_request("plugin/call"))
        calls.append(host.send("down", {"n": n}, meta=Meta(parent=parents[-1].id)))
    for depth in range(50):
        result = host.result_of(calls.pop())
        assert result == depth
        host.answer(parents.pop(), result)
    assert host.result_of(calls.pop()) == 50


@pytest.mark.parametrize("features", [("parent",), ("parent", "nudge")], ids=["by itself", "nudged"])
def test_a_handler_that_was_slow_before_it_calls_gets_its_answer(
    launch: Launch, features: tuple[str, ...]
) -> None:
    """Somebody else reads by then."""
    host = launch(
        """
        @plugin.method
        def slow(ctx: Context) -> Any:
            ctx.status("in")
            go.wait(10)
            return [ctx.call("other", "greet"), ctx.call("other", "greet")]

        go = threading.Event()
        import signal
        signal.signal(signal.SIGUSR1, lambda *_: go.set())

        @plugin.method
        def echo(value: Any) -> Any:
            return value
        """
    ).begin(features=features)
    slow = host.send("slow")
    host.next_notification("status/text")
    if "nudge" in features:
        host.nudge()
    assert host.call("lifecycle/ping", timeout=2)["in_flight"] == 1  # the relief has taken over

    host.process.send_signal(signal.SIGUSR1)
    for n in range(2):
        request = host.next_request("plugin/call")
        assert host.call("echo", {"value": n}, meta=Meta(parent=request.id)) == n
        host.answer(request, n)
    assert host.result_of(slow) == [0, 1]
    assert host.call("echo", {"value": 9}) == 9
    assert host.end() == 0


def test_the_end_of_the_host_ends_the_waiting(serve: Launch) -> None:
    host = serve(SYNC)
    host.send("ask")
    host.next_request("plugin/call")
    host.close_stdin()
    assert host.wait_exit() == 0


def test_a_thread_of_the_authors_own_may_call(serve: Launch) -> None:
    host = serve(
        """
        from concurrent.futures import ThreadPoolExecutor

        @plugin.method
        def both(ctx: Context) -> Any:
            with ThreadPoolExecutor(2) as threads:
                return list(threads.map(lambda n: ctx.call("other", "greet", n=n), range(2)))
        """
    )
    call = host.send("both")
    for request in [host.next_request("plugin/call") for _ in range(2)]:
        host.answer(request, msgspec.json.decode(request.params)["params"]["n"])
    host.nudge()  # a real host does, when nothing comes
    assert host.result_of(call) == [0, 1]


def test_params_that_cannot_be_sent_are_the_handlers_problem(serve: Launch) -> None:
    host = serve(
        """
        @plugin.method
        def bad(ctx: Context) -> Any:
            return ctx.call("other", "greet", value=object())
        """
    )
    error = error_in(host, host.send("bad"))
    assert error.data["cause"]["code"] == ErrorCode.INVALID_PARAMS


def test_start_code_may_call(launch: Launch) -> None:
    host = launch(
        """
        known = []

        @plugin.on_start
        def begin(ctx: Context) -> None:
            known.append(ctx.call("other", "greet"))

        @plugin.method
        def what_is_known() -> list[Any]:
            return known
        """
    )
    host.initialize()
    host.notify("initialized")
    start = host.send("lifecycle/start")
    host.answer(host.next_request("plugin/call"), "Ada")
    host.result_of(start)
    assert host.call("what_is_known") == ["Ada"]
