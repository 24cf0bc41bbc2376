"""`BlockingHost`: a `Host` for programs without an event loop. Usable from any number of threads at once.

    with BlockingHost(plugins=["plugins/"]) as host:
        host.call("hello", "greet", name="Ada", timeout=1)

The loop runs in one thread of its own, which lives as long as the host: Linux ends a child with the thread
that started it. A call is left at that thread's door, whose bell it hears, and rings the caller's when it
is done: about 8 x a raw pipe, where the same call on the loop itself is 4.7 x. Decision 0010 says what would
be faster, and what it would cost.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextvars import copy_context
from functools import partial
from types import EllipsisType, TracebackType
from typing import Any, Generic, Self, TypeVar, overload

import msgspec

from host.config.load import Layers
from host.config.shown import Shown
from host.contracts.document import PluginContract, PointContract
from host.doorbell import Bell, Bells, Door
from host.errors import HostMisuse
from host.host import Host
from host.lent import Lender
from host.observability.events import HostEvent
from host.observability.openmetrics import Measures
from host.observability.snapshot import Status, Why
from host.process.link import OnProgress
from host.proxy import Asked, Proxied, object_of
from host.routing.dispatch import HookOutcome
from host.routing.extension_points import ExtensionPoint
from host.routing.listeners import Published
from host.routing.stream import Stream
from host.routing.topics import Topic
from host.supervision.plan import Plan
from protocol import values
from protocol.lifecycle import MethodInfo

_Path = str | os.PathLike[str]
T = TypeVar("T")
S = TypeVar("S", bound=msgspec.Struct)


class _Errand(Generic[T]):
    """Something that one thread wants done on the loop, and waits for. All but `wait` is for the loop."""

    __slots__ = ("_bell", "_context", "_lender", "_over", "_task", "_work", "error", "result")

    def __init__(
        self, work: Callable[[], Coroutine[Any, Any, T]], bell: Bell, lender: Lender | None = None
    ) -> None:
        self.result: T
        self.error: BaseException | None = None
        self._work = work
        self._lender = lender
        self._task: asyncio.Task[None] | None = None
        self._over = False
        self._bell = bell
        self._context = copy_context()
        """Of the thread, for the task: whose trace it is, and which calls it is made for."""

    def wait(self) -> None:
        """Until it is over. Ctrl-C ends the waiting, as it would any blocking call."""
        if self._lender is not None:
            self._lender.serve()
        self._bell.hear()

    def begin(self) -> None:
        if not self._over:
            self._task = asyncio.get_running_loop().create_task(self._run(), context=self._context)

    def cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def fail(self) -> None:
        """The host is no more."""
        if not self._over:
            self.error = _not_here()
            self._settle()

    async def _run(self) -> None:
        # Settled here and not in a callback of the task's: a turn of the loop less, 2 us.
        try:
            self.result = await self._work()
        except asyncio.CancelledError:
            self.error = _not_here()
        except BaseException as error:  # it is raised where it is waited for
            self.error = error
        if not self._over:
            self._settle()

    def _settle(self) -> None:
        self._over = True
        self._bell.ring()
        if self._lender is not None:
            self._lender.dismiss()


class BlockingStream:
    """An iterator over the items of a plugin's method; also `with`, which closes it at its end.

    Many items come over from the host's thread at once, as many as have arrived there.
    """

    def __init__(
        self,
        stream: Stream,
        do: Callable[[Callable[[], Coroutine[Any, Any, Any]]], Any],
        typed: Callable[[int, Any], Any] | None = None,
    ) -> None:
        self._stream = stream
        self._do = do
        self._typed = typed
        """Makes of an item, and its number, what a Protocol says."""
        self._number = 0
        self._items: deque[msgspec.Raw] = deque()
        self._is_over = False

    def __iter__(self) -> BlockingStream:
        return self

    def __next__(self) -> Any:
        if not self._items:
            if not self._is_over:
                try:
                    self._items.extend(self._do(self._stream.batch))
                except BaseException:
                    self._is_over = True
                    raise
            if not self._items:
                self._is_over = True
                raise StopIteration
        item = values.decode(self._items.popleft())
        if self._typed is None:
            return item
        try:
            typed = self._typed(self._number, item)
        except BaseException:
            self.close()
            raise
        self._number += 1
        return typed

    def close(self) -> None:
        """Ends it: the plugin is told that no more is wanted. Once it is over this does nothing."""
        self._items.clear()
        if not self._is_over:
            self._is_over = True
            try:
                self._do(self._stream.aclose)
            except HostMisuse:
                pass  # the host is no more, and neither is the stream

    def __enter__(self) -> BlockingStream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class BlockingHost:
    """Takes what `Host` takes, and has its methods; each blocks until it is done.

    Ctrl-C during a call cancels that call, and the host goes on.

    Raises (on entering):
        ConfigError: with every problem of the configuration. HostMisuse: it was entered before.
    """

    def __init__(
        self,
        *,
        config: _Path | Layers | None = None,
        plugins: Sequence[_Path] = (),
        data_dir: _Path | None = None,
        state_file: _Path | None = None,
        extension_points: Sequence[ExtensionPoint] = (),
        cache_dir: _Path | None = None,
        services: Mapping[str, Callable[..., Any]] | None = None,
        overrides: _Path | None = None,
        sections: Mapping[str, type[msgspec.Struct]] | None = None,
        topics: Sequence[Topic] = (),
        warm_start: bool | None = None,
    ) -> None:
        self._host = Host(
            config=config,
            plugins=plugins,
            data_dir=data_dir,
            state_file=state_file,
            extension_points=extension_points,
            cache_dir=cache_dir,
            services=services,
            overrides=overrides,
            sections=sections,
            topics=topics,
            warm_start=warm_start,
        )
        self._thread: threading.Thread | None = None
        self._life: asyncio.Task[Any]
        self._leaving: asyncio.Event
        self._begun = threading.Event()
        """The loop runs."""
        self._entered = threading.Event()
        """Or never will be: see `_failure`."""
        self._over = threading.Event()
        """The thread has no more to do. `Thread.join`, once Ctrl-C has interrupted it, takes it for dead."""
        self._door: Door
        self._bells = Bells()
        self._is_over = False
        """The thread will look at nothing any more: asked for each call, where `is_alive` is 0.5 us."""
        self._pid = 0
        """Of the process that entered it."""
        self._failure: BaseException | None = None
        self._errands: set[_Errand[Any]] = set()

    # -- in and out ------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        if self._thread is not None:
            raise HostMisuse("this host has been entered already", hint="make another BlockingHost")
        self._pid = os.getpid()
        self._door = Door()
        thread = self._thread = threading.Thread(target=self._run, name="outboard", daemon=True)
        thread.start()
        try:
            self._entered.wait()
        except BaseException:  # Ctrl-C
            self._begun.wait()
            self._door.leave(self._life.cancel)
            self._over.wait()
            raise
        if self._failure is not None:
            raise self._failure
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._thread is None:
            raise _not_here()
        self._door.leave(lambda: self._leaving.set())
        try:
            self._over.wait()
        except BaseException:  # Ctrl-C: no time for manners, the plugins are killed
            self._door.leave(self._life.cancel)
            self._over.wait()
            raise
        self._thread.join()
        if self._failure is not None:
            raise self._failure

    # -- calls -----------------------------------------------------------------------------------

    def call(
        self,
        plugin: str,
        method: str,
        /,
        *,
        timeout: float | EllipsisType | None = ...,
        params: Any = None,
        on_progress: OnProgress | None = None,
        **named: Any,
    ) -> Any:
        """See `Host.call`. `on_progress` is called on the host's thread, and cannot call the host.

        An iterator among the params is advanced in the thread that calls, and may block.
        """
        given = named if params is None else params
        lender = None
        if type(given) is dict and any(isinstance(value, Iterator) for value in given.values()):
            lender = Lender(self._host._bus.told_off)
            given = lender.lend(given)
        work = partial(
            self._host.call, plugin, method, timeout=timeout, params=given, on_progress=on_progress
        )
        if lender is None:
            return self._do(work)
        try:
            return self._do(work, lender)
        finally:
            lender.close()

    def proxy(
        self, plugin: str, api: Callable[..., T], /, *, timeout: float | EllipsisType | None = ...
    ) -> T:
        """See `Host.proxy`; here the methods of `api` are plain `def`s, and streams return `Iterator[T]`."""
        proxied = self._do(partial(self._proxied, plugin, api, timeout))

        def method_of(asked: Asked) -> Callable[..., Any]:
            if asked.is_stream:

                def stream(_: object, /, *arguments: Any, **named: Any) -> BlockingStream:
                    params = asked.params_of(arguments, named)
                    begun = self._do(partial(_at_once, proxied.open, asked, params))
                    return BlockingStream(begun, self._do, partial(proxied.typed, asked))

                return stream

            def method(_: object, /, *arguments: Any, **named: Any) -> Any:
                return self._do(partial(proxied.call, asked, asked.params_of(arguments, named)))

            return method

        return object_of(proxied, method_of)  # type: ignore[no-any-return]

    def stream(
        self,
        plugin: str,
        method: str,
        /,
        *,
        timeout: float | EllipsisType | None = ...,
        params: Any = None,
        on_progress: OnProgress | None = None,
        **named: Any,
    ) -> BlockingStream:
        """See `Host.stream`. For one thread at a time."""
        given = named if params is None else params
        begin = partial(
            self._host.stream, plugin, method, timeout=timeout, params=given, on_progress=on_progress
        )
        return BlockingStream(self._do(partial(_at_once, begin)), self._do)

    def hook(
        self,
        point: str,
        /,
        *,
        timeout: float | EllipsisType | None = ...,
        params: Any = None,
        **named: Any,
    ) -> HookOutcome:
        """See `Host.hook`."""
        given = named if params is None else params
        return self._do(partial(self._host.hook, point, timeout=timeout, params=given))

    # -- events between plugins --------------------------------------------------------------------

    def publish(self, topic: str, value: Any) -> None:
        """See `Host.publish`."""
        self._do(partial(self._host.publish, topic, value))

    def subscribe(self, topic: str, subscriber: Callable[[Published], None]) -> Callable[[], None]:
        """See `Host.subscribe`. `subscriber` is called on the host's thread, and cannot call the host."""
        return self._host.subscribe(topic, subscriber)

    # -- plugins come and go -----------------------------------------------------------------------

    def add(self, path: _Path) -> str:
        """See `Host.add`."""
        return self._do(partial(self._host.add, path))

    def remove(self, name: str, *, purge: bool = False) -> None:
        """See `Host.remove`."""
        self._do(partial(self._host.remove, name, purge=purge))

    def start(self, name: str) -> None:
        """See `Host.start`."""
        self._do(partial(self._host.start, name))

    def stop(self, name: str) -> None:
        """See `Host.stop`."""
        self._do(partial(self._host.stop, name))

    def restart(self, name: str) -> None:
        """See `Host.restart`."""
        self._do(partial(self._host.restart, name))

    def reload(self, *, dry_run: bool = False) -> Plan:
        """See `Host.reload`."""
        return self._do(partial(self._host.reload, dry_run=dry_run))

    def configure(self, changes: Mapping[str, Any], *, dry_run: bool = False) -> Plan:
        """See `Host.configure`."""
        return self._do(partial(self._host.configure, changes, dry_run=dry_run))

    def release(self, name: str) -> bool:
        """See `Host.release`."""
        return self._do(partial(self._host.release, name))

    def enable(self, name: str) -> bool:
        """See `Host.enable`."""
        return self._do(partial(self._host.enable, name))

    def disable(self, name: str) -> bool:
        """See `Host.disable`."""
        return self._do(partial(self._host.disable, name))

    # -- looking -----------------------------------------------------------------------------------

    def status(self, name: str | None = None) -> Status:
        """See `Host.status`."""
        return self._do(partial(_at_once, self._host.status, name))

    def why(self, name: str) -> Why:
        """See `Host.why`."""
        return self._do(partial(_at_once, self._host.why, name))

    def methods_of(self, plugin: str) -> list[MethodInfo]:
        """See `Host.methods_of`."""
        return self._do(partial(_at_once, self._host.methods_of, plugin))

    def configuration(self, prefix: str = "") -> list[Shown]:
        """See `Host.configuration`."""
        return self._do(partial(_at_once, self._host.configuration, prefix))

    def configuration_schema(self) -> dict[str, Any]:
        """See `Host.configuration_schema`."""
        return self._do(partial(_at_once, self._host.configuration_schema))

    @overload
    def settings(self, section: type[S]) -> S: ...

    @overload
    def settings(self, section: str) -> Any: ...

    def settings(self, section: type[S] | str) -> Any:
        """See `Host.settings`."""
        return self._do(partial(_at_once, self._host.settings, section))

    @overload
    def on_config_change(
        self, section: type[S], subscriber: Callable[[S, S], None]
    ) -> Callable[[], None]: ...

    @overload
    def on_config_change(
        self, section: str, subscriber: Callable[[Any, Any], None]
    ) -> Callable[[], None]: ...

    def on_config_change(
        self, section: type[S] | str, subscriber: Callable[[Any, Any], None]
    ) -> Callable[[], None]:
        """See `Host.on_config_change`. `subscriber` is called on the host's thread, and cannot call it."""
        return self._host.on_config_change(section, subscriber)

    def measures(self) -> Measures:
        """See `Host.measures`."""
        return self._do(partial(_at_once, self._host.measures))

    def metrics(self) -> str:
        """See `Host.metrics`."""
        return self._do(partial(_at_once, self._host.metrics))

    def contract(self, name: str) -> PluginContract | PointContract:
        """See `Host.contract`."""
        return self._do(partial(_at_once, self._host.contract, name))

    def on_event(self, subscriber: Callable[[HostEvent], None]) -> Callable[[], None]:
        """See `Host.on_event`. `subscriber` is called on the host's thread, and cannot call the host."""
        return self._host.on_event(subscriber)

    # -- inside ------------------------------------------------------------------------------------

    async def _proxied(self, plugin: str, api: Any, timeout: float | EllipsisType | None) -> Proxied:
        return self._host._proxied(plugin, api, timeout, is_async=False)

    def _do(self, work: Callable[[], Coroutine[Any, Any, T]], lender: Lender | None = None) -> T:
        """Has `work` done on the loop, and waits for it."""
        thread = self._thread
        if thread is None:
            raise _not_here()
        if thread.ident == threading.get_ident():
            raise HostMisuse("a subscriber cannot wait for its own host", hint="call it from another thread")
        errand = _Errand(work, self._bells.take(), lender)
        self._errands.add(errand)  # before looking at the thread, which fails all errands at its end
        try:
            if self._is_over or os.getpid() != self._pid:  # there are no threads in a forked child
                raise _not_here()
            self._door.leave(errand.begin)
            errand.wait()
        except BaseException:  # Ctrl-C
            self._bells.drop()  # it will ring for this errand yet
            self._door.leave(errand.cancel)
            raise
        finally:
            self._errands.discard(errand)
        if errand.error is not None:
            try:
                raise errand.error
            finally:
                del errand  # which holds the error, which holds this frame
        return errand.result

    # -- the thread --------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=_fastest_loop()) as runner:
                runner.run(self._live())
        except BaseException as error:  # for whoever enters, or leaves
            self._failure = error
        finally:
            self._is_over = True
            self._begun.set()
            self._entered.set()
            for errand in list(self._errands):
                errand.fail()
            self._bells = Bells()  # and those that nobody waits for are gone
            self._over.set()

    async def _live(self) -> None:
        loop = asyncio.get_running_loop()
        self._door.open(loop)
        self._life = asyncio.ensure_future(self._be_there())
        self._leaving = asyncio.Event()
        self._begun.set()
        try:
            await self._life
        finally:
            self._door.close(loop)

    async def _be_there(self) -> None:
        async with self._host:
            self._entered.set()
            await self._leaving.wait()


async def _at_once(look: Callable[..., T], *arguments: Any) -> T:
    return look(*arguments)


def _fastest_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        from uvloop import new_event_loop
    except ImportError:
        return None
    return new_event_loop


def _not_here() -> HostMisuse:
    return HostMisuse("this host is not running", hint="use it inside `with BlockingHost(...) as host:`")
