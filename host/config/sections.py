"""The app's own tables in the configuration: `Host(sections={"mailroom": Mailroom})`. Pure.

A table of the app's is put together from all layers before it is held against its struct, since no file
need say everything. A secret in it is a reference, as in a plugin's settings; what is behind one is fetched
later, and so what the struct has against the whole is known only then.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

import msgspec
from msgspec import inspect

from host.config.layers import Table, at, nearest_origin, plain, tree
from host.config.lines import KeyPath
from host.config.model import HostConfig
from host.config.problems import FileProblem, dotted
from protocol.contract import Problem, nearest, problems_of, schema_of
from protocol.secrets import is_reference, secret_paths, value_at

__all__ = ["Sections"]

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,63}")


class Sections(msgspec.Struct, frozen=True):
    types: Mapping[str, type[msgspec.Struct]] = {}

    @property
    def outline(self) -> type[HostConfig]:
        """The model of a file that may have these tables, whatever is in them."""
        return _outline(tuple(self.types))

    def misuse(self) -> str:
        """What is wrong with the declaration; "" if nothing is."""
        for name, type_ in self.types.items():
            if not _NAME.fullmatch(name):
                return f"`{name}` cannot be a section's name: [a-z][a-z0-9_-]{{0,63}}"
            if name in HostConfig.__struct_fields__:
                return f"the section [{name}] is outboard's own"
            if not (isinstance(type_, type) and issubclass(type_, msgspec.Struct)):
                return f"the section [{name}] needs a msgspec.Struct"
            try:
                schema_of(type_)
            except TypeError as error:
                return f"the section [{name}]: {error}"
        if len(set(self.types.values())) < len(self.types):
            return "two sections have the same struct"
        return ""

    def name_of(self, section: str | type[msgspec.Struct]) -> str | None:
        """Of a section, by its name or its struct; None if there is none."""
        if isinstance(section, str):
            return section if section in self.types else None
        return next((name for name, type_ in self.types.items() if type_ is section), None)

    @property
    def schemas(self) -> dict[str, dict[str, Any]]:
        """JSON Schema of each."""
        return {name: schema_of(type_) for name, type_ in self.types.items()}

    def value(self, name: str, told: Table) -> dict[str, Any]:
        """What all layers together say of a section."""
        found = at(told, (name,))
        value = plain(found) if found is not None else {}
        return value if isinstance(value, dict) else {}

    def part_of(
        self, document: Mapping[str, Any], layer: str, file: str, lines: Mapping[KeyPath, int]
    ) -> Table:
        """What a document says of them, whatever else is wrong with it."""
        said = {name: document[name] for name in self.types if isinstance(document.get(name), Mapping)}
        return tree(said, layer, file, lines)

    def problems(self, told: Table) -> list[FileProblem]:
        """What keeps them from being used, as far as it can be told with secrets unfetched."""
        found = []
        for name in self.types:
            value = self.value(name, told)
            later = [path for path in self.secrets(name) if is_reference(value_at(value, path[1:]))]
            for problem in self.wrong_with(name, value):
                if not any(problem.path[: len(path)] == path for path in later):
                    found.append(self.placed(problem, told))
        return found

    def wrong_with(self, name: str, value: Mapping[str, Any]) -> list[Problem]:
        """What keeps a value from being a section; paths begin with its name."""
        type_ = self.types[name]
        wrong = problems_of(value, type_, path=(name,))
        known = {problem.path for problem in wrong}
        return wrong + [each for each in _unknown(value, type_, (name,)) if each.path not in known]

    def secrets(self, name: str) -> list[KeyPath]:
        """The keys of a section that are secrets; paths begin with its name."""
        return [(name, *path) for path in secret_paths(schema_of(self.types[name]))]

    def placed(self, problem: Problem, told: Table) -> FileProblem:
        """With the file and line of who says so, and the value that is there, unless it is a secret."""
        path = problem.path
        origin, found = nearest_origin(told, path), at(told, path)
        is_secret = any(path[: len(secret)] == secret for secret in self.secrets(path[0]))
        seen = None if found is None or is_secret else plain(found)
        hint = f"did you mean `{problem.nearest}`?" if problem.nearest else None
        file = "" if origin.layer == "built-in" else origin.file or origin.layer
        return FileProblem(file, origin.line, dotted(path), problem.reason, hint, seen)


@lru_cache
def _outline(names: tuple[str, ...]) -> type[HostConfig]:
    if not names:
        return HostConfig
    fields: list[Any] = [(name, dict[str, Any], msgspec.field(default_factory=dict)) for name in names]
    made: type[Any] = msgspec.defstruct(
        "HostConfig", fields, bases=(HostConfig,), forbid_unknown_fields=True, frozen=True, kw_only=True
    )
    return made


def _unknown(value: Any, type_: type, path: tuple[str, ...]) -> Iterator[Problem]:
    """Keys that a struct would ignore. Somebody who writes one has mistyped another."""
    about = inspect.type_info(type_)
    if not isinstance(about, inspect.StructType) or not isinstance(value, Mapping):
        return
    fields = {field.encode_name: field.type for field in about.fields}
    for key, inner in value.items():
        if key not in fields:
            yield Problem((*path, key), "unknown key", nearest(key, fields))
        elif isinstance(below := fields[key], inspect.StructType):
            yield from _unknown(inner, below.cls, (*path, key))
