"""What becomes of a call is counted once, under the method's name. Real plugins."""

from __future__ import annotations

from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from host import DeadlineExceeded, Host, MethodNotFound, OutboardError, PluginUnavailable, RemoteError
from host.observability.metrics import OTHER
from tests.support.plugins import Events, make_host, pid_of, write_plugin, write_raw_plugin

pytestmark = pytest.mark.anyio

CODE = """
@plugin.method
def echo(value: Any = None) -> Any:
    return value

@plugin.method
def sorry() -> None:
    raise PluginError(7, "no luck")

@plugin.method
def hang(s: float = 60.0) -> None:
    time.sleep(s)

@plugin.method
def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
"""


async def call(host: Host, method: str, **params: object) -> None:
    await host.call("echo", method, params=params, timeout=5)


async def test_each_outcome_is_counted_under_its_method(tmp_path: Path) -> None:
    async with make_host(tmp_path, write_plugin(tmp_path, "echo", CODE)) as host:
        await call(host, "echo", value=1)
        await call(host, "echo", value=2)
        with pytest.raises(RemoteError):
            await call(host, "sorry")
        with pytest.raises(DeadlineExceeded):
            await host.call("echo", "hang", s=0.2, timeout=0.05)
        for name in ("made_up_1", "made_up_2"):
            with pytest.raises(MethodNotFound):
                await call(host, name)
        methods = host.measures().plugins["echo"].methods
        assert {name: (m.ok, m.timeout, m.errors, m.latency.count) for name, m in methods.items()} == {
            "echo": (2, 0, {}, 2),
            "sorry": (0, 0, {"OB404": 1}, 0),
            "hang": (0, 1, {}, 0),
            OTHER: (0, 0, {"OB405": 2}, 0),
        }
        calls = host.status("echo").plugins[0].calls
        assert (calls.ok, calls.error, calls.timeout, calls.in_flight) == (2, 3, 1, 0)
        assert host.status("echo").plugins[0].latency_ms.p50 is not None


async def test_a_call_is_in_flight_until_its_caller_gives_up(tmp_path: Path) -> None:
    async with make_host(tmp_path, write_plugin(tmp_path, "echo", CODE)) as host:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call, host, "hang")
            await anyio.lowlevel.checkpoint()  # its turn: it runs up to where it waits for the answer
            assert host.status("echo").plugins[0].calls.in_flight == 1
            assert host.measures().plugins["echo"].methods["hang"].in_flight == 1
            tasks.cancel_scope.cancel()
        hang = host.measures().plugins["echo"].methods["hang"]
        assert (hang.in_flight, hang.cancelled, hang.error) == (0, 1, 0)


async def test_a_call_that_is_turned_away_is_an_error_too(tmp_path: Path) -> None:
    async with make_host(tmp_path, write_plugin(tmp_path, "echo", CODE)) as host:
        await host.stop("echo")
        with pytest.raises(PluginUnavailable):
            await call(host, "echo")
        echo = host.measures().plugins["echo"].methods["echo"]
        assert (echo.errors, echo.in_flight) == ({"OB401": 1}, 0)


async def test_counters_outlive_the_process_and_its_ends_have_causes(tmp_path: Path) -> None:
    quick = {"backoff_min": "20ms", "backoff_max": "20ms", "period": "1s"}
    async with make_host(tmp_path, write_plugin(tmp_path, "echo", CODE, restart=quick)) as host:
        events = Events(host)
        await call(host, "echo")
        with pytest.raises(OutboardError):
            await call(host, "die")
        await events.state("echo", "running")
        await call(host, "echo")
        await host.stop("echo")
        stats = host.measures().plugins["echo"]
        assert stats.methods["echo"].ok == 2
        assert stats.methods["die"].errors == {"OB402": 1}
        assert stats.ends == {"signal": 1, "asked": 1}


async def test_noise_and_dropped_records_are_counted_over_all_processes(tmp_path: Path) -> None:
    loud = """
        import os
        handshake()
        write(b"noise\\n")
        for level in ("info", "warning"):
            send(method="log/record", params={"level": level, "message": "x", "dropped": 5})
        send(method="log/record", params={"level": "info", "message": "y", "dropped": -1})
        send(method="log/record", params={"level": "info", "message": "last", "dropped": 10**15})
        serve()
    """
    async with make_host(tmp_path, write_raw_plugin(tmp_path, "loud", loud)) as host:
        await host.call("loud", "echo", timeout=5)  # so all that was said before has been heard
        stats = host.measures().plugins["loud"]
        assert stats.noise_bytes >= len("noise")
        assert stats.dropped_records == 10 + 1_000_000
        first = stats.noise_bytes
        await host.restart("loud")
        await host.call("loud", "echo", timeout=5)
        assert host.measures().plugins["loud"].noise_bytes == 2 * first
        assert pid_of(host, "loud")


async def test_a_plugin_that_is_removed_takes_its_counters_with_it(tmp_path: Path) -> None:
    async with make_host(tmp_path, write_plugin(tmp_path, "echo", CODE)) as host:
        await call(host, "echo")
        await host.remove("echo")
        assert host.measures().plugins == {}
        assert 'plugin="echo"' not in host.metrics()
