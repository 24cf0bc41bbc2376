"""A contract as it is shown, saved and compared: of a plugin, or of an extension point."""

from __future__ import annotations

from typing import Any

import msgspec

from protocol.lifecycle import HookInfo, MethodInfo, Provides

__all__ = [
    "Document",
    "HookContract",
    "MethodContract",
    "PluginContract",
    "PointContract",
    "TopicContract",
    "of_plugin",
]


class MethodContract(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    doc: str = ""
    params: Any = None
    """JSON Schema; None if nothing is said."""
    result: Any = None
    takes: dict[str, Any] | None = None
    """The parameter that takes items, and the schema of one."""
    stream: bool = False
    idempotent: bool = False
    timeout_s: float | None = None


class HookContract(msgspec.Struct, frozen=True, kw_only=True):
    point: str
    version: str | None = None
    """Of the point that it was written for; None if it does not say."""
    params: Any = None
    result: Any = None


class TopicContract(msgspec.Struct, frozen=True, kw_only=True):
    """A topic that the plugin declares, and publishes."""

    topic: str
    values: Any = None
    """JSON Schema; None if nothing is said."""


class PluginContract(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="plugin"):
    """What a plugin promises: its methods, its hooks, its topics and its settings."""

    schema: int = 1
    name: str
    version: str = ""
    state: str | None = None
    known: bool = True
    """Whether it has ever said what it provides."""
    methods: list[MethodContract] = []
    hooks: list[HookContract] = []
    topics: list[TopicContract] = []
    settings: Any = None
    """JSON Schema."""


class PointContract(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="point"):
    """What an extension point hands over, and what an answer is."""

    schema: int = 1
    name: str
    version: str
    declared: bool = True
    """False: nobody declares it, and some plugin implements it."""
    mode: str
    params: Any = None
    """JSON Schema of what is handed over."""
    answer: Any = None
    """JSON Schema of an implementation's answer."""
    implementations: list[str] = []


Document = PluginContract | PointContract


def of_plugin(name: str, version: str, state: str, provides: Provides | None) -> PluginContract:
    """`provides` is None where nobody knows it."""
    said = provides or Provides()
    return PluginContract(
        name=name,
        version=version,
        state=state,
        known=provides is not None,
        methods=[_method(info) for info in said.methods],
        hooks=[_hook(info) for info in said.hooks],
        topics=[TopicContract(topic=info.topic, values=info.schema) for info in said.events],
        settings=said.config_schema,
    )


def _method(info: MethodInfo) -> MethodContract:
    return MethodContract(
        name=info.name,
        doc=info.doc,
        params=info.params,
        result=info.result,
        takes=info.takes,
        stream=info.stream,
        idempotent=info.idempotent,
        timeout_s=info.timeout_s,
    )


def _hook(info: HookInfo) -> HookContract:
    schema = info.schema or {}
    return HookContract(
        point=info.point, version=info.version, params=schema.get("params"), result=schema.get("result")
    )
