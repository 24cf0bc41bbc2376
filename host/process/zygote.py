"""One life of a zygote: the process that Python plugins are forked from, as the host sees it.

    order, with the plugin's three descriptors (SCM_RIGHTS)  ->  zygote  ->  the pid of a child of *ours*

It is trusted with nothing. Whatever it does (it ends, hangs, is stopped, answers what nobody has asked),
`fork` raises `Unusable` inside its deadline, the process is killed, and what it has forked without our having
heard of it is ended, for nobody else will. Plugins that were forked before are children of the host, and none
of this touches them.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import partial

import anyio
import msgspec

from host.process.driver import Driver, Waiter
from host.process.exits import Exit
from host.process.forked import ForkedProcess
from host.process.launchers import LaunchSpec
from host.process.spawn import Child, Pipes, adopt, started, when_ended
from host.process.stderr import StderrReader
from host.process.table import children, look
from plugin_sdk.zygote import MAX_ORDER, READY, Forked, Order

COMMAND = [sys.executable, "-P", "-m", "plugin_sdk", "zygote"]
READY_S = 5.0
"""How long it may take to import everything: 0.1 s, and seconds on a machine that is busy."""
FORK_S = 1.0
"""How long a fork may take, which takes a millisecond."""
END_S = 2.0
"""How long those who were killed may take to be reaped."""
_TITLE_ROOM = "." * 256
_ENVIRONMENT_ROOM = 8192
"""Beside what is inherited. What `ps` and /proc say of a plugin has to fit into what the kernel has kept of
the zygote: see plugin_sdk/title.py."""


class Unusable(Exception):
    """It does not fork, this time or ever. The text goes on after `the zygote`."""


class Zygote:
    """`on_ready` and `on_gone` are called once at most; the latter with the reason, when it has been killed.

    Raises OSError: there is none.
    """

    def __init__(
        self,
        driver: Driver,
        instance: str,
        environment: Mapping[str, str],
        *,
        on_ready: Callable[[], None],
        on_gone: Callable[[str], None],
    ) -> None:
        self.is_ready = False
        self.gone: str | None = None
        """Why it is of no use any more."""
        self._driver = driver
        self._on_ready = on_ready
        self._on_gone = on_gone
        self._mark = f"{instance}::zygote"
        self._pending: dict[int, Waiter] = {}
        self._last = READY
        self._decided = anyio.Event()
        """Whether it is of any use."""
        self._over = anyio.Event()
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        from_stderr, stderr = os.pipe()
        room = "." * (_ENVIRONMENT_ROOM + sum(map(len, environment.values())))
        own = {"OUTBOARD_INSTANCE": self._mark, "OUTBOARD_HOST_PID": str(os.getpid()), "OUTBOARD_ROOM": room}
        try:
            self._process = subprocess.Popen(
                [*COMMAND, _TITLE_ROOM],
                cwd="/",
                env={**environment, **own},
                stdin=theirs.fileno(),
                stdout=stderr,
                stderr=stderr,
                start_new_session=True,
            )
        except OSError:
            self._control.close()
            os.close(from_stderr)
            raise
        finally:
            theirs.close()
            os.close(stderr)
        self.pid = self._process.pid
        started[self.pid] = self._mark
        try:
            when_ended(self._process, driver, self._end_unheard_of, self._ended)
        except OSError:
            self._control.close()
            os.close(from_stderr)
            started.pop(self.pid)
            self._process.kill()
            self._process.wait()
            raise
        self._stderr = StderrReader(driver, from_stderr, lambda line: None)
        self._control.setblocking(False)
        driver.add_reader(self._control.fileno(), self._read)
        self._until_ready = driver.call_at(driver.now() + READY_S, self._judge_ready)

    # -- what others do with it --------------------------------------------------------------------

    async def wait_ready(self) -> None:
        """Until it can fork. Takes `READY_S` at most; raises Unusable."""
        if not self._decided.is_set():
            await self._decided.wait()
        if self.gone is not None:
            raise Unusable(self.gone)

    async def fork(self, spec: LaunchSpec) -> Child:
        """The plugin of `spec`, which waits for our first word. Takes `FORK_S` at most, and is not cancelled:
        what is started has to have an owner.

        Raises Unusable, and OSError as `spawn` does; then nothing is left of it.
        """
        pipes = Pipes()
        try:
            with anyio.CancelScope(shield=True):
                pid = await self._order(spec, pipes.theirs)
        except BaseException:
            pipes.close()
            raise
        pipes.close_theirs()
        return adopt(ForkedProcess(pid), pipes.ours, spec, self._driver, how="warm")

    def give_up(self, reason: str) -> None:
        """From now on it is of no use: it is killed, and nobody waits for it any longer."""
        if self.gone is not None:
            return
        self.gone = reason
        self._until_ready.cancel()
        self._driver.remove_reader(self._control.fileno())
        self._control.close()
        self._kill(self._process.pid)
        for waiter in self._pending.values():
            if not waiter.done():
                waiter.set_exception(Unusable(reason))
        self._decided.set()
        self._on_gone(reason)

    async def close(self) -> None:
        """Ends it, and sees it reaped. Takes `END_S` at most."""
        self.give_up("was not needed any more")
        with anyio.move_on_after(END_S, shield=True):
            await self._over.wait()

    # -- one fork ----------------------------------------------------------------------------------

    async def _order(self, spec: LaunchSpec, fds: tuple[int, int, int]) -> int:
        if self.gone is not None:
            raise Unusable(self.gone)
        self._last += 1
        number = self._last
        order = Order(number, spec.fork_as or "", spec.argv, spec.folder, spec.environment)
        try:
            data = msgspec.json.encode(order)
        except UnicodeEncodeError:  # a name or a value that is not UTF-8, which an executed plugin may have
            raise Unusable("takes no order with bytes that are no text") from None
        if len(data) > MAX_ORDER:
            raise Unusable(f"takes no order of {len(data)} bytes")
        waiter = self._pending[number] = self._driver.waiter()
        timer = self._driver.call_at(self._driver.now() + FORK_S, partial(self._judge, number))
        try:
            socket.send_fds(self._control, [data], fds)
        except OSError as error:  # it does not read, or is no more
            self.give_up(f"takes no orders: {error.strerror or error}")
        try:
            word: Forked = await waiter
        finally:
            timer.cancel()
        if word.errno:
            raise Unusable(f"could not fork: {os.strerror(word.errno)}")
        return word.pid

    def _read(self) -> None:
        """Everything that it has said."""
        while self.gone is None:
            try:
                data = self._control.recv(MAX_ORDER)
            except BlockingIOError:
                return
            except OSError as error:
                self.give_up(f"cannot be heard: {error.strerror or error}")
                return
            if not data:
                return  # it ends, and its exit code says more
            try:
                word = msgspec.json.decode(data, type=Forked)
            except (msgspec.DecodeError, RecursionError):
                self.give_up("answers what is no answer")
            else:
                self._take(word)

    def _take(self, word: Forked) -> None:
        waiter = self._pending.pop(word.number, None)
        if word.number == READY and not self.is_ready:
            self.is_ready = True
            self._until_ready.cancel()
            self._decided.set()
            self._on_ready()
        elif waiter is None or (not word.errno and not self._has_forked(word.pid)):
            self.give_up("says that it has done what it has not")
            if waiter is not None and not waiter.done():
                waiter.set_exception(Unusable(self.gone or ""))
        else:
            if not word.errno:
                started[word.pid] = self._mark
            if not waiter.done():
                waiter.set_result(word)
            elif not word.errno:
                self._end(word.pid)  # whoever wanted it is gone

    def _has_forked(self, pid: int) -> bool:
        """Whether that is a child of ours, in its session, and of nobody else's."""
        entry = look(pid)
        is_child = entry is not None and entry.parent == os.getpid() and pid not in started
        return is_child and _session_of(pid) == self.pid

    # -- its end -----------------------------------------------------------------------------------

    def _judge_ready(self) -> None:
        self._read()  # it is not to blame if it is we who are late
        if not self.is_ready:
            self.give_up(f"was not ready after {READY_S:g} s")

    def _judge(self, number: int) -> None:
        self._read()
        if number in self._pending:
            self.give_up(f"had not forked after {FORK_S:g} s")

    def _end_unheard_of(self) -> None:
        """It has ended, and its pid is still its own: whoever is in its session was forked by it."""
        self._read()
        for pid in children(os.getpid()):
            if pid not in started and _session_of(pid) == self.pid:
                self._end(pid)

    def _end(self, pid: int) -> None:
        def ended() -> None:
            started.pop(pid, None)

        started[pid] = self._mark
        self._kill(pid)
        try:
            when_ended(ForkedProcess(pid), self._driver, lambda: None, ended)
        except OSError:  # no descriptors; whoever reaps the adopted has it
            started.pop(pid, None)

    def _ended(self) -> None:
        started.pop(self.pid, None)
        self._stderr.close()
        exit = Exit.from_returncode(self._process.returncode or 0)
        said = f", and said: {self._stderr.tail[-1]}" if self._stderr.tail else ""
        self.give_up(f"has ended: {exit}{said}")
        self._over.set()

    def _kill(self, pid: int) -> None:
        """By its pid alone: in its group there may be plugins that have not begun their sessions yet."""
        try:
            if pid in started:
                os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


def _session_of(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except OSError:
        return None
