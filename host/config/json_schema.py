"""JSON Schema of an `outboard.toml`, for editors: `#:schema outboard.schema.json` in its first line. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from host.config.model import HostConfig, PluginOverrides
from protocol.secrets import secret_paths
from protocol.units import Duration, Size

__all__ = ["json_schema"]

_NUMBER = r"^\s*\d+(\.\d+)?\s*"
_REFERENCE = {
    "description": "A secret: where it is to be had from.",
    "oneOf": [
        {
            "type": "object",
            "required": ["file"],
            "additionalProperties": False,
            "properties": {"file": {"type": "string", "description": "A file of mode 0600."}},
        },
        {
            "type": "object",
            "required": ["command"],
            "additionalProperties": False,
            "properties": {"command": {"type": "array", "items": {"type": "string"}, "minItems": 1}},
        },
    ],
}


def json_schema(
    settings: Mapping[str, dict[str, Any] | None], sections: Mapping[str, dict[str, Any]] | None = None
) -> dict[str, Any]:
    """`settings` has the schema of each plugin's settings, None where it is not known; `sections` those of
    the app's own tables."""
    (root, overrides), definitions = msgspec.json.schema_components(
        [HostConfig, PluginOverrides], schema_hook=_units, ref_template="#/$defs/{name}"
    )
    definitions = dict(definitions)
    of_plugin = definitions[overrides["$ref"].removeprefix("#/$defs/")]
    known = {}
    for name, schema in settings.items():
        known[name] = overrides
        if schema is not None:
            definitions[f"settings.{name}"] = _moved(_for_a_file(schema), f"settings.{name}", definitions)
            properties = of_plugin["properties"] | {"settings": {"$ref": f"#/$defs/settings.{name}"}}
            known[name] = of_plugin | {"properties": properties}
    config = definitions[root["$ref"].removeprefix("#/$defs/")]
    plugins = config["properties"]["plugins"] | {"properties": known}
    own = {}
    for name, schema in (sections or {}).items():
        definitions[f"section.{name}"] = _moved(_for_a_file(schema), f"section.{name}", definitions)
        own[name] = {"$ref": f"#/$defs/section.{name}"}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "outboard.toml",
        **config,
        "properties": config["properties"] | {"plugins": plugins} | own,
        "$defs": definitions,
    }


def _units(type_: type) -> dict[str, Any]:
    if type_ is Size:
        text = {"type": "string", "pattern": rf"{_NUMBER}(B|KiB|MiB|GiB)\s*$"}
        return {"anyOf": [text, {"type": "integer", "minimum": 0}]}
    if type_ is Duration:
        text = {"type": "string", "pattern": rf"{_NUMBER}(ms|s|m|h)\s*$"}
        return {"anyOf": [text, {"type": "number", "minimum": 0}]}
    raise NotImplementedError(type_)


def _for_a_file(schema: dict[str, Any]) -> dict[str, Any]:
    """A file need not say everything, and has no secrets in it."""
    if secret_paths(schema):
        schema = _without_secrets(schema)
    if isinstance(named := schema.get("$defs"), Mapping):
        name = str(schema.get("$ref", "")).removeprefix("#/$defs/")
        if isinstance(named.get(name), Mapping):
            named = {**named, name: {key: value for key, value in named[name].items() if key != "required"}}
        schema = {**schema, "$defs": named}
    return {key: value for key, value in schema.items() if key not in ("required", "$schema")}


def _without_secrets(value: Any) -> Any:
    if isinstance(value, Mapping):
        if value.get("secret") is True:
            return _REFERENCE
        return {key: _without_secrets(inner) for key, inner in value.items()}
    return [_without_secrets(inner) for inner in value] if isinstance(value, list) else value


def _moved(schema: dict[str, Any], name: str, definitions: dict[str, Any]) -> dict[str, Any]:
    """The schema with its definitions among `definitions`, under names of their own."""
    own = schema.pop("$defs", {})

    def renamed(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {
                key: f"#/$defs/{name}.{inner.removeprefix('#/$defs/')}"
                if key == "$ref" and isinstance(inner, str) and inner.startswith("#/$defs/")
                else renamed(inner)
                for key, inner in value.items()
            }
        return [renamed(inner) for inner in value] if isinstance(value, list) else value

    for key, inner in own.items() if isinstance(own, Mapping) else ():
        definitions[f"{name}.{key}"] = renamed(inner)
    moved: dict[str, Any] = renamed(schema)
    return moved
