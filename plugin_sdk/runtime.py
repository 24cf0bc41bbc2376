"""Serves a plugin: reads frames, answers what needs none of the author's code, runs what does.

The thread that reads also runs sync handlers, in place: handing each call to another thread and back
would cost more than all the rest of a call. So that a handler that hangs does not stop the reading,
the reader puts its role into a slot before it runs one and takes it back afterwards. Both are atomic.
When a handler takes long the host nudges (SIGURG), and a second thread, the *relief*, takes the role
out of the slot: it answers pings, notes cancellations and queues what is for the author's code, until
the first thread is free again. The author's code stays on the first thread throughout, which is the
main one. A plugin with `async def` handlers does the same with its event loop in that thread's place.
"""

from __future__ import annotations

import os
import queue
import signal
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec

import protocol
from plugin_sdk.channel import Channel
from plugin_sdk.dispatch import text_of, traceback_of
from plugin_sdk.jobs import Desk, Job
from plugin_sdk.plugin import Plugin
from protocol.contract import problems_of
from protocol.errors import ErrorCode, RpcError
from protocol.events import Ended, Event, Request
from protocol.lifecycle import FEATURES, PROTOCOL_VERSION, InitializeParams, InitializeResult, PluginInfo
from protocol.session import Session

READ_BYTES = 65536
"""More would take malloc past its mmap threshold, which costs 8 us a read."""
EXIT_GRACE_S = 2.0
TICK_S = 0.05
NUDGE = signal.SIGURG


def serve_plugin(load: Callable[[], Plugin], read_fd: int, write_fd: int) -> int:
    """The whole life of a plugin's process after boot; returns its exit code."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {NUDGE})  # before any thread: all of them inherit it
    channel = Channel(Session("plugin"), write_fd)
    events: deque[Event] = deque()
    while not any(isinstance(event, Request) and event.method == "initialize" for event in events):
        events.extend(channel.receive(os.read(read_fd, READ_BYTES)))
        if any(isinstance(event, Ended) for event in events):
            return 0
    while not (isinstance(event := events.popleft(), Request) and event.method == "initialize"):
        pass
    try:
        params, desk = _initialize(event, load, channel)
    except RpcError as error:
        channel.reply_error(event.id, error)
        return 1
    if desk.plugin.needs_loop:
        from plugin_sdk.loop import LoopRuntime  # asyncio: only for those who asked for it

        runtime: Runtime = LoopRuntime(desk, read_fd)
    elif desk.plugin.threads > 1:
        runtime = PoolRuntime(desk, read_fd)
    else:
        runtime = SerialRuntime(desk, read_fd)
    if "nudge" in params.features:
        runtime.tick_s = None
    result = InitializeResult(
        protocol=PROTOCOL_VERSION,
        plugin=PluginInfo(name=params.plugin.name, sdk=f"plugin_sdk {protocol.__version__}"),
        features=[feature for feature in FEATURES if feature in params.features],
        provides=desk.plugin.provides(),
    )
    channel.session.peer_limits = params.limits
    channel.reply(event.id, result)
    return runtime.serve(events)


def _initialize(
    request: Request, load: Callable[[], Plugin], channel: Channel
) -> tuple[InitializeParams, Desk]:
    try:
        params = msgspec.json.decode(request.params, type=InitializeParams)
    except msgspec.DecodeError as error:
        raise RpcError(ErrorCode.INVALID_PARAMS, str(error), [{"path": "$", "reason": str(error)}]) from None
    if PROTOCOL_VERSION not in params.protocol:
        raise RpcError(
            ErrorCode.UNSUPPORTED_PROTOCOL,
            f"the host speaks protocol {params.protocol}, this SDK speaks {PROTOCOL_VERSION}",
            {"supported": [PROTOCOL_VERSION]},
        )
    try:
        plugin = load()
    except BaseException as error:  # author code: whatever it raises is the answer
        data = {"type": type(error).__name__, "message": text_of(error), "traceback": traceback_of(error)}
        raise RpcError(ErrorCode.PLUGIN_ERROR, f"{type(error).__name__}: {text_of(error)}", data) from None
    settings: Any = params.config
    if plugin.settings_type is not None:
        if problems := problems_of(params.config, plugin.settings_type):
            text = "settings: " + "; ".join(map(str, problems))
            raise RpcError(ErrorCode.INVALID_PARAMS, text, [problem.as_data() for problem in problems])
        settings = msgspec.convert(params.config, plugin.settings_type)
    return params, Desk(plugin, channel, params.plugin, settings)


class Runtime:
    """What the three ways of running handlers share: the desk, the pipe and the end."""

    def __init__(self, desk: Desk, read_fd: int) -> None:
        self.desk = desk
        self.read_fd = read_fd
        self.tick_s: float | None = TICK_S
        """How often to look for a hung handler by ourselves; None if the host nudges."""

    def serve(self, events: deque[Event]) -> int:
        raise NotImplementedError

    def read(self) -> list[Event]:
        """Blocks until the host says something."""
        try:
            data = os.read(self.read_fd, READ_BYTES)
        except OSError:
            data = b""
        return self.desk.channel.receive(data)

    def end_soon(self) -> None:
        """From now the process has 2 s to end by itself; a thread that hangs does not keep it."""
        timer = threading.Timer(EXIT_GRACE_S, os._exit, (self.desk.exit_code,))
        timer.daemon = True
        timer.start()


class SerialRuntime(Runtime):
    """Sync handlers, one at a time, on the thread that reads."""

    def __init__(self, desk: Desk, read_fd: int) -> None:
        super().__init__(desk, read_fd)
        self._relief = Relief(self, self._inbox_put)
        self._inbox: queue.SimpleQueue[Job | deque[Event] | None] = queue.SimpleQueue()

    def _inbox_put(self, item: Job | deque[Event] | None) -> None:
        self._inbox.put(item)

    def serve(self, events: deque[Event]) -> int:
        self._relief.start()
        reading = self._run(events)
        while not self.desk.finished:
            if reading:
                reading = self._run(deque(self.read()))
                continue
            item = self._inbox.get()
            if isinstance(item, deque):  # the role comes home, with what was read last
                self._relief.done += 1
                reading = self._run(item)
            else:
                if item is not None:
                    item.run()
                self._relief.done += 1
        self.end_soon()
        return self.desk.exit_code

    def _run(self, events: deque[Event]) -> bool:
        """Works off what was read; False if the role was taken meanwhile, with the rest of it."""
        slot = self._relief.slot
        while events:
            job = self.desk.take(events.popleft())
            if job is None:
                continue
            slot.append(events)
            job.run()
            try:
                slot.pop()
            except IndexError:
                return False
        return True


class PoolRuntime(Runtime):
    """Sync handlers on N threads of their own; the main thread only reads."""

    def serve(self, events: deque[Event]) -> int:
        jobs: queue.SimpleQueue[Job] = queue.SimpleQueue()

        def work() -> None:
            while True:
                jobs.get().run()
                if self.desk.finished:  # start code chose to exit, and the main thread still reads
                    self.end_soon()

        for number in range(self.desk.plugin.threads):
            threading.Thread(target=work, name=f"handlers-{number}", daemon=True).start()
        while not self.desk.finished:
            while events:
                job = self.desk.take(events.popleft())
                if job is not None:
                    jobs.put(job)
            if not self.desk.finished:
                events.extend(self.read())
        self.end_soon()
        return self.desk.exit_code


class Relief(threading.Thread):
    """Reads in place of a thread that is stuck in a handler, and gives the role back."""

    def __init__(self, runtime: Runtime, post: Callable[[Any], None]) -> None:
        super().__init__(name="relief", daemon=True)
        self.slot: list[deque[Event]] = []
        """Holds what is left of the last read while the owner of the role is busy with a handler."""
        self.done = 0
        """How many posted items the owner has worked off. Written by the owner alone."""
        self._posted = 0
        self._runtime = runtime
        self._post_to_owner = post

    def _post(self, item: Any) -> None:
        self._posted += 1
        self._post_to_owner(item)

    def run(self) -> None:
        desk = self._runtime.desk
        while not desk.finished:
            self._wait_for_nudge()
            try:
                events = self.slot.pop()
            except IndexError:
                continue  # nobody is stuck
            desk.stuck_since = desk.clock()
            self._post(None)  # worked off when the owner comes back
            self._stand_in(events)
            desk.stuck_since = None

    def _stand_in(self, events: deque[Event]) -> None:
        desk = self._runtime.desk
        while True:
            while events:
                job = desk.take(events.popleft())
                if job is not None:
                    self._post(job)
            if desk.finished:
                self._post(None)
                self._runtime.end_soon()
                return
            events = deque(self._runtime.read())
            if self._posted == self.done:  # the owner is free and waits: the role goes home
                self._post(events)
                return

    def _wait_for_nudge(self) -> None:
        tick = self._runtime.tick_s
        if tick is None:
            signal.sigwait({NUDGE})
        elif hasattr(signal, "sigtimedwait"):
            signal.sigtimedwait({NUDGE}, tick)
        else:
            threading.Event().wait(tick)
