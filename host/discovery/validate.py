"""One plugin's manifest, from a folder or from a one-file plugin: a `Candidate`, or all its problems.

Reads the manifest and looks at which files there are; never imports or runs a plugin's code. Checks
look at the document as it was written, so that one mistake does not hide the others.
"""

from __future__ import annotations

import keyword
import math
import os
import sys
from pathlib import Path
from typing import Any

import msgspec

from host.config.lines import KeyPath
from host.config.problems import FileProblem, by_line
from host.config.read import Document, parse_toml, read_text
from host.discovery.dependencies import requirement_fault
from host.discovery.names import name_fault
from host.discovery.origin import Origin, origin_of
from host.discovery.python_versions import admits
from protocol.manifest import Manifest, is_plugin_name
from protocol.script import OUTBOARD, ScriptBlock, script_blocks

__all__ = ["MANIFEST", "SUPPORTED_PROTOCOLS", "Candidate", "load_manifest"]

MANIFEST = "plugin.toml"
SUPPORTED_PROTOCOLS = (1,)

_NAMES = ("plugin.name", "tool.outboard.name")
_OURS = ("protocol", "plugin_sdk")  # import names that a plugin's own files would shadow


class Candidate(msgspec.Struct, frozen=True):
    """A plugin that may be started: its manifest has no problems."""

    folder: str
    """Absolute; where its files are."""
    file: str
    """Absolute; its plugin.toml, or the one file it is."""
    manifest: Manifest
    single_file: bool
    origin: Origin | None = None
    """Where it came from, if it was installed."""

    @property
    def name(self) -> str:
        return self.manifest.plugin.name


def load_manifest(path: Path) -> Candidate | list[FileProblem]:
    """The plugin at `path`: a folder with a plugin.toml, that plugin.toml, or a one-file `.py`."""
    if path.suffix == ".py" and not os.path.isdir(path):
        return _load_script(path)
    return _load_folder(path.parent if path.name == MANIFEST and not os.path.isdir(path) else path)


def _of_plugin(problems: list[FileProblem], said: Any, called: str) -> list[FileProblem]:
    """Told whose they are: of the name in the manifest, or else of what its folder or file is called."""
    name = said if isinstance(said, str) and is_plugin_name(said) else called
    return [msgspec.structs.replace(_with_hint(problem), plugin=name) for problem in by_line(problems)]


def _load_folder(folder: Path) -> Candidate | list[FileProblem]:
    file = folder / MANIFEST
    source = read_text(file)
    if isinstance(source, FileProblem):
        return _of_plugin([source], None, folder.name)
    document = parse_toml(file, source)
    if isinstance(document, FileProblem):
        return _of_plugin([document], None, folder.name)
    problems = [
        *document.problems(Manifest),
        *_problems_anywhere(document, ("plugin",), ("run",)),
        *_problems_of_python(document, str(folder)),
        *_problems_of_command(document),
    ]
    if problems:
        return _of_plugin(problems, document.at(("plugin", "name")), folder.name)
    return _candidate(file, document.read_as(Manifest), single_file=False)


def _load_script(path: Path) -> Candidate | list[FileProblem]:
    source = read_text(path)
    if isinstance(source, FileProblem):
        return _of_plugin([source], None, path.stem)
    blocks = script_blocks(source)
    if len(blocks) != 1:
        return _of_plugin([_block_problem(path, len(blocks))], None, path.stem)
    document = parse_toml(path, blocks[0])
    if isinstance(document, FileProblem):
        return _of_plugin([document], None, path.stem)
    problems = [*document.problems(ScriptBlock), *_problems_anywhere(document, OUTBOARD, ())]
    if path.stem in _OURS:
        problems.append(_shadow_problem(document, (), path.name))
    if problems:
        return _of_plugin(problems, document.at((*OUTBOARD, "name")), path.stem)
    return _candidate(path, document.read_as(ScriptBlock).manifest(path.name), single_file=True)


def _candidate(file: Path, manifest: Manifest, *, single_file: bool) -> Candidate:
    absolute = os.path.abspath(file)
    folder = os.path.dirname(absolute)
    return Candidate(folder, absolute, manifest, single_file, origin_of(absolute if single_file else folder))


def _block_problem(path: Path, count: int) -> FileProblem:
    if count:
        return FileProblem(str(path), None, "", f"{count} `# /// script` blocks", "keep one")
    return FileProblem(
        str(path),
        None,
        "",
        "no `# /// script` block",
        "a one-file plugin needs one with [tool.outboard], closed by `# ///`",
    )


def _with_hint(problem: FileProblem) -> FileProblem:
    """What a name may be, in words; and that a plugin cannot say of itself that it is critical."""
    if problem.key in _NAMES and isinstance(problem.seen, str) and (fault := name_fault(problem.seen)):
        reason, better = fault
        hint = f"did you mean `{better}`?" if better else None
        return msgspec.structs.replace(problem, reason=reason, hint=hint)
    if problem.key.split(".")[-1] != "critical":
        return problem
    hint = "the operator decides that, in outboard.toml: plugins.NAME.critical = true"
    return msgspec.structs.replace(problem, hint=hint)


def _problems_anywhere(document: Document, plugin: KeyPath, run: KeyPath) -> list[FileProblem]:
    """What is checked alike in both kinds; `plugin` and `run` are where they keep these keys."""
    problems = []
    protocol = document.at((*plugin, "protocol"))
    if type(protocol) is int and protocol not in SUPPORTED_PROTOCOLS:
        supported = ", ".join(str(version) for version in SUPPORTED_PROTOCOLS)
        problems.append(
            document.problem(
                (*plugin, "protocol"),
                f"OB104: protocol {protocol} is not supported; this host speaks {supported}",
                f"write `protocol = {SUPPORTED_PROTOCOLS[-1]}`, or run it under another outboard",
            )
        )
    problems += _problems_of_requires_python(document, (*run, "requires-python"))
    problems += _problems_of_dependencies(document, (*run, "dependencies"))
    settings = (*plugin, "settings") if plugin == OUTBOARD else ("settings",)
    problems += [
        document.problem(path, "neither nan nor inf can reach a plugin: JSON has no such number")
        for path in _unsendable(document.at(settings), settings)
    ]
    return problems


def _problems_of_requires_python(document: Document, path: KeyPath) -> list[FileProblem]:
    specifier = document.at(path)
    if not isinstance(specifier, str):
        return []
    running = ".".join(str(number) for number in sys.version_info[:3])
    try:
        if admits(specifier, sys.version_info[:3]):
            return []
    except ValueError as error:
        return [document.problem(path, str(error))]
    return [document.problem(path, f"{specifier!r} excludes the Python that runs here, {running}")]


def _problems_of_dependencies(document: Document, path: KeyPath) -> list[FileProblem]:
    listed = document.at(path)
    if not isinstance(listed, list):
        return []
    hint = 'write a name and what its version may be, like "markdown-it-py==2.2.0"'
    return [
        document.problem((*path, f"[{index}]"), fault, hint)
        for index, text in enumerate(listed)
        if isinstance(text, str) and (fault := requirement_fault(text)) is not None
    ]


def _problems_of_python(document: Document, folder: str) -> list[FileProblem]:
    """A Python plugin's entry must be in its folder, and nothing there may pass for outboard."""
    path = ("run", "python")
    entry = document.at(path)
    if not isinstance(entry, str) or not entry:
        return []
    if entry.endswith(".py") or "/" in entry or "\0" in entry:
        reason = _file_fault(entry, folder)
    else:
        reason = _module_fault(entry, folder, may_be_installed=bool(document.at(("run", "dependencies"))))
    problems = [document.problem(path, reason)] if reason else []
    for name in _OURS:
        problems += [
            _shadow_problem(document, path, there)
            for there, exists in ((f"{name}.py", os.path.isfile), (f"{name}/", os.path.isdir))
            if exists(os.path.join(folder, there))
        ]
    return problems


def _problems_of_command(document: Document) -> list[FileProblem]:
    command = document.at(("run", "command"))
    if not isinstance(command, list) or not command or not all(isinstance(part, str) for part in command):
        return []
    if not command[0].strip():
        return [document.problem(("run", "command", "[0]"), "the program to run is empty")]
    return [
        document.problem(("run", "command", f"[{index}]"), "no argument can hold a NUL")
        for index, part in enumerate(command)
        if "\0" in part
    ]


def _file_fault(entry: str, folder: str) -> str | None:
    if "\0" in entry:
        return "no path can hold a NUL"
    root = os.path.realpath(folder)
    real = os.path.realpath(os.path.join(root, entry))
    if os.path.commonpath((root, real)) != root:
        return f"{entry!r} is outside of the plugin's folder"
    if not os.path.isfile(real):
        return f"there is no file {entry!r} in the plugin's folder"
    return None


def _module_fault(entry: str, folder: str, *, may_be_installed: bool) -> str | None:
    """Modules below a package of the folder must be there; others may come with a dependency."""
    parts = entry.split(".")
    for part in parts:
        if not part.isidentifier() or keyword.iskeyword(part):
            return f"{entry!r} is neither a file nor a module: {part!r} is not a name"
    top = os.path.join(folder, parts[0])
    if not os.path.isdir(top) and not os.path.isfile(f"{top}.py") and may_be_installed:
        return None
    module = os.path.join(folder, *parts)
    if os.path.isfile(f"{module}.py") or os.path.isdir(module):
        return None
    return f"there is no module {entry!r} in the plugin's folder"


def _shadow_problem(document: Document, path: KeyPath, name: str) -> FileProblem:
    return document.problem(
        path,
        f"{name!r} in a Python plugin would shadow outboard's own {name.split('.')[0].rstrip('/')!r}",
        "rename it",
    )


def _unsendable(value: Any, path: KeyPath) -> list[KeyPath]:
    if isinstance(value, float):
        return [] if math.isfinite(value) else [path]
    if isinstance(value, dict):
        return [found for key, item in value.items() for found in _unsendable(item, (*path, key))]
    if isinstance(value, list):
        return [found for i, item in enumerate(value) for found in _unsendable(item, (*path, f"[{i}]"))]
    return []
