"""From a path to a plugin: its manifest, and how its code is loaded, and forgotten again.

Each life gets the code anew, as each process does: what the modules of a plugin's folder hold belongs to
one life. A module that the test has imported before is the test's, and stays.
"""

from __future__ import annotations

import os
import sys
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from plugin_sdk.declarations import Declarations
from plugin_sdk.load import load_plugin
from protocol import units
from protocol.contract import problems_of
from protocol.manifest import Manifest, PluginTable, RunTable
from protocol.script import ScriptBlock, script_blocks

MANIFEST = "plugin.toml"


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """A plugin that can be run here."""

    manifest: Manifest
    is_stated: bool
    """Whether there is a manifest; else everything is permitted."""
    load: Callable[[], Declarations]
    folder: str = ""


def source_of(plugin: str | os.PathLike[str] | Declarations) -> Source:
    """Of a folder, a manifest, a one-file plugin, or a `Plugin`. Raises ValueError, with every problem."""
    if isinstance(plugin, Declarations):
        manifest = Manifest(plugin=PluginTable(name="plugin", version="0"), run=RunTable(python="main.py"))
        return Source(manifest=manifest, is_stated=False, load=lambda: plugin)
    path = Path(plugin).absolute()
    if path.is_dir():
        path = path / MANIFEST
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        blocks = script_blocks(text)
        if len(blocks) != 1:
            raise ValueError(f"{path}: a one-file plugin has one `# /// script` block, not {len(blocks)}")
        manifest = _read(path, blocks[0], ScriptBlock).manifest(path.name)
    else:
        manifest = _read(path, text, Manifest)
    entry, folder = manifest.run.python, str(path.parent)
    if entry is None:
        raise ValueError(f"{path}: it is run by {manifest.run.command}, and only Python can be run here")
    return Source(manifest=manifest, is_stated=True, load=lambda: load_plugin(entry, folder), folder=folder)


def _read(path: Path, text: str, type_: Any) -> Any:
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path}: not TOML: {error}") from None
    if problems := problems_of(document, type_, decode_hook=units.decode_hook):
        lines = "\n".join(f"{path}: {problem}" for problem in problems)
        raise ValueError(f"{lines}\noutboard check says where")
    return msgspec.convert(document, type_, dec_hook=units.decode_hook)


_of_lives: set[int] = set()
"""Modules, by identity, that a life that goes on has imported."""


@contextmanager
def forgotten(folder: str) -> Iterator[None]:
    """On leaving, what was imported from `folder` meanwhile is forgotten, and so is the way to it.

    What another life has imported from there is set aside until then.
    """
    path = Counter(sys.path)
    aside = {name: sys.modules.pop(name) for name in _from(folder) if id(sys.modules[name]) in _of_lives}
    before = set(_from(folder))
    try:
        yield
    finally:
        for entry in (Counter(sys.path) - path).elements():
            sys.path.remove(entry)
        for name in set(_from(folder)) - before:
            _of_lives.discard(id(sys.modules.pop(name)))
        sys.modules.update(aside)


def loaded(folder: str, load: Callable[[], Declarations]) -> Declarations:
    """What `load` returns; the modules that it imports from `folder` are a life's own."""
    before = set(_from(folder))
    try:
        return load()
    finally:
        _of_lives.update(id(sys.modules[name]) for name in set(_from(folder)) - before)


def _from(folder: str) -> list[str]:
    """Names of modules whose files are in there."""
    if not folder:
        return []
    roots = (folder + os.sep, os.path.realpath(folder) + os.sep)
    files = {name: getattr(module, "__file__", None) for name, module in list(sys.modules.items())}
    return [name for name, file in files.items() if file and file.startswith(roots)]
