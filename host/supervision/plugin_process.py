"""A plugin's process with all that belongs to it: its tree, its control group, its link and its stderr.

Whoever has one sees it reaped (`end`) before letting go of it. Ends talk to nobody: signals only, but for the
upper rungs of the ladder.
"""

from __future__ import annotations

import signal
from collections.abc import Callable

import anyio
import anyio.to_thread

from host.config.effective import PluginPolicy
from host.process import rlimits
from host.process.cgroup import Leaf
from host.process.link import Link
from host.process.oom import oom_kills
from host.process.spawn import Child
from host.process.stderr import StderrReader
from host.process.stop import Grace, stop
from host.process.table import Process
from host.process.tree import Swept, Tree
from host.supervision.surroundings import Surroundings
from host.supervision.verdict import KEPT_STACK
from protocol.events import Event
from protocol.session import Session

REAP_S = 5.0
NOBODY: frozenset[Process] = frozenset()
STACK_S = 0.5


class PluginProcess:
    """`tag` is what its processes are known by: in the environment that they are started with.

    `on_stuck` is called if it has been killed and cannot be reaped, with a sentence; `on_swept` with what
    there was of its tree when it was gone.
    """

    def __init__(
        self,
        child: Child,
        tag: str,
        around: Surroundings,
        *,
        on_stuck: Callable[[str], None],
        on_swept: Callable[[Swept], None],
    ) -> None:
        self._oom_kills_before = oom_kills()
        self.child = child
        self.tree = Tree(child, tag)
        self.group: Leaf | None = None
        self.link: Link | None = None
        self.is_stuck = False
        """Whether it has been killed and cannot be reaped."""
        self.killed_by_host = False
        self.stack: list[str] | None = None
        """What it says on stderr from the moment on in which it is asked where it hangs."""
        self._stderr: StderrReader | None = None
        self._around = around
        self._on_stuck = on_stuck
        self._on_swept = on_swept

    async def confine(self, name: str, policy: PluginPolicy) -> None:
        """Puts it into a control group of that name, where groups have been delegated.

        On a thread: the kernel takes 5 to 20 ms to move a process. Python alone takes longer to begin.
        """
        groups = self._around.groups
        if groups is None:
            return
        own = anyio.CapacityLimiter(1)  # nobody else's threads hold up a start
        try:
            self.group = await anyio.to_thread.run_sync(
                groups.leaf, name, self.child.pid, policy, limiter=own
            )
        except RuntimeError:  # there can be no more threads; then the loop waits
            self.group = groups.leaf(name, self.child.pid, policy)

    def connect(self, on_event: Callable[[Event, Link], None], on_line: Callable[[str], None]) -> Link:
        """Opens its link, and reads its stderr line by line."""
        driver = self._around.driver

        def hear_line(line: str) -> None:
            if self.stack is not None and len(self.stack) < KEPT_STACK:
                self.stack.append(line)
            on_line(line)

        self._stderr = StderrReader(driver, self.child.stderr_fd, hear_line)
        link = self.link = Link(
            driver,
            self._around.deadlines,
            Session("host"),
            write_fd=self.child.stdin_fd,
            read_fd=self.child.stdout_fd,
            on_event=lambda event: on_event(event, link),
        )
        self.child.on_exit = lambda: link.lost(f"the plugin ended: {self.child.exit}")
        return link

    @property
    def pid(self) -> int:
        return self.child.pid

    @property
    def started_at(self) -> float:
        """Unix time."""
        return self.child.started_at

    @property
    def is_alive(self) -> bool:
        """Whether it has not been reaped."""
        return self.child.exit is None

    @property
    def was_oom_killed(self) -> bool:
        """Whether the kernel has ended somebody for want of memory since this was started."""
        if "memory" in self.controllers and self.group is not None:
            return self.group.oom_kills() > 0  # of its own, and not of some process somewhere
        kills, before = oom_kills(), self._oom_kills_before
        return kills is not None and before is not None and kills > before

    @property
    def controllers(self) -> tuple[str, ...]:
        """Of its own control group; empty if it has none."""
        return self.group.controllers if self.group is not None else ()

    @property
    def stderr_tail(self) -> list[str]:
        """The last lines it wrote to stderr."""
        return [] if self._stderr is None else list(self._stderr.tail)

    def change_limits(self, before: PluginPolicy, after: PluginPolicy) -> list[str]:
        """Those of the living process; returns the ones that wait for the next."""
        if self.group is not None:
            self.group.limit(after)
        return rlimits.change(self.child.pid, before, after) if self.is_alive else []

    def nudge(self) -> None:
        """Has it look up from what it does: a call may have been cancelled."""
        self.child.signal(signal.SIGURG)

    # -- its end ---------------------------------------------------------------------------------

    def kill(self) -> None:
        """At once, by signal, without asking anybody."""
        if self.group is not None:
            self.group.kill()
        self.child.kill()

    async def take_down(self, drain_s: float) -> None:
        """The ladder: it is asked first."""
        assert self.link is not None
        await stop(self.child, self.link, self.tree, self._around.driver, Grace(drain_s=drain_s))
        self.killed_by_host = self.child.exit is None or self.child.exit.signal == "SIGKILL"

    async def explain_itself(self) -> None:
        """Has it print the stack of every thread, which ends it, and waits a moment for that."""
        await self.tree.look()  # once it has ended, who was below it can be anywhere
        self.stack = []
        self.child.signal(signal.SIGABRT)  # Python prints every thread's stack, whoever holds its lock
        await self.wait_for_exit(STACK_S)

    async def wait_for_exit(self, seconds: float) -> None:
        """Until it has ended by itself, and no longer than that."""
        with anyio.move_on_after(seconds):
            await self.child.exited.wait()

    async def end(self) -> None:
        """Kills it and everybody below it, sees it reaped, and sweeps what it has left."""
        self.killed_by_host = self.killed_by_host or self.child.exit is None
        left = self.group.processes() if self.group is not None and self.child.exit is not None else NOBODY
        with anyio.move_on_after(REAP_S, shield=True):
            if self.child.exit is None:
                if self.group is not None:
                    self.group.kill()  # all of it at once; the walk is for who has left the group
                await self.tree.end()
            self.kill()
            await self.child.exited.wait()
        if self.child.exit is None:
            self.is_stuck = True
            self._on_stuck("it was killed and is still there: its kernel, or whoever traces it, holds it")
            await self.child.exited.wait()  # however long: it must not have a successor meanwhile
            self.is_stuck = False
        if self._stderr is not None:
            self._stderr.drain()  # its last words, which say why
        with anyio.move_on_after(REAP_S, shield=True):
            swept = await self.tree.sweep()
            self._on_swept(swept._replace(killed=swept.killed | (left - swept.left)))

    def let_go(self) -> None:
        """Of what is there of it when it is gone."""
        if self.group is not None and self._around.groups is not None:
            self._around.groups.remove(self.group)
        if self._stderr is not None:
            self._stderr.close()
        if self.link is not None:
            self.link.close()
