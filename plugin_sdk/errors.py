"""What an author's code may raise to say something precise to the caller."""

from __future__ import annotations

from typing import Any


class PluginError(Exception):
    """An error of your own: the caller gets `code`, `message` and `data` as they are.

    Codes above zero are yours; the protocol's are all below.
    """

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        if code <= 0:
            raise ValueError(f"the code of a PluginError is above zero, not {code}")
        super().__init__(code, message)
        self.code = code
        self.message = message
        self.data = data


class NotReady(Exception):
    """Raised by start code: not a crash, try again in `retry_after` seconds (default 5)."""

    def __init__(self, reason: str, retry_after: float = 5.0) -> None:
        if not 0 <= retry_after < float("inf"):
            raise ValueError(f"retry_after is a number of seconds, not {retry_after}")
        super().__init__(reason)
        self.reason = reason
        self.retry_after = retry_after


class AuthorMistake(Exception):
    """The plugin is put together in a way that cannot work; says which function, and what to do."""


class CallFailed(Exception):
    """A call to another plugin, or to the app, did not succeed. Its subclasses say how.

    `plugin` and `method` are whom it was made to, `host` for a service of the app's; `code` is the wire's.
    One that a handler lets escape becomes the handler's own failure, which names it as the cause.
    """

    def __init__(self, message: str, *, plugin: str, method: str, code: int, data: Any = None) -> None:
        super().__init__(f"{plugin}.{method}: {message}")
        self.message = message
        self.plugin = plugin
        self.method = method
        self.code = code
        self.data = data

    @property
    def retry_after(self) -> float | None:
        """When trying again may help, in seconds; None if nobody says."""
        after = self.data.get("retry_after_ms") if isinstance(self.data, dict) else None
        return after / 1000 if isinstance(after, int | float) else None


class DeadlineExceeded(CallFailed, TimeoutError):
    """No answer in time: the call's own, or what was left of the time of the call it was made for."""


class CallCancelled(CallFailed):
    """The call that it was made for is cancelled, or over."""


class PluginUnavailable(CallFailed):
    """There is no such plugin, or it is not running."""


class PluginCrashed(CallFailed):
    """The plugin ended while the call was in flight."""


class PluginBusy(CallFailed):
    """The plugin has enough to do, or enough of it from this one. Try again in `retry_after` seconds."""


class PermissionDenied(CallFailed):
    """The manifest does not ask for it; the message has the line that would."""


class CallCycle(CallFailed):
    """The call would go round in a circle; `chain` shows it."""

    @property
    def chain(self) -> list[str]:
        found = self.data.get("chain") if isinstance(self.data, dict) else None
        return found if isinstance(found, list) else []


class UnknownTopic(CallFailed):
    """Neither the app nor this plugin has declared the topic; the message has the nearest that is."""


class StoreFull(CallFailed):
    """The plugin's store has as much in it as it may have; `data` has the numbers. Nothing was changed."""


class StoreUnavailable(CallFailed):
    """The host cannot read or write the store now: a full disk, for one. Nothing was changed."""


class StoreConflict(CallFailed):
    """What a transaction had read was changed by somebody else, every time that it was tried."""


class RemoteError(CallFailed):
    """It was answered with an error: `code`, `message` and `data` are the other side's."""


class MethodNotFound(RemoteError):
    """There is no such method, or service."""


class ContractError(RemoteError):
    """The params do not fit; `data` lists every problem."""


class SettingsRefused(CallFailed):
    """The host, or the plugin's own validator, did not take a change of settings: nothing has changed."""

    @property
    def problems(self) -> list[str]:
        """Everything that was wrong, one line each: `$.times: "many" is not of type "integer"`."""
        found = self.data if isinstance(self.data, list) else []
        return [f"{each.get('path')}: {each.get('reason')}" for each in found if isinstance(each, dict)]

    @property
    def is_stale(self) -> bool:
        """Whether all that was wrong is that somebody else has changed them meanwhile."""
        return self.code == -32003
