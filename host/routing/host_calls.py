"""What plugins ask of the host: to call another plugin, and the services of the app.

Each request is a task. It is made for a call that the host has in flight, which `meta.parent` names; it
has no more time than that call, and ends with it. A request that names none stands for itself.
What a plugin may ask for is in its manifest, and nothing that is not. How much of a callee one caller may
have at once is bounded, so that one plugin cannot keep another from everybody else.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping
from itertools import pairwise
from typing import Any

import anyio
import anyio.abc
import msgspec

from host import errors
from host.observability.bus import Bus
from host.observability.events import CallFailed
from host.process.driver import Driver, Waiter
from host.process.link import Link
from host.routing import chain as chains
from host.routing.chain import Chain, Step
from host.routing.on_the_wire import params_of, wire_error
from host.routing.outflow import Outflow
from host.routing.own_settings import OwnSettings
from host.routing.passage import LONGEST_TIMEOUT_S
from host.routing.permissions import Permission, permits, refusal
from host.routing.router import Router
from host.routing.services import Services
from host.routing.store_requests import Answer
from host.routing.topics import Topics
from host.routing.tracing import carrying
from host.supervision.offer import DEFAULT_TIMEOUT_S
from host.supervision.supervisor import Supervisor
from host.supervision.voice import one_line
from protocol import values
from protocol.envelope import MessageId, Meta, is_structured
from protocol.errors import ErrorCode, RpcError
from protocol.events import Cancelled, Ended, Event, Notification, Request, Resumed
from protocol.lifecycle import Empty, PluginCallParams
from protocol.pending import Call
from protocol.topics import PublishParams

MAX_CONCURRENT = 32
"""Calls that one plugin may have in flight to another, or to one service: half of what an SDK plugin works
on at once, so the other half is there for everybody else."""
RETRY_AFTER_S = 0.1
_NOTHING_SAID = Meta()


class _Errand:
    """One request of a plugin's that is worked on."""

    __slots__ = (
        "_cancelled",
        "_scope",
        "call",
        "chain",
        "link",
        "meta",
        "outflow",
        "plugin",
        "request",
        "started_at",
    )

    def __init__(self, plugin: str, link: Link, request: Request, call: Call | None, now: float) -> None:
        self.plugin = plugin
        self.link = link
        self.request = request
        self.meta = request.meta or _NOTHING_SAID
        self.call = call
        """The call that it is made for."""
        self.started_at = now
        self.chain: Chain
        if call is None:
            self.chain = (Step(plugin, "", None, link, request.id),)
        else:
            self.chain = (*call.chain, Step(plugin, call.method, call.params, link, request.id))
        self.outflow: Outflow | None = None
        """If it asks for a stream."""
        if link.session.streams.sending(request.id) is not None:
            self.outflow = Outflow(link.session, request.id, link.flush)
        self._scope: anyio.CancelScope | None = None
        self._cancelled = False

    def cancel(self) -> None:
        self._cancelled = True
        if self._scope is not None:
            self._scope.cancel()

    async def run(self, work: Callable[[_Errand], Awaitable[Any]]) -> Any:
        """What `work` returns. Raises `RpcError` when it is cancelled."""
        with anyio.CancelScope() as self._scope:
            if self._cancelled:  # before it had begun
                self._scope.cancel()
            return await work(self)
        raise RpcError(ErrorCode.REQUEST_CANCELLED, "cancelled")

    def time_left(self, default_s: float) -> float:
        """Its own time, or else `default_s`; no more than what the call that it is made for has left."""
        own_s = default_s if self.meta.timeout_ms is None else self.meta.timeout_ms / 1000
        if self.call is not None and self.call.deadline is not None:
            own_s = min(own_s, self.call.deadline - self.started_at)
        return max(0.0, min(own_s, LONGEST_TIMEOUT_S))


class HostCalls:
    """Of one host. `plugins` is the host's own table, read and never changed here."""

    def __init__(
        self,
        plugins: Mapping[str, Supervisor],
        router: Router,
        services: Services,
        own_settings: OwnSettings,
        driver: Driver,
        bus: Bus,
        topics: Topics,
        more: Mapping[str, Answer],
    ) -> None:
        """`more` are methods that the host answers by itself, inside the time that each request has."""
        self._plugins = plugins
        self._router = router
        self._services = services
        self._own_settings = own_settings
        self._driver = driver
        self._bus = bus
        self._topics = topics
        self._runs = False
        self._next: deque[_Errand] = deque()
        """Heard, and not begun. As many as plugins may have in flight."""
        self._more: Waiter | None = None
        self._errands: dict[tuple[Link, MessageId], _Errand] = {}
        self._taken: Counter[tuple[str, str]] = Counter()
        """How many are in flight, by caller and callee."""
        self._own = more
        self._methods: dict[str, Callable[[_Errand], Awaitable[Any]]] = {
            "plugin/call": self._call_plugin,
            "config/get": self._get_settings,
            "config/update": self._update_settings,
            **dict.fromkeys(more, self._answer_itself),
        }

    async def run(self, *, task_status: anyio.abc.TaskStatus[None]) -> None:
        """Begins the tasks, and holds them until it is cancelled.

        What is heard is heard in a callback of the loop's, and there no task can be begun.
        """
        try:
            async with anyio.create_task_group() as tasks:
                self._runs = True
                task_status.started()
                while True:
                    while self._next:
                        tasks.start_soon(self._answer, self._next.popleft())
                    self._more = self._driver.waiter()
                    await self._more
        finally:
            self._runs = False

    def hear(self, plugin: str, link: Link, event: Event) -> None:
        """A request of the plugin's, or the end of one, or of all. Never raises, and never waits."""
        if isinstance(event, Request):
            if event.method == "event/publish":
                self._publish(plugin, link, event)
            else:
                self._begin(plugin, link, event)
        elif isinstance(event, Notification):
            self._topics.acknowledge(plugin, link, event.params)
        elif isinstance(event, Cancelled):
            errand = self._errands.get((link, event.id))
            if errand is not None:
                errand.cancel()
        elif isinstance(event, Resumed):
            errand = self._errands.get((link, event.id))
            if errand is not None and errand.outflow is not None:
                errand.outflow.resume()
        elif isinstance(event, Ended):
            for errand in [errand for errand in self._errands.values() if errand.link is link]:
                errand.cancel()

    def _begin(self, plugin: str, link: Link, request: Request) -> None:
        if values.is_packed(request.params) and not request.method.startswith(("plugin/", "host/")):
            # What is kept, or told to many, is JSON: only plugins and services want bytes as they are.
            request = msgspec.structs.replace(request, params=values.as_json(request.params))
        parent = None if request.meta is None else request.meta.parent
        call = None if parent is None else link.session.outgoing.calls.get(parent)  # type: ignore[arg-type]
        if not self._runs:
            link.reply_error(request.id, RpcError(ErrorCode.SHUTTING_DOWN, "the host is about to end"))
        elif parent is not None and call is None:
            text = "the request that it is made for is not in flight (any more)"
            link.reply_error(request.id, RpcError(ErrorCode.REQUEST_CANCELLED, text))
        else:
            errand = _Errand(plugin, link, request, call, self._driver.now())
            self._errands[link, request.id] = errand
            if call is not None:
                call.nested = call.nested or set()
                call.nested.add(errand)
            self._next.append(errand)
            if self._more is not None and not self._more.done():
                self._more.set_result(None)

    async def _answer(self, errand: _Errand) -> None:
        request, link = errand.request, errand.link
        try:
            result = await errand.run(self._work)
        except Exception as error:
            link.reply_error(request.id, wire_error(error))
        else:
            link.reply(request.id, result)
        finally:
            del self._errands[link, request.id]
            if errand.call is not None and errand.call.nested is not None:
                errand.call.nested.discard(errand)

    def _publish(self, plugin: str, link: Link, request: Request) -> None:
        """At once, and so in order: nothing of it waits."""
        try:
            asked = params_of(request.params, PublishParams)
            self._topics.publish(asked.topic, asked.value, plugin)
        except Exception as error:
            if isinstance(error, errors.OutboardError):
                self._tell(
                    _Errand(plugin, link, request, None, self._driver.now()), error.code, error.message
                )
            link.reply_error(request.id, wire_error(error))
        else:
            link.reply(request.id, Empty())

    async def _work(self, errand: _Errand) -> Any:
        chains.current.set(errand.chain)  # of this task alone
        method = errand.request.method
        work = self._call_service if method.startswith("host/") else self._methods.get(method)
        if work is None:
            text = f"the host provides no method `{one_line(method[:100])}`"
            raise RpcError(ErrorCode.METHOD_NOT_FOUND, text)
        with carrying(errand.meta.traceparent, errand.meta.tracestate):
            try:
                return await work(errand)
            except (errors.PermissionDenied, errors.CallCycle) as error:
                self._tell(errand, error.code, error.message)
                raise

    # -- other plugins -------------------------------------------------------------------------

    async def _call_plugin(self, errand: _Errand) -> Any:
        asked = params_of(errand.request.params, PluginCallParams)
        if values.is_packed(errand.request.params):
            asked.params = values.told_apart(asked.params)
        if not is_structured(asked.params):
            data = [{"path": "$.params", "reason": "an object or an array"}]
            raise RpcError(ErrorCode.INVALID_PARAMS, "plugin/call: params must be an object", data)
        if asked.plugin != errand.plugin:
            self._check_permission(errand.plugin, "plugins", asked.plugin)
        supervisor = self._plugins.get(asked.plugin)
        own = supervisor.offer.timeouts if supervisor is not None else {}
        timeout = errand.time_left(own.get(asked.method, DEFAULT_TIMEOUT_S))
        if errand.outflow is not None:
            return await self._within_bounds(errand, asked.plugin, lambda: self._pour(errand, asked, timeout))
        return await self._within_bounds(
            errand, asked.plugin, lambda: self._router.call(asked.plugin, asked.method, asked.params, timeout)
        )

    async def _pour(self, errand: _Errand, asked: PluginCallParams, timeout: float) -> None:
        """From one plugin to the other: what waits here is bounded by the credit on both sides."""
        assert errand.outflow is not None
        async with self._router.stream(asked.plugin, asked.method, asked.params, timeout) as stream:
            while items := await stream.batch():
                await errand.outflow.send(items)

    # -- the host, and the app -----------------------------------------------------------------

    async def _answer_itself(self, errand: _Errand) -> Any:
        answer, timeout = self._own[errand.request.method], errand.time_left(DEFAULT_TIMEOUT_S)
        with anyio.move_on_after(timeout):
            return await answer(errand.plugin, errand.request.params)
        raise self._too_late(errand, timeout)

    async def _call_service(self, errand: _Errand) -> Any:
        wire_name = errand.request.method
        name = wire_name.removeprefix("host/")
        self._check_permission(errand.plugin, "host", name)
        chains.current.set((*errand.chain, Step("", wire_name, None)))
        timeout = errand.time_left(DEFAULT_TIMEOUT_S)
        try:
            with anyio.fail_after(timeout) as scope:
                return await self._within_bounds(
                    errand, wire_name, lambda: self._services.call(name, errand.request.params)
                )
        except TimeoutError as error:
            if not scope.cancelled_caught:  # the service's own
                raise self._service_failed(errand, error) from None
            raise self._too_late(errand, timeout) from None
        except (RpcError, errors.OutboardError):
            raise
        except (Exception, SystemExit, KeyboardInterrupt) as error:  # the app's code: it costs this call
            raise self._service_failed(errand, error) from None

    def _too_late(self, errand: _Errand, timeout: float) -> RpcError:
        text = f"no answer within {timeout:g} s"
        self._tell(errand, errors.DeadlineExceeded.code, text)
        return RpcError(ErrorCode.DEADLINE_EXCEEDED, text)

    def _service_failed(self, errand: _Errand, error: BaseException) -> RpcError:
        kind, text = type(error).__name__, errors.text_of(error)
        self._tell(errand, errors.RemoteError.code, f"{kind}: {text}")
        return RpcError(ErrorCode.PLUGIN_ERROR, f"{kind}: {text}", {"type": kind, "message": text})

    # -- its own settings ----------------------------------------------------------------------

    async def _get_settings(self, errand: _Errand) -> Any:
        return self._own_settings.get(errand.plugin, errand.link)

    async def _update_settings(self, errand: _Errand) -> Any:
        plugin, link, params = errand.plugin, errand.link, errand.request.params
        timeout = errand.time_left(DEFAULT_TIMEOUT_S)
        return await self._within_bounds(
            errand, "config/update", lambda: self._own_settings.update(plugin, link, params, timeout)
        )

    # -- may it, and is there room -------------------------------------------------------------

    def _check_permission(self, plugin: str, key: Permission, wanted: str) -> None:
        caller = self._plugins.get(plugin)
        if not permits(caller, key, wanted):
            raise refusal(plugin, caller, key, wanted)

    async def _within_bounds(self, errand: _Errand, callee: str, work: Callable[[], Awaitable[Any]]) -> Any:
        """Turned away at once where there is no room. A call whose chain has room of the two already takes
        no more of it: to wait for itself would be a deadlock."""
        pair = (errand.plugin, callee)
        if pair in pairwise(step.plugin or step.method for step in errand.chain):
            return await work()
        if self._taken[pair] >= MAX_CONCURRENT:
            text = f"{MAX_CONCURRENT} calls of `{errand.plugin}` to `{callee}` are in flight"
            self._tell(errand, errors.PluginBusy.code, text)
            data = {"limit": MAX_CONCURRENT, "retry_after_ms": int(RETRY_AFTER_S * 1000)}
            raise RpcError(ErrorCode.OVERLOADED, text, data)
        self._taken[pair] += 1
        try:
            return await work()
        finally:
            self._taken[pair] -= 1
            if not self._taken[pair]:
                del self._taken[pair]

    def _tell(self, errand: _Errand, code: str, message: str) -> None:
        """What the router has not told: what went wrong before it, or without it."""
        self._bus.emit(
            CallFailed(
                plugin=errand.plugin,
                method=one_line(errand.request.method[:100]),
                call_id=str(errand.request.id)[:100],
                error=code,
                message=message,
                elapsed_ms=round((self._driver.now() - errand.started_at) * 1000, 3),
            )
        )
