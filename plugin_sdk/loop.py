"""The runtime of a plugin with `async def` handlers: an event loop on the main thread.

While the loop turns it reads by itself; when a handler blocks it, the relief takes the reading over,
as it does for sync handlers. Sync handlers of such a plugin run on threads of their own.
"""

from __future__ import annotations

import asyncio
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

from plugin_sdk.desk import Desk
from plugin_sdk.jobs import Job
from plugin_sdk.lifecycle import Shutdown
from plugin_sdk.relief import Relief, Runtime
from protocol.events import Event


class LoopRuntime(Runtime):
    def __init__(self, desk: Desk, read_fd: int) -> None:
        super().__init__(desk, read_fd, self._submit)
        self._relief = Relief(self, self._post)
        self._tasks: set[asyncio.Task[None]] = set()
        self._on_threads: set[Future[None]] = set()

    def _submit(self, job: Job) -> None:
        try:
            self._loop.call_soon_threadsafe(self._start, job)
        except RuntimeError:  # the loop has closed: the process is about to end
            pass

    def serve(self, events: deque[Event]) -> int:
        asyncio.run(self._serve(events))
        self.end_soon()
        return self.desk.exit_code

    async def _serve(self, events: deque[Event]) -> None:
        self._loop = asyncio.get_running_loop()
        self._finished = asyncio.Event()
        self._threads = ThreadPoolExecutor(self.desk.plugin.threads, thread_name_prefix="handlers")
        self._relief.start()
        self._resume(events)
        await self._finished.wait()
        self.end_soon()  # closing the loop waits for tasks and threads of the author's
        for task in self._tasks:
            task.cancel()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _post(self, item: Any) -> None:
        """From the relief's thread to the loop's."""
        try:
            self._loop.call_soon_threadsafe(self._take_posted, item)
        except RuntimeError:  # the loop has closed: the process is about to end
            pass

    def _take_posted(self, item: Any) -> None:
        self._relief.done += 1
        if isinstance(item, deque):
            self._resume(item)
        elif item is not None:
            self._start(item)
        if self.desk.finished:
            self._finished.set()

    def _resume(self, events: deque[Event]) -> None:
        """The role is ours (again): whatever blocks the loop from here on, the relief may take it."""
        self._work_off(events)
        self._relief.slot.append(deque())
        self._loop.add_reader(self.read_fd, self._on_readable)

    def _on_readable(self) -> None:
        try:
            self._relief.slot.pop()
        except IndexError:  # the relief reads now
            self._loop.remove_reader(self.read_fd)
            return
        self._work_off(deque(self.read()))
        self._relief.slot.append(deque())

    def _work_off(self, events: deque[Event]) -> None:
        while events:
            job = self.desk.take(events.popleft())
            if job is not None:
                self._start(job)
        if self.desk.finished:
            self._finished.set()

    def _start(self, job: Job) -> None:
        if self._finished.is_set():
            return
        if job.is_async or isinstance(job, Shutdown):
            others = set(self._tasks)
            task = self._loop.create_task(
                self._drain_and_run(job, others) if isinstance(job, Shutdown) else job.run_async()
            )
            self._tasks.add(task)
            task.add_done_callback(self._on_done)
            job.on_cancel = partial(self._cancel, task)
        else:
            future = self._threads.submit(self._run_on_thread, job)
            self._on_threads.add(future)
            future.add_done_callback(self._on_threads.discard)

    def _on_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if self.desk.finished:  # start code chose to exit
            self._finished.set()

    def _run_on_thread(self, job: Job) -> None:
        job.run()
        if self.desk.finished:
            self._post(None)

    def _cancel(self, task: asyncio.Task[None]) -> None:
        """From whichever thread reads."""
        self._loop.call_soon_threadsafe(task.cancel)

    async def _drain_and_run(self, job: Job, others: set[asyncio.Task[None]]) -> None:
        """Shutdown: after the work in flight, on the loop or on a thread as the stop function wants."""
        threads = [asyncio.wrap_future(future) for future in list(self._on_threads)]
        if others or threads:
            await asyncio.wait([*others, *threads])
        if job.is_async:
            await job.run_async()
        else:
            await self._loop.run_in_executor(self._threads, job.run)
