"""A new plugin: which files, and what is in them. Pure, but for reading the templates and `write`."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

import msgspec

from host.errors import PluginExists

__all__ = ["TEMPLATES", "Scaffold", "Template", "scaffold", "write"]

FOLDER = Path(__file__).with_name("templates")


class Template(msgspec.Struct, frozen=True, kw_only=True):
    """A kind of plugin to begin with."""

    about: str
    """Also the plugin's own description."""
    call: str
    """What to try on it, as `outboard dev --call` takes it."""
    run: str = 'python = "main.py"'
    files: tuple[tuple[str, str], ...] = (("main.py", "the code: type hints are the contract"),)
    """And what each is for."""

    @property
    def may_be_one_file(self) -> bool:
        return self.files[0][0] == "main.py"


TEMPLATES: dict[str, Template] = {
    "method": Template(about="Greets people.", call="greet name=Ada"),
    "hook": Template(about="Decorates text, at an extension point.", call="text.decorate text=hello"),
    "async": Template(about="Counts down, many at once.", call="count_down start=10"),
    "stream": Template(about="Reads files, line by line.", call="lines path={entry}"),
    "settings": Template(about="Counts things, in steps that are a setting.", call="count thing=gull"),
    "node": Template(
        about="Greets people, in JavaScript.",
        call="greet name=Ada",
        run='command = ["node", "main.js"]',
        files=(("main.js", "the code"), ("outboard.js", "the protocol, which you need not touch")),
    ),
}


class Scaffold(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be written."""

    name: str
    path: str
    """Of the plugin, relative to where it is made: its folder, or its one file."""
    files: dict[str, str]
    """By path, what is in it."""
    about: dict[str, str]
    """By path, what it is for."""
    commands: list[str]
    """What to type next."""


def scaffold(name: str, kind: str, *, one_file: bool = False, into: str = "") -> Scaffold:
    """Of a plugin called `name`. `into` is where it is made, as commands are to name it."""
    template = TEMPLATES[kind]
    module = name.replace("-", "_")
    test, folder = f"test_{module}.py", f"{name}/"
    if one_file:
        path, folder, entry = f"{module}.py", "", f"{module}.py"
        where = f'Path(__file__).with_name("{path}")'
    else:
        path, entry = name, template.files[0][0]
        where = "Path(__file__).parent"
    shown = os.path.join(into, path)
    call = template.call.replace("{entry}", entry)
    commands = [
        f"outboard dev {shown} --call {call}",
        f"outboard test {shown}",
        f"outboard check {shown}",
        f"outboard add {shown}",
    ]
    words = {"name": name, "about": template.about, "run": template.run, "where": where}
    words |= {"title": "".join(part.capitalize() for part in re.split("[-_]", name))}
    code = {folder + file: _filled(f"{kind}/{file}", words) for file, _ in template.files}
    about = {folder + file: what for file, what in template.files}
    if one_file:
        code = {path: _block(words) + _filled(f"{kind}/main.py", words)}
        about = {path: "the manifest, as a comment, and the code"}
    else:
        code = {f"{folder}plugin.toml": _filled("plugin.toml", words), **code}
        about = {f"{folder}plugin.toml": "what it is called, and how it is run", **about}
    code[folder + test] = _filled(f"{kind}/test.py", words)
    about[folder + test] = "its tests"
    if not one_file:
        code[f"{folder}README.md"] = _readme(words, about, commands, folder)
        about[f"{folder}README.md"] = "what to type"
    return Scaffold(name=name, path=path, files=code, about=about, commands=commands)


def write(made: Scaffold, into: Path) -> None:
    """Writes all of it, or nothing. Raises PluginExists, OSError."""
    tops = sorted({file.split("/")[0] for file in made.files})
    for top in tops:
        if os.path.lexists(into / top):
            raise PluginExists(
                f"{into / top} is there already, and nothing was written",
                hint="give the plugin another name, or say where with --into",
            )
    into.mkdir(parents=True, exist_ok=True)
    workshop = Path(tempfile.mkdtemp(prefix=".outboard-new-", dir=into))
    try:
        for file, text in made.files.items():
            (workshop / file).parent.mkdir(exist_ok=True)
            (workshop / file).write_text(text, encoding="utf-8")
        for top in tops:
            os.rename(workshop / top, into / top)
    finally:
        shutil.rmtree(workshop, ignore_errors=True)


def _filled(file: str, words: Mapping[str, str]) -> str:
    text = (FOLDER / f"{file}.template").read_text(encoding="utf-8")
    for word, value in words.items():
        text = text.replace(f"{{{{{word}}}}}", value)
    return text


def _block(words: Mapping[str, str]) -> str:
    lines = [
        "/// script",
        'requires-python = ">=3.11"',
        "dependencies = []",
        "",
        "[tool.outboard]",
        f'name = "{words["name"]}"',
        'version = "0.1.0"',
        f'description = "{words["about"]}"',
        "///",
    ]
    return "".join(f"# {line}".rstrip() + "\n" for line in lines)


def _readme(words: Mapping[str, str], about: Mapping[str, str], commands: list[str], folder: str) -> str:
    widest = max(map(len, commands))
    what = [
        "runs it, and again whenever you save",
        "its tests",
        "what can be known before it is used",
        "to a daemon that runs",
    ]
    lines = [f"$ {command:<{widest}}  # {why}" for command, why in zip(commands, what, strict=True)]
    rows = [f"| `{file.removeprefix(folder)}` | {why} |" for file, why in about.items()]
    return _filled("README.md", {**words, "commands": "\n".join(lines), "table": "\n".join(rows)})
