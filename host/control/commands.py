"""What may be asked over the control socket: typed params, and what the host does about them."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from types import EllipsisType
from typing import Annotated, Any, Literal, NamedTuple

import anyio.to_thread
import msgspec

from host.control.arguments import typed_arguments
from host.control.follow import Followers, Recent, Tell, tell_all
from host.control.installs import Installs
from host.control.kept import Kept
from host.control.names import Name, method_names, parameter_names, plugin_names, point_names
from host.control.tail import LogFile, Tail, tail
from host.errors import OutboardError
from host.host import Host
from host.observability.events import HostEvent, PluginLogged
from host.observability.logs import Ring
from host.observability.openmetrics import Measures, exposition, families
from host.process.link import OnProgress
from host.routing.tracing import carrying

LONGEST_TIMEOUT_S = 10_000_000.0
"""A hundred days: more than anybody waits, and less than a clock can count."""


Seconds = Annotated[float, msgspec.Meta(ge=0, le=LONGEST_TIMEOUT_S)]


class Maybe(msgspec.Struct, kw_only=True):
    name: str | None = None


class Nothing(msgspec.Struct):
    pass


class Named(msgspec.Struct, kw_only=True):
    name: str


class Remove(msgspec.Struct, kw_only=True):
    name: str
    purge: bool = False


class Reload(msgspec.Struct, kw_only=True):
    dry_run: bool = False


class Path(msgspec.Struct, kw_only=True):
    path: str


class Prefix(msgspec.Struct, kw_only=True):
    prefix: str = ""


class Changes(msgspec.Struct, kw_only=True):
    set: dict[str, Any] = {}
    unset: list[str] = []
    dry_run: bool = False


class Events(msgspec.Struct, kw_only=True):
    name: str | None = None
    lines: Annotated[int, msgspec.Meta(ge=0)] = 50
    """How many of the newest, unless `follow`."""
    follow: bool = False
    """A snapshot, and then whatever happens."""
    logs: bool = False
    """With `follow`: also what plugins log."""


class Names(msgspec.Struct, kw_only=True):
    of: Literal["plugins", "points", "methods", "parameters"] = "plugins"
    plugin: str = ""
    method: str = ""


class Call(msgspec.Struct, kw_only=True):
    plugin: str
    method: str
    params: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    """JSON, handed on as it is; or else:"""
    arguments: dict[str, str] = {}
    """Words from a command line, which the method's schema makes values of."""
    timeout: Annotated[float, msgspec.Meta(ge=0, le=LONGEST_TIMEOUT_S)] | msgspec.UnsetType | None = (
        msgspec.UNSET
    )
    """Seconds, null for no limit; not given, the method's own, or 30."""
    traceparent: str | None = None
    tracestate: str | None = None
    """W3C trace context. What is not valid counts as not given, as the specification wants it."""


class Metrics(msgspec.Struct, kw_only=True):
    format: Literal["text", "json"] = "text"


class Hook(msgspec.Struct, kw_only=True):
    point: str
    params: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET
    arguments: dict[str, str] = {}
    """Words from a command line; the point's schema, or an implementation's, makes values of them."""
    timeout: Seconds | msgspec.UnsetType | None = msgspec.UNSET
    """Seconds for all implementations together, null for no limit; not given, 30."""


class Point(msgspec.Struct, kw_only=True):
    point: str


class Telling(NamedTuple):
    """A command that tells things before it answers; `run` gets the function to tell them with."""

    run: Callable[[Any, Tell], Awaitable[Any]]


class Streaming(NamedTuple):
    """A command that answers in items, as far as the client gives credit."""

    run: Callable[[Any, Pour], Awaitable[Any]]


class Progressing(NamedTuple):
    """A command that says how far it is, to a client that wants to know; else it gets None."""

    run: Callable[[Any, OnProgress | None], Awaitable[Any]]


Pour = Callable[[list[msgspec.Raw]], Awaitable[None]]
"""Sends items; returns when all of them are on their way."""
Row = tuple[type, Callable[[Any], Awaitable[Any]] | Telling | Streaming | Progressing]


class Commands:
    """The table of the control socket, for one host. `log`: whose file has what is older. `installed`: the
    folder of installed plugins."""

    def __init__(
        self, host: Host, ring: Ring, log: LogFile | None = None, *, installed: str | None = None
    ) -> None:
        self._host = host
        self._ring = ring
        self._log = log
        self._recent = Recent()
        host.on_event(self._recent)
        self._followers = Followers(host.on_event)
        self.table: dict[str, Row] = {
            "status": (Maybe, self.status),
            "call": (Call, Progressing(self.call)),
            "call/stream": (Call, Streaming(self.stream)),
            "events": (Events, Telling(self.events)),
            "logs": (Tail, Telling(self.logs)),
            "names": (Names, self.names),
            "hook": (Hook, self.hook),
            "hooks": (Nothing, self.hooks),
            "hooks/explain": (Point, self.explain),
            "contract": (Named, self.contract),
            "metrics": (Metrics, self.metrics),
            "start": (Named, lambda params: host.start(params.name)),
            "stop": (Named, lambda params: host.stop(params.name)),
            "restart": (Named, lambda params: host.restart(params.name)),
            "release": (Named, self.release),
            "enable": (Named, self.enable),
            "disable": (Named, self.disable),
            "why": (Named, self.why),
            "reload": (Reload, lambda params: host.reload(dry_run=params.dry_run)),
            "add": (Path, self.add),
            "config/show": (Prefix, self.show_config),
            "config/set": (Changes, self.configure),
            "config/schema": (Nothing, self.config_schema),
            "remove": (Remove, lambda params: host.remove(params.name, purge=params.purge)),
            **Kept(host).table,
            **Installs(host, installed).table,
        }

    async def status(self, params: Maybe) -> Any:
        return self._host.status(params.name)

    async def why(self, params: Named) -> Any:
        return self._host.why(params.name)

    async def release(self, params: Named) -> Any:
        released = await self._host.release(params.name)
        return {"changed": released, "state": self._host.why(params.name).state}

    async def enable(self, params: Named) -> Any:
        return {"changed": await self._host.enable(params.name)}

    async def disable(self, params: Named) -> Any:
        return {"changed": await self._host.disable(params.name)}

    async def events(self, params: Events, tell: Tell) -> None:
        name = params.name
        seen = self._host.status(name)  # raises for a plugin that is not there
        if not params.follow:
            await tell_all(self._recent.tail(name, params.lines), tell)
            return

        def choose(event: HostEvent) -> bytes | None:
            if name not in (None, event.plugin) or (isinstance(event, PluginLogged) and not params.logs):
                return None
            return msgspec.json.encode(event)

        with self._followers.following(choose) as follower:
            await tell([_tagged("snapshot", **msgspec.structs.asdict(seen))])
            await follower.run(tell, lambda count: _tagged("dropped", dropped=count))

    async def logs(self, params: Tail, tell: Tell) -> None:
        if params.name is not None:
            self._host.status(params.name)  # raises for a plugin that is not there
        await tail(params, self._ring, self._log, self._followers, tell)

    async def names(self, params: Names) -> list[Name]:
        if params.of == "plugins":
            return plugin_names(self._host.status())
        if params.of == "points":
            return point_names(self._host.hooks.names())
        methods = self._host.methods_of(params.plugin)
        return method_names(methods) if params.of == "methods" else parameter_names(methods, params.method)

    async def metrics(self, params: Metrics) -> Any:
        return await anyio.to_thread.run_sync(_RENDER[params.format], self._host.measures())

    async def add(self, params: Path) -> Any:
        return {"name": await self._host.add(params.path)}

    async def show_config(self, params: Prefix) -> Any:
        return self._host.configuration(params.prefix)

    async def config_schema(self, params: Nothing) -> Any:
        return self._host.configuration_schema()

    async def configure(self, params: Changes) -> Any:
        changes = params.set | dict.fromkeys(params.unset, msgspec.UNSET)
        return await self._host.configure(changes, dry_run=params.dry_run)

    async def call(self, params: Call, on_progress: OnProgress | None) -> Any:
        given, timeout = self._given(params)
        with carrying(params.traceparent, params.tracestate):
            return await self._host.call_raw(params.plugin, params.method, given, timeout, on_progress)

    async def stream(self, params: Call, pour: Pour) -> None:
        given, timeout = self._given(params)
        with carrying(params.traceparent, params.tracestate):
            async with self._host.stream(
                params.plugin, params.method, params=given, timeout=timeout
            ) as stream:
                while items := await stream.batch():
                    await pour(items)

    def _given(self, params: Call) -> tuple[Any, float | EllipsisType | None]:
        """Params and timeout, as the host wants them."""
        given: Any = params.params
        if given is msgspec.UNSET:
            methods = self._host.methods_of(params.plugin)
            schema = next((info.params for info in methods if info.name == params.method), None)
            given = typed_arguments(params.arguments, schema)
        return given, ... if params.timeout is msgspec.UNSET else params.timeout

    async def hook(self, params: Hook) -> Any:
        hooks = self._host.hooks
        given: Any = params.params
        if given is msgspec.UNSET:
            given = typed_arguments(params.arguments, hooks.schema_of(params.point))
        timeout = ... if params.timeout is msgspec.UNSET else params.timeout
        return (await hooks.dispatch(params.point, given, timeout)).as_dict()

    async def hooks(self, params: Nothing) -> Any:
        hooks = self._host.hooks
        return [hooks.explain(name) for name in hooks.names()]

    async def contract(self, params: Named) -> Any:
        return self._host.contract(params.name)

    async def explain(self, params: Point) -> Any:
        return self._host.hooks.explain(params.point)


# On a thread: with thousands of methods, the loop would feel it.
_RENDER: dict[str, Callable[[Measures], object]] = {
    "text": lambda measures: exposition(families(measures)),
    "json": lambda measures: msgspec.Raw(msgspec.json.encode(families(measures))),
}


def _tagged(event: str, **fields: Any) -> bytes:
    """An item beside those that are a `HostEvent`."""
    return msgspec.json.encode({"event": event, "at": time.time(), **fields})


def failure(error: OutboardError) -> dict[str, Any]:
    """An error as it travels to the command line, with the exit code that belongs to it."""
    return error.as_dict() | {"exit_code": error.exit_code}
