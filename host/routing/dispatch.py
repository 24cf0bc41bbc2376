"""One question to many plugins, from a lineup to an outcome, in one function a mode.

Each implementation fails alone: an error that it raises, an answer that does not fit, a plugin that is
down or too slow becomes its error in the outcome, and the point says what that costs. Every wait ends
at the point's own timeout or at the dispatch's deadline, whichever comes first, so a dispatch that is
late has an outcome too. Raises `HookFailed`, and what is wrong with the question; never what a plugin did.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import anyio
import msgspec
from msgspec import Raw

from host import errors
from host.config.model import HookMode
from host.observability.bus import Bus
from host.observability.events import CallFailed
from host.process.driver import Driver
from host.routing.lineup import Implementation, Lineup, circular
from host.routing.router import Router
from protocol import values
from protocol.contract import Problem, problems_of
from protocol.errors import ErrorCode

__all__ = ["Dispatch", "HookOutcome", "HookResult"]


class HookResult(NamedTuple):
    """What came of one implementation. With an error, the value is the point's default, or None."""

    plugin: str
    value: Any
    error: errors.OutboardError | None


class HookOutcome(msgspec.Struct, frozen=True):
    """What came of a dispatch. `results` are those of whoever was asked, in order."""

    value: Any
    results: list[HookResult]
    unheard: list[str] = []
    """Plugins that have never run and could not be started for this: they may be some that were missed."""

    @property
    def errors(self) -> list[errors.OutboardError]:
        """The failures, those that cost nothing too. Each says which plugin, what and why."""
        return [result.error for result in self.results if result.error is not None]

    def as_dict(self) -> dict[str, Any]:
        """As `--json` prints it."""
        results = [
            {"plugin": plugin, "value": value, "error": None if error is None else error.as_dict()}
            for plugin, value, error in self.results
        ]
        return {
            "value": self.value,
            "results": results,
            "errors": [result["error"] for result in results if result["error"] is not None],
            "unheard": self.unheard,
        }


class Dispatch:
    """One of them. `params` is a dict by name, or a struct.

    Raises:
        NotSerializable, ContractError, HostMisuse: for params that are wrong whoever is asked.
    """

    __slots__ = (
        "_bus",
        "_deadline",
        "_driver",
        "_lineup",
        "_method",
        "_params",
        "_plain",
        "_point",
        "_raw",
        "_results",
        "_router",
    )

    def __init__(
        self, lineup: Lineup, params: Any, *, deadline: float | None, router: Router, driver: Driver, bus: Bus
    ) -> None:
        self._lineup = lineup
        self._point = lineup.point
        self._method = f"hook/{lineup.point.name}"
        self._deadline = deadline
        self._router = router
        self._driver = driver
        self._bus = bus
        self._results: list[HookResult] = []
        self._set(params)
        self._encoded()  # or each implementation would fail for a mistake of the caller's
        if not isinstance(params, dict):
            if not isinstance(self._seen(), dict):
                raise errors.HostMisuse("the params of a hook have names", hint="give a dict, or keywords")
            self._set(self._seen())
        if self._point.check is not None:
            self._insist(self._point.check(self._seen()))

    async def run(self) -> HookOutcome:
        value = await _MODES[self._point.declared.mode](self)
        return self._outcome(value)

    def _outcome(self, value: Any) -> HookOutcome:
        return HookOutcome(value, self._results, [left.plugin for left in self._lineup.unknown])

    # -- the modes -----------------------------------------------------------------------------

    async def first(self) -> Any:
        """The first answer that is not null."""
        for implementation in self._lineup.implementations:
            if self._is_asked(implementation):
                result = await self._ask(implementation)
                self._take(implementation, result)
                if result.value is not None:
                    return result.value
        return self._point.default

    async def pipeline(self) -> Any:
        """The first parameter, after everybody has had it. An answer of null leaves it as it is."""
        threaded = next(iter(self._params), None)
        if not isinstance(threaded, str):
            raise errors.HostMisuse(
                f"`{self._point.name}` is a pipeline, and needs a parameter to hand on", hint="give it one"
            )
        value = self._fitting(threaded, self._params[threaded])
        for implementation in self._lineup.implementations:
            if self._is_asked(implementation):
                result = await self._ask(implementation)
                self._take(implementation, result)
                if result.value is not None:
                    value = result.value
                    self._set({**self._params, threaded: value})
        return value

    async def collect(self) -> list[Any]:
        """What everybody says, in order."""
        return [
            result.value
            for implementation, result in await self._side_by_side()
            if result.error is None or implementation.on_error == "default"
        ]

    async def broadcast(self) -> None:
        """Nothing: it was for them to hear."""
        await self._side_by_side()

    async def _side_by_side(self) -> list[tuple[Implementation, HookResult]]:
        """Everybody is heard out, also if one fails of whom the point says that it must not."""
        wanted = [each for each in self._lineup.implementations if self._is_asked(each)]
        if len(wanted) == 1:  # a task group of one costs as much as the call
            self._results.append(await self._ask(wanted[0]))
        else:
            answers: dict[int, HookResult] = {}

            async def ask(place: int) -> None:
                answers[place] = await self._ask(wanted[place])

            async with anyio.create_task_group() as tasks:
                for place in range(len(wanted)):
                    tasks.start_soon(ask, place)
            self._results += [answers[place] for place in range(len(wanted))]
        heard = list(zip(wanted, self._results, strict=True))
        for implementation, result in heard:
            self._bear(implementation, result)
        return heard

    # -- one implementation --------------------------------------------------------------------

    def _is_asked(self, implementation: Implementation) -> bool:
        filter = implementation.filter
        return filter is None or implementation.refused is not None or filter.matches(self._seen())

    async def _ask(self, implementation: Implementation) -> HookResult:
        """Raises nothing but a cancellation."""
        plugin = implementation.plugin
        try:
            raw = await self._answer(implementation)
            return HookResult(plugin, self._point.decoder.decode(raw), None)
        except errors.OutboardError as failure:
            error = failure
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as problem:
            error = self._unfit(plugin, raw, problem)
        return HookResult(
            plugin, self._point.default if implementation.on_error == "default" else None, error
        )

    async def _answer(self, implementation: Implementation) -> Raw:
        timeout_s = self._point.declared.timeout_s
        if self._deadline is not None:
            timeout_s = min(timeout_s, self._deadline - self._driver.now())
        where = {"plugin": implementation.plugin, "method": self._method}
        if implementation.refused is not None:
            hint = f"outboard hooks explain {self._point.name}; change a `before` or an `after`"
            raise errors.HookRefused(circular(implementation.refused), hint=hint, **where)
        if timeout_s <= 0:
            hint = "give the dispatch a longer timeout, or each implementation a shorter one"
            raise errors.DeadlineExceeded("the time was over before it was asked", hint=hint, **where)
        asked = implementation.supervisor
        raw: Raw = await self._router.ask(asked, self._method, self._encoded(), timeout_s)
        return values.as_json(raw)  # the params of a pipeline's next are made of it

    def _take(self, implementation: Implementation, result: HookResult) -> None:
        self._results.append(result)
        self._bear(implementation, result)

    def _bear(self, implementation: Implementation, result: HookResult) -> None:
        error = result.error
        if error is None or implementation.on_error != "fail":
            return
        outcome = self._outcome(None)
        raise errors.HookFailed(
            f"it failed, and this extension point says that none may: {error.message}",
            outcome=outcome,
            hint=error.hint,
            plugin=result.plugin,
            method=self._method,
            call_id=error.call_id,
            data=outcome.as_dict(),
        ) from error

    def _unfit(self, plugin: str, raw: Raw, problem: Exception) -> errors.ContractError:
        """What is wrong with an answer; told like a failed call, because to the plugin it was none."""
        try:
            problems = problems_of(msgspec.json.decode(raw), self._point.declared.type)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            problems = [Problem((), str(problem))]
        error = _contract_error(
            "its answer does not fit",
            problems,
            ErrorCode.PLUGIN_ERROR,
            hint=f"mend {plugin}: `{self._point.name}` says what an answer is",
            plugin=plugin,
            method=self._method,
        )
        self._bus.emit(
            CallFailed(
                plugin=plugin,
                method=self._method,
                call_id="",
                error=error.code,
                message=error.message,
                elapsed_ms=0.0,
            )
        )
        return error

    # -- what is asked -------------------------------------------------------------------------

    def _set(self, params: Any) -> None:
        self._params = params
        self._raw: Raw | None = None
        self._plain: Any = None

    def _encoded(self) -> Raw:
        """The params as they are sent: encoded once, however many are asked."""
        if self._raw is None:
            try:
                data = msgspec.json.encode(self._params)
                wrong = values.lost_in_json(self._params, data)
            except Exception as error:  # whatever the code of a value raises while it is encoded
                wrong = str(error)
            if wrong is not None:
                hint = "send what JSON can carry: numbers, strings, lists, dicts, structs, dates"
                raise errors.NotSerializable(f"the params cannot be sent: {wrong}", hint=hint) from None
            self._raw = Raw(data)
        return self._raw

    def _seen(self) -> Any:
        """The params as a plugin sees them."""
        if self._plain is None:
            self._plain = msgspec.json.decode(self._encoded())
        return self._plain

    def _fitting(self, name: str, value: Any) -> Any:
        """The threaded parameter as the point's type."""
        type_ = self._point.declared.type
        if type_ is None or (isinstance(type_, type) and isinstance(value, type_)):
            return value
        plain = self._seen()[name]
        self._insist(problems_of(plain, type_, path=(name,)))
        value = msgspec.convert(plain, type_)
        self._set({**self._params, name: value})
        return value

    def _insist(self, problems: list[Problem]) -> None:
        if problems:
            code = ErrorCode.INVALID_PARAMS
            raise _contract_error(
                "the params do not fit", problems, code, hint="fix the params", method=self._method
            )


def _contract_error(
    what: str, problems: list[Problem], code: ErrorCode, **where: Any
) -> errors.ContractError:
    return errors.ContractError(
        f"{what}: {'; '.join(map(str, problems))}",
        remote_code=code,
        remote_name=code.name,
        data=[problem.as_data() for problem in problems],
        **where,
    )


_MODES: dict[HookMode, Callable[[Dispatch], Awaitable[Any]]] = {
    "first": Dispatch.first,
    "collect": Dispatch.collect,
    "pipeline": Dispatch.pipeline,
    "broadcast": Dispatch.broadcast,
}
