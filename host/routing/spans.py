"""Calls as spans of `opentelemetry`, by its semantic conventions for RPC. Imported only if it is loaded."""

from __future__ import annotations

from opentelemetry import trace
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

import protocol
from host.errors import OutboardError, RemoteError

Begun = tuple[str, str | None, trace.Span]
"""traceparent, tracestate, and the span that stands for the call."""


class Spans:
    """Makes a client span for each call. The program's provider says what becomes of them."""

    def __init__(self) -> None:
        self._tracer = trace.get_tracer("outboard", protocol.__version__)
        self._w3c = TraceContextTextMapPropagator()

    def begin(self, plugin: str, method: str, carried: tuple[str, str | None] | None) -> Begun | None:
        """None if the program has loaded the API and set nothing up.

        The parent is the program's current span, else what the caller of the control socket carried.
        """
        context = None
        if carried is not None and not trace.get_current_span().get_span_context().is_valid:
            parent, state = carried
            context = self._w3c.extract({"traceparent": parent} | ({"tracestate": state} if state else {}))
        span = self._tracer.start_span(
            f"{plugin}.{method}",
            context,
            kind=trace.SpanKind.CLIENT,
            attributes={
                "rpc.system": "jsonrpc",
                "rpc.service": plugin,
                "rpc.method": method,
                "outboard.plugin": plugin,
            },
        )
        if not span.get_span_context().is_valid:
            return None
        carrier: dict[str, str] = {}
        self._w3c.inject(carrier, trace.set_span_in_context(span))
        return carrier["traceparent"], carrier.get("tracestate"), span

    def end(self, span: trace.Span, generation: int, error: BaseException | None) -> None:
        """An error that is none of ours means that the caller gave up."""
        span.set_attribute("outboard.generation", generation)
        if error is not None:
            code, text = "cancelled", ""
            if isinstance(error, OutboardError):
                code, text = error.code, error.message
            span.set_status(trace.StatusCode.ERROR, f"{code}: {text}" if text else code)
            span.set_attribute("error.type", code)
        if isinstance(error, RemoteError):
            span.set_attribute("rpc.jsonrpc.error_code", error.remote_code)
        span.end()
