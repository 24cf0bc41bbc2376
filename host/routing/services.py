"""The app's own functions, for plugins that are permitted to call them: `Host(services={...})`.

Whatever one of them does costs the call that asked, and nothing else: it may raise, hang or return what
JSON cannot carry. A sync one runs in a thread of its own, which is left to itself when its time is over.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Mapping
from contextvars import copy_context
from functools import partial
from typing import Any

from host.errors import HostMisuse
from host.process.driver import Driver, Waiter
from protocol import values
from protocol.contract import nearest
from protocol.errors import ErrorCode, RpcError
from protocol.methods import is_own_name

MAX_THREADS = 64
"""Sync services at work at once, those included that nobody waits for any more."""
RETRY_AFTER_MS = 100


class Services:
    """By name. Raises `HostMisuse` for a name that cannot be one."""

    def __init__(self, services: Mapping[str, Callable[..., Any]], driver: Driver) -> None:
        for name in services:
            if not is_own_name(name):
                hint = "use lower case letters, digits and _, in parts joined by dots"
                raise HostMisuse(f"`{name}` cannot be a service's name", hint=hint)
        self._services = dict(services)
        self._driver = driver
        self._threads = 0

    async def call(self, name: str, params: Any) -> Any:
        """What the service returns. Raises `RpcError`, or whatever the service raises."""
        service = self._services.get(name)
        if service is None:
            close = nearest(name, self._services)
            hint = f"; did you mean `{close}`?" if close else ""
            raise RpcError(ErrorCode.METHOD_NOT_FOUND, f"the app has no service `{name[:100]}`{hint}")
        arguments = _arguments(service, params)
        if inspect.iscoroutinefunction(service) or inspect.iscoroutinefunction(type(service).__call__):
            return await service(**arguments)
        return await self._in_a_thread(partial(service, **arguments))

    async def _in_a_thread(self, work: Callable[[], Any]) -> Any:
        # Not anyio's threads: a program waits for those before it exits, and a service may hang.
        if self._threads >= MAX_THREADS:
            data = {"limit": MAX_THREADS, "retry_after_ms": RETRY_AFTER_MS}
            raise RpcError(ErrorCode.OVERLOADED, f"{MAX_THREADS} services of the app are at work", data)
        waiter = self._driver.waiter()
        context = copy_context()

        def run() -> None:
            outcome: tuple[Any, BaseException | None]
            try:
                outcome = context.run(work), None
            except BaseException as error:  # in a thread of ours; it is for the caller to see
                outcome = None, error
            try:
                self._driver.call_from_thread(lambda: self._settle(waiter, outcome))
            except RuntimeError:  # the loop is gone, and whoever waited with it
                pass

        threading.Thread(target=run, name="outboard service", daemon=True).start()
        self._threads += 1
        result, error = await waiter
        if error is not None:
            raise error
        return result

    def _settle(self, waiter: Waiter, outcome: tuple[Any, BaseException | None]) -> None:
        self._threads -= 1
        if not waiter.done():
            waiter.set_result(outcome)


def _arguments(service: Callable[..., Any], params: Any) -> dict[str, Any]:
    given = values.decode(params)
    problem = None
    if not isinstance(given, dict):
        problem = "params of a service are given by name"
    else:
        try:
            inspect.signature(service).bind(**given)
        except TypeError as error:
            problem = str(error)
        except ValueError:  # a function in C that does not say what it takes
            pass
    if problem is not None:
        raise RpcError(ErrorCode.INVALID_PARAMS, problem, [{"path": "$", "reason": problem}])
    return dict(given)
