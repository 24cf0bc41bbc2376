"""The life of a plugin's process after boot: the handshake, then whichever runtime its handlers need."""

from __future__ import annotations

import os
import signal
from collections import deque
from collections.abc import Callable

import msgspec

import protocol
from plugin_sdk.channel import Channel
from plugin_sdk.declarations import Declarations
from plugin_sdk.desk import Desk
from plugin_sdk.dispatch import text_of, traceback_of
from plugin_sdk.relief import NUDGE, READ_BYTES, Runtime
from plugin_sdk.settings import read_settings, waits_for_secrets
from plugin_sdk.threads import PoolRuntime, SerialRuntime
from protocol.errors import ErrorCode, RpcError
from protocol.events import Ended, Event, Request
from protocol.lifecycle import FEATURES, PROTOCOL_VERSION, InitializeParams, InitializeResult, PluginInfo
from protocol.session import Session


def serve_plugin(
    load: Callable[[], Declarations], read_fd: int, write_fd: int, *, owns_process: bool = True
) -> int:
    """The whole life of a plugin's process after boot; returns its exit code.

    Without `owns_process` a handler that hangs is left behind as a thread, and the process goes on.
    """
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
        if isinstance(error.__cause__, SystemExit):  # "75: retry later", for one
            raise error.__cause__ from None
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
    runtime.owns_process = owns_process
    result = InitializeResult(
        protocol=PROTOCOL_VERSION,
        plugin=PluginInfo(name=params.plugin.name, sdk=f"plugin_sdk {protocol.__version__}"),
        encoding="msgpack" if "msgpack" in params.encodings else "json",
        features=list(desk.features),
        provides=desk.plugin.provides(),
    )
    channel.session.peer_limits = params.limits
    channel.reply(event.id, result)
    if result.encoding == "msgpack":
        channel.session.speak_packed()
    return runtime.serve(events)


def _initialize(
    request: Request, load: Callable[[], Declarations], channel: Channel
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
        raise RpcError(ErrorCode.PLUGIN_ERROR, f"{type(error).__name__}: {text_of(error)}", data) from error
    # Settings with secrets come whole with `lifecycle/start`; until then there is nothing to check.
    later = "secrets" in params.features and waits_for_secrets(plugin, params.config)
    settings = params.config if later else read_settings(plugin, params.config)
    features = [
        feature
        for feature in FEATURES
        if feature in params.features and (feature != "config" or plugin.config_change is not None)
    ]
    return params, Desk(
        plugin, channel, params.plugin, settings, features, settings_revision=params.config_revision
    )
