"""Every error that a user of the host can meet: one tree, each with a stable code.

What a person or a program needs is in fields: `code`, `plugin`, `method`, `call_id`, `hint`, `data`;
the text is made from them. Codes: OB1xx discovery, OB2xx configuration, OB3xx process and start, OB4xx
calls, OB5xx limits and quarantine, OB6xx wire, OB7xx daemon. Each has a page, `docs/errors/OBnnn.md`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

from protocol.contract import nearest


class OutboardError(Exception):
    """The root. Subclasses set `code` and `exit_code` (of the command line)."""

    code: ClassVar[str] = "OB000"
    exit_code: ClassVar[int] = 1

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        plugin: str | None = None,
        method: str | None = None,
        call_id: str | None = None,
        data: Any = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.plugin = plugin
        self.method = method
        self.call_id = call_id
        self.data = data

    def __str__(self) -> str:
        where = ".".join(part for part in (self.plugin, self.method) if part)
        return f"{where}: {self.message}" if where else self.message

    def as_dict(self) -> dict[str, Any]:
        """As `--json` prints it: all keys, null where unknown."""
        return {
            "code": self.code,
            "name": type(self).__name__,
            "message": self.message,
            "hint": self.hint,
            "plugin": self.plugin,
            "method": self.method,
            "call_id": self.call_id,
            "data": self.data,
        }


class ManifestError(OutboardError):
    """A manifest, or the folder it is in, cannot be used. `data` lists every problem."""

    code = "OB101"
    exit_code = 6

    def __init__(
        self,
        problems: Sequence[Any],
        *,
        plugin: str | None = None,
        intro: str | None = None,
        hint: str = "fix the manifest and add it again",
    ) -> None:
        lines = [str(problem) for problem in problems]
        text = "\n".join(lines if intro is None else [intro, *lines])
        super().__init__(text, plugin=plugin, data=lines, hint=hint)


class PluginNotFound(OutboardError):
    """No plugin of that name is known to this host."""

    code = "OB102"
    exit_code = 4


class PluginExists(OutboardError):
    """A plugin of that name is there already."""

    code = "OB103"
    exit_code = 7


class PackError(OutboardError):
    """A pack cannot be made of this, or cannot be unpacked. `data` lists every problem."""

    code = "OB105"
    exit_code = 6

    def __init__(self, problems: Sequence[str], *, plugin: str | None = None) -> None:
        super().__init__("\n".join(problems), plugin=plugin, data=list(problems), hint="nothing was changed")


class ChecksumMismatch(OutboardError):
    """A pack is not the one that was wanted: `data` has both numbers."""

    code = "OB106"
    exit_code = 7


class ConfigError(OutboardError):
    """The configuration cannot be used. `data` lists every problem."""

    code = "OB201"
    exit_code = 6

    def __init__(
        self, problems: Sequence[Any], *, hint: str | None = "fix the file; nothing was changed"
    ) -> None:
        self.problems = list(problems)
        """As they were found; `data` has each as a line."""
        lines = [str(problem) for problem in problems]
        super().__init__("\n".join(lines), data=lines, hint=hint)


class UnknownKey(OutboardError):
    """Nothing is configured, built in or kept at that key."""

    code = "OB202"


class PluginUnavailable(OutboardError):
    """The plugin is not running. `state` and `reason` say why; `retry_after` when it may be (seconds)."""

    code = "OB401"
    exit_code = 3

    def __init__(
        self, message: str, *, state: str, reason: str, retry_after: float | None = None, **where: Any
    ) -> None:
        data = {"state": state, "reason": reason, "retry_after": retry_after}
        super().__init__(message, data=data, **where)
        self.state = state
        self.reason = reason
        self.retry_after = retry_after


class PluginQuarantined(PluginUnavailable):
    """The plugin crashed too often and is not restarted any more."""

    code = "OB501"


class PluginUnfit(PluginUnavailable):
    """The plugin was refused when it loaded: a hook of it does not fit its extension point."""

    code = "OB301"


class PluginDisabled(OutboardError):
    """An operator, or the configuration, keeps the plugin from running."""

    code = "OB502"
    exit_code = 7


class PoisonCall(OutboardError):
    """Such a call, with these params, has killed its plugin twice, and does not reach it any more.

    `data["incidents"]` tells of the crashes.
    """

    code = "OB504"
    exit_code = 7


class StoreFull(OutboardError):
    """A plugin's store has as much in it as it may have. `data` has the numbers."""

    code = "OB505"


class StoreUnavailable(OutboardError):
    """The disk, or another process, will not have a plugin's store now; nothing was changed."""

    code = "OB506"


class StoreConflict(OutboardError):
    """A key of a plugin's store has been changed meanwhile, and nothing was changed by this."""

    code = "OB507"


class PluginCrashed(OutboardError):
    """The plugin's process, or the connection to it, ended while the call was in flight.

    `data` is `{"incident", "cause"}`: what `outboard why` calls the end, and how it looked then.
    """

    code = "OB402"


class DeadlineExceeded(OutboardError, TimeoutError):
    """The call did not end in its time. The plugin has been told, and lives on."""

    code = "OB403"
    exit_code = 5


class RemoteError(OutboardError):
    """The plugin answered with an error: `remote_code`, `remote_name` and `data` are its own."""

    code = "OB404"

    def __init__(self, message: str, *, remote_code: int, remote_name: str, **where: Any) -> None:
        super().__init__(message, **where)
        self.remote_code = remote_code
        self.remote_name = remote_name

    def as_dict(self) -> dict[str, Any]:
        """Of any error, and the plugin's own code with its name."""
        return super().as_dict() | {"remote_code": self.remote_code, "remote_name": self.remote_name}


class MethodNotFound(RemoteError):
    """The plugin has no such method."""

    code = "OB405"


class ContractError(RemoteError):
    """The params do not fit the method; or a result its method, an answer its extension point.

    `data` lists every problem with its JSON path. `remote_name` says whose fault it is: INVALID_PARAMS
    the caller's, PLUGIN_ERROR the plugin's.
    """

    code = "OB406"


class PluginBusy(OutboardError):
    """The plugin has as much to do as it may have. Try again in `retry_after` seconds."""

    code = "OB407"
    exit_code = 7

    def __init__(self, message: str, *, retry_after: float = 0.1, **where: Any) -> None:
        super().__init__(message, data={"retry_after": retry_after}, **where)
        self.retry_after = retry_after


class PayloadTooLarge(OutboardError):
    """The params, or the result, are larger than the receiver takes."""

    code = "OB408"


class NotSerializable(OutboardError):
    """The params, or the result, hold a value that JSON cannot carry."""

    code = "OB409"


class CallCancelled(OutboardError):
    """The plugin says that the call was cancelled, and nobody here cancelled it."""

    code = "OB410"


class HostMisuse(OutboardError):
    """The host was used before it was entered, after it was left, or from another event loop."""

    code = "OB411"


class UnknownExtensionPoint(OutboardError):
    """Nobody has declared an extension point of that name, and no plugin implements it."""

    code = "OB412"


class HookFailed(OutboardError):
    """An implementation failed of which the extension point says that it must not.

    `outcome` holds what there is: the results and errors so far, the value null. `data` is it as JSON.
    """

    code = "OB413"

    def __init__(self, message: str, *, outcome: Any, **where: Any) -> None:
        super().__init__(message, **where)
        self.outcome = outcome


class UnknownTopic(OutboardError):
    """Neither the app nor the plugin that publishes it has declared a topic of that name."""

    code = "OB420"


class HookRefused(OutboardError):
    """An implementation is not asked, because its `before` and `after` run in a circle with others'."""

    code = "OB414"
    exit_code = 7


class CallCycle(RemoteError):
    """A plugin's call would never have ended: `data` holds the chain of calls, or whoever let it escape."""

    code = "OB415"


class PermissionDenied(RemoteError):
    """A plugin asked for what its manifest does not ask for."""

    code = "OB416"
    exit_code = 7


class DaemonError(OutboardError):
    """No daemon answers at the control socket."""

    code = "OB701"
    exit_code = 8


class DaemonRefused(OutboardError):
    """The daemon, or the socket's owner, will not have this."""

    code = "OB702"
    exit_code = 7


def text_of(error: BaseException) -> str:
    """`str(error)`, for exceptions that cannot even do that."""
    try:
        return str(error)[:8192].encode(errors="replace").decode()
    except Exception:
        return "(its own text raises)"


def not_found(name: str, known: Iterable[str]) -> PluginNotFound:
    """The error for a plugin that is not there, with the one that was probably meant."""
    close = nearest(name, known)
    hint = f"did you mean `{close}`?" if close else "outboard status lists the plugins"
    return PluginNotFound(f"there is no plugin `{name}`", hint=hint, plugin=None)
