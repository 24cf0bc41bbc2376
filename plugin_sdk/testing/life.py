"""One life of the plugin: the thread that it runs on, and the thread that reads what it says.

Between them are two pipes, as between a host and a process, and a session at either end.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Any

import msgspec

from plugin_sdk import errors
from plugin_sdk.calls import Question
from plugin_sdk.channel import Channel
from plugin_sdk.declarations import Declarations
from plugin_sdk.log_handler import HostHandler
from plugin_sdk.relief import READ_BYTES
from plugin_sdk.runtime import serve_plugin
from plugin_sdk.testing.asking import Begun, Explain
from plugin_sdk.testing.source import Source, forgotten, loaded
from protocol.errors import ErrorCode
from protocol.events import (
    Cancelled,
    Ended,
    Event,
    Expired,
    Lost,
    Notification,
    Progressed,
    Reply,
    Request,
    Resumed,
    Streamed,
    Wanted,
)
from protocol.lifecycle import (
    FEATURES,
    InitializeParams,
    InitializeResult,
    PingResult,
    PluginIdentity,
    StartParams,
)
from protocol.session import Session

GRACE_S = 5.0
"""For whatever it has to do at its start, and at its end."""
NOT_HERE = ("nudge", "secrets")
"""Features that take a process of the plugin's own, and secrets that somebody keeps."""
PACE_S = 0.005

Hear = Callable[[Channel, Request | Notification | Cancelled | Resumed], None]


class Life:
    """`hear` gets what the plugin asks and tells, on the thread that reads. Ended with `end`."""

    def __init__(self, source: Source, name: str, hear: Hear, explain: Explain) -> None:
        self.plugin: Declarations | None = None
        self.takes_settings = False
        """Whether it takes other settings while it runs."""
        self.is_over = False
        self._source = source
        self._name = name
        self._hear = hear
        self._explain = explain
        self._failure: BaseException | None = None
        """What its module raised."""
        its_reading, writing = os.pipe()
        self._reading, its_writing = os.pipe()
        self._its_fds, self._our_fds = (its_reading, its_writing), (self._reading, writing)
        self.channel = Channel(Session("host"), writing)
        self._logs: list[logging.Handler] = []
        self._level = logging.root.level
        self._forgotten = forgotten(source.folder)
        self._forgotten.__enter__()
        self._runs = threading.Thread(target=self._run, name=self._name, daemon=True)
        self._listens = threading.Thread(target=self._listen, name=f"{self._name}-host", daemon=True)
        self._runs.start()
        self._listens.start()

    # -- the plugin's side -------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            serve_plugin(self._load, *self._its_fds, owns_process=False)
        except SystemExit:
            pass  # start code chose to exit, and has said so
        finally:  # whoever is still at work writes to nowhere, and not to what else gets such a number
            nowhere = os.open(os.devnull, os.O_RDWR)
            for fd in self._its_fds:
                os.dup2(nowhere, fd, inheritable=False)
            os.close(nowhere)

    def _load(self) -> Declarations:
        try:
            self.plugin = loaded(self._source.folder, self._source.load)
        except BaseException as error:
            self._failure = error
            raise
        return self.plugin

    # -- our side ----------------------------------------------------------------------------------

    def _listen(self) -> None:
        while not self.is_over:
            try:
                data = os.read(self._reading, READ_BYTES)
            except OSError:
                data = b""
            for event in self.channel.receive(data):
                self._take(event)

    def _take(self, event: Event) -> None:
        if isinstance(event, Reply | Lost | Expired | Streamed | Progressed | Wanted):
            event.call.token.settle(event)
        elif isinstance(event, Request | Notification | Cancelled | Resumed):
            self._hear(self.channel, event)
        elif isinstance(event, Ended):
            self.is_over = True

    def ask(self, wire_name: str, params: Any) -> Any:
        """The result of one of the protocol's own requests. Raises a `CallFailed`."""
        question = Question(self._name, wire_name, wire_name, params, None)
        return Begun(self.channel, question, None, self._explain, timeout_s=GRACE_S).result()

    def begin(self, identity: PluginIdentity, settings: dict[str, Any]) -> None:
        """Introduces it, and has it start.

        Raises:
            What its module raises. NotReady: its start code says so. SettingsRefused: with every problem.
            CallFailed: its start code raised, or did not come to an end.
        """
        params = InitializeParams(
            plugin=identity,
            config=settings,
            encodings=["json", "msgpack"],
            features=[feature for feature in FEATURES if feature not in NOT_HERE],
        )
        before = list(logging.root.handlers)
        try:
            raw = self.ask("initialize", params)
        except errors.CallFailed as error:
            if self._failure is not None:
                raise self._failure from None  # with its own traceback, which leads into the author's code
            raise _about_settings(error) from None
        finally:
            self._logs = [each for each in logging.root.handlers if _is_new(each, before)]
        said = msgspec.convert(raw, InitializeResult)
        self.takes_settings = "config" in said.features
        self.channel.session.peer_limits = said.limits
        if said.encoding == "msgpack":
            self.channel.session.speak_packed()
        self.channel.notify("initialized", {})
        try:
            self.ask("lifecycle/start", StartParams())
        except errors.PluginUnavailable as error:
            raise errors.NotReady(error.message, error.retry_after or 0.0) from None
        except errors.ContractError as error:
            raise _about_settings(error) from None

    def wait_idle(self, within_s: float) -> None:
        """Until it works on nothing. Raises TimeoutError."""
        ends_at = time.monotonic() + within_s
        while msgspec.convert(self.ask("lifecycle/ping", {}), PingResult).in_flight:
            if time.monotonic() > ends_at:
                raise TimeoutError(f"`{self._name}` is still at work after {within_s:g} s")
            time.sleep(PACE_S)

    def end(self) -> None:
        """As a host ends it: its stop code runs. Raises TimeoutError if a handler of it never returns."""
        is_stuck = False
        try:
            is_stuck = not self._say_goodbye()
        finally:
            self._runs.join(GRACE_S)
            for handler in self._logs:
                logging.root.removeHandler(handler)
            logging.root.setLevel(self._level)
            self._forgotten.__exit__(None, None, None)
        if is_stuck or self._runs.is_alive():
            raise TimeoutError(
                f"a handler of `{self._name}` has not returned {GRACE_S:g} s after its plugin was stopped: "
                "a long one looks at ctx.cancelled now and then"
            )
        self._listens.join(GRACE_S)
        for fd in (*self._our_fds, *self._its_fds):
            os.close(fd)

    def _say_goodbye(self) -> bool:
        """Whether it has come to rest."""
        try:
            self.ask("shutdown", {})
        except errors.PluginUnavailable:
            pass  # it has never begun, or is over
        except errors.CallFailed as error:
            if error.code not in _NO_GOODBYE:
                raise
            return error.code != ErrorCode.DEADLINE_EXCEEDED
        finally:
            self.channel.notify("exit", {})
        return True


_NO_GOODBYE = (ErrorCode.INVALID_STATE, ErrorCode.SHUTTING_DOWN, ErrorCode.DEADLINE_EXCEEDED)
"""It is over already, or what it does never comes to an end, which is told of later."""


def _is_new(handler: logging.Handler, before: list[logging.Handler]) -> bool:
    return isinstance(handler, HostHandler) and handler not in before


def _about_settings(error: errors.CallFailed) -> errors.CallFailed:
    if not error.message.startswith("settings: "):
        return error
    return errors.SettingsRefused(
        error.message, plugin=error.plugin, method="settings", code=error.code, data=error.data
    )
