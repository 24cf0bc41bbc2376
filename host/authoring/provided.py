"""What a plugin says that it provides, held against its manifest and its code."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from host.authoring.files import path_in
from host.authoring.findings import Finding, Severity, of_manifest
from host.authoring.source import Place, Shown
from host.config.read import Document
from host.discovery.validate import Candidate
from protocol.contract import nearest
from protocol.filters import read_filter
from protocol.lifecycle import HookInfo, Provides
from protocol.manifest import is_plugin_name

__all__ = ["of_provided"]


def of_provided(
    candidate: Candidate, document: Document, shown: Shown, provides: Provides
) -> Iterator[Finding]:
    permissions = candidate.manifest.permissions
    for method in provides.methods:
        if not method.doc:
            place = shown.functions.get(method.name, Place(candidate.file, 0))
            text = "has no docstring, which is what its callers are told of it"
            yield _at(place, "note", f"method {method.name}", text)
    yield from _of_settings(candidate, document, provides.config_schema)
    topics = {event.topic: "publishes" for event in provides.events} | dict.fromkeys(
        provides.subscribes, "hears of"
    )
    for topic, does in topics.items():
        if permissions.permits("events", topic) or any(use.wanted == topic for use in shown.uses):
            continue  # or it was found in the code already, with its line
        reason = f"it {does} `{topic}`, which is not permitted"
        hint = f"[permissions] needs {permissions.line_for('events', topic)}"
        problem = document.problem(path_in(candidate, "permissions", "events"), reason, hint)
        yield msgspec.structs.replace(of_manifest(problem), severity="warning")
    for hook in provides.hooks:
        yield from _of_hook(candidate, shown.hooks.get(hook.point, Place(candidate.file, 0)), hook)


def _of_hook(candidate: Candidate, place: Place, hook: HookInfo) -> Iterator[Finding]:
    where = f"hook {hook.point}"
    for word, others in (("before", hook.before), ("after", hook.after)):
        for other in others:
            if other == candidate.name:
                yield _at(place, "error", where, f"{word}={other!r} is the plugin itself")
            elif not is_plugin_name(other):
                yield _at(place, "warning", where, f"{word}: no plugin can be called {other!r}")
    for other in sorted(set(hook.before) & set(hook.after)):
        yield _at(place, "error", where, f"it cannot come both before and after {other!r}")
    if hook.when is not None:
        try:
            read_filter(hook.when)
        except ValueError as problem:
            yield _at(
                place, "warning", where, f"`when` cannot be read, and is as good as not there: {problem}"
            )


def _at(place: Place, severity: Severity, key: str, message: str) -> Finding:
    return Finding(
        severity=severity,
        file=place.file,
        line=place.line or None,
        key=key,
        message=message,
    )


def _of_settings(candidate: Candidate, document: Document, schema: Any) -> Iterator[Finding]:
    """Keys of the manifest that the plugin's own settings do not have: nothing would ever read them."""
    given = candidate.manifest.settings
    # A plugin may say anything here: what is no struct's schema has nothing to hold the settings against.
    if not isinstance(schema, dict):
        return
    named = schema
    if isinstance(defined := schema.get("$defs"), dict):
        named = defined.get(str(schema.get("$ref", "")).removeprefix("#/$defs/"), schema)
    known = named.get("properties", {}) if isinstance(named, dict) else None
    if not isinstance(known, dict):
        return
    for key in given.keys() - known.keys() if not named.get("additionalProperties") else ():
        close = nearest(key, known)
        hint = f"did you mean `{close}`?" if close else f"it has: {', '.join(known) or 'none'}"
        problem = document.problem(path_in(candidate, "settings", key), "no setting of this plugin", hint)
        yield msgspec.structs.replace(of_manifest(problem), severity="warning")
