"""Start, stop and other settings, as jobs: what the host asks of every plugin, and the author may answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from plugin_sdk.dispatch import error_from, text_of
from plugin_sdk.functions import is_coroutine_function, parameters_of
from plugin_sdk.jobs import Job
from plugin_sdk.settings import objection, objections, read_settings
from protocol import values
from protocol.errors import ErrorCode, RpcError
from protocol.events import Notification, Request
from protocol.lifecycle import ConfigParams, ConfigTold, ConfigVerdict, StartParams

if TYPE_CHECKING:
    from plugin_sdk.desk import Desk


class Lifecycle(Job):
    """The author's start or stop function, if there is one."""

    __slots__ = ("_function",)

    def __init__(self, desk: Desk, request: Request, function: Callable[..., Any] | None) -> None:
        super().__init__(desk, request, is_async=is_coroutine_function(function))
        self._function = function

    def arguments(self) -> tuple[Any, ...]:
        """What the function may take, as much of it as it has parameters for."""
        return (self.context,)

    def work(self) -> Any:
        function = self._function
        if function is None:
            return None
        return function(*self.arguments()[: len(parameters_of(function))])

    def fail(self, exception: BaseException) -> None:
        super().fail(exception)
        if isinstance(exception, SystemExit):  # "78: my configuration is wrong", for one
            self.desk.exit_code = exception.code if isinstance(exception.code, int) else 1
            self.desk.finished = True


class Start(Lifecycle):
    """The start function, once the settings are whole and their validator is content."""

    __slots__ = ("_params",)

    def __init__(self, desk: Desk, request: Request, function: Callable[..., Any] | None) -> None:
        super().__init__(desk, request, function)
        self._params = request.params

    def work(self) -> Any:
        config = values.decode(self._params, type=StartParams).config
        if config is not None:
            self.desk.settings = read_settings(self.desk.plugin, config)
        if reason := objection(self.desk.plugin, self.desk.settings):
            raise RpcError(ErrorCode.INVALID_PARAMS, f"settings: {reason}")
        return super().work()


class SettingsCheck(Job):
    """Whether other settings would do. Changes nothing, so it may run in the middle of a handler."""

    __slots__ = ("_params",)

    def __init__(self, desk: Desk, request: Request, *, is_async: bool) -> None:
        super().__init__(desk, request, is_async=is_async)
        self._params = request.params

    def run(self) -> None:
        try:
            self.desk.checks.remove(self)
        except ValueError:  # another thread was here first
            return
        super().run()

    def come_too_late(self, error: RpcError) -> None:
        pass  # it is in the queue of all jobs as well

    def work(self) -> Any:
        config = values.decode(self._params, type=ConfigParams).config
        return ConfigVerdict(problems=objections(self.desk.plugin, config))


class SettingsChange(Lifecycle):
    """Other settings, which the plugin has approved, and the author's word on them. Nobody is answered.

    They hold as soon as the change is read, so that calls that were made after it see them.
    """

    __slots__ = ("_before", "_now")

    def __init__(self, desk: Desk, event: Notification) -> None:
        super().__init__(
            desk, Request(id=0, method=event.method, params=event.params), desk.plugin.config_change
        )
        self.context.request_id = None  # it is nobody's: what it asks of the host stands for itself
        self._before = desk.settings
        try:
            told = values.decode(event.params, ConfigTold)
            desk.settings = read_settings(desk.plugin, told.config)
            desk.settings_revision = told.config_revision
        except (msgspec.DecodeError, RpcError) as error:  # the host has not asked before
            desk.note_failure(f"the settings did not change: {text_of(error)}")
        self._now = desk.settings

    def arguments(self) -> tuple[Any, ...]:
        return self.context, self._before, self._now

    def succeed(self, result: Any) -> None:
        pass

    def fail(self, exception: BaseException) -> None:
        error_from(exception, self.desk.note_failure)


class Shutdown(Lifecycle):
    """The stop function, after the work in flight."""

    __slots__ = ()

    def work(self) -> Any:
        if not self.is_async and self.desk.plugin.threads > 1:
            self.desk.wait_until_drained(self.id)
        return super().work()
