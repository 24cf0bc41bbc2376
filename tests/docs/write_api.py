"""`python -m tests.docs.write_api`: brings docs/reference/api/ up to date with the docstrings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import griffe

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs/reference/api"
PACKAGES = ("plugin_sdk", "plugin_sdk.testing", "host")

FIRST = ("Plugin", "Host", "running")
"""What a reader looks for first; the rest is in order of the alphabet."""

OURS = {
    "handler_of",
    "needs_loop",
    "provides",
    "request_id",
    "call_raw",
    "provides_of",
    "settle",
    "answer_to",
}
"""Public to the rooms beside them, and not meant for authors or embedders."""

GIVEN = {"Context", "AsyncContext", "HookOutcome", "HookResult", "Plan"}
"""Handed out by us: nobody has to know how to make one."""

_SECTION = re.compile(r"^(Raises|Returns)(?: \(([^)]*)\))?:\n((?:    .*\n?)+)", re.MULTILINE)


def pages() -> dict[Path, str]:
    """Each file as it should be."""
    return {FOLDER / f"{package}.md": _page(package) for package in PACKAGES}


def undocumented() -> list[str]:
    """Public things that say nothing about themselves."""
    return [
        member.path
        for package in PACKAGES
        for name in _exports(package)
        for member in (_named(package, name), *_callables(_named(package, name)))
        if member.docstring is None
    ]


def _page(package: str) -> str:
    things = [_named(package, name) for name in _exports(package)]
    errors = [thing for thing in things if isinstance(thing, griffe.Class) and _is_error(thing)]
    rest = [thing for thing in things if thing not in errors or "Exception" in _bases(thing)]
    rest.sort(key=lambda thing: (thing.name not in FIRST, thing in errors, thing.name))
    wrong = ["[errors](#errors)"] if errors else []
    head = [
        f"# `{package}`",
        "Written by `python -m tests.docs.write_api` from the docstrings.",
        _prose(_loaded(package)),
        " · ".join([f"[`{thing.name}`](#{thing.name.lower()})" for thing in rest] + wrong),
    ]
    sections = [_section(thing) for thing in rest] + ([_errors(errors)] if errors else [])
    return "\n\n".join([*head, *sections]) + "\n"


def _section(thing: griffe.Object) -> str:
    parts = [f"## {thing.name}"]
    if not _is_given(thing):
        parts.append(_signature(thing))
    parts += [_prose(thing), _attributes(thing)]
    same = [member.name for member in _callables(thing) if _prose(member) == f"See `Host.{member.name}`."]
    if same:
        parts.append("As they are in [`Host`](#host): " + ", ".join(f"`{name}`" for name in same) + ".")
    for member in _callables(thing):
        if member.name not in same:
            parts += [f"### {thing.name}.{member.name}", _signature(member), _prose(member)]
    return "\n\n".join(part for part in parts if part)


def _is_given(thing: griffe.Object) -> bool:
    """Also all that is told: events, and pictures of what is; and all that a test is handed."""
    rooms = ("host.observability.", "plugin_sdk.testing.")
    told = isinstance(thing, griffe.Class) and thing.path.startswith(rooms)
    return told or thing.name in GIVEN


def _signature(thing: griffe.Object) -> str:
    """As it stands in the source, one parameter a line where it is long."""
    if isinstance(thing, griffe.Class):
        made = thing.all_members.get("__init__")
        parameters = (
            list(made.parameters)[1:] if isinstance(made, griffe.Function) else list(thing.parameters)[1:]
        )
        lines, begin, end = _parameters(parameters), f"{thing.name}(", ")"
    elif isinstance(thing, griffe.Function):
        word = "async " if "async" in thing.labels else ""
        lines = _parameters([one for one in thing.parameters if one.name != "self"])
        begin, end = f"{word}{thing.name}(", f") -> {thing.returns}"
    else:
        value = thing.value if isinstance(thing, griffe.Attribute) else None
        one_a_line = "\n    | ".join(str(value).strip().split(" | "))
        return f"```python signature\n{thing.name} = {one_a_line}\n```"
    whole = begin + ", ".join(lines) + end
    if len(whole) > 96:
        whole = begin + "\n" + "".join(f"    {line},\n" for line in lines) + end
    return f"```python signature\n{whole}\n```"


_STARS = {griffe.ParameterKind.var_positional: "*", griffe.ParameterKind.var_keyword: "**"}


def _parameters(parameters: list[griffe.Parameter]) -> list[str]:
    lines: list[str] = []
    kinds = griffe.ParameterKind
    before: griffe.ParameterKind | None = None
    for one in parameters:
        if before is kinds.positional_only and one.kind is not before:
            lines.append("/")
        if one.kind is kinds.keyword_only and before not in (one.kind, kinds.var_positional):
            lines.append("*")
        stars = _STARS.get(one.kind, "") if one.kind is not None else ""
        text = f"{stars}{one.name}: {one.annotation}"
        if one.default is not None and not stars:
            text += " = " + str(one.default).replace("'", '"')
        lines.append(text)
        before = one.kind
    if before is kinds.positional_only:
        lines.append("/")
    return lines


def _prose(thing: griffe.Object) -> str:
    """The docstring, its sections as lists."""
    if thing.docstring is None:
        return ""

    def listed(found: re.Match[str]) -> str:
        word, when, body = found.groups()
        body = re.sub(r"\n +", " ", re.sub(r"^ +", "", body.rstrip()))
        return f"**{word}**{f' ({when})' if when else ''}: {body}"

    return _SECTION.sub(listed, thing.docstring.value.strip() + "\n").strip()


def _attributes(thing: griffe.Object) -> str:
    """Properties, and what a struct holds. Of other classes those that say what they are."""
    rows = [
        f"| `{one.name}` | {_in_a_cell(one.annotation)} | {' '.join(_prose(one).split())} |"
        for one in _members(thing)
        if isinstance(one, griffe.Attribute)
        and ("class-attribute" not in one.labels or "msgspec.Struct" in _bases(thing))
        and (one.docstring is not None or "dataclass" in thing.labels or one.name in _struct_fields(thing))
    ]
    return "\n".join(["| attribute | type | |", "|---|---|---|", *rows]) if rows else ""


def _struct_fields(thing: griffe.Object) -> set[str]:
    """The annotated names of a class without an `__init__`."""
    if not isinstance(thing, griffe.Class) or "__init__" in thing.members:
        return set()
    return {
        one.name for one in thing.members.values() if isinstance(one, griffe.Attribute) and one.annotation
    }


def _in_a_cell(annotation: object) -> str:
    return "" if annotation is None else "`" + str(annotation).replace("|", "\\|") + "`"


def _errors(errors: list[griffe.Class]) -> str:
    rows = []
    for one in errors:
        code = one.members.get("code")
        value = str(code.value).strip("'\"") if isinstance(code, griffe.Attribute) and code.value else ""
        linked = f"[{value}](../../errors/{value}.md)" if value.startswith("OB") else ""
        first = one.docstring.value.split("\n\n")[0].replace("\n", " ") if one.docstring else ""
        rows.append(f"| `{one.name}` | {linked} | {first} |")
    return "\n".join(["## Errors", "", "| class | code | when |", "|---|---|---|", *rows])


def _callables(thing: griffe.Object) -> list[griffe.Object]:
    return [one for one in _members(thing) if isinstance(one, griffe.Function)]


def _members(thing: griffe.Object) -> Iterator[griffe.Object]:
    """What is public, also of the bases that have no section of their own."""
    if not isinstance(thing, griffe.Class):
        return
    exported = {name for package in PACKAGES for name in _exports(package)}
    bases = [base for base in thing.mro() if base.name not in exported]
    for owner in (thing, *bases):
        for member in owner.members.values():
            if isinstance(member, griffe.Object) and member.name[0] != "_" and member.name not in OURS:
                yield member


def _is_error(thing: griffe.Object) -> bool:
    return isinstance(thing, griffe.Class) and any(
        "Exception" in _bases(owner) for owner in (thing, *thing.mro())
    )


def _bases(thing: griffe.Object) -> set[str]:
    return {str(base) for base in thing.bases} if isinstance(thing, griffe.Class) else set()


@cache
def _loaded(package: str) -> griffe.Object:
    found = griffe.load(package, search_paths=[ROOT], try_relative_path=False)
    assert isinstance(found, griffe.Object)
    return found


def _exports(package: str) -> list[str]:
    return [str(name) for name in _loaded(package).exports or ()]


def _named(package: str, name: str) -> griffe.Object:
    found: griffe.Object | griffe.Alias = _loaded(package)[name]
    return found.final_target if isinstance(found, griffe.Alias) else found


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for file, text in pages().items():
        file.write_text(text, encoding="utf-8")
