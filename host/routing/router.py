"""The way of a call through the host: target, admission, link, and back with a name on every error.

`Link` raises what went wrong; only here is it known for which plugin and method, which `failures` then
says; and only here it is counted.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from types import EllipsisType
from typing import TYPE_CHECKING, Any

import anyio

from host import errors
from host.contracts.held import ResultUnfit
from host.observability.bus import Bus
from host.observability.events import CallFailed, CallReplayed
from host.observability.metrics import CallStats
from host.observability.traceparent import trace_id_of
from host.process.driver import Driver
from host.process.fingerprint import fingerprint
from host.process.link import Expired, Link, Lost, OnProgress
from host.routing import chain as chains
from host.routing import failures
from host.routing.admission import Verdict, admit
from host.routing.careful import Careful
from host.routing.replay import Patience, may_be_repeated
from host.routing.stream import Stream, Way
from host.routing.tracing import Tracing
from host.routing.upload import Upload, parted
from host.supervision.states import State
from host.supervision.supervisor import Supervisor
from protocol import values
from protocol.envelope import Meta
from protocol.errors import Refusal, Refused, RpcError
from protocol.methods import belongs_to_protocol

if TYPE_CHECKING:
    from opentelemetry.trace import Span

DEFAULT_TIMEOUT_S = 30.0
LONGEST_TIMEOUT_S = 1e7
_NUMBERS = (int, float)  # a union would be made anew for each call


def is_timeout(timeout: Any) -> bool:
    """Whether it is a number of seconds that can be waited for, or None."""
    return timeout is None or (isinstance(timeout, _NUMBERS) and 0 <= timeout <= LONGEST_TIMEOUT_S)


class Router:
    """Calls plugins. `plugins` is the host's own table, read and never changed here."""

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

    def call(
        self,
        plugin: str,
        method: str,
        params: Any,
        timeout: float | EllipsisType | None,
        *,
        decode: bool = False,
        on_progress: OnProgress | None = None,
    ) -> Coroutine[Any, Any, Any]:
        """The raw result, or what it decodes to. Raises an `OutboardError` that names plugin and method.

        A `timeout` of `...` is the method's own, as its plugin announced it, or else 30 s.
        """
        # No coroutine of its own: each one around a call is 0.3 us.
        supervisor, timeout = self._found(plugin, method, timeout)
        return self.ask(supervisor, method, params, timeout, decode, on_progress)

    def stream(
        self,
        plugin: str,
        method: str,
        params: Any,
        timeout: float | EllipsisType | None,
        on_progress: OnProgress | None = None,
    ) -> Stream:
        """Like `call`, for a method that answers in items; nothing happens before the first is asked for."""
        return Stream(self, plugin, method, params, timeout, on_progress)

    def way(
        self,
        plugin: str,
        method: str,
        params: Any,
        timeout: float | EllipsisType | None,
        on_progress: OnProgress | None,
    ) -> Way:
        """For `Stream`. Raises like `call`, for what is wrong whatever the plugin does."""
        supervisor, timeout = self._found(plugin, method, timeout)
        return Way(self, supervisor, method, params, timeout, on_progress)

    def _found(
        self, plugin: str, method: str, timeout: float | EllipsisType | None
    ) -> tuple[Supervisor, float | None]:
        supervisor = self._plugins.get(plugin)
        if supervisor is None:
            raise self._absent(plugin)
        if belongs_to_protocol(method):
            raise failures.not_callable(plugin, method)
        if isinstance(timeout, EllipsisType):
            timeout = supervisor.offer.timeouts.get(method, DEFAULT_TIMEOUT_S)
        if not is_timeout(timeout):
            hint = "seconds, or None for no limit"
            raise errors.HostMisuse(f"{timeout!r} is no timeout", hint=hint, plugin=plugin, method=method)
        return supervisor, timeout

    async def ask(
        self,
        supervisor: Supervisor,
        method: str,
        params: Any,
        timeout: float | None,
        decode: bool = False,
        on_progress: OnProgress | None = None,
    ) -> Any:
        """Like `call`, for those who know whom and may ask for anything: hooks too. `timeout` in seconds."""
        chain = chains.current.get()  # 30 ns, for nearly every call the empty default
        if chain:
            chains.refuse_cycle(chain, supervisor.name, method, params)
        started_at = self._now()
        deadline = None if timeout is None else started_at + timeout
        traceparent, tracestate, span = self.tracing.begin(supervisor.name, method)
        stats: CallStats | None = None
        cut_off_by: tuple[str, ...] = ()
        upload: Upload | None = None
        try:
            while True:
                link = supervisor.link or await self.admitted(supervisor, method, deadline)
                if stats is None:
                    stats = supervisor.stats.of(method)
                    stats.in_flight += 1
                if supervisor.offer.in_items and method in supervisor.offer.in_items:
                    if method in supervisor.offer.streams:
                        raise failures.is_a_stream(supervisor.name, method)
                    if upload is None:
                        params, upload = self._parted(supervisor, link, method, params)
                held = supervisor.offer.contract[method]  # of this very process
                if not values.holds_bytes(params):  # which as JSON would take ten times as long as the call
                    held.check_params(params)  # 0.3 us: before it is sent, and all that is wrong with it
                meta = self.meta_for(link, traceparent, tracestate, deadline, chain)
                if on_progress is not None and link.tells_progress:
                    meta = meta or Meta()
                    meta.progress = True
                watched = supervisor.poison.watched  # empty but for an hour after a crash in a call
                request = self.careful.request if watched and method in watched else None
                if upload is not None:  # whose params do not tell which call it is
                    request = upload.request
                try:
                    if request is None:
                        result = await link.request(
                            method,
                            params,
                            deadline=deadline,
                            meta=meta,
                            chain=chain,
                            on_progress=on_progress,
                        )
                    else:
                        result = await request(
                            supervisor,
                            link,
                            method,
                            params,
                            deadline=deadline,
                            meta=meta,
                            chain=chain,
                            on_progress=on_progress,
                        )
                    break
                except Lost as lost:
                    lost.generation, lost.incident = link.generation, link.incident
                    if lost.was_sent:
                        cut_off_by = (*cut_off_by, link.incident)
                    if not may_be_repeated(supervisor, method, lost):
                        raise
                    if not await self.outlasts(
                        lost, supervisor, link, method, params, deadline, cut_off_by, traceparent
                    ):
                        raise
                except Refused as refused:
                    if not await self.outlasts_refusal(refused, supervisor, link, method, deadline):
                        raise
            if decode:
                result = held.decode_result(result)
            else:
                held.check_result(result)
        except (RpcError, Refused, Expired, Lost, ResultUnfit) as problem:
            error = failures.named(problem, supervisor, method, timeout, self._now())
            self._note_failure(error, supervisor, method, span)
            self.tell(error, supervisor, started_at, traceparent)
            raise error from None
        except BaseException as problem:  # turned away, or given up by the caller
            self._note_failure(problem, supervisor, method, span)
            raise
        finally:
            if stats is not None:
                stats.in_flight -= 1
        stats.ok += 1
        stats.latency.record(self._now() - started_at)
        if span is not None:
            self.tracing.end(span, supervisor.life.generation)
        return result

    def _parted(
        self, supervisor: Supervisor, link: Link, method: str, params: Any
    ) -> tuple[dict[str, Any], Upload]:
        """What goes in the request, and what goes with it in items."""
        if not link.takes_items:
            text = "the plugin has not announced the feature `up`"
            raise failures.no_stream(supervisor.name, method, text, "see docs/reference/protocol.md")
        rest, items = parted(params, supervisor.offer.uploads[method])
        return rest, Upload(self.driver, items, self._bus.told_off)

    def meta_for(
        self,
        link: Link,
        traceparent: str,
        tracestate: str | None,
        deadline: float | None,
        chain: chains.Chain,
    ) -> Meta | None:
        """What the plugin at `link` wants to be told beside the params."""
        meta = None
        if link.tells_traces:
            meta = Meta(traceparent=traceparent, tracestate=tracestate)
        if deadline is not None and link.tells_deadlines:
            meta = meta or Meta()
            meta.timeout_ms = max(1, int((deadline - self.driver.now()) * 1000))
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
            self._note_failure(problem, supervisor, method, span)
            return
        supervisor.stats.of(method).ok += 1
        if span is not None:
            self.tracing.end(span, supervisor.life.generation)

    def _note_failure(
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
