"""Which trace a call belongs to: its caller's, or a new one, so that every call can be followed.

Three sources, the first that has something to say: a span of `opentelemetry`, if the program has loaded
and set it up; what the caller said (`carrying`, used by the control socket); ids made up on the spot.
Made-up ones have flags 00: nobody here records a span. `opentelemetry` is never imported from here but by
a program that has imported it already, so without it tracing costs a look into a dict.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from host.observability.traceparent import valid_parent, valid_state

if TYPE_CHECKING:
    from opentelemetry.trace import Span

    from host.routing.spans import Spans

Trace = tuple[str, str | None, "Span | None"]
"""traceparent, tracestate, and the span that stands for the call, if there is one."""

_carried: ContextVar[tuple[str, str | None] | None] = ContextVar("outboard_trace", default=None)


@contextmanager
def carrying(traceparent: str | None, tracestate: str | None) -> Iterator[None]:
    """Calls made inside belong to this trace. What is not valid is treated as if it were not there."""
    parent = valid_parent(traceparent)
    token = _carried.set(None if parent is None else (parent, valid_state(tracestate)))
    try:
        yield
    finally:
        _carried.reset(token)


class Tracing:
    """Of one host."""

    def __init__(self) -> None:
        # An instance of our own: a program that seeds the module's would get the same ids every time.
        # Ids need no secrecy, and os.urandom for each call would cost a system call.
        self._bits = random.Random().getrandbits
        self._spans: Spans | None = None

    def begin(self, plugin: str, method: str) -> Trace:
        """0.2 us without opentelemetry, nearly all of it for making the ids."""
        carried = _carried.get()
        if "opentelemetry.trace" in sys.modules:
            trace = self._begin_span(plugin, method, carried)
            if trace is not None:
                return trace
        if carried is not None:
            return (*carried, None)
        # Both ids at once, 16 bytes and 8: formatting the two numbers takes twice as long.
        return f"00-{self._bits(192).to_bytes(24).hex('-', -16)}-00", None, None

    def end(self, span: Span, generation: int, error: BaseException | None = None) -> None:
        """The call that `span` stands for is over; `error` is what its caller got to see."""
        assert self._spans is not None
        self._spans.end(span, generation, error)

    def _begin_span(self, plugin: str, method: str, carried: tuple[str, str | None] | None) -> Trace | None:
        if self._spans is None:
            from host.routing.spans import Spans

            self._spans = Spans()
        return self._spans.begin(plugin, method, carried)
