"""What every call and every stream goes through on its way to a plugin: whom, when, once more, and told how.

`router` is the way of a call that is answered at once, `stream` that of one that is answered in items.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import EllipsisType
from typing import TYPE_CHECKING, Any

import anyio

from host import errors
from host.observability.bus import Bus
from host.observability.events import CallFailed, CallReplayed
from host.observability.traceparent import trace_id_of
from host.process.driver import Driver
from host.process.fingerprint import fingerprint
from host.process.link import Link, Lost
from host.routing import chain as chains
from host.routing import failures
from host.routing.admission import Verdict, admit
from host.routing.careful import Careful
from host.routing.replay import Patience
from host.routing.tracing import Tracing
from host.supervision.states import State
from host.supervision.supervisor import Supervisor
from protocol.envelope import Meta
from protocol.errors import Refusal, Refused

if TYPE_CHECKING:
    from opentelemetry.trace import Span

LONGEST_TIMEOUT_S = 1e7
_NUMBERS = (int, float)  # a union would be made anew for each call


def is_timeout(timeout: Any) -> bool:
    """Whether it is a number of seconds that can be waited for, or None."""
    return timeout is None or (isinstance(timeout, _NUMBERS) and 0 <= timeout <= LONGEST_TIMEOUT_S)


class Passage:
    """Of one host. `plugins` is the host's own table, read and never changed here."""

    def __init__(
        self,
        plugins: Mapping[str, Supervisor],
        driver: Driver,
        bus: Bus,
        absent: Callable[[str], errors.OutboardError],
    ) -> None:
        """`absent` is the error for a plugin that is not there."""
        self._plugins = plugins
        self._absent = absent
        self.driver = driver
        self._now = driver.now
        self._bus = bus
        self.tracing = Tracing()
        self.careful = Careful(driver.now)
        self._patience = Patience(driver.now)

    def found(
        self, plugin: str, method: str, timeout: float | EllipsisType | None
    ) -> tuple[Supervisor, float | None]:
        """Who is meant, and for how long. Raises for what is wrong whatever the plugin does."""
        supervisor = self._plugins.get(plugin)
        if supervisor is None:
            raise self._absent(plugin)
        offered = supervisor.offer.methods[method]
        if not offered.is_own:
            raise failures.not_callable(plugin, method)
        if timeout is ...:
            return supervisor, offered.timeout_s
        if not is_timeout(timeout):
            hint = "seconds, or None for no limit"
            raise errors.HostMisuse(f"{timeout!r} is no timeout", hint=hint, plugin=plugin, method=method)
        return supervisor, timeout

    async def admitted(self, supervisor: Supervisor, method: str, deadline: float | None) -> Link:
        """The link of a plugin that is not serving at first sight."""
        life = supervisor.life
        verdict = admit(
            life,
            idempotent=method in supervisor.offer.idempotent,
            lazy=supervisor.policy.start_mode == "lazy",
        )
        if verdict is Verdict.WAIT and method in supervisor.offer.idempotent:
            # Also if this start fails: the next one will do as well.
            before = life.generation - (life.state is State.STARTING)
            await self._patience.outlast(supervisor, before, deadline)
        elif verdict is Verdict.WAKE or verdict is Verdict.WAIT:
            left = None if deadline is None else max(0.0, deadline - self.driver.now())
            with anyio.move_on_after(left):
                if verdict is Verdict.WAKE:
                    await supervisor.start("a call came")
                else:
                    await supervisor.wait_until(lambda life: not life.is_coming)
        link = supervisor.link
        if link is None:
            raise failures.unavailable(supervisor, method, self._now())
        return link

    def meta_for(
        self,
        link: Link,
        traceparent: str,
        tracestate: str | None,
        deadline: float | None,
        chain: chains.Chain,
        wants_progress: bool,
    ) -> Meta | None:
        """What the plugin at `link` wants to be told beside the params."""
        meta = None
        if link.tells_traces:
            meta = Meta(None, traceparent, tracestate)
        if deadline is not None and link.tells_deadlines:
            meta = meta or Meta()
            meta.timeout_ms = max(1, int((deadline - self._now()) * 1000))
        if wants_progress and link.tells_progress:
            meta = meta or Meta()
            meta.progress = True
        if chain and link.tells_parents:
            meta = meta or Meta()
            meta.parent = chains.request_behind(chain, link)
        return meta

    async def outlasts(
        self,
        lost: Lost,
        supervisor: Supervisor,
        link: Link,
        method: str,
        params: Any,
        deadline: float | None,
        cut_off_by: tuple[str, ...],
        traceparent: str,
    ) -> bool:
        """Whether another process has come, for a call that `lost` has cut off and that may be repeated."""
        lost_at = self.driver.now()
        mark = fingerprint(method, params)
        if not await self._patience.outlast(supervisor, link.generation, deadline, cut_off_by, mark):
            return False
        if lost.was_sent:
            supervisor.stats.of(method).replayed += 1
            self._tell_replay(supervisor, link, method, lost, lost_at, traceparent)
        return True

    async def outlasts_refusal(
        self, refused: Refused, supervisor: Supervisor, link: Link, method: str, deadline: float | None
    ) -> bool:
        """The same, for one that was not sent: perhaps nobody has noticed yet that the process has ended."""
        if refused.reason is not Refusal.CLOSED or method not in supervisor.offer.idempotent:
            return False
        return await self._patience.outlast(supervisor, link.generation, deadline)

    def check_is_stream(self, supervisor: Supervisor, link: Link, method: str) -> None:
        """Raises `ContractError` for a method that answers at once, or a plugin that knows no streams."""
        if method not in supervisor.offer.streams and supervisor.offer.has_method(method):
            raise failures.answers_at_once(supervisor.name, method)
        if not link.knows_streams:
            text = "the plugin has not announced the feature `stream`"
            raise failures.no_stream(supervisor.name, method, text, "see docs/reference/protocol.md")

    def end_stream(
        self,
        supervisor: Supervisor,
        method: str,
        span: Span | None,
        problem: BaseException | None,
        *,
        was_counted: bool,
    ) -> None:
        """Counts it, once. How long it took is its reader's business as well, so it is no latency."""
        if was_counted:
            supervisor.stats.of(method).in_flight -= 1
        if problem is not None:
            self.note_failure(problem, supervisor, method, span)
            return
        supervisor.stats.of(method).ok += 1
        if span is not None:
            self.tracing.end(span, supervisor.life.generation)

    def note_failure(
        self, error: BaseException, supervisor: Supervisor, method: str, span: Span | None
    ) -> None:
        stats = supervisor.stats.of(method)
        if isinstance(error, errors.DeadlineExceeded):
            stats.timeout += 1
        elif isinstance(error, errors.OutboardError):
            stats.note_error(error.code)
        else:
            stats.cancelled += 1
        if span is not None:
            self.tracing.end(span, supervisor.life.generation, error)

    def tell(
        self, error: errors.OutboardError, supervisor: Supervisor, started_at: float, traceparent: str
    ) -> None:
        self._bus.emit(
            CallFailed(
                plugin=supervisor.name,
                method=error.method or "",
                call_id=error.call_id or "",
                error=error.code,
                message=error.message,
                elapsed_ms=round((self.driver.now() - started_at) * 1000, 3),
                trace_id=trace_id_of(traceparent),
            )
        )

    def _tell_replay(
        self,
        supervisor: Supervisor,
        link: Link,
        method: str,
        lost: Lost,
        lost_at: float,
        traceparent: str,
    ) -> None:
        self._bus.emit(
            CallReplayed(
                plugin=supervisor.name,
                method=method,
                call_id=f"{link.generation}.{lost.call_id}",
                incident=link.incident,
                waited_ms=round((self.driver.now() - lost_at) * 1000, 3),
                trace_id=trace_id_of(traceparent),
            )
        )
