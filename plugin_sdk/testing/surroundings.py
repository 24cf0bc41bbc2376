"""What is around the plugin in a test: services of the app, other plugins, topics, the store, its settings.

All of it is what the test says. What the manifest does not permit is refused, as a host refuses it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from plugin_sdk.channel import Channel
from plugin_sdk.errors import PluginError
from plugin_sdk.testing.store import MemoryStore
from protocol import values
from protocol.contract import nearest, problems_of
from protocol.envelope import MessageId
from protocol.errors import ErrorCode, RpcError
from protocol.events import Cancelled, Notification, Request, Resumed
from protocol.lifecycle import Empty, LogRecord, PluginCallParams, StatusText
from protocol.manifest import Permission, PermissionsTable
from protocol.topics import AckParams, PublishParams

Fake = Callable[..., Any]
Answer = Callable[[msgspec.Raw], Any]
PATIENCE_S = 10.0
"""How long a stream of a fake waits for the plugin to take more of it."""


class Asked(msgspec.Struct, frozen=True):
    """What the plugin has asked of another plugin, or of the app, which is called `host`."""

    plugin: str
    method: str
    params: Any


class Published(msgspec.Struct, frozen=True):
    """What the plugin has told everybody."""

    topic: str
    value: Any


class LogLine(msgspec.Struct, frozen=True):
    """A record of the plugin's logging."""

    level: str
    message: str
    logger: str = ""


class Surroundings:
    """Of one plugin, through all its lives. `more` are requests that somebody else answers;
    `topic_type` is that of the values of a topic."""

    def __init__(
        self,
        name: str,
        permissions: PermissionsTable | None,
        store: MemoryStore,
        services: Mapping[str, Fake],
        plugins: Mapping[str, Mapping[str, Fake]],
        more: Mapping[str, Answer],
        topic_type: Callable[[str], Any],
    ) -> None:
        self.logs: list[LogLine] = []
        self.events: list[Published] = []
        self.asked: list[Asked] = []
        self.status: str | None = None
        self.acknowledged = self.failed = 0
        self.heard = threading.Condition()
        """Notified of each acknowledgement."""
        self._name = name
        self._permissions = permissions
        self._store = store
        self._services = services
        self._plugins = plugins
        self._more = more
        self._topic_type = topic_type
        self._resumed: dict[MessageId, threading.Event] = {}

    def hear(self, channel: Channel, event: Request | Notification | Cancelled | Resumed) -> None:
        """On the thread that reads: what may take its time is done on another one."""
        if isinstance(event, Notification):
            self._note(event)
        elif isinstance(event, Resumed):
            if event.id in self._resumed:
                self._resumed[event.id].set()
        elif isinstance(event, Cancelled):
            channel.reply_error(event.id, RpcError(ErrorCode.REQUEST_CANCELLED, "cancelled"))
        elif event.method.startswith(("store/", "event/")):
            self._answer(channel, event)
        else:
            threading.Thread(target=self._answer, args=(channel, event), daemon=True).start()

    def _note(self, told: Notification) -> None:
        if told.method == "log/record":
            record = values.decode(told.params, LogRecord)
            self.logs.append(LogLine(record.level, record.message, record.logger))
        elif told.method == "status/text":
            self.status = values.decode(told.params, StatusText).text
        elif told.method == "event/ack":
            ack = values.decode(told.params, AckParams)
            with self.heard:
                self.acknowledged += ack.n
                self.failed += ack.failed
                self.heard.notify_all()

    def _answer(self, channel: Channel, request: Request) -> None:
        try:
            result = self._work(channel, request)
        except Exception as error:  # a fake's: whatever it raises is the answer
            channel.reply_error(request.id, _wire_error(error))
        else:
            channel.reply(request.id, result)

    def _work(self, channel: Channel, request: Request) -> Any:
        method, params = request.method, request.params
        if method.startswith("store/"):
            return self._store.answer_to(method, params)
        if method == "event/publish":
            return self._publish(values.decode(params, PublishParams))
        if method == "plugin/call":
            asked = values.decode(params, PluginCallParams)
            self._check("plugins", asked.plugin)
            fake = self._fake_of(asked.plugin, asked.method)
            return self._use(channel, request.id, fake, asked.plugin, asked.method, asked.params)
        if method.startswith("host/"):
            name = method.removeprefix("host/")
            self._check("host", name)
            if name not in self._services:
                raise _unknown(f"the app has no service `{name}`", name, self._services)
            return self._use(channel, request.id, self._services[name], "host", name, params)
        if method in self._more:
            return self._more[method](params)
        raise RpcError(ErrorCode.METHOD_NOT_FOUND, f"the host provides no method `{method}`")

    def _check(self, key: Permission, wanted: str) -> None:
        """Raises RpcError with the line that the manifest needs."""
        permissions = self._permissions
        if permissions is None or permissions.permits(key, wanted):
            return
        line = permissions.line_for(key, wanted)
        what = {"plugins": "call the plugin", "host": "call the service", "events": "publish, or hear,"}[key]
        text = f"`{self._name}` may not {what} `{wanted}`: its manifest needs `{line}` below [permissions]"
        data = {"permission": key, "wanted": wanted, "line": line}
        raise RpcError(ErrorCode.PERMISSION_DENIED, text, data)

    def _fake_of(self, plugin: str, method: str) -> Fake:
        fakes = self._plugins.get(plugin)
        if fakes is None:
            hint = f"running(..., plugins={{{plugin!r}: {{{method!r}: ...}}}}) would be one"
            raise RpcError(
                ErrorCode.NOT_READY, f"there is no plugin `{plugin}`; {hint}", {"host_error": "OB102"}
            )
        if method not in fakes:
            raise _unknown(f"no method `{method}`", method, fakes)
        return fakes[method]

    def _use(
        self, channel: Channel, id: MessageId, fake: Fake, plugin: str, method: str, raw: msgspec.Raw
    ) -> Any:
        params = values.decode(raw)
        self.asked.append(Asked(plugin, method, params))
        result = fake(*params) if isinstance(params, list) else fake(**params)
        if not channel.is_stream(id):
            return result
        more = self._resumed[id] = threading.Event()
        try:
            for item in result:
                has_room = channel.add_item(id, item)
                channel.send_items(id)
                if not has_room and not more.wait(PATIENCE_S):
                    raise TimeoutError(f"`{self._name}` has not taken more of the stream")
                more.clear()
        finally:
            del self._resumed[id]
        return None

    def _publish(self, asked: PublishParams) -> Empty:
        self._check("events", asked.topic)
        value = msgspec.json.decode(values.as_json(asked.value))
        if problems := problems_of(value, self._topic_type(asked.topic)):
            data = [problem.as_data() for problem in problems]
            raise RpcError(ErrorCode.INVALID_PARAMS, "; ".join(map(str, problems)), data)
        self.events.append(Published(asked.topic, value))
        return Empty()


def _unknown(text: str, name: str, known: Mapping[str, Any]) -> RpcError:
    close = nearest(name, known)
    hint = f"; did you mean `{close}`?" if close else f"; there are: {', '.join(known) or 'none'}"
    return RpcError(ErrorCode.METHOD_NOT_FOUND, text + hint)


def _wire_error(error: Exception) -> RpcError:
    """What a fake raises as the plugin is to see it."""
    if isinstance(error, RpcError):
        return error
    if isinstance(error, PluginError):
        return RpcError(error.code, error.message, error.data)
    if isinstance(error, TimeoutError):
        return RpcError(ErrorCode.DEADLINE_EXCEEDED, str(error) or "no answer in time")
    if isinstance(error, ConnectionError):
        return RpcError(ErrorCode.NOT_READY, str(error) or "it is not running", {"host_error": "OB401"})
    text = f"{type(error).__name__}: {error}"
    return RpcError(ErrorCode.PLUGIN_ERROR, text, {"type": type(error).__name__, "message": str(error)})
