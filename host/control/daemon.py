"""`outboard run`: a host, its control socket and its log, until a signal ends it.

signals   ->  end in order, or read everything again
host      ->  events  ->  log, `outboard logs`, the service manager's status line
loop      ->  signs of life to the service manager, so that a stuck loop is noticed
"""

from __future__ import annotations

import asyncio
import os
import signal
import traceback
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import anyio.abc
import msgspec

from host.config.load import Layers, daemon_layers
from host.config.model import HostTable
from host.config.places import log_file, overrides_file, places, state_file
from host.control import guardian, loop_errors, signals
from host.control.commands import Commands
from host.control.listening import Place
from host.control.notify import Notifier, given_socket
from host.control.pages import Pages
from host.control.server import serve
from host.control.summary import count, live, summary
from host.errors import HostMisuse, OutboardError
from host.host import Host
from host.observability.events import HostEvent, StateChanged
from host.observability.logs import LoguruSubscriber, Ring
from host.observability.snapshot import Status
from host.process.adopted import adopts_only_from_plugins, become_subreaper, kill_descendants, reap_adopted
from host.process.cgroup import step_aside
from host.process.delegation import NotDelegated
from host.process.spawn import started
from host.supervision.states import State
from host.supervision.tree import STOP_S

if TYPE_CHECKING:
    from host.control.http import Port

SETTLE_S = 0.5
"""So long a change of state waits for more of them before the service manager hears of it."""
RETRY_S = 1.0
"""How often what the manager could not be told is tried again, where it wants no sign of life."""
SLACK_S = 3.0
CRITICAL_IS_DOWN = 3
"""The exit code; `status` has it for a plugin that ought to run and does not."""


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line says; None is the configuration's to say."""

    config: str | None
    plugins: Sequence[str]
    socket: str
    log_level: str | None
    log_format: str | None


def run(options: Options) -> int:
    """Blocks until SIGTERM or SIGINT, or a critical plugin is down for good; returns the exit code.

    Raises:
        ConfigError, DaemonRefused.
    """
    os.umask(0o077)  # whatever we were started with: socket, log and plugins' data are the user's own
    notifier = Notifier.take(os.environ, os.getpid())
    given = given_socket(os.environ, os.getpid())
    if given is not None:
        options = msgspec.structs.replace(options, socket=os.fsdecode(given.getsockname()))
    with suppress(NotDelegated):  # `status --json` says why
        step_aside()  # before there is a guardian, which comes along
    with ExitStack() as closing:
        closing.callback(notifier.close)
        layers = _layers(options)
        told = layers.load().config.host
        is_guarded = told.guardian and guardian.is_possible()
        if is_guarded:
            guardian.stand_guard()  # we go on in a child of the process that was started
        log = LoguruSubscriber(
            level=told.log_level,
            format=told.log_format,
            file=log_file(os.environ, os.getuid(), options.socket),
        )
        closing.callback(log.close)
        place = Place(options.socket, given)
        port = _port(told)
        if port is not None:
            closing.callback(port.close)
        if told.guardian and not is_guarded:
            log.say("there can be no guardian: this system has no subreapers", level="warning")
        daemon = _Daemon(
            options,
            layers,
            place,
            port,
            log,
            notifier,
            ends_with_critical=told.on_critical == "exit",
            is_guarded=is_guarded,
        )
        try:
            import uvloop
        except ImportError:
            asyncio.run(daemon.main())
        else:
            uvloop.run(daemon.main())
        signals.ignore_from_now_on()
        log.say("stopped")
        return daemon.exit_code


def _layers(options: Options) -> Layers:
    """Everything that has a say in a daemon's configuration."""
    said = {"log_level": options.log_level, "log_format": options.log_format}
    flags = {key: value for key, value in said.items() if value is not None}
    whose = os.environ, os.getuid()
    return daemon_layers(
        os.environ,
        configuration=places(*whose).configuration,
        config=options.config,
        overrides=overrides_file(*whose, options.socket),
        flags={"host": flags} if flags else {},
    )


def _made(folder: str) -> Path | None:
    """The folder of installed plugins; None if there is none and can be none."""
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
    except OSError:
        return Path(folder) if os.path.isdir(folder) else None
    return Path(folder)


def _port(told: HostTable) -> Port | None:
    """The port for monitoring, if one is configured. Raises DaemonRefused if it is taken."""
    if told.metrics_port is None:
        return None
    from host.control.http import Port  # and h11: for those alone who want it

    return Port(told.metrics_address, told.metrics_port)


class _Daemon:
    def __init__(
        self,
        options: Options,
        layers: Layers,
        place: Place,
        port: Port | None,
        log: LoguruSubscriber,
        notifier: Notifier,
        *,
        ends_with_critical: bool,
        is_guarded: bool,
    ) -> None:
        self.exit_code = 0
        self._ends_with_critical = ends_with_critical
        self._place = place
        self._port = port
        self._log = log
        self._notifier = notifier
        self._stopping = anyio.Event()
        self._reload_asked = anyio.Event()
        self._changed = anyio.Event()
        whose = os.environ, os.getuid()
        installed = _made(places(*whose).plugins)
        self._installed = str(installed) if installed is not None else None
        self._host = Host(
            config=msgspec.structs.replace(layers, installed=installed),
            plugins=options.plugins,
            data_dir=places(*whose).data,
            cache_dir=places(*whose).cache,
            state_file=state_file(*whose, place.path),
        )
        self._host.mode = "daemon"
        self._host.socket = place.path
        self._host.is_guarded = is_guarded

    async def main(self) -> None:
        become_subreaper()
        heard = signals.Signals(on_end=self._end, on_reload=lambda: self._reload_asked.set())
        heard.listen(asyncio.get_running_loop())
        asyncio.get_running_loop().set_exception_handler(loop_errors.report)
        ring = Ring()
        for subscriber in (ring, self._log, self._note_change):
            self._host.on_event(subscriber)
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(reap_adopted, lambda: started)
                tasks.start_soon(self._show_life)
                await self._run_host(
                    self._host, Commands(self._host, ring, self._log, installed=self._installed)
                )
                tasks.cancel_scope.cancel()
        finally:
            if adopts_only_from_plugins():
                kill_descendants()  # of plugins that could not be ended in time
            self._place.free()

    async def _run_host(self, host: Host, commands: Commands) -> None:
        async with await self._place.listen() as listener, anyio.create_task_group() as tasks:

            async def stop_early() -> None:
                await self._stopping.wait()
                self._place.leave()  # or clients would queue up where nobody answers any more
                tasks.cancel_scope.cancel()
                with anyio.CancelScope(shield=True):
                    await listener.aclose()

            # The socket answers before the plugins have started: one that takes its time must not
            # keep an operator from seeing that it does, nor from stopping the daemon.
            tasks.start_soon(serve, listener, commands)
            tasks.start_soon(stop_early)
            pages = Pages(host)
            if self._port is not None:
                host.metrics_url = self._port.url
                tasks.start_soon(self._port.serve, pages)
                self._log.say(f"metrics at {self._port.url}, and /healthz and /readyz beside it")
            if self._notifier.is_heard:
                tasks.start_soon(self._tell_changes)
            async with host:
                pages.is_started = True
                self._log.say(f"ready: {count(host.status())}, listening at {self._place.path}")
                self._notifier.ready()
                self._notifier.status(summary(host.status()))
                tasks.start_soon(self._reload_when_asked, host)
                await self._stopping.wait()

    # -- signals ---------------------------------------------------------------------------------

    def _end(self, number: signal.Signals, times: int) -> None:
        self._log.say(f"{number.name}: {'stopping' if times < 3 else 'ending at once'}")
        if times == 1:
            self._notifier.stopping(within_s=STOP_S + SLACK_S)
            self._stopping.set()
        elif times == 2:
            seen = self._seen()
            names = ", ".join(live(seen) if seen is not None else []) or "what is left of them"
            self._log.say(
                f"still waiting for {names}, {STOP_S:g} s at most; a third signal ends them at once"
            )
        else:
            kill_descendants()
            self._place.free()
            self._log.close()
            os._exit(128 + number)

    async def _reload_when_asked(self, host: Host) -> None:
        """One at a time; however often it is asked for meanwhile, it is done once more."""
        while True:
            await self._reload_asked.wait()
            self._reload_asked = anyio.Event()
            self._log.say("SIGHUP: reading the configuration and the folders again")
            self._notifier.reloading()
            try:
                plan = await host.reload()
                for line in plan.lines():
                    self._log.say(line)
            except OutboardError as error:
                self._log.say(f"nothing was changed: {error}", level="error")
            except Exception:  # ours, then; a daemon and its plugins outlive a mistake in a reload
                self._log.say(f"the reload failed:\n{traceback.format_exc()}", level="error")
            self._notifier.ready()

    # -- the service manager ---------------------------------------------------------------------

    def _note_change(self, event: HostEvent) -> None:
        if not isinstance(event, StateChanged):
            return
        self._changed.set()
        if self._ends_with_critical and event.state in (State.QUARANTINED, State.FAILED):
            self._end_without(event)

    def _end_without(self, event: StateChanged) -> None:
        """A critical plugin is down for good, and so is the daemon; a service manager starts it again."""
        seen = self._seen()
        critical = [plugin.name for plugin in seen.plugins if plugin.critical] if seen is not None else []
        if event.plugin not in critical or self._stopping.is_set():
            return
        self._log.say(f"{event.plugin} is critical, and {event.state}: {event.reason}; ending", level="error")
        self.exit_code = CRITICAL_IS_DOWN
        self._notifier.stopping(within_s=STOP_S + SLACK_S)
        self._stopping.set()

    async def _tell_changes(self) -> None:
        while True:
            await self._changed.wait()
            await anyio.sleep(SETTLE_S)
            self._changed = anyio.Event()
            if (seen := self._seen()) is not None:
                self._notifier.status(summary(seen))

    async def _show_life(self) -> None:
        """From the loop itself, also while it starts and stops plugins."""
        period_s = self._notifier.watchdog_s
        while True:
            self._notifier.alive()
            await anyio.sleep(period_s / 2 if period_s is not None else RETRY_S)

    # -- looking ---------------------------------------------------------------------------------

    def _seen(self) -> Status | None:
        """None before the host has been entered, and after it has been left."""
        try:
            return self._host.status()
        except HostMisuse:
            return None
