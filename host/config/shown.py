"""Every key that holds, its value and who says so: what `config show` and `config get` print. Pure.

A plugin's secrets are masked, once its schema has said which they are; where one is to be had from is not
a secret.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from host.config.effective import POLICY_KEYS, PluginPolicy
from host.config.layers import Leaf, Origin, Table, at, leaves, merge, nearest_origin, plain, tree
from host.config.lines import KeyPath
from host.config.load import Configuration
from host.config.model import HostTable, WatchTable
from host.config.problems import dotted
from host.config.sections import Sections
from protocol.contract import schema_of
from protocol.manifest import Manifest
from protocol.secrets import MASK, is_reference, secret_paths

__all__ = ["Configured", "Shown", "shown"]

NO_SECTIONS = Sections()


class Configured(msgspec.Struct, frozen=True, kw_only=True):
    """A plugin, for what is said of it."""

    manifest: Manifest
    file: str
    policy: PluginPolicy
    schema: dict[str, Any] | None
    """Of its settings; None as long as it has not told."""


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    key: str
    value: Any
    layer: str
    file: str = ""
    line: int | None = None
    by: str = ""
    """`plugin NAME`, where a plugin has written it."""


def shown(
    told: Configuration,
    plugins: Mapping[str, Configured],
    prefix: KeyPath = (),
    sections: Sections = NO_SECTIONS,
) -> list[Shown]:
    """Everything at and below `prefix`, by layer and by key."""
    whole = merge([_built_in(), *(_of_plugin(name, plugins[name], told) for name in sorted(plugins))])
    own = {name: _defaults(schema_of(type_)) for name, type_ in sections.types.items()}
    whole = merge([whole, tree(own, "app"), told.tree])
    found = at(whole, prefix)
    secrets = {
        ("plugins", name, "settings", *path)
        for name, plugin in plugins.items()
        for path in secret_paths(plugin.schema or {})
    }
    secrets |= {path for name in sections.types for path in sections.secrets(name)}
    rows = []
    for path, leaf in leaves(found, prefix) if found is not None else ():
        origin = leaf.origin
        value = MASK if path in secrets and not _is_part_of_reference(whole, path) else leaf.value
        rows.append(Shown(key=dotted(path), value=value, **msgspec.structs.asdict(origin)))
    return rows


def _is_part_of_reference(whole: Table, path: KeyPath) -> bool:
    found = at(whole, path)
    return found is not None and is_reference(plain(found))


def _built_in() -> Table:
    tables = {"host": HostTable(), "watch": WatchTable(enabled=False)}
    said = {
        name: {key: value for key, value in msgspec.structs.asdict(table).items() if value is not None}
        for name, table in tables.items()
    }
    said["host"]["environment_timeout"] = _with_unit("environment_timeout_s", HostTable().environment_timeout)
    for key in ("interval", "debounce"):
        said["watch"][key] = _with_unit(f"{key}_s", said["watch"][key])
    return tree(said, "built-in")


def _of_plugin(name: str, plugin: Configured, told: Configuration) -> Table:
    """What holds for a plugin by itself, by its manifest and by [defaults]."""
    layers = [
        tree({"plugins": {name: {"enabled": True}}}, "built-in"),
        tree({"plugins": {name: {"settings": _defaults(plugin.schema)}}}, "plugin"),
        tree({"plugins": {name: {"settings": plugin.manifest.settings}}}, "manifest", plugin.file),
    ]
    for path, leaf in _policy(plugin, told):
        inner: Any = leaf
        for key in reversed(("plugins", name, *path)):
            inner = Table({key: inner}, leaf.origin)
        layers.append(inner)
    return merge(layers)


def _defaults(schema: Mapping[str, Any] | None) -> dict[str, Any]:
    """What the author's struct says, as far as it says it in so many words."""
    schema = schema or {}
    definitions = schema.get("$defs")
    if isinstance(definitions, Mapping):
        schema = definitions.get(str(schema.get("$ref", "")).removeprefix("#/$defs/"), schema)
    properties = schema.get("properties") if isinstance(schema, Mapping) else None
    if not isinstance(properties, Mapping):
        return {}
    return {
        key: about["default"]
        for key, about in properties.items()
        if isinstance(about, Mapping) and about.get("default") is not None
    }


def _policy(plugin: Configured, told: Configuration) -> Iterator[tuple[KeyPath, Leaf]]:
    for field, (table, key) in POLICY_KEYS.items():
        value = getattr(plugin.policy, field)
        if value is None or value == ():
            continue
        default = getattr(getattr(told.config.defaults, table), key)
        own = getattr(getattr(plugin.manifest, table), key)
        if own is not None and value == (tuple(own) if isinstance(own, list) else own):
            origin = Origin("manifest", plugin.file)
        elif default is not None and value == default:
            origin = nearest_origin(told.tree, ("defaults", table, key))
        else:
            origin = Origin("built-in")
        yield (table, key), Leaf(_with_unit(field, value), origin)


def _with_unit(field: str, value: Any) -> Any:
    """As a person would write it."""
    if field.endswith("_bytes"):
        for unit, size in (("GiB", 1024**3), ("MiB", 1024**2), ("KiB", 1024)):
            if value % size == 0:
                return f"{value // size}{unit}"
        return value
    if field.endswith("_s"):
        return f"{value:g}s"
    return list(value) if isinstance(value, tuple) else value
