"""Can this hook be an implementation of that extension point? Looked at when the plugin loads. Pure.

A version says for which point a hook was written: `major.minor`, where the host may offer more than it was
written for, and nothing else. The schemas say the rest: what the point hands over is what the hook takes,
and what the hook answers is what the point wants. What cannot be told is no reason to refuse.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from host.contracts.bounds import Difference
from host.contracts.document import PointContract
from host.contracts.fit import MAX_DIFFERENCES, differences
from host.routing.extension_points import Point, answer_type, is_version
from protocol.contract import schema_of
from protocol.lifecycle import HookInfo

__all__ = ["point_contract", "unfit"]


def unfit(point: Point, hook: HookInfo) -> list[str]:
    """Everything that keeps it from being one; [] if nothing does. Never raises."""
    return [*_of_version(point.declared.version, hook.version), *_of_schemas(point, hook.schema)]


def point_contract(point: Point, implementations: list[str]) -> PointContract:
    """What plugins may rely on at the point, to be shown and compared."""
    declared = point.declared
    typed = declared.type is not None and declared.mode != "broadcast"
    return PointContract(
        name=declared.name,
        version=declared.version,
        declared=point.is_declared,
        mode=declared.mode,
        params=declared.params,
        answer=schema_of(answer_type(declared.mode, declared.type)) if typed else None,
        implementations=implementations,
    )


def _of_version(offered: str, written_for: Any) -> Iterator[str]:
    if written_for is None:
        return
    if not is_version(written_for):
        yield f"version: {str(written_for)[:40]!r} is none; a version is like 1.0"
        return
    (major, minor), (wanted, least) = (map(int, text.split(".")) for text in (offered, written_for))
    if major != wanted or minor < least:
        yield f"version: written for {written_for}, and this host has {offered}"


def _of_schemas(point: Point, schema: Any) -> Iterator[str]:
    said = schema if isinstance(schema, dict) else {}
    declared = point.declared
    params, result = said.get("params"), said.get("result")
    if params is not None:
        if declared.params is not None:
            yield from _breaking("params", differences(_of_an_object(declared.params), params))
        elif declared.mode == "pipeline" and declared.type is not None:
            yield from _breaking("params", _threaded(schema_of(declared.type), params))
    if result is not None and declared.type is not None and declared.mode != "broadcast":
        wanted = schema_of(answer_type(declared.mode, declared.type))
        yield from _breaking("answer", differences(result, wanted))


def _threaded(sent: dict[str, Any], params: Any) -> list[Difference]:
    """What a pipeline hands on, to whichever param it is: a point does not say its name."""
    properties = params.get("properties") if isinstance(params, dict) else None
    if not isinstance(properties, dict) or not properties:
        return []
    first: list[Difference] | None = None
    for name, schema in properties.items():
        taken = {"properties": {name: schema}, **{key: params[key] for key in ("$defs",) if key in params}}
        handed = {"properties": {name: _without_definitions(sent)}, "$defs": sent.get("$defs", {})}
        found = differences(_of_an_object(handed), _of_an_object(taken))
        if not any(each.kind == "breaks" for each in found):
            return []
        first = first or found
    return first or []


def _without_definitions(schema: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in schema.items() if key != "$defs"}


def _of_an_object(schema: dict[str, Any]) -> dict[str, Any]:
    """Params are an object, also where the schema need not say so."""
    return schema if {"type", "$ref", "anyOf", "oneOf"} & set(schema) else {"type": "object", **schema}


def _breaking(what: str, found: list[Difference]) -> Iterator[str]:
    breaks = [each for each in found if each.kind == "breaks"]
    for each in breaks:
        yield f"{what} {each}"
    if len(breaks) >= MAX_DIFFERENCES:
        yield f"{what}: no more than {MAX_DIFFERENCES} differences are looked for"
