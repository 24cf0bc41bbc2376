"""Every call has a trace, the caller's or a new one, and the plugin is told. Real plugins."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from host import Host, RemoteError
from host.observability.logs import line_of
from host.observability.traceparent import trace_id_of, valid_parent
from host.routing.tracing import carrying
from tests.support.plugins import Events, make_host, write_plugin, write_raw_plugin

pytestmark = pytest.mark.anyio

GIVEN = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
STATE = "congo=t61rcWkgMzE"
CODE = """
import logging

@plugin.method
def told(ctx: Context) -> list[str | None]:
    return [ctx.traceparent, ctx.tracestate]

@plugin.method
async def told_async(ctx: AsyncContext) -> list[str | None]:
    return [ctx.traceparent, ctx.tracestate]

@plugin.method
def say(text: str) -> None:
    logging.getLogger("deep.inside").warning(text)

@plugin.method
def sorry() -> None:
    raise ValueError("no luck")
"""


def traced(tmp_path: Path) -> Host:
    return make_host(tmp_path, write_plugin(tmp_path, "traced", CODE))


async def told(host: Host, method: str = "told") -> Any:
    return await host.call("traced", method, timeout=5)


async def test_every_call_carries_a_valid_traceparent_of_its_own(tmp_path: Path) -> None:
    async with traced(tmp_path) as host:
        seen = [await told(host, method) for method in ("told", "told_async") for _ in range(20)]
        parents = [parent for parent, _ in seen]
        assert all(valid_parent(parent) == parent for parent in parents)
        assert len({trace_id_of(parent) for parent in parents}) == len(parents)
        assert {parent[-2:] for parent in parents} == {"00"}  # nobody here records anything
        assert {state for _, state in seen} == {None}


async def test_what_the_caller_carries_is_passed_on(tmp_path: Path) -> None:
    async with traced(tmp_path) as host:
        with carrying(GIVEN, STATE):
            assert await told(host) == [GIVEN, STATE]
        with carrying("nonsense", STATE):
            parent, state = await told(host)
            assert valid_parent(parent)
            assert state is None
        assert trace_id_of((await told(host))[0]) != trace_id_of(GIVEN)


async def test_what_a_handler_logs_belongs_to_its_call(tmp_path: Path) -> None:
    async with traced(tmp_path) as host:
        events = Events(host)
        with carrying(GIVEN, None):
            await host.call("traced", "say", text="inside", timeout=5)
            with pytest.raises(RemoteError):
                await host.call("traced", "sorry", timeout=5)
        for text in ("inside", "no luck"):
            record = await events.log("traced", text)
            assert record.fields["traceparent"] == GIVEN
            assert line_of(record).trace_id == trace_id_of(GIVEN)
        failure = events.failures("traced")[0]
        assert failure.trace_id == trace_id_of(GIVEN)
        assert line_of(failure).trace_id == trace_id_of(GIVEN)


async def test_what_a_plugin_says_of_its_trace_is_believed_only_if_it_is_one(tmp_path: Path) -> None:
    lying = """
        handshake()
        for value in ("x" * 1000, 7, None, ["a"], {}):
            fields = {"traceparent": value}
            send(method="log/record", params={"level": "info", "message": "lie", "fields": fields})
        serve()
    """
    host = make_host(tmp_path, write_raw_plugin(tmp_path, "lying", lying))
    events = Events(host)
    async with host:
        for _ in range(5):
            assert line_of(await events.log("lying", "lie")).trace_id is None


@pytest.mark.parametrize(("features", "keys"), [([], []), (["trace"], ["traceparent"])])
async def test_a_plugin_that_has_not_announced_the_feature_is_not_told(
    tmp_path: Path, features: list[str], keys: list[str]
) -> None:
    bare = f"""
        handshake(features={features!r})
        while True:
            message = receive()
            if message["method"] == "exit":
                sys.exit(0)
            if "id" in message:
                send(id=message["id"], result=sorted(message.get("meta", {{}})))
    """
    async with make_host(tmp_path, write_raw_plugin(tmp_path, "bare", bare)) as host:
        assert await host.call("bare", "echo", timeout=5) == keys


PROGRAM = """
import asyncio, json, sys
from pathlib import Path
from host import Host, OutboardError
{setup}

async def main():
    results = []
    async with Host(plugins=[sys.argv[1]], data_dir=sys.argv[1] + "-data") as host:
        {body}
    {end}

asyncio.run(main())
"""

SPANS = """
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from host.routing.tracing import carrying
exporter = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(provider)

def seen(span):
    context, parent = span.context, span.parent
    return {"name": span.name, "kind": span.kind.name, "status": span.status.status_code.name,
            "trace": format(context.trace_id, "032x"), "id": format(context.span_id, "016x"),
            "parent": format(parent.span_id, "016x") if parent else None, "attributes": dict(span.attributes)}
"""


def run(tmp_path: Path, body: str, *, setup: str = "", end: str = "print(json.dumps(results))") -> Any:
    """What a program of an embedder's, which runs in a process of its own, prints as JSON."""
    folder = write_plugin(tmp_path, "traced", CODE)
    program = tmp_path / "program.py"
    text = PROGRAM.replace("{setup}", setup).replace("{end}", end)
    program.write_text(text.replace("{body}", body.strip().replace("\n", "\n        ")))
    done = subprocess.run(
        [sys.executable, program, folder],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


SPANS_END = (
    'print(json.dumps({"results": results, "spans": [seen(s) for s in exporter.get_finished_spans()]}))'
)


def test_with_opentelemetry_each_call_is_a_span_and_the_plugin_is_told_of_it(tmp_path: Path) -> None:
    body = """
results.append(await host.call("traced", "told"))
try:
    await host.call("traced", "sorry")
except OutboardError:
    pass
await host.stop("traced")
try:
    await host.call("traced", "told")
except OutboardError:
    pass
"""
    seen = run(tmp_path, body, setup=SPANS, end=SPANS_END)
    good, failed, refused = seen["spans"]
    assert seen["results"][0][0].startswith(f"00-{good['trace']}-{good['id']}-")
    assert (good["name"], good["kind"], good["status"]) == ("traced.told", "CLIENT", "UNSET")
    assert good["attributes"] == {
        "rpc.system": "jsonrpc",
        "rpc.service": "traced",
        "rpc.method": "told",
        "outboard.plugin": "traced",
        "outboard.generation": 1,
    }
    assert (failed["name"], failed["status"]) == ("traced.sorry", "ERROR")
    assert failed["attributes"]["error.type"] == "OB404"
    assert failed["attributes"]["rpc.jsonrpc.error_code"] == -32000
    assert (refused["status"], refused["attributes"]["error.type"]) == ("ERROR", "OB401")


def test_a_call_that_its_caller_gives_up_is_a_span_that_ends(tmp_path: Path) -> None:
    body = """
task = asyncio.create_task(host.call("traced", "told"))
await asyncio.sleep(0)
task.cancel()
await asyncio.wait([task])
"""
    seen = run(tmp_path, body, setup=SPANS, end=SPANS_END)
    assert [span["attributes"]["error.type"] for span in seen["spans"]] == ["cancelled"]


def test_a_span_has_the_programs_own_for_its_parent_or_else_what_was_carried(tmp_path: Path) -> None:
    body = f"""
with trace.get_tracer("app").start_as_current_span("outer"):
    with carrying("{GIVEN}", "{STATE}"):
        await host.call("traced", "told")
with carrying("{GIVEN}", "{STATE}"):
    results.append(await host.call("traced", "told"))
"""
    seen = run(tmp_path, body, setup=SPANS, end=SPANS_END)
    inner, outer, carried = seen["spans"]
    assert (inner["parent"], inner["trace"]) == (outer["id"], outer["trace"])
    assert (carried["parent"], carried["trace"]) == (GIVEN[36:52], trace_id_of(GIVEN))
    assert seen["results"][0] == [f"00-{trace_id_of(GIVEN)}-{carried['id']}-01", STATE]


def test_opentelemetry_that_is_loaded_and_not_set_up_changes_nothing(tmp_path: Path) -> None:
    body = f"""
results.append(await host.call("traced", "told"))
with carrying("{GIVEN}", None):
    results.append(await host.call("traced", "told"))
"""
    setup = "from opentelemetry import trace\nfrom host.routing.tracing import carrying"
    fresh, carried = run(tmp_path, body, setup=setup)
    assert valid_parent(fresh[0])
    assert carried == [GIVEN, None]


def test_a_program_without_opentelemetry_never_loads_it(tmp_path: Path) -> None:
    body = """
await host.call("traced", "told")
results += [name for name in sys.modules if name.startswith(("opentelemetry", "host.routing.spans"))]
"""
    assert run(tmp_path, body) == []
