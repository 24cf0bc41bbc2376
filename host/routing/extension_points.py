"""What an app asks of many plugins at once: `ExtensionPoint`, and what the operator says about it.

`ExtensionPoint` is what a program writes; `settled` lays the `[extension_points]` tables over it and
makes the `Point` that dispatches, which knows of each value where it comes from. Pure.

Who decides what about a failure: the point, for all its implementations. An implementation's own
`on_error` counts only if the point lists it in `on_error_allowed`. The operator's has the last word.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, fields
from typing import Any, Optional, cast, get_args

import msgspec

from host.config.model import HookMode, OnError, PointTable
from host.config.problems import FileProblem, dotted
from host.contracts.checker import NotHeld, checker
from host.errors import HostMisuse
from protocol.contract import Problem, schema_of
from protocol.methods import is_own_name

__all__ = ["CODE", "ExtensionPoint", "Point", "answer_type", "is_version", "settled", "undeclared"]

LONGEST_TIMEOUT_S = 86400.0
CODE = "the application"
BUILT_IN = "built in"
_VERSION = re.compile(r"(0|[1-9][0-9]{0,8})\.(0|[1-9][0-9]{0,8})")
OPERATOR_SAYS: dict[str, str] = {"on_error": "on_error", "timeout": "timeout_s", "default": "default"}
"""What a table may say of an app's own point; `mode` and `params` are the app's."""

Check = Callable[[Any], list[Problem]]


@dataclass(frozen=True)
class ExtensionPoint:
    """A name that plugins implement as a hook. Raises HostMisuse for values that make no sense.

    `mode`: `first` asks one after another until one answers something else than null; `collect` asks
    all side by side and lists their answers; `pipeline` hands its first parameter from one to the next;
    `broadcast` tells all and wants no answer.
    `type`: what an answer is, a msgspec.Struct for instance; in a pipeline also its first parameter.
    `on_error`: what an implementation that fails costs: `fail` the whole dispatch, `skip` its own
    answer, `default` makes `default` its answer.
    `timeout_s`: for each implementation, in seconds. `params`: JSON Schema of the params.
    `version`: `major.minor` of all this. A hook that does not fit it keeps its plugin from loading.
    """

    name: str
    _: KW_ONLY
    mode: HookMode = "collect"
    type: Any = None
    on_error: OnError = "skip"
    on_error_allowed: Sequence[OnError] = ()
    default: Any = None
    timeout_s: float = 5.0
    params: dict[str, Any] | None = None
    version: str = "1.0"

    def __post_init__(self) -> None:
        wrong = list(_mistakes(self))
        if wrong:
            raise HostMisuse(
                f"ExtensionPoint({self.name!r}): {'; '.join(wrong)}", hint="mend the program", data=wrong
            )


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """An extension point with every value settled."""

    declared: ExtensionPoint
    origins: dict[str, str]
    """Of each value: the application, a file, or built in."""
    is_declared: bool = True
    operator_decides_errors: bool = False
    decoder: msgspec.json.Decoder[Any]
    check: Check | None = None
    """What is wrong with params, if their schema is known."""

    @property
    def name(self) -> str:
        return self.declared.name

    @property
    def default(self) -> Any:
        """A copy, which may be kept and changed."""
        return copy.deepcopy(self.declared.default)

    def on_error_for(self, wish: str | None) -> OnError:
        """What a failure of an implementation costs that would like `wish`."""
        if wish in self.declared.on_error_allowed and not self.operator_decides_errors:
            return cast(OnError, wish)
        return self.declared.on_error


def undeclared(name: str) -> Point:
    """For a point that nobody declared and some plugin implements, so that it can be tried out."""
    return _point(ExtensionPoint(name), dict.fromkeys(_values(), BUILT_IN), is_declared=False)


def settled(
    points: Sequence[ExtensionPoint], tables: Mapping[str, PointTable], file: str
) -> tuple[dict[str, Point], list[FileProblem]]:
    """The points of an app and of an operator by name, and what is wrong with the operator's.

    Raises HostMisuse if the app declares one twice, or with a schema that is none.
    """
    found: dict[str, Point] = {}
    problems: list[FileProblem] = []
    for point in points:
        if point.name in found:
            raise HostMisuse(f"the extension point `{point.name}` is declared twice", hint="drop one of them")
        found[point.name] = _point(
            point, {key: CODE if _is_set(point, key) else BUILT_IN for key in _values()}
        )
    for name, table in tables.items():
        below = found.get(name)
        said = {key: getattr(table, key) for key in table.__struct_fields__}
        said = {key: value for key, value in said.items() if value is not None}
        for key in [key for key in said if below is not None and key not in OPERATOR_SAYS]:
            reason = "the application declares this point; this is not the operator's to change"
            problems.append(_problem(file, name, key, reason, "leave it out"))
            del said[key]
        try:
            found[name] = _overlaid(below or undeclared(name), said, file)
        except msgspec.ValidationError as error:
            problems.append(_problem(file, name, "default", str(error), None))
        except HostMisuse as error:
            problems += [_problem(file, name, "", reason, None) for reason in error.data]
    return found, problems


def _overlaid(below: Point, said: Mapping[str, Any], file: str) -> Point:
    values = {OPERATOR_SAYS.get(key, key): value for key, value in said.items()}
    if "timeout_s" in values:
        values["timeout_s"] = float(values["timeout_s"])
    point = below.declared
    if "default" in values and point.type is not None:
        values["default"] = msgspec.convert(values["default"], point.type)
    whole = ExtensionPoint(**{field.name: getattr(point, field.name) for field in fields(point)} | values)
    origins = below.origins | dict.fromkeys(values, file)
    return _point(whole, origins, operator_decides_errors="on_error" in values)


def _point(declared: ExtensionPoint, origins: dict[str, str], **more: bool) -> Point:
    is_free = declared.type is None or declared.mode == "broadcast"  # whose answers nobody looks at
    decoder = msgspec.json.Decoder(Any if is_free else answer_type(declared.mode, declared.type))
    check = None if declared.params is None else _check(declared.params)
    return Point(declared=declared, origins=origins, decoder=decoder, check=check, **more)


def answer_type(mode: HookMode, type_: Any) -> Any:
    """What an implementation may answer: where another one may answer instead, null too."""
    return Optional[type_] if mode in ("first", "pipeline") else type_  # noqa: UP045 (of any type)


def is_version(text: Any) -> bool:
    return isinstance(text, str) and _VERSION.fullmatch(text) is not None


def _check(schema: dict[str, Any]) -> Check:
    """Raises HostMisuse for a schema that nothing can be held against."""
    try:
        held = checker(schema)
    except NotHeld as problem:
        wrong = f"params is no JSON Schema that can be held: {problem}"
        raise HostMisuse(wrong, hint="mend the schema", data=[wrong]) from None
    return lambda value: [] if held.fits(value) else held.problems(value)


def _mistakes(point: ExtensionPoint) -> Sequence[str]:
    wrong = []
    if not isinstance(point.name, str) or not is_own_name(point.name):
        wrong.append('a name is like "document.extract": lower case letters, digits and _, joined by dots')
    if point.mode not in get_args(HookMode):
        wrong.append(f"mode must be one of {', '.join(get_args(HookMode))}")
    if not is_version(point.version):
        wrong.append('a version is like "1.0"')
    if point.on_error not in get_args(OnError) or not set(point.on_error_allowed) <= set(get_args(OnError)):
        wrong.append(f"on_error must be one of {', '.join(get_args(OnError))}")
    timeout_s = point.timeout_s
    if not isinstance(timeout_s, int | float) or not 0 < timeout_s <= LONGEST_TIMEOUT_S:
        wrong.append(f"a timeout is more than 0 and at most {LONGEST_TIMEOUT_S:.0f} s")
    try:
        if point.type is not None:
            schema_of(point.type)
            if point.default is not None:
                msgspec.convert(point.default, point.type)
    except (TypeError, msgspec.ValidationError) as error:
        wrong.append(f"type: {str(error).splitlines()[-1]}")
    return wrong


def _values() -> list[str]:
    return [field.name for field in fields(ExtensionPoint) if field.name != "name"]


def _is_set(point: ExtensionPoint, key: str) -> bool:
    default = next(field.default for field in fields(point) if field.name == key)
    return bool(getattr(point, key) != default)


def _problem(file: str, name: str, key: str, reason: str, hint: str | None) -> FileProblem:
    path = ("extension_points", name, *([key] if key else []))
    return FileProblem(file, None, dotted(path), reason, hint)
