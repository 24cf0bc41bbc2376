"""Two versions of a contract: what of the change breaks whoever relied on the first. Pure.

Of a method, callers go on to send what it took, and to expect what it returned; of a topic, subscribers go
on to expect what was published. Of a point, plugins go on to take what it handed over, and to answer as they
did.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

import msgspec

from host.contracts.bounds import Difference
from host.contracts.document import (
    Document,
    HookContract,
    MethodContract,
    PluginContract,
    PointContract,
    TopicContract,
)
from host.contracts.fit import differences
from host.contracts.type_text import quote
from host.contracts.weigh import NotHeld, definition

__all__ = ["Change", "NotComparable", "changes"]


class NotComparable(Exception):
    """One is a plugin's and the other a point's."""


class Change(msgspec.Struct, frozen=True):
    what: str
    """`methods.greet`, `settings`, …"""
    kind: Literal["breaks", "unclear", "harmless"]
    text: str


def changes(before: Document, after: Document) -> list[Change]:
    """Everything that differs; [] if nothing does. Raises NotComparable."""
    if isinstance(before, PluginContract) and isinstance(after, PluginContract):
        return [*_of_plugins(before, after)]
    if isinstance(before, PointContract) and isinstance(after, PointContract):
        return [*_of_points(before, after)]
    raise NotComparable("one is the contract of a plugin, and the other one of an extension point")


def _of_plugins(before: PluginContract, after: PluginContract) -> Iterator[Change]:
    yield from _named(
        "methods",
        {each.name: each for each in before.methods},
        {each.name: each for each in after.methods},
        _of_methods,
    )
    yield from _named(
        "hooks",
        {each.point: each for each in before.hooks},
        {each.point: each for each in after.hooks},
        _of_hooks,
    )
    yield from _named(
        "topics",
        {each.topic: each for each in before.topics},
        {each.topic: each for each in after.topics},
        _of_topics,
    )
    yield from _of_settings(before.settings, after.settings)


def _named(
    what: str,
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    inside: Callable[[str, Any, Any], Iterator[Change]],
) -> Iterator[Change]:
    for name in sorted({*before, *after}):
        place = f"{what}.{name}"
        if name not in after:
            yield Change(place, "breaks", "removed")
        elif name not in before:
            yield Change(place, "harmless", "new")
        else:
            yield from inside(place, before[name], after[name])


def _taken(place: str, before: dict[str, Any] | None, after: dict[str, Any] | None) -> Iterator[Change]:
    was, now = list(before or ()), list(after or ())
    if was != now:
        words = [f"takes items as {each[0]}" if each else "takes no items" for each in (was, now)]
        yield Change(place, "breaks", f"was: {words[0]}; is: {words[1]}")
    elif before and after:
        (name,) = now
        yield from _sent(place, f"items of {name}", before[name], after[name])


def _of_methods(place: str, before: MethodContract, after: MethodContract) -> Iterator[Change]:
    if before.stream != after.stream:
        words = ("a stream", "one result")
        was, now = words if before.stream else words[::-1]
        yield Change(place, "breaks", f"was {was}, is {now}")
    yield from _taken(place, before.takes, after.takes)
    yield from _sent(place, "params", before.params, after.params)
    yield from _defaults(place, before.params, after.params)
    part = "item" if before.stream and after.stream else "result"
    yield from _received(place, part, before.result, after.result)
    if before.idempotent != after.idempotent:
        yield Change(
            place,
            "unclear" if before.idempotent else "harmless",
            "no more idempotent: a call that a crash cut off is not made again"
            if before.idempotent
            else "now idempotent",
        )
    if before.timeout_s != after.timeout_s:
        was, now = (f"{each:g} s" if each else "the usual" for each in (before.timeout_s, after.timeout_s))
        yield Change(place, "unclear", f"its own timeout was {was}, is {now}")


def _of_hooks(place: str, before: HookContract, after: HookContract) -> Iterator[Change]:
    if before.version != after.version:
        was, now = (each or "any version" for each in (before.version, after.version))
        yield Change(place, "unclear", f"was written for {was} of the point, is for {now}")
    yield from _sent(place, "params", before.params, after.params)
    yield from _received(place, "answer", before.result, after.result)


def _of_topics(place: str, before: TopicContract, after: TopicContract) -> Iterator[Change]:
    yield from _received(place, "value", before.values, after.values)


def _of_settings(before: Any, after: Any) -> Iterator[Change]:
    if before is None and after is not None:
        if _root(after).get("required"):
            yield Change("settings", "breaks", "new, and some required")
        else:
            yield Change("settings", "harmless", "new")
        return
    for key in sorted(_properties(before).keys() - _properties(after).keys()):
        yield Change("settings", "breaks", f"$.{key}: removed; a configuration that has it is refused")
    yield from _sent("settings", "", before, after)
    yield from _defaults("settings", before, after)


def _of_points(before: PointContract, after: PointContract) -> Iterator[Change]:
    if before.mode != after.mode:
        yield Change("mode", "breaks", f"was {before.mode}, is {after.mode}")
    yield from _received("params", "", before.params, after.params)
    yield from _sent("answer", "", before.answer, after.answer)
    if before.version != after.version:
        yield Change("version", "harmless", f"was {before.version}, is {after.version}")


_TAKEN_BEFORE = {
    "missing": "required now",
    "extra": "not taken any more",
    "other": "takes {0.taken}, and took {0.sent}",
}
_TAKEN_NOW = {"missing": "no more required", "extra": "new", "other": "takes {0.sent} too"}
_GOT_NOW = {"missing": "{0.sent} any more", "extra": "new", "other": "{0.sent}, and was {0.taken}"}
_GOT_BEFORE = {"missing": "always there now", "extra": "gone", "other": "no more {0.sent}"}


def _sent(place: str, part: str, before: Any, after: Any) -> Iterator[Change]:
    """Others go on to send what they sent: is it still taken, and what more is?"""
    harms = differences(_any(before), _any(after))
    yield from _said_of(place, part, harms, _TAKEN_BEFORE)
    yield from _harmless(place, part, differences(_any(after), _any(before)), harms, _TAKEN_NOW)


def _received(place: str, part: str, before: Any, after: Any) -> Iterator[Change]:
    """Others go on to expect what they got: do they get it, and what less may it be?"""
    harms = differences(_any(after), _any(before))
    yield from _said_of(place, part, harms, _GOT_NOW)
    yield from _harmless(place, part, differences(_any(before), _any(after)), harms, _GOT_BEFORE)


def _said_of(place: str, part: str, found: list[Difference], words: dict[str, str]) -> Iterator[Change]:
    for each in found:
        yield Change(place, each.kind, f"{part} {each.path}: {words[each.how].format(each)}".lstrip())


def _harmless(
    place: str, part: str, found: list[Difference], harms: list[Difference], words: dict[str, str]
) -> Iterator[Change]:
    """The other direction, of the places where nothing breaks."""
    told = {each.path for each in harms}
    certain = [each for each in found if each.kind == "breaks" and each.path not in told]
    for change in _said_of(place, part, certain, words):
        yield msgspec.structs.replace(change, kind="harmless")


def _defaults(place: str, before: Any, after: Any) -> Iterator[Change]:
    was, now = _properties(before), _properties(after)
    for key in was:
        if key in now and "default" in was[key] and "default" in now[key]:
            one, other = quote(was[key]["default"]), quote(now[key]["default"])
            if one != other:
                yield Change(place, "unclear", f"$.{key}: the default was {one}, is {other}")


def _properties(schema: Any) -> Mapping[str, Any]:
    """Of an object that a schema describes; those that are schemas."""
    found = _root(schema).get("properties")
    properties = found if isinstance(found, dict) else {}
    return {key: each for key, each in properties.items() if isinstance(each, dict)}


def _root(schema: Any) -> Mapping[str, Any]:
    """What a `$ref` at the top leads to."""
    if isinstance(schema, dict) and "$ref" in schema:
        try:
            schema = definition(schema, schema["$ref"])
        except NotHeld:
            return {}
    return schema if isinstance(schema, dict) else {}


def _any(schema: Any) -> Any:
    """Nothing said is anything."""
    return {} if schema is None else schema
